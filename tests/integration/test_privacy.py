"""What is left of a picture once its jobs are done, its blobs deleted and its sessions closed: nothing.

A picture with a mark in its bytes goes through every service of the catalogue that takes one, in every way in which a file
can travel. Then whatever the system keeps or says is searched for the mark, for anything that decodes to a picture, and for the
bytes of the face's embedding. While a session lives its state may hold something of what was seen (a grey relief, in
`motion_detection`), so the search is for what is there after it was closed.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from tests.integration.conftest import FORMS, QUICK, start_system
from tests.integration.processes import System, post_job, running_system
from tests.servers import Server
from tests.services.helpers import all_models, astronaut, jpeg
from workers.catalog import load_catalog
from workers.contract import Image
from workers.lib.faces import Sight
from workers.models.face_detector import open_face_detector
from workers.models.face_embedder import open_face_embedder

MARK = b"canary-5f0d9c1be2a74d03"
LARGE_BYTES = 1_500_000  # more than travels inside a message
FRAMES = 3
#: Fewer consecutive numbers than these could be found by chance.
NUMBERS = 8

IMAGE_SERVICES = sorted(name for (name, _), kind in load_catalog().items() if kind.input_type.model_fields.get("image", None))
TIMED = ("composite", "scene_analysis")


def marked(size: int = 0) -> bytes:
    """A photograph of a face whose comment segments hold the mark, with so many of them that it has at least ``size`` bytes."""
    pixels = astronaut().copy()
    pixels[:16, :16] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    plain = jpeg(pixels)
    comment = MARK * 2000
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return plain[:2] + segment * max(1, -(-(size - len(plain)) // len(segment))) + plain[2:]


def embeddings() -> list[bytes]:
    """Pieces of the face's embedding as they would lie in memory, whole and halved in precision."""
    image = cv2.imdecode(np.frombuffer(marked(), np.uint8), cv2.IMREAD_COLOR)
    (faces,) = open_face_detector(all_models()).detect([image])
    (vector,) = open_face_embedder(all_models()).embed([Sight.of(image, faces)])
    starts = range(0, len(vector) - NUMBERS, NUMBERS)
    return [vector[start : start + NUMBERS].astype(kind).tobytes() for start in starts for kind in (np.float32, np.float16)]


def holds_picture(data: bytes) -> bool:
    """Whether something in the data decodes to a picture."""
    for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        start = data.find(magic)
        while start >= 0:
            if cv2.imdecode(np.frombuffer(data[start:], np.uint8), cv2.IMREAD_COLOR) is not None:
                return True
            start = data.find(magic, start + 1)
    return False


def traces(places: Iterable[tuple[str, bytes]], pieces: list[bytes]) -> list[str]:
    """Where something of the picture is, and what."""
    found = []
    for name, data in places:
        found += [f"{name}: the mark"] if MARK in data else []
        found += [f"{name}: a picture"] if holds_picture(data) else []
        found += [f"{name}: an embedding"] if any(piece in data for piece in pieces) else []
    return found


# Where to look


def redis_values(url: str) -> Iterator[tuple[str, bytes]]:
    """Every key with all that it holds."""
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(count=1000):
            yield f"redis {key!r}", key + repr_of(client, key)


def repr_of(client: redis.Redis, key: bytes) -> bytes:
    """The members of a value, one after the other."""
    kind = client.type(key)
    if kind == b"string":
        return client.get(key) or b""
    if kind == b"hash":
        return b"\n".join(part for pair in client.hgetall(key).items() for part in pair)
    if kind == b"list":
        return b"\n".join(client.lrange(key, 0, -1))
    if kind == b"set":
        return b"\n".join(client.smembers(key))
    if kind == b"zset":
        return b"\n".join(client.zrange(key, 0, -1))
    if kind == b"stream":
        return b"\n".join(part for _, fields in client.xrange(key) for pair in fields.items() for part in pair)
    if kind == b"none":
        return b""  # it expired meanwhile
    raise AssertionError(f"{key!r} is a {kind!r}, which this test cannot read")


async def redis_files(url: str) -> list[tuple[str, bytes]]:
    """The append-only files once they were written anew: until then they hold what was deleted too. Uncompressed, to be searched."""
    with redis.Redis.from_url(url) as client:
        client.config_set("rdbcompression", "no")
        client.bgrewriteaof()
        async with asyncio.timeout(20):
            while client.info("persistence")["aof_rewrite_in_progress"] or client.info("persistence")["aof_rewrite_scheduled"]:
                await asyncio.sleep(0.05)
        folder = Path(client.config_get("dir")["dir"])
    found = [(str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file() and path.suffix in (".aof", ".rdb")]
    assert found
    return found


async def database_files(url: str) -> list[tuple[str, bytes]]:
    """What the database has on disk: its own files, and the log of what was written."""
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite"):
        file = Path(str(parsed.database))
        return [(str(path), path.read_bytes()) for path in file.parent.glob(f"{file.name}*")]
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("CHECKPOINT"))
        folder = Path(str((await connection.execute(text("SHOW data_directory"))).scalar()))
        own = (await connection.execute(text("SELECT oid FROM pg_database WHERE datname = current_database()"))).scalar()
    await engine.dispose()
    paths = [path for part in (f"base/{own}", "pg_wal") for path in (folder / part).rglob("*") if path.is_file()]
    assert paths
    return [(str(path), path.read_bytes()) for path in paths]


# The two forms


