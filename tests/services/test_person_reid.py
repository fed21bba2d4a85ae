"""The re-identification network's pre- and post-processing against a computation from its description alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.services.helpers import astronaut, network
from workers.models import person_reid

#: x, y, width, height: one inside the picture, one beyond its edges, where the picture is cut.
BOXES = {"inside": (40, 20, 300, 480), "cut": (-50.5, 300.2, 250.9, 400.0)}


def straightforward(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The embedding [256]: what is in the box, each pixel of 128 x 256 taken between the four nearest, BGR as it is."""
    left, top = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    right, bottom = min(image.shape[1], int(np.ceil(box[0] + box[2]))), min(image.shape[0], int(np.ceil(box[1] + box[3])))
    part = image[top:bottom, left:right].astype(np.float64)
    x = np.clip((np.arange(128) + 0.5) * part.shape[1] / 128 - 0.5, 0, part.shape[1] - 1)
    y = np.clip((np.arange(256) + 0.5) * part.shape[0] / 256 - 0.5, 0, part.shape[0] - 1)
    x0, y0 = np.minimum(x.astype(int), part.shape[1] - 2), np.minimum(y.astype(int), part.shape[0] - 2)
    across = part[:, x0] * (1 - (x - x0))[None, :, None] + part[:, x0 + 1] * (x - x0)[None, :, None]
    pixels = across[y0] * (1 - (y - y0))[:, None, None] + across[y0 + 1] * (y - y0)[:, None, None]
    raw = network(person_reid.MODEL).run({"data": np.moveaxis(pixels, -1, 0)[None].astype(np.float32)})["reid_embedding"].ravel()
    return np.asarray(raw / np.sqrt(np.sum(raw.astype(np.float64) ** 2)))


@pytest.mark.parametrize("name", BOXES)
def test_the_same_values_as_a_straightforward_computation(name: str) -> None:
    box = BOXES[name]
    (found,) = person_reid.embed(network(person_reid.MODEL), [person_reid.crop(astronaut(), np.array(box))])
    assert found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert np.allclose(found, straightforward(astronaut(), box), atol=3e-3)


def test_several_people_are_as_each_alone_and_nobody_is_no_run() -> None:
    crops = [person_reid.crop(astronaut(), np.array(box)) for box in BOXES.values()]
    together = person_reid.embed(network(person_reid.MODEL), crops)
    assert np.allclose(together, np.concatenate([person_reid.embed(network(person_reid.MODEL), [crop]) for crop in crops]), atol=1e-5)
    assert float(together[0] @ together[1]) < 0.8
    assert person_reid.embed(network(person_reid.MODEL), []).shape == (0, 256)
