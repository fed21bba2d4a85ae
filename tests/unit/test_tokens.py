"""Tokens of the data API: what is not one of ours, or no longer, is refused with the reason."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from accounts.credentials import Proof
from accounts.keys import derive
from analytics.tokens import Claims, DataTokens
from shared.errors import TokenRefused

SECRET = b"0123456789abcdef0123456789abcdef"
STREAM = "3bd15f50-c69f-11e5-ae3c-0242ad110002"
PROOF = Proof("account-1", "ann@example.com", "f" * 32)
TOKENS = DataTokens(SECRET, 3600)
KEY = derive(SECRET, "data-token")


def claims(**changed: Any) -> dict[str, Any]:
    """Those of a good token; None leaves one out."""
    now = int(time.time())
    good = {"iss": "sensorium", "aud": "data", "sub": STREAM, "account": PROOF.account, "credentials": PROOF.fingerprint}
    given = {**good, "iat": now, "exp": now + 3600, **changed}
    return {name: value for name, value in given.items() if value is not None}


def made(key: Any = KEY, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm=algorithm, headers=headers)


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_a_token_says_whose_it_is() -> None:
    read = TOKENS.read(TOKENS.issue(STREAM, PROOF))
    assert read == Claims(STREAM, PROOF.account, PROOF.fingerprint)
    assert TOKENS.read(made()) == read  # the tests below change one thing of what is accepted


def test_a_token_holds_while_the_stream_is_as_it_was() -> None:
    read = TOKENS.read(made())
    assert read.hold(PROOF)
    assert read.hold(Proof(PROOF.account, "new@example.com", PROOF.fingerprint))
    assert not read.hold(Proof(PROOF.account, PROOF.email_key, "e" * 32))
    assert not read.hold(Proof("account-2", PROOF.email_key, PROOF.fingerprint))
    assert not read.hold(None)


def test_a_token_ends_after_its_time() -> None:
    payload = jwt.decode(DataTokens(SECRET, 90).issue(STREAM, PROOF), options={"verify_signature": False})
    assert (payload["exp"] - payload["iat"], payload["aud"], payload["sub"]) == (90, "data", STREAM)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (made(exp=int(time.time()) - 1), "expired"),
        (made(iat=int(time.time()) + 3600), "not yet valid"),
        (made(nbf=int(time.time()) + 3600), "not yet valid"),
        (made(aud="gate"), "udience"),
        (made(aud=None), "aud"),
        (made(iss="other"), "ssuer"),
        (made(iss=None), "iss"),
        (made(exp=None), "exp"),
        (made(iat=None), "iat"),
        (made(sub=None), "sub"),
        (made(account=None), "account"),
        (made(credentials=None), "credentials"),
        (made(credentials=7), "type"),
        (made(account=["a"]), "type"),
        (made(exp="soon"), "integer"),
        (made(key=derive(b"another" * 8, "data-token")), "ignature"),
        (made(key=SECRET), "ignature"),
        (made(key=derive(SECRET, "job-ids")), "ignature"),
        (made(key=KEY * 2, algorithm="HS512"), "alg"),
        (made(key=None, algorithm="none"), "alg"),
        (f"{part({'alg': 'None', 'typ': 'JWT'})}.{part(claims())}.", "alg"),
        (f"{part({'alg': '', 'typ': 'JWT'})}.{part(claims())}.", "alg"),
        (f"{part({'typ': 'JWT'})}.{part(claims())}.{part(b'x' * 32)}", "lgorithm"),
        (made()[:-4] + "AAAA", "ignature"),
        (made().rpartition(".")[0] + ".", "ignature"),
        ("a.b", "segments"),
        ("a.b.c.d.e", "not valid"),
        (f"{part([])}.{part(claims())}.x", "eader"),
        (f"{part(b'null')}.{part(claims())}.x", "eader"),
        ("\u00e9.\udcff.x", "not valid"),
        ("x" * 4097, "too long"),
        ("x" * 1_000_000, "too long"),
        (made(padding="x" * 5000), "too long"),
    ],
)
def test_what_is_not_ours_is_refused_with_the_reason(token: str, reason: str) -> None:
    with pytest.raises(TokenRefused, match=reason):
        TOKENS.read(token)


@pytest.mark.parametrize(
    "data", [b"[" * 2500, b'{"a":' * 500, b"\xff\xfe", b"", b"1" * 3000], ids=["lists", "objects", "no text", "empty", "number"]
)
def test_a_header_that_no_parser_likes_is_refused(data: bytes) -> None:
    with pytest.raises(TokenRefused):
        TOKENS.read(f"{part(data)}.{part(claims())}.x")


def test_no_public_key_is_taken_for_a_secret() -> None:
    """The confusion of RS256 with HS256: nothing but HS256 is read, so nobody's key is tried as another kind's."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims())}"  # by hand, since PyJWT refuses to sign with such a key
    confused = f"{body}.{part(hmac.digest(public, body.encode(), 'sha256'))}"
    for token, reason in ((jwt.encode(claims(), private, algorithm="RS256"), "alg"), (confused, "ignature")):
        with pytest.raises(TokenRefused, match=reason):
            TOKENS.read(token)


@pytest.mark.parametrize(
    "header", [{"kid": "../../dev/null"}, {"jku": "http://127.0.0.1:1/"}, {"jwk": {"kty": "oct", "k": "AA"}}, {"x5u": "file:///x"}]
)
def test_a_header_never_chooses_the_key(header: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused, match="ignature"):
        TOKENS.read(made(key=b"\0" * 32, headers=header))
    assert TOKENS.read(made(headers=header)).stream == STREAM
