"""Measures of the services that listen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bench.accuracy.client import Client, wav_bytes
from bench.accuracy.figures import Row, mean, share
from workers.lib.audio import decode_wav

CHUNK = 8192
FRAME = 512  # 32 ms at 16 kHz
NOISE = 10 ** (-66 / 20)


#: What a labelled sound may be called: its class of AudioSet, or a more general one.
CALLED = {
    "car horn": {"Vehicle horn, car horn, honking", "Toot", "Car", "Motor vehicle (road)", "Vehicle", "Alarm"},
    "applause": {"Applause"},
    "dog": {"Bark", "Dog", "Domestic animals, pets", "Animal"},
    "piano": {"Piano", "Keyboard (musical)", "Musical instrument", "Music"},
    "typing": {"Computer keyboard", "Typing"},
    "rain": {"Rain on surface", "Rain", "Water"},
    "speech": {"Speech"},
}


def mono(path: Path) -> tuple[np.ndarray, int]:
    """float [frames] in -1..1 and the rate."""
    sound = decode_wav(path.read_bytes(), max_seconds=3600)
    return sound.samples.mean(axis=1), sound.rate


async def sound_detection(client: Client) -> list[Row]:
    folder, rows = client.labels("sound_detection")
    random = np.random.default_rng(1)
    found, timely = [], []
    for row in rows:
        samples, rate = mono(folder / row["file"])
        piece = _loudest_second(samples, rate)
        quiet = random.normal(0, NOISE, 2 * rate + len(piece))
        quiet[2 * rate :] += piece
        answer = await client.do("sound_detection", wav_bytes(quiet, rate), key="sound")
        onsets = [event["index"] / rate for event in answer["events"] if event["type"] == "sound_on"]
        found.append(any(onset >= 1.5 for onset in onsets))
        timely.append(any(abs(onset - 2.0) <= 0.3 for onset in onsets))
    nothing = []
    for level in (0.0, NOISE):
        answer = await client.do("sound_detection", wav_bytes(random.normal(0, 1, 5 * 16000) * level, 16000), key="sound")
        nothing.append(answer["nb_events"] == 0)
    name = "sound_detection"
    return [
        share(name, "found", found, "1.0"),
        share(name, "onset within 0.3 s", timely, "1.0"),
        share(name, "nothing on silence and low noise", nothing, "1.0"),
        share(name, "classes: first name right or more general", await _called(client), "1.0"),
    ]


async def _called(client: Client) -> list[bool]:
    """Whether the longest sound of each labelled recording, and of each conversation, is called what it is."""
    folder, rows = client.labels("sound_detection")
    labels = {folder / row["file"]: row["label"] for row in rows}
    speech, rows = client.labels("voice_detection")
    labels |= {speech / row["file"]: "speech" for row in rows if row["speech"] == "1"}
    right = []
    for path, label in labels.items():
        samples, rate = mono(path)
        answer = await client.do("sound_detection", wav_bytes(samples, rate), key="sound", classes=True)
        longest = max(answer["sounds"], key=lambda sound: sound["end_index"] - sound["start_index"])
        right.append(any(each["name"] in CALLED[label] for each in longest["classes"][:1]))
    return right


def _loudest_second(samples: np.ndarray, rate: int) -> np.ndarray:
    """Recordings may begin with silence; what begins at a known time is the second with the most energy."""
    energy = np.concatenate([[0.0], np.cumsum(samples**2)])
    start = int(np.argmax(energy[rate:] - energy[:-rate])) if len(samples) > rate else 0
    return samples[start : start + rate]


async def voice_detection(client: Client) -> list[Row]:
    folder, rows = client.labels("voice_detection")
    hits = misses = false = 0
    for name in sorted({row["file"] for row in rows}):
        samples, rate = mono(folder / name)
        said = await _voice(client, samples, rate)
        truth = np.zeros(len(samples), bool)
        for row in rows:
            if row["file"] == name and row["speech"] == "1":
                truth[int(float(row["start_s"]) * rate) : int(float(row["end_s"]) * rate)] = True
        step = round(rate * 0.032)
        for start in range(0, len(samples) - step + 1, step):
            is_voice, heard = truth[start : start + step].mean() >= 0.5, said[start : start + step].mean() >= 0.5
            hits, misses, false = hits + (is_voice and heard), misses + (is_voice and not heard), false + (heard and not is_voice)
    precision_recall = 2 * hits / max(1, 2 * hits + misses + false)
    alarms: list[bool] = []
    for path in sorted((folder.parent / "sound_detection").glob("*.wav")):
        samples, rate = mono(path)
        said = await _voice(client, samples, rate)
        step = round(rate * 0.032)
        alarms += [bool(said[start : start + step].mean() >= 0.5) for start in range(0, len(samples) - step + 1, step)]
    return [
        Row("voice_detection", "F1 of 32 ms frames", precision_recall, hits + misses + false, aim="0.95"),
        share("voice_detection", "false alarm on other sounds", alarms, "≤ 0.005"),
    ]


async def _voice(client: Client, samples: np.ndarray, rate: int) -> np.ndarray:
    """bool [frames]: where voice was said to be; ON counts for the second half of its piece, OFF for the first."""
    session = client.new_session()
    said = np.zeros(len(samples), bool)
    for start in range(0, len(samples), CHUNK):
        piece = samples[start : start + CHUNK]
        answer = await client.do("voice_detection", wav_bytes(piece, rate), key="sound", session=session)
        half = start + len(piece) // 2
        begin, end = {"VOICE": (start, start + len(piece)), "ON": (half, start + len(piece)), "OFF": (start, half)}.get(
            answer["voice_activity"], (0, 0)
        )
        said[begin:end] = True
    return said


async def sound_localization(client: Client) -> list[Row]:
    folder, rows = client.labels("sound_localization")
    errors, sides = [], []
    for row in rows:
        azimuth = float(row["azimuth_deg"])
        answer = await client.do("sound_localization", (folder / row["file"]).read_bytes(), key="sound", baseline=0.20)
        sources = answer["sources"]
        yaw = math.degrees(max(sources, key=lambda source: source["confidence"])["yaw"]) if sources else math.inf
        if abs(azimuth) <= 60:
            errors.append(abs(yaw - azimuth))
        if azimuth:
            sides.append(math.isfinite(yaw) and (yaw > 0) == (azimuth > 0))
    name = "sound_localization"
    return [
        mean(name, "azimuth error up to 60°, degrees: median", errors, "1", "median"),
        mean(name, "the same: 90th percentile", errors, "5", "p90"),
        share(name, "side right", sides, "1.0"),
    ]
