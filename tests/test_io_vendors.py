"""SCP-ECG and the XML formats: files made here by independent encoders, real ones, hostile ones."""

import re
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb
from standard_files import channel, code, dicom_file, edf_file, group
from vendor_files import (
    CODES,
    DEFAULT_TABLE,
    EIGHT,
    a_set,
    aecg,
    lzw,
    muse,
    philips,
    schiller,
    scp,
    scp_data,
    scp_file,
    scp_leads,
    scp_stream,
)

from ecglm import ECG, LEADS_12, ECGFileError, read, simulate, write
from ecglm.io.deidentify import deidentify


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    """(12, 2500) counts of 5 uV that obey the rules of the limb leads."""
    signal = np.rint(simulate("normal", 7).signal[:, :2500] * 200).astype(np.int64)
    signal[2] = signal[1] - signal[0]
    signal[3] = -((signal[0] + signal[1]) // 2)
    signal[4] = (signal[0] - signal[2]) // 2
    signal[5] = (signal[1] + signal[2]) // 2
    return signal


def close(ecg: ECG, counts: np.ndarray, step: float) -> None:
    np.testing.assert_allclose(ecg.signal, counts * step, rtol=2e-7, atol=1e-7)


# ---------------------------- SCP-ECG


@pytest.mark.parametrize("order", [0, 1, 2])
def test_scp_huffman_codes_and_differences(tmp_path, counts, order):
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(scp(counts, order=order)))
    ecg = read(path)
    assert ecg.leads == LEADS_12 and ecg.sampling_rate == 500
    close(ecg, counts, 0.005)
    assert not ecg.metadata.get("warnings")


def test_scp_of_eight_leads_gets_the_other_four(tmp_path, counts):
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(scp(counts, EIGHT)))
    ecg = read(path)
    assert ecg.leads == LEADS_12 and "derived from I and II" in " ".join(ecg.metadata["assumed"])
    close(ecg.select(("III", "V6")), counts[[2, 11]], 0.005)


def test_scp_without_huffman_codes_holds_plain_integers(tmp_path, counts):
    streams = [row.astype("<i2").tobytes() for row in counts]
    sections = scp(counts) | {6: scp_data(streams, 2500, 4000, 0)}
    del sections[2]
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(sections))
    ecg = read(path)
    assert ecg.sampling_rate == 250
    close(ecg, counts, 0.0025)


def test_scp_small_liberties_are_taken_as_they_are_meant(tmp_path, counts):
    streams = [row.astype("<i2").tobytes() for row in counts]
    sections = scp(counts) | {2: bytes(2), 6: scp_data(streams, 5000, 2000, 0)}  # no table: plain integers
    sections[3] = scp_leads([CODES[name] for name in LEADS_12], counts.shape[1] + 1)  # one sample too many
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(sections))
    ecg = read(path)
    close(ecg.crop(0, 5), counts, 0.005)
    assert np.isnan(ecg.signal[:, -1]).all() and "2,500 of 2,501" in " ".join(ecg.metadata["warnings"])


def test_scp_custom_tables_that_switch(tmp_path, counts):
    # Table 1: 0 -> "0"; "10" + 8 bits; "11" goes on with table 2. Table 2: "1" + 16 bits; "0" goes back.
    tables = struct.pack("<H", 2)
    tables += struct.pack("<H", 3) + b"".join(
        struct.pack("<BBBhI", *each) for each in ((1, 1, 1, 0, 0), (2, 10, 1, 0, 0b01), (2, 2, 0, 2, 0b11))
    )
    tables += struct.pack("<H", 2) + b"".join(
        struct.pack("<BBBhI", *each) for each in ((1, 17, 1, 0, 1), (1, 1, 0, 1, 0))
    )

    def code(value: int) -> str:
        if value == 0:
            return "0"
        if -128 <= value < 128:
            return "10" + format(value & 0xFF, "08b")
        return "11" + "1" + format(value & 0xFFFF, "016b") + "0"

    rows = counts * 3
    sections = scp(counts) | {
        2: tables,
        6: scp_data([scp_stream(row, 1, code) for row in rows], 5000, 2000, 1),
    }
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(sections))
    close(read(path), rows, 0.005)


