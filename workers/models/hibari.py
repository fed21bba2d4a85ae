"""hibari: speech from phonemes by a network that predicts spectra, and the signal processing that turns them into sound.

Inputs ``ids`` int64 [1, n], the numbers of the phonemes between two zeros; ``speed`` float32 [1], durations are divided by it. Outputs,
F frames of 12.5 ms with 601 bins: ``lh``, ``theta``, ``ln``, ``lr``, ``phi`` float32 [1, 601, F], the logarithm of the harmonic part,
its phase, the logarithm of the noise, the logarithm and the phase of the rest; ``f0`` float32 [1, F], the pitch in Hz, 0 where there is
none. The spectrum is

    exp(lh) · exp(iπ tanh(theta)) · STFT(pulses(f0)) + exp(ln) · Z + exp(lr) · exp(i phi)

with Z complex normal noise; the samples are its inverse transform (Hann window of 1200, hop 300). From the description of the
ONNX interface in the package hibari-tts 0.2.1 (Apache-2.0, Maureese Williams).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft

from workers.contract import Network

Samples = npt.NDArray[np.float32]
_Complex = npt.NDArray[np.complex64]

RATE = 24_000  # Hz
_WINDOW, _HOP = 1200, 300  # samples
_OVERLAP = _WINDOW // _HOP
_BINS = _WINDOW // 2 + 1
_VOICED = np.float32(40)  # Hz: a lower pitch is none
_HIGHEST = np.float32(11_000)  # Hz: the highest harmonic
_LOUDEST = np.float32(7)  # of the logarithms
_FLAT = 2e-3  # where a sine is so small, the quotient is its limit
_HALF = np.float32(0.5)
_PI = np.float32(np.pi)
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
#: Values handled at a time: what they need beside each other fits into a core's own cache.
_BLOCK = 32_768
#: Frames whose noise is kept: drawing it anew takes as long as all the rest. 30 s, 12 MB: a run of the
#: most phonemes at the usual speed.
_KEPT_FRAMES = 2400


def speak(network: Network, phonemes: str, numbers: Mapping[str, int], speed: float) -> Samples:
    """float32 [k], mono, at `RATE`. Phonemes that have no number are left out; the same ones sound the same every time."""
    ids = [numbers[phoneme] for phoneme in phonemes if phoneme in numbers]
    if not ids:
        return np.zeros(0, np.float32)
    found = network.run({"ids": np.array([[0, *ids, 0]], np.int64), "speed": np.array([speed], np.float32)})
    return _samples_of(_spectrum(found, _pulse_spectrum(found["f0"][0])))


def _spectrum(found: Mapping[str, Samples], pulses: _Complex) -> _Complex:
    """complex64 [601, F]. Real and imaginary parts are made apart: contiguous values take half as long."""
    harmonic, phase, noise, rest, rest_phase = (found[name][0] for name in ("lh", "theta", "ln", "lr", "phi"))
    frames = harmonic.shape[1]
    drawn = _normal(frames)
    spectrum = np.empty((_BINS, frames), np.complex64)
    step = max(1, _BLOCK // max(1, frames))
    for start in range(0, _BINS, step):
        bins = slice(start, start + step)
        real, imaginary = _filtered(pulses[:, bins].T, harmonic[bins], phase[bins])
        loudness = _exp(noise[bins])
        real += loudness * drawn[0, bins]
        imaginary += np.multiply(loudness, drawn[1, bins], out=loudness)
        loudness = _exp(rest[bins])
        turned = np.cos(rest_phase[bins])
        real += np.multiply(turned, loudness, out=turned)
        np.sin(rest_phase[bins], out=turned)
        imaginary += np.multiply(turned, loudness, out=turned)
        spectrum.real[bins], spectrum.imag[bins] = real, imaginary
    return spectrum


def _filtered(pulses: _Complex, logarithm: Samples, phase: Samples) -> tuple[Samples, Samples]:
    """The real and the imaginary part of exp(logarithm) · exp(iπ tanh(phase)) · pulses, float32, all of one shape."""
    loudness = _exp(logarithm)
    real, imaginary = pulses.real * loudness, pulses.imag * loudness
    angle = np.tanh(phase)
    angle *= _PI
    cosine, sine = np.cos(angle), np.sin(angle, out=angle)
    turned = cosine * real
    turned -= sine * imaginary
    imaginary *= cosine
    imaginary += np.multiply(sine, real, out=real)
    return turned, imaginary


def _normal(frames: int) -> Samples:
    """float32 [2, 601, frames]: the parts of complex normal noise, the same for every run of that length."""
    kept = _drawn(_KEPT_FRAMES) if frames <= _KEPT_FRAMES else _drawn.__wrapped__(frames)
    return kept[:, : _BINS * frames].reshape(2, _BINS, frames)


@lru_cache(maxsize=1)
def _drawn(frames: int) -> Samples:
    """float32 [2, 601 · frames]. A shorter draw is the beginning of a longer one, so one can be kept for all."""
    values = np.random.default_rng(0).standard_normal(2 * _BINS * frames, dtype=np.float32)
    return np.ascontiguousarray(values.reshape(-1, 2).T)


def _exp(logarithm: Samples) -> Samples:
    lower = np.minimum(logarithm, _LOUDEST)
    return np.exp(lower, out=lower)


def _pulses(pitch: Samples) -> Samples:
    """float32 [F · hop]: every harmonic of the pitch below 11 kHz at unit amplitude, in closed form (Dirichlet's kernel)."""
    hertz = _interpolated(pitch)
    voiced = hertz > _VOICED
    np.maximum(hertz, _VOICED, out=hertz)
    turns = np.cumsum(hertz, dtype=np.float64)
    turns *= 1 / RATE
    turns -= np.floor(turns)  # a remainder takes twenty times as long
    half = turns.astype(np.float32)
    half *= _PI
    count = np.floor(np.divide(_HIGHEST, hertz, out=hertz), out=hertz)
    count += _HALF
    below = np.sin(half)
    below *= 2
    flat = np.flatnonzero(np.abs(below) <= _FLAT)
    below[flat] = 1
    half *= 2
    half *= count
    sums = np.sin(half, out=half)
    sums /= below
    sums[flat] = count[flat]
    sums -= _HALF
    sums *= voiced
    return sums


def _interpolated(pitch: Samples) -> Samples:
    """float32 [F · hop]: linear between the middles of the frames."""
    padded = np.pad(pitch, 1, mode="edge")
    steps = np.diff(padded)[:, None]
    along = (((np.arange(_HOP) + 0.5) / _HOP - 0.5) % 1.0).astype(np.float32)
    middle = _HOP // 2
    hertz = np.empty((len(pitch), _HOP), np.float32)
    hertz[:, :middle] = padded[:-2, None] + steps[:-1] * along[:middle]
    hertz[:, middle:] = padded[1:-1, None] + steps[1:] * along[middle:]
    return hertz.reshape(-1)


def _pulse_spectrum(pitch: Samples) -> _Complex:
    """complex64 [F, 601], scaled so that a pulse train has the magnitude 1 at its harmonics."""
    padded = np.pad(_pulses(pitch), _WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][: len(pitch)] * (_HANN / _HOP)
    spectrum: _Complex = fft.rfft(windows, axis=1, overwrite_x=True)
    return spectrum


def _samples_of(spectrum: _Complex) -> Samples:
    """The inverse transform of complex64 [601, F]: float32 [F · hop]."""
    frames = spectrum.shape[1]
    pieces = fft.irfft(spectrum.T, n=_WINDOW, axis=1)
    pieces *= _HANN
    pieces = pieces.reshape(frames, _OVERLAP, _HOP)
    added = np.zeros((frames + _OVERLAP - 1, _HOP), np.float32)
    for shift in range(_OVERLAP):
        added[shift : shift + frames] += pieces[:, shift]
    added *= _overlap(frames)
    start = _WINDOW // 2
    return added.reshape(-1)[start : start + frames * _HOP]


@lru_cache(maxsize=8)
def _overlap(frames: int) -> Samples:
    """float32 [frames + 3, hop]: one over the sum of the squared windows."""
    squared = (_HANN * _HANN).reshape(_OVERLAP, _HOP)
    total = np.zeros((frames + _OVERLAP - 1, _HOP), np.float32)
    for shift in range(_OVERLAP):
        total[shift : shift + frames] += squared[shift]
    return (1 / np.maximum(total, 1e-11)).astype(np.float32)
