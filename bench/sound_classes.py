"""`python -m bench.sound_classes FOLDER`: how sure the names of sounds are, from labelled recordings.

FOLDER holds mono WAV files and ``labels.csv``: ``file``; ``fit``, 1 where constants and thresholds are derived from it and 0
where it only measures; ``names``, what is heard in it, and ``unknown``, what may or may not be, each as class names of AudioSet
joined by ``|``. Every other class counts as wrong. Each recording (20 s of it) is heard as it is and 30 dB
quieter.

Prints slope and offset for `workers.models.yamnet` (logistic regression of being right on the pooled log odds) and what they
are worth on what they were not fitted to: each kind of sound of the fit set with constants of the others, and
the rest. With ``--write`` the thresholds in ``audioset.csv`` are derived anew: the lowest confidence from which three names in
four are right, where a class counts for five more names of the average class, so that one never seen has the average threshold.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from models.manifest import DEFAULT_DIRECTORY
from tests.services.helpers import given, wav
from workers.contract import Item
from workers.inference.onnx import OnnxModels
from workers.lib.audio import decode_wav
from workers.models import yamnet
from workers.naming import Ear, Namer, Span
from workers.services.sound_detection import SoundDetection, SoundDetectionOutput

LEVELS = (0.0, -30.0)  # dB
SECONDS = 20  # of each recording
HOLD = 0.3  # seconds after which a sound's end is known
LEAST = -8.5  # pooled log odds from which a class counts: below, nothing at all was heard of it
GRID = [each / 100 for each in range(30, 95, 5)]
WANTED, PRIOR = 0.75, 5
TABLE = Path(yamnet.__file__).with_name("audioset.csv")


@dataclass(frozen=True, slots=True)
class Found:
    """Classes that may have been heard in one sound: numbers [n], pooled log odds [n], whether they are right [n]."""

    kind: str
    fit: bool
    numbers: np.ndarray
    odds: np.ndarray
    right: np.ndarray


class Listener:
    """Hears recordings the way the service does."""

    def __init__(self) -> None:
        models = OnnxModels(DEFAULT_DIRECTORY)
        self.service = SoundDetection()
        self.service.load(models)
        self.namer = Namer(models)
        if self.namer.fault is not None:
            raise SystemExit(self.namer.fault.message)
        self.vocabulary = yamnet.read_vocabulary(models.path(yamnet.CLASS_MAP))
        self.number = {name: index for index, name in enumerate(self.vocabulary.names)}

    def sounds(self, samples: np.ndarray, rate: int) -> Iterator[yamnet.Evidence]:
        """What was heard of each sound in a recording."""
        (output,) = self.service.process([Item(given(SoundDetection, {"sound": wav(samples, rate)}))])
        assert isinstance(output, SoundDetectionOutput)
        indices = [event.index for event in output.events]
        ends = [min(end + round(HOLD * rate), len(samples)) for end in indices[1::2]]
        spans = [Span(on, off, known) for on, off, known in zip(indices[::2], indices[1::2], ends, strict=True)]
        followed = Ear(samples.astype(np.float32), rate, None, alone=True).follow(spans, HOLD)
        self.namer.hear(followed)
        return (sound.evidence for sound in followed)

    def judged(self, row: dict[str, str], evidence: yamnet.Evidence) -> Found:
        """The classes of a sound beside what its recording is labelled with."""
        true = self._with_implied(row["names"])
        unknown = self._with_implied(row["unknown"])
        unknown |= {each for each, above in enumerate(self.vocabulary.implied) if true & set(above)}
        counts = np.isfinite(self.vocabulary.thresholds)
        counts[sorted(unknown - true)] = False
        right = np.isin(np.arange(yamnet.CLASSES), sorted(true))
        numbers = np.flatnonzero(counts & ((evidence.best > LEAST) | right))
        return Found(row["names"].split("|")[0], row["fit"] == "1", numbers, evidence.best[numbers], right[numbers])

    def _with_implied(self, joined: str) -> set[int]:
        numbers = {self.number[name] for name in joined.split("|") if name}
        return numbers | {above for each in numbers for above in self.vocabulary.implied[each]}


def hear(folder: Path) -> list[Found]:
    """Every sound of every recording at every level."""
    listener, found = Listener(), []
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        waveform = decode_wav((folder / row["file"]).read_bytes(), max_seconds=3600)
        for level in LEVELS:
            samples = waveform.samples[: SECONDS * waveform.rate, 0] * 10 ** (level / 20)
            found += [listener.judged(row, evidence) for evidence in listener.sounds(samples, waveform.rate)]
    return found


def fitted(sounds: list[Found]) -> tuple[float, float]:
    """Slope and offset of the logistic regression."""
    odds = np.concatenate([sound.odds for sound in sounds]).astype(float)
    right = np.concatenate([sound.right for sound in sounds]).astype(float)

    def loss(constants: np.ndarray) -> float:
        z = constants[0] * odds + constants[1]
        return float(np.mean(np.logaddexp(0, z) - right * z))

    slope, offset = minimize(loss, [1.0, 0.0]).x
    return float(slope), float(offset)


def chances(sound: Found, constants: tuple[float, float]) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-(constants[0] * sound.odds + constants[1]))))


def report(what: str, judged: list[tuple[Found, np.ndarray]], least: np.ndarray) -> None:
    """Of what is named (confidence from ``least`` by class): how much is right, how sure it was, expected calibration error."""
    sure = np.concatenate([chance for _, chance in judged])
    right = np.concatenate([sound.right for sound, _ in judged])
    named = sure >= least[np.concatenate([sound.numbers for sound, _ in judged])]
    sure, good = sure[named], right[named]
    bins = np.minimum((sure * 10).astype(int), 9)
    shares = [(np.mean(bins == b), abs(good[bins == b].mean() - sure[bins == b].mean())) for b in set(bins.tolist())]
    error = sum(share * gap for share, gap in shares)
    firsts = [bool(sound.right[chance.argmax()]) for sound, chance in judged if sound.right.any()]
    print(
        f"{what}: {len(judged)} sounds, first name right {np.mean(firsts):.3f}; {len(good)} names, right {good.mean():.3f}, "
        f"confidence {sure.mean():.3f}, calibration error {error:.3f}; {good.sum() / right.sum():.3f} of what is there named"
    )


def thresholds(sounds: list[Found], constants: tuple[float, float]) -> np.ndarray:
    """float [521]: for each class the lowest of `GRID` from which `WANTED` of its names are right."""
    numbers = np.concatenate([sound.numbers for sound in sounds])
    right = np.concatenate([sound.right for sound in sounds])
    sure = np.concatenate([chances(sound, constants) for sound in sounds])
    average = {least: right[sure >= least].mean() for least in GRID}
    made = np.full(yamnet.CLASSES, GRID[-1])
    for number in range(yamnet.CLASSES):
        for least in GRID:
            named = (numbers == number) & (sure >= least)
            if (right[named].sum() + PRIOR * average[least]) / (named.sum() + PRIOR) >= WANTED:
                made[number] = least
                break
    return made


def write(made: np.ndarray) -> None:
    """Puts thresholds into the table, but for classes that are never named."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row, least in zip(rows, made, strict=True):
            writer.writerow({**row, "threshold": f"{least:g}" if row["threshold"] else ""})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sound_classes", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="derive the thresholds in audioset.csv anew")
    args = parser.parse_args()
    sounds = hear(args.folder)
    known = [sound for sound in sounds if sound.fit]
    constants = fitted(known)
    least = thresholds(known, constants)
    print(f"slope {constants[0]:.3f}, offset {constants[1]:.3f}; thresholds {sorted(set(least.tolist()))}")
    unseen = []
    for kind in sorted({sound.kind for sound in known}):
        others = fitted([sound for sound in known if sound.kind != kind])
        unseen += [(sound, chances(sound, others)) for sound in known if sound.kind == kind]
    average = np.full(yamnet.CLASSES, float(np.median(least)))
    report("fit set, each kind by the others", unseen, average)
    report("other recordings", [(sound, chances(sound, constants)) for sound in sounds if not sound.fit], least)
    if args.write:
        write(least)


if __name__ == "__main__":
    main()
