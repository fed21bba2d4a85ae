from __future__ import annotations

import random
from pathlib import Path

import pytest

from models.fetch import FetchFailed, FetchLimits, fetch
from tests.unit.models_server import FileServer, serving

CONTENT = random.Random(1).randbytes(900_000)
LIMITS = FetchLimits(timeout=5, attempts=3, pause=0)


def test_goes_on_where_the_connection_was_cut(tmp_path: Path) -> None:
    part = tmp_path / "part"
    counted: list[int] = []
    with serving(FileServer({"/a": CONTENT}, cuts=[100_000, 300_000])) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS, counted.append)
    assert part.read_bytes() == CONTENT
    assert server.requests == [("/a", None), ("/a", "bytes=100000-"), ("/a", "bytes=400000-")]
    assert sum(counted) == len(CONTENT)


def test_goes_on_from_an_earlier_call(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:500_000])
    with serving(FileServer({"/a": CONTENT})) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT
    assert server.requests == [("/a", "bytes=500000-")]


def test_begins_anew_where_ranges_are_unknown(tmp_path: Path) -> None:
    part = tmp_path / "part"
    counted: list[int] = []
    part.write_bytes(CONTENT[:500_000])
    with serving(FileServer({"/a": CONTENT}, ranges=False)) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS, counted.append)
    assert part.read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)


def test_asks_nothing_when_everything_is_there(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT)
    with serving(FileServer({"/a": CONTENT})) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert server.requests == []


def test_gives_up_without_progress_and_keeps_what_came(tmp_path: Path) -> None:
    part = tmp_path / "part"
    with serving(FileServer({"/a": CONTENT}, cuts=[1000, 0, 0, 0, 0])) as server, pytest.raises(FetchFailed, match="1000 of 900000"):
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT[:1000]
    assert len(server.requests) == 1 + LIMITS.attempts


def test_asks_again_when_the_server_is_busy(tmp_path: Path) -> None:
    part = tmp_path / "part"
    with serving(FileServer({"/a": CONTENT}, statuses=[503, 429])) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_does_not_insist_on_what_is_not_there(tmp_path: Path) -> None:
    with serving(FileServer({})) as server, pytest.raises(FetchFailed, match="HTTP 404"):
        fetch(f"{server.url}/a", tmp_path / "part", 5, LIMITS)
    assert len(server.requests) == 1


def test_stops_at_the_announced_size(tmp_path: Path) -> None:
    part = tmp_path / "part"
    with serving(FileServer({"/a": CONTENT})) as server, pytest.raises(FetchFailed, match="more bytes"):
        fetch(f"{server.url}/a", part, 1000, LIMITS)
    assert part.stat().st_size <= 1000


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    with serving(FileServer({"/a": CONTENT})) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT


def test_without_a_network_it_says_so_at_once(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="not known here"):
        fetch("https://nowhere.invalid/a", tmp_path / "part", 5, FetchLimits(pause=60))


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,abc"])
def test_only_web_addresses_are_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="only http"):
        fetch(url, tmp_path / "part", 3, LIMITS)
