"""The document of the benchmarks: each table stands between markers of its own and is written anew there."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

The tables are written by `make bench`; `bench/README.md` says what is measured and how. Figures are medians over the rounds, the range in
brackets; ratios are taken within each round, then their median. Compare systems within a table, never a table with another: each is one run.
"""


def write(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Put `text` between the markers called `name` in the document, which is made if it is not there."""
    begin, end = f"<!-- bench:{name}:begin -->", f"<!-- bench:{name}:end -->"
    block = f"{begin}\n{text.strip()}\n{end}"
    whole = document.read_text() if document.exists() else _HEAD
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    whole = pattern.sub(lambda _: block, whole) if pattern.search(whole) else f"{whole.rstrip()}\n\n{block}\n"
    document.parent.mkdir(exist_ok=True)
    document.write_text(whole)
