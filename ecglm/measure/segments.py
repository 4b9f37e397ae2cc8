"""What the quality check sees of a recording: ten seconds at 250 Hz, in windows of 0.2 s and in beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecglm.measure.middle import middle

RATE = 250  # Hz: keeps what a QRS, muscle noise and mains at 50 and 60 Hz show, at half the work of 500 Hz
SEGMENT = 10.0  # s, about; the length of the records that the weights were learnt from
_WINDOW = 50  # samples, 0.2 s: shorter than the pause between a T wave and the next P wave
_SECOND = 5  # windows
_SLOPE = 8  # samples, 32 ms: about the rise of an R wave
_SMOOTH = 15  # samples, 60 ms: about a narrow QRS
_NEAR = np.arange(-35, 36)  # samples, 0.14 s on both sides: of two beats so close the larger one counts
_AROUND = np.arange(-25, 25)  # samples: a QRS and a bit on both sides
OF_BEND = 0.63  # rms of white noise's change over that of its bend in the quieter windows
_LIVE = 0.02  # mV: median range in a second below which a lead shows no heart
_MAINS_TONES = (50.0, 60.0, 45.0, 55.0, 65.0)  # Hz; the last three say what is there without mains

_time = np.arange(RATE) / RATE
_TONES = np.concatenate(
    [np.hanning(RATE) * wave(2 * np.pi * np.outer(_MAINS_TONES, _time)) for wave in (np.cos, np.sin)]
).T.astype(np.float32) * (
    4 / RATE
)  # (samples of a second, cosine and sine of each tone); a Hann window has mean 1/2


@dataclass(frozen=True)
class Segment:
    """One segment in numbers; arrays are (leads,) unless said otherwise, levels in mV.

    Args:
        ranges: (leads, seconds), peak to peak in each second.
        typical: median of `ranges`.
        scale: median of `typical` over the leads that show a heart; 0 where none does. Everything that is
            judged relative to the size of this ECG is judged by it, so that a wrong gain changes nothing.
        flat: share of the seconds in which nothing moves.
        stuck: share of the windows that lie still at the lead's highest or lowest value.
        offset: median, absolute.
        wander: standard deviation of the means of the seconds.
        swing: peak to peak of the means of the seconds.
        quiet: rms of the change from sample to sample in the quieter windows (30th percentile): noise
            between the beats.
        loud: the same in the loudest windows (97th percentile): a QRS, or artefacts.
        noise: that of `quiet`, by the change of the change in half windows: the flanks of large waves are
            straight, and at 200/min there is room for 0.1 s between the beats, not for 0.2 s.
        mains: amplitude of the stronger of 50 and 60 Hz, what is around them taken off; and `mains_hz`.
        beats: (beats,) where the slope of all leads together peaks, in samples.
        agreement: power of the mean QRS as a share of the power around all beats, 0 to 1.
        likeness: median correlation of a beat's QRS with the mean one.
        recurrence: median correlation of a beat's QRS with the one, two or three beats before, the best of
            the three: high also where two shapes alternate; looked at where `likeness` is below 0.8.
        size: peak to peak of the mean QRS.
        prominence: how far the slope at the beats stands out of the usual slope.
        sameness: share of the slopes' power that one shape explains: 1 where all leads are copies.
    """

    ranges: np.ndarray
    typical: np.ndarray
    scale: float
    flat: np.ndarray
    stuck: np.ndarray
    offset: np.ndarray
    wander: np.ndarray
    swing: np.ndarray
    quiet: np.ndarray
    loud: np.ndarray
    noise: np.ndarray
    mains: np.ndarray
    mains_hz: np.ndarray
    beats: np.ndarray
    agreement: np.ndarray
    likeness: np.ndarray
    recurrence: np.ndarray
    size: np.ndarray
    prominence: float
    sameness: float


def to_rate(signal: np.ndarray, sampling_rate: float, rate: float = RATE) -> np.ndarray:
    """The signal at another rate, by averages over its new samples; straight lines where that is faster.

    Args:
        signal: (leads, samples), mV, nothing unknown.
        sampling_rate: Hz, of the signal.
        rate: Hz, wanted.
    """
    step = sampling_rate / rate
    num_samples = int(signal.shape[1] / step + 1e-6)
    if step == 2:
        pairs = signal[:, : 2 * num_samples].reshape(len(signal), num_samples, 2)
        return pairs @ np.full(2, 0.5, np.float32)
    if step == 1 or not num_samples:
        return signal[:, :num_samples]
    if step < 1:
        at = np.minimum(np.arange(num_samples) * step, signal.shape[1] - 1)
        before = np.minimum(at.astype(int), max(signal.shape[1] - 2, 0))
        after = np.minimum(before + 1, signal.shape[1] - 1)
        share = (at - before).astype(np.float32)
        return signal[:, before] * (1 - share) + signal[:, after] * share
    edges = np.arange(num_samples + 1) * step
    whole = np.minimum(edges.astype(int), signal.shape[1] - 1)
    total = np.zeros((len(signal), signal.shape[1] + 1))
    np.cumsum(signal, axis=1, out=total[:, 1:])
    upto = total[:, whole] + (edges - whole) * signal[:, whole]
    return (np.diff(upto, axis=1) / step).astype(np.float32)


def look(signal: np.ndarray) -> Segment:
    """Measure one segment.

    Args:
        signal: (leads, samples) float32 at 250 Hz, mV, nothing unknown; 0.2 s or more.
    """
    num_leads = len(signal)
    num_windows = signal.shape[1] // _WINDOW
    cut = signal[:, : num_windows * _WINDOW].reshape(num_leads, num_windows, _WINDOW)
    low, high = cut.min(2), cut.max(2)
    moves, mean = high - low, np.einsum("lws->lw", cut) * np.float32(1 / _WINDOW)
    seconds = max(1, num_windows // _SECOND)
    in_second = (num_leads, seconds, min(_SECOND, num_windows))
    whole = in_second[1] * in_second[2]
    ranges = high[:, :whole].reshape(in_second).max(2) - low[:, :whole].reshape(in_second).min(2)
    level = mean[:, :whole].reshape(in_second).mean(2)
    typical = middle(ranges, 1)
    alive = typical[typical > _LIVE]
    scale = float(middle(alive)) if len(alive) else 0.0
    still = moves < max(0.004, 0.05 * scale)
    top, bottom = high.max(1), low.min(1)
    at_edge = (high >= top[:, None] - 0.002 * scale) | (low <= bottom[:, None] + 0.002 * scale)
    change = cut[:, :, 1:] - cut[:, :, :-1]
    speed = np.sort(np.sqrt(np.einsum("lws,lws->lw", change, change) / (_WINDOW - 1)), axis=1)
    slope = signal[:, _SLOPE:] - signal[:, :-_SLOPE]
    mains, mains_hz = _mains(signal)
    beats, prominence = _activity(slope)
    agreement, likeness, recurrence, size = _agreement(signal, beats)
    return Segment(
        ranges=ranges,
        typical=typical,
        scale=scale,
        flat=still[:, :whole].reshape(in_second).all(2).sum(1) / seconds,
        stuck=(at_edge & (moves < 0.01 * (top - bottom)[:, None])).sum(1) / num_windows,
        offset=np.abs(middle(mean, 1)),
        wander=np.sqrt(np.square(level - level.mean(1, keepdims=True)).sum(1) / seconds),
        swing=level.max(1) - level.min(1),
        quiet=speed[:, int(0.3 * num_windows)],
        loud=speed[:, int(0.97 * num_windows)],
        noise=_noise(change),
        mains=mains,
        mains_hz=mains_hz,
        beats=beats,
        agreement=agreement,
        likeness=likeness,
        recurrence=recurrence,
        size=size,
        prominence=prominence,
        sameness=_sameness(slope),
    )


def _noise(change: np.ndarray) -> np.ndarray:
    """The rms of `change`, (leads, windows, change from sample to sample), that noise has."""
    bend = (change[:, :, 1:] - change[:, :, :-1]).reshape(len(change), -1, _WINDOW // 2 - 1)
    power = np.sort(np.einsum("lws,lws->lw", bend, bend), axis=1)
    return OF_BEND * np.sqrt(power[:, int(0.3 * power.shape[1])] / bend.shape[2])


def _mains(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seconds = signal.shape[1] // RATE
    if not seconds:
        return np.zeros(len(signal)), np.full(len(signal), 50.0)
    parts = signal[:, : seconds * RATE].reshape(-1, RATE) @ _TONES
    tones = len(_MAINS_TONES)
    amplitude = np.hypot(parts[:, :tones], parts[:, tones:]).reshape(len(signal), seconds, tones)
    amplitude = middle(amplitude, 1)
    hum = np.maximum(amplitude[:, :2] - amplitude[:, 2:].mean(1, keepdims=True), 0)
    return hum.max(1), np.where(hum[:, 0] >= hum[:, 1], 50.0, 60.0)


def _sameness(slope: np.ndarray) -> float:
    """First eigenvalue of the leads' slopes, each lead at one size, over the sum of all."""
    power = slope @ slope.T
    size = np.sqrt(power.diagonal())
    moving = size > _LIVE / 10 * np.sqrt(max(slope.shape[1], 1))
    if moving.sum() < 3:
        return 0.0
    alike = power[moving][:, moving] / (size[moving, None] * size[moving])
    return float(np.linalg.eigvalsh(alike)[-1] / len(alike))


