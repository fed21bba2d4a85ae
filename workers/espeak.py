"""eSpeak NG as a library in this process: speech by formants, and the phonemes that neural voices are fed with.

The library is GPL-3 and therefore not among our own requirements: the extra ``speech`` brings it (the package espeakng-loader:
library and data, for Linux, macOS and Windows), else the system's ``libespeak-ng`` serves. Its state is global and knows no
threads: one caller at a time. What is called is documented in its header ``espeak-ng/speak_lib.h``.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

from shared.errors import InputTooLarge, ModelCorrupt, ModelMissing

#: What installs it.
COMMAND = 'run: pip install "sensorium[speech]"'
# Values of enums and flags in the header.
_SYNCHRONOUS = 2  # no audio device, samples go to the callback, the call returns when all is said
_DO_NOT_EXIT = 0x8000  # without its data the library would end the process
_OK = 0
_CHARACTERS = 1  # positions are in characters
_UTF8 = 1  # and neither SSML (0x10) nor phonemes in brackets (0x100): markup is read like any text
_IPA = 2
_TIED = 0x80 | ord("^") << 8  # a "^" between the letters of one phoneme: "a^ɪ"
_RATE, _WORDS, _SLOWEST, _FASTEST = 1, 175, 80, 450  # the parameter; words a minute: the default and the limits
_LONGEST_PATH = 140  # of the folder with the data, in bytes: the library cuts longer ones off

_Receive = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_SWITCH = re.compile(r"\([a-z-]+\)")  # marks a word of another language
_END = re.compile(r"([.,:;!?…])[\"'»”’)\]]*\s*$")


@dataclass(frozen=True, slots=True)
class Clause:
    """What is said in one breath: ``phonemes`` in IPA, words apart by spaces, and the mark that ends it (``.,:;!?``)."""

    phonemes: str
    end: str


class _Receiver:
    """Collects samples, and says stop when there are too many."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.room = 0  # samples that are still allowed
        self.callback = _Receive(self._receive)

    def start(self, room: int) -> None:
        self.pieces, self.room = [], room

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: object) -> int:
        if samples and count > 0:
            self.room -= count
            if self.room >= 0:
                self.pieces.append(ctypes.string_at(samples, 2 * count))
        return int(self.room < 0)


class Espeak:
    """The library, initialised. ``rate``: samples a second of its speech (Hz)."""

    def __init__(self, library: ctypes.CDLL, data: str | None) -> None:
        """``data``: the folder that holds its data; None for the place it was built for. Raises `ModelCorrupt`."""
        _declare(library)
        if data is not None and len(data.encode()) > _LONGEST_PATH:
            raise ModelCorrupt(f"eSpeak NG cannot use a folder of more than {_LONGEST_PATH} bytes: {data}; install it in a shorter one")
        self._library = library
        self._alone = threading.Lock()
        self._receiver = _Receiver()
        self.rate: int = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode() if data is not None else None, _DO_NOT_EXIT)
        if self.rate <= 0:
            raise ModelCorrupt(f"eSpeak NG does not find its data{'' if data is None else f' in {data}'}; {COMMAND}")
        library.espeak_SetSynthCallback(self._receiver.callback)

    def speak(self, text: str, voice: str, most_seconds: float, speed: float = 1.0) -> bytes:
        """PCM, 16 bit, mono, little-endian. Raises `InputTooLarge` as soon as the speech is longer than ``most_seconds``.

        ``speed``: 2 is twice as fast; what the library does not reach becomes the nearest that it does (about 0.46 to 2.57).
        """
        spoken = _encoded(text)
        with self._alone:
            self._choose(voice)
            self._library.espeak_SetParameter(_RATE, min(max(round(_WORDS * speed), _SLOWEST), _FASTEST), 0)
            self._receiver.start(round(most_seconds * self.rate))
            if self._library.espeak_Synth(spoken, len(spoken) + 1, 0, _CHARACTERS, 0, _UTF8, None, None) != _OK:
                raise ModelCorrupt(f"eSpeak NG refuses to speak; {COMMAND}")
            pieces, room = self._receiver.pieces, self._receiver.room
            self._receiver.start(0)
        if room < 0:
            raise InputTooLarge(f"the speech of this text lasts longer than {most_seconds:g} s", parameter="text")
        return b"".join(pieces)

    def phonemes(self, text: str, voice: str, *, tied: bool = False) -> list[Clause]:
        """The clauses of a text, in order. ``tied``: letters that are one phoneme have a ``^`` between them."""
        mode = _IPA | (_TIED if tied else 0)
        buffer = ctypes.create_string_buffer(_encoded(text))
        start, size = ctypes.addressof(buffer), len(buffer) - 1
        place, before, clauses = ctypes.c_void_p(start), 0, []
        with self._alone:
            self._choose(voice)
            while place.value is not None:
                said: bytes | None = self._library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, mode)
                after = size if place.value is None else place.value - start
                read = buffer.raw[before:after].decode(errors="ignore")
                # it has read one character too many, to see that the clause is over
                clauses.append(_clause(said or b"", read if place.value is None else read[:-1]))
                before = after
        return [clause for clause in clauses if clause.phonemes]

    def _choose(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != _OK:
            raise ModelCorrupt(f"eSpeak NG has no voice {voice!r}; {COMMAND}")


@lru_cache(maxsize=1)
def open_espeak() -> Espeak:
    """The one of this process. Raises `ModelMissing` or `ModelCorrupt`, naming the command that mends it."""
    library, data = _find()
    try:
        return Espeak(ctypes.CDLL(library), data)
    except (OSError, AttributeError) as error:
        raise ModelCorrupt(f"eSpeak NG does not load from {library}: {error}; {COMMAND}") from error


def _find() -> tuple[str, str | None]:
    """The files of the library and of its data."""
    try:
        loader = import_module("espeakng_loader")
        return loader.get_library_path(), loader.get_data_path()
    except ImportError:
        library = ctypes.util.find_library("espeak-ng")
    if library is None:
        raise ModelMissing(f"eSpeak NG, which speaks, is not installed; {COMMAND}")
    return library, None


def _declare(library: ctypes.CDLL) -> None:
    number, text, pointer = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
    library.espeak_Initialize.argtypes = [number, number, text, number]
    library.espeak_SetSynthCallback.argtypes = [_Receive]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = [text]
    library.espeak_SetParameter.argtypes = [number, number, number]
    library.espeak_Synth.argtypes = [text, ctypes.c_size_t, ctypes.c_uint, number, ctypes.c_uint, ctypes.c_uint, pointer, pointer]
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(pointer), number, number]
    library.espeak_TextToPhonemes.restype = text


def _encoded(text: str) -> bytes:
    """UTF-8. A NUL would end it early, and other control characters are commands (``\\x01`` begins an embedded one)."""
    return "".join(" " if character < " " or "\x7f" <= character < "\xa0" else character for character in text).encode(errors="replace")


def _clause(said: bytes, read: str) -> Clause:
    end = _END.search(read)
    mark = end[1] if end else "."
    return Clause(_SWITCH.sub("", said.decode(errors="ignore")).strip(), "." if mark == "…" else mark)
