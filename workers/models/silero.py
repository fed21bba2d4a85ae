"""Silero VAD: how probable it is that somebody speaks, for each 32 ms of a stream.

Input ``input`` float32 [n, 576]: the last 64 samples before (zeros at the start) and 512 new ones, mono, 16 kHz, -1..1;
``state`` float32 [2, n, 128], zeros at the start; ``sr`` int64, the rate. Output ``output`` float32 [n, 1], a probability;
``stateN``, the next state. A stream's result depends on nothing but its own samples, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from workers.contract import Network

MODEL = "silero-vad"
RATE = 16_000
CHUNK = 512
_CONTEXT = 64
_MEMORY = (2, 128)

Samples = npt.NDArray[np.float32]


def _zeros(*shape: int) -> Samples:
    return np.zeros(shape, np.float32)


@dataclass(slots=True)
class Stream:
    """Where listening stopped: the network's ``memory`` float32 [2, 128], the ``context`` float32 [64] of the last chunk, and
    the ``rest`` float32 [k < 512] that does not fill a chunk yet."""

    memory: Samples = field(default_factory=lambda: _zeros(*_MEMORY))
    context: Samples = field(default_factory=lambda: _zeros(_CONTEXT))
    rest: Samples = field(default_factory=lambda: _zeros(0))

    def pack(self) -> Samples:
        """All of it as one vector, float32 [320 + k]."""
        return np.concatenate([self.memory.ravel(), self.context, self.rest])

    @classmethod
    def unpack(cls, packed: Samples) -> Stream:
        """A packed stream; a new one from what is too short to be one."""
        size = _MEMORY[0] * _MEMORY[1]
        if len(packed) < size + _CONTEXT:
            return cls()
        return cls(packed[:size].reshape(_MEMORY), packed[size : size + _CONTEXT], packed[size + _CONTEXT :])


def listen(network: Network, streams: Sequence[Stream], pieces: Sequence[Samples]) -> list[Samples]:
    """The probability of speech in each chunk that is full now, float32 [k] a stream. ``streams`` move on.

    ``pieces``: the next samples of each stream, float32 [n], mono, 16 kHz. The streams run side by side, chunk by chunk.
    """
    chunks = [_full_chunks(stream, piece) for stream, piece in zip(streams, pieces, strict=True)]
    answers = [_zeros(len(rows)) for rows in chunks]
    for step in range(max((len(rows) for rows in chunks), default=0)):
        going = [index for index, rows in enumerate(chunks) if step < len(rows)]
        made = network.run(
            {
                "input": np.stack([chunks[index][step] for index in going]),
                "state": np.stack([streams[index].memory for index in going], axis=1),
                "sr": np.array(RATE, np.int64),
            }
        )
        for place, index in enumerate(going):
            streams[index].memory = made["stateN"][:, place]
            answers[index][step] = made["output"][place, 0]
    return answers


def _full_chunks(stream: Stream, piece: Samples) -> Samples:
    """float32 [k, 576], each with its context; the rest waits in the stream."""
    samples = np.concatenate([stream.context, stream.rest, piece])
    count = (len(samples) - _CONTEXT) // CHUNK
    end = count * CHUNK
    stream.rest = samples[end + _CONTEXT :]
    if not count:
        return _zeros(0, _CONTEXT + CHUNK)
    stream.context = samples[end : end + _CONTEXT]
    return np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT + CHUNK)[:end:CHUNK]
