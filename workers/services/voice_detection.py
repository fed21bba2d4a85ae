"""Human voice: when it begins, goes on and ends."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from shared.errors import PerceptionError, UnreadableInput
from workers.contract import Input, Item, Models, Network, Output, Service, Sound
from workers.lib.audio import Waveform
from workers.lib.resample import Carry, Resampler
from workers.models import silero

Activity = Literal["SILENCE", "ON", "VOICE", "OFF"]
Samples = npt.NDArray[np.float32]

#: The probability at which a voice begins, and below which it may end, for sensitivities of 0, 0.5 and 1.
_SENSITIVITIES = (0.0, 0.5, 1.0)
_BEGIN = (0.5, 0.3, 0.1)
_END = (0.35, 0.1, 0.03)
#: A horn or a key of a piano resembles a voice for one chunk or two: a voice begins with one that is surer than that, or with
#: the third within so many chunks (0.2 s).
_SURE = 0.7
_THIRD = 3
_WITHIN = 6
#: Chunks in a row (a third of a second) that end a voice: the pauses between words are shorter.
_HOLD = 10


class VoiceDetectionInput(Input):
    sound: Sound = Field(
        description="A WAV file, PCM 16 bit, mono, of any sample rate from 4,000 to 192,000 Hz; "
        "voices are found less reliably below 8,000 Hz."
    )
    sensitivity: float = Field(
        0.5, ge=0, le=1, description="The higher it is, the quieter the voices that are detected, and the more other sounds too."
    )


class VoiceDetectionOutput(Output):
    voice_activity: Activity = Field(
        description="SILENCE: no voice; ON: a voice begins in this sound; VOICE: it goes on; OFF: it ends in this sound."
    )


class VoiceDetectionState(BaseModel):
    """Where listening stopped. Vectors are float32, little-endian, in base64 (about 2 kB each)."""

    rate: int = 0
    tail: str = ""  # inputs that later samples at 16 kHz still need
    position: int = 0  # of the next sample at 16 kHz, see `Carry`
    network: str = ""  # see `silero.Stream`
    speaking: bool = False
    quiet: int = 0  # chunks in a row below the probability of ending
    recent: int = 0  # the last chunks, one bit each, the newest lowest: 1 at the probability of beginning


class VoiceDetection(Service[VoiceDetectionInput, VoiceDetectionOutput]):
    """Is there a human voice?

    With a session, whose sounds are pieces of one recording, each piece is answered by what it changes: `SILENCE` while
    nobody speaks, `ON` where a voice begins, `VOICE` while it goes on, `OFF` where it ends. Pauses shorter than a third of a
    second do not end a voice. Without a session there is no before: `VOICE` when there is a voice in the sound, otherwise
    `SILENCE`.
    """

    name = "voice_detection"
    input_type = VoiceDetectionInput
    output_type = VoiceDetectionOutput
    state_type: ClassVar[type[BaseModel]] = VoiceDetectionState
    models = (silero.MODEL,)
    max_batch = 16

    _network: Network

    def load(self, models: Models) -> None:
        self._network = models.open(silero.MODEL)

    def process(self, batch: Sequence[Item[VoiceDetectionInput]]) -> Sequence[VoiceDetectionOutput | PerceptionError]:
        mono = [item for item in batch if item.input.sound.waveform.channels == 1]
        streams = [_stream(item) for item in mono]
        pieces = [_at_network_rate(item) for item in mono]
        heard = silero.listen(self._network, streams, pieces)
        answers = {id(item): _answer(item, stream, chances) for item, stream, chances in zip(mono, streams, heard, strict=True)}
        return [answers.get(id(item)) or _needs_mono(item.input.sound.waveform) for item in batch]

    @classmethod
    def example(cls) -> VoiceDetectionInput:
        """A second of a hummed vowel: harmonics of 120 Hz below a falling envelope."""
        rate = 16_000
        time = np.arange(rate) / rate
        hum = sum(np.sin(2 * np.pi * 120 * order * time) / order**1.5 for order in range(1, 25))
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(rate)
            writer.writeframes((np.asarray(hum) * 8000).astype("<i2").tobytes())
        return VoiceDetectionInput(sound=Sound(file.getvalue()), sensitivity=0.5)


def _needs_mono(waveform: Waveform) -> UnreadableInput:
    return UnreadableInput(f"the sound has {waveform.channels} channels; a mono sound is needed", parameter="sound")


def _stream(item: Item[VoiceDetectionInput]) -> silero.Stream:
    """The network's stream; anew where frames of the session are missing, since what is kept does not adjoin."""
    if item.state is None or item.skipped:
        return silero.Stream()
    return silero.Stream.unpack(_unpack(item.state.network))


def _at_network_rate(item: Item[VoiceDetectionInput]) -> Samples:
    """The sound at 16 kHz. Alone: all of it, filled up to a whole chunk; in a session: what is ready by now."""
    waveform, state = item.input.sound.waveform, item.state
    samples, resampler = waveform.samples[:, 0], Resampler(waveform.rate, silero.RATE)
    if state is None:
        whole = resampler.whole(samples)
        return np.pad(whole, (0, -len(whole) % silero.CHUNK))
    adjoins = state.rate == waveform.rate and not item.skipped
    carry = Carry(_unpack(state.tail), state.position) if adjoins else resampler.start()
    piece = resampler.feed(samples, carry)
    state.rate, state.tail, state.position = waveform.rate, _pack(carry.tail), carry.position
    return piece


def _answer(item: Item[VoiceDetectionInput], stream: silero.Stream, chances: Samples) -> VoiceDetectionOutput:
    thresholds = _thresholds(item.input.sensitivity)
    if item.state is None:
        return VoiceDetectionOutput(voice_activity="VOICE" if _follow(chances, thresholds, VoiceDetectionState()) else "SILENCE")
    before = item.state.speaking
    heard = _follow(chances, thresholds, item.state)
    item.state.network = _pack(stream.pack())
    return VoiceDetectionOutput(voice_activity=_activity(before, heard, item.state.speaking))


def _thresholds(sensitivity: float) -> tuple[float, float]:
    """The probabilities of beginning and of ending."""
    return float(np.interp(sensitivity, _SENSITIVITIES, _BEGIN)), float(np.interp(sensitivity, _SENSITIVITIES, _END))


def _follow(chances: Samples, thresholds: tuple[float, float], state: VoiceDetectionState) -> bool:
    """Whether there is a voice in any of these chunks. ``state`` moves on.

    Lower thresholds never give less: where a voice is heard with higher ones, it is heard with lower ones too.
    """
    begin, end = thresholds
    heard = False
    for chance in chances.tolist():
        state.recent = (state.recent << 1 | (chance >= begin)) % (1 << _WITHIN)
        if not state.speaking and chance >= begin and (chance >= _SURE or state.recent.bit_count() >= _THIRD):
            state.speaking, state.quiet = True, 0
        if state.speaking:
            heard = True
            state.quiet = state.quiet + 1 if chance < end else 0
            state.speaking = state.quiet < _HOLD
    return heard


def _activity(before: bool, heard: bool, after: bool) -> Activity:
    """ON and OFF are each more than SILENCE and less than VOICE: more voice in the sound never makes the answer less."""
    if before:
        return "VOICE" if after else "OFF"
    return "ON" if heard else "SILENCE"


def _pack(samples: Samples) -> str:
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


def _unpack(text: str) -> Samples:
    return np.frombuffer(base64.b64decode(text), "<f4")
