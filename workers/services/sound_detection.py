"""Noticeable sounds: when they begin and when they end."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from shared.errors import PerceptionError, UnreadableInput
from workers.contract import Input, Item, Output, Service, Sound

_WINDOW = 0.02  # seconds over which a level is measured
_HOLD = 0.3  # seconds of quiet that end a sound
_SILENCE = -100.0  # dBFS, of digital zeros
#: The noise floor, in dBFS: where it starts, how fast it rises (dB a second), which share of a fall it follows in a window.
_FLOOR_START, _FLOOR_RISE, _FLOOR_FALL = -60.0, 2.0, 0.3
#: A sound begins above floor + margin and above a gate, both lower for a higher sensitivity: margin and gate at 0.5, and
#: by how much they change from 0 to 1.
_MARGIN, _MARGIN_RANGE = 9.0, 10.0
_GATE, _GATE_RANGE = -50.0, 20.0
#: It goes on above floor + margin and gate of sensitivity 1, whatever the sensitivity.
_KEEP_MARGIN = _MARGIN - _MARGIN_RANGE / 2
_KEEP_GATE = _GATE - _GATE_RANGE / 2


class SoundDetectionInput(Input):
    sound: Sound = Field(description="A WAV file, PCM 16 bit, mono, of any sample rate from 8,000 to 96,000 Hz.")
    sensitivity: float = Field(
        0.5, ge=0, le=1, description="The higher it is, the quieter the sounds that are detected, and background noise too."
    )


class SoundEvent(BaseModel):
    index: int = Field(ge=0, description="Frame of the given sound at which it begins or ends.")
    type: Literal["sound_on", "sound_off"] = Field(description="sound_on: a sound begins; sound_off: it ends.")


class SoundDetectionOutput(Output):
    input_size: int = Field(ge=0, description="Number of frames of the sound.")
    nb_events: int = Field(ge=0, description="Number of events.")
    events: list[SoundEvent] = Field(description="In the order of time; each sound_on is followed by a sound_off.")


class SoundDetectionState(BaseModel):
    """Where listening stopped. Levels in dBFS; the window that was not full yet as sums over its samples."""

    floor: float = _FLOOR_START
    heard: bool = False  # above what keeps a sound going, less than the hold ago
    reported: bool = False  # a sound_on is waiting for its sound_off
    quiet: float = 0.0  # seconds since the last loud window
    rate: int = 0
    samples: int = 0
    total: float = 0.0
    squares: float = 0.0


class SoundDetection(Service[SoundDetectionInput, SoundDetectionOutput]):
    """Is there any noticeable sound? When does it begin and end?

    A sound begins where the level rises clearly above the background noise, which is followed all the time, and ends with
    the last loud moment before 0.3 s of quiet. Every `sound_on` is followed by a `sound_off`: without a session at the
    latest at the last frame; with a session, whose sounds are pieces of one recording, in the piece in which the
    sound ends (at index 0 if it ended with the piece before).
    """

    name = "sound_detection"
    input_type = SoundDetectionInput
    output_type = SoundDetectionOutput
    state_type: ClassVar[type[BaseModel]] = SoundDetectionState
    max_batch = 8

    def process(self, batch: Sequence[Item[SoundDetectionInput]]) -> Sequence[SoundDetectionOutput | PerceptionError]:
        return [_answer(item) for item in batch]

    @classmethod
    def example(cls) -> SoundDetectionInput:
        """A second of faint noise with a tone of 0.3 s in it."""
        rate = 16_000
        samples = np.random.default_rng(0).normal(0, 10, rate)
        samples[4000:8800] += 8000 * np.sin(2 * np.pi * 440 / rate * np.arange(4800))
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(rate)
            writer.writeframes(samples.astype("<i2").tobytes())
        return SoundDetectionInput(sound=Sound(file.getvalue()), sensitivity=0.5)


def _answer(item: Item[SoundDetectionInput]) -> SoundDetectionOutput | PerceptionError:
    waveform = item.input.sound.waveform
    if waveform.channels != 1:
        return UnreadableInput(f"the sound has {waveform.channels} channels; a mono sound is needed", parameter="sound")
    alone = item.state is None
    state = SoundDetectionState() if alone else item.state
    events = _listen(waveform.samples[:, 0], waveform.rate, item.input.sensitivity, state, alone=alone)
    return SoundDetectionOutput(input_size=waveform.frames, nb_events=len(events), events=events)


def _listen(
    samples: npt.NDArray[np.float32], rate: int, sensitivity: float, state: SoundDetectionState, *, alone: bool
) -> list[SoundEvent]:
    """The events of the next samples of a recording; ``alone``: there are no others.

    That a sound goes on, and how far the floor has come, does not depend on the sensitivity. So a higher one
    reports the same stretches and more, earlier, and never joins two to one.
    """
    if state.rate != rate:
        state.rate, state.samples, state.total, state.squares = rate, 0, 0.0, 0.0
    margin = _MARGIN - (sensitivity - 0.5) * _MARGIN_RANGE
    gate = _GATE - (sensitivity - 0.5) * _GATE_RANGE
    events: list[SoundEvent] = []
    end = 0  # of the last loud window, in frames of these samples
    for start, stop, level in _levels(samples, state, alone=alone):
        if level > max(state.floor + _KEEP_MARGIN, _KEEP_GATE):
            state.heard, state.quiet, end = True, 0.0, stop
            if not state.reported and level > max(state.floor + margin, gate):
                state.reported = True
                events.append(SoundEvent(index=max(start, 0), type="sound_on"))
        elif state.heard:
            state.quiet += (stop - start) / rate
            if state.quiet > _HOLD - _WINDOW / 2:
                _end(state, end, events)
        _follow_floor(state, level, (stop - start) / rate)
    if alone:
        _end(state, min(end, len(samples) - 1), events)
    return events


def _end(state: SoundDetectionState, index: int, events: list[SoundEvent]) -> None:
    if state.reported:
        events.append(SoundEvent(index=index, type="sound_off"))
    state.heard, state.reported, state.quiet = False, False, 0.0


def _follow_floor(state: SoundDetectionState, level: float, seconds: float) -> None:
    if level < state.floor:
        state.floor += _FLOOR_FALL * (level - state.floor)
    else:
        state.floor = min(level, state.floor + _FLOOR_RISE * seconds)


def _levels(samples: npt.NDArray[np.float32], state: SoundDetectionState, *, alone: bool) -> list[tuple[int, int, float]]:
    """(first frame, end, level in dBFS) of each window that is full now; the first may begin before these samples (< 0).

    The level is that of the variation: a constant offset, as cheap microphones have, is silent. A full-scale square wave has 0 dBFS.
    The rest is kept in ``state``, unless the sound stands ``alone``: then it is a shorter window.
    """
    size = max(1, round(state.rate * _WINDOW))
    before = state.samples
    values = samples.astype(np.float64)
    first = min(size - before, len(values))
    bounds = [0, *range(first, len(values), size)]
    if not len(values):
        return []
    totals, squares = np.add.reduceat(values, bounds), np.add.reduceat(values * values, bounds)
    totals[0] += state.total
    squares[0] += state.squares
    counts = np.diff([*bounds, len(values)])
    counts[0] += before
    full = len(bounds) if alone or counts[-1] == size else len(bounds) - 1
    if full < len(bounds):
        state.samples, state.total, state.squares = int(counts[-1]), float(totals[-1]), float(squares[-1])
    else:
        state.samples, state.total, state.squares = 0, 0.0, 0.0
    power = np.maximum(squares / counts - (totals / counts) ** 2, 10 ** (_SILENCE / 10))
    levels = 10 * np.log10(power)
    ends = np.cumsum(counts) - before
    return [(int(ends[i] - counts[i]), int(ends[i]), float(levels[i])) for i in range(full)]
