"""Says a sentence: python text_to_speech.py "Hi guys, how are you today?" --lang en-US"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from common import connect

from angus import sound

#: Programs that play a WAV file, and what makes them quiet about it and end by themselves.
PLAYERS = {"aplay": ["-q"], "afplay": [], "ffplay": ["-nodisp", "-autoexit", "-loglevel", "error"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--lang", default="en-US", help="en-US, en-GB, de-DE, es-ES, fr-FR or it-IT")
    parser.add_argument("--output", type=Path, default=Path("output.wav"))
    parser.add_argument("--play", action="store_true", help="say it aloud, with aplay, afplay or ffplay")
    given, conn = connect(parser)
    job = conn.services.get_service("text_to_speech", version=1).process({"text": given.text, "lang": given.lang})
    given.output.write_bytes(sound.decode(job.result["sound"]))
    print(f"{given.output}, spoken by {job.result['voice']}")
    if given.play:
        play(given.output)


def play(file: Path) -> None:
    """Play a WAV file with the first player that is installed."""
    found = next((name for name in PLAYERS if shutil.which(name)), None)
    if found is None:
        sys.exit(f"none of {', '.join(PLAYERS)} is installed")
    subprocess.run([found, *PLAYERS[found], str(file)], check=True)  # noqa: S603


main()
