"""Where everything stands on a page's picture, however the page was bent, turned and seen.

Coordinates are continuous: the dot in column i and row j covers i to i + 1 from the left, j to j + 1 from the
top, so a point at x stands x dots from the picture's left edge.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Box = tuple[float, float, float, float]  # x0, y0, x1, y1; dots

_LONGEST = 8.0  # dots of a straight line that may be taken as straight on a bent page


@dataclass(frozen=True, eq=False)
class Homography:
    """A plane seen by a camera; translation, scale and rotation are special cases.

    Args:
        matrix: (3, 3), from column vectors (x, y, 1) before to those after.
    """

    matrix: np.ndarray

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self.matrix)

    def forward(self, points: np.ndarray) -> np.ndarray:
        """(points, 2) before to (points, 2) after."""
        return _project(self.matrix, points)

    def backward(self, points: np.ndarray) -> np.ndarray:
        """(points, 2) after to (points, 2) before."""
        return _project(self._inverse, points)


@dataclass(frozen=True, eq=False)
class Bend:
    """A sheet bent like part of a cylinder and seen straight from above.

    What stands higher is nearer to the camera and so appears larger; what slopes appears shorter.

    Args:
        centre: the point below the camera.
        direction: unit vector along the sheet across the cylinder's axis.
        flat: ascending positions along `direction`, measured on the sheet from the centre.
        seen: where the camera sees them, ascending.
        scale: how much larger the camera sees the sheet there.
    """

    centre: np.ndarray
    direction: np.ndarray
    flat: np.ndarray
    seen: np.ndarray
    scale: np.ndarray

    def forward(self, points: np.ndarray) -> np.ndarray:
        """(points, 2) before to (points, 2) after."""
        across, along = self._turn(points)
        seen = np.interp(across, self.flat, self.seen)
        return self._turn_back(seen, along * np.interp(across, self.flat, self.scale))

    def backward(self, points: np.ndarray) -> np.ndarray:
        """(points, 2) after to (points, 2) before."""
        seen, along = self._turn(points)
        across = np.interp(seen, self.seen, self.flat)
        return self._turn_back(across, along / np.interp(across, self.flat, self.scale))

    def _turn(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = (np.asarray(points, float) - self.centre).T
        c, s = self.direction
        return c * x + s * y, c * y - s * x

    def _turn_back(self, across: np.ndarray, along: np.ndarray) -> np.ndarray:
        c, s = self.direction
        return np.stack([c * across - s * along, s * across + c * along], axis=1) + self.centre


@dataclass(frozen=True, eq=False)
class Warp:
    """The map from the dots of the undistorted page to those of the picture; without steps, none.

    Args:
        steps: one after the other; neighbouring homographies are best composed by `then`.
    """

    steps: tuple[Homography | Bend, ...] = ()

    def then(self, step: Homography | Bend) -> "Warp":
        """This map followed by another one."""
        last = self.steps[-1] if self.steps else None
        if isinstance(last, Homography) and isinstance(step, Homography):
            return Warp((*self.steps[:-1], Homography(step.matrix @ last.matrix)))
        return Warp((*self.steps, step))

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(points, 2) dots of the page to (points, 2) dots of the picture."""
        for step in self.steps:
            points = step.forward(points)
        return points

    def to_page(self, points: np.ndarray) -> np.ndarray:
        """(points, 2) dots of the picture to (points, 2) dots of the page."""
        for step in reversed(self.steps):
            points = step.backward(points)
        return points

    def line_to_picture(self, line: np.ndarray) -> np.ndarray:
        """A polyline of the page, (points, 2), as it runs on the picture: maybe of more points."""
        if not all(isinstance(step, Homography) for step in self.steps):
            line = _refine(line, _LONGEST)
        return self.to_picture(line)

    def scale(self, page_size: tuple[int, int]) -> float:
        """How much larger than the page its picture is, at the middle of a page of so many dots."""
        if not self.steps:
            return 1.0
        middle = np.array(page_size) / 2
        o, x, y = self.to_picture(middle + np.array([[0, 0], [1, 0], [0, 1]]))
        (a, b), (c, d) = x - o, y - o
        return float(np.sqrt(abs(a * d - b * c)))

    @property
    def homography(self) -> np.ndarray | None:
        """The (3, 3) matrix from page to picture; None for a bent page, which `mesh` describes."""
        if not self.steps:
            return np.eye(3)
        (step, *others) = self.steps
        return step.matrix if isinstance(step, Homography) and not others else None

    def mesh(self, size: tuple[int, int], step: float = 16.0) -> np.ndarray:
        """Where a lattice on the picture lies on the page.

        Args:
            size: width and height of the picture.
            step: dots between the lattice's points; the last row and column end at the picture's edge.

        Returns:
            (rows, columns, 2) dots of the undistorted page.
        """
        width, height = size
        xs, ys = (np.append(np.arange(0, edge, step), edge) for edge in (width, height))
        grid = np.stack(np.meshgrid(xs, ys), axis=-1)
        return self.to_page(grid.reshape(-1, 2)).reshape(grid.shape)


