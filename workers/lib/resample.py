"""From any sample rate to another, in pieces that fit together without a seam.

What exists does not fit: `scipy.signal.resample_poly` knows whole recordings only, and the streams of soxr and libsamplerate
keep their state where it cannot be written down, while a session may go on in another process with its next piece.

A band-limited interpolation (J. O. Smith, "Digital Audio Resampling", the formula of its section 2): each output is the sum
of the inputs near its time, weighted by a sinc that is cut off below the lower of the two Nyquist frequencies and faded out
by a Kaiser window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gcd

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

#: Zero crossings of the sinc on each side, the share of the band that is kept, and the window's shape: together they keep
#: all up to 80 % of the lower Nyquist frequency, within 0.1 dB, and leave less than -50 dB of what lies above it.
_CROSSINGS = 24
_BAND = 0.92
_KAISER = 7.0
#: Positions between two inputs that have weights of their own. All common rates need fewer; others are rounded to the nearest.
_MOST_PHASES = 4096
_BLOCK = 8192


@dataclass(slots=True)
class Carry:
    """Where a stream stopped: ``tail`` float32 [k], the last inputs that later outputs still need, and ``position``, the time
    of the next output in steps of 1 / (``target`` / gcd) of an input after the start of ``tail``."""

    tail: Samples
    position: int


@dataclass(frozen=True, slots=True)
class Resampler:
    """From ``rate`` to ``target`` frames a second (Hz, both positive)."""

    rate: int
    target: int

    @property
    def _up(self) -> int:
        return self.target // gcd(self.rate, self.target)

    @property
    def _down(self) -> int:
        return self.rate // gcd(self.rate, self.target)

    @property
    def reach(self) -> int:
        """Inputs on each side of an output that it is made of; a stream is this many inputs late."""
        return ceil(_CROSSINGS * max(1.0, self.rate / self.target))

    def start(self) -> Carry:
        """Silence came before; the first output lies on the first input."""
        return Carry(np.zeros(self.reach, np.float32), self.reach * self._up)

    def feed(self, samples: Samples, carry: Carry) -> Samples:
        """The outputs, float32, that ``samples``, float32 [n], make possible; ``carry`` moves on.

        However a recording is cut into pieces, their outputs are those of the whole.
        """
        if self.rate == self.target:
            return samples
        inputs = np.concatenate([carry.tail, samples])
        # the last output whose neighbours are all here lies before the input at len - reach
        count = max(0, ceil(((len(inputs) - self.reach) * self._up - carry.position) / self._down))
        outputs = self._outputs(inputs, carry.position, count)
        position = carry.position + count * self._down
        used = max(0, min(position // self._up - self.reach, len(inputs)))
        carry.tail, carry.position = inputs[used:].copy(), position - used * self._up
        return outputs

    def whole(self, samples: Samples) -> Samples:
        """A recording of its own: float32 [ceil(n * target / rate)]."""
        if self.rate == self.target:
            return samples
        outputs = self.feed(np.concatenate([samples, np.zeros(self.reach + 1, np.float32)]), self.start())
        return outputs[: -(-len(samples) * self._up // self._down)]

    def _outputs(self, inputs: Samples, position: int, count: int) -> Samples:
        """``count`` outputs from ``position`` on, block by block so that the gathered neighbours stay small."""
        phases = min(self._up, _MOST_PHASES)
        weights = _weights(self.rate / self.target, self.reach, phases)
        outputs = np.empty(count, np.float32)
        if not count:
            return outputs
        neighbours = np.lib.stride_tricks.sliding_window_view(np.append(inputs, np.float32(0)), 2 * self.reach)
        for first in range(0, count, _BLOCK):
            times = position + np.arange(first, min(first + _BLOCK, count), dtype=np.int64) * self._down
            base, fraction = times // self._up, times % self._up
            phase = fraction if phases == self._up else np.rint(fraction * (phases / self._up)).astype(np.int64)
            gathered = neighbours[base - self.reach + 1]
            outputs[first : first + len(times)] = np.einsum("ij,ij->i", gathered, weights[phase])
        return outputs


@lru_cache(maxsize=16)
def _weights(ratio: float, reach: int, phases: int) -> Samples:
    """float32 [phases + 1, 2 * reach]: of the inputs at -reach + 1 … reach around an output that lies phase / phases after 0.

    ``ratio``: inputs an output. The last row is for a position that was rounded up to the next input.
    """
    cutoff = _BAND * min(1.0, 1 / ratio)
    distance = np.arange(-reach + 1, reach + 1) - np.arange(phases + 1)[:, None] / phases
    fade = np.i0(_KAISER * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None))) / np.i0(_KAISER)
    weights = cutoff * np.sinc(cutoff * distance) * fade
    weights /= weights.sum(axis=1, keepdims=True)  # a constant stays one
    weights.setflags(write=False)
    return weights.astype(np.float32)
