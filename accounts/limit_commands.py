"""`sensorium account …`: the limits of plans, what was used of them, and what streams have switched off."""

from __future__ import annotations

import math
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from accounts.errors import AccountUnknown, StreamUnknown
from accounts.model import Limits, Plan, email_key, to_plan
from shared.privacy import ANALYSES, known_analyses

if TYPE_CHECKING:
    from accounts.store import Accounts
    from accounts.usage import AccountUsage

_NONE = "none"
_PAGE = 1000


def add_arguments(action: Callable[..., ArgumentParser]) -> None:
    """The subcommands that `ACTIONS` does. ``action``: makes one of a name and what it does."""
    action("plans", "show the limits of the plans", json=True)
    limits = action("limits", "set the limits of a plan")
    limits.add_argument("plan", metavar="PLAN", choices=[plan.value for plan in Plan])
    limits.add_argument("--hours", type=_limit(float), metavar="HOURS", help="of stream in the plan's period, or none for no limit")
    limits.add_argument("--streams", type=_limit(int), metavar="COUNT", help="of an account, or none for no limit")
    usage = action("usage", "show what accounts used of their plans", json=True)
    usage.add_argument("email", metavar="EMAIL", nargs="?", help="one account and its streams; all accounts by default")
    privacy = action("privacy", "show or set what a stream has switched off", email=True, json=True)
    privacy.add_argument("stream", metavar="CLIENT_ID")
    for way, text in (("off", "neither computed, nor listed, nor stored"), ("on", "as for other streams")):
        privacy.add_argument(f"--{way}", nargs="+", default=[], choices=ANALYSES, metavar="ANALYSIS", help=f"{', '.join(ANALYSES)}: {text}")


def _limit(number: Callable[[str], float]) -> Callable[[str], float | str]:
    def read(text: str) -> float | str:
        try:
            value = None if text == _NONE else number(text)
        except ValueError:
            value = math.nan
        if value is None:
            return _NONE
        if not math.isfinite(value):
            raise ArgumentTypeError("must be a number, or none for no limit")
        return value

    return read


async def _plans(args: Namespace, accounts: Accounts) -> None:
    limits = await accounts.plans.limits()
    if args.json:
        print_json({plan.value: asdict(its) for plan, its in limits.items()})
        return
    for plan, its in limits.items():
        count = "any number of streams" if its.streams is None else f"{its.streams} stream{'s' * (its.streams != 1)}"
        print(f"{plan.value:<10}  {_hours(its)}, {count}")


async def _limits(args: Namespace, accounts: Accounts) -> None:
    plan = to_plan(args.plan)
    before = (await accounts.plans.limits())[plan]
    seconds, streams = before.allowance.seconds, before.streams
    if args.hours is not None:
        seconds = None if args.hours == _NONE else round(args.hours * 3600)
    if args.streams is not None:
        streams = None if args.streams == _NONE else args.streams
    await accounts.plans.set_limits(plan, seconds, streams)
    await _plans(Namespace(json=False), accounts)


def _hours(limits: Limits) -> str:
    allowance = limits.allowance
    whose = "each" if allowance.scope == "stream" else "an account"
    return "no limit" if allowance.seconds is None else f"{allowance.seconds / 3600:g} h of stream a {allowance.period} {whose}"


async def _usage(args: Namespace, accounts: Accounts) -> None:
    found = [one async for one in _used(args.email, accounts)]
    if args.json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        usage = one.usage
        limit = "no limit" if usage.allowance.seconds is None else f"of {usage.allowance.seconds} s {usage.allowance.scope}"
        print(f"{usage.used:>9} s {limit} until {usage.renewed:%Y-%m-%d}  {usage.allowance.plan:<10}  {one.account.email}")
        for stream in one.streams:
            print(f"{stream.used:>9} s  {stream.stream.client_id}  {stream.stream.name}")


async def _used(email: str | None, accounts: Accounts) -> AsyncIterator[AccountUsage]:
    now = time.time()
    if email is not None:
        key = email_key(email)
        account = next((one for one in await accounts.accounts() if email_key(one.email) == key), None)
        usage = None if account is None else await accounts.ledger.of_account(account.id, now)
        if usage is None:
            raise AccountUnknown
        yield usage
        return
    page, total = 1, 1
    while (page - 1) * _PAGE < total:
        found, total = await accounts.ledger.of_all(now, page=page, size=_PAGE)
        for one in found:
            yield one
        page += 1


async def _privacy(args: Namespace, accounts: Accounts) -> None:
    streams = await accounts.streams.of(args.email)
    stream = next((one for one in streams if one.client_id == args.stream), None)
    if stream is None:
        raise StreamUnknown
    off = known_analyses({*stream.off, *args.off} - set(args.on))
    if off != stream.off:
        await accounts.streams.set_off(stream, off)
    if args.json:
        print_json({name: name not in off for name in ANALYSES})
        return
    for name in ANALYSES:
        print(f"{name:<14}  {'off' if name in off else 'on'}")


ACTIONS = {"plans": _plans, "limits": _limits, "usage": _usage, "privacy": _privacy}


def print_json(value: object) -> None:
    print(orjson.dumps(value).decode())
