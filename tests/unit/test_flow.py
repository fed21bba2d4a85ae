from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest

from workers.lib.flow import Mover, Target, camera, key_points, motion, remember, targets, view

HEIGHT, WIDTH = 240, 320
SEED = 3


@cache
def scene() -> np.ndarray:
    """uint8 [440, 520, 3]: edges, corners and soft shades, with margins of 100 pixels for a camera that moves."""
    noise = np.random.default_rng(SEED)
    picture = cv2.GaussianBlur(noise.integers(0, 256, (HEIGHT + 200, WIDTH + 200, 3)).astype(np.float32), (0, 0), 6)
    picture = 110 + 5 * (picture - picture.mean())
    for _ in range(120):
        x, y = noise.integers(0, [WIDTH + 200, HEIGHT + 200])
        cv2.rectangle(
            picture,
            (int(x), int(y)),
            (int(x + noise.integers(8, 40)), int(y + noise.integers(8, 40))),
            noise.integers(30, 220, 3).tolist(),
            -1,
        )
    return np.clip(picture, 0, 255).astype(np.uint8)


@cache
def sprite(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return cv2.resize(noise, (42, 42), interpolation=cv2.INTER_NEAREST)


def frame(
    *sprites: tuple[int, int],
    x: float = 0,
    y: float = 0,
    turn: float = 0,
    zoom: float = 1,
    gain: float = 1,
    offset: float = 0,
    seed: int = 0,
) -> np.ndarray:
    """uint8 [240, 320, 3] as a camera sees it that stands at (x, y), with sprites at their centres and the noise of a sensor."""
    world = scene().copy()
    for number, (sprite_x, sprite_y) in enumerate(sprites):
        world[100 + sprite_y - 21 : 100 + sprite_y + 21, 100 + sprite_x - 21 : 100 + sprite_x + 21] = sprite(number)
    matrix = cv2.getRotationMatrix2D((100 + WIDTH / 2, 100 + HEIGHT / 2), turn, zoom) - np.array([[0, 0, 100 + x], [0, 0, 100 + y]])
    seen = cv2.warpAffine(world, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR).astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 2, seen.shape)
    return np.clip(gain * seen + offset + noise, 0, 255).astype(np.uint8)


def seen(before: np.ndarray, after: np.ndarray) -> list[Target]:
    return targets(motion(view(before, 320), view(after, 320)))


def test_nothing_moves() -> None:
    assert seen(frame(seed=1), frame(seed=2)) == []
    assert len(key_points(view(frame(), 320))) > 200


@pytest.mark.parametrize("step", [(4, 0), (0, -6), (9, 5), (-14, 0)])
def test_one_target_with_its_place_and_velocity(step: tuple[int, int]) -> None:
    (target,) = seen(frame((160, 120), seed=1), frame((160 + step[0], 120 + step[1]), seed=2))
    assert np.allclose(target.position, (160 + step[0], 120 + step[1]), atol=6)
    assert target.velocity is not None
    assert np.allclose(target.velocity, step, atol=0.7)


def test_two_targets_in_opposite_directions() -> None:
    found = seen(frame((90, 80), (230, 160), seed=1), frame((95, 80), (224, 160), seed=2))
    assert len(found) == 2
    left, right = sorted(found, key=lambda target: target.position)
    assert np.allclose(left.position, (95, 80), atol=6)
    assert np.allclose(right.position, (224, 160), atol=6)
    assert np.allclose([left.velocity, right.velocity], [(5, 0), (-6, 0)], atol=0.7)


def test_two_neighbours_in_opposite_directions_are_two() -> None:
    found = seen(frame((150, 95), (170, 145), seed=1), frame((156, 95), (164, 145), seed=2))
    speeds = sorted(target.velocity[0] for target in found if target.velocity)
    assert np.allclose(speeds, [-6, 6], atol=0.7)


@pytest.mark.parametrize(
    "shake",
    [{"x": 3.0}, {"x": -2.4, "y": 5.3}, {"turn": 1.5}, {"zoom": 1.02}, {"x": 4, "y": -3, "turn": -0.7, "zoom": 0.99}, {"x": 15, "y": 6}],
)
def test_a_camera_that_moves_is_not_motion(shake: dict[str, float]) -> None:
    assert seen(frame(seed=1), frame(seed=2, **shake)) == []  # type: ignore[arg-type]


def test_a_target_before_a_camera_that_moves() -> None:
    (target,) = seen(frame((160, 120), seed=1), frame((166, 120), x=4, y=-3, seed=2))
    assert np.allclose(target.position, (162, 123), atol=6)
    assert target.velocity is not None
    assert np.allclose(target.velocity, (6, 0), atol=0.7), "less the camera's motion"


@pytest.mark.parametrize("light", [{"gain": 0.6}, {"gain": 1.3}, {"offset": 30}, {"offset": -25}, {"gain": 0.8, "offset": 20}])
def test_light_that_changes_is_not_motion(light: dict[str, float]) -> None:
    assert seen(frame(seed=1), frame(seed=2, **light)) == []  # type: ignore[arg-type]


def test_a_soft_shadow_is_not_motion() -> None:
    shade = np.linspace(1, 0.55, WIDTH, dtype=np.float32)[None, :, None]
    assert seen(frame(seed=1), (frame(seed=2) * shade).astype(np.uint8)) == []


