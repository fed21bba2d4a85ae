"""Noticeable sounds: when they begin and when they end, and on request what they are."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.errors import PerceptionError, UnreadableInput
from workers.contract import Input, Item, Models, Output, Service, Sound
from workers.lib.audio import Samples
from workers.naming import NAMES, Ear, Followed, Namer, NamingState, Span

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
    sound: Sound = Field(description="A WAV file, PCM 16 bit, mono, of any sample rate from 4,000 to 192,000 Hz.")
    sensitivity: float = Field(
        0.5, ge=0, le=1, description="The higher it is, the quieter the sounds that are detected, and background noise too."
    )
    classes: bool = Field(
        default=False,
        description="Whether each sound is named: `sounds` then lists what was heard, with AudioSet's names and a probability.",
    )
    max_classes: int = Field(default=5, ge=1, le=20, description="With `classes`: the most names that a sound is given.")


class SoundEvent(BaseModel):
    index: int = Field(ge=0, description="Frame of the given sound at which it begins or ends.")
    type: Literal["sound_on", "sound_off"] = Field(description="sound_on: a sound begins; sound_off: it ends.")


class SoundClass(BaseModel):
    name: str = Field(description="AudioSet's name of the class, such as `Dog` or `Vehicle horn, car horn, honking`.")
    mid: str = Field(description="AudioSet's identifier of the class, such as `/m/0bt9lr`.")
    confidence: float = Field(ge=0, le=1, description="The probability that this is among what sounds.")


class NamedSound(BaseModel):
    start_index: int | None = Field(
        default=None, description="Frame of the given sound at which it begins. Not there: it began in an earlier piece of the session."
    )
    end_index: int | None = Field(
        default=None, description="Frame of the given sound at which it ends. Not there: it goes on in the next piece of the session."
    )
    classes: list[SoundClass] = Field(
        description="What is heard in it, up to the end of this piece, by falling confidence. Empty when nothing is "
        "probable enough, and for the first 0.9 s of a sound that goes on."
    )


class SoundDetectionOutput(Output):
    omit_none = True

    input_size: int = Field(ge=0, description="Number of frames of the sound.")
    nb_events: int = Field(ge=0, description="Number of events.")
    events: list[SoundEvent] = Field(description="In the order of time; each sound_on is followed by a sound_off.")
    sounds: list[NamedSound] | None = Field(
        default=None, description="With `classes`: every sound that is heard in this one, in the order of time. Without: not there."
    )


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
    naming: NamingState | None = None  # with `classes` only


@dataclass(frozen=True, slots=True)
class _Mark:
    """A beginning or an end of a sound: ``index`` is the frame of it, and ``known`` the end of the window that told it. In
    a session, a beginning may lie before the piece (< 0)."""

    index: int
    on: bool
    known: int

    def event(self) -> SoundEvent:
        return SoundEvent(index=max(self.index, 0), type="sound_on" if self.on else "sound_off")


class SoundDetection(Service[SoundDetectionInput, SoundDetectionOutput]):
    """Is there any noticeable sound? When does it begin and end?

    A sound begins where the level rises clearly above the background noise, which is followed all the time, and ends with
    the last loud moment before 0.3 s of quiet. Every `sound_on` is followed by a `sound_off`: without a session at the
    latest at the last frame; with a session, whose sounds are pieces of one recording, in the piece in which the
    sound ends (at index 0 if it ended with the piece before).

    With `classes`, `sounds` names what is heard in each sound, by AudioSet's names: speech, a dog, a siren, breaking glass and
    about 500 others. A confidence is the probability that the class is among what sounds, and each class has a
    threshold below which it is not named. What is more general is at least as probable: a bark is a dog, and an animal. In a
    session, a sound that goes on is named in every piece, from its first 0.9 s on.
    """

    name = "sound_detection"
    input_type = SoundDetectionInput
    output_type = SoundDetectionOutput
    state_type: ClassVar[type[BaseModel]] = SoundDetectionState
    models = NAMES  # for names alone: both are optional
    max_batch = 8

    _namer: Namer

    def load(self, models: Models) -> None:
        self._namer = Namer(models)

    def process(self, batch: Sequence[Item[SoundDetectionInput]]) -> Sequence[SoundDetectionOutput | PerceptionError]:
        answers = [_detect(item, self._namer.fault) for item in batch]
        named = [answer for answer in answers if isinstance(answer, _Answer)]
        self._namer.hear([sound for answer in named for sound in answer.sounds])
        return [self._output(answer) if isinstance(answer, _Answer) else answer for answer in answers]

    def _output(self, answer: _Answer) -> SoundDetectionOutput:
        given, state = answer.item.input, answer.item.state
        frames, events = given.sound.waveform.frames, answer.events
        output = SoundDetectionOutput(input_size=frames, nb_events=len(events), events=events)
        if answer.ear is not None:
            output.sounds = [self._named(sound, given.max_classes) for sound in answer.sounds]
            if state is not None:
                state.naming = answer.ear.keep(answer.sounds)
        return output

    def _named(self, sound: Followed, most: int) -> NamedSound:
        heard = self._namer.names(sound, most)
        classes = [SoundClass(name=each.name, mid=each.mid, confidence=each.confidence) for each in heard]
        return NamedSound(start_index=sound.span.began, end_index=sound.span.ended, classes=classes)

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


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found in an item; ``ear`` and ``sounds`` with `classes` only."""

    item: Item[SoundDetectionInput]
    events: list[SoundEvent]
    ear: Ear | None = None
    sounds: Sequence[Followed] = ()


