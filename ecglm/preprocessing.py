"""Pure steps from a recording to a model's input: each takes and returns an array whose last axis is time.

They are composed, in one documented order, by `ecglm.processors.ECGFeatureExtractor`; nothing else in ecglm
filters, resamples or normalises a signal.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

import numpy as np

Fill = Literal["interpolate", "zero"]
Pad = Literal["zero", "edge", "repeat"]
Normalization = Literal["minmax", "zscore", "lead_minmax", "lead_zscore"]

FLAT = 1e-3
"""mV: a lead with a smaller range carries no ECG. One step of a 16-bit recording at 1000 units/mV."""
LARGEST = 1e6
"""mV: samples beyond are damage, and measured as unknown."""


def fill_missing(signal: np.ndarray, method: Fill = "interpolate") -> np.ndarray:
    """Replace NaN and infinite samples.

    Args:
        signal: (..., num_samples), mV.
        method: "interpolate" draws a straight line between the known neighbours of the same lead, and holds
            the first and last known value towards the ends; "zero" writes zeros. A lead without any known
            sample becomes zero either way.

    Returns:
        Same shape, float32; the input itself where nothing is missing.
    """
    _one_of("fill", method, Fill)
    known = np.isfinite(signal)
    if known.all():
        return np.asarray(signal, dtype=np.float32)
    filled = np.where(known, signal, 0).astype(np.float32)
    if method == "interpolate":
        times = np.arange(signal.shape[-1])
        for index in np.ndindex(signal.shape[:-1]):
            if known[index].any() and not known[index].all():
                filled[index] = np.interp(times, times[known[index]], filled[index][known[index]])
    return filled


def notch(signal: np.ndarray, sampling_rate: float, frequency: float, quality: float = 30.0) -> np.ndarray:
    """Zero-phase second-order notch, against mains hum.

    Args:
        signal: (..., num_samples), mV.
        sampling_rate: Hz.
        frequency: Hz, below sampling_rate / 2.
        quality: centre frequency over bandwidth. 30: ECGFounder's fine-tuning path.

    Raises:
        ValueError: if the frequency is not between 0 and the Nyquist frequency.

    Source: scipy.signal.iirnotch, run forwards and backwards.
    """
    from scipy.signal import filtfilt, iirnotch

    if not 0 < frequency < sampling_rate / 2:
        raise ValueError(
            f"notch must lie between 0 and {sampling_rate / 2:g} Hz (half the sampling rate), got {frequency}"
        )
    b, a = iirnotch(frequency, quality, sampling_rate)
    return filtfilt(b, a, signal, axis=-1).astype(np.float32)


def bandpass(
    signal: np.ndarray, sampling_rate: float, low: float | None, high: float | None, order: int = 4
) -> np.ndarray:
    """Zero-phase Butterworth band-pass; high-pass without `high`, low-pass without `low`.

    Args:
        signal: (..., num_samples), mV.
        sampling_rate: Hz.
        low: lower corner in Hz, or None.
        high: upper corner in Hz, or None; 0 < low < high < sampling_rate / 2.
        order: of the filter in one direction. 4: ECGFounder's fine-tuning path.

    Raises:
        ValueError: if the corners are not ordered or reach the Nyquist frequency.

    Source: second-order sections, run forwards and backwards (scipy.signal.sosfiltfilt).
    """
    from scipy.signal import butter, sosfiltfilt

    corners = [corner for corner in (low, high) if corner is not None]
    if not corners or corners != sorted(set(corners)) or corners[0] <= 0 or corners[-1] >= sampling_rate / 2:
        raise ValueError(
            f"need 0 < low < high < {sampling_rate / 2:g} Hz (half the sampling rate), "
            f"got low={low}, high={high}"
        )
    kind = "bandpass" if len(corners) == 2 else "highpass" if high is None else "lowpass"
    sections = butter(
        order, corners if len(corners) == 2 else corners[0], kind, fs=sampling_rate, output="sos"
    )
    return sosfiltfilt(sections, signal, axis=-1).astype(np.float32)


def remove_baseline(signal: np.ndarray, sampling_rate: float, window: float = 0.4) -> np.ndarray:
    """Subtract the running median.

    Args:
        signal: (..., num_samples), mV.
        sampling_rate: Hz.
        window: seconds. 0.4: ECGFounder's fine-tuning path.

    Raises:
        ValueError: if the window is not positive.

    Source: scipy.ndimage.median_filter, the ends mirrored.
    """
    from scipy.ndimage import median_filter

    if window <= 0:
        raise ValueError(f"baseline must be a window in seconds above 0, got {window}")
    width = max(1, round(window * sampling_rate)) | 1  # odd, so that the median is centred
    size = (1,) * (signal.ndim - 1) + (width,)
    return (signal - median_filter(signal, size=size, mode="reflect")).astype(np.float32)


def resample(signal: np.ndarray, sampling_rate: float, to: float) -> np.ndarray:
    """Change the sampling rate, with the anti-alias filter of a polyphase resampler.

    Args:
        signal: (..., num_samples), mV.
        sampling_rate: Hz, of the input.
        to: Hz, of the output.

    Returns:
        (..., ceil(num_samples * to / sampling_rate)); the input itself where the rates are equal.

    Raises:
        ValueError: if either rate is not positive.

    Source: scipy.signal.resample_poly; the signal is continued at its ends by a straight line, so an offset
    makes no ringing.
    """
    from scipy.signal import resample_poly

    if sampling_rate <= 0 or to <= 0:
        raise ValueError(f"sampling rates must be positive, got {sampling_rate} and {to} Hz")
    if sampling_rate == to:
        return signal
    ratio = Fraction(to / sampling_rate).limit_denominator(1000)
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line").astype(
        np.float32
    )


def fit_length(signal: np.ndarray, num_samples: int, pad: Pad | None = None) -> np.ndarray:
    """Keep the first `num_samples` samples, or continue a shorter signal on the right.

    Args:
        signal: (..., samples), mV.
        num_samples: wanted length.
        pad: "zero", "edge" (hold the last sample) or "repeat" (start again); None refuses a shorter signal.

    Raises:
        ValueError: if the signal is shorter and `pad` is None, or if it is empty.
    """
    if pad is not None:
        _one_of("pad", pad, Pad)
    length = signal.shape[-1]
    if length >= num_samples:
        return signal[..., :num_samples]
    if pad is None or length == 0:
        raise ValueError(
            f"the signal has {length} samples and {num_samples} are needed; allow padding with pad='zero'"
        )
    width = [(0, 0)] * (signal.ndim - 1) + [(0, num_samples - length)]
    modes: dict[str, Literal["constant", "edge", "wrap"]]
    modes = {"zero": "constant", "edge": "edge", "repeat": "wrap"}
    return np.pad(signal, width, mode=modes[pad])


def normalize(signal: np.ndarray, method: Normalization) -> np.ndarray:
    """Scale a recording.

    Args:
        signal: (leads, num_samples), mV.
        method: "minmax" to 0…1 and "zscore" to mean 0 and deviation 1, with one pair of numbers for the whole
            recording (MERL; ST-MEM and ECGFounder); "lead_minmax" and "lead_zscore" with a pair for each
            lead.

    Returns:
        Same shape, float32. A flat recording or lead becomes zero.
    """
    _one_of("normalization", method, Normalization)
    axes = -1 if method.startswith("lead_") else (-2, -1)
    if method.endswith("minmax"):
        offset, scale = signal.min(axes, keepdims=True), np.ptp(signal, axes, keepdims=True)
    else:
        offset, scale = signal.mean(axes, keepdims=True), signal.std(axes, keepdims=True)
    return np.divide(signal - offset, scale, out=np.zeros_like(signal, dtype=np.float32), where=scale > 0)


def _one_of(name: str, value: str, allowed: object) -> None:
    if value not in get_args(allowed):
        choices = ", ".join(map(repr, get_args(allowed)))
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")