def test_scp_adds_the_reference_beat_that_was_subtracted(tmp_path, counts):
    rows, length, fiducial = counts[:2, :2000], 300, 120
    centers = [400, 900, 1500, 1950]  # the last zone reaches behind the end
    beat = rows[:, 280:580].copy()
    residual = rows.copy()
    zones = []
    for center in centers:
        first, last = center - 100, center + 150
        zones.append((0, first, center, min(last, 2000)))
        for sample in range(first, min(last, 2000) + 1):  # counted from 1
            residual[:, sample - 1] -= beat[:, sample - center + fiducial - 1]
    zones.insert(1, (3, 600, 650, 700))  # a beat of another kind is not touched
    body = struct.pack("<HHH", length * 2, fiducial, len(zones))
    body += b"".join(struct.pack("<HIII", *zone) for zone in zones) + bytes(8 * len(zones))
    sections = {
        2: DEFAULT_TABLE,
        3: scp_leads([1, 2], 2000, flags=5),
        4: body,
        5: scp_data([scp_stream(row, 2) for row in beat], 5000, 2000, 2),
        6: scp_data([scp_stream(row, 2) for row in residual], 5000, 2000, 2),
    }
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(sections))
    ecg = read(path)
    close(ecg, rows, 0.005)
    close(ecg.metadata["device"]["median_beats"].select(("I", "II")), beat, 0.005)
    del sections[5]
    path.write_bytes(scp_file(sections))
    with pytest.raises(ECGFileError, match="reference beat"):
        read(path)


@pytest.mark.parametrize("rest_as_mean", [True, False])
def test_scp_bimodal_compression_is_interpolated_between_the_beats(tmp_path, counts, rest_as_mean):
    rows = counts[:2, :2000]
    zones = [(381, 460), (903, 955), (1500, 1600)]  # counted from 1; the gaps are no multiples of four
    bodies, exact = [], np.zeros(2000, bool)
    for row in rows:
        stored, at = [], 0
        for first, last in [*zones, (2001, 2000)]:
            while at < first - 1:
                size = min(4, first - 1 - at)
                if size == 4 or rest_as_mean:
                    stored.append(round(row[at : at + size].mean()))
                else:
                    stored += row[at : at + size].tolist()
                    exact[at : at + size] = True
                at += size
            stored += row[at:last].tolist()
            exact[at:last] = True
            at = last
        bodies.append(scp_stream(np.array(stored), 2))
    beat = np.zeros(150, np.int64)
    section = struct.pack("<HHH", 300, 60, len(zones))
    section += b"".join(struct.pack("<HIII", 1, first, first + 20, last) for first, last in zones)
    section += b"".join(struct.pack("<II", *zone) for zone in zones)
    sections = {
        2: DEFAULT_TABLE,
        3: scp_leads([1, 2], 2000, flags=5),
        4: section,
        5: scp_data([scp_stream(beat, 2)] * 2, 5000, 2000, 2),
        6: scp_data(bodies, 5000, 8000, 2, bimodal=1),
    }
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(sections))
    ecg = read(path)
    assert ecg.sampling_rate == 500 and ecg.num_samples == 2000
    np.testing.assert_allclose(ecg.signal[:, exact], rows[:, exact] * 0.005, rtol=1e-6, atol=1e-7)
    between = ecg.signal[:, ~exact] - rows[:, ~exact] * 0.005
    assert np.sqrt((between**2).mean()) < 0.02  # mV, by which four samples differ from their mean
    assert "between the beats" in " ".join(ecg.metadata["assumed"])
    path.write_bytes(scp_file(sections | {6: scp_data([body[:-40] for body in bodies], 5000, 8000, 2, 1)}))
    with pytest.raises(ECGFileError, match="do not fit the beats"):
        read(path)
    sections[5] = scp_data([scp_stream(beat, 2)] * 2, 5000, 3000, 2)
    path.write_bytes(scp_file(sections))
    with pytest.raises(ECGFileError, match="do not belong together"):
        read(path)


def test_scp_patient_device_measurements_and_statements(tmp_path, counts):
    def tag(number: int, value: bytes) -> bytes:
        return bytes([number]) + struct.pack("<H", len(value)) + value

    machine = struct.pack("<HHHBB6s", 1, 2, 3, 0, 255, b"CART7\0") + bytes([13, 0, 0, 0, 1]) + bytes(17)
    machine += b"1.2\0SN-99\0sys\0scp\0Acme\0"
    patient = (
        tag(0, b"M\xfcller\0") + tag(1, b"Erika\0") + tag(2, b"ID-77\0") + tag(4, struct.pack("<HB", 61, 1))
    )
    patient += tag(5, struct.pack("<HBB", 1959, 2, 3)) + tag(8, b"\2") + tag(14, machine)
    patient += tag(25, struct.pack("<HBB", 2020, 11, 5)) + tag(26, bytes([8, 9, 10]))
    patient += tag(27, struct.pack("<H", 5)) + tag(28, struct.pack("<H", 150)) + tag(29, b"\2")
    patient += tag(33, bytes([2, 0])) + tag(255, b"")
    measures = struct.pack("<BBHH", 1, 0, 800, 800) + struct.pack(
        "<5H3h", 100, 210, 260, 350, 640, 40, -30, 55
    )
    measures += bytes(2)

    def statement(text: bytes, kind: bytes = b"") -> bytes:
        return b"\1" + struct.pack("<H", len(kind + text) + 1) + kind + text + b"\0"

    said = b"\1" + struct.pack("<HBBBBB", 2020, 11, 5, 8, 9, 11) + b"\1"
    sections = scp(counts) | {
        1: patient,
        7: measures,
        8: said + statement(b"Sinus rhythm"),
        11: said + statement(b"NSR", b"\1"),
    }
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(sections))
    ecg = read(path, keep_identity=True)
    assert (ecg.metadata["age"], ecg.metadata["sex"], ecg.metadata["acquired"]) == (
        61,
        "female",
        "2020-11-05T08:09:10",
    )
    assert ecg.metadata["filters"] == {"low": 0.05, "high": 150, "notch": 50}
    assert ecg.metadata["lead_placement"] == "Mason-Likar"
    device = ecg.metadata["device"]
    assert (device["model"], device["manufacturer"], device["software"]) == ("CART7", "Acme", "1.2")
    assert device["statements"] == ["Sinus rhythm"]
    assert device["measurements"] == {
        "rr": 800, "heart_rate": 75, "p": 110, "pr": 160, "qrs": 90, "qt": 380,
        "p_axis": 40, "qrs_axis": -30, "t_axis": 55,
    }  # fmt: skip
    assert ecg.metadata["identity"] == {
        "patient_id": "ID-77",
        "birth_date": "1959-02-03",
        "name": "Erika Müller",
    }
    assert "identity" not in read(path).metadata
    assert "ller" not in repr(read(path).metadata)


