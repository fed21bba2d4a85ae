"""What was used of a plan, as a bar with words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from accounts.model import Limits
from shared.usage import Allowance

#: From this share on, a bar warns.
_NEARLY = 0.9


@dataclass(frozen=True, slots=True)
class Bar:
    """``used`` of ``most`` seconds (None: no limit) until ``renewed`` (UTC), and the same in words. ``state``: well, nearly or full."""

    used: int
    most: int | None
    renewed: datetime
    text: str
    state: str


def bar_of(allowance: Allowance, used: int, renewed: datetime) -> Bar:
    """Seconds beyond the limit, which can be if it was lowered, are told but do not make the bar longer."""
    most = allowance.seconds
    if most is None:
        return Bar(used, None, renewed, f"{in_words(used)} this {allowance.period}, no limit", "well")
    state = "full" if used >= most else "nearly" if used >= _NEARLY * most else "well"
    return Bar(min(used, most), most, renewed, f"{in_words(used)} of {in_words(most)} this {allowance.period}", state)


def in_words(seconds: int) -> str:
    """``2 h 5 min``; below an hour ``4 min 10 s``; whole hours without the rest."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {left} s" if left else f"{minutes} min"
    return f"{left} s"


def plan_in_words(limits: Limits) -> str:
    """``One stream an account, 3 h of stream a month.``"""
    allowance = limits.allowance
    count = "Any number of streams" if limits.streams is None else "One stream" if limits.streams == 1 else f"{limits.streams} streams"
    if allowance.seconds is None:
        return f"{count} an account, without a limit of time."
    each = " each" if allowance.scope == "stream" and limits.streams != 1 else ""
    return f"{count} an account, {in_words(allowance.seconds)} of stream a {allowance.period}{each}."