def _activity(slope: np.ndarray) -> tuple[np.ndarray, float]:
    """Where the slope of all leads together peaks, as at a QRS, and how far it stands out there.

    No detector of beats: it serves leads of any quality, and asks for nothing but moments worth comparing.

    Args:
        slope: (leads, samples) mV in 32 ms.

    Returns:
        (beats,) samples, and the usual peak over what is usual in between; 0 where nothing moves.
    """
    slope = np.abs(slope)
    usual = middle(_by_second(slope).max(2), 1)
    usable = usual > _LIVE / 2
    if not usable.any():
        return np.zeros(0, int), 0.0
    weight = (np.where(usable, 1 / np.where(usable, usual, 1), 0) / usable.sum()).astype(np.float32)
    # A lead counts no more than twice its usual peak, or one burst would hide every beat.
    np.minimum(slope, 2 * usual[:, None], out=slope)
    total = np.concatenate([[0.0], np.cumsum(weight @ slope, dtype=np.float64)])
    activity = (total[_SMOOTH:] - total[:-_SMOOTH]) / _SMOOTH
    peak = float(middle(_by_second(activity[None])[0].max(1)))
    beside = np.concatenate([[-1.0], activity, [-1.0]])
    beats = np.flatnonzero((activity >= beside[:-2]) & (activity >= beside[2:]) & (activity > 0.45 * peak))
    near = np.minimum(np.maximum(beats[:, None] + _NEAR, 0), len(activity) - 1)
    beats = beats[activity[beats] == activity[near].max(1)]
    return beats + (_SLOPE + _SMOOTH) // 2, peak / max(float(middle(activity)), 1e-9)


