"""Seconds of speech per second of the processor, beside hibari's own package, and how soon sound comes.

The same text, one thread, in turns: the package with the faster transforms that it recommends, in a process
of its own; this project's code alone, from the text to the packed answer; and the service over HTTP with all
in one process, streamed, everything counted that runs for it. The package keeps the silence around each
sentence, the service cuts it and sets pauses of its own: per text, the processor's time says which is cheaper.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from statistics import median

from bench import facts
from bench.accuracy.speech import SENTENCES
from bench.load import Target, wait_right
from bench.picture import Body
from bench.processes import Child
from bench.systems import PEERS, Servers, embedded
from bench.venvs import interpreter, versions
from workers.contract import Files, Item, MediaLimits
from workers.inference.onnx import OnnxModels
from workers.services.text_to_speech import TextToSpeech, TextToSpeechOutput

LANGUAGES = ("en-US", "en-GB", "fr-FR", "es-ES", "it-IT", "de-DE")
_BYTES_A_SECOND = 48_000  # both engines: 24 kHz, 16 bit
_HEADER = 44  # bytes of a WAV file before its samples
_FIRST_SOUNDS = 8

#: Speaks a text in a language; returns the seconds of sound and of the processor.
Speak = Callable[[str, str], tuple[float, float]]


def text_of(language: str) -> str:
    """hibari's is long, two to three minutes; Kokoro's one sentence, for it is a hundred times slower."""
    sentences = [spellings[0] for spellings in SENTENCES[language[:2]]]
    return " ".join(sentences * 2) if language == "en-US" else sentences[0]


@contextmanager
def package() -> Iterator[Speak]:
    """hibari-tts in its own environment. It speaks en-US only here."""
    command = [interpreter("hibari"), PEERS / "hibari_tts.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        words, answers = process.stdin, process.stdout

        def speak(text: str, _: str) -> tuple[float, float]:
            print(json.dumps(text), file=words, flush=True)
            sound, seconds = json.loads(answers.readline())
            return sound, seconds

        yield speak


def alone() -> Speak:
    """The service's code without any server."""
    service = TextToSpeech()
    service.load(OnnxModels())

    def speak(text: str, language: str) -> tuple[float, float]:
        given = {"text": text, "lang": language, "stream": True}
        value = service.input_type.model_validate(given, context=Files({}, MediaLimits()).context())
        begin = time.process_time()
        output = service.process_streamed(Item(value), lambda _: None)
        seconds = time.process_time() - begin
        if not isinstance(output, TextToSpeechOutput):
            raise SystemExit(f"{language}: {output}")
        samples = zlib.decompress(base64.b64decode(output.sound))
        return (len(samples) - _HEADER) / _BYTES_A_SECOND, seconds

    return speak


@dataclass
class Served:
    """A server that speaks."""

    target: str
    authorization: str
    server: Child

    def open(self, text: str, language: str) -> HTTPResponse:
        """An answer that is a WAV while it is being made."""
        headers = {"Content-Type": "application/json", "Accept": "audio/wav"}
        headers["Authorization"] = self.authorization
        body = json.dumps({"text": text, "lang": language, "stream": True}).encode()
        answer: HTTPResponse = urllib.request.urlopen(urllib.request.Request(self.target, body, headers))
        return answer

    def speak(self, text: str, language: str) -> tuple[float, float]:
        begin = self.server.group.cpu_seconds()
        with self.open(text, language) as answer:
            sound = len(answer.read()) - _HEADER
        return sound / _BYTES_A_SECOND, self.server.group.cpu_seconds() - begin

    def first_sound(self, text: str, language: str) -> float:
        """Milliseconds from the request to the first samples; the rest is read, so that nothing runs on."""
        begin = time.perf_counter()
        with self.open(text, language) as answer:
            answer.read(_HEADER + 2)
            found = 1e3 * (time.perf_counter() - begin)
            answer.read()
        return found


@contextmanager
def served() -> Iterator[Served]:
    """`sensorium up text_to_speech`."""
    with tempfile.TemporaryDirectory(prefix="sensorium-bench-") as name, ExitStack() as stack:
        base, authorization, children = embedded(Servers(Path(name)), stack, "text_to_speech")
        url = f"{base}/services/text_to_speech/1/jobs"
        hello = json.dumps({"text": "Hello.", "lang": "en-US", "async": False}).encode()
        body = Body(hello, "application/json")
        target = Target(url, body, lambda status, _: status in (200, 201), authorization)
        wait_right(target, list(children.values()))
        yield Served(url, authorization, children["server"])


def rows(language: str, speakers: Mapping[str, Speak], rounds: int) -> Iterator[str]:
    """A row of the table for each, who take turns; the first one warms up."""
    seen: dict[str, list[tuple[float, float]]] = {who: [] for who in speakers}
    for _ in range(rounds + 1):
        for who, speak in speakers.items():
            seen[who].append(speak(text_of(language), language))
    for who, (_, *turns) in seen.items():
        sound, seconds = turns[0][0], [turn[1] for turn in turns]
        rates = [sound / each for each in seconds]
        cells = f"{sound:.1f} | {median(seconds):.2f} | {median(rates):.1f}"
        yield f"| {language} | {who} | {cells} | {min(rates):.1f} – {max(rates):.1f} |"


def main() -> None:
    """Print the table, and the first sounds."""
    parser = argparse.ArgumentParser(prog="python -m bench.speech", description=__doc__)
    parser.add_argument("--languages", nargs="*", default=["en-US"], choices=LANGUAGES)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found = versions("hibari", "hibari-tts", "onnxruntime", "numpy", "scipy")
    print(facts.sentence({**facts.machine(), **found}))
    print("| language | who | s of speech | CPU s | speech a CPU s | lowest – highest |")
    print("|---|---|---:|---:|---:|---:|")
    with served() as server, package() as theirs:
        ours = {"alone": alone(), "over HTTP": server.speak}
        for language in args.languages:
            speakers = {"hibari-tts": theirs, **ours} if language == "en-US" else ours
            for row in rows(language, speakers, args.rounds):
                print(row, flush=True)
        times = sorted(server.first_sound(text_of("en-US"), "en-US") for _ in range(_FIRST_SOUNDS))
    print(f"\nFirst sound of {_FIRST_SOUNDS} streams: {median(times):.0f} ms, at most {times[-1]:.0f} ms")


if __name__ == "__main__":
    main()