@pytest.mark.parametrize(("depth", "border"), [(0.15, 10), (0.3, 20), (0.3, 30)])
def test_the_soft_border_of_a_shadow_on_a_smooth_wall_is_not_motion(depth: float, border: float) -> None:
    """The grain of the wall is so faint that the border, ``border`` pixels wide, is the largest contrast there."""
    noise = np.random.default_rng(SEED)
    wall = 150 + 12 * cv2.GaussianBlur(noise.normal(0, 1, (HEIGHT, WIDTH)), (0, 0), 1.5)
    shaded = wall * (1 - depth * np.clip((np.arange(WIDTH) - WIDTH / 2) / border + 0.5, 0, 1))
    before, after = (
        np.clip(light[..., None] + noise.normal(0, 0.5, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8) for light in (wall, shaded)
    )
    assert len(key_points(view(after, 320))) > 200
    assert seen(before, after) == []


@pytest.mark.parametrize("seed", range(3))
def test_the_view_of_what_is_overexposed_is_flat(seed: int) -> None:
    """Running sums leave the contrast there a hair below zero now and then, whose root would be no number."""
    noise = np.random.default_rng(seed)
    picture = np.full((180, 320, 3), 255, np.uint8)
    for _ in range(8):
        (x, y), (width, height) = noise.integers(0, [300, 60]), noise.integers(3, 60, 2)
        picture[y : y + height, x : x + width] = noise.integers(0, 256, 3)
    with np.errstate(invalid="raise"):
        assert np.all(view(picture, 320)[150:] == 128)


def test_shake_and_light_at_once_with_a_target() -> None:
    (target,) = seen(frame((160, 120), seed=1), frame((160, 128), x=3, turn=0.6, gain=0.8, offset=10, seed=2))
    assert target.velocity is not None
    assert np.allclose(target.velocity, (0, 8), atol=0.8)


def test_somebody_close_is_not_the_camera() -> None:
    """Two thirds of the picture move, the rest is still."""
    after = frame(seed=2)
    after[:, : WIDTH * 2 // 3] = frame(x=-5, seed=3)[:, : WIDTH * 2 // 3]
    found = seen(frame(seed=1), after)
    assert found
    assert found[0].velocity is not None
    assert np.allclose(found[0].velocity, (5, 0), atol=0.7)


def test_what_appears_is_a_target_without_a_velocity() -> None:
    (target,) = seen(frame(seed=1), frame((160, 120), seed=2))
    assert target.velocity is None
    assert np.allclose(target.position, (160, 120), atol=8)


def test_a_cut_is_no_target() -> None:
    other = np.ascontiguousarray(scene()[::-1, ::-1][100:-100, 100:-100])
    assert seen(frame(seed=1), other) == []


def test_pictures_without_texture() -> None:
    flat = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    assert len(key_points(view(flat, 320))) == 0
    assert seen(flat, flat) == []
    assert seen(flat, np.full_like(flat, 90)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (5, 3), (2000, 30)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, *shape, 3)).astype(np.uint8)
    before, after = view(noise[0], 320), view(noise[1], 320)
    assert max(before.shape) <= 320
    targets(motion(before, after))


def test_the_view_does_not_depend_on_gain_and_offset() -> None:
    clean = cv2.GaussianBlur(frame(), (0, 0), 2)
    reference, other = view(clean, 320).astype(int), view(cv2.convertScaleAbs(clean, alpha=0.7, beta=20), 320).astype(int)
    assert np.abs(reference - other).mean() < 4
    assert reference.std() > 20


def test_camera_finds_the_map_among_outliers() -> None:
    noise = np.random.default_rng(SEED)
    starts = noise.uniform(0, 300, (100, 2))
    true = np.array([[1.01, -0.02, 3.0], [0.02, 1.01, -4.0]])
    ends = starts @ true[:, :2].T + true[:, 2]
    ends[:30] += noise.uniform(5, 20, (30, 2))
    assert np.allclose(camera(starts, ends, (300, 300)), true, atol=0.01)


def test_camera_rests_where_a_quarter_rests() -> None:
    starts = np.random.default_rng(SEED).uniform(0, 300, (100, 2))
    ends = starts.copy()
    ends[:70] += (8, 0)
    assert np.array_equal(camera(starts, ends, (300, 300)), np.eye(2, 3))
    assert np.array_equal(camera(starts[:3], ends[:3], (300, 300)), np.eye(2, 3))


def test_movers_learn_the_velocity_from_the_way() -> None:
    movers = remember([], [Target((100.0, 50.0), None, 12)])
    assert movers == [Mover((100.0, 50.0), (0.0, 0.0), 12)]
    for step in range(1, 8):
        movers = remember(movers, [Target((100.0 + 10 * step, 50.0), None, 12)])
    assert np.allclose(movers[0].velocity, (10, 0), atol=0.2)
    assert movers[0].seen == 8


def test_movers_are_forgotten() -> None:
    movers = [Mover((100.0, 50.0), (5.0, 0.0), 12)]
    ages = []
    while movers:
        movers = remember(movers, [])
        ages += [(mover.missed, mover.position[0]) for mover in movers]
    assert ages == [(1, 105.0), (2, 110.0), (3, 115.0), (4, 120.0)]
    assert remember([Mover((100.0, 50.0), (5.0, 0.0), 12)], [], frames=9) == []


def test_velocities_are_a_frame_over_skipped_frames() -> None:
    (mover,) = remember([], [Target((100.0, 50.0), (12.0, -6.0), 9)], frames=3)
    assert mover.velocity == (4.0, -2.0)


def test_what_slows_down_is_seen_longer_where_it_moved() -> None:
    before, after = view(frame((160, 120), seed=1), 320), view(frame((160, 120), seed=2), 320)
    changed = after.astype(int)
    changed[100:141, 140:181] += np.random.default_rng(1).integers(-30, 31, (41, 41))
    after = np.clip(cv2.GaussianBlur(changed.astype(np.float32), (0, 0), 0.7), 0, 255).astype(np.uint8)
    near = np.array([[160.0, 120.0]])
    assert len(motion(before, after, near).points) > len(motion(before, after).points)
    assert len(motion(before, after, near + 200).points) == len(motion(before, after).points)
