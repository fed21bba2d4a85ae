"""Whose credentials a command uses: given, read from a file, or looked up in the database of this installation."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from accounts.errors import SecretKeyChanged
from accounts.model import DEMO_SECRET, StreamSecret
from accounts.store import open_accounts
from sensorium.processes.secret import with_secret
from shared.errors import InvalidParameter, Unavailable
from shared.settings import read_settings

_OTHERWISE = "or give the credentials themselves: --user CLIENT_ID:ACCESS_TOKEN"


def credentials(user: str | None, stream: str | None) -> StreamSecret:
    """Of ``user`` (CLIENT_ID:ACCESS_TOKEN), else of ``stream``: a file of JSON that holds them, or a name or client_id in the database that
    the settings name; of the demonstration if neither is given. Raises `InvalidParameter` or `Unavailable` that say what to do."""
    if user is not None:
        client_id, _, token = user.partition(":")
        return StreamSecret(client_id, token)
    if stream is None:
        return DEMO_SECRET
    path = Path(stream)
    return _from_file(path) if path.suffix == ".json" or path.is_file() else asyncio.run(_from_database(stream))


def _from_file(path: Path) -> StreamSecret:
    try:
        given = json.loads(path.read_text())
        client_id, token = given["client_id"], given["access_token"]
    except OSError as error:
        raise InvalidParameter(f"--stream {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise InvalidParameter(
            f"--stream {path}: must be a file with client_id and access_token, as `sensorium account add-stream EMAIL NAME --json` prints it"
        ) from None
    return StreamSecret(str(client_id), str(token))


async def _from_database(wanted: str) -> StreamSecret:
    settings = read_settings()
    try:
        async with open_accounts(with_secret(settings)) as accounts:
            known = await accounts.accounts()
            every = [stream for account in known for stream in await accounts.streams.of(account.email)]
            found = [stream for stream in every if wanted in (stream.client_id, stream.name)]
            if len(found) == 1 and (secret := await accounts.streams.reveal(found[0])) is not None:
                return secret
    except Unavailable as error:
        raise Unavailable(f"--stream {wanted}: the database cannot be asked ({error.message}); {_OTHERWISE}") from None
    except SecretKeyChanged as error:
        raise InvalidParameter(f"--stream {wanted}: {error}; {_OTHERWISE}") from None
    if found:
        told = ", ".join(stream.client_id for stream in found)
        raise InvalidParameter(f"--stream {wanted}: there are several of this name; choose one by its client_id: {told}")
    names = ", ".join(sorted({stream.name for stream in every})) or "none"
    raise InvalidParameter(f"--stream {wanted}: no such stream here; there are: {names}; {_OTHERWISE}")
