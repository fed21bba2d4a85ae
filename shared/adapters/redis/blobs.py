"""Bytes of tenants, and idempotency keys, in Redis.

A blob is a string that expires; a sorted set a tenant knows when each of its blobs does, so that they can be counted.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from shared.adapters.redis.connection import Commands, Lanes, Script
from shared.errors import InputTooLarge, StoreAway
from shared.log import get_logger
from shared.settings import Settings

log = get_logger(__name__)

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS: the tenant's blobs. ARGV: identifier, time to keep (milliseconds), most.
_RESERVE = Script.of(
    _NOW,
    """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""",
)
# KEYS: the tenant's blobs, then each blob. ARGV: time to keep (milliseconds), then each identifier. Whether each is there.
# The list decides: the bytes outlive it by the moment between reserving and storing, and must not come back to life.
_USE = Script.of(
    _NOW,
    """
local there = {}
for i = 2, #KEYS do
  local ends = redis.call('ZSCORE', KEYS[1], ARGV[i])
  there[i - 1] = (ends and tonumber(ends) > now) and redis.call('PEXPIRE', KEYS[i], ARGV[1]) or 0
  if there[i - 1] == 1 then
    redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
  end
end
return there
""",
)
_IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RedisBlobs:
    """`shared.ports.BlobStore` over Redis."""

    def __init__(self, commands: Commands, lanes: Lanes, settings: Settings) -> None:
        """``lanes`` carry the bytes, ``commands`` everything else."""
        self._commands, self._lanes = commands, lanes
        self._index, self._prefix = f"{settings.namespace}:blobs:", f"{settings.namespace}:blob:"
        self._most = settings.blobs_per_stream
        self._ttl = max(1, round(settings.blob_seconds * 1000))

    async def put(self, tenant: str, data: bytes) -> str:
        blob_id = str(uuid.uuid4())
        if not await self._commands.run(_RESERVE, (self._index + tenant,), (blob_id, self._ttl, self._most)):
            raise InputTooLarge(f"there are {self._most} blobs already, which is the most; delete some")
        try:
            await self._lanes.send("SET", self._key(tenant, blob_id), data, "PX", self._ttl)
        except BaseException:
            self._commands.send("ZREM", self._index + tenant, blob_id).add_done_callback(_forget)
            raise
        return blob_id

    async def get(self, tenant: str, blob_id: str) -> bytes | None:
        if not _IDENTIFIER.fullmatch(blob_id):
            return None
        data: bytes | None = await self._lanes.send("GET", self._key(tenant, blob_id))
        there = data is not None and (await self.exists(tenant, [blob_id]))[0]
        return data if there else None

    async def exists(self, tenant: str, blob_ids: Sequence[str]) -> list[bool]:
        """Asking is a use: whoever refers to a blob in a job wants it to be there when the job runs."""
        known = [blob_id for blob_id in blob_ids if _IDENTIFIER.fullmatch(blob_id)]
        if not known:
            return [False] * len(blob_ids)
        keys = (self._index + tenant, *(self._key(tenant, blob_id) for blob_id in known))
        there = dict(zip(known, await self._commands.run(_USE, keys, (self._ttl, *known)), strict=True))
        return [there.get(blob_id) == 1 for blob_id in blob_ids]

    async def delete(self, tenant: str, blob_id: str) -> bool:
        if not _IDENTIFIER.fullmatch(blob_id):
            return False
        deleted, _ = await asyncio.gather(
            self._commands.send("UNLINK", self._key(tenant, blob_id)), self._commands.send("ZREM", self._index + tenant, blob_id)
        )
        return bool(deleted)

    def _key(self, tenant: str, blob_id: str) -> str:
        """Unambiguous, whatever characters the tenant's name has: the identifier has a fixed form."""
        return f"{self._prefix}{tenant}:{blob_id}"


class RedisIdempotency:
    """`shared.ports.IdempotencyStore` over Redis."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._prefix = f"{settings.namespace}:idempotency:"
        self._ttl = max(1, round(settings.idempotency_seconds * 1000))

    async def claim(self, tenant: str, key: str, fingerprint: str, job_id: str) -> tuple[str, str]:
        value = orjson.dumps((fingerprint, job_id))
        taken = await self._commands.send("SET", self._key(tenant, key), value, "NX", "GET", "PX", self._ttl)
        if taken is None:
            return fingerprint, job_id
        stood_for, job = orjson.loads(taken)
        return stood_for, job

    async def release(self, tenant: str, key: str) -> None:
        await self._commands.send("DEL", self._key(tenant, key))

    def _key(self, tenant: str, key: str) -> str:
        """A digest, since callers choose the key freely; the tenant's length keeps the two apart."""
        return self._prefix + blake2b(f"{len(tenant)}:{tenant}{key}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _forget(reply: asyncio.Future[object]) -> None:
    """The place of a blob that could not be stored becomes free at the latest when it would have expired."""
    if not reply.cancelled() and isinstance(reply.exception(), StoreAway):
        log.warning("blob.place_not_freed")
