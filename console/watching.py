"""Facts of the running system, put so that people, and programs, can read them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from accounts.usage import AccountUsage
from shared.facts import DeadLetter
from shared.operations import Facts, models_of

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))

#: How a message died, for people.
REASONS = {
    "rejected": "given up by the workers",
    "expired": "not done by its deadline",
    "delivery_limit": "given back too often",
    "maxlen": "its queue was full",
}


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3.5 min``, ``2.1 h``, ``5.0 d``; a dash for what is not known."""
    if seconds is None:
        return "–"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f}".removesuffix(".0") + " s" if seconds < 10 else f"{seconds:.0f} s"


def rate(per_second: float | None) -> str:
    """``0``, ``0.4``, ``27``; a dash for what is not known."""
    if per_second is None:
        return "–"
    return f"{per_second:.1f}" if 0 < per_second < 10 else f"{per_second:.0f}"


def size(count: int) -> str:
    """``412 B``, ``3.1 kB``, ``2.0 MB``."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def moment(seconds: float) -> str:
    """``2026-03-01 12:30:05 UTC``, of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(seconds: float) -> str:
    """The same as machines read it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def since(seconds: float) -> str:
    """How long ago that was."""
    return duration(max(0.0, time.time() - seconds))


def sentence(text: str) -> str:
    """With a capital letter at its beginning: errors are written to stand behind something."""
    return text[:1].upper() + text[1:]


FILTERS = {
    "sentence": sentence,
    "duration": duration,
    "rate": rate,
    "size": size,
    "moment": moment,
    "iso": iso,
    "since": since,
    "models": models_of,
}


def view(facts: Facts) -> dict[str, Any]:
    """What the templates of the live sections are given."""
    sessions = facts.sessions or {}
    queues = [
        {
            "name": line.name,
            "facts": line.facts,
            "source": line.source,
            "unserved": line.facts.ready > 0 and line.facts.consumers == 0,
        }
        for line in facts.queues or ()
    ]
    return {
        "facts": facts,
        "queues": queues,
        "workers": [(worker, served) for worker in facts.workers or () for served in worker.services],
        "processes": None if facts.workers is None else len(facts.workers),
        "waiting": None if facts.queues is None else sum(line.facts.ready for line in facts.queues),
        "oldest": max((line.facts.oldest_seconds or 0.0 for line in facts.queues or ()), default=None),
        "sessions": sorted((f"{name} {version}" if version > 1 else name, count) for (name, version), count in sessions.items()),
        "session_count": None if facts.sessions is None else sum(sessions.values()),
        "reasons": REASONS,
    }


def used_view(accounts: Sequence[AccountUsage]) -> list[dict[str, Any]]:
    """What the table of usage is given: ``share`` (0..100) is None where there is no limit, or where it is each stream's own."""
    rows = []
    for one in accounts:
        allowance = one.usage.allowance
        limit = allowance.seconds
        per_account = limit is not None and allowance.scope == "account"
        allowed = "no limit" if limit is None else f"{limit / 3600:g} h a {allowance.period}" + ("" if per_account else " for each stream")
        share = round(100 * min(1.0, one.usage.used / limit)) if limit and per_account else None
        rows.append(
            {
                "email": one.account.email,
                "plan": one.account.plan.value,
                "used": one.usage.used,
                "allowed": allowed,
                "share": share,
                "renewed": one.usage.renewed,
            }
        )
    return rows


def as_json(facts: Facts) -> dict[str, Any]:
    """The same for programs; times in seconds since 1970, null for what is not known."""
    return {
        "at": facts.at,
        "queues": None
        if facts.queues is None
        else [{"name": line.name, **asdict(line.facts), "source": line.source} for line in facts.queues],
        "workers": None if facts.workers is None else [asdict(worker) for worker in facts.workers],
        "sessions": None
        if facts.sessions is None
        else [{"service": name, "version": version, "alive": count} for (name, version), count in sorted(facts.sessions.items())],
        "dead_letters": None
        if facts.dead_letters is None
        else {"total": facts.dead_letters, "latest": [letter_as_json(letter, obstacle) for letter, obstacle in facts.letters]},
        "faults": list(facts.faults),
        "gap": facts.gap,
    }


def letter_as_json(letter: DeadLetter, obstacle: str | None) -> dict[str, Any]:
    """``obstacle``: why it cannot be put back into its queue, or null."""
    return {**asdict(letter), "obstacle": obstacle}
