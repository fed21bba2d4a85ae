"""What moves between two pictures of one camera: sparse optical flow, less the camera's own motion, grouped into targets.

Pictures are reduced to views first (`view`), in which light that changes leaves no trace. Key points of the earlier view are
tracked into the later one (Lucas and Kanade's method on pyramids, there and back). What most of them do is the camera's motion.
A point moves when it is not where the camera's motion puts it and the view changed there; where the view changed and nothing
could be tracked, because it was too fast, blurred, new or a plain edge, something moved as well, only its velocity is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from workers.lib.neighbours import connected, tree_of

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
    #: Least energy of the gradients of a view in 0..1, over `_NEAR` pixels, of an edge: corners are not all that moves.
    edge: float = 1e-3
    #: Points that move alike are the camera's motion only if they take up this share of the picture: a thing is smaller.
    wide: float = 0.25
    #: More changed points than the one share, in more of the picture than the other, are a cut or a new exposure, not a target:
    #: then only tracked points count.
    most_lost: float = 0.6
    most_changed: float = 0.25
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
_NEAR = 15  # pixels of the view around which an edge is near
_BLOCK = 40  # pixels of the view a side: of the parts of the picture that have one say each about noise
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
    matrix = camera(starts[tracked], ends[tracked], after.shape, rules)
    change = _change(before, after, matrix)
    expected = starts @ matrix[:, :2].T + matrix[:, 2]
    places = np.concatenate([expected, key_points(after, rules), edge_points(after, rules)])
    if not len(places):
        return _NOTHING
    here = _at(change, places)
    ease = _ease(places, recent, rules)
    noise = rules.noise_share * _usual(change, places, here)
    moved = tracked.copy()
    moved[tracked] = _moved(ends[tracked] - expected[tracked], ease[: len(starts)][tracked], rules)
    moved &= here[: len(starts)] > np.maximum(rules.tracked_change * ease, noise)[: len(starts)]
    moved[moved] = _matches(before, after, starts[moved], ends[moved]) < rules.match * here[: len(starts)][moved]
    lost = here > np.maximum(rules.lost_change * ease, noise)
    if lost.mean() > rules.most_lost and (change > max(rules.lost_change, noise)).mean() > rules.most_changed:
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


def edge_points(image: Array, rules: FlowRules = DEFAULT_RULES) -> Array:
    """float64 [n, 2]: x, y of the points of a grid that have an edge near them in a view, corners or not.

    On a plain wall the outline of a plain thing is all there is to see, and it has hardly anything that can be tracked.
    """
    x, y = (cv2.Sobel(image, cv2.CV_32F, *order, scale=1 / (8 * 255)) for order in ((1, 0), (0, 1)))
    energy = cv2.boxFilter(x * x + y * y, -1, (_NEAR, _NEAR))
    step = round(rules.spacing)
    rows, columns = np.nonzero(energy[step // 2 :: step, step // 2 :: step] > rules.edge)
    return np.stack([columns, rows], axis=1) * float(step) + step // 2


def camera(starts: Array, ends: Array, shape: tuple[int, ...], rules: FlowRules = DEFAULT_RULES) -> Array:
    """float [2, 3]: the affine map that the camera's motion makes of a view [h, w] = ``shape``, from tracked points [n, 2].

    A quarter of the points at rest says that the camera rests too, whatever the others do: somebody close fills most of the
    picture. Else it is what most points agree upon, if they do, and if they are from all over the picture: before a plain wall
    most points may be those of the one thing that moves.
    """
    rest = np.eye(2, 3)
    if len(starts) < 2 * rules.least_points or (np.linalg.norm(ends - starts, axis=1) < _STILL).mean() >= 0.25:
        return rest
    matrix, inliers = cv2.estimateAffine2D(starts, ends, method=cv2.RANSAC, ransacReprojThreshold=0.8, maxIters=500, confidence=0.995)
    if matrix is None or inliers.mean() < 0.4:
        return rest
    width, height = np.diff(np.percentile(starts[inliers[:, 0] > 0], (5, 95), axis=0), axis=0)[0]
    return matrix if width * height >= rules.wide * shape[0] * shape[1] else rest


def targets(moved: Motion, recent: Array | None = None, rules: FlowRules = DEFAULT_RULES) -> list[Target]:
    """Groups of neighbours that move alike, the largest first. ``recent`` as for `motion`.

    Points beside a group, most of unknown velocity, count for it: all of them where they connect groups that move alike, as the
    outline of a thing connects its corners, else those in its reach. The others make groups of their own.
    """
    known = np.flatnonzero(~np.isnan(moved.velocities[:, 0]))
    groups = [known[group] for group in _groups(moved.points[known], moved.velocities[known], rules, rules.least_points)]
    left = np.setdiff1d(np.arange(len(moved.points)), np.concatenate(groups) if groups else [])
    owners, pairs = _owners(moved, groups, left, rules)
    found = []
    for members in connected(len(groups), pairs):
        group = np.concatenate([groups[member] for member in members])
        u, v = np.median(moved.velocities[group], axis=0).tolist()  # robust: some points at its edges are half background
        more = int(np.isin(owners, members).sum())
        found.append(Target(_mean(moved.points[group]), (u, v), len(group) + more))
    left = left[owners < 0]
    for piece in _groups(moved.points[left], None, rules, round(rules.least_lost * rules.eager)):
        points, velocities = moved.points[left[piece]], moved.velocities[left[piece]]
        position = _mean(points)
        if len(piece) >= rules.least_lost * _ease(np.array([position]), recent, rules)[0]:
            found.append(Target(position, _velocity(velocities), len(piece)))
    return sorted(found, key=lambda target: -target.points)


def _owners(moved: Motion, groups: list[Array], left: Array, rules: FlowRules) -> tuple[Array, list[tuple[int, int]]]:
    """For each point of ``left`` the number of the group for which it counts, -1 for none; and pairs of groups that are one."""
    owners = np.full(len(left), -1)
    pairs: list[tuple[int, int]] = []
    if not groups:
        return owners, pairs
    typical = np.array([np.median(moved.velocities[group], axis=0) for group in groups])
    trees = [tree_of(moved.points[group]) for group in groups]
    for piece in _groups(moved.points[left], None, rules, 1):
        distances = np.stack([tree.query(moved.points[left[piece]])[0] for tree in trees])
        near = np.flatnonzero(distances.min(axis=1) <= rules.reach)
        one = len(near) > 1 and bool(_alike(typical[near[:1]], typical[near], rules).all())
        if one:
            pairs += [(int(near[0]), int(other)) for other in near[1:]]
        owners[piece] = np.where(one | (distances.min(axis=0) <= rules.reach), distances.argmin(axis=0), -1)
    return owners, pairs


def _velocity(velocities: Array) -> tuple[float, float] | None:
    """The median of those [n, 2] that are known, if there are two."""
    known = velocities[~np.isnan(velocities[:, 0])]
    if len(known) < 2:
        return None
    u, v = np.median(known, axis=0).tolist()
    return u, v


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
    near = tree_of(recent).query(points, distance_upper_bound=rules.eager_reach)[0]
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
    a difference that is alike for neighbours, what moves bears its own structure. Where one of the two shows what the other does
    not, or measured it against other surroundings, at their edges while the camera moves, there is none.
    """
    height, width = after.shape
    both = np.ones_like(after)
    if not np.array_equal(matrix, np.eye(2, 3)):
        before = cv2.warpAffine(before, matrix, (width, height), dst=after.copy(), borderMode=cv2.BORDER_TRANSPARENT)
        inside = cv2.erode(both, np.ones((_AROUND, _AROUND), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        both = inside * cv2.warpAffine(inside, matrix, (width, height), flags=cv2.INTER_NEAREST)
    difference = cv2.subtract(after, before, dtype=cv2.CV_32F)
    mean = cv2.boxFilter(difference, -1, (_PATCH, _PATCH))
    return both * np.sqrt(np.maximum(cv2.boxFilter(difference * difference, -1, (_PATCH, _PATCH)) - mean * mean, 0))


def _usual(change: Array, places: Array, here: Array) -> float:
    """What the change ``here`` [n] at ``places`` [n, 2] is where nothing moves, and elsewhere in a picture with few of them.

    The median of what each part of the picture says, since most of what there is to see may be on the one thing that moves.
    """
    height, width = change.shape
    said = []
    for top in range(0, height, _BLOCK):
        row = (places[:, 1] >= top) & (places[:, 1] < top + _BLOCK)
        for left in range(0, width, _BLOCK):
            mine = here[row & (places[:, 0] >= left) & (places[:, 0] < left + _BLOCK)]
            said.append(np.median(mine if len(mine) > 2 else change[top : top + _BLOCK : 4, left : left + _BLOCK : 4]))
    return float(np.median(said))


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
    pairs = tree_of(points).query_pairs(rules.reach, output_type="ndarray")
    if velocities is not None:
        pairs = pairs[_alike(velocities[pairs[:, 0]], velocities[pairs[:, 1]], rules)]
    return [group for group in connected(len(points), pairs) if len(group) >= least]


def _alike(one: Array, other: Array, rules: FlowRules) -> Array:
    """bool [n]: whether velocities [n, 2] are those of one thing."""
    speed = np.maximum(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
    return np.asarray(np.linalg.norm(one - other, axis=1) <= rules.velocity_reach + rules.velocity_share * speed)


def _mean(points: Array) -> tuple[float, float]:
    x, y = points.mean(axis=0).tolist()
    return x, y
