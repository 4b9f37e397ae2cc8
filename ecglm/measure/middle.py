"""The median, of few values or of many, in a fraction of the time that `np.median` takes at these sizes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def middle(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Median along one axis that holds at least one value, none of them NaN."""
    n = values.shape[axis]
    if axis == 0 and values[0].size > 100 * n:
        return _of_rows(list(values))
    ordered = np.sort(values, axis) if n < 200 else np.partition(values, (n // 2 - 1, n // 2), axis)
    upper = ordered.take(n // 2, axis)
    return upper if n % 2 else (ordered.take(n // 2 - 1, axis) + upper) / 2


def _of_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Median of a few long rows: they are sorted against each other, whole rows at a time."""
    for a, b, low, high in _exchanges(len(rows)):
        one, two = rows[a], rows[b]
        if low:
            rows[a] = np.minimum(one, two)
        if high:
            rows[b] = np.maximum(one, two)
    half = len(rows) // 2
    return rows[half] if len(rows) % 2 else (rows[half - 1] + rows[half]) / 2


@lru_cache(maxsize=64)
def _exchanges(n: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Batcher's odd-even merge sort as pairs of places (Knuth, 5.3.4), and whether the lower and the higher
    one of each are still wanted, where only the middle is.
    """
    pairs = [
        (a, a + gap)
        for part in (1 << k for k in range((n - 1).bit_length()))
        for gap in (part >> k for k in range(part.bit_length()))
        for first in range(gap % part, n - gap, 2 * gap)
        for a in range(first, min(first + gap, n - gap))
        if a // (2 * part) == (a + gap) // (2 * part)
    ]
    wanted = {(n - 1) // 2, n // 2}
    kept = []
    for a, b in reversed(pairs):
        if wanted & {a, b}:
            kept.append((a, b, a in wanted, b in wanted))
            wanted |= {a, b}
    return tuple(reversed(kept))
