"""`python -m bench.listener FOLDER < jobs.jsonl`: what Whisper hears in WAV files, a JSON line each. Runs in an environment of its own.

A job is ``{"file": path, "language": "en", "spellings": […]}``; its answer adds ``heard``, ``errors`` and ``words``. ``FOLDER`` is where the
network lies or is put. int8, a beam of five, one thread.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.listener.weights import whisper_base
from bench.listener.words import nearest


def main() -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(whisper_base(Path(sys.argv[1]))), device="cpu", compute_type="int8", cpu_threads=1)
    for line in sys.stdin:
        job = json.loads(line)
        segments, _ = model.transcribe(job["file"], language=job["language"], beam_size=5, condition_on_previous_text=False)
        heard = " ".join(segment.text.strip() for segment in segments)
        wrong, count = nearest(job["spellings"], heard, job["language"])
        print(json.dumps({**job, "heard": heard, "errors": wrong, "words": count}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
