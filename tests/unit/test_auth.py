"""Basic authentication: who passes, who does not, and how often anybody is asked."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from accounts.credentials import Tenant
from gateway.http.auth import Authenticator, FailureLimit, parse_basic
from gateway.http.limits import TrustedProxies
from shared.errors import RateLimited, StoreAway, Unauthorized
from shared.usage import Allowance

ALLOWANCE = Allowance("own", None, "day", "stream", paid=True)
TENANT = Tenant("camera", "account", ALLOWANCE, (), "print")


class Book:
    """Credentials of one stream, that count their questions and answer when they are let."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.away = False
        self.looked, self.password = 0, "secret:with:colons"
        self.now: Tenant | None = TENANT

    async def verify(self, client_id: str, access_token: str) -> Tenant | None:
        self.asked.append((client_id, access_token))
        await self.open.wait()
        if self.away:
            raise StoreAway
        return TENANT if (client_id, access_token) == ("camera", self.password) else None

    async def tenant(self, client_id: str) -> Tenant | None:
        self.looked += 1
        await self.open.wait()
        if self.away:
            raise StoreAway
        return self.now if client_id == "camera" else None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer(asyncio.Transport):
    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


GOOD = basic("camera", "secret:with:colons")
WRONG = basic("camera", "guess")


def request(header: str | None, address: str = "192.0.2.1", forwarded: str | None = None) -> web.Request:
    headers = {name: value for name, value in (("Authorization", header), ("X-Forwarded-For", forwarded)) if value is not None}
    return make_mocked_request("GET", "/services", headers, transport=Peer(address))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def book() -> Book:
    return Book()


@pytest.fixture
def authenticate(book: Book, clock: Clock) -> Authenticator:
    return Authenticator(book, cache_seconds=60, clock=clock)


async def test_the_right_credentials_pass_and_are_asked_for_once_a_minute(authenticate: Authenticator, book: Book, clock: Clock) -> None:
    assert await authenticate(request(GOOD)) == TENANT
    clock.now += 59
    assert await authenticate(request(GOOD)) == TENANT
    assert len(book.asked) == 1
    clock.now += 2
    assert await authenticate(request(GOOD)) == TENANT
    assert len(book.asked) == 2


async def test_forgetting_asks_anew(authenticate: Authenticator, book: Book) -> None:
    await authenticate(request(GOOD))
    authenticate.forget()
    await authenticate(request(GOOD))
    assert len(book.asked) == 2