def _by_second(signal: np.ndarray) -> np.ndarray:
    """(rows, seconds, samples of a second); a shorter signal is one second."""
    seconds = signal.shape[1] // RATE
    return signal[:, : seconds * RATE].reshape(len(signal), seconds, RATE) if seconds else signal[:, None]


def around(signal: np.ndarray, beats: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The signal around each beat that has all of it: (leads, beats, offsets)."""
    inside = (beats + offsets[0] >= 0) & (beats + offsets[-1] < signal.shape[1])
    return signal[:, beats[inside, None] + offsets]


def _agreement(signal: np.ndarray, beats: np.ndarray) -> tuple[np.ndarray, ...]:
    """How much the QRS complexes of each lead are alike."""
    qrs = around(signal, beats, _AROUND)
    if qrs.shape[1] < 3:
        return (np.zeros(len(signal)),) * 4
    qrs = qrs - qrs.mean(2, keepdims=True)
    usual = middle(qrs, 1)
    power = np.einsum("ls,ls->l", usual, usual) / len(_AROUND)
    apart = qrs - usual[:, None]
    rest = np.einsum("lbs,lbs->l", apart, apart) / apart[0].size
    product = np.einsum("lbs,ls->lb", qrs, usual)
    norms = np.sqrt(np.einsum("lbs,lbs->lb", qrs, qrs) * (power * len(_AROUND))[:, None])
    likeness = middle(product / (norms + 1e-6), 1)
    recurrence, unlike = likeness.copy(), np.flatnonzero(likeness < 0.8)
    if len(unlike) and qrs.shape[1] > 5:
        shapes = qrs[unlike] / (np.sqrt(np.einsum("lbs,lbs->lb", qrs[unlike], qrs[unlike])) + 1e-6)[..., None]
        with_earlier = [
            middle(np.einsum("lbs,lbs->lb", shapes[:, lag:], shapes[:, :-lag]), 1) for lag in (1, 2, 3)
        ]
        recurrence[unlike] = np.max(with_earlier, axis=0)
    return power / (power + rest + 1e-6), likeness, recurrence, usual.max(1) - usual.min(1)