def _detect(item: Item[SoundDetectionInput], fault: PerceptionError | None) -> _Answer | PerceptionError:
    """``fault``: why sounds cannot be named, if they cannot."""
    waveform, given = item.input.sound.waveform, item.input
    if waveform.channels != 1:
        return UnreadableInput(f"the sound has {waveform.channels} channels; a mono sound is needed", parameter="sound")
    if given.classes and fault is not None:
        return type(fault)(fault.message, parameter=fault.parameter)
    alone = item.state is None
    state = SoundDetectionState() if alone else item.state
    before, going = state.naming, state.reported
    state.naming = None
    samples = waveform.samples[:, 0]
    marks = _listen(samples, waveform.rate, given.sensitivity, state, alone=alone)
    events = [mark.event() for mark in marks]
    if not given.classes:
        return _Answer(item, events)
    ear = Ear(samples, waveform.rate, None if item.skipped else before, alone=alone)
    spans = _spans(marks, going, waveform.frames - state.samples)
    return _Answer(item, events, ear, ear.follow(spans, _HOLD))


def _spans(marks: Sequence[_Mark], going: bool, known: int) -> list[Span]:
    """The sounds of a piece. ``going``: one goes on from the piece before; ``known``: the frame up to which levels are known."""
    spans: list[Span] = []
    began: int | None = None
    for mark in marks:
        if mark.on:
            began, going = mark.index, True
        else:
            spans.append(Span(began, max(mark.index, 0), mark.known))
            began, going = None, False
    if going:
        spans.append(Span(began, None, known))
    return spans


def _listen(samples: Samples, rate: int, sensitivity: float, state: SoundDetectionState, *, alone: bool) -> list[_Mark]:
    """The beginnings and ends of sounds in the next samples of a recording; ``alone``: there are no others.

    That a sound goes on, and how far the floor has come, does not depend on the sensitivity. So a higher one
    reports the same stretches and more, earlier, and never joins two to one.
    """
    if state.rate != rate:
        state.rate, state.samples, state.total, state.squares = rate, 0, 0.0, 0.0
    margin = _MARGIN - (sensitivity - 0.5) * _MARGIN_RANGE
    gate = _GATE - (sensitivity - 0.5) * _GATE_RANGE
    marks: list[_Mark] = []
    end = 0  # of the last loud window, in frames of these samples
    for start, stop, level in _levels(samples, state, alone=alone):
        if level > max(state.floor + _KEEP_MARGIN, _KEEP_GATE):
            state.heard, state.quiet, end = True, 0.0, stop
            if not state.reported and level > max(state.floor + margin, gate):
                state.reported = True
                marks.append(_Mark(start, True, stop))
        elif state.heard:
            state.quiet += (stop - start) / rate
            if state.quiet > _HOLD - _WINDOW / 2:
                _end(state, end, stop, marks)
        _follow_floor(state, level, (stop - start) / rate)
    if alone:
        _end(state, min(end, len(samples) - 1), len(samples), marks)
    return marks


def _end(state: SoundDetectionState, index: int, known: int, marks: list[_Mark]) -> None:
    if state.reported:
        marks.append(_Mark(index, False, known))
    state.heard, state.reported, state.quiet = False, False, 0.0


def _follow_floor(state: SoundDetectionState, level: float, seconds: float) -> None:
    if level < state.floor:
        state.floor += _FLOOR_FALL * (level - state.floor)
    else:
        state.floor = min(level, state.floor + _FLOOR_RISE * seconds)


def _levels(samples: Samples, state: SoundDetectionState, *, alone: bool) -> list[tuple[int, int, float]]:
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
