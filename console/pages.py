"""From a template to an answer: what every page is given, and the headers that every page carries."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import orjson
from aiohttp import hdrs, web
from jinja2 import Environment, PackageLoader, StrictUndefined

from console.forms import FIELD, SAFE, token_for
from console.routing import Access
from console.state import HANDLERS, WORD, console_of, login_of
from console.watching import FILTERS

#: Nothing from elsewhere, nothing inline, in nobody's frame. Pictures may be made by our own scripts (blob:, data:).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; "
    "font-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    # Not `no-referrer`: with that, browsers hide the origin of our own forms too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}


def make_environment() -> Environment:
    """Templates in which everything is escaped and a misspelt name is an error."""
    environment = Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        enable_async=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["csrf_field"] = FIELD
    environment.filters.update(FILTERS)
    return environment


async def render(request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
    """The page made of a template in `console/templates`.

    Beside ``values`` it is given: ``account`` (None when nobody is signed in), ``navigation``, ``path`` (of the request), ``asset(name)``
    (the address of a file in `console/static`) and ``csrf`` (the token of its forms, empty where there can be none).
    """
    state = console_of(request)
    login = login_of(request)
    common = {
        "account": None if login is None else login.account,
        "navigation": _navigation(request),
        "path": request.path,
        "asset": state.assets.address,
        "csrf": token_for(request) if WORD in request else "",
    }
    text = await state.templates.get_template(template).render_async({**common, **values})
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=HEADERS)


def _navigation(request: web.Request) -> list[dict[str, Any]]:
    login = login_of(request)
    if login is None:
        return []
    shown = (entry for entry in console_of(request).navigation if entry.access is not Access.OPERATOR or login.account.operator)
    return [{"label": entry.label, "path": entry.path, "current": _is_below(request.path, entry.path)} for entry in shown]


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def see(path: str) -> web.Response:
    """The answer to a form that was obeyed: look at this page (303)."""
    return web.Response(status=303, headers={hdrs.LOCATION: path})


def local_path(text: str) -> str | None:
    """The text if it is a path of this site, so that it can be gone to; None for the address of any other site."""
    split = urlsplit(text)
    ours = text.startswith("/") and not text.startswith(("//", "/\\")) and not split.scheme and not split.netloc
    return text if ours and text.isascii() and text.isprintable() and len(text) <= 1000 else None


async def error_page(request: web.Request, problem: web.Response) -> web.Response:
    """What a browser shows of a problem (see `gateway.http.middleware.ERROR_PAGES`); programs, and the API's routes, get the problem itself.

    Whoever has to sign in first is sent there, and from there back.
    """
    ours = request.match_info.route.resource is None or request.match_info.handler in request.app[HANDLERS]
    if not ours or "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
        return problem
    body = orjson.loads(problem.body)  # type: ignore[arg-type]
    if body["code"] == "signed_out":
        wanted = request.path_qs if request.method in SAFE and request.path != "/" else ""
        return see("/login" + (f"?next={quote(wanted, safe='')}" if wanted else ""))
    page = await render(request, "error.html", problem.status, title=body["title"], detail=body["detail"])
    for name in (hdrs.RETRY_AFTER, hdrs.ALLOW):
        if name in problem.headers:
            page.headers[name] = problem.headers[name]
    return page
