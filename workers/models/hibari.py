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
_VOICED = 40.0  # Hz: a lower pitch is none
_HIGHEST = 11_000.0  # Hz: the highest harmonic
_LOUDEST = 7.0  # of the logarithms
_FLAT = 2e-3  # where a sine is so small, the quotient is its limit
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)


def speak(network: Network, phonemes: str, numbers: Mapping[str, int], speed: float) -> Samples:
    """float32 [k], mono, at `RATE`. Phonemes that have no number are left out; the same ones sound the same every time."""
    ids = [numbers[phoneme] for phoneme in phonemes if phoneme in numbers]
    if not ids:
        return np.zeros(0, np.float32)
    found = network.run({"ids": np.array([[0, *ids, 0]], np.int64), "speed": np.array([speed], np.float32)})
    harmonic, phase, noise, rest, rest_phase, pitch = (found[name][0] for name in ("lh", "theta", "ln", "lr", "phi", "f0"))
    spectrum = _spectrum_of(_pulses(pitch), harmonic.shape[1])
    spectrum *= _polar(harmonic, np.pi * np.tanh(phase))
    normal = np.random.default_rng(0).standard_normal((harmonic.shape[0], 2 * harmonic.shape[1]), dtype=np.float32)
    spectrum += normal.view(np.complex64) * _exp(noise)
    spectrum += _polar(rest, rest_phase)
    return _samples_of(spectrum)


def _exp(logarithm: Samples) -> Samples:
    return np.exp(np.minimum(logarithm, _LOUDEST))


def _polar(logarithm: Samples, phase: Samples) -> _Complex:
    turned = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=turned.real)
    np.sin(phase, out=turned.imag)
    turned *= _exp(logarithm)
    return turned


def _pulses(pitch: Samples) -> Samples:
    """float32 [F · hop]: every harmonic of the pitch below 11 kHz at unit amplitude, in closed form (Dirichlet's kernel)."""
    hertz = _interpolated(pitch)
    voiced = hertz > _VOICED
    np.maximum(hertz, _VOICED, out=hertz)
    turns = np.cumsum(hertz, dtype=np.float64) / RATE
    angle = (2 * np.pi * (turns % 1.0)).astype(np.float32)
    count = np.floor(_HIGHEST / hertz) + np.float32(0.5)
    below = 2 * np.sin(angle / 2)
    flat = np.abs(below) <= _FLAT
    below[flat] = 1
    sums = np.sin(count * angle) / below
    sums[flat] = count[flat]
    return np.where(voiced, sums - np.float32(0.5), np.float32(0))


def _interpolated(pitch: Samples) -> Samples:
    """float32 [F · hop]: linear between the middles of the frames."""
    frames = np.arange(len(pitch) * _HOP, dtype=np.float64)
    return np.interp((frames + 0.5) / _HOP - 0.5, np.arange(len(pitch)), pitch).astype(np.float32)


def _spectrum_of(samples: Samples, frames: int) -> _Complex:
    """complex64 [601, frames], scaled so that a pulse train has the magnitude 1 at its harmonics."""
    padded = np.pad(samples, _WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:frames] * (_HANN / _HOP)
    return np.ascontiguousarray(fft.rfft(windows, axis=1, overwrite_x=True).T)


def _samples_of(spectrum: _Complex) -> Samples:
    frames = spectrum.shape[1]
    pieces = fft.irfft(spectrum.T, n=_WINDOW, axis=1) * _HANN
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
