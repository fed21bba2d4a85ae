"""The console put onto a gateway's application: its pages found, guarded and registered."""

from __future__ import annotations

from aiohttp import web

from accounts.guessing import Guessing
from accounts.keys import derive, secret_of
from accounts.logins import Logins
from accounts.store import Accounts
from console.assets import Assets
from console.guard import guarded
from console.pages import error_page, make_environment
from console.routing import collect
from console.state import CONSOLE, HANDLERS, Console, Keys
from gateway.http.middleware import ERROR_PAGES
from gateway.state import GATE
from shared.aio import TtlCache
from shared.settings import Settings

#: Pages of what accounts used that are remembered.
_MOST_PAGES = 64


def make_console(settings: Settings, accounts: Accounts, app: web.Application) -> Console:
    """The parts of the console, over the accounts' database. Nothing is opened and nothing asked."""
    secret = secret_of(settings)
    routes, navigation = collect()
    return Console(
        settings=settings,
        accounts=accounts,
        logins=Logins(accounts.database, settings, demo_allowed=accounts.demo_allowed),
        guessing=Guessing(accounts.database, derive(secret, "guesses")),
        keys=Keys(csrf=derive(secret, "console-forms"), device=derive(secret, "console-devices")),
        templates=make_environment(),
        assets=Assets(),
        routes=routes,
        navigation=navigation,
        usage=TtlCache(settings.facts_seconds, _MOST_PAGES),
        forget_credentials=app[GATE].authenticate.forget,
    )


def put_console(app: web.Application, settings: Settings, accounts: Accounts) -> None:
    """Add the console's pages to the application of `gateway.app.build_app`, if ``faces`` names them."""
    if "console" not in {face.strip() for face in settings.faces.split(",")}:
        return
    app[CONSOLE] = state = make_console(settings, accounts, app)
    handlers = {route: guarded(route) for route in state.routes}
    for route, handler in handlers.items():
        if route.method == "GET":
            app.router.add_get(route.path, handler)  # which answers HEAD too
        else:
            app.router.add_route(route.method, route.path, handler)
    app.router.add_get("/static/{digest}/{name:.+}", _asset)
    app[HANDLERS] = frozenset(handlers.values())
    app[ERROR_PAGES] = error_page


async def _asset(request: web.Request) -> web.Response:
    return request.app[CONSOLE].assets.answer(request)
