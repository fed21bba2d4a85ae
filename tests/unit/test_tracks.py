from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import BaseModel, Field

from workers.lib.tracks import Followed, TrackRules, Tracks, follow

BOX = [100.0, 80.0, 50.0, 60.0]


class State(BaseModel):
    tracks: Tracks = Field(default_factory=Tracks)


class Follower:
    """Follows over a state that is written down and read again for each frame."""

    def __init__(self, rules: TrackRules | None = None) -> None:
        self.stored = State().model_dump_json()
        self.rules = rules or TrackRules()

    def __call__(self, *boxes: list[float], skipped: int = 0) -> Followed:
        state = State.model_validate_json(self.stored)
        result = follow(state.tracks, np.array(boxes).reshape(-1, 4), np.full(len(boxes), 0.9), skipped=skipped, rules=self.rules)
        self.stored = state.model_dump_json()
        return result

    def confirmed(self, *boxes: list[float], skipped: int = 0) -> list[int]:
        return [track.id for track in self(*boxes, skipped=skipped).seen if track.confirmed]


def shifted(box: list[float], x: float, y: float = 0) -> list[float]:
    return [box[0] + x, box[1] + y, *box[2:]]


def test_confirmed_in_the_fourth_consecutive_frame() -> None:
    follower = Follower()
    assert [len(follower.confirmed(BOX)) for _ in range(5)] == [0, 0, 0, 1, 1]


def test_a_gap_before_that_begins_again() -> None:
    follower = Follower()
    frames = [[BOX]] * 3 + [[]] + [[BOX]] * 4
    assert [len(follower.confirmed(*boxes)) for boxes in frames] == [0, 0, 0, 0, 0, 0, 0, 1]


def test_ids_in_the_order_of_the_boxes() -> None:
    follower = Follower()
    left, right = BOX, shifted(BOX, 300)
    assert [track.id for track in follower(left, right).seen] == [1, 2]
    assert [track.id for track in follower(right, left).seen] == [2, 1]
    assert [track.id for track in follower(right).seen] == [2]
    assert [track.id for track in follower(left, right).seen] == [3, 2], "an id is never given again"


def test_a_confirmed_track_outlives_missing_frames() -> None:
    rules = TrackRules(patience=3)
    follower = Follower(rules)
    for _ in range(4):
        follower(BOX)
    assert [follower().ended for _ in range(3)] == [[], [], []]
    assert follower.confirmed(BOX) == [1]
    assert [len(follower().ended) for _ in range(5)] == [0, 0, 0, 1, 0]
    assert follower(BOX).seen[0].id == 2


def test_skipped_frames_neither_count_nor_break_a_run() -> None:
    follower = Follower()
    assert [follower.confirmed(BOX, skipped=skipped) for skipped in (0, 3, 0, 2)] == [[], [], [], [1]]


def test_too_many_skipped_frames_end_a_track() -> None:
    follower = Follower(TrackRules(patience=3))
    for _ in range(4):
        follower(BOX)
    result = follower(BOX, skipped=4)
    assert [track.id for track in result.ended] == [1]
    assert [track.id for track in result.seen] == [2]


@pytest.mark.parametrize("speed", [1.0, 8.0, 30.0])
def test_a_moving_box_is_followed_without_lag(speed: float) -> None:
    follower = Follower()
    for step in range(20):
        (track,) = follower(shifted(BOX, speed * step)).seen
        assert track.id == 1
    assert track.box[0] == pytest.approx(BOX[0] + speed * 19, abs=2)
    assert track.velocity[0] == pytest.approx(speed, rel=0.15)


def test_motion_goes_on_while_out_of_sight() -> None:
    follower = Follower()
    for step in range(8):
        follower(shifted(BOX, 25 * step))
    follower()
    follower()
    assert follower.confirmed(shifted(BOX, 25 * 10)) == [1]


def test_jitter_is_smoothed() -> None:
    random = np.random.default_rng(0)
    follower = Follower()
    raw, smooth = [], []
    for _ in range(60):
        box = np.array(BOX) + random.normal(0, 1, 4)
        raw.append(box)
        smooth.append(follower(list(box)).seen[0].box)
    assert np.std(smooth[10:], axis=0).mean() < 0.75 * np.std(raw[10:], axis=0).mean()
    assert np.mean(smooth[10:], axis=0) == pytest.approx(BOX, abs=0.6)


def test_two_that_pass_each_other_keep_their_ids() -> None:
    follower = Follower()
    for step in range(30):
        one, other = shifted([0, 0, 40, 40], 8 * step), shifted([230, 25, 40, 40], -8 * step)
        seen = follower(one, other).seen
    assert [track.id for track in seen] == [1, 2]


def test_what_is_far_or_of_another_size_is_another() -> None:
    follower = Follower()
    follower(BOX)
    assert follower(shifted(BOX, 120)).seen[0].id == 2
    assert follower([225.0, 85.0, 10.0, 12.0]).seen[0].id == 3


def test_the_nearest_pairs_win_together() -> None:
    """Each box for itself would take the same track; the sum of the distances decides."""
    follower = Follower()
    follower([0, 0, 40, 40], [30, 0, 40, 40])
    assert [track.id for track in follower([16, 0, 40, 40], [46, 0, 40, 40]).seen] == [1, 2]


def test_the_state_is_small() -> None:
    follower = Follower()
    for step in range(10):
        follower(*(shifted(BOX, 200 * face + step / 3) for face in range(10)))
    assert len(json.loads(follower.stored)["tracks"]["tracks"]) == 10
    assert len(follower.stored) < 1500


def test_boxes_without_a_size_do_no_harm() -> None:
    follower = Follower()
    for _ in range(3):
        (track,) = follower([10, 10, 0, 0]).seen
    assert track.id == 1
    assert np.isfinite(track.box).all()
