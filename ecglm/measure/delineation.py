"""P, QRS and T of every beat: in each lead, and for the record by what the leads say together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecglm.measure import network, windows
from ecglm.measure.network import KINDS
from ecglm.measure.working import RATE, Working

_SHARES = np.array([[0.4, 0.5, 0.6], [0.5, 0.5, 0.5], [0.4, 0.5, 0.6]])
"""Of P, QRS and T, each onset, peak and offset: the record's mark lies where that share of the leads' marks
lie before it. The earliest of twelve onsets would follow the worst lead."""
_LEAST_DURATION = (16, 24, 40)  # ms: of P, QRS and T; anything shorter is no such wave


@dataclass(frozen=True)
class Delineation:
    """Marks of all beats.

    Args:
        r_peaks: (beats,) samples of the working signal.
        anchors: (beats,) where all leads together are largest; steadier than R, to average beats on.
        marks: (beats, leads, 3 kinds, 3) onset, peak, offset in samples of the working signal.
        present: (beats, leads, 3) whether the wave is there.
        record_marks: (beats, 3, 3) of all leads together.
        record_present: (beats, 3).
        shape: (beats,) number of each beat's QRS shape.
    """

    r_peaks: np.ndarray
    anchors: np.ndarray
    marks: np.ndarray
    present: np.ndarray
    record_marks: np.ndarray
    record_present: np.ndarray
    shape: np.ndarray


def delineate(working: Working, r_peaks: np.ndarray) -> Delineation:
    """Find the waves around each beat.

    Args:
        working: the signal.
        r_peaks: (beats,) where `find_beats` saw them, at least one; they come back to the sample.
    """
    cut = windows.gather(working, r_peaks)
    shape = windows.shapes(cut[:, working.usable])
    group = windows.groups(shape)
    close = windows.gather_closer(working, r_peaks)
    out = network.run(*network.relative(cut, close, group, working.usable), group, windows.intervals(r_peaks))
    beats, leads, _ = cut.shape
    marks = network.place(out).reshape(beats, leads, 3, 3) + r_peaks[:, None, None, None]
    odds = out[:, -len(KINDS) :].reshape(beats, leads, len(KINDS))
    usable = working.usable
    present = (odds > 0) & usable[None, :, None]
    present[:, :, 1] = usable
    record_odds = odds[:, usable].mean(1)
    record_present = record_odds > 0
    record_present[:, 1] = True
    # a wave that the leads have only together is drawn in no lead alone, and the other way round
    present &= record_present[:, None] | (present.sum(1, keepdims=True) > 2)
    record_marks = _together(marks, present, usable)
    _tidy(marks, present, working.fine.shape[1])
    _tidy(record_marks, record_present, working.fine.shape[1])
    _to_the_extremum(working.fine, marks)
    anchors = _largest(working, record_marks[:, 1])
    to_the_sample = anchors
    if usable.sum() > 3:  # the middle one of the leads' peaks: with two leads it would be the earlier one
        peaks = np.sort(marks[:, usable, 1, 1], axis=1)
        to_the_sample = np.rint(peaks[:, (peaks.shape[1] - 1) // 2]).astype(int)
    if (to_the_sample[1:] > to_the_sample[:-1]).all():  # in fibrillation one may pass the next
        r_peaks = to_the_sample
    record_marks[:, 1, 1] = r_peaks
    return Delineation(r_peaks, anchors, marks, present, record_marks, record_present, shape)


def _together(marks: np.ndarray, present: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(beats, 3, 3): onset, peak and offset that stand for all leads that have the wave."""
    some = np.where(present.any(1, keepdims=True), present, usable[None, :, None])
    values = np.where(some[..., None], marks, np.inf)
    values = np.sort(values, axis=1)
    count = some.sum(1)
    beat, kind, mark = np.arange(len(marks))[:, None, None], np.arange(3)[:, None], np.arange(3)
    last = count[..., None] - 1
    at = _SHARES * last
    low = at.astype(int)
    a, b = values[beat, low, kind, mark], values[beat, np.minimum(low + 1, last), kind, mark]
    together: np.ndarray = a + (at - low) * (b - a)
    return together


def _largest(working: Working, qrs: np.ndarray) -> np.ndarray:
    """(beats,) where the leads together are farthest from their level at QRS onset, within 12 ms."""
    fine = working.fine
    last = fine.shape[1] - 1
    onset, at = np.rint(qrs[:, :2]).astype(int).T
    index = np.minimum(np.maximum(at[:, None] + np.arange(-6, 7), 0), last)
    away = fine[:, index] - fine[:, np.minimum(np.maximum(onset, 0), last), None]
    size = np.einsum("lbs,lbs->l", away, away)[:, None, None] + 1e-9
    best = (np.square(away) / size).sum(0).argmax(1)
    return index[np.arange(len(index)), best]


def _to_the_extremum(fine: np.ndarray, marks: np.ndarray) -> None:
    """Move each lead's peaks to the sample farthest from the line between onset and offset, within 8 ms."""
    leads, n = fine.shape
    whole = np.minimum(np.maximum(np.rint(marks), 0), n - 1).astype(int)
    rows = np.arange(leads)[:, None] * n
    ends = fine.take(rows + whole[..., 0]) + fine.take(rows + whole[..., 2])
    near = np.minimum(np.maximum(whole[..., 1, None] + np.arange(-5, 6), 0), n - 1)
    away = fine.take(rows[..., None] + near) - (ends / 2)[..., None]
    away = away[..., :-2] + 2 * away[..., 1:-1] + away[..., 2:]  # the noise of single samples
    away *= np.sign(away[..., 4, None])
    marks[..., 1] = np.minimum(np.maximum(whole[..., 1] - 4 + away.argmax(-1), 0), n - 1)
    np.minimum(np.maximum(marks[..., 1], marks[..., 0] + 1), marks[..., 2] - 1, out=marks[..., 1])


def _tidy(marks: np.ndarray, present: np.ndarray, num_samples: int) -> None:
    """Order the marks of a wave, and drop what is cut by the ends or overlaps its neighbour."""
    on, peak, off = marks[..., 0], marks[..., 1], marks[..., 2]
    least = np.array(_LEAST_DURATION) * RATE / 1000
    present &= (on >= 0) & (off <= num_samples - 1) & (off - on >= least)
    np.minimum(np.maximum(peak, on + 1), off - 1, out=peak)
    # P ends where QRS begins at the latest, T begins where QRS ends
    np.minimum(off[..., 0], on[..., 1], out=off[..., 0])
    np.maximum(on[..., 2], off[..., 1], out=on[..., 2])


__all__ = ["KINDS", "Delineation", "delineate"]