def test_scp_that_breaks_the_standard_reads_and_says_so(tmp_path, counts):
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(scp(counts), first=0, good=False, swapped=True) + bytes(500))
    ecg = read(path)
    close(ecg, counts, 0.005)
    said = " ".join(ecg.metadata["warnings"])
    assert "count from 0" in said and "check sums of section 2, 3, 6" in said and "words swapped" in said


def test_scp_that_ends_early_is_refused_or_kept_on_demand(tmp_path, counts):
    content = scp_file(scp(counts))
    path = tmp_path / "a.scp"
    path.write_bytes(content[:-3000])
    with pytest.raises(ECGFileError, match="allow_truncated"):
        read(path)
    sections = scp(counts, EIGHT)
    sections[3] = scp_leads([CODES[name] for name in EIGHT], 2600)
    path.write_bytes(scp_file(sections))
    ecg = read(path, allow_truncated=True)
    assert ecg.num_samples == 2600 and np.isnan(ecg.signal[:, 2550:]).all()
    close(ecg.crop(0, 5).select(("I",)), counts[:1], 0.005)


def test_scp_sample_of_heal_force(tmp_path, io_samples):
    ecg = read(io_samples / "scp_healforce" / "62.SCP")
    assert ecg.leads == ("I", "II", "III") and ecg.sampling_rate == 150 and ecg.duration == 30
    assert len(ecg.metadata["warnings"]) == 3
    # Its section 9 lists heart rates of 57 to 67; 30 beats in 30 s are marked.
    peaks = ecg.lead("III") > 0.6
    beats = int((np.diff(peaks.astype(int)) == 1).sum())
    assert 28 <= beats <= 31
    assert 1.0 < ecg.lead("III").max() < 1.6
    assert np.std(ecg.lead("I") + ecg.lead("III") - ecg.lead("II")) < 0.15 * np.std(ecg.lead("III"))
    stump = tmp_path / "a.scp"
    stump.write_bytes((io_samples / "scp_healforce" / "62.SCP").read_bytes()[:6001])
    with pytest.raises(ECGFileError, match="of 4,500 samples"):
        read(stump)
    assert read(stump, allow_truncated=True).num_samples == 1218


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s | {3: b"\xff\x04" + bytes(200)}, "255 leads"),
        (lambda s: s | {3: scp_leads([1, 2], 4_000_000_000)}, "claims samples"),
        (lambda s: s | {3: bytes(4)}, "no leads"),
        (lambda s: s | {2: struct.pack("<HH", 1, 60000)}, "cut short"),
        (lambda s: s | {2: struct.pack("<HHBBBhI", 1, 1, 40, 40, 1, 0, 0)}, "40 of 40 bits"),
        (lambda s: s | {2: struct.pack("<HHBBBhI", 1, 1, 1, 1, 0, 1, 0)}, "ends after|not defined"),
        (lambda s: s | {6: b"\0\0"}, "cut short|claims"),
        (lambda s: {number: body for number, body in s.items() if number != 6}, "without rhythm"),
        (lambda s: {number: body for number, body in s.items() if number != 3}, "without leads"),
    ],
)
def test_hostile_scp_is_refused_in_one_line(tmp_path, counts, change, words):
    path = tmp_path / "a.scp"
    path.write_bytes(scp_file(change(scp(counts[:, :500]))))
    began = time.perf_counter()
    with pytest.raises(ECGFileError, match=words) as error:
        read(path)
    assert time.perf_counter() - began < 1 and "\n" not in str(error.value) and str(path) in str(error.value)


