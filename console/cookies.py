"""The console's three cookies: of a login, of forms before it, and of a device that an account was signed in on.

None can be read by scripts; with HTTPS they carry the prefix that binds them to this host and to HTTPS.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import blake2b

from aiohttp import web

from console.state import console_of, is_https

LOGIN_COOKIE = "sensorium-login"
FORM_COOKIE = "sensorium-form"
DEVICE_COOKIE = "sensorium-device"
_YEAR = 365 * 86400
_LONGEST = 256


def read(request: web.Request, name: str) -> str:
    """The cookie's value; empty when there is none, or none of ours."""
    value = request.cookies.get(_prefixed(request, name), "")
    return value if value.isascii() and len(value) <= _LONGEST else ""


def put(request: web.Request, response: web.StreamResponse, name: str, value: str, seconds: float | None = None) -> None:
    """Set the cookie; without ``seconds`` it ends with the browser."""
    age = None if seconds is None else int(seconds)
    response.set_cookie(_prefixed(request, name), value, max_age=age, path="/", httponly=True, samesite="Lax", secure=is_https(request))


def drop(request: web.Request, response: web.StreamResponse, name: str) -> None:
    """Delete the cookie."""
    response.del_cookie(_prefixed(request, name), path="/", httponly=True, samesite="Lax", secure=is_https(request))


def _prefixed(request: web.Request, name: str) -> str:
    return f"__Host-{name}" if is_https(request) else name


def mark_device(request: web.Request, response: web.StreamResponse, email_key: str) -> None:
    """Remember that this browser was signed in to the account: others' wrong guesses then do not lock its owner out of it."""
    nonce = secrets.token_hex(16)
    put(request, response, DEVICE_COOKIE, f"{nonce}.{_sign(request, nonce, email_key)}", _YEAR)


def device_of(request: web.Request, email_key: str) -> str | None:
    """The name of this browser if the account was signed in on it before."""
    nonce, _, signature = read(request, DEVICE_COOKIE).partition(".")
    return nonce if hmac.compare_digest(signature, _sign(request, nonce, email_key)) else None


def _sign(request: web.Request, nonce: str, email_key: str) -> str:
    text = f"{nonce}\0{email_key}".encode("utf-8", "surrogatepass")
    return blake2b(text, key=console_of(request).keys.device, digest_size=16).hexdigest()
