"""Removing who it was from a recording: a new file of the same format with only what is known to be safe.

Nothing is searched for and struck out. Each format has a list of what is kept (waveforms, rates, units,
leads, age, sex, numbers that a device measured), each value of it is checked against what may stand there,
and all the rest is left behind: names, identifiers, dates, free text, comments, private fields, bytes between
and behind the parts, and the file's name. The samples are copied as they are, and both files are read and
compared before the new one is put in place.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG, ECGFileError

MAX_AGE = 90
"""Years; whoever is older is given this age, as ages above 89 count as identifiers (45 CFR 164.514)."""
_SIGNALS = frozenset("resp pleth abp art cvp pap icp spo2 sao2 co2 bp emg eog eeg temp".split())
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
# The module and the suffix of what it writes; a format without one of its own is written as NPZ.
_KEEPERS = {
    "wfdb": "wfdb",
    "edf": "edf",
    "dicom": "dicom",
    "scp": "scp",
    "aecg": "xml",
    "muse": "xml",
    "philips": "xml",
    "schiller": "xml",
}


@dataclass
class Deidentified:
    """What came of one file.

    Args:
        source: the file that was read.
        path: the file that was written (WFDB: its header).
        removed: where something was left behind, in the words of the format, e.g.
            "PatientDemographics/PatientID"; never what stood there.
        kept: what describes the patient and stays: age and sex.
    """

    source: Path
    path: Path
    removed: list[str] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "source": str(self.source),
            "path": str(self.path),
            "removed": self.removed,
            "kept": self.kept,
        }


@dataclass
class Removal:
    """Collects where something was left behind, each place once, with how often."""

    places: dict[str, int] = field(default_factory=dict)
    channels: int = 0

    def note(self, place: str) -> None:
        """Remember a place."""
        self.places[place] = self.places.get(place, 0) + 1

    def channel(self) -> str:
        """A name for a channel whose own may not stay, because it is no lead's."""
        self.note("names of channels that are no leads")
        self.channels += 1
        return f"channel{self.channels}"

    def sentences(self) -> list[str]:
        """The places, in the order met."""
        return [place if count == 1 else f"{place} ({count} times)" for place, count in self.places.items()]


def deidentify(path: str | os.PathLike, folder: str | os.PathLike, name: str, **hints: Any) -> Deidentified:
    """Write a copy of a recording that holds nothing that says who it was.

    Args:
        path: the recording, in any format that `ecglm.read` takes.
        folder: where to write; made where it does not exist.
        name: of the new file, without suffix: letters, digits, - and _. It should say nothing either.
        **hints: for `ecglm.read`, where the file does not say enough by itself.

    Returns:
        The path written, and the places from which something was removed. WFDB, EDF, BDF, DICOM, SCP-ECG and
        the XML formats stay what they are, CSV stays CSV; NumPy, MATLAB and HDF5 become NPZ.

    Raises:
        FileNotFoundError: if there is no such recording.
        FileExistsError: if the folder has a file of that name.
        ECGFileError: if it cannot be read, or holds something that cannot be told apart from what identifies.
        ValueError: if the name has other characters.
    """
    from ecglm.io import read, recognise

    folder = Path(folder)
    if not _NAME.match(name):
        raise ValueError(
            f"the name {name!r} is not allowed; letters, digits, - and _ are, to begin with a letter"
        )
    found, module = recognise(path)
    if folder.is_dir() and any(folder.glob(f"{name}.*")):
        raise FileExistsError(f"{folder} has a file named {name} already; pass another name or folder")
    kind = module.__name__.rpartition(".")[2]
    before = read(found, **hints)
    folder.mkdir(parents=True, exist_ok=True)
    removal = Removal()
    with tempfile.TemporaryDirectory(prefix=".deidentify-", dir=folder) as aside:
        keeper = (
            import_module(f"ecglm.io.deidentify.{_KEEPERS[kind]}").keep if kind in _KEEPERS else _keep_arrays
        )
        try:
            main: Path = keeper(found, Path(aside), name, removal, before)
        except (ECGFileError, OSError):
            raise
        except Exception as error:  # a keeper looks at all of a file, of which the reader needs a part only
            raise ECGFileError(
                f"{found} holds something that cannot be rewritten ({type(error).__name__}); nothing was "
                "written; convert it with `ecglm convert-file`, then de-identify that"
            ) from error
        given = {key: value for key, value in hints.items() if key not in ("start", "stop")}
        try:
            after = read(main, **_still_needed(main, given))
        except ECGFileError as error:
            reason = str(error).replace(str(main), "").strip(" :")
            raise ECGFileError(
                f"{found} cannot be read without what must go ({reason}); nothing was written"
            ) from None
        _compare(found, read(found, **given), after)
        if found.stem != name:
            removal.note("the file's name")
        for written in Path(aside).iterdir():
            shutil.move(written, folder / written.name)
    kept: dict[str, Any] = {key: before.metadata[key] for key in ("age", "sex") if key in before.metadata}
    if kept.get("age", 0) > MAX_AGE:
        kept["age"] = MAX_AGE
    return Deidentified(found, folder / main.name, removal.sentences(), kept)


def _still_needed(main: Path, hints: dict[str, Any]) -> dict[str, Any]:
    """The hints without which the new file cannot be read either: NPZ and CSV hold what the hints said."""
    return {} if main.suffix in (".npz", ".csv") else hints


def _compare(path: Path, before: ECG, after: ECG) -> None:
    """The new file must read as the old one did."""
    same = (
        before.signal.shape == after.signal.shape
        and before.sampling_rate == after.sampling_rate
        and np.array_equal(before.signal.view(np.uint32), after.signal.view(np.uint32))
    )
    if not same:
        raise ECGFileError(
            f"{path}: without what was removed the signal does not read the same; nothing was written"
        )


def safe_name(name: str, removal: Removal) -> str:
    """The name of a lead or of a common signal as it is, any other as a number."""
    from ecglm.io._finish import is_ecg_name

    known = (is_ecg_name(name) and len(name) <= 5) or name.lower() in _SIGNALS
    return name if known else removal.channel()


def _keep_arrays(path: Path, folder: Path, name: str, removal: Removal, ecg: ECG) -> Path:
    """Signal, rate, leads, age and sex; whatever else a table or an array file holds is not taken over."""
    from ecglm.io import write

    metadata: dict[str, Any] = {key: ecg.metadata[key] for key in ("age", "sex") if key in ecg.metadata}
    if metadata.get("age", 0) > MAX_AGE:
        metadata["age"] = MAX_AGE
    leads = tuple(safe_name(lead, removal) for lead in ecg.leads)
    if units := ecg.metadata.get("units"):
        metadata["units"] = {leads[ecg.leads.index(lead)]: unit for lead, unit in units.items()}
    removal.note("everything but samples, rate, leads, age and sex")
    suffix = ".csv" if path.suffix.lower() in (".csv", ".tsv", ".txt") else ".npz"
    return write(ECG(ecg.signal, ecg.sampling_rate, leads, metadata), folder / f"{name}{suffix}")


Keeper = Callable[[Path, Path, str, Removal, ECG], Path]
"""What a format's module offers as `keep(path, folder, name, removal, ecg)`: it returns the file to read."""