def test_scp_pointers_outside_the_file_are_left_out(tmp_path, counts):
    content = bytearray(scp_file(scp(counts[:, :500]) | {7: bytes(30)}))
    struct.pack_into("<I", content, 6 + 16 + 70 + 6, 0xFFFFFFF0)
    path = tmp_path / "a.scp"
    path.write_bytes(content)
    assert "section 7 lead nowhere" in " ".join(read(path).metadata["warnings"])


# ---------------------------- encodings


@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="UTF-8"?>'])
def test_xml_that_is_not_in_the_encoding_it_says_and_padded_is_read(tmp_path, counts, declaration):
    path = tmp_path / "a.xml"
    text = re.sub(r"<\?xml[^>]*\?>\s*", "", muse(counts, names=LEADS_12))
    for encoding in ("utf-8", "latin-1"):
        path.write_bytes(b"\r\n " + (declaration + text).encode(encoding) + b"\n\x00\x00")
        close(read(path), counts, 0.00488)
        assert read(path, keep_identity=True).metadata["identity"]["name"] == "Dö"
        close(read(deidentify(path, tmp_path / "out", f"e-{encoding}").path), counts, 0.00488)


# ---------------------------- Philips


def test_philips_compression_is_undone_to_the_bit(tmp_path, counts):
    path = tmp_path / "a.xml"
    path.write_text(philips(counts), encoding="utf-16")
    ecg = read(path)
    assert ecg.leads == LEADS_12 and ecg.sampling_rate == 500
    close(ecg, counts, 0.005)
    assert (ecg.metadata["age"], ecg.metadata["sex"]) == (50, "female")
    assert ecg.metadata["filters"] == {"low": 0.05, "high": 150}
    path.write_text(philips(counts, "1.03", 'compressflag="True" compressmethod="XLI"'))
    close(read(path), counts, 0.005)
    path.write_text(philips(counts).replace("leadlabels", "x"), encoding="utf-16")
    assert "leads in the standard order: the file does not name them" in read(path).metadata["assumed"]
    named = read(path, leads=[f"V{each}" for each in range(1, 13)])
    assert named.leads[:2] == ("V1", "V2") and "standard order" not in str(named.metadata["assumed"])


def test_philips_uncompressed(tmp_path, counts):
    path = tmp_path / "a.xml"
    plain = counts.astype("<i2").tobytes()
    path.write_text(philips(counts, "1.03", 'compressflag="False" compressmethod="XLI"', plain))
    close(read(path), counts, 0.005)
    path.write_text(philips(counts, "1.04", 'compression="Uncompressed"', plain))
    close(read(path), counts, 0.005)


def test_philips_tail_of_zeros_and_calibration_is_cut_and_said(tmp_path, counts):
    tail = np.zeros((12, 250), np.int64)
    tail[:, 100:200] = 200
    path = tmp_path / "a.xml"
    path.write_text(philips(np.hstack([counts, tail])))
    ecg = read(path)
    close(ecg, counts, 0.005)
    assert "calibration pulse" in " ".join(ecg.metadata["warnings"])
    tail[tail > 0] = 100  # half a millivolt: then the resolution is doubtful
    path.write_text(philips(np.hstack([counts, tail])))
    assert "resolution may be wrong" in " ".join(read(path).metadata["warnings"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lambda c: philips(c, "1.07"), "type PhilipsECG 1.07"),
        (lambda c: philips(c, data=b""), "no samples"),
        (lambda c: philips(c, data=struct.pack("<iHh", 2**31 - 1, 1, 0) + bytes(9)), "claims"),
        (lambda c: philips(c, data=struct.pack("<iHh", -5, 1, 0) + bytes(9)), "claims"),
        (lambda c: philips(c, data=struct.pack("<iHh", 8, 1, 0) + b"\xff\xaa" * 4), "no samples|not defined"),
        (lambda c: philips(c, attributes='compression="ZIP"'), "compressed by 'ZIP'"),
        (lambda c: philips(c).replace('Base64" d', 'Hex" d').replace('"XLI"', '"None"'), "encodes"),
        (lambda c: re.sub(r">[A-Za-z0-9+/=]{99,}<", ">@@@<", philips(c)), "no Base64"),
        # A bomb: every code stands for a longer run than the one before.
        (
            lambda c: philips(c, data=struct.pack("<iHh", 1000, 1, 0) + lzw(bytes(400_000))[:1000]),
            "unpacks to more",
        ),
    ],
)
def test_hostile_philips_is_refused_in_one_line(tmp_path, counts, text, words):
    path = tmp_path / "a.xml"
    path.write_text(text(counts))
    with pytest.raises(ECGFileError, match=words) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_xml_saved_anew_in_another_encoding_than_it_says(io_samples, tmp_path):
    path = io_samples / "philips_sierra_xml/examples/xml/1_04_01/2020-5-18_15-48-11.xml"
    text = path.read_bytes().decode("utf-16")
    assert 'encoding="utf-16"' in text[:100].lower()
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.xml").write_bytes(text.encode(encoding))
        np.testing.assert_array_equal(read(tmp_path / "a.xml").signal, read(path).signal)


