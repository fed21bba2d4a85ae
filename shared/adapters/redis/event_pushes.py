"""The events of jobs as Redis pushes them, over the channel of each job's shard, to who follows the job."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from shared.adapters.redis.pubsub import PubSub
from shared.adapters.redis.subscriptions import Channel
from shared.followers import Follower, Followers

#: A job of which something was pushed is known for at least so many seconds; older ones are read.
_REMEMBERED = 1.0


class EventPushes:
    """Subscribes to the channels that followers need; that of this process's own shard, always."""

    def __init__(
        self,
        pubsub: PubSub,
        followers: Followers,
        read: Callable[[str, int], Awaitable[Sequence[bytes]]],
        channel_of: Callable[[str], str],
        own: str | None,
    ) -> None:
        """``read``: a job's list from an index on; ``channel_of``: the name of a job's channel.

        ``own``: the channel of this process's shard, None for a process that makes no jobs.
        """
        self._pubsub, self._followers, self._read, self._channel_of = pubsub, followers, read, channel_of
        self._recent = _RecentJobs()
        self._own: Channel | None = None
        if own is not None:
            self._own = pubsub.acquire(own, self._receive_own)
        pubsub.on_resume(self._resume)

    def follow(self, job_id: str) -> Follower:
        """No command is sent for a new job of this process: its channel is live, and nothing was pushed yet.

        For any other job the channel is subscribed and the list read when its first event is waited for.
        """
        name = self._channel_of(job_id)
        if self._own is None or name != self._own.name:
            lease = _ChannelLease(self._pubsub, name, self._receive)
            return Follower(self._followers, job_id, partial(self._catch_up, lease), lease.end)
        if not self._own.live.done():
            self._pubsub.require()  # better refused now than accepted and not heard of
        elif self._recent.is_new(job_id):
            return Follower(self._followers, job_id)
        return Follower(self._followers, job_id, partial(self._catch_up, None))

    async def check(self) -> None:
        """Raise `StoreAway` when this process's own channel is not subscribed."""
        if self._own is not None:
            await self._pubsub.confirmed(self._own)

    async def _catch_up(self, lease: _ChannelLease | None, follower: Follower) -> None:
        """Subscribe to the job's pushes first, then read what was before: nothing can fall in between."""
        if lease is not None:
            await lease.begin()
        elif self._own is not None:
            await self._pubsub.confirmed(self._own)
        self._followers.push_list(follower.job_id, 0, await self._read(follower.job_id, 0))

    def _receive(self, message: bytes) -> None:
        job_id, index, event = message.split(b" ", 2)
        self._followers.push(job_id.decode(), int(index), event)

    def _receive_own(self, message: bytes) -> None:
        job, index, event = message.split(b" ", 2)
        job_id = job.decode()
        self._recent.add(job_id)
        self._followers.push(job_id, int(index), event)

    def _resume(self) -> None:
        self._recent = _RecentJobs()
        self._followers.reread()


class _ChannelLease:
    """A follower's use of another shard's channel, from its first wait to its end."""

    def __init__(self, pubsub: PubSub, name: str, receive: Callable[[bytes], None]) -> None:
        self._pubsub, self._name, self._receive = pubsub, name, receive
        self._channel: Channel | None = None

    async def begin(self) -> None:
        if self._channel is None:
            self._channel = self._pubsub.acquire(self._name, self._receive)
        await self._pubsub.confirmed(self._channel)

    def end(self, _: Follower) -> None:
        if self._channel is not None:
            self._pubsub.release(self._channel)
            self._channel = None


class _RecentJobs:
    """The jobs of which something was pushed lately: a job of which nothing was is known to be new."""

    def __init__(self) -> None:
        self._since = time.time()
        self._turned = time.monotonic()
        #: Two generations of jobs; the older one is dropped when the younger one is `_REMEMBERED` old.
        self._young: set[str] = set()
        self._old: set[str] = set()

    def add(self, job_id: str) -> None:
        self._turn()
        self._young.add(job_id)

    def is_new(self, job_id: str) -> bool:
        """Whether nothing can have been pushed: made here, after listening began, and not known."""
        self._turn()
        created = _created(job_id)
        return (
            created is not None
            and self._since <= created <= time.time() < created + _REMEMBERED
            and job_id not in self._young
            and job_id not in self._old
        )

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._turned >= _REMEMBERED:
            self._old, self._young, self._turned = self._young, set(), now


def _created(job_id: str) -> float | None:
    """When an identifier was made, seconds since 1970; None for text that is none."""
    try:
        return int(job_id[:8] + job_id[9:13], 16) / 1000
    except ValueError:
        return None
