"""Block letters, signatures and rings as a pen in a hurry draws them: polylines in mm."""

import numpy as np

# Strokes of a glyph by pairs of digits: x 0 to 4 to the right, y 0 to 6 downwards, 6 on the line.
_GLYPHS = {
    "A": "0620 2046 1434",
    "B": "0006 0030413303 033344453606",
    "C": "4130100204163645",
    "D": "0006 002042442606",
    "E": "4000 0006 0646 0333",
    "F": "4000 0006 0333",
    "G": "413010020416364543 4323",
    "H": "0006 4046 0343",
    "I": "2026",
    "J": "4044361605",
    "K": "0006 4003 0346",
    "L": "0006 0646",
    "M": "0600 0024 2440 4046",
    "N": "0600 0046 4640",
    "O": "20100204163644423020",
    "P": "0006 0030413303",
    "Q": "20100204163644423020 2446",
    "R": "0006 0030413303 2346",
    "S": "41301001133345361605",
    "T": "0040 2026",
    "U": "000416364440",
    "V": "0026 2640",
    "W": "0016 1622 2236 3640",
    "X": "0046 4006",
    "Y": "0023 4023 2326",
    "Z": "0040 4006 0646",
    "0": "20100204163644423020",
    "1": "1120 2026",
    "2": "0110304106 0646",
    "3": "0110304123 234445361605",
    "4": "3036 3004 0444",
    "5": "4000 0003 0322324445361605",
    "6": "30110305163644331304",
    "7": "0040 4016",
    "8": "2302103042230516364523",
    "9": "42230210304236",
    "?": "011030412324 26",
    "/": "4006",
    "-": "1333",
    "+": "2224 1333",
    ".": "26",
    ",": "2516",
    ":": "22 26",
}
CHARACTERS = frozenset(_GLYPHS) | {" "}

_ADVANCE = 5.6  # of a glyph, in its own units


def write_by_hand(text: str, size: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A line of block letters, its left end at the origin, on the line y = 0.

    Args:
        text: of `CHARACTERS`, small letters as large ones.
        size: mm, height of the letters.
        rng: of the hand.
    """
    unit = size / 6
    slant, drift = rng.normal(0.18, 0.06), rng.normal(0, 0.012)
    strokes, x = [], 0.0
    for character in text.upper():
        tall, wide = rng.normal(1, 0.07), rng.normal(0.95, 0.08)
        rise = rng.normal(0, 0.25)
        for stroke in _GLYPHS.get(character, "").split():
            points = np.array(
                [[int(stroke[k]), int(stroke[k + 1]) - 6] for k in range(0, len(stroke), 2)], float
            )
            points += rng.normal(0, 0.14, points.shape)
            points = points * [wide, tall] + [x, rise]
            points[:, 0] -= slant * points[:, 1]
            points[:, 1] += drift * points[:, 0]
            strokes.append(_smooth(points) * unit)
        x += _ADVANCE * rng.normal(1, 0.06) * (0.7 if character in " I.,:" else 1)
    return strokes


def sign(size: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A signature: loops that run flat, and a flourish under them; its left end at the origin."""
    number = int(rng.integers(5, 9))
    heights = size * np.append(rng.uniform(0.8, 1.0), rng.uniform(0.1, 0.55, number - 1))
    x, points = 0.0, [[0.0, 0.0]]
    for height in heights:
        step = size * rng.uniform(0.22, 0.4)
        points += [[x + 0.75 * step, -height], [x + 0.2 * step, -0.9 * height], [x + step, 0.08 * height]]
        x += step
    tail = size * rng.uniform(0.6, 1.4)
    points += [[x + tail, -0.1 * size]]
    flourish = np.array([[x, 0.35 * size], [0.4 * x, 0.3 * size], [x + tail, 0.15 * size]])
    return [_smooth(np.array(points)), _smooth(flourish)]


def ring(width: float, height: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A ring drawn around something, centred on the origin, that overshoots where it closes."""
    angle = np.linspace(0, 2 * np.pi * rng.uniform(1.03, 1.12), 40) + rng.uniform(0, 2 * np.pi)
    swell = 1 + 0.08 * np.sin(angle * 1.5 + rng.uniform(0, 6)) + np.linspace(0, 0.1, 40)
    return [np.stack([np.cos(angle) * width / 2, np.sin(angle) * height / 2], axis=1) * swell[:, None]]


def _smooth(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom curve through the points."""
    if len(points) < 3:
        return points
    ends = np.vstack([points[:1], points, points[-1:]])
    a, b, c, d = ends[:-3], ends[1:-2], ends[2:-1], ends[3:]
    t = np.linspace(0, 1, 6, endpoint=False)[None, :, None]
    a, b, c, d = (part[:, None] for part in (a, b, c, d))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.vstack([curve.reshape(-1, 2), points[-1:]])
