"""Signatures as the receivers' own library checks them."""

from __future__ import annotations

import time

import pytest
import standardwebhooks

from webhooks.signing import Secrets, shown, signed_headers

SECRETS = Secrets(b"k" * 32)
BODY = '{"url": "https://a/b", "status": 200, "text": "Grüße"}'.encode()


def test_the_library_accepts_them() -> None:
    secret = SECRETS.of("stream-a", 0)
    headers = signed_headers([secret], "job-1", int(time.time()), BODY)
    assert standardwebhooks.Webhook(shown(secret)).verify(BODY, headers)["text"] == "Grüße"
    assert shown(secret).startswith("whsec_")
    assert len(secret) == 32


def test_while_a_secret_is_being_changed_both_are_right() -> None:
    old, new = SECRETS.of("stream-a", 0), SECRETS.of("stream-a", 1)
    headers = signed_headers([new, old], "job-1", int(time.time()), BODY)
    for secret in (old, new):
        standardwebhooks.Webhook(shown(secret)).verify(BODY, headers)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "job-2"},
        {"webhook-timestamp": str(int(time.time()) - 1)},
        {"webhook-timestamp": "1"},
        {"webhook-signature": "v1,AAAA"},
    ],
)
def test_the_library_refuses_what_was_changed(change: dict[str, str]) -> None:
    secret = SECRETS.of("stream-a", 0)
    headers = {**signed_headers([secret], "job-1", int(time.time()), BODY), **change}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(shown(secret)).verify(BODY, headers)


def test_everybody_has_a_secret_of_their_own() -> None:
    known = {SECRETS.of(stream, generation) for stream in ("a", "b", "a/1") for generation in (0, 1, 11)}
    assert len(known) == 9
    assert SECRETS.of("a", 0) == Secrets(b"k" * 32).of("a", 0)
    assert SECRETS.of("a", 0) != Secrets(b"l" * 32).of("a", 0)
