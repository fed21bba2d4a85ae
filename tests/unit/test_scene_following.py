"""Who is who: exact boxes on known paths, with looks that tell people apart and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from workers.lib.appearance import codes, similarity
from workers.lib.faces import Faces
from workers.lib.people import Boxes, People, tie
from workers.scene.following import Following, follow, give_up, look_by, wanted_looks
from workers.scene.sightings import Sighting, sight

SALT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
_VECTORS = np.random.default_rng(1).standard_normal((3, 256))
NETWORK = "ab" * 32
LOOKS = codes(_VECTORS, SALT)
BOTH = codes(_VECTORS[:1] + _VECTORS[1:2], SALT)[0]


def person(x: float, y: float = 100.0, size: float = 100.0) -> Sighting:
    head = np.array([x - size / 8, y, size / 4, size / 4])
    return Sighting(np.array([x - size / 2, y, size, size]), np.array([x - size / 2, y, size, 2.5 * size]), head, 0.95, None)


def run(frames: list[list[tuple[int, float]]], *, looks: bool = True, dt: float = 0.1, size: float = 100.0) -> list[list[int]]:
    """Track ids of each frame's people, given as (who, x). ``looks``: whether what they look like is known."""
    following, ids = Following(looks_by=NETWORK if looks else ""), []
    for number, frame in enumerate(frames):
        sightings = [person(x, size=size) for _, x in frame]
        give_up(following, number * dt)
        wanted = wanted_looks(following, sightings, number * dt)
        seen = follow(
            following, sightings, {index: LOOKS[frame[index][0]] for index in wanted} if looks else {}, number * dt, dt if number else 0.0
        )
        ids.append([track.id for track in seen])
    return ids


def test_codes_tell_looks_apart_and_sessions_cannot_be_compared() -> None:
    chance = np.random.default_rng(0)
    one, other = chance.standard_normal((2, 256))
    near = one + 0.3 * chance.standard_normal(256)
    first, second, third = codes(np.stack([one, near, other]), SALT)
    assert similarity(first, second) == pytest.approx(np.dot(one, near) / np.linalg.norm(one) / np.linalg.norm(near), abs=0.12)
    assert abs(similarity(first, third)) < 0.25
    assert codes(one[None], SALT) == codes(5 * one[None], SALT) == [first]
    assert abs(similarity(first, codes(one[None], "another session")[0])) < 0.25
    assert codes(np.empty((0, 256)), SALT) == []


@pytest.mark.parametrize("dt", [0.04, 0.1, 0.2])
def test_somebody_who_walks_keeps_the_number(dt: float) -> None:
    steps = int(4 / dt)
    assert run([[(0, 50 + 130 * n * dt)] for n in range(steps)], dt=dt) == [[1]] * steps


def test_two_who_cross_keep_their_numbers() -> None:
    frames = [[(0, 100 + 12.0 * n), (1, 600 - 12.0 * n)] for n in range(42)]
    ids = run(frames)
    assert ids[0] == ids[-1] == [1, 2]


@pytest.mark.parametrize("hidden", [5, 12])
def test_somebody_hidden_by_another_comes_back(hidden: int) -> None:
    """One stands, another walks before them: only the nearer one is seen for a while."""
    frames: list[list[tuple[int, float]]] = []
    for n in range(60):
        walker = (1, 60.0 + 8 * n)
        covered = abs(walker[1] - 300) < 4 * hidden
        frames.append([walker] if covered else [(0, 300.0), walker])
    ids = run(frames)
    assert ids[-1] == ids[0] == [1, 2]


@pytest.mark.parametrize("looks", [False, True])
def test_whoever_is_gone_takes_nobodys_place(looks: bool) -> None:
    """One walks out of sight beside another who stands: as time goes on the first might be anywhere, also there."""
    frames: list[list[tuple[int, float]]] = []
    for n in range(60):
        frames.append([(0, 300.0), *([(1, 290 + 5.0 * n)] if 10 < n < 22 else [])])
    assert {ids[0] for ids in run(frames, looks=looks)} == {1}


