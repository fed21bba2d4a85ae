"""The secret key of an installation, and the keys made from it: one for each purpose, none of which tells another."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.settings import Settings, SettingsError

_LEAST = 32


def derive(secret: bytes, purpose: str) -> bytes:
    """The 32 bytes of this purpose: HKDF-SHA256 (RFC 5869) of the secret, with the purpose as its context."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sensorium/" + purpose.encode()).derive(secret)


def secret_of(settings: Settings) -> bytes:
    """The secret key that is set. Raises `SettingsError` when there is none or when it is too short."""
    if settings.secret_key is None:
        raise SettingsError("SENSORIUM_SECRET_KEY is required outside embedded mode; one is made by: openssl rand -hex 32")
    return _long_enough(settings.secret_key.get_secret_value().encode(), "SENSORIUM_SECRET_KEY")


def load_or_create_secret(path: Path) -> bytes:
    """The secret key in this file (64 hexadecimal characters), made at random and readable by its owner only if absent.

    Processes that start at once agree on one key. Raises `SettingsError` when the file is not one of ours, `OSError`
    when it cannot be read or made.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path)
    return _long_enough(path.read_bytes().strip(), str(path))


def _create(path: Path) -> None:
    # Linked into place once complete: whoever comes second finds the whole key of the first.
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)


def _long_enough(secret: bytes, where: str) -> bytes:
    if len(secret) < _LEAST:
        raise SettingsError(f"{where}: a secret key has at least {_LEAST} random characters")
    return secret