def test_philips_samples(io_samples):
    folder = io_samples / "philips_sierra_xml"
    for name, length in (
        ("examples/xml/1_04/3191723_ZZDEMOPTONLY_1-04_orig.xml", 5300),
        ("examples/xml/1_04_01/2020-5-18_15-48-11.xml", 5300),
        ("pysierraecg/tests/fixtures/1_03/repbeats_example.xml", 5264),
    ):
        ecg = read(folder / name)
        assert ecg.leads == LEADS_12 and ecg.num_samples == length
        assert np.abs(ecg.lead("I") + ecg.lead("III") - ecg.lead("II")).max() < 0.011  # two counts
        # The height of the calibration pulse says that the resolution is right: no doubt is voiced.
        assert ecg.metadata["warnings"] == [each for each in ecg.metadata["warnings"] if "cut" in each]
    ecg = read(folder / "examples/xml/1_04_01/2020-5-18_15-48-11.xml")
    beats = ecg.metadata["device"]["median_beats"]
    assert (
        beats.sampling_rate == 1000 and abs(beats.lead("II").max() - 0.835) < 0.002
    )  # the device's R wave, 835 uV
    assert ecg.metadata["device"]["measurements"]["heart_rate"] == 64
    for name, words in (("invalid-doc-type", "MortaraECG"), ("invalid-doc-version", "1.05")):
        with pytest.raises(ECGFileError, match=words):
            read(folder / "pysierraecg" / "tests" / "fixtures" / f"{name}.xml")


# ---------------------------- GE MUSE


@pytest.mark.parametrize("order", ["<", ">"])
def test_muse_reads_either_order_of_bytes(tmp_path, counts, order):
    path = tmp_path / "a.xml"
    path.write_text(muse(counts, order), encoding="latin-1")
    ecg = read(path)
    assert ecg.leads == LEADS_12 and ecg.sampling_rate == 500
    close(ecg.select(EIGHT), counts[[LEADS_12.index(name) for name in EIGHT]], 0.00488)
    assert (ecg.metadata["age"], ecg.metadata["sex"], ecg.metadata["acquired"]) == (
        1.5,
        "female",
        "2001-12-31T01:02:03",
    )
    assert ecg.metadata["filters"] == {"low": 0.05, "high": 150}
    assert ("big-endian" in " ".join(ecg.metadata.get("warnings", []))) == (order == ">")


def test_muse_says_what_is_wrong_and_counts_can_be_scaled_anew(tmp_path, counts):
    path = tmp_path / "a.xml"
    path.write_text(muse(counts, names=LEADS_12, crc=1).replace("FALSE", "TRUE", 1), encoding="latin-1")
    ecg = read(path, unit="5 uV")
    close(ecg, counts, 0.005)
    assert "checksum" in " ".join(ecg.metadata["warnings"]) and "electrode" in " ".join(
        ecg.metadata["warnings"]
    )
    assert not any("derived" in each for each in ecg.metadata["assumed"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lambda c: muse(c, kind="Median"), "median beats only"),
        (
            lambda c: muse(c).replace("<LeadSampleCountTotal>2500", "<LeadSampleCountTotal>99999999999"),
            "states",
        ),
        (lambda c: muse(c).replace("<LeadSampleSize>2", "<LeadSampleSize>7"), "7 bytes"),
        (lambda c: muse(c, step=""), "unit="),
        (lambda c: muse(c).replace("<SampleBase>500", "<SampleBase>0"), "sampling rate"),
        (lambda c: muse(c).replace("<SampleBase>500</SampleBase>", ""), "sampling_rate="),
        (lambda c: muse(c, names=("I", "I")), "two channels"),
        (lambda c: re.sub(r"<Waveform>.*</Waveform>", "", muse(c), flags=re.S), "without a waveform"),
    ],
)
def test_hostile_muse_is_refused_in_one_line(tmp_path, counts, text, words):
    path = tmp_path / "a.xml"
    path.write_text(text(counts), encoding="latin-1")
    with pytest.raises(ECGFileError, match=words) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_muse_samples_against_the_pair_in_wfdb(io_samples):
    folder = io_samples / "muse_xml_wfdb_pair_EGM"
    ecg = read(folder / "muse-sinus.xml")
    pair = wfdb.rdrecord(str(folder / "muse-sinus"), physical=False)
    # The pair's counts are microvolts, rounded; its header's gain of 200 per mV is five times off.
    for name, column in zip(pair.sig_name, pair.d_signal.T, strict=True):
        assert np.abs(ecg.lead(name) * 1000 - column).max() < 0.6
    device = ecg.metadata["device"]
    assert device["measurements"]["qrs"] == 86 and device["measurements"]["qtc"] == 491
    assert device["statements"][1] == "Anterior infarct, age undetermined"
    assert device["median_beats"].leads == LEADS_12 and device["median_beats"].num_samples == 600
    other = read(io_samples / "muse_xml_ml4h" / "muse_ecg_deidentified_1.xml")
    assert other.sampling_rate == 240 and other.metadata["age"] == 66 and "KANYE" not in repr(other.metadata)


