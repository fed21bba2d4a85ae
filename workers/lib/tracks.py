"""Following boxes over the frames of a session: which box of this frame is which of the last.

The state is plain dataclasses of numbers, so that a service can put `Tracks` into its pydantic state as it is and each frame
is kept as a hundred bytes of JSON a face. Why this is written here: docs/adr/0004-tracker.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.lib.assignment import best_pairs

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TrackRules:
    """How boxes are followed. Times are in frames."""

    #: A track is confirmed in its so many-th consecutive frame.
    confirm: int = 4
    #: A confirmed track outlives so many frames without its box.
    patience: int = 10
    #: Furthest that a box may be from where it is expected: centre distance in box sizes + |log of the change of size|.
    reach: float = 1.0
    #: Share of a small deviation that is followed at once; large deviations are followed at once entirely.
    gain: float = 0.5


@dataclass(slots=True)
class Track:
    """One thing that is followed. ``id`` is never given again within its session."""

    id: int
    #: x, y, width, height in pixels, smoothed.
    box: list[float]
    #: In 0..1, smoothed.
    score: float
    #: Pixels a frame, of the centre.
    velocity: list[float] = field(default_factory=lambda: [0.0, 0.0])
    #: Frames in which it was seen.
    seen: int = 1
    #: Frames since it was last seen.
    missed: int = 0
    confirmed: bool = False


@dataclass(slots=True)
class Tracks:
    """What is remembered from frame to frame."""

    tracks: list[Track] = field(default_factory=list)
    next_id: int = 1


@dataclass(frozen=True, slots=True)
class Followed:
    """``seen``: the track of each box, in the order of the boxes. ``ended``: confirmed tracks that were given up with this frame."""

    seen: list[Track]
    ended: list[Track]


DEFAULT_RULES = TrackRules()


def follow(
    tracks: Tracks, boxes: Array, scores: Array | Sequence[float], *, skipped: int = 0, rules: TrackRules = DEFAULT_RULES
) -> Followed:
    """Take the next frame's boxes, float [n, 4] (x, y, width, height in pixels) with scores [n], into ``tracks``.

    ``skipped`` frames before this one were never seen: things have moved on meanwhile, and time counts against patience,
    but a frame nobody looked at does not break a run of consecutive sightings.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    for track in tracks.tracks:
        track.missed += 1 + skipped
    alive = [track for track in tracks.tracks if track.missed - 1 <= rules.patience]
    pairs = _assign(alive, boxes, rules)
    seen = [alive[pairs[index]] if index in pairs else None for index in range(len(boxes))]
    found: list[Track] = []
    for known, box, score in zip(seen, boxes, scores, strict=True):
        track = known or _begin(tracks, box, float(score))
        if known:
            _update(known, box, float(score), rules)
        track.confirmed = track.confirmed or track.seen >= rules.confirm
        found.append(track)
    # An unconfirmed track lives by being seen in every frame.
    missing = [track for track in alive if track.missed and track.confirmed and track.missed <= rules.patience]
    left = {track.id for track in found} | {track.id for track in missing}
    ended = [track for track in tracks.tracks if track.confirmed and track.id not in left]
    tracks.tracks = sorted([*found, *missing], key=lambda track: track.id)
    return Followed(found, ended)


def _begin(tracks: Tracks, box: Array, score: float) -> Track:
    track = Track(id=tracks.next_id, box=_rounded(box), score=round(score, 4))
    tracks.next_id += 1
    return track


def _assign(alive: list[Track], boxes: Array, rules: TrackRules) -> dict[int, int]:
    """Index of a box -> index of its track, so that the sum of the distances is the least."""
    if not alive or not len(boxes):
        return {}
    distances = _distances(np.array([_expected(track) for track in alive]), boxes)
    rows, columns = best_pairs(np.where(distances > rules.reach, np.inf, distances))
    return dict(zip(columns.tolist(), rows.tolist(), strict=True))


def _distances(expected: Array, boxes: Array) -> Array:
    """[n, m]: centre distance in units of the mean side, plus the absolute logarithm of the ratio of the sides.

    Unlike the overlap it still tells near from far where boxes do not touch, as at the few frames a second of a web client.
    """
    sides = [np.sqrt(np.maximum(group[:, 2] * group[:, 3], 1.0)) for group in (expected, boxes)]
    centres = [group[:, :2] + group[:, 2:] / 2 for group in (expected, boxes)]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    mean = np.sqrt(sides[0][:, None] * sides[1][None])
    return np.asarray(apart / mean + np.abs(np.log(sides[0][:, None] / sides[1][None])))


def _expected(track: Track) -> list[float]:
    """Where the box is expected in this frame. A thing out of sight is not taken to run on for ever."""
    x, y, width, height = track.box
    steps = min(track.missed, 3)
    return [x + steps * track.velocity[0], y + steps * track.velocity[1], width, height]


def _update(track: Track, box: Array, score: float, rules: TrackRules) -> None:
    """An alpha-beta filter (a Kalman filter with its gains fixed; velocity gain after Benedict and Bordner, 1962)."""
    expected = np.array(_expected(track))
    deviation = box - expected
    shift = deviation[:2] + deviation[2:] / 2  # of the centre
    size = max(float(np.sqrt(expected[2] * expected[3])), 1.0)
    gain = min(1.0, rules.gain + 2 * float(np.abs(deviation).max()) / size)
    velocity_gain = gain * gain / (2 - gain)
    track.velocity = _rounded(np.array(track.velocity) + velocity_gain * shift / max(track.missed, 1))
    track.box = _rounded(expected + gain * deviation)
    track.score = round(track.score + rules.gain * (score - track.score), 4)
    track.seen += 1
    track.missed = 0


def _rounded(values: Array) -> list[float]:
    """Hundredths of a pixel: enough, and short in JSON."""
    return [round(float(value), 2) for value in values]
