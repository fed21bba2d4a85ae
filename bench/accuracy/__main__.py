"""`python -m bench.accuracy`: every service on the labelled data, one table in docs/accuracy.md."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.accuracy import pictures, scenes, sounds, speech
from bench.accuracy.client import Client, data_folder, embedded_client
from bench.accuracy.figures import Row

MEASURES: dict[str, Callable[[Client], Awaitable[list[Row]]]] = {
    "face_detection": pictures.face_detection,
    "age_and_gender_estimation": pictures.age_and_gender,
    "face_expression_estimation": pictures.face_expression,
    "face_recognition": pictures.face_recognition,
    "gaze_analysis": pictures.gaze_analysis,
    "upper_body_detection": pictures.upper_body,
    "scene_analysis": scenes.scene_analysis,
    "motion_detection": pictures.motion_detection,
    "qrcode_decoder": pictures.qrcode_decoder,
    "sound_detection": sounds.sound_detection,
    "voice_detection": sounds.voice_detection,
    "sound_localization": sounds.sound_localization,
    "text_to_speech": speech.text_to_speech,
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "accuracy.md"
HEAD = """# Accuracy

Made by `make accuracy` on {day}: every service on labelled data, through the HTTP API of an embedded instance. Shares have Wilson's 95 %
interval, means and percentiles the bootstrap's. Small sets: one or two items are no progress. The data is real and from public sources. The
thresholds of motion, of upper bodies and of scene analysis, the hold of the voice, and the calibration of dlib's face network
(on the right) were chosen while looking at these files: read those rows as development figures.
What each measure is stands in `bench/accuracy/`.

The figures on the left are those of the preferred networks, on the right those of what package registries alone have, with the networks that
stand in for the others ([models](../models/README.md)). They are empty for services that need no network, or whose networks are the same;
names of sounds (`classes`) need a network that no registry has.

| service | measure | figure | items | 95 % interval | registries alone | items | 95 % interval | aim |
|---|---|---:|---:|---|---:|---:|---|---|
"""


#: Services whose networks all are in package registries or cannot be replaced, or that have none: measured once.
SAME = frozenset({"motion_detection", "qrcode_decoder", "sound_detection", "voice_detection", "sound_localization", "text_to_speech"})


async def measure(names: list[str], *, registry_models: bool = False) -> list[Row]:
    """The rows of these services; ``registry_models``: with the networks of package registries alone."""
    rows: list[Row] = []
    async with embedded_client(data_folder(), registry_models=registry_models) as client:
        available = await client.services()
        for name in names:
            if name not in available:
                print(f"{name}: not available")
                continue
            found = await MEASURES[name](client)
            rows += found
            for row in found:
                print(row.text(), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("services", nargs="*", default=list(MEASURES), help="which services; with all of them the document is written")
    parser.add_argument("--registries", action="store_true", help="only with the networks of package registries; writes nothing")
    args = parser.parse_args()
    twice = [name for name in args.services if name not in SAME]
    if args.registries:
        asyncio.run(measure(twice, registry_models=True))
        return
    rows = asyncio.run(measure(args.services))
    others = {(row.service, row.measure): row for row in asyncio.run(measure(twice, registry_models=True))} if twice else {}
    if set(args.services) == set(MEASURES):
        lines = [row.text(others.get((row.service, row.measure))) for row in rows]
        DOCUMENT.write_text(HEAD.format(day=f"{datetime.now(UTC):%Y-%m-%d}") + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
