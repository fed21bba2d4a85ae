"""What a service is, and what it is given: the page to read before writing one.

A service is a function of values: `Service.load` once, then `Service.process` for each batch. Batching, retries, time
limits, state keeping and logging belong to the runner.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, PrivateAttr, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from shared.errors import InvalidParameter, PerceptionError
from shared.privacy import Analysis
from shared.visits import Visit

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from shared.settings import Settings
    from workers.lib.audio import Waveform


class Input(BaseModel):
    """Base of a service's parameters. Unknown keys are ignored (the gateway reports them)."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Output(BaseModel):
    """Base of a service's result. With ``omit_none`` a key whose value is None is left out of the answer.

    ``visits``: what the audience analytics is to keep, beside the answer and safe before it. ``made``: what an answer that was
    asked to explain itself tells beside what the runner knows.
    """

    omit_none: ClassVar[bool] = False
    _visits: tuple[Visit, ...] = PrivateAttr(default=())
    _made: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def visits(self) -> tuple[Visit, ...]:
        return self._visits

    def with_visits(self, visits: Sequence[Visit]) -> Self:
        self._visits = tuple(visits)
        return self

    @property
    def made(self) -> Mapping[str, Any]:
        return self._made

    def with_made(self, made: Mapping[str, Any]) -> Self:
        self._made = made
        return self

    def as_result(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=self.omit_none)


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What is refused before it is decoded: pixels, pixels a side, seconds, characters; and how long speech may get."""

    image_pixels: int = 25_000_000
    image_side: int = 8192
    sound_seconds: float = 60.0
    text_characters: int = 5000
    speech_seconds: float = 600.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The settings of the same names."""
        return cls(**{limit.name: getattr(settings, limit.name) for limit in fields(cls)})


_LIMITS = MediaLimits()


class FileSource(Protocol):
    """Where the file fields of an input get their bytes from while it is validated."""

    limits: MediaLimits

    def resolve(self, reference: str) -> bytes | None:
        """The bytes; None when they are known to exist but are not at hand. Raises `ValueError` when there are none."""

    def sample(self, reference: str) -> Sample:
        """Never raises: a sample that there is not says so itself."""


class File:
    """A file of a job. In JSON it is a reference: ``attachment://NAME`` or the address of a blob."""

    media_types: ClassVar[tuple[str, ...]] = ("application/octet-stream",)

    def __init__(self, data: bytes, reference: str = "", limits: MediaLimits | None = None) -> None:
        self.data = data
        self.reference = reference
        self.limits = limits or _LIMITS

    def decode(self) -> None:
        """Decode the bytes now. Raises `UnreadableInput` or `InputTooLarge`; the runner calls it before `process`."""

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> File:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("must be a reference: attachment://NAME or the address of a blob")
        source: FileSource | None = (info.context or {}).get("files") if isinstance(info.context, dict) else None
        if source is None:
            raise ValueError("no files came with this input")
        return cls._found(source, value)

    @classmethod
    def _found(cls, source: FileSource, reference: str) -> File:
        return cls(source.resolve(reference) or b"", reference, source.limits)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.reference)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "uri-reference",
            "description": f"attachment://NAME or the address of a blob: {' or '.join(cls.media_types)}",
        }


class Image(File):
    """A JPEG or PNG picture."""

    media_types = ("image/jpeg", "image/png")

    # Not a `cached_property`: before Python 3.12 it has one lock for all pictures, and threads would decode in turn.
    _pixels: np.ndarray | None = None

    def decode(self) -> None:
        _ = self.pixels

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [height, width, 3], BGR, with the EXIF orientation applied."""
        if self._pixels is None:
            from workers.lib.image import decode_image  # cv2 is for workers, not for gateways

            self._pixels = decode_image(self.data, max_pixels=self.limits.image_pixels, max_side=self.limits.image_side)
        return self._pixels

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as the answers give it in ``input_size``."""
        height, width = self.pixels.shape[:2]
        return int(width), int(height)