async def test_the_secret_is_not_kept(authenticate: Authenticator) -> None:
    await authenticate(request(GOOD))
    kept = repr(vars(authenticate))
    assert "secret" not in kept
    assert GOOD.removeprefix("Basic ") not in kept


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic " + b64encode(b"no colon").decode(),
        "Basic " + b64encode(b":token").decode(),
        "Basic " + b64encode(b"camera:").decode(),
        "Basic " + b64encode(b"cam\xffera:token").decode(),
        "Basic " + b64encode(b"cam\r\nera:token").decode(),
        "Basic " + b64encode(b"cam\0era:token").decode(),
        "Basic é",
        "Bearer " + b64encode(b"camera:secret:with:colons").decode(),
        "Digest username=camera",
        "Basic " + "A" * 10_000,
        WRONG,
        basic("nobody", "secret:with:colons"),
    ],
)
async def test_all_others_get_the_same_refusal(authenticate: Authenticator, header: str | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        await authenticate(request(header))
    assert caught.value.message == "Basic authentication with the client_id and access_token of a stream is needed"


def test_the_scheme_is_in_any_case() -> None:
    assert parse_basic(GOOD.replace("Basic", "bASIC")) == ("camera", "secret:with:colons")


async def test_requests_at_the_same_time_ask_once_and_survive_the_first_ones_leaving(authenticate: Authenticator, book: Book) -> None:
    book.open.clear()
    first, *others = [asyncio.ensure_future(authenticate(request(GOOD))) for _ in range(50)]
    while not book.asked:
        await asyncio.sleep(0)
    first.cancel()
    book.open.set()
    assert await asyncio.gather(*others) == [TENANT] * 49
    assert len(book.asked) == 1


async def test_the_twenty_first_failure_in_a_minute_is_refused_without_asking(
    authenticate: Authenticator, book: Book, clock: Clock
) -> None:
    for _ in range(20):
        with pytest.raises(Unauthorized):
            await authenticate(request(WRONG))
    with pytest.raises(RateLimited) as caught:
        await authenticate(request(WRONG))
    assert caught.value.retry_after == pytest.approx(3)
    assert len(book.asked) == 20
    clock.now += 3.01
    with pytest.raises(Unauthorized):
        await authenticate(request(WRONG))


async def test_who_is_known_already_and_who_comes_from_elsewhere_is_not_held_up(authenticate: Authenticator) -> None:
    await authenticate(request(GOOD))
    for _ in range(20):
        with pytest.raises(Unauthorized):
            await authenticate(request(WRONG))
    assert await authenticate(request(GOOD)) == TENANT
    with pytest.raises(Unauthorized):
        await authenticate(request(WRONG, "192.0.2.2"))


async def test_a_volley_of_guesses_gets_no_further_than_one_after_the_other(authenticate: Authenticator, book: Book) -> None:
    guesses = [authenticate(request(basic("camera", str(number)))) for number in range(200)]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert len(book.asked) < 30
    assert {type(outcome) for outcome in outcomes} == {Unauthorized, RateLimited}


async def test_a_fleet_behind_one_address_may_log_in_all_at_once(clock: Clock) -> None:
    class Fleet:
        async def verify(self, client_id: str, access_token: str) -> Tenant | None:
            await asyncio.sleep(0)
            return replace(TENANT, id=client_id)

        async def tenant(self, client_id: str) -> Tenant | None:
            return replace(TENANT, id=client_id)

    authenticate = Authenticator(Fleet(), clock=clock)
    tenants = await asyncio.gather(*(authenticate(request(basic(f"camera{number}", "x"))) for number in range(500)))
    assert len({tenant.id for tenant in tenants}) == 500


async def test_when_nobody_can_say_it_is_no_failure_of_the_client(authenticate: Authenticator, book: Book) -> None:
    book.away = True
    for _ in range(30):
        with pytest.raises(StoreAway):
            await authenticate(request(GOOD))
    book.away = False
    assert await authenticate(request(GOOD)) == TENANT


async def test_while_nobody_can_say_what_was_right_serves_for_a_stated_time(book: Book, clock: Clock) -> None:
    authenticate = Authenticator(book, cache_seconds=60, stale_seconds=600, clock=clock)
    await authenticate(request(GOOD))
    book.away = True
    clock.now += 61
    for _ in range(20):
        assert await authenticate(request(GOOD)) == TENANT
    assert len(book.asked) == 2  # not a question with each request: it may take seconds to fail
    clock.now += 5
    assert await authenticate(request(GOOD)) == TENANT
    assert len(book.asked) == 3
    with pytest.raises(StoreAway):
        await authenticate(request(WRONG))
    clock.now += 535
    with pytest.raises(StoreAway):
        await authenticate(request(GOOD))


async def test_what_was_changed_meanwhile_holds_once_somebody_can_say(book: Book, clock: Clock) -> None:
    authenticate = Authenticator(book, cache_seconds=60, stale_seconds=600, clock=clock)
    await authenticate(request(GOOD))
    book.away = True
    clock.now += 61
    await authenticate(request(GOOD))
    book.away = False
    clock.now += 5
    book.password = "another"
    with pytest.raises(Unauthorized):
        await authenticate(request(GOOD))
    book.away = True
    with pytest.raises(StoreAway):
        await authenticate(request(GOOD))


async def test_a_connection_that_lasts_hears_of_changes_within_the_cached_time(
    authenticate: Authenticator, book: Book, clock: Clock
) -> None:
    for _ in range(10):
        assert await authenticate.current("camera", "print") == TENANT
    book.now = replace(TENANT, off=("age",))
    clock.now += 59
    assert (await authenticate.current("camera", "print")).off == ()
    clock.now += 2
    assert (await authenticate.current("camera", "print")).off == ("age",)
    assert book.looked == 2
    book.now = replace(TENANT, fingerprint="of another token")
    clock.now += 61
    for gone in (book.now, None):
        book.now = gone
        with pytest.raises(Unauthorized):
            await authenticate.current("camera", "print")
        clock.now += 61


async def test_a_connection_that_lasts_goes_on_while_nobody_can_say(book: Book, clock: Clock) -> None:
    authenticate = Authenticator(book, cache_seconds=60, stale_seconds=600, clock=clock)
    book.away = True
    with pytest.raises(StoreAway):
        await authenticate.current("camera", "print")
    assert await authenticate.current("camera", "print", TENANT) == TENANT
    with pytest.raises(Unauthorized):
        await authenticate.current("camera", "of another token", TENANT)
    clock.now += 601
    with pytest.raises(StoreAway):
        await authenticate.current("camera", "print")


def test_the_memory_of_failures_is_bounded_and_counts_ipv6_by_network(clock: Clock) -> None:
    limit = FailureLimit(clock=clock)
    for number in range(20):
        limit.charge(f"2001:db8::{number:x}")
    with pytest.raises(RateLimited):
        limit.check("2001:db8::ffff")
    limit.check("2001:db8:0:1::1")
    for number in range(20_000):
        limit.charge(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert len(limit._buckets) <= 10_000


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "6.6.6.6, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.1.2.3", "6.6.6.6, nonsense", "10.1.2.3"),
        ("10.1.2.3", None, "10.1.2.3"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str | None, client: str) -> None:
    assert TrustedProxies("10.0.0.0/8, 127.0.0.1").client_of(request(None, peer, forwarded)) == client
    assert TrustedProxies("").client_of(request(None, peer, forwarded)) == peer
