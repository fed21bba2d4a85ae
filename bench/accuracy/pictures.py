"""Measures of the services that look at pictures."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.accuracy.client import Client, count_frames, frames
from bench.accuracy.figures import Row, calibration_error, mean, share

#: The confidence from which a name of an album counts as recognised.
ACCEPTED = 0.5
#: Beyond this a head is turned to a side, radians (10°); within `FRONTAL` it is not.
TURNED, FRONTAL = 0.175, 0.262
#: What cameras are asked to send.
FRAMES_A_SECOND = 10
Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box) -> float:
    """Area of the intersection of two boxes x, y, width, height."""
    return max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])) * max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))


def iou(a: Box, b: Box) -> float:
    common = overlap(a, b)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def _box(row: dict[str, str], *names: str) -> Box:
    x, y, w, h = (float(row[name]) for name in names)
    return x, y, w, h


def _grouped(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[row["file"]].append(row)
    return groups


def _finds(roi: Box, row: dict[str, str]) -> bool:
    if row["label_kind"] == "nose":
        x, y = float(row["x"]), float(row["y"])
        return roi[0] <= x <= roi[0] + roi[2] and roi[1] <= y <= roi[1] + roi[3]
    return row["label_kind"] == "box" and iou(roi, _box(row, "x", "y", "w", "h")) >= 0.4


async def face_detection(client: Client) -> list[Row]:
    folder, rows = client.labels("face_detection")
    groups = _grouped(rows)
    answers = await client.all("face_detection", [folder / name for name in groups])
    found, false = [], []
    for labelled, answer in zip(groups.values(), answers, strict=True):
        rois = [tuple(face["roi"]) for face in answer["faces"]]
        faces = [row for row in labelled if row["label_kind"] != "none"]
        found += [any(_finds(roi, row) for roi in rois) for row in faces]
        if labelled[0]["complete"] == "1":
            false.append(float(sum(not any(_finds(roi, row) for row in faces) for roi in rois)))
    return [
        share("face_detection", "recall: labelled faces found", found, "1.0"),
        mean("face_detection", "false boxes a completely labelled picture", false, "≤ 0.03"),
    ]


def _largest(answer: dict[str, Any]) -> dict[str, Any] | None:
    return max(answer.get("faces", []), key=lambda face: face["roi"][2] * face["roi"][3], default=None)


async def age_and_gender(client: Client) -> list[Row]:
    folder, rows = client.labels("age_and_gender_estimation")
    answers = await client.all("age_and_gender_estimation", [folder / row["file"] for row in rows])
    errors, adults, right, sure = [], [], [], []
    for row, answer in zip(rows, answers, strict=True):
        face = _largest(answer)
        if face is None:
            right.append(False)
            sure.append(0.5)
            continue
        errors.append(abs(face["age"] - float(row["age"])))
        adults += errors[-1:] if float(row["age"]) >= 18 else []
        right.append(face["gender"][0] == row["gender"])
        sure.append(face["gender_confidence"])
    name = "age_and_gender_estimation"
    return [
        mean(name, "age: mean absolute error, years, all", errors, "6.0"),
        mean(name, "age: the same, adults", adults, "6.5"),
        share(name, "gender right", right, "0.98"),
        calibration_error(name, "gender: calibration error", sure, right, "0.03"),
    ]


async def face_expression(client: Client) -> list[Row]:
    folder, rows = client.labels("face_expression_estimation")
    answers = await client.all("face_expression_estimation", [folder / row["file"] for row in rows])
    classes = ("neutral", "happiness", "surprise", "anger", "sadness")
    hits: dict[str, list[bool]] = defaultdict(list)
    for row, answer in zip(rows, answers, strict=True):
        face = _largest(answer)
        hits[row["expression"]].append(face is not None and max(classes, key=lambda name: face[name]) == row["expression"])
    everything = share("face_expression_estimation", "mean recall of five classes", [hit for mine in hits.values() for hit in mine], "0.85")
    recall = sum(sum(mine) / len(mine) for mine in hits.values()) / len(hits)
    return [Row(everything.service, everything.measure, recall, everything.items, everything.low, everything.high, everything.aim)]


async def face_recognition(client: Client) -> list[Row]:
    folder, rows = client.labels("face_recognition")
    album: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["role"] == "enrol":
            album[row["name"]].append(await client.blob((folder / row["file"]).read_bytes()))
    probes = [row for row in rows if row["role"].startswith("probe")]
    pictures = [_picture(folder / row["file"], row) for row in probes]
    answers = await asyncio.gather(*(client.do("face_recognition", picture, album=dict(album)) for picture in pictures))
    first, accepted, sure, right = [], [], [], []
    for row, answer in zip(probes, answers, strict=True):
        tops = [face["names"][0] for face in answer["faces"] if face["names"]]
        names = {name for name in row["name"].split(";") if name in album}
        if not names:
            accepted += [top["confidence"] >= ACCEPTED for top in tops]
        else:
            first += [any(top["key"] == name for top in tops) for name in names]
        sure += [top["confidence"] for top in tops]
        right += [top["key"] in names for top in tops]
    name = "face_recognition"
    return [
        share(name, "closed set: first name right", first, "1.0"),
        share(name, f"unknown faces accepted at {ACCEPTED}", accepted, "0"),
        calibration_error(name, "calibration error of the first name", sure, right, "≤ 0.03"),
    ]


def _picture(path: Path, row: dict[str, str]) -> bytes:
    """The file of a row, or of a clip the frame in the middle of where the person is seen."""
    if not row["frame_start"]:
        return path.read_bytes()
    return next(frames(path, [(int(row["frame_start"]) + int(row["frame_end"])) // 2]))[1]


async def gaze_analysis(client: Client) -> list[Row]:
    folder, rows = client.labels("gaze_analysis")
    hits = []
    for name, labelled in _grouped(rows).items():
        wanted = {n: row["head_direction"] for row in labelled for n in range(int(row["frame_start"]), int(row["frame_end"]) + 1)}
        pictures = list(frames(folder / name, list(wanted)))
        answers = await asyncio.gather(*(client.do("gaze_analysis", picture) for _, picture in pictures))
        for (number, _), answer in zip(pictures, answers, strict=True):
            face = _largest(answer)
            hits.append(face is not None and _turned(face["head_yaw"], wanted[number]))
    return [share("gaze_analysis", "head direction right in clips", hits, "1.0")]


def _turned(yaw: float, direction: str) -> bool:
    return {"image_left": yaw < -TURNED, "image_right": yaw > TURNED, "frontal": abs(yaw) <= FRONTAL}[direction]


async def upper_body(client: Client) -> list[Row]:
    folder, rows = client.labels("upper_body_detection")
    found, exact = [], []
    for name, labelled in _grouped(rows).items():
        path = folder / name
        still = path.suffix in (".jpg", ".png")
        pictures = [path.read_bytes()] if still else [picture for _, picture in frames(path, _spread(path))]
        answers = await asyncio.gather(*(client.do("upper_body_detection", picture) for picture in pictures))
        exact += [answer["nb_upper_bodies"] == int(labelled[0]["n_persons"]) for answer in answers if labelled[0]["complete"] == "1"]
        for row in labelled:
            if row["ub_x"]:
                rois = [tuple(body["upper_body_roi"]) for body in answers[0]["upper_bodies"]]
                found.append(any(_covers(roi, row) for roi in rois))
    return [
        share("upper_body_detection", "recall: labelled upper bodies found", found, "0.95"),
        share("upper_body_detection", "pictures with the exact count", exact, "0.97"),
    ]


def _spread(path: Path, count: int = 8) -> list[int]:
    total = count_frames(path)
    return [int((i + 0.5) * total / count) for i in range(count)]


def _covers(roi: Box, row: dict[str, str]) -> bool:
    """The box of head and torso points is tight: most of it must lie inside, and the box must be this person's."""
    tight = _box(row, "ub_x", "ub_y", "ub_w", "ub_h")
    return overlap(roi, tight) >= 0.6 * tight[2] * tight[3] and iou(roi, _box(row, "x", "y", "w", "h")) >= 0.25