def test_two_who_look_like_one_teach_nothing_about_either() -> None:
    following = Following(looks_by=NETWORK)
    for n in range(12):
        pair = [person(100 + 10 * n), person(420 - 10 * n)]
        wanted = wanted_looks(following, pair, n / 10)
        follow(following, pair, {index: LOOKS[index] for index in wanted}, n / 10, 0.1 if n else 0.0)
    before = [list(track.looks) for track in following.tracks]
    assert all(before)
    mixed = [person(260)]
    assert wanted_looks(following, mixed, 1.2) == [0]
    follow(following, mixed, {0: BOTH}, 1.2, 0.1)
    assert [track.looks for track in following.tracks] == before


def test_whoever_comes_out_piece_by_piece_is_known_again() -> None:
    """Behind a pillar for a second; what is seen first of somebody who comes out from there looks like nobody, then ever more alike."""
    shares = (0.0, 0.3, 0.45, 0.6, 0.75, 0.9)
    pieces = codes(np.stack([share * _VECTORS[0] + (1 - share) * _VECTORS[2] for share in shares]), SALT)
    following, ids = Following(looks_by=NETWORK), []
    for n in range(40):
        since = n - 22
        sightings = [] if 12 <= n < 22 else [person(60 + 12 * n, size=60 + 8 * since if 0 <= since < 6 else 100)]
        give_up(following, n / 10)
        look = pieces[since] if 0 <= since < len(pieces) else LOOKS[0]
        seen = follow(following, sightings, dict.fromkeys(wanted_looks(following, sightings, n / 10), look), n / 10, 0.1 if n else 0.0)
        ids.append([track.id for track in seen])
    assert ids[22] != ids[0] == ids[-1] == [1]
    assert ids[28] == [1]
    assert [track.id for track in following.tracks] == [1]


def test_without_looks_who_comes_out_where_somebody_is_expected_is_that_one() -> None:
    """Behind a pillar for a second; seen in part at first, too small to be taken for the one who went in."""
    following, ids = Following(), []
    for n in range(40):
        since = n - 22
        sightings = [] if 12 <= n < 22 else [person(60 + 12 * n, size=(8, 10, 12, 50)[since] if 0 <= since < 4 else 100)]
        give_up(following, n / 10)
        ids.append([track.id for track in follow(following, sightings, {}, n / 10, 0.1 if n else 0.0)])
    assert ids[22] != ids[0] == ids[-1] == [1]
    assert [track.id for track in following.tracks] == [1]


def test_without_looks_who_comes_elsewhere_is_somebody_new() -> None:
    frames: list[list[tuple[int, float]]] = [[] if 12 <= n < 22 else [(0, 60.0 if n < 12 else 520.0)] for n in range(40)]
    assert run(frames, looks=False)[-1] != run(frames, looks=False)[0]


def test_without_looks_who_is_cut_off_by_the_border_stays_the_same() -> None:
    """Somebody leaves a picture of 768 pixels to the right: first the head is out of it, then ever more of the body."""
    following, ids = Following(), []
    bodies = [(690, 169, 77, 236), (698, 255, 69, 141), (698, 285, 69, 112)]
    for n in range(12 + len(bodies)):
        if n < 12:
            sighting = person(330 + 30 * n, y=8, size=320)
        else:
            (sighting,) = sight(found(boxes(bodies[n - 12]), boxes()), faces(), heads_sought=False)
        give_up(following, n / 10)
        ids.append([track.id for track in follow(following, [sighting], {}, n / 10, 0.1 if n else 0.0)])
    assert ids[-1] == ids[0]


def test_a_body_without_a_head_is_in_doubt_where_heads_are_sought() -> None:
    body = found(boxes([100, 100, 80, 200]), boxes())
    (sought,), (not_sought,) = sight(body, faces()), sight(body, faces(), heads_sought=False)
    assert sought.proof == not_sought.proof / 2 > 0


def test_a_head_may_be_a_little_beside_its_body() -> None:
    body, head = np.array([[504, 13, 199, 390]]), np.array([[674, 3, 60, 99]])
    assert tie(head, body).tolist() == [-1]
    assert tie(head, body, 0.25).tolist() == [0]
    assert tie(np.array([[694, 3, 60, 99]]), body, 0.25).tolist() == [-1]


def test_looks_of_another_network_are_forgotten() -> None:
    following = Following(looks_by=NETWORK)
    follow(following, [person(100)], {0: LOOKS[0]}, 0.0, 0.0)
    look_by(following, NETWORK)
    assert following.tracks[0].looks == [LOOKS[0]]
    look_by(following, "cd" * 32)
    assert (following.tracks[0].looks, following.looks_by) == ([], "cd" * 32)


