"""Measures of the service that speaks: is it speech, how well is it understood, how fast is it made."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import tempfile
import tomllib
import wave
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy.client import Client
from bench.accuracy.figures import Row, share
from bench.venvs import FOLDER, interpreter

NAME = "text_to_speech"
ROOT = Path(__file__).parents[2]
SENTENCES: dict[str, list[list[str]]] = tomllib.loads(Path(__file__).with_name("spoken.toml").read_text(encoding="utf-8"))
#: The languages, and the word error rate that their human voices are to stay below.
AIMS = {"en-US": 0.15, "en-GB": 0.15, "de-DE": 0.20, "es-ES": 0.15, "fr-FR": 0.20, "it-IT": 0.15}
_RESAMPLES = 2000


async def text_to_speech(client: Client) -> list[Row]:
    """Every sentence by the language's first voice and by eSpeak NG."""
    sounds, valid, voiced = {}, [], []
    for language in AIMS:
        sentence = SENTENCES[language[:2]][0][0]
        sound = sounds[language] = await _say(client, sentence, language)
        with wave.open(io.BytesIO(sound)) as file:
            seconds = file.getnframes() / file.getframerate()
            valid.append(file.getsampwidth() == 2 and file.getnchannels() == 1 and 0.03 * len(sentence) < seconds < 0.2 * len(sentence))
        heard = await client.do("voice_detection", sound, key="sound")
        voiced.append(heard["voice_activity"] != "SILENCE")
    rows = [
        share(NAME, "valid WAV of plausible length", valid, "all"),
        share(NAME, "voice found in it", voiced, "all"),
        Row(NAME, "different languages sound different", len(set(sounds.values())), len(AIMS), aim="6"),
    ]
    for engine, who in (("neural", "human voice"), ("espeak", "eSpeak NG")):
        for language, aim in AIMS.items():
            heard = await _heard(client, language, engine)
            rows.append(error_rate(f"word error rate, {language}, {who}", heard, f"≤ {aim}" if engine == "neural" else ""))
    return rows


def error_rate(measure: str, heard: Sequence[dict[str, Any]], aim: str) -> Row:
    """Wrong words over words of all sentences, with the bootstrap's interval over sentences."""
    wrong = np.array([one["errors"] for one in heard], float)
    words = np.array([one["words"] for one in heard], float)
    picks = np.random.default_rng(0).integers(0, len(heard), (_RESAMPLES, len(heard)))
    low, high = np.percentile(wrong[picks].sum(axis=1) / words[picks].sum(axis=1), (2.5, 97.5))
    return Row(NAME, measure, float(wrong.sum() / words.sum()), len(heard), float(low), float(high), aim)


async def _say(client: Client, text: str, language: str, engine: str | None = None) -> bytes:
    answer = await client.do(NAME, text=text, lang=language, **({"engine": engine} if engine else {}))
    return zlib.decompress(base64.b64decode(answer["sound"]))


async def _heard(client: Client, language: str, engine: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        jobs = []
        for number, spellings in enumerate(SENTENCES[language[:2]]):
            path = Path(name) / f"{number}.wav"
            path.write_bytes(await _say(client, spellings[0], language, engine))
            jobs.append({"file": str(path), "language": language[:2], "spellings": spellings})
        return await asyncio.to_thread(_listen, jobs)


def _listen(jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the recogniser hears, in an environment of its own. Raises `subprocess.CalledProcessError`."""
    command = [interpreter("listener"), "-m", "bench.listener", str(FOLDER / "listener" / "whisper-base")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = "".join(json.dumps(job) + "\n" for job in jobs)
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]