@dataclass(frozen=True)
class Geometry:
    """The exact truth about a picture of a page.

    The keys of `lead_boxes`, `traces` and `to_signal` are those of the page: a lead's name for its place in
    the main block ("II", "-aVR" where it is drawn upside down), "II/rhythm" for a rhythm strip, "II/10s" for
    the line of a single-lead strip that begins at 10 s. A lead without samples on the picture has none.

    Args:
        dpi: dots per inch of the undistorted page.
        size: width and height of the picture, dots.
        lead_boxes: the box around each trace, half of the line's width included.
        text_boxes: each text as written and the box around its ink.
        traces: the polylines of each trace, (points, 2) float; one ends where the next begins after unknown
            samples or a cut.
        to_mm: (2, 3) affine map from dots of the undistorted page to mm from its upper left corner.
        to_signal: for each trace the (2, 3) affine map from dots of the undistorted page to seconds of the
            recording and mV.
        warp: from dots of the undistorted page to dots of the picture.
    """

    dpi: float
    size: tuple[int, int]
    lead_boxes: dict[str, Box]
    text_boxes: list[tuple[str, Box]]
    traces: dict[str, list[np.ndarray]]
    to_mm: np.ndarray
    to_signal: dict[str, np.ndarray]
    warp: Warp = field(default_factory=Warp)

    def millimetres(self, points: np.ndarray) -> np.ndarray:
        """Points of the picture, (points, 2) dots, as mm on the paper from its upper left corner."""
        return self.warp.to_page(points) @ self.to_mm[:, :2].T + self.to_mm[:, 2]

    def signal(self, trace: str, points: np.ndarray) -> np.ndarray:
        """Points of the picture, (points, 2) dots, as seconds and mV of a trace.

        Raises:
            ValueError: if the picture has no such trace.
        """
        if trace not in self.to_signal:
            raise ValueError(f"no trace {trace!r} on this picture; it has {', '.join(self.to_signal)}")
        affine = self.to_signal[trace]
        return self.warp.to_page(points) @ affine[:, :2].T + affine[:, 2]


def keep_inside(line: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """The pieces of a polyline, (points, 2), that lie within a picture, cut exactly at its edges."""
    pieces = [np.asarray(line, float)]
    for axis in (0, 1):
        pieces = [part for piece in pieces for part in between(piece, axis, 0, size[axis])]
    return pieces


def between(line: np.ndarray, axis: int, low: float, high: float) -> list[np.ndarray]:
    """The pieces of a polyline between two limits of x (axis 0) or y (1), cut where it crosses them."""
    inside = (line[:, axis] >= low) & (line[:, axis] <= high)
    if inside.all():
        return [line]
    begin, rise = line[:-1], np.diff(line, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = (np.array([[low], [high]]) - begin[:, axis]) / rise[:, axis]
    level = rise[:, axis] == 0
    enter = np.where(level, 0.0, crossings.min(axis=0).clip(0, None))
    leave = np.where(level, 1.0, crossings.max(axis=0).clip(None, 1))
    kept = np.flatnonzero((enter < leave) & ~(level & ~inside[:-1]))
    first, last = begin + enter[:, None] * rise, begin + leave[:, None] * rise
    breaks = np.flatnonzero((np.diff(kept) > 1) | (leave[kept[:-1]] < 1) | (enter[kept[1:]] > 0)) + 1
    return [np.vstack([first[part[:1]], last[part]]) for part in np.split(kept, breaks) if len(part)]


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    moved = np.asarray(points, float) @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, :2] / moved[:, 2:]


def _refine(line: np.ndarray, longest: float) -> np.ndarray:
    """The same polyline with no segment longer than so."""
    if len(line) < 2:
        return line
    lengths = np.hypot(*np.diff(line, axis=0).T)
    parts = np.maximum(1, np.ceil(lengths / longest)).astype(int)
    at = np.concatenate([[0.0], np.cumsum(1 / np.repeat(parts, parts))])
    number = np.arange(len(line))
    return np.stack([np.interp(at, number, line[:, 0]), np.interp(at, number, line[:, 1])], axis=1)