def test_somebody_else_who_comes_out_is_somebody_else() -> None:
    frames: list[list[tuple[int, float]]] = [[] if 12 <= n < 22 else [(0 if n < 12 else 1, 60 + 12.0 * n)] for n in range(40)]
    assert run(frames)[-1] != run(frames)[0]


def test_whoever_is_away_for_too_long_is_somebody_new() -> None:
    following = Following()
    (first,) = follow(following, [person(100)], {}, 0.0, 0.0)
    for n in range(1, 8):
        follow(following, [person(100)], {}, n / 10, 0.1)
    assert [track.id for track in give_up(following, 3.8)] == [first.id]
    (second,) = follow(following, [person(100)], {}, 3.8, 2.0)
    assert second.id != first.id


def test_a_glimpse_is_forgotten_soon() -> None:
    following = Following()
    follow(following, [person(100)], {}, 0.0, 0.0)
    assert len(give_up(following, 0.5)) == 1


def boxes(*rows: Sequence[float]) -> Boxes:
    return Boxes(np.array(rows, np.float32).reshape(-1, 4), np.full(len(rows), 0.9, np.float32))


def faces(*rows: list[float]) -> Faces:
    """Faces that are certainly ones."""
    scores = np.full(len(rows), 0.9, np.float32)
    return Faces(np.array(rows, np.float32).reshape(-1, 4), scores, np.zeros((len(rows), 5, 2), np.float32), np.full(len(rows), 0.98))


def found(bodies: Boxes, heads: Boxes) -> People:
    return People(bodies, heads, boxes(), tie(heads.boxes, bodies.boxes))


def test_a_face_belongs_to_the_head_around_it() -> None:
    both = found(boxes([100, 100, 80, 200], [300, 100, 80, 200]), boxes([125, 100, 30, 40], [325, 100, 30, 40]))
    seen = {int(one.box[0]): one.face for one in sight(both, faces([328, 108, 22, 28], [128, 108, 22, 28]))}
    assert sorted(seen.items()) == [(140 - 57, 1), (340 - 57, 0)]


def test_a_near_face_alone_is_a_person_and_one_inside_somebody_is_not() -> None:
    alone = sight(found(boxes(), boxes()), faces([200, 150, 200, 260]))
    assert [(one.face, one.body is None) for one in alone] == [(0, True)]
    person = found(boxes([100, 100, 200, 300]), boxes([170, 100, 60, 70]))
    assert len(sight(person, faces([180, 110, 40, 50], [190, 200, 30, 30]))) == 1


def test_a_second_box_of_the_same_person_is_dropped() -> None:
    twice = found(boxes([100, 100, 80, 200], [105, 102, 70, 90]), boxes([125, 100, 30, 40]))
    assert len(sight(twice, faces())) == 1


def test_a_body_without_a_head_does_not_change_a_size_that_a_head_gave() -> None:
    """Half hidden behind a pillar the body is narrow, and its head is not seen."""
    following = Following()
    for n in range(8):
        follow(following, [person(100 + 8 * n)], {}, n / 10, 0.1 if n else 0.0)
    half = replace(person(168, size=45), head=None)
    (track,) = follow(following, [half], {}, 0.8, 0.1)
    assert track.id == 1
    assert track.box[2] > 85
    velocity = track.velocity[0]
    assert velocity == pytest.approx(80, abs=15), "what hides somebody does not slow them"


@pytest.mark.parametrize(("apart", "count"), [(0, 1), (150, 2)])
def test_without_looks_a_second_box_takes_the_place_of_the_first(apart: float, count: int) -> None:
    """Both are in one frame, then only the second: near the first it is the same person, farther away it is somebody beside them."""
    following, first, second = Following(), person(100, size=30), person(100 + apart, size=50)
    for n in range(8):
        follow(following, [first], {}, n / 10, 0.1 if n else 0.0)
    follow(following, [first, second], {}, 0.8, 0.1)
    for n in range(9, 14):
        give_up(following, n / 10)
        follow(following, [second], {}, n / 10, 0.1)
    assert len(following.tracks) == count
