"""The recording: `ECG`, the standard lead names, and the algebra that ties the limb leads together."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import numpy as np

LEADS_12 = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

_BY_FOLDED_NAME = {name.lower(): name for name in LEADS_12}
_BY_FOLDED_NAME |= {"d1": "I", "d2": "II", "d3": "III", "di": "I", "dii": "II", "diii": "III"}
_BY_FOLDED_NAME |= {f"c{i}": f"V{i}" for i in range(1, 7)}  # IEC 60601 electrode names
_STANDARD = frozenset(LEADS_12)
_DECORATION = re.compile(
    r"^(mdc[_ ]ecg[_ ]lead[_ ]|(e[ck]g[-_ ])?(lead|derivation|ableitung)[-_ ]?|e[ck]g[-_ ]?)", re.IGNORECASE
)


class ECGFileError(ValueError):
    """A recording that cannot be read: the message names the file, what is wrong, and the remedy."""


def standard_lead(name: str) -> str:
    """The standard spelling of a lead's name; a name that is no ECG lead comes back stripped, otherwise as it
    is.

    >>> standard_lead("AVR"), standard_lead("MDC_ECG_LEAD_V1"), standard_lead("Lead II")
    ('aVR', 'V1', 'II')
    """
    stripped = name.strip().strip("\x00")
    return _BY_FOLDED_NAME.get(_DECORATION.sub("", stripped).replace(" ", "").lower(), stripped)


@dataclass(frozen=True)
class ECG:
    """One recording.

    Args:
        signal: (leads, samples) float32, mV; NaN where the value is unknown.
        sampling_rate: Hz.
        leads: one name per row; standard names (`I II III aVR aVL aVF V1 … V6`) where the row is a standard
            lead.
        metadata: what else is known: `record_id`, `patient_id`, `age` (years), `sex` ("male" | "female"),
            `report`, `codes`, `annotations` (dictionaries of `onset` and `duration`, seconds from the first
            sample, and `text`), `source` (format and file), `assumed` and `warnings` (lists of sentences
            written while reading).

    Raises:
        ValueError: if the shapes, rate or names contradict each other.
    """

    signal: np.ndarray
    sampling_rate: float
    leads: tuple[str, ...] = LEADS_12
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        signal = np.asarray(self.signal, dtype=np.float32)
        leads = tuple(name if name in _STANDARD else standard_lead(name) for name in self.leads)
        if signal.ndim != 2:
            raise ValueError(f"signal must have the shape (leads, samples), got {signal.shape}")
        if len(leads) != len(signal):
            raise ValueError(f"signal has {len(signal)} rows but {len(leads)} lead names: {' '.join(leads)}")
        if len(set(leads)) != len(leads):
            twice = sorted({name for name in leads if leads.count(name) > 1})
            raise ValueError(f"lead {', '.join(twice)} is named twice; give every row its own name")
        if not (math.isfinite(self.sampling_rate) and self.sampling_rate > 0):
            raise ValueError(f"sampling_rate must be a positive number of Hz, got {self.sampling_rate}")
        object.__setattr__(self, "signal", signal)
        object.__setattr__(self, "leads", leads)
        object.__setattr__(self, "sampling_rate", float(self.sampling_rate))

    @property
    def num_leads(self) -> int:
        """Number of rows."""
        return self.signal.shape[0]

    @property
    def num_samples(self) -> int:
        """Number of samples per lead."""
        return self.signal.shape[1]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate

    @property
    def name(self) -> str:
        """What messages call this recording."""
        return str(self.metadata.get("record_id") or "the recording")

    def lead(self, name: str) -> np.ndarray:
        """One lead's samples: (samples,), mV.

        Raises:
            ValueError: if the recording has no such lead.
        """
        name = standard_lead(name)
        if name not in self.leads:
            raise ValueError(f"{self.name} has no lead {name!r}; it has {', '.join(self.leads)}")
        return self.signal[self.leads.index(name)]

    def select(self, leads: Sequence[str]) -> ECG:
        """The same recording with these leads, in this order.

        Raises:
            ValueError: if one is not there; the message lists those that are.
        """
        names = tuple(standard_lead(name) for name in leads)
        missing = [name for name in names if name not in self.leads]
        if missing:
            raise ValueError(
                f"{self.name} has no lead {', '.join(map(repr, missing))}; it has {', '.join(self.leads)}. "
                "Choose among these or give another record."
            )
        rows = [self.leads.index(name) for name in names]
        return replace(self, signal=self.signal[rows], leads=names)

    def crop(self, start: float, stop: float) -> ECG:
        """The part from `start` to `stop`, in seconds; annotations are cut with it.

        Raises:
            ValueError: if the span is empty or reaches outside the recording.
        """
        first, last = round(start * self.sampling_rate), round(stop * self.sampling_rate)
        if not 0 <= first < last <= self.num_samples:
            raise ValueError(
                f"cannot crop {start} to {stop} s of {self.name}, which lasts {self.duration:g} s"
            )
        metadata = self.metadata
        if marks := metadata.get("annotations"):
            span = first / self.sampling_rate, last / self.sampling_rate
            metadata = metadata | {"annotations": annotations_within(marks, *span)}
        return replace(self, signal=self.signal[:, first:last], metadata=metadata)

    def __repr__(self) -> str:
        leads = "12 leads" if self.leads == LEADS_12 else " ".join(self.leads)
        return f"ECG({self.name}: {leads}, {self.duration:g} s at {self.sampling_rate:g} Hz)"


def annotations_within(annotations: Sequence[Any], start: float, stop: float = math.inf) -> list[Any]:
    """Those that touch a span, counted from where it begins; what lasts longer is cut to it.

    An annotation whose onset or duration is no number lies in no span.

    Args:
        annotations: dictionaries of `onset` and `duration` (seconds, or None) and `text`.
        start: seconds.
        stop: seconds; what begins there lies behind it.

    >>> annotations_within([{"onset": 7, "duration": None}, {"onset": 9, "duration": 3}], start=10)
    [{'onset': 0, 'duration': 2.0}]
    """
    kept: list[Any] = []
    for each in annotations:
        try:
            onset = float(each["onset"])
            end = onset + float(each.get("duration") or 0)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            continue
        if onset < stop and (onset >= start or end > start):
            begin, end = max(onset, start), min(end, stop)
            cut = {"onset": round(begin - start, 6)}
            if each.get("duration") is not None:
                cut["duration"] = round(end - begin, 6)
            kept.append(each | cut)
    return kept


def derive_limb_leads(ecg: ECG) -> ECG:
    """Add those of III, aVR, aVL and aVF that are missing, where two limb leads are there; the rows come in
    standard order.

    Einthoven: III = II - I. Goldberger: aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2. The names
    of the added leads are noted in `metadata["assumed"]`.
    """
    have = dict(zip(ecg.leads, ecg.signal, strict=True))
    if not {"I", "II"} <= have.keys():
        return ecg
    one, two = have["I"], have["II"]
    derived = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    added = [name for name in derived if name not in have]
    if not added:
        return ecg
    have = derived | have
    order = [name for name in LEADS_12 if name in have] + [name for name in have if name not in LEADS_12]
    assumed = [*ecg.metadata.get("assumed", []), f"{', '.join(added)} derived from I and II"]
    return replace(
        ecg,
        signal=np.stack([have[name] for name in order]),
        leads=tuple(order),
        metadata=ecg.metadata | {"assumed": assumed},
    )


_LIMB = LEADS_12[:6]
# Einthoven's and Goldberger's equations as rows over I, II, III, aVR, aVL, aVF; each is zero in every sample.
_LIMB_EQUATIONS = np.array(
    [
        [1, -1, 1, 0, 0, 0],
        [0.5, 0.5, 0, 1, 0, 0],
        [-0.5, 0, 0.5, 0, 1, 0],
        [0, -0.5, -0.5, 0, 0, 1],
    ]
)
_IN_EQUATION = [set(np.flatnonzero(equation).tolist()) for equation in _LIMB_EQUATIONS]
_TINY = 0.004  # mV rms: what rounding each lead by itself to the steps of an 8-bit recorder leaves over


def limb_lead_errors(ecg: ECG) -> dict[str, float]:
    """How badly the limb leads break Einthoven's and Goldberger's equations.

    They hold in every sample of leads recorded at one time from one set of electrodes, wherever these lie:
    exchanged cables do not show here. They break where rows bear wrong names, were scaled one by one, come
    from different moments, or were not computed from the same electrodes.

    Args:
        ecg: the recording; samples unknown (NaN) in one of an equation's leads are left out.

    Returns:
        For each equation whose three leads are there, under the lead that it gives (III = II - I,
        aVR = -(I + II) / 2, aVL = (I - III) / 2, aVF = (II + III) / 2): the rms of what is left over, as a
        share of the rms of the largest of the three leads. 0 where it is below rounding, 0.004 mV; files of
        PTB-XL and CinC 2011 stay below 0.01.
    """
    there = [k for k, name in enumerate(_LIMB) if name in ecg.leads]
    kept = [row for row, needed in enumerate(_IN_EQUATION) if needed <= set(there)]
    if not kept:
        return {}
    limbs = ecg.signal[[ecg.leads.index(_LIMB[k]) for k in there]]
    equations = _LIMB_EQUATIONS[np.ix_(kept, there)].astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        left_over = _mean_square(equations @ limbs)
        power = _mean_square(limbs)
        if not np.isfinite(power).all():  # each equation by the samples that it knows
            errors = {}
            for row, equation in zip(kept, equations, strict=True):
                three = limbs[equation != 0]
                three = three[:, np.isfinite(three).all(0)]
                if three.size:
                    rest = _mean_square(equation[equation != 0][None] @ three)
                    errors[_LIMB[row + 2]] = _share(float(rest[0]), float(_mean_square(three).max()))
            return errors
    return {
        _LIMB[row + 2]: _share(float(rest), float(power[equation != 0].max()))
        for row, rest, equation in zip(kept, left_over, equations, strict=True)
    }


def _mean_square(signal: np.ndarray) -> np.ndarray:
    product: np.ndarray = np.einsum("ij,ij->i", signal, signal) / max(signal.shape[1], 1)
    return product


def _share(left_over: float, largest: float) -> float:
    """Of two powers, that of the rms; what rounding leaves over counts as nothing."""
    if not np.isfinite(largest):
        return 1.0
    return 0.0 if left_over <= _TINY**2 else float(np.sqrt(left_over / largest))


# mV in 20 ms. Of twelve leads 99.8 % of PTB-XL's records lie in 0.38 to 2.5, of single leads in 0.14 to 4.8.
_TWELVE_BOUNDS, _FEW_BOUNDS = (0.3, 3.0), (0.1, 6.0)
STEEP_SECONDS = 20.0
"""Of a recording: as much is looked at by `steep_parts`."""
_STEP, _EVERY = 0.02, 0.008  # seconds: over which a slope is taken, and how often
_BLOCK = round(2 / _EVERY)  # slopes that give one figure: those of 2 s


def steep_parts(signal: np.ndarray, sampling_rate: float) -> np.ndarray:
    """(leads, slopes) mV per 20 ms, every 8 ms: what changes that fast, the QRS, in at most 20 s.

    Baseline, offsets and most of P and T fall out.
    """
    step, every = max(1, round(_STEP * sampling_rate)), max(1, round(_EVERY * sampling_rate))
    last = min(round(STEEP_SECONDS * sampling_rate), signal.shape[1])
    slopes: np.ndarray = signal[:, step:last:every] - signal[:, : max(last - step, 0) : every]
    return slopes


def amplitude_doubts(steep: np.ndarray) -> list[str]:
    """A sentence where the millivolts of an ECG are hardly millivolts.

    The steepest 20 ms of each 2 s, median over time and leads: a QRS of 1 mV has about 1 mV.

    Args:
        steep: of `steep_parts`; stretches that are unknown in a lead, which are zeros here, do not count.
    """
    blocks = max(steep.shape[1] // _BLOCK, 1)
    size = np.abs(steep[:, : blocks * _BLOCK]).reshape(len(steep) * blocks, -1).max(axis=1).tolist()
    size = [each for each in size if each > 0] or [0.0]
    typical = sorted(size)[len(size) // 2]
    low, high = _TWELVE_BOUNDS if len(steep) > 3 else _FEW_BOUNDS
    if low <= typical <= high:
        return []
    rise = f"{float(f'{typical:.2g}'):g}"
    return [
        f"implausible amplitude: the QRS rises by {rise} mV in 20 ms, in scaled ECGs by {low:g} to "
        f"{high:g} mV; the file's gain or unit is probably wrong (unit= overrides it: 'uV', or '1 uV' for "
        "counts of that size)"
    ]


def names_that_fit(ecg: ECG) -> dict[str, str] | None:
    """Which names the six limb leads would have to bear for their equations to hold.

    Args:
        ecg: a recording with all of I, II, III, aVR, aVL and aVF.

    Returns:
        Name in the file → name that fits, for the rows that are misnamed; an empty dict where all fit as they
        are; None where no order of the six fits, or one of them is not there.
    """
    if not set(_LIMB) <= set(ecg.leads):
        return None
    six = ecg.signal[[ecg.leads.index(name) for name in _LIMB]].astype(np.float64)
    six = six[:, np.isfinite(six).all(0)]
    if not six.shape[1]:
        return None
    power = six @ six.T / six.shape[1]
    orders = np.array(list(permutations(range(6))))  # the order of the file first
    placed = power[orders[:, :, None], orders[:, None, :]]
    left_over = np.einsum("ei,pij,ej->pe", _LIMB_EQUATIONS, placed, _LIMB_EQUATIONS)
    allowed = max(_TINY**2, (0.02**2) * power.diagonal().max())
    worst = left_over.max(1)
    best = 0 if worst[0] <= allowed else int(worst.argmin())
    if worst[best] > allowed:
        return None
    return {_LIMB[row]: name for name, row in zip(_LIMB, orders[best], strict=True) if _LIMB[row] != name}
