"""Names for the sounds of recordings: what is kept of a session, and one run of the network for a whole
batch."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from shared.errors import ModelCorrupt, ModelMissing, PerceptionError
from workers.contract import Models, Network
from workers.lib.audio import Samples
from workers.lib.excerpts import Listener, Recording, Stored
from workers.lib.resample import Carry
from workers.models import yamnet
from workers.models.yamnet import HEARD, Evidence, Vocabulary

#: What names need.
NAMES = (yamnet.MODEL, yamnet.CLASS_MAP)

_MISSING = (
    f"classes: the network {yamnet.MODEL}, which names sounds, is not installed; "
    f"run: sensorium models pull {yamnet.MODEL} {yamnet.CLASS_MAP}"
)


class NamingState(BaseModel):
    """What is kept of a recording between its pieces, at most 50 kB. Vectors are little-endian, in base64."""

    rate: int  # Hz, of the recording
    end: int  # frames so far
    tail: str  # float32, inputs that later samples need, see `Carry`
    position: int
    kept: str  # int16, the last second at the network's rate, see `Recording`
    total: int
    next: int = -1  # see `Listener`; -1: no sound goes on
    heard: int = -1
    pooled: str = ""  # float32 [1042], of the sound that goes on, see `Evidence`
    weight: float = 0.0
    count: int = 0
    peak: int = 1


@dataclass(frozen=True, slots=True)
class Span:
    """A sound in a piece: its first frame (None: it began before the piece), the frame at which its end is
    reported (None: it goes on after the piece), and the frame up to which it is ``known`` whether it goes
    on."""

    began: int | None
    ended: int | None
    known: int


@dataclass(slots=True)
class Followed:
    """A sound and what was heard of it."""

    span: Span
    listener: Listener
    evidence: Evidence
    excerpts: Sequence[Stored] = ()
    gains: Sequence[float] = ()


class Ear:
    """One piece of a recording. ``hold``: seconds without which a sound's end is not known."""

    def __init__(self, samples: Samples, rate: int, before: NamingState | None, *, alone: bool) -> None:
        """``samples`` float32 [n]. ``before``: what is kept of the pieces before, None where there are none
        that adjoin; ``alone``: there are no others."""
        adjoins = before is not None and before.rate == rate
        self._before = before if adjoins else None
        self._alone = alone
        self._recording = Recording(rate) if self._before is None else _recording(self._before)
        self._recording.add(samples, HEARD, last=alone)

    def follow(self, spans: Iterable[Span], hold: float) -> list[Followed]:
        """The sounds in the piece, each with the excerpts that are complete by now; evidence of earlier
        pieces comes with it."""
        return [self._follow(span, round(hold * HEARD.rate)) for span in spans]

    def _follow(self, span: Span, hold: int) -> Followed:
        began = self._recording.place(0 if span.began is None else span.began, HEARD)
        listener, evidence = Listener.of(began, HEARD), Evidence()
        if span.began is None and self._before is not None and self._before.next >= 0:
            listener, evidence = Listener(self._before.next, self._before.heard), _evidence(self._before)
        known = self._recording.place(span.known, HEARD)
        excerpts = listener.take(self._recording, known, hold, HEARD, over=span.ended is not None)
        return Followed(span, listener, evidence, excerpts, [evidence.gain(excerpt) for excerpt in excerpts])

    def keep(self, followed: Sequence[Followed]) -> NamingState:
        """What the next piece needs."""
        recording = self._recording
        recording.forget(HEARD)
        carry = recording.carry or Carry(np.zeros(0, np.float32), 0)
        state = NamingState(
            rate=recording.rate,
            end=recording.end,
            tail=_pack(carry.tail, "<f4"),
            position=carry.position,
            kept=_pack(recording.kept, "<i2"),
            total=recording.total,
        )
        if followed and followed[-1].span.ended is None:
            going = followed[-1]
            state.next, state.heard = going.listener.next, going.listener.heard
            state.pooled = _pack(np.concatenate([going.evidence.total, going.evidence.best]), "<f4")
            state.weight, state.count, state.peak = (
                going.evidence.weight,
                going.evidence.count,
                going.evidence.peak,
            )
        return state


def _recording(state: NamingState) -> Recording:
    carry = Carry(_unpack(state.tail, "<f4"), state.position)
    return Recording(state.rate, end=state.end, carry=carry, kept=_unpack(state.kept, "<i2"), total=state.total)


def _evidence(state: NamingState) -> Evidence:
    pooled = _unpack(state.pooled, "<f4")
    return Evidence(pooled[: yamnet.CLASSES], state.weight, pooled[yamnet.CLASSES :], state.count, state.peak)


def _pack(values: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _unpack(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), kind)


class Namer:
    """The network and its vocabulary; or why there is none, which is no fault of who does not ask for
    names."""

    def __init__(self, models: Models) -> None:
        self.fault: PerceptionError | None = None
        try:
            network = models.optional(yamnet.MODEL)
            if network is None:
                raise ModelMissing(_MISSING, parameter="classes")
            self._network: Network = network
            self._vocabulary: Vocabulary = yamnet.read_vocabulary(models.path(yamnet.CLASS_MAP))
        except (ModelMissing, ModelCorrupt) as error:
            self.fault = type(error)(error.message, parameter="classes")
        else:
            yamnet.hear(network, [np.zeros(HEARD.length, np.int16)], [1.0])  # the first run of a network is slow

    def hear(self, sounds: Sequence[Followed]) -> None:
        """Adds what the network hears in the excerpts to the evidence."""
        excerpts = [excerpt for sound in sounds for excerpt in sound.excerpts]
        gains = [gain for sound in sounds for gain in sound.gains]
        heard = iter(yamnet.hear(self._network, excerpts, gains) if excerpts else ())
        for sound in sounds:
            for _ in sound.excerpts:
                sound.evidence.add(next(heard))

    def names(self, sound: Followed, most: int) -> list[yamnet.Heard]:
        """At most ``most`` classes of a sound."""
        return self._vocabulary.named(sound.evidence, most)
