"""How a text is read aloud: what is written short becomes words, words become phonemes, and long texts become pieces."""

from __future__ import annotations

from workers.lib.reading import english, european
from workers.lib.reading.pieces import is_speakable

__all__ = ["is_speakable", "spell"]


def spell(text: str, language: str) -> str:
    """Numbers, dates, times, amounts, units and abbreviations as words. ``language``: like ``en-US``."""
    code = language.partition("-")[0]
    return english.spell(text, british=language == "en-GB") if code == "en" else european.spell(text, code)
