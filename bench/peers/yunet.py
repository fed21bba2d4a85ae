"""Faces of a JPEG with YuNet, written for the peers so that all of them do the same work as the service they are compared with.

Decode, shrink or enlarge so that the longer side is 640, pad to multiples of 32, run the network, decode the boxes and drop
overlapping ones. One thread a session. The network and its decoding: https://github.com/ShiqiYu/libfacedetection.train (Apache-2.0).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnxruntime

SIDE = 640
"""Longer side of the image that the network sees, pixels."""
SCORE = 0.6
"""Least score of a face, 0..1."""
OVERLAP = 0.3
"""Greatest intersection over union of two faces."""
STRIDES = (8, 16, 32)
OUTPUTS = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps")]


@dataclass(frozen=True)
class Face:
    """A face in whole pixels of the original image, with the score of the network, 0..1, and five points (x, y)."""

    box: list[int]
    score: float
    points: list[list[int]]


class Detector:
    """YuNet in one ONNX Runtime session with one thread."""

    def __init__(self, path: str) -> None:
        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._tensor = np.zeros((1, 3, 32, 32), np.float32)
        self._split = [np.zeros((32, 32), np.uint8) for _ in range(3)]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def faces(self, jpeg: bytes) -> list[Face]:
        """Faces of an encoded image, best first. Raises ValueError if the bytes are no image."""
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError("not an image")
        scale = SIDE / max(image.shape[:2])
        if scale != 1.0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        outputs = dict(zip(OUTPUTS, self._session.run(OUTPUTS, {"input": self._planes(image)}), strict=True))
        boxes, scores, points = _decode(outputs, self._tensor.shape[3])
        return _pick(boxes / scale, scores, points / scale)

    def _planes(self, image: np.ndarray) -> np.ndarray:
        """The network's input, float32 [1, 3, height, width], BGR, 0..255, padded with 0 to multiples of 32.

        The array is kept from image to image: a fresh one of 3.7 MB costs more in page faults than the copy itself.
        """
        height, width = image.shape[:2]
        shape = (1, 3, height + -height % 32, width + -width % 32)
        if self._tensor.shape != shape or self._split[0].shape != (height, width):
            self._tensor = np.zeros(shape, np.float32)
            self._split = [np.empty((height, width), np.uint8) for _ in range(3)]
        cv2.split(image, self._split)
        for plane, channel in zip(self._tensor[0], self._split, strict=True):
            plane[:height, :width] = channel
        return self._tensor

    def answer(self, jpeg: bytes) -> dict[str, Any]:
        """What a caller gets: number of faces, and for each its box, confidence and points."""
        faces = self.faces(jpeg)
        return {
            "nb_faces": len(faces),
            "faces": [{"roi": face.box, "roi_confidence": face.score, "points": face.points} for face in faces],
        }


def _decode(outputs: dict[str, np.ndarray], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [n, 4] (x, y, width, height), scores [n] and points [n, 5, 2] of the cells above the least score, pixels of the input."""
    boxes, scores, points = [], [], []
    for stride in STRIDES:
        score = np.sqrt(np.clip(outputs[f"cls_{stride}"][0, :, 0], 0, 1) * np.clip(outputs[f"obj_{stride}"][0, :, 0], 0, 1))
        index = np.flatnonzero(score >= SCORE)
        row, column = np.divmod(index, width // stride)
        cell = np.stack([column, row], axis=1).astype(np.float32)
        raw = outputs[f"bbox_{stride}"][0, index]
        centre, size = (cell + raw[:, :2]) * stride, np.exp(raw[:, 2:]) * stride
        boxes.append(np.concatenate([centre - size / 2, size], axis=1))
        scores.append(score[index])
        points.append((outputs[f"kps_{stride}"][0, index].reshape(-1, 5, 2) + cell[:, None]) * stride)
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(points)


def _pick(boxes: np.ndarray, scores: np.ndarray, points: np.ndarray) -> list[Face]:
    """Drop boxes that overlap a better one."""
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), SCORE, OVERLAP)
    return [Face(boxes[i].round().astype(int).tolist(), float(scores[i]), points[i].round().astype(int).tolist()) for i in kept]
