"""Writes the table of `docs/errors.md`: every error's code with its HTTP status and its explanation, from `shared/errors.py`.

`python -m tools.errors_page`; `make docs-api` runs it. A test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.http.problem import status_of, title_of
from shared.errors import error_types

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
BEGIN, END = "<!-- errors:begin -->\n", "<!-- errors:end -->"


def table() -> str:
    """A row for each code, by status."""
    rows = [
        f"| {status_of(code)} | `{code}` | {title_of(code)} | {'yes' if kind.retryable else ''} |"
        for code, kind in sorted(error_types().items(), key=lambda item: (status_of(item[0]), item[0]))
    ]
    return "\n".join(["| status | `code` | meaning | try again |", "|---|---|---|---|", *rows]) + "\n"


def with_table(page: str) -> str:
    """The page with today's table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
    sys.exit(0)
