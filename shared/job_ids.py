"""Job identifiers that say whom they belong to, so that asking for one costs no look-up.

An identifier is 16 bytes (milliseconds, randomness, shard, flags) written like a UUID, and a keyed tag over them, the
tenant, the service and its version. A wrong tag is an identifier that we never gave to this tenant for this service:
404. A right one without a stored event is a job that waits, or whose result expired or was lost: 410. The shard names
the channel on which the job's events are pushed.
"""

from __future__ import annotations

import hmac
import os
import time
from dataclasses import dataclass
from hashlib import blake2b

SHARDS = 256
_TAG_BYTES = 8
_SYNCHRONOUS = 1


@dataclass(frozen=True, slots=True)
class JobRef:
    """What an identifier says. ``created`` is in seconds since 1970."""

    id: str
    created: float
    shard: int
    synchronous: bool


def shard_of(job_id: str) -> int:
    """The shard (0 to 255) of a well-formed identifier; 0 for anything else, since it only picks a channel."""
    try:
        return int(job_id[32:34], 16)
    except ValueError:
        return 0


class JobIds:
    """Makes and reads the identifiers of one installation; every gateway shares the key."""

    def __init__(self, key: bytes, shard: int = 0) -> None:
        """``key`` is a secret of the installation, ``shard`` (0 to 255) the channel of this process."""
        self.shard = shard
        self._key = blake2b(key, person=b"sensorium-jobid", digest_size=32).digest()

    def make(self, owner: str, *, synchronous: bool) -> str:
        """A new identifier. ``owner`` is tenant, service and version in one string."""
        raw = b"".join(
            (
                int(time.time() * 1000).to_bytes(6, "big"),
                os.urandom(8),
                bytes((self.shard, _SYNCHRONOUS if synchronous else 0)),
            )
        )
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}-{self._tag(raw, owner)}"

    def read(self, job_id: str, owner: str) -> JobRef | None:
        """What the identifier says, or None when it is not one of ours for this owner."""
        raw = _raw_bytes(job_id)
        if raw is None or not hmac.compare_digest(self._tag(raw, owner), job_id[37:]):
            return None
        return JobRef(job_id, int.from_bytes(raw[:6], "big") / 1000, raw[14], bool(raw[15] & _SYNCHRONOUS))

    def _tag(self, raw: bytes, owner: str) -> str:
        return blake2b(raw + owner.encode(), key=self._key, digest_size=_TAG_BYTES).hexdigest()


def _raw_bytes(job_id: str) -> bytes | None:
    if len(job_id) != 37 + 2 * _TAG_BYTES or not job_id.isascii() or job_id != job_id.lower():
        return None
    groups = job_id.split("-")
    if [len(group) for group in groups] != [8, 4, 4, 4, 12, 2 * _TAG_BYTES]:
        return None
    try:
        return bytes.fromhex("".join(groups[:5]))
    except ValueError:
        return None