class Sound(File):
    """A WAV recording."""

    media_types = ("audio/wav",)

    _waveform: Waveform | None = None

    def decode(self) -> None:
        _ = self.waveform

    @property
    def waveform(self) -> Waveform:
        """Samples float32 [frames, channels] in -1..1 with their rate in Hz."""
        if self._waveform is None:
            from workers.lib.audio import decode_wav

            self._waveform = decode_wav(self.data, max_seconds=self.limits.sound_seconds)
        return self._waveform


class Sample(File):
    """A picture of an album: thousands may be named with every frame, so its bytes are fetched only when `read` asks for them.

    One that leads nowhere does not make the input invalid: ``fault`` says why, for the answer to name it. ``key`` stands for
    the bytes: equal keys have equal bytes for ever, so that what was computed of them can be kept by it. ``data`` is empty
    but for an attachment.
    """

    media_types = Image.media_types

    key: str = ""
    fault: str | None = "there is nothing in it"
    _fetch: Callable[[str], bytes | None] | None = None

    def __init__(self, data: bytes = b"", reference: str = "", limits: MediaLimits | None = None) -> None:
        super().__init__(data, reference, limits)
        if data:
            self.key, self.fault = blake2b(data, digest_size=16).hexdigest(), None

    @classmethod
    def of_blob(cls, reference: str, limits: MediaLimits, key: str, fetch: Callable[[str], bytes | None]) -> Sample:
        """One whose bytes ``fetch`` brings by its key; None once they are gone."""
        sample = cls(reference=reference, limits=limits)
        sample.key, sample.fault, sample._fetch = key, None, fetch
        return sample

    @classmethod
    def faulty(cls, reference: str, fault: str, key: str = "") -> Sample:
        sample = cls(reference=reference)
        sample.key, sample.fault = key, fault
        return sample

    def read(self) -> bytes | None:
        """The bytes; None when there are none. Blocks, for model threads only. Raises `StoreAway`."""
        return self.data or None if self._fetch is None else self._fetch(self.key)

    @classmethod
    def _found(cls, source: FileSource, reference: str) -> File:
        return source.sample(reference)


#: What is wrong with a sample that is no attachment of its request and no blob.
NO_ADDRESS = "neither an attachment nor a blob of this server; other addresses are never fetched"
NO_BLOB = "there is no such blob"


class SampleSource(Protocol):
    """The blobs among a job's samples."""

    def sample(self, reference: str, limits: MediaLimits) -> Sample:
        """The sample, or one with a fault."""


In = TypeVar("In", bound=Input)
Out = TypeVar("Out", bound=Output)


@dataclass(frozen=True, slots=True)
class Item(Generic[In]):
    """A job as a service sees it.

    ``state`` is None without a session; otherwise a `Service.state_type` that `process` changes in place, decoded afresh
    for each attempt, so that a failed attempt leaves no trace. ``skipped`` counts the frames of the session that were
    given up since the last one that was applied. ``accepted``: when the gateway took the request, seconds since 1970.
    ``off``: the analyses of people that the stream has switched off: they are not computed, not told, and not remembered.
    """

    input: In
    state: Any = None
    skipped: int = 0
    accepted: float = 0.0
    off: tuple[Analysis, ...] = ()


class Network(Protocol):
    """A loaded network. ``name`` and ``sha256`` identify its weights, ``device`` where it runs (``cpu``, ``cuda``)."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def device(self) -> str: ...

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name. Safe to call from several threads."""


