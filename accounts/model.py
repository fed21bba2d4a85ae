"""The nouns: accounts, their streams, and the credentials of a stream."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from accounts.errors import EmailInvalid, NameInvalid, PlanUnknown
from shared.privacy import Analysis
from shared.usage import Allowance

_CLIENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


class Plan(StrEnum):
    """What an account may use. Their limits: `accounts.plans`."""

    DEVELOPER = "developer"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan gives: seconds of stream, and ``streams`` of an account at most, None for any number."""

    allowance: Allowance
    streams: int | None


@dataclass(frozen=True, slots=True)
class Account:
    """A customer. ``id`` is opaque; ``email`` as it was typed; ``created`` in UTC; ``operator`` may see operators' pages."""

    id: str
    email: str
    plan: Plan
    created: datetime
    operator: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """A registered camera or microphone. ``client_id``: a UUID in lower case; ``account``: its owner's id; ``created`` in UTC.

    ``off``: the analyses of people that it has switched off.
    """

    client_id: str
    account: str
    name: str
    created: datetime
    off: tuple[Analysis, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamSecret:
    """What a program sends to be a stream. Its text hides the token, so that it cannot slip into a log."""

    client_id: str
    access_token: str

    def __repr__(self) -> str:
        return f"StreamSecret(client_id={self.client_id!r}, access_token=***)"


DEMO_EMAIL = "demo@example.com"
#: Published in the tutorial, so known to everybody: see `accounts.demo`.
DEMO_SECRET = StreamSecret("7f5933d2-cd7c-11e4-9fe6-490467a5e114", "db19c01e-18e5-4fc2-8b81-7b3d1f44533b")


def is_client_id(text: str) -> bool:
    """Whether the text has the form of a client_id; anything else never reaches the database."""
    return _CLIENT_ID.fullmatch(text) is not None


def clean_email(text: str) -> str:
    """The address without surrounding white space. Raises `EmailInvalid`."""
    email = unicodedata.normalize("NFC", text.strip())
    if not _EMAIL.fullmatch(email) or not email.isprintable():
        raise EmailInvalid
    return email


def email_key(text: str) -> str:
    """What makes an address unique: `A@Example.com` and `a@example.com` are the same. Raises `EmailInvalid`."""
    return unicodedata.normalize("NFC", clean_email(text).casefold())


def clean_name(text: str) -> str:
    """The name of a stream without surrounding white space. Raises `NameInvalid`."""
    name = unicodedata.normalize("NFC", text.strip())
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise NameInvalid
    return name


def to_plan(text: str) -> Plan:
    """The plan of this name. Raises `PlanUnknown`."""
    try:
        return Plan(text)
    except ValueError:
        raise PlanUnknown from None
