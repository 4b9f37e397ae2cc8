"""From the heart's vector to the eight independent leads, and from these to the twelve.

The lead matrix is Dower's (Dower GE, Machado HB, Osborne JA. On deriving the electrocardiogram from
vectorcardiographic leads. Clin Cardiol 1980;3:87-95): Frank X points left, Y to the feet, Z to the back.
"""

from __future__ import annotations

import numpy as np

INDEPENDENT_ROWS = [
    0,
    1,
    6,
    7,
    8,
    9,
    10,
    11,
]  # I, II, V1 to V6 among the twelve: the others follow from I and II
CHEST = slice(2, 8)

DOWER = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],  # V2
        [0.882, 0.098, -1.277],  # V3
        [1.213, 0.127, -0.601],  # V4
        [1.125, 0.127, -0.086],  # V5
        [0.831, 0.076, 0.230],  # V6
    ]
)

_SQRT3 = float(np.sqrt(3.0))


def twelve_leads(eight: np.ndarray) -> np.ndarray:
    """Eight leads to twelve by Einthoven's and Goldberger's equations: (8, samples) → (12, samples)."""
    one, two = eight[0], eight[1]
    out = np.empty((12, eight.shape[1]), eight.dtype)
    out[:2], out[6:] = eight[:2], eight[2:]
    np.subtract(two, one, out=out[2])
    np.multiply(one + two, -0.5, out=out[3])
    np.subtract(one, two * 0.5, out=out[4])
    np.subtract(two, one * 0.5, out=out[5])
    return out


def frontal(eight: np.ndarray) -> np.ndarray:
    """The frontal-plane vector (left, down) of vectors in the eight leads: (…, 8) → (…, 2).

    aVF sees √3/2 of what lead I would see, so it is scaled up: the plane of Einthoven's triangle.
    """
    one, two = eight[..., 0], eight[..., 1]
    out = np.empty((*one.shape, 2))
    out[..., 0], out[..., 1] = one, (2 * two - one) / _SQRT3
    return out


def with_frontal(eight: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """A copy of lead vectors whose limb leads show this frontal-plane vector: (…, 8), (…, 2) → (…, 8)."""
    out = np.array(eight, dtype=float)
    out[..., 0] = plane[..., 0]
    out[..., 1] = (_SQRT3 * plane[..., 1] + plane[..., 0]) / 2
    return out


def turn(plane: np.ndarray, degrees: float) -> np.ndarray:
    """Turn frontal-plane vectors; positive is clockwise on the hexaxial figure, from lead I towards aVF."""
    a = np.deg2rad(degrees)
    c, s = np.cos(a), np.sin(a)
    return plane @ np.array([[c, s], [-s, c]])


def axis_of(area: np.ndarray) -> float:
    """Axis in degrees, −180 to 180, of the net areas of the eight leads: atan2(2 aVF / √3, I)."""
    x, y = frontal(area)
    return float(np.rad2deg(np.arctan2(y, x)))


def rotation(degrees: np.ndarray) -> np.ndarray:
    """3 × 3 rotation of Frank's axes by three angles (about X, Y, Z), in degrees."""
    a, b, c = np.deg2rad(degrees)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rx @ ry @ rz
