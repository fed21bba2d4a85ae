"""What the tests of face recognition share: pictures, albums, and blobs and networks that count what is asked of them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from tests.services.helpers import all_models, astronaut, jpeg, network
from workers.contract import NO_BLOB, Files, Input, MediaLimits, Sample
from workers.services.face_recognition import FaceRecognition


def changed(angle: float = 0, scale: float = 1.0, light: float = 1.0, mirrored: bool = False) -> np.ndarray:
    """The astronaut, turned by degrees around her face, scaled, lit otherwise."""
    matrix = cv2.getRotationMatrix2D((224, 125), angle, scale)
    turned = cv2.warpAffine(astronaut(), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    lit = np.clip(turned * light, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(lit[:, ::-1]) if mirrored else lit


def somebody_else() -> np.ndarray:
    """uint8 [480, 640, 3]: the drawn face of the example."""
    return FaceRecognition.example().image.pixels


def nobody() -> np.ndarray:
    return np.full((200, 300, 3), 120, np.uint8)


def job(picture: np.ndarray | bytes, album: Any = None, **files: np.ndarray | bytes) -> Input:
    """An input whose album's samples are attachments: ``attachment://NAME`` for each of ``files``."""
    data = {
        f"attachment://{name}": value if isinstance(value, bytes) else jpeg(value) for name, value in {"picture": picture, **files}.items()
    }
    source = Files(data)
    parameters = {"image": "attachment://picture"} | ({} if album is None else {"album": album})
    return FaceRecognition.input_type.model_validate(parameters, context=source.context())


def two_people(picture: np.ndarray) -> Input:
    album = {"drawn": ["attachment://drawn"], "eileen": ["attachment://one", "attachment://two"]}
    return job(picture, album, drawn=somebody_else(), one=changed(8, 1.2, 0.8), two=changed(-6, 0.9, mirrored=True))


class Counting:
    """A network that counts its runs."""

    def __init__(self, name: str) -> None:
        self.name, self.sha256, self.device = name, network(name).sha256, network(name).device
        self.items = 0

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.items += len(next(iter(feeds.values())))
        return network(self.name).run(feeds)


class CountingModels:
    def __init__(self) -> None:
        self.opened: dict[str, Counting] = {}

    def open(self, name: str) -> Counting:
        return self.opened.setdefault(name, Counting(name))

    def choose(self, name: str) -> Counting:
        return self.open(all_models().choose(name).name)

    def optional(self, name: str) -> Counting | None:
        return None if all_models().optional(name) is None else self.open(name)


class Blobs:
    """Blobs in a model thread: a `SampleSource` over a dictionary, which counts what is read."""

    def __init__(self, **data: bytes) -> None:
        self.data, self.read = data, 0

    def sample(self, reference: str, limits: MediaLimits) -> Sample:
        key = f"tenant/{reference}"
        if reference not in self.data:
            return Sample.faulty(reference, NO_BLOB, key)
        return Sample.of_blob(reference, limits, key, self._fetch)

    def _fetch(self, key: str) -> bytes | None:
        self.read += 1
        return self.data[key.removeprefix("tenant/")]

    def job(self, *album: str) -> Input:
        files = Files({"attachment://picture": jpeg(astronaut())}, samples=self)
        return FaceRecognition.input_type.model_validate(
            {"image": "attachment://picture", "album": {name: [name] for name in album}}, context=files.context()
        )


def confidences(result: dict[str, Any]) -> dict[str, float]:
    return {name["key"]: name["confidence"] for name in result["faces"][0]["names"]}
