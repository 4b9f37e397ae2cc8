"""What is on the trace besides the heart, made on the electrodes, so that the lead equations hold with it.

Levels are those of PTB-XL (500 Hz, 600 records measured): 0.1–0.5 Hz 5/25/90 µV rms (10th percentile,
median, 90th), 100–150 Hz 2/3/6 µV rms, mains 1–5 µV.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

KINDS = ("baseline", "muscle", "mains", "motion")


def draw_levels(rng: np.random.Generator) -> dict[str, float]:
    """A realistic draw: rms in mV of each kind at one electrode, and the mains frequency in Hz."""
    levels = {
        "baseline": 0.020 * np.exp(0.95 * rng.standard_normal()),
        "muscle": 0.0030 * np.exp(0.5 * rng.standard_normal()),
        "mains": 0.003 * np.exp(0.8 * rng.standard_normal()) if rng.random() < 0.4 else 0.0,
        "motion": 0.08 * np.exp(0.6 * rng.standard_normal()) if rng.random() < 0.05 else 0.0,
        "mains_frequency": 50.0,
    }
    return {
        name: min(float(level), 50.0 if name == "mains_frequency" else 0.6) for name, level in levels.items()
    }


def levels_of(noise: bool | dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    """What the `noise` argument of `simulate` asks for, as a complete set of levels.

    Raises:
        ValueError: if a key is unknown or a level is negative.
    """
    if isinstance(noise, bool):
        return draw_levels(rng) if noise else dict.fromkeys(KINDS, 0.0) | {"mains_frequency": 50.0}
    unknown = set(noise) - {*KINDS, "mains_frequency"}
    if unknown or any(not 0 <= value <= 1000 for value in noise.values()):
        raise ValueError(
            f"noise must be True, False or a dict of levels in mV with the keys {', '.join(KINDS)} "
            f"and mains_frequency in Hz, got {noise!r}"
        )
    return dict.fromkeys(KINDS, 0.0) | {"mains_frequency": 50.0} | {k: float(v) for k, v in noise.items()}


def _fast_length(n: int) -> int:
    """The next length that is 2^a, 3·2^a or 5·2^a: numpy's FFT is quick there."""
    best = 1 << (n - 1).bit_length()
    for base in (3, 5, 9, 15):
        length = base
        while length < n:
            length *= 2
        best = min(best, length)
    return best


@lru_cache(maxsize=8)
def _shapes(n: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Power of wander and of muscle noise over the spectrum of n samples; its sum up to 250 Hz is 1."""
    f = np.fft.rfftfreq(n, 1 / rate)
    # a slow recorder sees less of the band, not the same power in less of it
    whole = np.arange(1, int(250 / f[1]) + 1) * f[1]
    return tuple((kind(f) / kind(whole).sum()).astype(np.float32) for kind in (_wander, _emg))


def _wander(f: np.ndarray) -> np.ndarray:
    """Respiration and skin: falls steeply above 0.3 Hz; the recorder cuts below 0.05 Hz (AHA 2007)."""
    power = 1 / (1 + (f / 0.25) ** 4) + 0.02 / (1 + (f / 1.5) ** 3)
    return np.where(f < 0.05, 0.0, power)


def _emg(f: np.ndarray) -> np.ndarray:
    """Surface EMG is broad, 20 to 150 Hz, above the electrode's own 1/f; the recorder cuts at 150 Hz."""
    power = (f**2 / (f**2 + 15.0**2) + 0.6 / (1 + f / 4)) / (1 + (f / 150.0) ** 6)
    return np.where(f < 0.3, 0.0, power)


def electrode_noise(
    rng: np.random.Generator, num_samples: int, rate: float, levels: dict[str, float]
) -> np.ndarray:
    """Noise of the eight independent leads: (8, samples) float32, mV.

    Wander and muscle noise are drawn as one random spectrum per electrode (RA, LA, LL, C1 to C6).
    """
    n = _fast_length(
        int(num_samples * 1.02) + 8
    )  # longer than asked, so that the end does not meet the start
    wander, emg = _shapes(n, float(rate))
    each = np.exp(0.35 * rng.standard_normal((3, 9))).astype(np.float32)
    each[1, :3] *= 1.5  # the limbs' muscles lie under their electrodes
    shape = np.multiply.outer((levels["baseline"] * each[0]) ** 2, wander)
    shape += np.multiply.outer((levels["muscle"] * each[1]) ** 2, emg)
    np.sqrt(shape, out=shape)
    shape *= np.float32(n / 2)
    spectrum = rng.standard_normal((9, len(wander), 2), dtype=np.float32).view(np.complex64)[..., 0]
    # a real signal of n samples has twice the one-sided sum as power; irfft divides by n
    electrodes = np.fft.irfft(spectrum * shape, n, axis=1)[:, :num_samples]
    electrodes = electrodes.astype(np.float32, copy=False)
    t = np.arange(num_samples, dtype=np.float32) / np.float32(rate)
    if levels["muscle"] > 0.003 and rng.random() < 0.3:  # bursts: the patient tenses and relaxes
        start, length = rng.uniform(0, t[-1]), rng.uniform(0.5, 3.0)
        burst = np.exp(-(((t - start) / length) ** 2)).astype(np.float32)
        high = electrodes[:, 1:] - electrodes[:, :-1]  # a first difference leaves wander out
        electrodes[:, 1:] += rng.uniform(0.5, 1.5) * burst[1:] * high
    if levels["mains"] > 0 and levels["mains_frequency"] < rate / 2:
        phase = 2 * np.pi * levels["mains_frequency"] * t + np.float32(rng.uniform(0, 2 * np.pi))
        gain = (levels["mains"] * np.sqrt(2) * each[2] * rng.choice([-1.0, 1.0], 9)).astype(np.float32)
        electrodes += gain[:, None] * np.sin(phase, dtype=np.float32)
    if levels["motion"] > 0:
        for _ in range(int(rng.integers(1, 4))):  # an electrode slips and creeps back
            which, at = int(rng.integers(9)), rng.uniform(0, t[-1])
            rise, decay = rng.uniform(0.03, 0.15), rng.uniform(0.3, 1.2)
            after = np.maximum(t - at, 0)
            step = (1 - np.exp(-after / rise)) * np.exp(-after / decay)
            electrodes[which] += np.float32(rng.choice([-1, 1]) * 4 * levels["motion"]) * step.astype(
                np.float32
            )
    ra, la, ll = electrodes[0], electrodes[1], electrodes[2]
    central = (ra + la + ll) / 3  # Wilson's terminal
    return np.concatenate([(la - ra)[None], (ll - ra)[None], electrodes[3:] - central])
