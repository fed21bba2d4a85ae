"""Scene analysis on labelled clips: how many people, when they came and went, and how many were in view."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.accuracy.client import Client
from bench.accuracy.figures import Row, mean, share
from bench.accuracy.pictures import frames

SERVICE = "scene_analysis"
_START = datetime(2024, 5, 1, 12, tzinfo=UTC)
#: An event is that of an arrival or departure if it comes so many seconds later at most.
_LATEST = 3.0


@dataclass
class _Clip:
    """What the labels say and what was answered. Times are in seconds of the clip."""

    people: int = 0
    entities: set[str] = field(default_factory=set)
    wrong: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    departures: list[float] = field(default_factory=list)
    told: dict[str, list[float]] = field(default_factory=lambda: {"appearance": [], "disappearance": []})


async def scene_analysis(client: Client) -> list[Row]:
    folder, rows = client.labels(SERVICE)
    clips = [
        await _clip(client, folder / name, [row for row in rows if row["file"] == name])
        for name in dict.fromkeys(row["file"] for row in rows)
    ]
    people, entities = sum(clip.people for clip in clips), sum(len(clip.entities) for clip in clips)
    wrong = [value for clip in clips for value in clip.wrong]
    delays = [*_delays(clips, "appearance"), *_delays(clips, "disappearance")]
    seen = [delay for delay in delays if not math.isnan(delay)]
    return [
        Row(SERVICE, f"distinct entities for {people} people", entities, people, aim=str(people)),
        mean(SERVICE, "people in view: mean absolute error", wrong, "0.015"),
        share(SERVICE, "arrivals and departures told", [not math.isnan(delay) for delay in delays], "all"),
        mean(SERVICE, "their delay in seconds", seen, "0.4", "median"),
    ]


async def _clip(client: Client, path: Any, labels: list[dict[str, str]]) -> _Clip:
    clip, session, fps = _Clip(), client.new_session(), float(labels[0]["fps"])
    for before, row in zip([None, *labels], labels, strict=False):
        change = int(row["n_people"]) - (0 if before is None else int(before["n_people"]))
        last = -1 if before is None else int(before["frame_end"])
        at = (last + int(row["frame_start"])) / 2 / fps if before is not None else 0.0
        clip.people += max(0, change)
        (clip.arrivals if change > 0 else clip.departures).extend([at] * abs(change))
    wanted = _wanted(labels)
    for number, picture in frames(path):
        stamp = (_START + timedelta(seconds=number / fps)).isoformat()
        answer = await client.do(SERVICE, picture, session=session, timestamp=stamp)
        if "entities" not in answer:
            raise RuntimeError(f"{path.name}, frame {number}: {answer}")
        clip.entities |= set(answer["entities"])
        for event in answer["events"]:
            if event["type"] in clip.told:
                clip.told[event["type"]].append(number / fps)
        if number in wanted:
            leaving = sum(event["type"] == "disappearance" for event in answer["events"])
            clip.wrong.append(min(abs(len(answer["entities"]) - leaving - count) for count in wanted[number]))
    return clip


def _wanted(labels: list[dict[str, str]]) -> dict[int, set[int]]:
    """The right numbers of people for each labelled frame: near the border of two stretches, within its tolerance, those of both."""
    counts: dict[int, set[int]] = {}
    labelled = {n for row in labels for n in range(int(row["frame_start"]), int(row["frame_end"]) + 1)}
    for row in labels:
        spare = int(row["tolerance_frames"])
        for n in range(int(row["frame_start"]) - spare, int(row["frame_end"]) + spare + 1):
            if n in labelled:
                counts.setdefault(n, set()).add(int(row["n_people"]))
    return counts


def _delays(clips: list[_Clip], kind: str) -> list[float]:
    """From each arrival or departure to its event, in seconds; NaN when there is none. Each event serves once."""
    delays = []
    for clip in clips:
        told = sorted(clip.told[kind])
        for at in sorted(clip.arrivals if kind == "appearance" else clip.departures):
            match = next((time for time in told if -1.0 <= time - at <= _LATEST), None)
            delays.append(math.nan if match is None else max(0.0, match - at))
            if match is not None:
                told.remove(match)
    return delays
