"""Faces: whose are they?"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, Field
from typing_extensions import TypedDict

from shared.errors import InputTooLarge, PerceptionError, Unavailable
from workers.contract import NO_BLOB, Image, Item, Models, Sample, Service
from workers.faces import MOST_FACES, MOST_FACES_ON_CPU, Face, FaceInput, FaceOutput, detect_faces, drawn_face
from workers.lib.boxes import clip_boxes
from workers.lib.faces import Faces, Sight, in_groups
from workers.lib.gallery import Calibration, Gallery, Kept, likeliest, smooth
from workers.lib.image import decode_image
from workers.lib.tracks import Tracks, follow
from workers.models import face_embedder, yunet
from workers.models.face_detector import FaceDetector, open_face_detector
from workers.models.face_embedder import FaceEmbedder, open_face_embedder
from workers.models.weights import digest

Array = npt.NDArray[Any]

MOST_SAMPLES = 10_000
#: An answer lists so many names over all its faces; in a crowd before a large album the least likely of each face are left out.
MOST_NAMES = 50_000
#: Embeddings that a process remembers, about 1.3 kB each, and albums as matrices, 10 MB each at most.
KEPT_SAMPLES, KEPT_ALBUMS = 32_768, 8
#: A batch reads new samples for at most so many seconds, about 25 ms each; what it did not get to is left to the next attempt.
READING_SECONDS = 40.0
#: The least weight of the newest frame in what is said of a followed face, and people remembered of each.
_GAIN, _REMEMBERED = 0.2, 16


def _album(value: object) -> object:
    """A single sample may stand without its list. Raises `InputTooLarge` before thousands of samples are looked at."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        return value
    album = {name: [samples] if isinstance(samples, str) else samples for name, samples in value.items()}
    count = sum(len(samples) for samples in album.values() if isinstance(samples, list))
    if max(count, len(album)) > MOST_SAMPLES:
        raise InputTooLarge(f"the album has {max(count, len(album))} samples; at most {MOST_SAMPLES} are allowed", parameter="album")
    return album


Album = dict[Annotated[str, Field(max_length=128)], list[Sample]]


class FaceRecognitionInput(FaceInput):
    album: Annotated[Album, BeforeValidator(_album)] = Field(
        default_factory=dict,
        description=f"For each person pictures with that person's face only; at most {MOST_SAMPLES} in all. More than one each is better.",
    )


class Name(TypedDict):
    key: Annotated[str, Field(description="The person's name in the album.")]
    confidence: Annotated[float, Field(ge=0, le=1, description="The probability that the face is this person's.")]


class NamedFace(Face):
    names: list[Name] = Field(description="Everybody in the album, the most likely first. With nobody likely the face is a stranger's.")


class AlbumError(TypedDict):
    key: Annotated[str, Field(description="The person's name in the album.")]
    sample: Annotated[str, Field(description="The sample, as given.")]
    error: Annotated[str, Field(description="Why it is of no use.")]


class FaceRecognitionOutput(FaceOutput[NamedFace]):
    album_errors: list[AlbumError] | None = Field(None, description="The samples that are of no use; left out when all are good.")


class FaceRecognitionState(BaseModel):
    """Of each followed face the scores of the likeliest people, smoothed.

    ``album``: digest of the album, and of the networks that read it; the scores are void once it is another.
    """

    tracks: Tracks = Field(default_factory=Tracks)
    scores: dict[int, dict[str, float]] = Field(default_factory=dict)
    album: str = ""


@dataclass(frozen=True, slots=True)
class _Read:
    """An album whose samples were looked at. ``faults``: person, position of the sample, what is wrong with its picture.

    ``digest``: of the people, of the samples that serve, and of the networks that read them.
    """

    gallery: Gallery
    faults: tuple[tuple[str, int, str], ...]
    digest: str


@dataclass(frozen=True, slots=True)
class _Known:
    """The album of an item: who is in it, and what is to be said about its samples."""

    gallery: Gallery
    digest: str
    errors: list[AlbumError]