# ---------------------------- aECG


def test_aecg_sets_that_follow_each_other_lie_on_one_time_axis(tmp_path):
    path = tmp_path / "a.xml"
    first = a_set({"I": "1 2 3", "II": "4 5 6"})
    second = a_set({"AVR": "7 8", "I": "9 10"}, start="20020101000000.008")
    path.write_text(aecg(first, second))
    ecg = read(path)
    assert ecg.leads == ("I", "II", "aVR") and ecg.sampling_rate == 500
    x = np.nan
    expected = np.array([[1, 2, 3, x, 9, 10], [4, 5, 6, x, x, x], [x, x, x, x, 7, 8]]) * 0.0025 + 0.01
    np.testing.assert_allclose(ecg.signal, expected, rtol=1e-6)
    assert "NaN" in " ".join(ecg.metadata["warnings"])


def test_aecg_with_a_list_of_times_and_several_series(tmp_path):
    path = tmp_path / "a.xml"
    axis = (
        "<code code='TIME_RELATIVE'/><value xsi:type='SLIST_PQ'><scale value='1' unit='ms'/>"
        "<digits>{}</digits></value>"
    )
    path.write_text(aecg(a_set({"II": "1 2 3"}, axis=axis.format("0 4 8")), series=2))
    ecg = read(path)
    assert ecg.sampling_rate == 250 and "2 series" in " ".join(ecg.metadata["warnings"])
    assert read(path, index=1).num_samples == 3
    with pytest.raises(ECGFileError, match="index=2"):
        read(path, index=2)
    path.write_text(aecg(a_set({"II": "1 2 3"}, axis=axis.format("0 4 40"))))
    with pytest.raises(ECGFileError, match="evenly spaced"):
        read(path)


@pytest.mark.parametrize(
    ("head", "words"), [({"step": "1e-300"}, "time step"), ({"start": "20990101000000"}, "apart")]
)
def test_aecg_with_absurd_times_is_refused(tmp_path, head, words):
    path = tmp_path / "a.xml"
    path.write_text(aecg(a_set({"II": "1 2 3"}), a_set({"I": "1 2 3"}, **head)))
    with pytest.raises(ECGFileError, match=words):
        read(path)


def test_aecg_written_and_read_back_within_half_a_step(tmp_path):
    signal = simulate("normal", 4).signal
    signal = signal * (10 / np.abs(signal).max())
    signal[3, 500:700] = np.nan
    signal[4] = np.nan
    facts = {
        "age": 61,
        "sex": "female",
        "acquired": "2020-03-04T05:06:07",
        "report": "Sinus <rhythm> & \x01more",
    }
    beats = ECG(np.array([[0.1, 1.0, -0.25], [0.2, np.nan, 0.0]]), 250, ("I", "V1"))
    facts["device"] = {"median_beats": beats}
    ecg = ECG(signal, 500, LEADS_12, facts | {"filters": {"low": 0.05, "high": 150.0, "notch": 50}})
    path = write(ecg, tmp_path / "a.xml")
    again = read(path)
    assert again.leads == LEADS_12 and again.sampling_rate == 500
    np.testing.assert_array_equal(np.isnan(again.signal), np.isnan(signal))
    assert np.nanmax(np.abs(again.signal - signal)) <= 0.5e-4 + 1e-6  # steps of 0.1 uV, and float32
    for key in ("age", "sex", "acquired"):
        assert again.metadata[key] == facts[key]
    assert again.metadata["filters"] == {"low": 0.05, "high": 150, "notch": 50}
    read_beats = again.metadata["device"]["median_beats"]
    np.testing.assert_allclose(read_beats.signal, beats.signal, atol=1e-6)
    assert (read_beats.leads, read_beats.sampling_rate) == (beats.leads, 250)
    assert path.read_bytes() == write(ecg, tmp_path / "b.xml").read_bytes()
    with pytest.raises(ValueError, match="infinite"):
        write(ECG(np.full((1, 9), np.inf), 500, ("I",)), path)
    assert again.num_samples == read(path).num_samples  # the file from before is still there


