"""What can be wrong with a wish about accounts. The docstring is the explanation."""

from __future__ import annotations


class AccountError(Exception):
    """It cannot be done to this account."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class EmailInvalid(AccountError):
    """This is not an e-mail address."""


class EmailTaken(AccountError):
    """There is an account with this e-mail address already."""


class PasswordRefused(AccountError):
    """A password has 8 to 1024 characters."""


class PlanUnknown(AccountError):
    """The plans are: developer, enterprise."""


class AccountUnknown(AccountError):
    """There is no account with this e-mail address."""


class NameInvalid(AccountError):
    """The name of a stream has 1 to 100 printable characters."""


class StreamLimitReached(AccountError):
    """The account has all the streams of its plan."""

    def __init__(self, plan: str, most: int) -> None:
        count = "one stream" if most == 1 else f"{most} streams"
        super().__init__(f"The plan {plan} has {count}; an operator can grant another plan, or change its limits.")


class StreamUnknown(AccountError):
    """The account has no stream with this client_id."""


class LimitInvalid(AccountError):
    """A limit is a whole number above 0, or none for no limit."""


class SecretKeyChanged(AccountError):
    """The access token was encrypted with another secret key."""