class FaceRecognition(Service[FaceRecognitionInput, FaceRecognitionOutput]):
    """Whose faces are these, of the people in an album?

    The album names people and gives pictures (blobs, or files of the request) with one face each; a picture that is of no
    use is named in `album_errors`, and the others serve without it. Each face is compared with everybody in the album.

    With a session a face is reported from its fourth consecutive frame on, keeps its `id`, and its confidences are those of
    its last frames together. An album that is sent again with each frame costs no work again.
    """

    name = "face_recognition"
    input_type = FaceRecognitionInput
    output_type = FaceRecognitionOutput
    state_type: ClassVar[type[BaseModel]] = FaceRecognitionState
    models = (yunet.MODEL, face_embedder.MODEL)
    purpose = frozenset({"identification"})
    max_batch = 16

    _detector: FaceDetector
    _embedder: FaceEmbedder
    #: Stands for the detector and the embedder: what is kept of faces is kept with it.
    _weights: str

    def __init__(self) -> None:
        self._samples: Kept[tuple[str, str], Array | str] = Kept(KEPT_SAMPLES)
        self._albums: Kept[tuple[str, tuple[tuple[str, ...], ...]], _Read] = Kept(KEPT_ALBUMS)

    def load(self, models: Models) -> None:
        self._detector, self._embedder = open_face_detector(models), open_face_embedder(models)
        self._weights = digest((self._detector, self._embedder))

    def prepare(self, inputs: Sequence[FaceRecognitionInput]) -> None:
        detect_faces(self._detector, [given.image for given in inputs])

    def process(self, batch: Sequence[Item[FaceRecognitionInput]]) -> Sequence[FaceRecognitionOutput | PerceptionError]:
        until = time.monotonic() + READING_SECONDS
        known = [self._know(item.input.album, until) for item in batch]
        found = detect_faces(self._detector, [item.input.image for item in batch])
        sights = [Sight.of(item.input.image.pixels, faces) for item, faces in zip(batch, found, strict=True)]
        at_once = MOST_FACES_ON_CPU if self._embedder.device == "cpu" else MOST_FACES
        groups = [self._embedder.embed(group) for group in in_groups(sights, at_once)]
        embeddings = np.concatenate(groups) if groups else np.empty((0, self._embedder.dimensions), np.float32)
        parts = np.split(embeddings, np.cumsum([len(faces) for faces in found])[:-1])
        return [
            album if isinstance(album, PerceptionError) else _answer(item, faces, part, album, self._embedder.calibration)
            for item, faces, part, album in zip(batch, found, parts, known, strict=True)
        ]

    # The album

    def _know(self, album: Album, until: float) -> _Known | PerceptionError:
        errors: list[AlbumError] = []
        for name, samples in album.items():
            for sample in samples:
                if sample.fault is not None:
                    errors.append({"key": name, "sample": sample.reference, "error": sample.fault})
                    self._forget(sample)
        try:
            read = self._read(album, until)
        except PerceptionError as error:
            return error
        errors += [{"key": name, "sample": album[name][index].reference, "error": fault} for name, index, fault in read.faults]
        return _Known(read.gallery, read.digest, errors)

    def _read(self, album: Album, until: float) -> _Read:
        """The album as a matrix. Raises `Unavailable` when there is more to read than time, and what `Sample.read` raises."""
        people = tuple((name, *(sample.key if sample.fault is None else "" for sample in samples)) for name, samples in album.items())
        key = (self._weights, people)
        read = self._albums.get(key)
        if read is None:
            seen, gone = self._see([sample for samples in album.values() for sample in samples if sample.fault is None], until)
            read = _arrange(album, seen, self._weights)
            if not gone:
                self._albums.put(key, read)
        return read

    def _see(self, samples: Sequence[Sample], until: float) -> tuple[dict[str, Array | str], bool]:
        """Embedding or fault of each sample by its key, and whether one was deleted just now."""
        weights = self._weights
        kept = self._samples.get_all((sample.key, weights) for sample in samples)
        seen = {key: value for (key, _), value in kept.items()}
        missing = list({sample.key: sample for sample in samples if sample.key not in seen}.values())
        if missing:
            # Frames that wait for the same new album begin at different places and find done what the others did.
            start = secrets.randbelow(len(missing))
            missing = missing[start:] + missing[:start]
        gone = False
        for done, sample in enumerate(missing):
            value = self._samples.get((sample.key, weights))
            if value is None:
                if time.monotonic() > until:
                    raise Unavailable(f"the album is still being read: {len(missing) - done} samples are left; send the job again")
                data = sample.read()
                if data is None:
                    seen[sample.key], gone = NO_BLOB, True
                    continue
                value = self._look(sample, data)
                self._samples.put((sample.key, weights), value)
            seen[sample.key] = value
        return seen, gone

    def _look(self, sample: Sample, data: bytes) -> Array | str:
        """The embedding float32 [d] of the only face of a picture, or why there is none. Pictures one by one: they may be large."""
        try:
            pixels = decode_image(data, max_pixels=sample.limits.image_pixels, max_side=sample.limits.image_side)
        except PerceptionError as error:
            return error.message
        (faces,) = self._detector.detect([pixels])
        if len(faces) != 1:
            return f"a sample needs exactly one face; this one has {len(faces) or 'none'}"
        return np.asarray(self._embedder.embed([Sight.of(pixels, faces)])[0])

    def _forget(self, sample: Sample) -> None:
        """Who deletes a picture wants nothing of it to stay."""
        if sample.key and self._samples.forget((sample.key, self._weights)):
            self._albums.clear()

    @classmethod
    def example(cls) -> FaceRecognitionInput:
        picture = drawn_face()
        return FaceRecognitionInput(image=Image(picture), album={"somebody": [Sample(picture, "attachment://sample")]})


