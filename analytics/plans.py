"""Sums over many spans of time in one statement, put so that each database finds its way along the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession


async def sums_in_each(
    session: AsyncSession,
    pieces: CTE,
    keys: Sequence[ColumnElement[Any]],
    table: type[Any],
    inside: ColumnElement[bool],
    sums: Sequence[Any],
) -> Select[Any]:
    """Rows of ``keys`` and ``sums`` (of which one is called ``visits``) over the rows of ``table`` that are ``inside`` a piece.

    A piece without any has no row; pieces with the same keys may have one together. PostgreSQL is told piece by piece, since
    it takes a join on a span of time for a thousand times the work that it is and reads the whole table instead; it would also
    compile such a statement to machine code first, for more than a second, so that is off for the rest of the transaction.
    """
    if session.get_bind().dialect.name != "postgresql":
        return select(*keys, *sums).join_from(pieces, table, inside).group_by(*keys)
    await session.execute(text("SET LOCAL jit = off"))
    each = select(*sums).where(inside).correlate(pieces).lateral("each")
    return select(*keys, *each.c).join_from(pieces, each, true()).where(each.c.visits > 0)
