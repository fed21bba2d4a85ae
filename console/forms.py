"""What makes sure that a change was asked for by a page of ours: where the request comes from, and a token bound to the browser."""

from __future__ import annotations

import hmac
from hashlib import blake2b
from urllib.parse import parse_qsl, urlsplit

from aiohttp import hdrs, web
from multidict import MultiDict

from console.state import FORM, WORD, console_of
from gateway.http.limits import RequestLimits, read_body
from gateway.state import GATE, base_url
from shared.errors import ForgedRequest, MalformedRequest

#: The field of a form, and the header of a script's request, that carry the token.
FIELD = "csrf"
HEADER = "X-CSRF-Token"
FORM_TYPE = "application/x-www-form-urlencoded"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_FIELDS = 100


def token_for(request: web.Request) -> str:
    """The token of this browser's forms: a keyed digest of the word that only its cookie holds."""
    return blake2b(request[WORD].encode(), key=console_of(request).keys.csrf, digest_size=32).hexdigest()


def check_origin(request: web.Request) -> None:
    """Raises `ForgedRequest` for a request of a page that is not ours.

    Browsers say so themselves, in a header that no script can set; those that do not (over plain HTTP) name the page's origin.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise ForgedRequest("The request comes from another site")
        return
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return
    if urlsplit(origin).netloc not in {request.host, urlsplit(base_url(request)).netloc}:
        raise ForgedRequest("The request comes from another site; if it is this one, set SENSORIUM_PUBLIC_URL to its address")


async def check_token(request: web.Request) -> None:
    """Read the form, if it is one, and compare its token or the header's. Raises `ForgedRequest`, and what `read_body` raises.

    A request of any other kind has to carry the header, which another site's page cannot send.
    """
    given = request.headers.get(HEADER, "")
    form: MultiDict[str] = MultiDict()
    if request.content_type == FORM_TYPE:
        form = await _read_form(request)
        given = given or form.get(FIELD, "")
        form.popall(FIELD, None)
    expected = token_for(request) if WORD in request else ""
    if not expected or not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode()):
        raise ForgedRequest("The form is too old, or cookies are switched off; load the page again")
    request[FORM] = form


async def _read_form(request: web.Request) -> MultiDict[str]:
    settings = request.app[GATE].settings
    plain = RequestLimits.from_settings(settings)
    limits = RequestLimits(
        body_bytes=settings.form_bytes, body_seconds=plain.body_seconds, body_bytes_per_second=plain.body_bytes_per_second
    )
    body = await read_body(request, limits)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise MalformedRequest("The form is not well-formed, or has too many fields") from None
    return MultiDict(pairs)
