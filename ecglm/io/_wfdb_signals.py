"""The samples of WFDB signal files: what each signal format packs into its bytes.

A file holds frames; a frame holds, signal after signal, as many samples as each has per frame. Formats:
https://physionet.org/physiotools/wag/signal-5.htm; 508, 516 and 524 are FLAC of 8, 16 and 24 bits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecglm.ecg import ECGFileError

UNKNOWN = {
    "16": -0x8000, "24": -0x800000, "32": -0x80000000, "61": -0x8000, "80": -0x80, "160": -0x8000,
    "212": -0x800, "310": -0x200, "311": -0x200, "508": -0x80, "516": -0x8000, "524": -0x800000,
}  # fmt: skip
"""The sample of each format that means "no value"; format 8, of differences, has none."""

PACKED = {
    "8": (1, 1), "16": (1, 2), "24": (1, 3), "32": (1, 4), "61": (1, 2), "80": (1, 1), "160": (1, 2),
    "212": (2, 3), "310": (3, 4), "311": (3, 4),
}  # fmt: skip
"""How many samples share how many bytes."""

FLAC = {"508": 24, "516": 16, "524": 8}
"""By how many bits a decoder of 32 bits shifts the samples up."""

_PIECE = 1 << 22  # samples of format 8 that are summed at once


def num_frames(form: str, size: int, per_frame: int) -> int:
    """Whole frames in `size` bytes of a format in `PACKED`; the last samples need no whole group of bytes."""
    samples, width = PACKED[form]
    return max(size, 0) * samples // width // per_frame


def stored(
    path: Path, form: str, offset: int, counts: list[int], first: int, last: int, initial: list[int]
) -> np.ndarray:
    """(frames, samples per frame) integers of frames `first` to `last` of a signal file.

    Args:
        path: the file.
        form: its format.
        offset: bytes before its first sample.
        counts: of each signal, its samples in a frame.
        first: of the frames wanted.
        last: behind the last of them.
        initial: of each signal, what format 8 counts its differences from.

    Raises:
        ECGFileError: if the file does not hold them.
    """
    per_frame = sum(counts)
    if form in FLAC:
        return _flac(path, form, per_frame, first, last)
    if form == "8":
        return _differences(path, offset, counts, first, last, initial)
    samples, width = PACKED[form]
    begin, count = first * per_frame, (last - first) * per_frame
    groups = begin // samples
    size = -(-(begin + count) // samples) - groups
    with path.open("rb") as file:
        file.seek(offset + width * groups)
        content = file.read(width * size)
    content += bytes(max(width * size - len(content), 0))  # `num_frames` has seen what may be missing
    values = _unpacked(form, content)[begin - samples * groups :][:count]
    return values.reshape(last - first, per_frame)


def _unpacked(form: str, content: bytes) -> np.ndarray:
    """(samples,) of whole groups of bytes."""
    if form == "16":
        return np.frombuffer(content, "<i2")
    if form == "32":
        return np.frombuffer(content, "<i4")
    if form == "61":
        return np.frombuffer(content, ">i2").astype(np.int16)
    if form == "80":
        return np.frombuffer(content, np.uint8).astype(np.int16) - np.int16(0x80)
    if form == "160":
        return (np.frombuffer(content, "<u2") ^ np.uint16(0x8000)).view(np.int16)
    if form == "24":
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        return wide.view("<i4").reshape(-1) >> 8
    if form == "212":
        low, middle, high = np.frombuffer(content, np.uint8).reshape(-1, 3).T.astype(np.int16)
        # 12 bits each, moved to the top and back so that the sign follows.
        pairs = np.empty((len(low), 2), np.int16)
        np.left_shift(low | (middle << 8), 4, out=pairs[:, 0])
        np.left_shift(high | (middle << 4 & 0xF00), 4, out=pairs[:, 1])
        return (pairs >> 4).reshape(-1)
    words = np.frombuffer(content, "<u4").astype(np.int64)
    if form == "310":  # two words of 16 bits: 11 and 11 hold a sample each, their highest 5 bits the third
        parts = (words >> 1, words >> 17, (words >> 11 & 0x1F) | (words >> 27 << 5))
    else:
        parts = (words, words >> 10, words >> 20)
    values = np.stack(parts, axis=1).reshape(-1) & 0x3FF
    return ((values ^ 0x200) - 0x200).astype(np.int16)


def _differences(
    path: Path, offset: int, counts: list[int], first: int, last: int, initial: list[int]
) -> np.ndarray:
    """Format 8: each sample is the one before it in its signal and a difference, so all before are summed."""
    per_frame, begins = sum(counts), np.cumsum([0, *counts])
    before = np.zeros(per_frame, np.int64)
    with path.open("rb") as file:
        file.seek(offset)
        left = first
        while left:
            frames = min(left, max(_PIECE // per_frame, 1))
            piece = np.frombuffer(file.read(frames * per_frame), np.int8).reshape(-1, per_frame)
            before += piece.sum(axis=0, dtype=np.int64)
            left -= frames
        content = file.read((last - first) * per_frame)
    values = np.frombuffer(content, np.int8).reshape(-1, per_frame).astype(np.int64)
    for begin, end, level in zip(begins, begins[1:], initial, strict=False):
        of_signal = values[:, begin:end]
        of_signal[:] = np.cumsum(of_signal).reshape(of_signal.shape) + (level + before[begin:end].sum())
    return values


def _flac(path: Path, form: str, per_frame: int, first: int, last: int) -> np.ndarray:
    """All signals of a FLAC file have as many samples per frame; each is a channel of its own."""
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            channels = file.channels
            if per_frame % channels:
                raise ECGFileError(f"{path} holds {channels} signals, not those that its header names")
            each = per_frame // channels
            file.seek(each * first)
            values = file.read(each * (last - first), dtype="int32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[-1][-80:]
        raise ECGFileError(f"{path} is no FLAC file or damaged ({reason}); fetch it again") from error
    if len(values) != each * (last - first):
        raise ECGFileError(f"{path} is truncated: it holds {each * first + len(values):,} samples a signal")
    frames = (values >> FLAC[form]).reshape(last - first, each, channels)
    return np.ascontiguousarray(frames.transpose(0, 2, 1)).reshape(last - first, per_frame)
