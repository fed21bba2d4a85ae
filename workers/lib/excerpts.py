"""What a network that hears a fixed length of sound at a time is given of each sound of a recording.

A recording comes in pieces, each of any length, and is kept as 16 bit samples at the network's rate, so far
back as a later excerpt can begin. The excerpts of a sound depend on when it began and ended and on nothing
else: however a recording is cut into pieces, they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from workers.lib.resample import Carry, Resampler, Samples

Stored = npt.NDArray[np.int16]

_FULL = 32768.0


def _none() -> Stored:
    return np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Format:
    """What the network hears: ``rate`` in Hz; ``length`` of an excerpt and ``step`` from one to the next, in
    samples.

    ``before``: samples before a sound that belong to its first excerpt. ``late``: by how many samples an
    excerpt ends earlier than what is known of the recording, at least as many as the resampler is late.
    """

    rate: int
    length: int
    step: int
    before: int
    late: int


@dataclass(slots=True)
class Recording:
    """Where a recording stands.

    ``rate``: its own, in Hz. ``start``, ``end``: its frames before the last piece and after it. ``carry``:
    see `Resampler`. ``kept``: int16 [k], its last samples at the network's rate, of which there were
    ``total``.
    """

    rate: int
    start: int = 0
    end: int = 0
    carry: Carry | None = None
    kept: Stored = field(default_factory=_none)
    total: int = 0

    def add(self, samples: Samples, heard: Format, *, last: bool) -> None:
        """The next piece: float32 [n] in -1..1. ``last``: it is all that there is, and its last samples are
        wanted too."""
        resampler = Resampler(self.rate, heard.rate)
        if last:
            made = resampler.whole(samples)
        else:
            self.carry = self.carry or resampler.start()
            made = resampler.feed(samples, self.carry)
        stored = np.clip(np.rint(made * _FULL), -_FULL, _FULL - 1).astype(np.int16)
        self.kept = np.concatenate([self.kept, stored])
        self.total += len(stored)
        self.start, self.end = self.end, self.end + len(samples)

    def place(self, frame: int, heard: Format) -> int:
        """The sample at the network's rate that lies at a frame of the last piece; frames before it are
        negative."""
        return (self.start + frame) * heard.rate // self.rate

    def excerpt(self, first: int, heard: Format) -> Stored:
        """int16 [length] from the sample ``first`` on; silence where nothing is kept."""
        found = np.zeros(heard.length, np.int16)
        oldest = self.total - len(self.kept)
        begin = max(first, oldest)
        piece = self.kept[begin - oldest : max(begin, first + heard.length) - oldest]
        found[begin - first : begin - first + len(piece)] = piece
        return found

    def forget(self, heard: Format) -> None:
        """Keep no more than what an excerpt that ends after this piece can hold: what is known of a recording
        is up to a window of its levels older than the recording."""
        self.kept = self.kept[-(heard.length + heard.late + heard.rate // 40) :].copy()


@dataclass(slots=True)
class Listener:
    """Which excerpts of one sound were taken: the ``next`` begins at this sample, the last ended at ``heard``
    (-1: none was)."""

    next: int
    heard: int = -1

    @classmethod
    def of(cls, began: int, heard: Format) -> Listener:
        """For a sound that began at a sample."""
        return cls(max(0, began - heard.before))

    def take(self, recording: Recording, known: int, hold: int, heard: Format, *, over: bool) -> list[Stored]:
        """The excerpts that are complete by now, each int16 [length].

        ``known``: the sample up to which it is known whether the sound goes on; ``over``: it does not, since
        ``hold`` samples before. A sound that none of its excerpts would have heard to the end, since it is
        short or ends between two, has a last one that ends where its end was known.
        """
        limit = known - heard.late
        taken = []
        while self.next + heard.length <= limit:
            taken.append(recording.excerpt(self.next, heard))
            self.heard = self.next + heard.length
            self.next += heard.step
        if over and (self.heard < 0 or limit - hold > self.heard):
            self.heard = limit
            taken.append(recording.excerpt(limit - heard.length, heard))
        return taken