class Models(Protocol):
    """Verified weights by name."""

    def open(self, name: str) -> Network:
        """Raises `ModelMissing` or `ModelCorrupt`, naming the command that mends it."""

    def choose(self, name: str) -> Network:
        """The model called ``name``, or the best installed one that stands in for it: `Network.name` says which.

        Raises like `open`, naming the command that installs the preferred one.
        """

    def optional(self, name: str) -> Network | None:
        """Like `open` for a network that a service can do without; None when it is not installed. Raises `ModelCorrupt`."""

    def has(self, name: str) -> bool:
        """Whether its file is installed: instant, since the content is not looked at. Raises `ModelMissing` for an unknown name."""

    def path(self, name: str) -> Path:
        """The verified file of data that goes with a model (names of classes, settings of a voice). Raises like `open`."""


class Service(ABC, Generic[In, Out]):
    """Subclass this, set the class attributes, implement `process` and `example`.

    The docstring of the subclass is the service's description in the directory. ``models`` are names in
    ``models/manifest.toml``; ``max_batch`` bounds what the runner may try, it measures at start what pays.

    ``purpose``: the analyses of people that the service is for. A stream that has switched all of them off is not offered it; where some
    are left, or where they are not all that it does, it minds `Item.off` itself.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    input_type: ClassVar[type[Input]]
    output_type: ClassVar[type[Output]]
    state_type: ClassVar[type[BaseModel] | None] = None
    models: ClassVar[tuple[str, ...]] = ()
    max_batch: ClassVar[int] = 1
    purpose: ClassVar[frozenset[Analysis]] = frozenset()

    def load(self, models: Models) -> None:
        """Open what `process` needs. Called once, before the first batch, outside the event loop."""

    def prepare(self, inputs: Sequence[In]) -> None:
        """Do what `process` does with these inputs before it needs their state, and remember it with them.

        Called from several threads, for frames of sessions that wait for their turn; their files are decoded. May be left
        out for any frame, and need not be overridden.
        """

    @abstractmethod
    def process(self, batch: Sequence[Item[In]]) -> Sequence[Out | PerceptionError]:
        """Answer every item, in order. One item's error, returned in its place, does not fail its neighbours.

        Called from several threads at a time. A batch holds at most one item of a session.
        """

    def close(self, state: Any) -> Sequence[Visit]:
        """The session fell silent; ``state`` is its last state. Called in the order of the session's frames.

        Returns the visits that end with it.
        """
        return ()

    @classmethod
    @abstractmethod
    def example(cls) -> In:
        """A typical input: warms the networks up, measures the batch size, proves in `--check` that the service works."""

    def announced(self) -> Mapping[str, Any]:
        """What a worker says of it beside its networks, as JSON: small, since it is said every few seconds."""
        return {}

    @classmethod
    def details(cls, announced: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """What its document says beside the schemas. ``announced``: what each worker says that serves it."""
        return {}

    @classmethod
    def is_off(cls, off: Collection[Analysis]) -> bool:
        """Whether nothing is left of the service's purpose for a stream that has switched these off."""
        return bool(cls.purpose) and cls.purpose <= set(off)

    @classmethod
    def description(cls) -> str:
        return cleandoc(cls.__doc__ or cls.name)


@dataclass(slots=True)
class Files:
    """The files of one job in a worker: a `FileSource` that remembers what the input took."""

    data: dict[str, bytes]
    limits: MediaLimits = field(default_factory=MediaLimits)
    samples: SampleSource | None = None

    def resolve(self, reference: str) -> bytes:
        try:
            return self.data[reference]
        except KeyError:
            raise ValueError("no such attachment") from None

    def sample(self, reference: str) -> Sample:
        data = self.data.get(reference)
        if data is not None:
            return Sample(data, reference, self.limits)
        return Sample.faulty(reference, NO_ADDRESS) if self.samples is None else self.samples.sample(reference, self.limits)

    def context(self) -> dict[str, Self]:
        return {"files": self}


def invalid_parameter(error: ValidationError) -> InvalidParameter:
    """The first fault that pydantic found, as a sentence with the parameter's name."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "body"
    return InvalidParameter(f"{name}: {first['msg']}", parameter=name)
