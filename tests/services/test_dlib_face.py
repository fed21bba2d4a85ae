"""dlib's face network in ONNX against the package that it was taken from, and the crops that it is given."""

from __future__ import annotations

import numpy as np

from tests.services.albums import changed, nobody, somebody_else
from tests.services.helpers import astronaut, network
from workers.lib.faces import Sight, align_five_points
from workers.models import dlib_face

#: The five points of the astronaut, rounded.
POINTS = np.array([[(203, 104), (248, 104), (224, 128), (204, 143), (243, 144)]], np.float32)
#: What @vladmandic/face-api 1.7.15 (tfjs 4.22.0 on the processor, Node.js 20) gives for her crop and for its mirror image:
#: the first of 128 numbers, and the length of all.
CROP = (-0.07374, 0.02632, 0.00495, -0.06780, -0.15969, -0.03102, -0.02642, -0.15129)
MIRRORED = (-0.06961, 0.03250, 0.04711, -0.04240, -0.18584, -0.00664, -0.03468, -0.12112)
LENGTHS = (1.45598, 1.45369)
#: The same of bytes that no version of a picture library changes: ``k · 7919 mod 251`` for the k-th of 150 · 150 · 3.
PATTERN = (-0.07332, 0.05883, 0.09215, 0.00961, -0.15342, -0.06204, -0.05284, -0.07325)
PATTERN_LENGTH = 1.29765


def raw(crops: np.ndarray) -> np.ndarray:
    """float32 [n, 128] of RGB crops [n, 150, 150, 3]."""
    feeds = {"input": np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)}
    return network(dlib_face.MODEL).run(feeds)["embedding"]


def test_the_network_gives_the_numbers_of_the_package() -> None:
    pattern = (np.arange(150 * 150 * 3) * 7919 % 251).astype(np.uint8).reshape(1, 150, 150, 3)
    (found,) = raw(pattern)
    np.testing.assert_allclose(found[:8], PATTERN, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found), PATTERN_LENGTH, rtol=1e-4)


def test_a_face_gives_the_numbers_of_the_package() -> None:
    """The tolerance is for pictures that another version of OpenCV turns a little differently."""
    crop = align_five_points(astronaut(), POINTS, dlib_face.TEMPLATE, dlib_face.SIDE)[..., ::-1]
    found = raw(np.concatenate([crop, crop[:, :, ::-1]]))
    np.testing.assert_allclose(found[:, :8], [CROP, MIRRORED], rtol=1e-2, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), LENGTHS, rtol=2e-3)
    both = found.sum(axis=0)
    (embedding,) = dlib_face.embed(network(dlib_face.MODEL), [Sight(astronaut(), np.zeros((1, 4)), POINTS)])
    np.testing.assert_allclose(embedding, both / np.linalg.norm(both), atol=1e-5)


def test_the_template_is_that_of_dlib() -> None:
    """The points of dlib's mean shape that make up the five: six of each eye, the tip of the nose, the corners of the mouth."""
    x = [0.121737, 0.187122, 0.265825, 0.334606, 0.260918, 0.182743], [0.645647, 0.714428, 0.793132, 0.858516, 0.79751, 0.719335]
    y = [0.216423, 0.178758, 0.179852, 0.231733, 0.245099, 0.244077], [0.231733, 0.179852, 0.178758, 0.216423, 0.244077, 0.245099]
    eyes = [(np.mean(x[eye]), np.mean(y[eye])) for eye in (0, 1)]
    shape = np.array([*eyes, (0.490127, 0.515625), (0.254149, 0.780233), (0.726104, 0.780233)])
    np.testing.assert_allclose(dlib_face.TEMPLATE, (shape + 0.25) / 1.5 * dlib_face.SIDE, atol=1e-3)


def test_faces_of_several_pictures_are_embedded_in_one_run() -> None:
    embedder = network(dlib_face.MODEL)
    images = [changed(), changed(15, 1.3), changed(mirrored=True), somebody_else()]
    points = np.array([[(290, 220), (350, 220), (318, 265), (295, 303), (345, 303)]], np.float32)
    sights = [Sight(image, np.zeros((1, 4)), POINTS if index < 3 else points) for index, image in enumerate(images)]
    nothing = Sight(nobody(), np.empty((0, 4)), np.empty((0, 5, 2)))
    together = dlib_face.embed(embedder, [*sights, nothing])
    assert together.shape == (4, 128)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together, np.concatenate([dlib_face.embed(embedder, [sight]) for sight in sights]), atol=1e-4)
    assert dlib_face.embed(embedder, [nothing]).shape == (0, 128)
