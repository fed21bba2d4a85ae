"""Pictures on canvases."""

from __future__ import annotations

import threading

import numpy as np

from workers.lib.canvas import Canvases, put, scaled


def test_a_picture_lands_where_it_is_put_and_nowhere_else() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    canvas = np.full((3, 12, 16), -1, np.float32)
    put(picture, canvas, x=4, y=3)
    assert np.array_equal(canvas[:, 3:8, 4:11], picture.transpose(2, 0, 1))
    assert (canvas == -1).sum() == canvas.size - picture.size


def test_a_part_of_a_picture_can_be_put() -> None:
    """Its rows do not lie one behind the other."""
    picture = np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)[3:13, 5:25]
    canvas = np.zeros((3, 10, 20), np.float32)
    put(picture, canvas)
    assert np.array_equal(canvas, picture.transpose(2, 0, 1))


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    picture = np.zeros((5, 7, 3), np.uint8)
    assert scaled(picture, (7, 5)) is picture


def test_small_patterns_become_their_mean_when_they_shrink() -> None:
    checks = np.indices((40, 60)).sum(axis=0) % 2 * 200
    smaller = scaled(np.dstack([checks] * 3).astype(np.uint8), (30, 20))
    assert smaller.shape == (20, 30, 3)
    assert np.all(smaller == 100)


def test_each_thread_has_its_own_and_keeps_it() -> None:
    canvases = Canvases()
    first = canvases.of((1, 3, 4, 4))
    assert first.dtype == np.float32
    assert canvases.of((1, 3, 4, 4)) is first
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(canvases.of((1, 3, 4, 4))))
    thread.start()
    thread.join()
    assert others[0] is not first
    assert canvases.of((1, 3, 8, 4)).shape == (1, 3, 8, 4)


def test_pictures_do_not_show_through_each_other() -> None:
    """The bytes between are kept from picture to picture, whatever their sizes."""
    for seed, (height, width) in enumerate([(6, 9), (6, 9), (3, 4), (9, 6), (6, 9)]):
        picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        canvas = np.zeros((3, height, width), np.float32)
        put(picture, canvas)
        assert np.array_equal(canvas, picture.transpose(2, 0, 1))
