"""Where sounds come from, by the delays between two microphones.

The generalised cross-correlation with phase transform (C. Knapp, G. Carter, "The generalized correlation method for
estimation of time delay", 1976): every frequency that can be heard votes with its phase alone, whatever its loudness. Votes
are collected over pieces of a third of a second, in which one or a few sources prevail; what a found source explains is taken
out before the next is looked for; and what several pieces find in about the same place is one source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex128]
Reals = npt.NDArray[np.float64]

SOUND_SPEED = 343.0  # metres a second, in air of 20 degrees Celsius

_WINDOW = 0.085  # seconds, rounded to a power of two in frames; the hop is half of it
_PIECE = 8  # hops
_BAND = (200.0, 4000.0)  # Hz: below there is hum and little direction, above neither speech nor agreement of the phases
_HEARD = 1e-4  # of a window's strongest frequency: what is fainter than -40 dB does not vote
_FINER = 8  # lags a frame, before the parabola through the three highest
#: Lags are searched this much beyond the microphones' distance and limited afterwards: directions near the axis would
#: otherwise jump to a side peak. Further sources have to lie where sources can be.
_BEYOND = 1.5
_POSSIBLE = 1.05
#: A further source in one piece has at least this share of the first one's votes, and lies further than this many widths of
#: a peak from every other.
_SHARE = 0.45
_WIDTHS = 0.8
_MOST = 4
_LONE = 0.2  # of the sounding pieces: a source that is the first in fewer than two pieces must be heard in this many


@dataclass(frozen=True, slots=True)
class Source:
    """``delay``: seconds by which the sound reaches the second channel earlier than the first. ``agreement``: the share of the
    votes that are for this delay, 0..1. ``index``: the frame at which it is heard first."""

    delay: float
    agreement: float
    index: int


@dataclass(frozen=True, slots=True)
class _Votes:
    """Of one piece, or several: ``spectrum`` complex [k], unit vectors of the frequencies from ``first`` on, summed with the
    weights ``heard`` [k]. ``size``: frames of a window. ``index``: frame at which the piece begins to sound."""

    spectrum: Spectrum
    heard: Reals
    first: int
    size: int
    index: int

    def plus(self, other: _Votes) -> _Votes:
        return _Votes(self.spectrum + other.spectrum, self.heard + other.heard, self.first, self.size, min(self.index, other.index))


@dataclass(slots=True)
class _Cluster:
    """What several pieces found in about the same place. ``led``: pieces in which it was the first."""

    votes: _Votes
    peak: tuple[float, float]  # delay in frames, agreement
    led: int
    pieces: int = 1


def locate(samples: Samples, rate: int, baseline: float, gate: float, least: float) -> list[Source]:
    """The sources of float32 [n, 2], the strongest first.

    ``baseline``: metres between the microphones. ``gate``: dBFS within the band, below which nothing sounds. ``least``:
    agreement that a source has at least.
    """
    reach = _BEYOND * baseline / SOUND_SPEED * rate
    if len(samples):
        samples = samples - samples.mean(axis=0)  # an offset, cut off at the ends, would be heard
    clusters: list[_Cluster] = []
    sounding = 0
    for votes in _pieces(samples, rate, gate):
        sounding += 1
        for rank, (peak, rest) in enumerate(_peaks(votes, reach, least)):
            _join(clusters, votes if rank == 0 else rest, peak, led=rank == 0, reach=reach)
    kept = [cluster for cluster in clusters if cluster.led >= 2 or cluster.pieces >= _LONE * sounding]
    kept.sort(key=lambda cluster: (-cluster.pieces * cluster.peak[1], cluster.votes.index))
    return [Source(cluster.peak[0] / rate, min(cluster.peak[1], 1.0), cluster.votes.index) for cluster in kept]


def yaw_of(delay: float, baseline: float) -> float:
    """Radians, 0 straight ahead, positive towards the second microphone, within ±π/2, for a source far away."""
    return float(np.arcsin(np.clip(delay * SOUND_SPEED / baseline, -1.0, 1.0)))


def _pieces(samples: Samples, rate: int, gate: float) -> Iterator[_Votes]:
    """The votes of each piece in which something sounds."""
    size = 1 << max(4, round(np.log2(_WINDOW * rate)))
    hop = size // 2
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    band = np.flatnonzero((frequencies >= _BAND[0]) & (frequencies <= min(_BAND[1], 0.45 * rate)))
    fade = np.hanning(size + 1)[:-1, None]
    for start in range(0, max(len(samples) - hop, 1), _PIECE * hop):
        piece = samples[start : start + (_PIECE + 1) * hop]
        windows = max(1, -(-(len(piece) - hop) // hop))
        padded = np.pad(piece, ((0, (windows + 1) * hop - len(piece)), (0, 0)))
        spectra = np.stack([np.fft.rfft(padded[i * hop : i * hop + size] * fade, axis=0)[band] for i in range(windows)])
        power = (np.abs(spectra) ** 2).mean(axis=2).sum(axis=1) * 2 / (size * float((fade**2).sum()))
        loud = power > 10 ** (gate / 10)
        if loud.any() and len(piece):
            yield _vote(spectra[loud], power[loud], int(band[0]), size, start + int(loud.argmax()) * hop)


def _vote(spectra: Spectrum, power: Reals, first: int, size: int, index: int) -> _Votes:
    """``spectra`` complex [windows, k, 2] with the ``power`` [windows]: louder windows count more, by their amplitude."""
    cross = spectra[:, :, 0] * np.conj(spectra[:, :, 1])
    strength = np.abs(cross)
    heard = strength > _HEARD * strength.max(axis=1, keepdims=True)
    units = np.divide(cross, strength, out=np.zeros_like(cross), where=heard)
    weights = np.sqrt(power)[:, None]
    return _Votes((units * weights).sum(axis=0), (heard * weights).sum(axis=0), first, size, index)


def _peaks(votes: _Votes, reach: float, least: float) -> Iterator[tuple[tuple[float, float], _Votes]]:
    """(delay in frames, agreement) of each source in these votes, the strongest first, with the votes that were left for it."""
    found: list[tuple[float, float]] = []
    profile = votes.heard
    width = _WIDTHS * votes.size / (profile.sum() / profile.max())
    possible = reach / _BEYOND * _POSSIBLE
    numbers = np.arange(votes.first, votes.first + len(profile))
    left = votes
    while len(found) < _MOST:
        delay, agreement = _peak(left, reach)
        if agreement < max(least, _SHARE * found[0][1] if found else 0.0):
            return
        if not found or (abs(delay) <= possible and all(abs(delay - other) > width for other, _ in found)):
            found.append((delay, agreement))
            yield (delay, agreement), left
        elif agreement < 0.1:
            return
        explained = agreement * profile * np.exp(-2j * np.pi * numbers * delay / votes.size)
        left = _Votes(left.spectrum - explained, left.heard, left.first, left.size, left.index)


def _peak(votes: _Votes, reach: float) -> tuple[float, float]:
    """The delay, in frames, for which most votes are, and their share."""
    padded = np.zeros(votes.size * _FINER // 2 + 1, np.complex128)
    padded[votes.first : votes.first + len(votes.spectrum)] = votes.spectrum
    agreement = np.fft.irfft(padded) * (votes.size * _FINER / 2) / votes.heard.sum()
    most = min(int(np.ceil(reach * _FINER)), len(agreement) // 2 - 1)
    around = np.concatenate([agreement[-most - 1 :], agreement[: most + 2]])  # one more on each side, for the parabola
    top = 1 + int(around[1:-1].argmax())
    left, middle, right = around[top - 1 : top + 2]
    bend = left - 2 * middle + right
    shift = float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0
    return (top - most - 1 + shift) / _FINER, float(middle)


def _join(clusters: list[_Cluster], votes: _Votes, peak: tuple[float, float], *, led: bool, reach: float) -> None:
    """Put what a piece found to what was found in the same place, or to nothing yet."""
    width = _WIDTHS / 2 * votes.size / (votes.heard.sum() / votes.heard.max())
    near = [cluster for cluster in clusters if abs(cluster.peak[0] - peak[0]) < width]
    if not near:
        clusters.append(_Cluster(votes, peak, int(led)))
        return
    cluster = min(near, key=lambda cluster: abs(cluster.peak[0] - peak[0]))
    cluster.votes = cluster.votes.plus(votes)
    cluster.led += led
    cluster.pieces += 1
    delay, agreement = _peak(cluster.votes, reach)
    if abs(delay - cluster.peak[0]) < width:
        cluster.peak = (delay, agreement)