@pytest.fixture(params=FORMS)
async def system(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> AsyncIterator[tuple[str, System]]:
    settings = {**QUICK, "HOLD_SECONDS": "60", "RESULT_SECONDS": "600"}
    if request.param == "embedded":
        settings |= {"DATABASE": f"sqlite+aiosqlite:///{tmp_path}/own.db"}
    else:
        broker: Server = request.getfixturevalue("rabbitmq_server")
        store: Server = request.getfixturevalue("own_redis")
        server = make_url(request.getfixturevalue("postgresql_server").url).set(drivername="postgresql+asyncpg")
        admin = create_async_engine(server, isolation_level="AUTOCOMMIT")
        async with admin.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {namespace}"))
        await admin.dispose()
        database = server.set(database=namespace).render_as_string(hide_password=False)
        settings |= {"BROKER": broker.url, "STORE": store.url, "NAMESPACE": namespace, "DATABASE": database}
    tmp_path.joinpath("system").mkdir()
    with running_system(tmp_path / "system", settings) as made:
        yield request.param, made


async def upload(client: aiohttp.ClientSession, data: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("meta", json.dumps({"content": "attachment://blob"}), content_type="application/json")
    form.add_field("attachment://blob", data, filename="blob")
    async with client.post("/blobs", data=form) as response:
        assert response.status == 201, await response.text()
        return str((await response.json())["url"])


def parameters_of(service: str, image: str) -> dict[str, Any]:
    """What the service needs beside an image; of its samples one is the image too."""
    more: dict[str, dict[str, Any]] = {
        "face_recognition": {"album": {"somebody": [image]}},
        "scene_analysis": {"camera_position": "facing", "store": True},
    }
    more["composite"] = (
        {"services": [name for name in IMAGE_SERVICES if name != "composite"]} | more["face_recognition"] | more["scene_analysis"]
    )
    return {"image": image, "async": False, **more.get(service, {})}


async def use(client: aiohttp.ClientSession, service: str, blob: str) -> None:
    """The service in every way in which a picture can come to it."""
    reference = "attachment://image"
    for number in range(FRAMES):
        session = {"state": {"session_id": f"canary-{service}"}}
        timestamp = {"timestamp": f"2024-02-01T12:00:0{number}+00:00"} if service in TIMED else {}
        given = {**parameters_of(service, reference), **session, **timestamp}
        await done(client, service, given, {reference: marked()})
    await done(client, service, parameters_of(service, reference), {reference: marked(LARGE_BYTES)})
    await done(client, service, parameters_of(service, blob), None)
    broken = marked()[:400]  # the reason for a refusal must not quote it
    status, answer = await post_job(client, service, parameters_of(service, reference), {reference: broken})
    assert status == 422, answer


async def done(client: aiohttp.ClientSession, service: str, given: dict[str, Any], files: dict[str, bytes] | None) -> None:
    if service in TIMED and "timestamp" not in given:
        given = {**given, "timestamp": "2024-02-01T12:00:00+00:00"}
    status, answer = await post_job(client, service, given, files)
    assert status == 201, (service, answer)


def test_every_service_that_takes_pictures_is_looked_at() -> None:
    assert {"face_recognition", "motion_detection", "scene_analysis", "upper_body_detection"} <= set(IMAGE_SERVICES)
    kinds = {name: kind.input_type.model_fields["image"].annotation for (name, _), kind in load_catalog().items() if name in IMAGE_SERVICES}
    assert set(kinds.values()) == {Image}


def test_what_is_searched_for_is_found() -> None:
    pieces = embeddings()
    whole = traces([("it", b"before" + marked() + b"after")], [])
    assert whole == ["it: the mark", "it: a picture"]
    assert traces([("it", b"--" + b"".join(pieces[::2]))], pieces) == ["it: an embedding"]
    assert traces([("it", uuid.uuid4().bytes * 100)], pieces) == []


@pytest.mark.timeout(300)
async def test_nothing_of_a_picture_is_left(system: tuple[str, System]) -> None:
    form, made = system
    environment = made.environment
    gateway = await start_system(form, made)
    store = environment.get("SENSORIUM_STORE", "memory://")
    if form == "distributed":
        recorder = made.start("recorder", port_option="--health-port")
        await recorder.ready()
    pieces = embeddings()
    async with made.client(gateway) as client:
        blob = await upload(client, marked())
        for service in IMAGE_SERVICES:
            await use(client, service, blob)
        if form == "distributed":
            assert traces(redis_values(store), []), "the search does not find even the blob that is there"
        async with client.delete(blob) as response:
            assert response.status == 204
    if form == "distributed":
        await gone(store, pieces)
        assert traces(await redis_files(store), pieces) == []
    assert traces(await database_files(environment["SENSORIUM_DATABASE"]), pieces) == []
    kept = [path for path in made.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} >= {".log"}
    assert traces([(str(path), path.read_bytes()) for path in kept], pieces) == []


async def gone(store: str, pieces: list[bytes]) -> None:
    """Until the sessions are closed and nothing is left in any key."""
    left: list[str] = []
    try:
        async with asyncio.timeout(60):
            while (left := traces(redis_values(store), pieces) + live_sessions(store)) != []:
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"left in Redis: {left[:20]}") from None


def live_sessions(store: str) -> list[str]:
    """Sessions that are not closed yet: what is known of a closed one is how far it came, for late answers, and no state."""
    with redis.Redis.from_url(store) as client:
        records = [key for key in client.scan_iter(count=1000) if b":session:" in key and b"canary-" in key]
        assert len(records) >= 2, "the sessions are not where this test looks for them"
        return [repr(key) for key in records if client.hexists(key, "state")]
