"""What a recording is, for people and for scripts: `inspect(path)`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG
from ecglm.io import read, recognise
from ecglm.io._common import plain_metadata


def inspect(path: str | os.PathLike, **hints: Any) -> dict[str, Any]:
    """What a recording is and what was assumed of it, as plain JSON.

    Args:
        path: as `ecglm.read` takes it.
        **hints: as `ecglm.read` takes them.

    Returns:
        file, format, files (name, bytes, sha256 of each file of the record), leads (name, unit, lowest and
        highest value, share of unknown samples), sampling_rate Hz, num_samples, duration s, assumed,
        warnings, and metadata, the device's median beats without their samples.

    Raises:
        FileNotFoundError: if nothing of that name exists.
        ECGFileError: if it cannot be read.
        ValueError: for an unknown hint.
    """
    ecg = read(path, **hints)
    found, module = recognise(path)
    metadata = plain_metadata(ecg, identity=bool(hints.get("keep_identity")))
    assumed, warnings = metadata.pop("assumed", []), metadata.pop("warnings", [])
    metadata.pop("source", None)
    if beats := metadata.get("device", {}).get("median_beats"):
        beats["num_samples"] = len(beats.pop("signal")[0])
    files = module.files_of(found) if hasattr(module, "files_of") else [found]
    kind = ecg.metadata["source"].removesuffix(f" {files[0]}")
    return {
        "file": str(path),
        "format": kind,
        "files": [_fingerprint(each) for each in files],
        "leads": [_lead(ecg, name) for name in ecg.leads],
        "sampling_rate": ecg.sampling_rate,
        "num_samples": ecg.num_samples,
        "duration": ecg.duration,
        "assumed": assumed,
        "warnings": warnings,
        "metadata": metadata,
    }


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _lead(ecg: ECG, name: str) -> dict[str, Any]:
    values = ecg.lead(name)
    known = values[np.isfinite(values)]
    return {
        "name": name,
        "unit": ecg.metadata.get("units", {}).get(name, "mV"),
        "lowest": round(float(known.min()), 6) if known.size else None,
        "highest": round(float(known.max()), 6) if known.size else None,
        "unknown": round(1 - known.size / max(values.size, 1), 6),
    }
