"""Where everything stands on a page's picture.

Coordinates are continuous: the dot in column i and row j covers i to i + 1 from the left, j to j + 1 from the
top, so a point at x stands x dots from the picture's left edge.
"""

from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]  # x0, y0, x1, y1; dots


@dataclass(frozen=True)
class Geometry:
    """The exact truth about a picture of a page.

    The keys of `lead_boxes`, `traces` and `to_signal` are those of the page: a lead's name for its place in
    the main block ("II", "-aVR" where it is drawn upside down), "II/rhythm" for a rhythm strip, "II/10s" for
    the line of a single-lead strip that begins at 10 s. A lead without samples has none.

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
    """

    dpi: float
    size: tuple[int, int]
    lead_boxes: dict[str, Box]
    text_boxes: list[tuple[str, Box]]
    traces: dict[str, list[np.ndarray]]
    to_mm: np.ndarray
    to_signal: dict[str, np.ndarray]
