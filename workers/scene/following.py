"""Who of this frame is who of the last: people followed by where they are and by what they look like.

Like `workers.lib.tracks`, with three differences: patience and speed are in seconds, since cameras keep no even rate; whoever was hidden
is known again by appearance; and nothing depends on what a client asked for, so that sensitivities cannot change who is who.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.lib.appearance import similarity
from workers.lib.assignment import best_pairs
from workers.lib.boxes import intersection_over_union
from workers.people import HEADS_DOWN
from workers.scene.sightings import Sighting

Array = npt.NDArray[Any]

#: A person may be found again so long after the last sighting, in seconds; one of whom little was seen, only so long.
PATIENCE, BRIEF_PATIENCE = 3.0, 0.45
#: Seen for less evidence than this, a track is not yet believed.
_BELIEVED = 3.0
#: Furthest from where somebody is expected: centre distance in box sizes + |log of the change of size|; and what is added for each
#: second without a sighting (a brisk walk is 1.6 upper bodies a second).
_REACH, _REACH_PER_SECOND = 1.0, 1.2
_MOST_REACH = 3.0
#: What a reach of one more adds to the cost of whoever is out of sight, and what it costs to be hardly known yet.
_AWAY, _UNKNOWN = 0.1, 0.15
#: Unlike looks add so much to the distance, for each unit of cosine below `_ALIKE`.
_LOOKS, _ALIKE = 1.5, 0.7
#: After so many seconds out of sight somebody must look alike (cosine) to be the same, if both looks are known.
_HIDDEN, _SAME = 0.5, 0.45
#: Somebody new who looks this much like somebody hidden is that one after all. Whoever comes out from behind something is seen in part at
#: first, and looks like nobody; until then each sighting proves less.
_AGAIN, _IN_DOUBT = 0.6, 0.3
#: Where looks are not known at all, somebody new is the one who was hidden once they are this near to where that one is expected (as `_REACH`).
_BACK = 0.7
#: Or if this share of what is seen of the new one is where that one stands, whose height is so many times the one of the followed box:
#: who leaves sideways is cut off by the border of the picture, head first.
_WITHIN, _STANDING = 0.8, 7.5 / HEADS_DOWN
#: A sighting this near to where a track is expected, and nearer by so much than anything else, is that track's without a look.
_EXPECTED, _APART = 0.35, 0.25
#: A person's looks are taken anew after so many seconds, while nobody is near.
_REFRESH = 2.0
#: Somebody whose box overlaps with another's by more than this is not alone: the crop would show both.
_ALONE = 0.1
#: Share of a small deviation that is followed at once; large ones are followed entirely.
_GAIN = 0.5
_GROWN = 0.25  # a greater change of size (its logarithm) from one sighting to the next is of what is seen, not of the person
#: A body without a head says little of somebody's size, since something may hide a part of it: beside a size that a head gave it counts so
#: much in distances, and takes its place in so many seconds, of which so many at most in one step.
_BY_BODY, _BY_BODY_SECONDS, _BY_BODY_STEP = 0.5, 1.0, 0.2
_SLOW = 3.0  # seconds of expected motion at most: nobody out of sight runs on for ever
#: How much a sighting proves grows with the time since the one before, within these: (at 25 frames a second less than at 10).
_PROOF_SECONDS, _LEAST_PROOF, _MOST_PROOF = 0.1, 0.8, 3.0
_CODES = 2


@dataclass(slots=True)
class Track:
    """One person who is followed. Times in seconds of the session's clock, box and velocity (a second) in pixels.

    ``evidence``: the sum of `Sighting.proof`; it only grows. ``looks``: at most two codes of `workers.lib.appearance`, the first
    clean one and the last; ``looked`` is when the last was taken. ``headed``: whether a head was ever seen, which gave the size of the box.
    """

    id: int
    box: list[float]
    first: float
    last: float
    velocity: list[float] = field(default_factory=lambda: [0.0, 0.0])
    evidence: float = 0.0
    looks: list[str] = field(default_factory=list)
    looked: float = -1e9
    headed: bool = False


@dataclass(slots=True)
class Following:
    """What is remembered from frame to frame. ``looks_by``: the SHA-256 of the network that made the looks; "" where there are none."""

    tracks: list[Track] = field(default_factory=list)
    next_id: int = 1
    looks_by: str = ""


def give_up(following: Following, now: float) -> list[Track]:
    """Forget whom nobody saw for too long, before a frame is taken in; returns them."""
    lost = [track for track in following.tracks if now - track.last > _patience(track)]
    gone = {track.id for track in lost}
    following.tracks = [track for track in following.tracks if track.id not in gone]
    return lost


def look_by(following: Following, network: str) -> None:
    """From now on looks are those of the network with this SHA-256, "" for none; looks of another cannot be compared with them."""
    if following.looks_by != network:
        forget_looks(following)
        following.looks_by = network


def forget_looks(following: Following) -> None:
    """From now on people are followed by their places alone."""
    for track in following.tracks:
        track.looks, track.looked = [], -1e9


def wanted_looks(following: Following, sightings: Sequence[Sighting], now: float) -> list[int]:
    """The sightings whose looks are needed to tell who is who, or to be known again later: few of them, since that is dear."""
    if not sightings:
        return []
    costs, _ = _distances(following, sightings, now)
    alone = _solitude(sightings) > 1 - _ALONE
    known = any(track.looks for track in following.tracks)
    wanted = []
    for column in range(len(sightings)):
        row = _clear_match(costs, column)
        if row is None:
            if known and np.isfinite(costs[:, column]).any():
                wanted.append(column)  # two who are near one another, or a comeback
                rivals = (costs[costs[:, column] < _EXPECTED + _APART] < _EXPECTED + _APART).any(axis=0)
                wanted += np.flatnonzero(rivals).tolist()  # to know one of two is half of the answer
            continue
        track = following.tracks[row]
        if _hidden_before(following, track, now):
            wanted.append(column)
            continue
        due = now - track.looked >= _REFRESH or now - track.last > _HIDDEN
        if due and alone[column] and track.evidence >= _BELIEVED / 2:
            wanted.append(column)
    return sorted(set(wanted))


def _clear_match(costs: Array, column: int) -> int | None:
    """The track that this sighting is no doubt of: where it was expected, and nothing else as near. None if there is doubt."""
    if not len(costs):
        return None
    row = int(costs[:, column].argmin())
    best = costs[row, column]
    others = min(np.delete(costs[:, column], row).min(initial=np.inf), np.delete(costs[row], column).min(initial=np.inf))
    return row if best < _EXPECTED and others - best > _APART else None


def follow(following: Following, sightings: Sequence[Sighting], looks: Mapping[int, str], now: float, dt: float) -> list[Track]:
    """Take the next frame's ``sightings`` into ``following``, and return the track of each.

    ``looks``: the codes of those `wanted_looks` named. ``dt``: seconds since the frame before.
    """
    pairs = _assign(following, sightings, looks, now)
    matched = {track.id for track in pairs.values()}
    alone = _solitude(sightings, [track.box for track in following.tracks if track.id not in matched]) > 1 - _ALONE
    seen = []
    for index, sighting in enumerate(sightings):
        track = pairs.get(index)
        if track is None:
            track = _begin(following, sighting, now)
        else:
            _update(track, sighting, now)
        hidden = _hidden_before(following, track, now)
        proof = sighting.proof * (_IN_DOUBT if hidden else 1.0)
        track.evidence = round(track.evidence + proof * float(np.clip(dt / _PROOF_SECONDS, _LEAST_PROOF, _MOST_PROOF)), 3)
        if index in looks and alone[index]:
            track.looks = [*track.looks[: _CODES - 1], looks[index]]
            track.looked = now
        known = _alike(hidden, looks.get(index)) if following.looks_by else _nearest(hidden, track, sighting, now)
        seen.append(track if known is None else _known_again(following, track, known))
    return seen


def _hidden_before(following: Following, track: Track, now: float) -> list[Track]:
    """Who went out of sight before somebody new came, and may be that one."""
    if track.evidence >= _BELIEVED:
        return []
    believed = [other for other in following.tracks if other.evidence >= _BELIEVED]
    # Without looks also who was last seen when the new one came: a second box of somebody takes the place of the first.
    before = [other for other in believed if other.last < track.first or (not following.looks_by and other.last == track.first < now)]
    hidden = [other for other in before if other.looks or not following.looks_by]
    apart = _apart([_expected(other, now) for other in hidden], [track.box])
    return [other for other, distance in zip(hidden, apart[:, 0].tolist(), strict=True) if distance <= _MOST_REACH]


def _known_again(following: Following, track: Track, known: Track) -> Track:
    """The new ``track`` is the ``known`` one, who was out of sight."""
    following.tracks.remove(track)
    known.box, known.velocity, known.last = track.box, track.velocity, track.last
    known.evidence = round(known.evidence + track.evidence, 3)
    return known


def _alike(hidden: Sequence[Track], look: str | None) -> Track | None:
    """The one of ``hidden`` with this look, or None."""
    likely = [(max(similarity(look, known) for known in other.looks), other) for other in hidden if look is not None and other.looks]
    best, known = max(likely, key=lambda pair: pair[0], default=(0.0, None))
    return known if best >= _AGAIN else None


def _nearest(hidden: Sequence[Track], track: Track, sighting: Sighting, now: float) -> Track | None:
    """The one of ``hidden`` who is expected where the new ``track`` was just seen, or None."""
    expected = [_expected(other, now) for other in hidden]
    apart = _apart(expected, [track.box])[:, 0]
    likely = [
        (distance, index)
        for index, distance in enumerate(apart.tolist())
        if distance <= _BACK or _share_within(sighting.whole, expected[index]) >= _WITHIN
    ]
    return hidden[min(likely)[1]] if likely else None


def _share_within(whole: Array, expected: Sequence[float]) -> float:
    """Which share of what was seen of somebody is where the one with the followed box ``expected`` stands."""
    x, y, width, height = expected
    standing = np.array([x, y, width, height * _STANDING])
    corners = np.maximum(whole[:2], standing[:2]), np.minimum(whole[:2] + whole[2:], standing[:2] + standing[2:])
    return float(np.maximum(corners[1] - corners[0], 0.0).prod() / max(whole[2:].prod(), 1.0))


def _patience(track: Track) -> float:
    return PATIENCE if track.evidence >= _BELIEVED else BRIEF_PATIENCE


def _begin(following: Following, sighting: Sighting, now: float) -> Track:
    track = Track(following.next_id, _rounded(sighting.box), now, now, headed=sighting.head is not None)
    following.next_id += 1
    following.tracks.append(track)
    return track


def _assign(following: Following, sightings: Sequence[Sighting], looks: Mapping[int, str], now: float) -> dict[int, Track]:
    """Index of a sighting -> its track, so that the sum of the costs is the least.

    A cost is the distance as a share of the track's reach: who has been out of sight for long may be anywhere, so that being far proves
    little, and being near too. To be left without a sighting costs everybody the same: a good match is not given up for two poor
    ones, nor for somebody's who is long gone.
    """
    if not following.tracks or not sightings:
        return {}
    distances, reach = _distances(following, sightings, now)
    away = _AWAY * (reach - _REACH)[:, None]
    costs = _REACH * distances / reach[:, None] + away
    solitude = _solitude(sightings)
    for column, code in looks.items():
        for row, track in enumerate(following.tracks):
            if np.isfinite(costs[row, column]) and track.looks:
                alike = max(similarity(code, look) for look in track.looks)
                costs[row, column] += _LOOKS * solitude[column] * max(0.0, _ALIKE - alike)
                if now - track.last > _HIDDEN and alike < _SAME and solitude[column] > 0.5:
                    costs[row, column] = np.inf
    known = np.array([0.0 if track.evidence >= _BELIEVED else _UNKNOWN for track in following.tracks])[:, None]  # decides ties
    costs = np.where(costs <= _REACH + away, costs + known, np.inf)
    nobody = np.where(np.eye(len(reach), dtype=bool), _REACH + _AWAY * (_MOST_REACH - _REACH) + _UNKNOWN, np.inf)
    rows, columns = best_pairs(np.hstack([costs, nobody]))
    return {column: following.tracks[row] for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if column < len(sightings)}


def _distances(following: Following, sightings: Sequence[Sighting], now: float) -> tuple[Array, Array]:
    """[tracks, sightings] as in `workers.lib.tracks`, infinite beyond reach; and the reach of each track [tracks]."""
    away = np.array([now - track.last for track in following.tracks])
    reach = np.minimum(_REACH + _REACH_PER_SECOND * np.maximum(away - 0.2, 0.0), _MOST_REACH)
    if not following.tracks:
        return np.empty((0, len(sightings))), reach
    by_body = np.array([[track.headed and sighting.head is None for sighting in sightings] for track in following.tracks])
    boxes = [sighting.box for sighting in sightings]
    costs = _apart([_expected(track, now) for track in following.tracks], boxes, np.where(by_body, _BY_BODY, 1.0))
    return np.where(costs <= reach[:, None], costs, np.inf), reach


def _apart(some: Sequence[Any], others: Sequence[Any], sized: Array | float = 1.0) -> Array:
    """[some, others]: how far apart boxes are, in their sizes, and ``sized`` times the logarithm of the sizes' ratio."""
    groups = [np.array(group, np.float64).reshape(-1, 4) for group in (some, others)]
    sides = [np.sqrt(np.maximum(group[:, 2] * group[:, 3], 1.0)) for group in groups]
    # Tops of heads rather than centres: how far down somebody is seen changes with what stands before them.
    anchors = [group[:, :2] + group[:, 2:] * [0.5, 0.25] for group in groups]
    apart = np.linalg.norm(anchors[0][:, None] - anchors[1][None], axis=2)
    ratio = np.abs(np.log(sides[0][:, None] / sides[1][None]))
    return np.asarray(apart / np.sqrt(sides[0][:, None] * sides[1][None]) + sized * ratio)


