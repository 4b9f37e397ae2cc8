"""Damaged files of every format: seeds made of simulated ECGs, and the ways in which they are damaged."""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import standard_files as standard
import vendor_files as vendor

from ecglm import ECG, LEADS_12, simulate, write

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_HOSTILE_TEXT = (
    b"0", b"-1", b"1", b"65536", b"4000000000", b"99999999999999999999", b"1e999", b"-1e308", b"nan", b"inf",
    b"", b"0x10", b"1_0", b"\xff", b"\0", b"9" * 400, b"1e-320", "٣".encode(),
)  # fmt: skip
_HOSTILE_INTEGERS = (
    0,
    1,
    -1,
    0x7F,
    0x80,
    0x7FFF,
    0x8000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    1 << 20,
    1 << 24,
)
SPAN = {"start": 0.1, "stop": 0.5}
HINTS: tuple[dict, ...] = (
    {}, {}, {"allow_truncated": True}, SPAN, {"keep_identity": True}, {"unit": "uV"},
)  # fmt: skip
"""One of these is passed with each mutant, so that every way through a reader is walked."""


@dataclass
class Seed:
    """A recording to damage: its files by name, the one to read first."""

    files: dict[str, bytes]
    hints: dict = field(default_factory=dict)
    pack: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    """Packs the (damaged) parts after their check sums would have told, e.g. into a zip archive."""

    def written(self, files: dict[str, bytes], folder: Path) -> Path:
        """Write these files, packed; the path to read."""
        packed = self.pack(files) if self.pack else files
        for name, content in packed.items():
            (folder / name).write_bytes(content)
        return folder / next(iter(packed))


def seeds(folder: Path) -> dict[str, list[Seed]]:
    """Small recordings of each format; `folder` is written to on the way."""
    ecg = simulate("normal", 7).select(LEADS_12)
    ecg = ECG(ecg.signal[:, 1000:1400], 250, LEADS_12, {"age": 56, "sex": "female", "report": "Sinus rhythm"})
    counts = np.rint(ecg.signal * 200).astype(np.int64)
    made = {
        "WFDB": _wfdb(ecg, folder),
        "EDF and BDF": [_by_our_writer(ecg, folder, "seed.edf"), *_edf(counts)],
        "DICOM": [_by_our_writer(ecg, folder, "seed.dcm"), *_dicom(counts)],
        "SCP-ECG": [Seed({"seed.scp": vendor.scp_file(vendor.scp(counts, order=order))}) for order in (0, 2)],
        "HL7 aECG": [
            _by_our_writer(ecg, folder, "seed.xml"),
            Seed({"seed.xml": vendor.aecg(vendor.a_set({"I": "1 2 3", "II": "4 5 6"})).encode()}),
        ],
        "MUSE XML": [Seed({"seed.xml": vendor.muse(counts).encode("latin-1")})],
        "Philips XML": [Seed({"seed.xml": vendor.philips(counts).encode()})],
        "Schiller XML": [Seed({"seed.xml": vendor.schiller(counts).encode()})],
        "CSV": [_by_our_writer(ecg, folder, "seed.csv"), *_tables(ecg)],
        "NumPy": _numpy(ecg, folder),
        "MATLAB": _matlab(ecg),
    }
    if hdf5 := _hdf5(ecg):
        made["HDF5"] = hdf5
    return made


def mutants(
    seed: Seed, count: int, generator: np.random.Generator, every: int = 64
) -> Iterator[dict[str, bytes]]:
    """Damaged copies of a seed's files: each ended at `every` so many bytes, then what chance brings."""
    for name, content in seed.files.items():
        for size in range(0, len(content), every):
            if count <= 0:
                return
            count -= 1
            yield seed.files | {name: content[:size]}
    for _ in range(count):
        name = list(seed.files)[generator.integers(len(seed.files))]
        content = seed.files[name]
        for _ in range(int(generator.integers(1, 4))):
            damage = _DAMAGES[generator.integers(len(_DAMAGES))]
            content = damage(content, generator)
        yield seed.files | {name: content}


# ------------------------------------------------------------------------------------------------- the damage


def _place(content: bytes, generator: np.random.Generator) -> int:
    """Anywhere, but every other time near the beginning, where headers are."""
    power = 4 if generator.integers(2) else 1
    return int(len(content) * generator.random() ** power)


def _flip_bits(content: bytes, generator: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(generator.integers(1, 9)) if damaged else 0):
        damaged[_place(content, generator)] ^= 1 << int(generator.integers(8))
    return bytes(damaged)


def _set_integer(content: bytes, generator: np.random.Generator) -> bytes:
    """A field of 1, 2, 4 or 8 bytes set to a bound of its type, in either order."""
    size = (1, 2, 4, 8)[generator.integers(4)]
    value = _HOSTILE_INTEGERS[generator.integers(len(_HOSTILE_INTEGERS))] & ((1 << 8 * size) - 1)
    order = ("little", "big")[generator.integers(2)]
    at = _place(content, generator) // 2 * 2
    return content[:at] + value.to_bytes(size, order) + content[at + size :]  # type: ignore[arg-type]


def _set_number(content: bytes, generator: np.random.Generator) -> bytes:
    """A number in text replaced by a hostile one, of the same width or of its own."""
    start = max(_place(content, generator) - 1, 0)
    match = _NUMBER.search(content, start) or _NUMBER.search(content)
    if not match:
        return content
    new = _HOSTILE_TEXT[generator.integers(len(_HOSTILE_TEXT))]
    if generator.integers(2):
        width = len(match[0])
        new = new.ljust(width)[:width]
    return content[: match.start()] + new + content[match.end() :]


