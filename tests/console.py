"""A console over a database of its own, and a browser without a screen: what tests of pages are written with."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from accounts.store import Accounts, open_accounts
from console.app import put_console
from gateway.app import build_app, open_gate
from sensorium.migrate import migrate
from sensorium.processes.adapters import open_broker, open_stores
from sensorium.processes.gateway import job_ids, listen, open_data_face
from shared.settings import Settings, read_settings
from workers.catalog import Catalog
from workers.contract import MediaLimits
from workers.runtime.compute import Computer
from workers.runtime.policy import Policy
from workers.runtime.runner import Runner
from workers.services.dummy import Dummy

PASSWORD = "correct horse"
SECRET = "k" * 32
_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]+)"')


@dataclass
class Answer:
    """What a browser got."""

    status: int
    headers: aiohttp.typedefs.CIMultiDictProxy[str]
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


@dataclass
class Browser:
    """Keeps cookies and remembers the token of the last page with a form; follows no redirect by itself."""

    url: str
    session: aiohttp.ClientSession
    token: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Accept": "text/html,*/*;q=0.8"})

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        headers = {**self.headers, **more.pop("headers", {})}
        async with self.session.request(method, URL(self.url + path, encoded=True), headers=headers, allow_redirects=False, **more) as got:
            return Answer(got.status, got.headers, await got.text())

    async def get(self, path: str, **more: Any) -> Answer:
        answer = await self.ask("GET", path, **more)
        found = _TOKEN.search(answer.text)
        self.token = found[1] if found else self.token
        return answer

    async def post(self, path: str, fields: dict[str, str] | None = None, **more: Any) -> Answer:
        """Send a form as the last page's would be."""
        origin = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        headers = {**origin, **more.pop("headers", {})}
        return await self.ask("POST", path, data={"csrf": self.token, **(fields or {})}, headers=headers, **more)

    async def sign_in(self, email: str, password: str = PASSWORD, wanted: str = "") -> Answer:
        await self.get("/login")
        answer = await self.post("/login", {"email": email, "password": password, "next": wanted})
        if answer.status == 303:
            await self.get("/account")
        return answer

    async def guess(self, email: str, password: str = "wrong horse", **more: Any) -> Answer:
        """Try a password, from the form that is open or was open before."""
        if not self.token:
            await self.get("/login")
        return await self.post("/login", {"email": email, "password": password}, **more)

    def cookie(self, name: str) -> str:
        found = self.session.cookie_jar.filter_cookies(URL(self.url)).get(name)
        return "" if found is None else found.value


@dataclass
class House:
    """A gateway with all its faces, in this process."""

    url: str
    settings: Settings
    accounts: Accounts
    app: web.Application
    stack: AsyncExitStack

    async def browser(self) -> Browser:
        """A new one, without cookies."""
        jar = aiohttp.CookieJar(unsafe=True)
        return Browser(self.url, await self.stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar)))

    async def signed_in(self, email: str) -> Browser:
        """A browser of an account that exists."""
        browser = await self.browser()
        assert (await browser.sign_in(email)).status == 303
        return browser


@asynccontextmanager
async def open_house(
    database: str, *, dummy: bool = False, catalog: Catalog | None = None, allow_demo: bool = False, **settings: Any
) -> AsyncIterator[House]:
    """Migrates the database; ``settings`` as `read_settings` takes them. With ``dummy`` that service is there, and worked for;
    the services of ``catalog`` are there, and nobody works for them."""
    chosen = read_settings({}, **{"database": database, "secret_key": SECRET, "port": 0, **settings})
    await migrate(chosen.database_url)
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(open_accounts(chosen, allow_demo=allow_demo))
        ids = job_ids(SECRET.encode())
        broker = await stack.enter_async_context(open_broker(chosen))
        stores = await stack.enter_async_context(open_stores(chosen, ids.shard))
        offered: Catalog = {**(catalog or {}), **({(Dummy.name, Dummy.version): Dummy} if dummy else {})}
        if dummy:
            runner = Runner(Computer(Dummy(), MediaLimits(), {}), broker, stores, Policy(), ThreadPoolExecutor(1), lambda _: None)
            await runner.start()
            stack.push_async_callback(runner.stop)
        gate = await stack.enter_async_context(open_gate(chosen, offered, broker, stores, accounts, ids))
        app = build_app(gate, {}, await open_data_face(chosen, accounts, stack))
        put_console(app, chosen, accounts)
        yield House(f"http://127.0.0.1:{await listen(app, chosen, stack)}", chosen, accounts, app, stack)
