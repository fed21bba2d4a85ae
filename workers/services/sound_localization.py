"""Sounds: how many sources, and in which direction each is."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from math import exp, pi

import numpy as np
from pydantic import BaseModel, Field

from shared.errors import PerceptionError, UnreadableInput
from workers.contract import Input, Item, Output, Service, Sound
from workers.lib.localize import locate, yaw_of

#: A lower rate leaves too little time between the frames for the delays of a small array.
_LEAST_RATE = 16_000
#: At sensitivities of 0, 0.5 and 1: the level in dBFS above which something sounds, and the agreement of the frequencies that
#: a source needs (noise that is different at both microphones reaches 0.1).
_SENSITIVITIES = (0.0, 0.5, 1.0)
_GATE = (-40.0, -50.0, -60.0)
_LEAST = (0.30, 0.15, 0.10)
#: The probability that a source of some agreement is real, within ten degrees: logistic, fitted to simulated speech in noise
#: and echoes.
_SLOPE, _EVEN = 28.0, 0.105


class SoundLocalizationInput(Input):
    sound: Sound = Field(
        description="A WAV file, PCM 16 bit, stereo, 48,000 Hz (any rate from 16,000 to 192,000 Hz will do). "
        "The second channel is the right microphone, as seen from behind the array."
    )
    baseline: float = Field(ge=0.01, le=2, description="Distance between the two microphones in metres.")
    sensitivity: float = Field(
        0.5, ge=0, le=1, description="The higher it is, the quieter the sounds that are located, and the more background noise too."
    )


class SoundSource(BaseModel):
    index: int = Field(ge=0, description="Frame of the given sound at which the source is first heard.")
    yaw: float = Field(
        ge=-pi / 2, le=pi / 2, description="Direction in radians: 0 straight ahead, positive towards the second channel's microphone."
    )
    confidence: float = Field(ge=0, le=1, description="The probability that there is a real source in this direction.")


class SoundLocalizationOutput(Output):
    input_size: int = Field(ge=0, description="Number of frames of the sound (a frame is one sample of each channel).")
    nb_sources: int = Field(ge=0, description="Number of sources.")
    sources: list[SoundSource] = Field(description="The sources, the strongest first.")


class SoundLocalization(Service[SoundLocalizationInput, SoundLocalizationOutput]):
    """Where is the sound coming from?

    Two microphones tell the direction by the delay between them, so what is in front and what is behind look the same: the
    yaw lies within a quarter turn to either side. Sources that sound at the same time or one after the other are told apart;
    where there is no sound, or only noise of no direction, there is no source. Each sound stands alone, also in a session.
    """

    name = "sound_localization"
    input_type = SoundLocalizationInput
    output_type = SoundLocalizationOutput
    max_batch = 8

    def process(self, batch: Sequence[Item[SoundLocalizationInput]]) -> Sequence[SoundLocalizationOutput | PerceptionError]:
        return [_answer(item.input) for item in batch]

    @classmethod
    def example(cls) -> SoundLocalizationInput:
        """8,192 frames of noise that reach the second microphone ten frames earlier."""
        noise = np.random.default_rng(0).normal(0, 3000, 8202)
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(2)
            writer.setsampwidth(2)
            writer.setframerate(48_000)
            writer.writeframes(np.stack([noise[:-10], noise[10:]], axis=1).clip(-32768, 32767).astype("<i2").tobytes())
        return SoundLocalizationInput(sound=Sound(file.getvalue()), baseline=0.14, sensitivity=0.5)


def _answer(value: SoundLocalizationInput) -> SoundLocalizationOutput | PerceptionError:
    waveform = value.sound.waveform
    if waveform.channels != 2:
        return UnreadableInput("the sound has one channel; a stereo sound is needed, one channel a microphone", parameter="sound")
    if waveform.rate < _LEAST_RATE:
        needed = f"48,000 are needed, at least {_LEAST_RATE:,}"
        return UnreadableInput(f"the sound has {waveform.rate} frames a second; {needed}", parameter="sound")
    gate, least = (float(np.interp(value.sensitivity, _SENSITIVITIES, values)) for values in (_GATE, _LEAST))
    sources = [
        SoundSource(index=source.index, yaw=yaw_of(source.delay, value.baseline), confidence=_confidence(source.agreement))
        for source in locate(waveform.samples, waveform.rate, value.baseline, gate, least)
    ]
    return SoundLocalizationOutput(input_size=waveform.frames, nb_sources=len(sources), sources=sources)


def _confidence(agreement: float) -> float:
    return round(1 / (1 + exp(-_SLOPE * (agreement - _EVEN))), 4)