async def motion_detection(client: Client) -> list[Row]:
    hits: dict[str, list[bool]] = {"0": [], "1": []}
    folder, rows = client.labels("motion_detection")
    for name, labelled in _grouped(rows).items():
        path = folder / name if (folder / name).exists() else folder.parent / "scene_analysis" / Path(name).name
        wanted = {n: row["motion"] for row in labelled for n in range(int(row["frame_start"]), int(row["frame_end"]) + 1)}
        session = client.new_session()
        step = max(1, round(float(labelled[0]["fps"]) / FRAMES_A_SECOND))
        for number, picture in frames(path):
            if number % step:
                continue
            answer = await client.do("motion_detection", picture, session=session)
            if number in wanted:
                hits[wanted[number]].append((answer["nb_targets"] > 0) == (wanted[number] == "1"))
    everything = share("motion_detection", "balanced accuracy of frames", hits["0"] + hits["1"], "0.995")
    balanced = sum(sum(mine) / len(mine) for mine in hits.values()) / 2
    return [Row(everything.service, everything.measure, balanced, everything.items, everything.low, everything.high, everything.aim)]


async def qrcode_decoder(client: Client) -> list[Row]:
    folder, rows = client.labels("qrcode_decoder")
    answers = await client.all("qrcode_decoder", [folder / row["file"] for row in rows])
    right = [a.get("data", "").strip() == row["text"].strip() for row, a in zip(rows, answers, strict=True) if row["n_codes"] == "1"]
    false = [
        "data" in a and (row["n_codes"] == "0" or a["data"].strip() != row["text"].strip()) for row, a in zip(rows, answers, strict=True)
    ]
    return [share("qrcode_decoder", "text exact", right, "0.98"), share("qrcode_decoder", "wrong or false", false, "0")]
