"""What moves between two pictures of one camera: sparse optical flow, less the camera's own motion, grouped into targets.

Pictures are reduced to views first (`view`), in which light that changes leaves no trace. Key points of the earlier view are
tracked into the later one (Lucas and Kanade's method on pyramids, there and back). What most of them do is the camera's motion.
A point moves when it is not where the camera's motion puts it and the view changed there; where the view changed and nothing
could be tracked, because it was too fast, blurred or new, something moved as well, only its velocity is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class FlowRules:
    """How motion is told from noise. Lengths are in pixels of the view, changes in its grey levels."""

    #: Key points at most, and how far they are apart at least.
    points: int = 400
    spacing: float = 5.0
    #: Least eigenvalue of the structure of a key point's surroundings (of a view in 0..1): where it is less is only noise.
    texture: float = 1e-4
    #: How far a point tracked there and back may end from its start, plus this share of the way.
    return_error: float = 0.5
    return_share: float = 0.05
    #: A point moves when it is further from where it should be than this, and than so many times what resting points are.
    least_motion: float = 0.6
    spreads: float = 6.0
    #: The view must change where a moving point was: by more than this and than so many times what it does at other points.
    tracked_change: float = 9.0
    lost_change: float = 12.5
    noise_share: float = 2.5
    #: Where a tracked point went its surroundings differ by at most this share of the change where it was.
    match: float = 0.6
    #: The thresholds of change and motion are this much lower near where something moved a moment ago.
    eager: float = 0.7
    eager_reach: float = 40.0
    #: More changed points than this share are a cut or a new exposure, not a target: then only tracked points count.
    most_lost: float = 0.6
    #: Points of a target are this near each other, and their velocities differ by at most this plus a share of the speed.
    reach: float = 28.0
    velocity_reach: float = 0.7
    velocity_share: float = 0.6
    #: Fewer points than this are no target; the second for points that could not be tracked. `eager` applies here too.
    least_points: int = 5
    least_lost: int = 10
    #: Something is remembered for so many frames after it was last seen to move.
    memory: int = 4


DEFAULT_RULES = FlowRules()


@dataclass(frozen=True, slots=True)
class Motion:
    """The points that moved between two views.

    ``points`` float [n, 2]: x, y in the later view. ``velocities`` float [n, 2]: pixels from view to view, less the camera's
    motion; NaN where it is not known.
    """

    points: Array
    velocities: Array


@dataclass(frozen=True, slots=True)
class Target:
    """Points that move together, ``points`` of them: their mean position (x, y) in the later view and their median velocity
    (x, y) in pixels from view to view, None where it is not known."""

    position: tuple[float, float]
    velocity: tuple[float, float] | None
    points: int


@dataclass(slots=True)
class Mover:
    """Something that moved a moment ago: where (x, y) in the view, its velocity in pixels a frame, by how many points it was
    seen, in how many frames, and how many frames ago."""

    position: tuple[float, float]
    velocity: tuple[float, float]
    points: int
    seen: int = 1
    missed: int = 0


_AROUND = 25  # pixels of the view that a pixel is compared with
_UNIT = 40.0  # grey levels of the view for a contrast of one
_NOISE = 6.0  # grey levels of the picture that are noise rather than contrast
_PATCH = 9  # pixels of the view that are a point's surroundings
_STILL = 0.35  # pixels of the view that a resting point may seem to move
_LK: dict[str, Any] = {"winSize": (15, 15), "maxLevel": 3, "criteria": (3, 20, 0.02), "minEigThreshold": 1e-4}
_NOTHING = Motion(np.empty((0, 2)), np.empty((0, 2)))


def view(pixels: Array, side: int) -> Array:
    """uint8 [h, w] of a picture uint8 [height, width, 3] BGR, the longer side at most ``side``.

    Each pixel's difference from its surroundings in units of their contrast, 128 where there is none: brighter, darker or
    flatter light, everywhere or with soft borders, leaves it as it is.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), 0.8)
    detail = grey - cv2.boxFilter(grey, -1, (_AROUND, _AROUND))
    contrast = np.sqrt(np.maximum(cv2.boxFilter(detail * detail, -1, (_AROUND, _AROUND)), 0))  # running sums end just below 0
    return np.clip(128 + _UNIT * detail / (contrast + _NOISE), 0, 255).astype(np.uint8)


