"""When a request is sent again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Optional

#: Answers that say "not now": nothing was done, and the same request may succeed later.
LATER = (429, 503)


@dataclass(frozen=True)
class Retries:
    """How often and how patiently.

    ``attempts``: how many times a request is sent at most. Before the n-th repetition comes a pause of up to ``first`` x 2^n seconds,
    drawn at random so that many clients do not come back together, and never less than the server's Retry-After. A pause above
    ``longest`` seconds is not made: the error is raised instead, and carries the Retry-After.
    """

    attempts: int = 5
    first: float = 0.5
    longest: float = 20.0

    def pause(self, sent: int, retry_after: Optional[float]) -> Optional[float]:
        """Seconds to wait after the request was sent ``sent`` times, or None: give up."""
        if sent >= self.attempts or (retry_after or 0) > self.longest:
            return None
        drawn = random.uniform(0, min(self.first * 2.0 ** (sent - 1), self.longest))  # noqa: S311
        return drawn if retry_after is None else min(retry_after + drawn, self.longest)


#: Every error at once.
NO_RETRIES = Retries(attempts=1)


def retry_after_of(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds of the header Retry-After, given as a number or a date; None without one."""
    given = headers.get("Retry-After", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError):
        return None