def _solitude(sightings: Sequence[Sighting], hidden: Sequence[list[float]] = ()) -> Array:
    """[sightings], 0..1: how little of the box that would be cut out is of somebody else: of others who are seen, or who were last seen in
    the ``hidden`` boxes and may be in the same one, since two who are close look like one to the network. The nearer of two fills
    both boxes, so what a crop shows tells less, the more they overlap."""
    if not sightings:
        return np.empty(0)
    boxes = np.array([sighting.whole for sighting in sightings])
    overlaps = intersection_over_union(boxes, boxes)
    np.fill_diagonal(overlaps, 0.0)
    most = overlaps.max(axis=1)
    if hidden:
        followed = np.array([sighting.box for sighting in sightings])
        most = np.maximum(most, intersection_over_union(followed, np.array(hidden)).max(axis=1))
    return np.asarray(1 - most)


def _expected(track: Track, now: float) -> list[float]:
    x, y, width, height = track.box
    seconds = min(now - track.last, _SLOW) if now - track.last < 1.0 else 1.0
    return [x + seconds * track.velocity[0], y + seconds * track.velocity[1], width, height]


def _update(track: Track, sighting: Sighting, now: float) -> None:
    """An alpha-beta filter with time in seconds; see `workers.lib.tracks`."""
    expected = np.array(_expected(track, now))
    seen = sighting.box
    if sighting.head is not None:
        track.headed = True
    elif track.headed:
        seen = _sized(seen, expected, now - track.last)
    deviation = seen - expected
    shift = deviation[:2] + deviation[2:] / 2
    size = max(float(np.sqrt(expected[2] * expected[3])), 1.0)
    gain = min(1.0, _GAIN + 2 * float(np.abs(deviation).max()) / size)
    seconds = now - track.last
    grown = abs(float(np.log(max(sighting.box[2] * sighting.box[3], 1.0) / max(expected[2] * expected[3], 1.0)))) / 2
    if seconds > 0 and grown < _GROWN:  # somebody half hidden seems to move as what hides them
        velocity_gain = gain * gain / (2 - gain)
        track.velocity = _rounded(np.array(track.velocity) + velocity_gain * shift / max(seconds, 0.04))
    track.box = _rounded(expected + gain * deviation)
    track.last = now


def _sized(box: Array, expected: Array, seconds: float) -> Array:
    """``box`` float [4] of a body alone with its top and middle where they are, and nearly as large as ``expected``."""
    share = 1 - np.exp(-min(seconds, _BY_BODY_STEP) / _BY_BODY_SECONDS)
    size = expected[2:] * (np.maximum(box[2:], 1.0) / np.maximum(expected[2:], 1.0)) ** share
    return np.array([box[0] + (box[2] - size[0]) / 2, box[1], *size])


def _rounded(values: Array) -> list[float]:
    return [round(float(value), 2) for value in values]