def _move_part(content: bytes, generator: np.random.Generator) -> bytes:
    """A stretch left out, repeated, or put elsewhere."""
    begin = _place(content, generator)
    part = content[begin : begin + int(generator.integers(1, 200))]
    kind = generator.integers(3)
    if kind == 0:
        return content[:begin] + content[begin + len(part) :]
    at = begin if kind == 1 else _place(content, generator)
    return content[:at] + part + content[at:]


def _move_line(content: bytes, generator: np.random.Generator) -> bytes:
    """A line, or an element of XML, left out or repeated."""
    lines = re.split(rb"(?<=[\n>])", content)
    at = int(generator.integers(len(lines)))
    return b"".join(lines[:at] + lines[at : at + 1] * (2 * int(generator.integers(2))) + lines[at + 1 :])


_DAMAGES = (_flip_bits, _set_integer, _set_number, _set_number, _move_part, _move_line)

# -------------------------------------------------------------------------------------------------- the seeds


def _by_our_writer(ecg: ECG, folder: Path, name: str) -> Seed:
    return Seed({name: write(ecg, folder / name).read_bytes()})


def _wfdb(ecg: ECG, folder: Path) -> list[Seed]:
    write(ecg, folder / "seed")
    found = [Seed({name: (folder / name).read_bytes() for name in ("seed.hea", "seed.dat")})]
    noise = np.random.default_rng(3).integers(0, 256, 1200, dtype=np.uint8).tobytes()
    for code, samples in (("80", 600), ("212", 400), ("310", 450), ("311", 450), ("24", 200), ("32", 150)):
        header = f"seed 2 250 {samples}\n" + "".join(
            f"seed.dat {code} 200(0)/mV 12 0 0 0 0 {lead}\n" for lead in ("I", "II")
        )
        found.append(Seed({"seed.hea": f"{header}# Age: 56\n# Sex: F\n".encode(), "seed.dat": noise}))
    part = "{0} 1 250 150\n{0}.dat 16 200/mV 12 0 0 0 0 II\n"
    parts = {f"p{k}.hea": part.format(f"p{k}").encode() for k in (1, 2)}
    parts |= {f"p{k}.dat": noise[:300] for k in (1, 2)}
    found.append(Seed({"seed.hea": b"seed/3 1 250 320\np1 150\n~ 20\np2 150\n"} | parts))
    return found


def _edf(counts: np.ndarray) -> list[Seed]:
    three = counts[:3, :400].reshape(3, 4, 100)
    channels = [{"label": f"ECG {LEADS_12[k]}", "unit": "uV", "counts": three[k]} for k in range(3)]
    moments = [[standard.tal(f"+{at}"), standard.tal(f"+{at}.5", "Beat")] for at in (0, 1, 5, 6)]
    return [
        Seed({"seed.edf": standard.edf_file(channels, reserved="EDF+D", moments=moments)}),
        Seed({"seed.bdf": standard.edf_file(channels, bdf=True)}),
    ]


def _dicom(counts: np.ndarray) -> list[Seed]:
    channels = [standard.channel(standard.code(f"2:{k}", "MDC", "Lead")) for k in (1, 2, 3)]
    groups = [
        standard.group(counts[:3, :300].T.astype(np.int16), channels, padding=b"\0\x80"),
        standard.group(counts[:3, :100].T.astype(np.int16), channels, label="MEDIAN", originality="DERIVED"),
    ]
    whole = standard.dicom_file(groups)
    body = whole[whole.index(b"\x08\x00\x16\x00") :]

    def deflated(files: dict[str, bytes]) -> dict[str, bytes]:
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(files["body"]) + packer.flush()
        return {"seed.dcm": standard.dicom_file(None, syntax="1.2.840.10008.1.2.1.99", body=packed)}

    return [Seed({"seed.dcm": whole}), Seed({"body": body}, pack=deflated)]


def _tables(ecg: ECG) -> list[Seed]:
    rows = "\n".join(";".join(f"{value:.3f}".replace(".", ",") for value in row) for row in ecg.signal.T[:60])
    return [
        Seed({"seed.csv": (";".join(LEADS_12) + "\n" + rows).encode()}, {"sampling_rate": 250, "unit": "mV"})
    ]


def _numpy(ecg: ECG, folder: Path) -> list[Seed]:
    archive = write(ecg, folder / "seed.npz").read_bytes()
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        parts = {name: members.read(name) for name in members.namelist()}

    def zipped(files: dict[str, bytes]) -> dict[str, bytes]:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as members:
            for name, content in files.items():
                members.writestr(name, content)
        return {"seed.npz": target.getvalue()}

    plain = io.BytesIO()
    np.save(plain, ecg.signal)
    hints = {"sampling_rate": 250, "unit": "mV", "leads": LEADS_12}
    return [
        Seed({"seed.npz": archive}),
        Seed(parts, pack=zipped),
        Seed({"seed.npy": plain.getvalue()}, hints),
    ]


def _matlab(ecg: ECG) -> list[Seed]:
    from scipy.io import savemat

    found = []
    for number, compressed in ((0, False), (1, True)):
        target = io.BytesIO()
        savemat(target, {"val": np.rint(ecg.signal * 1000).astype(np.int16)}, do_compression=compressed)
        hints = {"sampling_rate": 250, "unit": "uV", "leads": LEADS_12}
        found.append(Seed({f"seed{number}.mat": target.getvalue()}, hints))
    return found


def _hdf5(ecg: ECG) -> list[Seed]:
    try:
        import h5py
    except ImportError:
        return []
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        file["tracings"] = np.stack([ecg.signal.T] * 2)
        file["exam_id"] = np.array([1, 2])
    hints = {"index": 0, "sampling_rate": 250, "unit": "mV", "leads": LEADS_12}
    return [Seed({"seed.h5": target.getvalue()}, hints)]
