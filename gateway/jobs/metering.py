"""Seconds of stream at the gate: which jobs a plan lets in, and that what was counted reaches the database.

The first job of a stream in a second asks the meter; the others of that second are let in without asking anybody. So
counts are exact, however many gateways there are, and cost nothing where many jobs come.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from accounts.credentials import Tenant
from accounts.usage import Ledger
from shared import metrics
from shared.aio import Clock, SingleFlight, TtlCache, jittered
from shared.errors import PerceptionError, QuotaExceeded, StoreAway, Unavailable
from shared.log import get_logger
from shared.ports import Meter
from shared.settings import Settings
from shared.usage import Allowance, Count, Metered, day_of, period_of

log = get_logger(__name__)

_MOST_GRANTS = 10_000
#: While nobody can count, a stream of a paid plan is let in for this long without asking again, in seconds.
_UNCOUNTED_SECONDS = 1.0
#: A grant holds until the second that was counted is over, or for the time above, in seconds.
_LONGEST_GRANT = 1.0
#: Answers of `Meter.unsaved` that are saved in one go.
_MOST_ROUNDS = 100
#: Old days are looked for this often, in seconds.
_FORGET_EVERY = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What holds for a stream until the moment ``until`` of the process's own clock: its jobs are let in, or refused.

    ``fields``: header fields for the answers.
    """

    until: float
    fields: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None
    retry_after: float = 0.0

    def check(self) -> Grant:
        """Raises `QuotaExceeded` when jobs are refused."""
        if self.refusal is not None:
            error = QuotaExceeded(self.refusal, retry_after=self.retry_after)
            error.fields = self.fields
            raise error
        return self


class Metering:
    """Counts the seconds of the streams whose jobs are let in."""

    def __init__(
        self,
        meter: Meter,
        ledger: Ledger,
        settings: Settings,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._meter, self._ledger, self._clock = meter, ledger, clock
        self._save_seconds, self._days = settings.usage_save_seconds, settings.usage_days
        self._grants: TtlCache[str, Grant] = TtlCache(_LONGEST_GRANT, _MOST_GRANTS, clock)
        self._asking: SingleFlight[str, Grant] = SingleFlight()
        self._counters: dict[str, Any] = {}

    async def admit(self, tenant: Tenant) -> Grant:
        """Let a job of the stream in, now. Raises `QuotaExceeded` over the plan, `StoreAway` when nobody can say and the plan is not paid."""
        grant = self._grants.get(tenant.id)
        if grant is not None and self._clock() < grant.until:
            return grant.check()
        while True:
            first = tenant.id not in self._asking
            grant = await self._asking.do(tenant.id, lambda: self._ask(tenant))
            if first or self._clock() < grant.until:  # else the second that was counted for somebody else is over
                return grant.check()

    async def _ask(self, tenant: Tenant) -> Grant:
        """What the meter says, remembered before the question has ended: nobody asks again in between."""
        self._grants.pop(tenant.id)
        grant = await self._answer(tenant)
        self._grants.put(tenant.id, grant)
        return grant

    async def _answer(self, tenant: Tenant) -> Grant:
        who, allowance = Metered(tenant.account, tenant.id), tenant.allowance
        asked = self._clock()
        try:
            count = await self._meter.count(who, allowance)
            if not count.known:
                await self._meter.begin(who, await self._ledger.known(who, count.now))
                asked = self._clock()
                count = await self._meter.count(who, allowance)
            if not count.known:
                raise StoreAway("the store forgets what it counts")
        except Unavailable as error:
            return self._without_count(allowance, error)
        if count.granted:
            self._counter(allowance.plan).inc()
        # The question was on its way for a while before the store looked at its clock: so the grant ends a little early.
        return _grant(allowance, count, asked + count.left)

    def _without_count(self, allowance: Allowance, error: PerceptionError) -> Grant:
        if not allowance.paid:
            raise StoreAway(f"The use of the plan {allowance.plan} cannot be counted at the moment") from error
        metrics.UNCOUNTED.labels(allowance.plan).inc()
        return Grant(self._clock() + _UNCOUNTED_SECONDS)

    def _counter(self, plan: str) -> Any:
        counter = self._counters.get(plan)
        if counter is None:
            counter = self._counters[plan] = metrics.STREAM_SECONDS.labels(plan)
        return counter

    # What was counted, on its way to the database

    async def keep_saving(self) -> None:
        """Save what was counted every so often, for ever; of all gateways one does it each time."""
        forget_at = 0.0
        while True:
            await asyncio.sleep(jittered(self._save_seconds, 0.75))
            try:
                await self.save(0.5 * self._save_seconds)
                if self._clock() >= forget_at:
                    await self._ledger.forget(day_of(time.time()) - self._days)
                    forget_at = self._clock() + _FORGET_EVERY
            except Unavailable as error:
                log.warning("usage.not_saved", reason=error.message)

    async def save(self, lease: float = 0.0) -> None:
        """Save what was counted so far; ``lease`` (seconds): unless another process just did. Raises `Unavailable`."""
        for _ in range(_MOST_ROUNDS):
            days = await self._meter.unsaved(lease)
            if not days:
                return
            await self._ledger.save(days)
            await self._meter.saved(days)
            lease = 0.0

    async def save_last(self) -> None:
        """On the way out: what is kept in this process alone would be lost."""
        try:
            await self.save()
        except Unavailable as error:
            log.warning("usage.not_saved", reason=error.message)


def _grant(allowance: Allowance, count: Count, until: float) -> Grant:
    if allowance.seconds is None:
        return Grant(until)
    begin, end = period_of(allowance.period, count.now)
    renewal = math.ceil(end - count.now)
    # draft-ietf-httpapi-ratelimit-headers; a job is what a client can count, and one a second uses what one second is worth.
    fields = {
        "RateLimit-Policy": f'"{allowance.plan}";q={allowance.seconds};w={end - begin}',
        "RateLimit": f'"{allowance.plan}";r={max(0, allowance.seconds - count.used)};t={renewal}',
    }
    if count.granted:
        return Grant(until, fields)
    return Grant(until, fields, _refusal(allowance, end), renewal)


def _refusal(allowance: Allowance, end: int) -> str:
    hours = f"{allowance.seconds or 0} s" if (allowance.seconds or 0) % 3600 else f"{(allowance.seconds or 0) // 3600} h"
    renewed = datetime.fromtimestamp(end, UTC).isoformat()
    return f"The plan {allowance.plan} has {hours} of stream a {allowance.period}, and all are used; it is renewed at {renewed}"
