"""Where webhooks may go, and that nothing changes between looking at an address and connecting to it."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from shared.errors import InvalidParameter
from shared.settings import read_settings
from tests.receivers import receiving
from webhooks.egress import AddressRefused, CheckedResolver, check_url, is_public
from webhooks.sender import Sender


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_for_everybody(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "url", ["https://example.com/", "https://example.com:8443/a?b=c", "https://1.1.1.1/", "https://[2606:4700::1111]/x"]
)
def test_what_may_be_a_receiver(url: str) -> None:
    check_url(url, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "https://",
        "https:///path",
        "https://user:password@example.com/",
        "https://user@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/\r\nX-Evil: 1",
        "https://example.com\\@127.0.0.1/",
        "https://ex\u00e4mple.com/",
        "https://example.com/" + "x" * 2000,
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://017700000001/",
        "https://127.1/",
        "https://localhost/",
        "https://a.localhost./",
        "https://[::1/",
    ],
)
def test_what_may_not(url: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        check_url(url, private=False)
    assert error.value.parameter == "webhook.url"


def test_an_operator_can_open_private_addresses() -> None:
    for url in ("http://127.0.0.1:9000/", "http://intranet/hooks", "https://[::1]/"):
        check_url(url, private=True)
    for url in ("ftp://intranet/", "http://a:b@intranet/"):
        with pytest.raises(InvalidParameter):
            check_url(url, private=True)


class Names:
    """A name server that gives each of its answers once, and the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0) -> list[tuple[object, ...]]:
        self.asked += 1
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port, 0, 0) if ":" in one else (one, port))
            for one in addresses
        ]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["::1"], ["fe80::1%lo"], ["2606:4700::1111", "::ffff:127.0.0.1"]]
)
async def test_a_name_with_an_address_that_is_not_public_has_none(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(addresses))
    resolver = CheckedResolver(1, private=False)
    with pytest.raises(AddressRefused):
        await resolver.resolve("evil.example", 443)
    await resolver.close()


async def test_a_name_is_asked_for_once_and_what_it_said_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that says something harmless to who checks and something else to who connects gets nobody anywhere."""
    async with receiving() as receiver:
        names = Names(["203.0.113.1"], ["127.0.0.1"])  # the first is refused too, being for documentation only
        monkeypatch.setattr(socket, "getaddrinfo", names)
        async with Sender(read_settings({}, webhook_timeout_seconds=2)) as sender:
            for asked in (1, 2):
                result = await sender.post(f"https://rebinding.example:{receiver.port}/ok", {}, b"{}")
                assert (result.status, result.error) == (None, "the address is not a public one")
                assert names.asked == asked
        assert receiver.received == []


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver:
        names = Names(["127.0.0.1"], ["192.0.2.1"])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        async with Sender(read_settings({}, webhook_private=True)) as sender:
            result = await sender.post(f"http://somewhere.example:{receiver.port}/ok", {}, b"{}")
        assert (result.status, names.asked) == (204, 1)
        assert receiver.received[0].headers["host"] == f"somewhere.example:{receiver.port}"


async def test_a_name_that_does_not_exist_says_so() -> None:
    async with Sender(read_settings({}, webhook_timeout_seconds=5)) as sender:
        result = await sender.post("https://nowhere.invalid/", {}, b"{}")
    assert result.error in ("the host's name cannot be resolved", "no answer in time")
