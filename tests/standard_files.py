"""WFDB, EDF, BDF and DICOM files made byte by byte from their standards, not by what reads or writes them."""

import struct

import numpy as np


def wfdb_bytes(form: str, samples: np.ndarray) -> bytes:
    """The signal file of a format, of (frames, samples per frame) integers."""
    flat = samples.reshape(-1).astype(np.int64)
    if form == "8":
        return np.diff(samples, axis=0, prepend=samples[:1]).astype(np.int8).tobytes()
    if form == "24":
        return b"".join(int(each).to_bytes(3, "little", signed=True) for each in flat)
    if form in ("16", "32", "61"):
        return flat.astype({"16": "<i2", "32": "<i4", "61": ">i2"}[form]).tobytes()
    if form in ("80", "160"):
        return (flat + (128 if form == "80" else 32768)).astype("<u1" if form == "80" else "<u2").tobytes()
    size, bits = (2, 12) if form == "212" else (3, 10)
    groups = [
        [int(each) & ((1 << bits) - 1) for each in flat[k : k + size]] for k in range(0, len(flat), size)
    ]
    groups[-1] += [0] * (size - len(groups[-1]))
    if form == "212":
        return b"".join(bytes((a & 255, a >> 8 | b >> 8 << 4, b & 255)) for a, b in groups)
    if form == "310":
        return b"".join(
            struct.pack("<HH", a << 1 | (c & 31) << 11, b << 1 | c >> 5 << 11) for a, b, c in groups
        )
    return b"".join(struct.pack("<I", a | b << 10 | c << 20) for a, b, c in groups)  # 311


