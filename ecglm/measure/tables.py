"""Measurements as rows: one of a record, one of each beat, and what a device printed beside ours."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

from ecglm.ecg import ECG
from ecglm.measure.measurements import Measurements

SHOWN = {
    "heart_rate": ("Heart rate", "1/min"),
    "rr": ("RR", "ms"),
    "p_duration": ("P", "ms"),
    "pr": ("PR", "ms"),
    "qrs": ("QRS", "ms"),
    "qt": ("QT", "ms"),
    "qtc_bazett": ("QTc Bazett", "ms"),
    "qtc_fridericia": ("QTc Fridericia", "ms"),
    "p_axis": ("P axis", "degrees"),
    "axis": ("QRS axis", "degrees"),
    "t_axis": ("T axis", "degrees"),
    "sokolow_lyon": ("Sokolow-Lyon", "mV"),
    "cornell": ("Cornell", "mV"),
}
"""What a table for people shows, and in which unit."""
DEVICE = {
    "heart_rate": "heart_rate",
    "p_duration": "p_duration",
    "pr": "pr",
    "qrs": "qrs",
    "qt": "qt",
    "qtc": "qtc_bazett",
    "p_axis": "p_axis",
    "qrs_axis": "axis",
    "t_axis": "t_axis",
}
"""The device's names of what ecglm measures too. Which formula its QTc follows, few devices say."""


def device_values(ecg: ECG) -> dict[str, float]:
    """The device's own values that have a counterpart in `Measurements`, by the names there.

    Args:
        ecg: as `ecglm.read` gives it: the values stand in `metadata["device"]["measurements"]`.
    """
    device = ecg.metadata.get("device")
    stated = device.get("measurements") if isinstance(device, dict) else None
    values = {}
    for name, ours in DEVICE.items():
        value = stated.get(name) if isinstance(stated, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            values[ours] = float(value)
    return values


def document(ecg: ECG, measurements: Measurements) -> dict[str, Any]:
    """All of a record as plain JSON: `record`, `device` and the keys of `Measurements.to_dict`."""
    device = {_key(name): value for name, value in device_values(ecg).items()}
    return {
        "record": ecg.name,
        "duration_s": round(ecg.duration, 3),
        "device": device or None,
        **measurements.to_dict(),
    }


def _key(name: str) -> str:
    return f"{name}_{ {'1/min': 'bpm', 'mV': 'mv'}.get(SHOWN[name][1], SHOWN[name][1]) }"


def for_people(ecg: ECG, measurements: Measurements) -> dict[str, Any]:
    """What a screen shows, as text: title, about, device, values (name, ours, device's, unit), notes."""
    device, theirs = ecg.metadata.get("device"), device_values(ecg)
    maker = (
        " ".join(str(device.get(key) or "") for key in ("manufacturer", "model")).strip() if device else ""
    )
    values = []
    for name, (title, unit) in SHOWN.items():
        ours = getattr(measurements, name)
        if ours is None and name not in theirs:
            continue
        digits = 2 if unit == "mV" else 0
        values.append(
            (
                title,
                "-" if ours is None else _figure(ours, digits),
                _figure(theirs[name], digits) if name in theirs else "",
                "°" if unit == "degrees" else unit,
            )
        )
    notes = [f"{name} not measured: {why}" for name, why in measurements.reasons.items()]
    quality = measurements.quality
    if quality is not None:
        notes.append(f"quality {quality.record}" + "".join(f"\n  {reason}" for reason in quality.reasons))
    beats = len(measurements.r_peaks)
    about = (
        f"{ecg.duration:.4g} s, {ecg.num_leads} lead{'s' * (ecg.num_leads != 1)}, {ecg.sampling_rate:g} Hz"
    )
    return {
        "title": ecg.name,
        "about": f"{about}, {beats} beat{'s' * (beats != 1)}",
        "device": (maker or "device") if theirs else "",
        "values": values,
        "notes": notes,
    }


def _figure(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # -0.0 + 0.0 is 0.0


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of the same keys as CSV with a header; what is unknown is empty."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def record_row(ecg: ECG, measurements: Measurements) -> dict[str, Any]:
    """One flat row: values with units in their keys, the rhythm, the quality, the device's values."""
    whole = document(ecg, measurements)
    row = {
        key: value
        for key, value in whole.items()
        if value is None or isinstance(value, int | float | str)
        if key not in ("device", "quality", "rhythm")
    }
    row["beats_count"] = len(measurements.r_peaks)
    row |= {f"rhythm_{key}": value for key, value in whole["rhythm"].items() if not isinstance(value, list)}
    quality = measurements.quality
    row["quality"] = None if quality is None else quality.record
    row["quality_reasons"] = None if quality is None else "; ".join(quality.reasons)
    row["not_measured"] = "; ".join(f"{name}: {why}" for name, why in measurements.reasons.items())
    device = whole["device"] or {}
    for name in DEVICE.values():
        row[f"device_{_key(name)}"] = device.get(_key(name))
    return row


def beat_rows(ecg: ECG, measurements: Measurements) -> Iterator[dict[str, Any]]:
    """One row of each beat: its time, shape and the record's P, QRS and T (all leads together)."""
    rate = ecg.sampling_rate
    marks = {(wave.beat, wave.kind): wave for wave in measurements.waves if wave.lead is None}
    for beat, peak in enumerate(measurements.r_peaks):
        row: dict[str, Any] = {
            "record": ecg.name,
            "beat": beat,
            "r_peak_sample": peak,
            "r_peak_s": round(peak / rate, 4),
            "rr_ms": measurements.rr_series[beat - 1] if beat else None,
            "shape": measurements.beat_shapes[beat],
        }
        found = {kind: marks.get((beat, kind)) for kind in ("P", "QRS", "T")}
        for kind, wave in found.items():
            for mark in ("onset", "peak", "offset"):
                row[f"{kind.lower()}_{mark}_sample"] = None if wave is None else getattr(wave, mark)
        p, qrs, t = found["P"], found["QRS"], found["T"]
        spans = {
            "p_duration_ms": (p.onset, p.offset) if p else None,
            "pr_ms": (p.onset, qrs.onset) if p and qrs else None,
            "qrs_ms": (qrs.onset, qrs.offset) if qrs else None,
            "qt_ms": (qrs.onset, t.offset) if qrs and t else None,
        }
        for name, span in spans.items():
            row[name] = round((span[1] - span[0]) / rate * 1000, 1) if span else None
        yield row