def _arrange(album: Album, seen: dict[str, Array | str], weights: str) -> _Read:
    rows: dict[str, list[Array]] = {}
    faults: list[tuple[str, int, str]] = []
    identity = blake2b(weights.encode(), digest_size=12)
    for name, samples in album.items():
        rows[name] = []
        identity.update(b"\0\0" + name.encode())
        for index, sample in enumerate(samples):
            if sample.fault is not None:
                continue
            value = seen[sample.key]
            if isinstance(value, str):
                faults.append((name, index, value))
            else:
                rows[name].append(value)
                identity.update(b"\0" + sample.key.encode())
    return _Read(Gallery.of(rows), tuple(faults), identity.hexdigest())


# The answer


def _answer(
    item: Item[FaceRecognitionInput], found: Faces, embeddings: Array, known: _Known, calibration: Calibration
) -> FaceRecognitionOutput:
    width, height = item.input.image.size
    scores, people = known.gallery.scores(embeddings), known.gallery.people
    boxes, chances = found.boxes, found.chances
    numbers: Sequence[int | None] = [None for _ in chances]
    if item.state is not None:
        boxes, chances, numbers, scores = _follow(item, boxes, chances, scores, known)
    most = max(1, MOST_NAMES // max(1, len(numbers)))
    faces = [
        NamedFace(roi=roi, roi_confidence=round(float(chance), 4), names=_names(row, people, most, calibration), id=number)
        for roi, chance, row, number in zip(clip_boxes(boxes, width, height).tolist(), chances, scores, numbers, strict=True)
    ]
    return FaceRecognitionOutput(input_size=(width, height), nb_faces=len(faces), faces=faces, album_errors=known.errors or None)


def _follow(
    item: Item[FaceRecognitionInput], boxes: Array, chances: Array, scores: Array, known: _Known
) -> tuple[Array, Array, Sequence[int], Array]:
    """Boxes, probabilities, identifiers and smoothed scores of the confirmed faces, the longest known first."""
    state: FaceRecognitionState = item.state
    if state.album != known.digest:
        state.album, state.scores = known.digest, {}
    people = known.gallery.people
    reported = []
    for row, track in enumerate(follow(state.tracks, boxes, chances, skipped=item.skipped).seen):
        before = state.scores.get(track.id, {})
        smoothed = smooth(scores[row], people, before, max(1 / track.seen, _GAIN))
        state.scores[track.id] = likeliest(smoothed, people, _REMEMBERED)
        if track.confirmed:
            reported.append((track, smoothed))
    alive = {track.id for track in state.tracks.tracks}
    state.scores = {number: kept for number, kept in state.scores.items() if number in alive}
    reported.sort(key=lambda pair: pair[0].id)
    tracks = [track for track, _ in reported]
    return (
        np.array([track.box for track in tracks]),
        np.array([track.score for track in tracks]),
        [track.id for track in tracks],
        np.array([smoothed for _, smoothed in reported]),
    )


def _names(scores: Array, people: Sequence[str], most: int, calibration: Calibration) -> list[Name]:
    """The likeliest people first; in the order of the album where there is no difference."""
    order = np.argsort(-scores, kind="stable")[:most]
    chances = np.round(calibration.confidence(scores[order]), 4).tolist()
    return [{"key": people[position], "confidence": chance} for position, chance in zip(order.tolist(), chances, strict=True)]
