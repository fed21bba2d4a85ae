"""What the package of accounts does without a database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from accounts.demo import is_loopback
from accounts.errors import EmailInvalid, NameInvalid, PasswordRefused, SecretKeyChanged
from accounts.keys import derive, load_or_create_secret, secret_of
from accounts.model import StreamSecret, clean_name, email_key, is_client_id
from accounts.passwords import Passwords
from accounts.tokens import TokenVault, new_secret
from database.engine import parse_url
from shared.errors import Unavailable
from shared.settings import SettingsError, read_settings

SECRET = b"0123456789abcdef0123456789abcdef"
# openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt key:$SECRET -kdfopt salt: -kdfopt info:sensorium/job-ids HKDF
EXPECTED_JOB_IDS = "25151e95615c4da93397eaeaca05a9af847d3a45e706ca967d8dc44e8b676757"


def test_derived_keys_are_told_apart_by_purpose_and_secret() -> None:
    keys = {derive(SECRET, "a"), derive(SECRET, "b"), derive(SECRET[::-1], "a")}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}
    assert derive(SECRET, "a") in keys


def test_derivation_never_changes() -> None:
    # A change would make every stored token unreadable.
    assert derive(SECRET, "job-ids").hex() == EXPECTED_JOB_IDS


def test_secret_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret_key"
    first = load_or_create_secret(path)
    assert load_or_create_secret(path) == first
    assert len(bytes.fromhex(first.decode())) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_whoever_comes_second_takes_the_secret_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret_key"
    first = load_or_create_secret(path)
    # As seen by a process that looked just before the file was there.
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert load_or_create_secret(path) == first
    assert list(tmp_path.iterdir()) == [path]


def test_short_secrets_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    path.write_text("short")
    with pytest.raises(SettingsError, match="at least 32"):
        load_or_create_secret(path)
    with pytest.raises(SettingsError, match="at least 32"):
        secret_of(read_settings({}, secret_key="x" * 31))
    with pytest.raises(SettingsError, match="SENSORIUM_SECRET_KEY is required"):
        secret_of(read_settings({}))
    assert secret_of(read_settings({}, secret_key="x" * 32)) == b"x" * 32


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://u@h/d", "sqlite:///a.db", "sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", "postgresql://u@h/d"]
)
def test_unusable_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="SENSORIUM_DATABASE"):
        parse_url(url)


def test_vault_matches_only_this_token_of_this_stream() -> None:
    vault, mine, other = TokenVault(SECRET), new_secret(), new_secret()
    stored = vault.digest(mine.client_id, mine.access_token)
    assert vault.matches(mine.client_id, mine.access_token, stored)
    assert not vault.matches(mine.client_id, other.access_token, stored)
    assert not vault.matches(other.client_id, mine.access_token, stored)
    assert not vault.matches(mine.client_id, mine.access_token, None)
    assert not TokenVault(SECRET[::-1]).matches(mine.client_id, mine.access_token, stored)


@pytest.mark.parametrize("token", ["", "\x00", "\ud800", "é", "x" * 100_000])
def test_vault_survives_any_token(token: str) -> None:
    vault = TokenVault(SECRET)
    stored = vault.digest("id", token)
    assert len(stored) == 32
    assert vault.matches("id", token, stored)


def test_sealed_tokens_open_only_with_the_key_and_for_their_stream() -> None:
    vault, mine, other = TokenVault(SECRET), new_secret(), new_secret()
    sealed = vault.seal(mine)
    assert vault.unseal(mine.client_id, sealed) == mine
    assert mine.access_token.encode() not in sealed
    with pytest.raises(SecretKeyChanged):
        vault.unseal(other.client_id, sealed)
    with pytest.raises(SecretKeyChanged):
        TokenVault(SECRET[::-1]).unseal(mine.client_id, sealed)


def test_a_secret_does_not_show_its_token() -> None:
    secret = StreamSecret("id", "very-secret")
    assert "very-secret" not in f"{secret} {secret!r} {[secret]}"


async def test_passwords() -> None:
    passwords = Passwords()
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert await passwords.matches(stored, "correct horse")
    assert not await passwords.matches(stored, "wrong horse")
    assert not await passwords.matches(stored, "\ud800")
    assert not await passwords.matches(None, "correct horse")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025])
async def test_unfit_passwords_are_refused(password: str) -> None:
    with pytest.raises(PasswordRefused):
        await Passwords().hash(password)


async def test_only_so_many_passwords_wait() -> None:
    passwords = Passwords(at_once=1, most_waiting=2)
    stored = await passwords.hash("correct horse")
    outcomes = await asyncio.gather(*(passwords.matches(stored, "correct horse") for _ in range(10)), return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome is True] == [True] * 3
    assert {type(outcome) for outcome in outcomes} == {bool, Unavailable}
    assert await passwords.matches(stored, "correct horse")


async def test_longest_password_is_compared_whole() -> None:
    passwords = Passwords()
    stored = await passwords.hash("x" * 1024)
    assert await passwords.matches(stored, "x" * 1024)
    assert not await passwords.matches(stored, "x" * 1025)


def test_addresses_that_differ_in_case_are_the_same() -> None:
    assert email_key(" Ann@Example.COM ") == email_key("ann@example.com")
    assert email_key("STRASSE@example.com") == email_key("straße@example.com")
    assert email_key("e\u0301@example.com") == email_key("É@example.com")
    assert email_key("ann@example.com") != email_key("anna@example.com")


@pytest.mark.parametrize("email", ["", "ann", "@example.com", "ann@", "a b@example.com", "a@b@c", "a\x00@example.com", "a@" + "x" * 300])
def test_what_is_no_address(email: str) -> None:
    with pytest.raises(EmailInvalid):
        email_key(email)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\nb", "a\x00b", "\ud800"])
def test_what_is_no_name_of_a_stream(name: str) -> None:
    with pytest.raises(NameInvalid):
        clean_name(name)


def test_client_ids_have_one_form() -> None:
    assert is_client_id(new_secret().client_id)
    for text in ("", "x", new_secret().client_id.upper() + "A", new_secret().client_id + "\n", "\x00" * 36, "\ud800"):
        assert not is_client_id(text)


def test_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "localhost.example.com"]))
