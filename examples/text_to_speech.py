"""Says a sentence: python text_to_speech.py "Hi guys, how are you today?" --lang en-US"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

from common import connect

from angus import sound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--lang", default="en-US", help="en-US, en-GB, de-DE, es-ES, fr-FR or it-IT")
    parser.add_argument("--output", type=Path, default=Path("output.wav"))
    given, conn = connect(parser)
    job = conn.services.get_service("text_to_speech", version=1).process({"text": given.text, "lang": given.lang})
    given.output.write_bytes(sound.decode(job.result["sound"]))
    print(f"{given.output}, spoken by {job.result['voice']}")
    player = shutil.which("aplay") or shutil.which("afplay") or shutil.which("ffplay")
    if player is not None:
        subprocess.run([player, str(given.output)], check=False)  # noqa: S603


main()