def test_aecg_samples(io_samples):
    for name in ("Example aECG", "subject1_0"):
        ecg = read(io_samples / "aecg_fda" / f"{name}.xml")
        assert ecg.sampling_rate == 500 and ecg.num_samples == 5000 and set(ecg.leads) == set(LEADS_12)
        assert np.abs(ecg.lead("I") + ecg.lead("III") - ecg.lead("II")).max() < 0.003
        device = ecg.metadata["device"]
        assert (
            device["measurements"]["qt"] == 420 and device["model"] == "ELI250" and ecg.metadata["age"] == 46
        )
        # The device's median beat must be of the same size as the beats of the recording.
        assert abs(np.ptp(device["median_beats"].lead("V2")) - np.ptp(ecg.lead("V2"))) < 0.5
        assert "Clark" not in repr(ecg.metadata)
    for path in sorted((io_samples / "aecg_fda").glob("minimum*.xml")):
        assert read(path).leads == ("II",) and read(path).num_samples == 13
    with pytest.raises(ECGFileError, match="without waveforms"):
        read(io_samples / "aecg_fda" / "empty.xml")
    mindray = read(io_samples / "aecg_liryc" / "hl7aecg_example.xml")
    assert mindray.sampling_rate == 100 and mindray.metadata["device"]["measurements"]["heart_rate"] == 57


# ---------------------------- Schiller


def test_schiller(tmp_path, counts, io_samples):
    path = tmp_path / "a.xml"
    path.write_text(schiller(counts))
    ecg = read(path)
    close(ecg, counts, 0.005)
    assert (ecg.metadata["age"], ecg.metadata["sex"], ecg.metadata["acquired"]) == (
        59,
        "male",
        "2010-01-01T10:11:12",
    )
    path.write_text(schiller(counts).replace("<samplecount>2500", "<samplecount>2501", 1))
    with pytest.raises(ECGFileError, match="2,501"):
        read(path)
    path.write_text(schiller(counts).replace("COMMASEPARATE", "PACKED", 1))
    with pytest.raises(ECGFileError, match="PACKED"):
        read(path)
    ecg = read(io_samples / "cardio_tests" / "sample.xml")
    assert ecg.leads == LEADS_12 and ecg.sampling_rate == 500 and ecg.num_samples == 5000
    assert np.abs(ecg.lead("I") + ecg.lead("III") - ecg.lead("II")).max() < 0.002
    device = ecg.metadata["device"]
    assert device["measurements"]["heart_rate"] == 69
    # The device measures R of lead I as 0.73 mV.
    assert abs(device["median_beats"].lead("I").max() - 0.73) < 0.05


# ---------------------------- hints of a unit


def with_steps_of_5_uv(kind: str, counts: np.ndarray, folder: Path) -> tuple[Path, float]:
    """A file, and the size of a count in the unit that it names."""
    digits = {name: " ".join(map(str, row - 2)) for name, row in zip(LEADS_12, counts, strict=True)}
    of_aecg = aecg(a_set(digits)).replace("scale value='0.0025'", "scale value='0.005'")
    texts = {"aecg": of_aecg, "muse": muse(counts, names=LEADS_12, step="5"), "philips": philips(counts)}
    path = folder / f"a.{kind}"
    if kind == "wfdb":
        lines = "".join(f"a.dat 16 200/mV 16 0 0 0 0 {name}\n" for name in LEADS_12)
        (folder / "a.hea").write_text(f"a 12 500 {counts.shape[1]}\n{lines}")
        (folder / "a.dat").write_bytes(counts.T.astype("<i2").tobytes())
        return folder / "a", 0.005
    if kind == "edf":
        rows = counts.reshape(12, -1, 500)
        ends = {"unit": "uV", "low": -163840, "high": 163835}
        named = [{"label": f"ECG {name}", "counts": rows[k]} | ends for k, name in enumerate(LEADS_12)]
        path.write_bytes(edf_file(named))
    elif kind == "dicom":
        channels = [channel(code(n, "X", n), sensitivity="5", unit="uV") for n in LEADS_12]
        path.write_bytes(dicom_file([group(counts.T.astype(np.int16), channels)]))
    elif kind == "scp":
        path.write_bytes(scp_file(scp(counts)))
        return path, 5000
    elif kind == "npz":
        np.savez(path, signal=counts, adc_gain=200, fs=500, unit="mV", leads=LEADS_12)
    else:
        path.write_text((texts | {"schiller": schiller(counts)})[kind], encoding="latin-1")
    return path, 0.005 if kind in ("aecg", "npz") else 5


@pytest.mark.parametrize(
    "kind", ["wfdb", "edf", "dicom", "npz", "aecg", "muse", "philips", "schiller", "scp"]
)
def test_a_hint_of_the_unit_keeps_the_gain_and_one_of_a_count_does_not_in_every_format(
    tmp_path, counts, kind
):
    path, step = with_steps_of_5_uv(kind, counts, tmp_path)
    close(read(path), counts, 0.005)
    for hint, millivolts in (("V", step * 1e3), ("mV", step), ("nV", step / 1e6)):
        np.testing.assert_allclose(read(path, unit=hint).signal, counts * millivolts, rtol=1e-6, atol=1e-7)
    for hint in ("3 uV", "0.003 mV"):
        close(read(path, unit=hint), counts, 0.003)