def motion(before: Array, after: Array, recent: Array | None = None, rules: FlowRules = DEFAULT_RULES) -> Motion:
    """What moved from one view, uint8 [h, w], to the next of the same size.

    ``recent`` float [k, 2]: where something moved a moment ago: what slows down is not lost at once.
    """
    starts = key_points(before, rules)
    tracked, ends = _track(before, after, starts, rules)
    matrix = camera(starts[tracked], ends[tracked], rules)
    change = _change(before, after, matrix)
    expected = starts @ matrix[:, :2].T + matrix[:, 2]
    fresh = key_points(after, rules)
    here = np.concatenate([_at(change, expected), _at(change, fresh)])
    if not len(here):
        return _NOTHING
    places = np.concatenate([expected, fresh])
    ease = _ease(places, recent, rules)
    noise = rules.noise_share * float(np.median(here))
    moved = tracked.copy()
    moved[tracked] = _moved(ends[tracked] - expected[tracked], ease[: len(starts)][tracked], rules)
    moved &= here[: len(starts)] > np.maximum(rules.tracked_change * ease, noise)[: len(starts)]
    moved[moved] = _matches(before, after, starts[moved], ends[moved]) < rules.match * here[: len(starts)][moved]
    lost = here > np.maximum(rules.lost_change * ease, noise)
    if lost.mean() > rules.most_lost:
        lost[:] = False
    lost[: len(starts)] &= ~moved
    unknown = places[lost]
    velocities = np.concatenate([(ends - expected)[moved], np.full((len(unknown), 2), np.nan)])
    return Motion(np.concatenate([ends[moved], unknown]), velocities)


def key_points(image: Array, rules: FlowRules = DEFAULT_RULES) -> Array:
    """float64 [n, 2]: x, y of what can be tracked in a view: corners and ends (Shi and Tomasi's measure)."""
    best = float(cv2.cornerMinEigenVal(image, 5, ksize=3).max())
    if best < rules.texture:
        return np.empty((0, 2))
    found = cv2.goodFeaturesToTrack(image, rules.points, rules.texture / best, rules.spacing, blockSize=5)
    return np.empty((0, 2)) if found is None else found.reshape(-1, 2).astype(np.float64)


def camera(starts: Array, ends: Array, rules: FlowRules = DEFAULT_RULES) -> Array:
    """float [2, 3]: the affine map of the view that the camera's motion makes, from tracked points [n, 2].

    A quarter of the points at rest says that the camera rests too, whatever the others do: somebody close fills most of the
    picture. Else it is what most points agree upon, if they do.
    """
    rest = np.eye(2, 3)
    if len(starts) < 2 * rules.least_points or (np.linalg.norm(ends - starts, axis=1) < _STILL).mean() >= 0.25:
        return rest
    matrix, inliers = cv2.estimateAffine2D(starts, ends, method=cv2.RANSAC, ransacReprojThreshold=0.8, maxIters=500, confidence=0.995)
    return rest if matrix is None or inliers.mean() < 0.4 else matrix


def targets(moved: Motion, recent: Array | None = None, rules: FlowRules = DEFAULT_RULES) -> list[Target]:
    """Groups of neighbours that move alike, the largest first. ``recent`` as for `motion`.

    Points of unknown velocity count for the nearest group in reach, and make groups of their own where there is none.
    """
    known = ~np.isnan(moved.velocities[:, 0])
    points, velocities = moved.points[known], moved.velocities[known]
    groups = _groups(points, velocities, rules, rules.least_points)
    found = []
    left = moved.points[~known]
    if groups and len(left):
        owners = np.concatenate([np.full(len(group), index) for index, group in enumerate(groups)])
        distance, nearest = cKDTree(points[np.concatenate(groups)]).query(left, distance_upper_bound=rules.reach)
        near = np.isfinite(distance)
        joined = np.bincount(owners[nearest[near]], minlength=len(groups))
        left = left[~near]
    else:
        joined = np.zeros(len(groups), int)
    for group, more in zip(groups, joined.tolist(), strict=True):
        u, v = np.median(velocities[group], axis=0).tolist()  # robust: some points at its edges are half background
        found.append(Target(_mean(points[group]), (u, v), len(group) + more))
    for group in _groups(left, None, rules, round(rules.least_lost * rules.eager)):
        position = _mean(left[group])
        if len(group) >= rules.least_lost * _ease(np.array([position]), recent, rules)[0]:
            found.append(Target(position, None, len(group)))
    return sorted(found, key=lambda target: -target.points)


def remember(movers: Sequence[Mover], found: Sequence[Target], *, frames: int = 1, rules: FlowRules = DEFAULT_RULES) -> list[Mover]:
    """What moved lately, after ``found`` was seen ``frames`` frames later: first what was found, in its order, then the others.

    A target is the mover next to it. One whose velocity could not be measured has that of the way it made since.
    """
    left = [Mover(_ahead(mover, frames), mover.velocity, mover.points, mover.seen, mover.missed + frames) for mover in movers]
    now = []
    for target in found:
        distances = [float(np.hypot(*np.subtract(mover.position, target.position))) for mover in left]
        nearest = int(np.argmin(distances)) if distances else -1
        known = left.pop(nearest) if distances and distances[nearest] <= rules.eager_reach else None
        now.append(_merged(target, known, frames))
    return now + [mover for mover in left if mover.missed <= rules.memory]


def _ahead(mover: Mover, frames: int) -> tuple[float, float]:
    return mover.position[0] + frames * mover.velocity[0], mover.position[1] + frames * mover.velocity[1]