def edf_file(
    channels: list[dict],
    *,
    duration: str = "1",
    patient: str = "X X X X",
    recording: str = "Startdate X X X X",
    start: str = "02.03.2010.11.12",
    reserved: str = "",
    records: int | None = None,
    bdf: bool = False,
    moments: list[list[bytes]] | None = None,
) -> bytes:
    """A file of channels {"label", "unit", "low", "high", "least", "most", "counts" (records, samples)}.

    `moments` adds the channel of annotations: for each record the time-stamped lists (TAL) in it.
    """
    channels = list(channels)
    if moments is not None:
        size = max(len(b"".join(each)) for each in moments) // 6 * 6 + 6
        text = np.array([np.frombuffer(b"".join(each).ljust(size, b"\0"), np.uint8) for each in moments])
        label = "BDF Annotations" if bdf else "EDF Annotations"
        channels.append({"label": label, "text": text})
    width, limits = (3, (-8388608, 8388607)) if bdf else (2, (-32768, 32767))
    blocks, counts_of = [], []
    for each in channels:
        if "text" in each:
            blocks.append(each["text"])
        else:
            wide = np.ascontiguousarray(each["counts"]).astype("<i4").view(np.uint8)
            blocks.append(wide.reshape(*each["counts"].shape, 4)[..., :width].reshape(len(wide), -1))
        counts_of.append(blocks[-1].shape[1] // width)
    number = len(blocks[0]) if records is None else records
    version = b"\xffBIOSEMI" if bdf else b"0       "
    fixed = [
        (patient, 80), (recording, 80), (start, 16), (256 * (len(channels) + 1), 8),
        (reserved or ("24BIT" if bdf else ""), 44), (number, 8), (duration, 8), (len(channels), 4),
    ]  # fmt: skip
    header = version + b"".join(str(value).encode().ljust(width)[:width] for value, width in fixed)
    fields = [
        ("label", 16, ""), ("transducer", 80, ""), ("unit", 8, ""), ("low", 8, -1), ("high", 8, 1),
        ("least", 8, limits[0]), ("most", 8, limits[1]), ("prefilter", 80, ""),
    ]  # fmt: skip
    for name, size, default in fields:
        header += b"".join(str(each.get(name, default)).encode().ljust(size)[:size] for each in channels)
    header += b"".join(str(count).encode().ljust(8) for count in counts_of)
    header += b"".join(b" " * 32 for _ in channels)
    return header + np.concatenate(blocks, axis=1).tobytes()


def tal(onset: str, *texts: str, duration: str | None = None) -> bytes:
    """A time-stamped list of annotations."""
    length = f"\x15{duration}" if duration else ""
    return f"{onset}{length}\x14{''.join(f'{text}{chr(20)}' for text in texts or ('',))}\0".encode()


# --------------------------- DICOM: an encoder

_LONG = ("OB", "OW", "SQ", "UN", "UT")


def element(tag: int, vr: str, value: bytes | str | int | float | list, order: str = "<") -> bytes:
    """One element, explicit VR; sequences take a list of items, each the bytes of its elements."""
    if vr == "SQ":
        value = b"".join(
            struct.pack(order + "HHI", 0xFFFE, 0xE000, len(item)) + item
            for item in value  # type: ignore[union-attr]
        )
    elif vr in ("US", "UL"):
        values = value if isinstance(value, list) else [value]
        value = struct.pack(f"{order}{len(values)}{'H' if vr == 'US' else 'I'}", *values)
    elif not isinstance(value, bytes):
        value = str(value).encode()
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (
        struct.pack(order + "HI", 0, len(value)) if vr in _LONG else struct.pack(order + "H", len(value))
    ) + value  # fmt: skip


def code(value: str, scheme: str, meaning: str, order: str = "<") -> bytes:
    """The elements of a code."""
    return (
        element(0x00080100, "SH", value, order)
        + element(0x00080102, "SH", scheme, order)
        + element(0x00080104, "LO", meaning, order)
    )


def channel(
    source: bytes | None,
    *,
    label: str = "",
    sensitivity: str | None = "2.5",
    unit: str = "uV",
    correction: str = "1",
    baseline: str = "0",
    more: bytes = b"",
    order: str = "<",
) -> bytes:
    """A channel's definition."""
    parts = element(0x003A0203, "SH", label, order) if label else b""
    parts += element(0x003A0208, "SQ", [source], order) if source else b""
    if sensitivity is not None:
        parts += element(0x003A0210, "DS", sensitivity, order)
        parts += element(0x003A0211, "SQ", [code(unit, "UCUM", unit, order)], order)
        parts += element(0x003A0212, "DS", correction, order)
        parts += element(0x003A0213, "DS", baseline, order)
    return parts + more


def group(
    counts: np.ndarray,
    channels: list[bytes],
    *,
    rate: str = "500",
    offset: str | None = None,
    label: str = "RHYTHM",
    originality: str = "ORIGINAL",
    padding: bytes | None = None,
    samples: int | None = None,
    order: str = "<",
) -> bytes:
    """A multiplex group of (samples, channels) integers, in their own type."""
    kind = {"i1": "SB", "u1": "UB", "i2": "SS", "u2": "US", "i4": "SL", "u4": "UL"}[counts.dtype.str[1:]]
    vr = "OB" if counts.dtype.itemsize == 1 else "OW"
    swapped = counts.astype(counts.dtype.newbyteorder(order))
    parts = element(0x00181068, "DS", offset, order) if offset is not None else b""
    parts += element(0x003A0004, "CS", originality, order)
    parts += element(0x003A0005, "US", counts.shape[1], order)
    parts += element(0x003A0010, "UL", len(counts) if samples is None else samples, order)
    parts += element(0x003A001A, "DS", rate, order)
    parts += element(0x003A0020, "SH", label, order)
    parts += element(0x003A0200, "SQ", channels, order)
    parts += element(0x54001004, "US", 8 * counts.dtype.itemsize, order)
    parts += element(0x54001006, "CS", kind, order)
    parts += element(0x5400100A, vr, padding, order) if padding is not None else b""
    return parts + element(0x54001010, vr, swapped.tobytes(), order)


def dicom_file(
    groups: list[bytes] | None,
    *,
    storage: str = "1.2.840.10008.5.1.4.1.1.9.1.1",
    syntax: str = "1.2.840.10008.1.2.1",
    header: bytes = b"",
    annotations: list[bytes] | None = None,
    body: bytes | None = None,
    order: str = "<",
) -> bytes:
    """An object of multiplex groups; `header` is put between its first and its last elements."""
    meta = (
        element(0x00020002, "UI", storage)
        + element(0x00020003, "UI", "2.25.1")
        + element(0x00020010, "UI", syntax)
    )
    meta = element(0x00020000, "UL", len(meta)) + meta
    if body is None:
        body = element(0x00080016, "UI", storage, order) + header
        if annotations:
            body += element(0x0040B020, "SQ", annotations, order)
        if groups is not None:
            body += element(0x54000100, "SQ", groups, order)
    return bytes(128) + b"DICM" + meta + body
