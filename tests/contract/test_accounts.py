"""Accounts and credentials on every database: SQLite always, PostgreSQL where one can be had."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiosqlite
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from accounts.credentials import Credentials, Tenant
from accounts.demo import ensure_demo
from accounts.errors import AccountUnknown, EmailTaken, SecretKeyChanged, StreamLimitReached
from accounts.model import DEMO_EMAIL, DEMO_SECRET, Plan
from accounts.plans import DEFAULTS
from accounts.store import Accounts, open_accounts
from database.tables import Base
from sensorium.migrate import LOCK, MigrationFailed, migrate
from shared.errors import StoreAway
from shared.settings import Settings, read_settings

PASSWORD = "correct horse"
ANN = "Ann@example.com"


def settings_for(database: str, secret: str = "k" * 32, seconds: float = 5) -> Settings:
    return read_settings({}, database=database, secret_key=secret, store_seconds=seconds)


@pytest.fixture
async def accounts(database: str) -> AsyncIterator[Accounts]:
    await migrate(database)
    async with open_accounts(settings_for(database)) as opened:
        yield opened


# Credentials


async def test_a_stream_proves_itself(accounts: Accounts) -> None:
    account = await accounts.create_account(ANN, PASSWORD)
    secret = await accounts.streams.add(ANN, "Door")
    credentials: Credentials = accounts.credentials
    proof = await accounts.credentials.proof_of(secret.client_id)
    assert proof is not None
    tenant = Tenant(secret.client_id, account.id, DEFAULTS[Plan.DEVELOPER].allowance, (), proof.fingerprint)
    assert await credentials.verify(secret.client_id, secret.access_token) == tenant
    assert await credentials.tenant(secret.client_id) == tenant
    assert await credentials.tenant(secret.access_token) is None


async def test_refusal_is_the_same_for_every_reason(accounts: Accounts) -> None:
    await accounts.create_account(ANN, PASSWORD, Plan.ENTERPRISE)
    one, other = await accounts.streams.add(ANN, "Door"), await accounts.streams.add(ANN, "Window")
    odd = ["", "\x00", "\ud800", "é", "' OR 1=1 --", one.access_token.upper(), one.access_token[:-1], one.access_token + "0", "x" * 100_000]
    wrong = [(one.client_id, token) for token in [*odd, other.access_token]]
    unknown = [(client_id, one.access_token) for client_id in [*odd, str(uuid.uuid4()), str(uuid.UUID(int=0)), one.client_id.upper()]]
    for client_id, token in wrong + unknown:
        assert await accounts.credentials.verify(client_id, token) is None, (client_id, token)


async def test_refusals_do_the_same_work(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    await accounts.create_account(ANN, PASSWORD)
    secret = await accounts.streams.add(ANN, "Door")
    compared: list[tuple[int, int]] = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append((len(a), len(b))) or a == b)
    for client_id in (secret.client_id, str(uuid.uuid4()), "no identifier", DEMO_SECRET.client_id):
        assert await accounts.credentials.verify(client_id, "wrong") is None
    assert compared == [(32, 32)] * 4


async def test_credentials_end_with_their_account(accounts: Accounts) -> None:
    await accounts.create_account(ANN, PASSWORD)
    secret = await accounts.streams.add(ANN, "Door")
    await accounts.delete_account("ANN@EXAMPLE.COM")
    assert await accounts.credentials.verify(secret.client_id, secret.access_token) is None
    assert await accounts.accounts() == []


async def test_details_can_be_shown_with_the_key_only(accounts: Accounts, database: str) -> None:
    await accounts.create_account(ANN, PASSWORD)
    secret = await accounts.streams.add(ANN, "Door")
    [stream] = await accounts.streams.of(ANN)
    assert await accounts.streams.reveal(stream) == secret
    async with open_accounts(settings_for(database, secret="other" * 10)) as others:
        assert await others.credentials.verify(secret.client_id, secret.access_token) is None
        with pytest.raises(SecretKeyChanged):
            await others.streams.reveal(stream)
    await accounts.delete_account(ANN)
    assert await accounts.streams.reveal(stream) is None


def read_folder(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """The content of each file, and the names of those that others may read."""
    paths = list(folder.iterdir())
    return {path.name: path.read_bytes() for path in paths}, [path.name for path in paths if path.stat().st_mode & 0o077]


async def test_no_secret_is_in_the_files(tmp_path: Path) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/accounts.db"
    await migrate(database)
    async with open_accounts(settings_for(database)) as accounts:
        await accounts.create_account(ANN, PASSWORD)
        secret = await accounts.streams.add(ANN, "Door")
        # While it is open, so that the write-ahead log is there too.
        files, open_to_others = read_folder(tmp_path)
    content = b"".join(files.values())
    assert secret.client_id.encode() in content
    assert "accounts.db-wal" in files
    token = uuid.UUID(secret.access_token)
    for form in (str(token).encode(), token.hex.encode(), token.bytes, PASSWORD.encode(), b"k" * 32):
        assert form not in content
    assert open_to_others == ["accounts.db.lock"]  # which is empty
    assert files["accounts.db.lock"] == b""


# Accounts


async def test_addresses_are_unique_in_any_case(accounts: Accounts) -> None:
    made = await accounts.create_account(ANN, PASSWORD)
    assert made.email == ANN
    for email in ("ann@example.com", "ANN@EXAMPLE.COM", " ann@Example.com "):
        with pytest.raises(EmailTaken):
            await accounts.create_account(email, PASSWORD)
        assert await accounts.check_password(email, PASSWORD) == made


async def test_of_many_that_register_at_once_one_succeeds(accounts: Accounts) -> None:
    tries = [accounts.create_account(email, PASSWORD) for email in ("bob@example.com", "Bob@example.com", "BOB@example.com")]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Account", "EmailTaken", "EmailTaken"]


async def test_sign_in_is_refused_for_every_reason(accounts: Accounts) -> None:
    await accounts.create_account(ANN, PASSWORD)
    for email, password in [(ANN, "wrong horse"), ("bob@example.com", PASSWORD), ("nonsense", PASSWORD), ("", ""), (ANN, "\x00")]:
        assert await accounts.check_password(email, password) is None


async def test_changes_of_an_account(accounts: Accounts) -> None:
    await accounts.create_account(ANN, PASSWORD)
    await accounts.set_password("ann@example.com", "another horse")
    await accounts.set_plan("ann@example.com", Plan.ENTERPRISE)
    assert await accounts.check_password(ANN, PASSWORD) is None
    changed = await accounts.check_password(ANN, "another horse")
    assert changed is not None
    assert changed.plan is Plan.ENTERPRISE
    assert abs(changed.created - datetime.now(UTC)) < timedelta(minutes=1)
    for change in (accounts.set_plan("b@c", Plan.DEVELOPER), accounts.set_password("b@c", PASSWORD), accounts.delete_account("b@c")):
        with pytest.raises(AccountUnknown):
            await change


async def test_a_developer_has_one_stream_even_when_asking_many_times_at_once(accounts: Accounts) -> None:
    await accounts.create_account(ANN, PASSWORD)
    adding = (accounts.streams.add(ANN, f"Door {n}") for n in range(8))
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert [type(result) for result in results].count(StreamLimitReached) == 7
    assert len(await accounts.streams.of(ANN)) == 1
    await accounts.set_plan(ANN, Plan.ENTERPRISE)
    await asyncio.gather(*(accounts.streams.add(ANN, f"Window {n}") for n in range(8)))
    assert len(await accounts.streams.of(ANN)) == 9


# The demonstration


async def test_published_credentials_work_in_the_demonstration_only(accounts: Accounts, database: str) -> None:
    async with open_accounts(settings_for(database), allow_demo=True) as demo:
        made = await ensure_demo(demo, None)
        assert made.stream == DEMO_SECRET
        assert await demo.credentials.verify(DEMO_SECRET.client_id, DEMO_SECRET.access_token) is not None
        assert await demo.credentials.verify(DEMO_SECRET.client_id, "wrong") is None
        assert await demo.check_password(DEMO_EMAIL, made.password) is not None
    # The rows are there.
    assert [stream.client_id for stream in await accounts.streams.of(DEMO_EMAIL)] == [DEMO_SECRET.client_id]
    assert await accounts.credentials.verify(DEMO_SECRET.client_id, DEMO_SECRET.access_token) is None
    assert await accounts.check_password(DEMO_EMAIL, made.password) is None
    with pytest.raises(ValueError, match="not allowed"):
        await ensure_demo(accounts, None)


async def test_demonstration_is_made_right_at_each_start(database: str) -> None:
    await migrate(database)
    async with open_accounts(settings_for(database), allow_demo=True) as demo:
        first = await ensure_demo(demo, None)
        second = await ensure_demo(demo, None)
        assert first.password != second.password
        assert await demo.check_password(DEMO_EMAIL, first.password) is None
        assert await demo.check_password(DEMO_EMAIL, second.password) is not None
    async with open_accounts(settings_for(database, secret="other" * 10), allow_demo=True) as demo:
        third = await ensure_demo(demo, PASSWORD)
        assert third.password == PASSWORD
        assert await demo.credentials.verify(DEMO_SECRET.client_id, DEMO_SECRET.access_token) is not None
        assert len(await demo.streams.of(DEMO_EMAIL)) == 1


# Migrations


async def differences_in(database: str) -> list[object]:
    engine = create_async_engine(database)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata))

    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    return found


async def test_migrations_make_the_tables_that_the_code_maps(database: str) -> None:
    await migrate(database)
    assert await differences_in(database) == []


async def test_migrating_again_keeps_everything(accounts: Accounts, database: str) -> None:
    await accounts.create_account(ANN, PASSWORD)
    secret = await accounts.streams.add(ANN, "Door")
    await asyncio.gather(migrate(database), migrate(database))
    assert await accounts.credentials.verify(secret.client_id, secret.access_token) is not None


def migrate_when_all_are_ready(database: str, barrier: object) -> None:
    barrier.wait(30)  # type: ignore[attr-defined]
    asyncio.run(migrate(database))


async def test_processes_that_migrate_at_once(database: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=migrate_when_all_are_ready, args=(database, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert await differences_in(database) == []


@asynccontextmanager
async def somebody_migrating(database: str) -> AsyncIterator[None]:
    """Holds what a process holds while it migrates."""
    url = make_url(database)
    if url.database is not None and url.drivername.startswith("sqlite"):
        async with aiosqlite.connect(f"{url.database}.lock", isolation_level=None) as connection:
            await connection.execute("BEGIN EXCLUSIVE")
            yield
        return
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        yield
    await engine.dispose()


async def test_migrating_waits_for_whoever_migrates(database: str) -> None:
    async with somebody_migrating(database):
        with pytest.raises(StoreAway, match=r"cannot be set up: ."):
            await migrate(database, seconds=0.5)
        waiting = asyncio.create_task(migrate(database, seconds=60))
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done
    await waiting
    assert await differences_in(database) == []


async def test_database_of_a_newer_program_is_left_alone(accounts: Accounts, database: str) -> None:
    engine = create_async_engine(database)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(MigrationFailed, match="newer"):
        await migrate(database)
    await accounts.ping()


async def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    await migrate(f"sqlite+aiosqlite:///{tmp_path}/accounts.db")
    with sqlite3.connect(tmp_path / "accounts.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# The database is away


async def every_use_fails(accounts: Accounts, match: str) -> None:
    uses = (
        accounts.ping(),
        accounts.credentials.verify(*[str(uuid.uuid4())] * 2),
        accounts.create_account(ANN, PASSWORD),
        accounts.accounts(),
    )
    for use in uses:
        with pytest.raises(StoreAway, match=match):
            await use


async def test_migrating_what_cannot_be_reached(tmp_path: Path) -> None:
    with pytest.raises(StoreAway, match=r"cannot be set up: ."):
        await migrate(f"sqlite+aiosqlite:///{tmp_path}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql+asyncpg://u:p@127.0.0.1:{listener.getsockname()[1]}/d"
    with pytest.raises(StoreAway, match=r"cannot be set up: ."):
        await migrate(url)


async def test_database_without_tables(database: str) -> None:
    async with open_accounts(settings_for(database)) as accounts:
        await every_use_fails(accounts, "sensorium migrate")


async def test_sqlite_that_cannot_be_opened(tmp_path: Path) -> None:
    async with open_accounts(settings_for(f"sqlite+aiosqlite:///{tmp_path}")) as accounts:
        await every_use_fails(accounts, "does not answer")


async def test_sqlite_that_is_locked_for_too_long(tmp_path: Path) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/accounts.db"
    await migrate(database)
    async with open_accounts(settings_for(database, seconds=0.5)) as accounts:
        with sqlite3.connect(tmp_path / "accounts.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreAway):
                await accounts.create_account(ANN, PASSWORD)
            assert await accounts.accounts() == []  # readers do not wait for writers
            other.execute("ROLLBACK")
        await accounts.create_account(ANN, PASSWORD)


async def test_postgresql_that_is_not_there() -> None:
    pytest.importorskip("asyncpg")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql+asyncpg://u:p@127.0.0.1:{listener.getsockname()[1]}/d"
        # Listens, and never says a word.
        async with open_accounts(settings_for(url, seconds=0.3)) as accounts:
            await every_use_fails(accounts, "does not answer")
    async with open_accounts(settings_for(url)) as accounts:
        await every_use_fails(accounts, "does not answer")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_postgresql_that_went_and_came_back(accounts: Accounts, database: str) -> None:
    await accounts.create_account(ANN, PASSWORD)
    admin = create_async_engine(database)
    async with admin.connect() as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert (await connection.execute(text(ended))).all()
    await admin.dispose()
    assert len(await accounts.accounts()) == 1


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_postgresql_that_refuses_us(accounts: Accounts, database: str) -> None:
    nowhere = make_url(database).set(database="nowhere").render_as_string(hide_password=False)
    async with open_accounts(settings_for(nowhere)) as others:
        await every_use_fails(others, "does not answer")