def _merged(target: Target, known: Mover | None, frames: int) -> Mover:
    if target.velocity is not None:
        velocity = target.velocity[0] / frames, target.velocity[1] / frames
    elif known is not None:
        # `known.position` is where its old velocity took it: half of the deviation corrects the velocity.
        share = 0.5 / max(known.missed, 1)
        velocity = (
            known.velocity[0] + share * (target.position[0] - known.position[0]),
            known.velocity[1] + share * (target.position[1] - known.position[1]),
        )
    else:
        velocity = 0.0, 0.0
    return Mover(target.position, velocity, target.points, 1 if known is None else known.seen + 1)


def _track(before: Array, after: Array, starts: Array, rules: FlowRules) -> tuple[Array, Array]:
    """Which of the points [n, 2] could be tracked, bool [n], and where they are now, float [n, 2]."""
    if not len(starts):
        return np.empty(0, bool), starts
    begin = starts.astype(np.float32)
    ends, found, _ = cv2.calcOpticalFlowPyrLK(before, after, begin, None, **_LK)  # type: ignore[call-overload]
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, ends, None, **_LK)  # type: ignore[call-overload]
    error, way = np.linalg.norm(back - begin, axis=1), np.linalg.norm(ends - begin, axis=1)
    sure = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (error <= rules.return_error + rules.return_share * way)
    return sure, ends.astype(np.float64)


def _ease(points: Array, recent: Array | None, rules: FlowRules) -> Array:
    """float [n]: what the thresholds are multiplied by at points [n, 2]."""
    if recent is None or not len(recent):
        return np.ones(len(points))
    near = cKDTree(recent).query(points, distance_upper_bound=rules.eager_reach)[0]
    return np.where(np.isfinite(near), rules.eager, 1.0)


def _moved(residuals: Array, ease: Array, rules: FlowRules) -> Array:
    """bool [n]: of tracked points [n, 2], which are not where the camera's motion alone puts them."""
    lengths = np.linalg.norm(residuals, axis=1)
    resting = lengths[lengths < 2 * rules.least_motion]
    spread = float(np.median(resting)) if len(resting) else 0.0
    return np.asarray(lengths > np.maximum(rules.least_motion * ease, rules.spreads * spread))


def _change(before: Array, after: Array, matrix: Array) -> Array:
    """float32 [h, w]: how much the structure around each pixel of the later view changed, the camera's motion set aside.

    The standard deviation of the difference in its surroundings: the edge of a shadow, however faint, passes over a smooth wall as
    a difference that is alike for neighbours, what moves bears its own structure.
    """
    if not np.array_equal(matrix, np.eye(2, 3)):
        height, width = after.shape
        before = cv2.warpAffine(before, matrix, (width, height), dst=after.copy(), borderMode=cv2.BORDER_TRANSPARENT)
    difference = cv2.subtract(after, before, dtype=cv2.CV_32F)
    mean = cv2.boxFilter(difference, -1, (_PATCH, _PATCH))
    return np.sqrt(np.maximum(cv2.boxFilter(difference * difference, -1, (_PATCH, _PATCH)) - mean * mean, 0))


def _at(image: Array, points: Array) -> Array:
    """The pixels nearest to points [n, 2]."""
    limits = np.array(image.shape[::-1]) - 1
    x, y = np.clip(np.rint(points), 0, limits).astype(int).T
    return np.asarray(image[y, x])


def _matches(before: Array, after: Array, starts: Array, ends: Array) -> Array:
    """float [n]: how much the structure around each point differs before and after, as `_change` measures it."""
    return np.asarray((_patches(after, ends) - _patches(before, starts)).std(axis=1))


def _patches(image: Array, centres: Array) -> Array:
    """float32 [n, _PATCH²] around points [n, 2]."""
    y, x = np.mgrid[:_PATCH, :_PATCH].reshape(2, -1).astype(np.float32) - _PATCH // 2
    columns = (centres[:, :1] + x).astype(np.float32)
    rows = (centres[:, 1:] + y).astype(np.float32)
    if not len(centres):
        return columns
    return cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def _groups(points: Array, velocities: Array | None, rules: FlowRules, least: int) -> list[Array]:
    """Indices of points [n, 2] that are connected by steps within reach, between points of like velocity."""
    if len(points) < least:
        return []
    pairs = cKDTree(points).query_pairs(rules.reach, output_type="ndarray")
    if velocities is not None:
        one, other = velocities[pairs[:, 0]], velocities[pairs[:, 1]]
        speed = np.maximum(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
        pairs = pairs[np.linalg.norm(one - other, axis=1) <= rules.velocity_reach + rules.velocity_share * speed]
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    count, labels = connected_components(graph, directed=False)
    sizes = np.bincount(labels, minlength=count)
    return [np.flatnonzero(labels == label) for label in np.flatnonzero(sizes >= least)]


def _mean(points: Array) -> tuple[float, float]:
    x, y = points.mean(axis=0).tolist()
    return x, y
