"""The embedding network's pre- and post-processing against a computation from its description alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.services.albums import changed, nobody, somebody_else
from tests.services.helpers import network
from workers.lib.faces import Sight
from workers.models import face_embedding, yunet


def straightforward(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The embedding [256] of one face, from the network's description alone."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(points.tolist(), face_embedding.TEMPLATE.tolist(), strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        wanted += [u, v]
    a, b, right, down = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    crop = cv2.warpAffine(
        image, np.array([[a, -b, right], [b, a, down]]), (128, 128), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    total = np.zeros(256)
    for seen in (crop, cv2.flip(crop, 1)):
        data = cv2.dnn.blobFromImage(seen)  # BGR, no mean, no scale
        total += network(face_embedding.MODEL).run({"data": data})["embedding"][0]
    return np.asarray(total / np.linalg.norm(total))


@pytest.mark.parametrize("angle", [0, 20])
def test_embeddings_are_those_of_a_straightforward_computation(angle: float) -> None:
    image = changed(angle)
    (faces,) = yunet.detect(network(yunet.MODEL), [image])
    found = face_embedding.embed(network(face_embedding.MODEL), [Sight(image, faces.boxes, faces.points)])
    assert found.shape == (1, 256)
    assert np.allclose(found[0], straightforward(image, faces.points[0]), atol=2e-3)


def test_faces_of_several_pictures_are_embedded_in_one_run() -> None:
    embedder = network(face_embedding.MODEL)
    images = [changed(), changed(15, 1.3), changed(mirrored=True), somebody_else()]
    sights = [Sight(image, found.boxes, found.points) for image in images for found in yunet.detect(network(yunet.MODEL), [image])]
    nothing = Sight(nobody(), np.empty((0, 4)), np.empty((0, 5, 2)))
    together = face_embedding.embed(embedder, [*sights, nothing])
    assert together.shape == (4, 256)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together, np.concatenate([face_embedding.embed(embedder, [sight]) for sight in sights]), atol=1e-4)
    assert face_embedding.embed(embedder, [nothing]).shape == (0, 256)