def test_a_size_of_a_count_without_a_unit_is_refused_until_the_unit_is_given(tmp_path, counts):
    path = tmp_path / "a.xml"
    text = muse(counts, names=LEADS_12).replace("MICROVOLTS", "")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ECGFileError, match="states no unit; pass unit="):
        read(path)
    close(read(path, unit="uV"), counts, 0.00488)
    close(read(path, unit="5 uV"), counts, 0.005)


# ---------------------------- what stands above the root


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_long_comments_above_the_root_hide_no_format(tmp_path, encoding):
    path = tmp_path / "a.xml"
    above = "<!-- a remark <b> -->\n" * 2000 + "<!DOCTYPE AnnotatedECG SYSTEM 'a.dtd'>"
    path.write_text(aecg(a_set({"II": "1 2 3"}), head=above), encoding=encoding)
    assert read(path).leads == ("II",)


@pytest.mark.parametrize(
    "above", ["<!--", "<!DOCTYPE a [", "<!DOCTYPE ", "<!DOCTYPE a [" + "] " * 90_000, "<"]
)
def test_what_never_comes_to_a_root_is_refused_at_once(tmp_path, above):
    path = tmp_path / "a.xml"
    path.write_text(above.ljust(1 << 20))
    began = time.process_time()
    with pytest.raises(ECGFileError, match="no format"):
        read(path)
    assert time.process_time() - began < 1


# ---------------------------- hostile XML

ENTITIES = '<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("head", [ENTITIES, OUTSIDE])
def test_entities_are_refused(tmp_path, head):
    path = tmp_path / "a.xml"
    path.write_text(aecg(a_set({"II": "1 2 3"}), head=head).replace("MDC_ECG_LEAD_II", "&c;"))
    with pytest.raises(ECGFileError, match="entities"):
        read(path)


@pytest.mark.parametrize("root", ["AnnotatedECG", "RestingECG", "restingecgdata", "SchillerEDI"])
def test_a_quarter_of_a_million_levels_of_nesting_are_refused_at_once(tmp_path, root):
    path = tmp_path / "a.xml"
    path.write_text(f"<{root}>" + "<a>" * 250_000)
    began = time.perf_counter()
    with pytest.raises(ECGFileError, match="deep"):
        read(path)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("digits", ["1 2 x", "1 nan 2", "1 1e999 2", "--5", "1 2 3abc", "1, 2, 0x10"])
def test_lists_that_hold_no_numbers_are_refused(tmp_path, digits):
    path = tmp_path / "a.xml"
    path.write_text(aecg(a_set({"II": digits})))
    with pytest.raises(ECGFileError, match="no number|no finite number"):
        read(path)


def test_a_long_list_takes_little_more_memory_than_its_numbers(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(aecg(a_set({"II": "-12 " * 250_000})))
    tracemalloc.start()
    assert read(path).num_samples == 250_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # the 8 MB of the file, as bytes and text, and 16 MB of numbers, a few times


@pytest.mark.parametrize("kind", ["scp", "aecg", "muse", "philips", "schiller"])
def test_mutants_and_stumps_raise_nothing_else(tmp_path, counts, kind):
    short = counts[:, :200]
    make = {"muse": muse, "philips": philips, "schiller": schiller}
    if kind == "scp":
        content = scp_file(scp(short))
    elif kind == "aecg":
        content = aecg(
            a_set({"I": "1 2 3", "II": "4 5 6"}), a_set({"I": "7"}, start="20020101000001")
        ).encode()
    else:
        content = make[kind](short).encode("latin-1")
    generator = np.random.default_rng(5)
    path = tmp_path / f"a.{kind}"
    stumps = [content[:size] for size in range(64, len(content), max(64, len(content) // 40))]
    mutants = []
    for _ in range(120):
        mutant = bytearray(content)
        for _ in range(int(generator.integers(1, 6))):
            mutant[generator.integers(len(mutant))] = generator.integers(256)
        mutants.append(bytes(mutant))
    survived = 0
    for each in [*stumps, *mutants]:
        path.write_bytes(each)
        try:
            assert isinstance(read(path), ECG)
            survived += 1
        except ECGFileError as error:
            assert "\n" not in str(error)
    assert survived < len(stumps) + len(mutants)


@pytest.mark.parametrize(
    "content",
    ["<AnnotatedECG>" + "<a/>" * 400_000, "<AnnotatedECG " + 'a=">" ' * 400_000],
    ids=["tags", "attributes"],
)
def test_xml_of_endless_tags_or_attributes_is_refused_before_it_is_parsed(tmp_path, content):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(ECGFileError, match="at most 300,000 are read"):
        read(tmp_path / "a.xml")
