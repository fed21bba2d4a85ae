"""The demonstration: an account and the stream whose credentials are printed in the tutorial.

Everybody knows them, so they work in embedded mode bound to loopback and nowhere else, whatever the database holds.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import ip_address

from accounts.errors import EmailTaken
from accounts.model import DEMO_EMAIL, Plan, StreamSecret
from accounts.store import Accounts


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """What is printed at start. ``password`` is the one given, or the one made at random."""

    email: str
    password: str
    stream: StreamSecret


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


async def ensure_demo(accounts: Accounts, password: str | None) -> DemoAccount:
    """Make the account and its stream, or make them right again.

    Without a ``password`` each start sets a new random one: the one before cannot be printed again, since only its hash
    is kept. Raises `ValueError` unless the accounts were opened with ``allow_demo``.
    """
    if not accounts.demo_allowed:
        raise ValueError("the demonstration is not allowed here")
    chosen = password or secrets.token_urlsafe(9)
    try:
        await accounts.create_account(DEMO_EMAIL, chosen, Plan.ENTERPRISE)
    except EmailTaken:
        await accounts.set_password(DEMO_EMAIL, chosen)
    return DemoAccount(DEMO_EMAIL, chosen, await accounts.streams.put_demo(DEMO_EMAIL, "Demo"))
