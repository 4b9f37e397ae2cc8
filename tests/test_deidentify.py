"""De-identification: names, identifiers and dates planted everywhere a format has room; none may come out."""

import json
import shutil
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pydicom
import pytest
import scipy.io
import soundfile
import wfdb
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from typer.testing import CliRunner
from vendor_files import EIGHT, a_set, aecg, muse, philips, schiller, scp, scp_file

from ecglm import ECG, LEADS_12, ECGFileError, read, simulate, write
from ecglm.cli import app
from ecglm.io.deidentify import Removal, deidentify, dicom, edf

NAME, NUMBER, DAY = "Zyxwvut", "QX99887766", "19470813"
DATES = (DAY, "1947-08-13", "13.08.47", "13-AUG-1947", "08-13-1947", "13/08/1947")
PLANTED = (NAME, NUMBER, *DATES)


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return np.rint(simulate("normal", 7).signal[:, :1000] * 200).astype(np.int64)


def nothing_left(folder: Path, planted=PLANTED) -> None:
    """No planted word in the bytes or the names of the files, in any of the usual encodings."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for word in planted:
            assert word.lower() not in str(path.relative_to(folder)).lower()
            for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                for form in (word, word.upper(), word.lower()):
                    assert form.encode(encoding) not in content, f"{word} in {path.name}"


def same_signal(before: ECG, after: ECG) -> None:
    assert before.sampling_rate == after.sampling_rate
    assert before.signal.tobytes() == after.signal.tobytes()


# ---------------------------- WFDB


def test_wfdb_record_with_notes_everywhere(tmp_path, counts):
    folder = tmp_path / "in"
    folder.mkdir()
    wfdb.wrsamp(
        NAME, fs=500, units=["mV"] * 3, sig_name=["I", "II", NAME], fmt=["16"] * 3, write_dir=str(folder),
        p_signal=counts[:3].T / 200,
        comments=[f"Patient {NAME} {NUMBER}", "Age: 97", "Sex: F", "Dx: 426783006"],
    )  # fmt: skip
    wfdb.wrann(NAME, "atr", np.array([10, 50]), ["N", "N"], aux_note=[NAME, NUMBER], write_dir=str(folder))
    header = folder / f"{NAME}.hea"
    lines = header.read_text().splitlines()
    header.write_text("\n".join([f"{lines[0]} 10:11:12 13/08/1947", *lines[1:]]))
    with (folder / f"{NAME}.dat").open("ab") as file:
        file.write(NAME.encode())
    done = deidentify(header, tmp_path / "out", "a-1")
    after = read(done.path)
    same_signal(read(header), after)
    assert after.leads == ("I", "II", "channel1")
    assert after.metadata["age"] == 90 and after.metadata["sex"] == "female"
    assert after.metadata["dx"] == ["426783006"]
    assert {"date and time of the header", "comments of the header", "the file's name"} <= set(done.removed)
    assert any(".atr" in place for place in done.removed) and any("behind" in place for place in done.removed)
    nothing_left(tmp_path / "out")


@pytest.mark.parametrize(("form", "bits"), [("508", 8), ("516", 16), ("524", 24)])
def test_flac_files_are_unpacked_without_their_comments(tmp_path, counts, form, bits):
    samples = (counts[:2].T % 255 - 127).astype(np.int32)
    samples[5, 0] = -(1 << bits - 1)
    kind = "PCM_S8" if bits == 8 else f"PCM_{bits}"
    with soundfile.SoundFile(tmp_path / "p.dat", "w", 500, 2, kind, format="FLAC") as file:
        file.comment = NAME
        file.write(samples << (32 - bits))
    assert NAME.encode() in (tmp_path / "p.dat").read_bytes()
    lines = [f"p.dat {form} 200/mV {bits} 0 0 0 0 {name}\n" for name in ("I", "II")]
    (tmp_path / "p.hea").write_text(f"p 2 500 {len(samples)}\n{''.join(lines)}")
    done = deidentify(tmp_path / "p.hea", tmp_path / "out", "a-1")
    same_signal(read(tmp_path / "p"), read(done.path))
    assert any("FLAC" in place for place in done.removed)
    np.testing.assert_array_equal(
        wfdb.rdrecord(str(tmp_path / "out/a-1")).p_signal.T.astype(np.float32), read(done.path).signal
    )
    nothing_left(tmp_path / "out")


def test_challenge_file_loses_the_head_of_its_matlab_file(tmp_path, counts):
    samples = counts[:2].astype("<i2")
    (tmp_path / "p.mat").write_bytes(NUMBER.encode().ljust(24, b"\0") + samples.T.tobytes())
    lines = [
        f"p.mat 16+24 200/mV 16 0 {row[0]} 0 0 {name}" for row, name in zip(samples, ("I", "II"), strict=True)
    ]
    (tmp_path / "p.hea").write_text("\n".join([f"p 2 500 {samples.shape[1]}", *lines, f"#Dx: {NAME}"]))
    done = deidentify(tmp_path / "p.hea", tmp_path / "out", "a-1")
    same_signal(read(tmp_path / "p.hea"), read(done.path))
    np.testing.assert_array_equal(wfdb.rdrecord(str(done.path)[:-4], physical=False).d_signal, samples.T)
    nothing_left(tmp_path / "out")


def test_challenge_file_that_was_saved_anew_is_unpacked(tmp_path, counts):
    lines = [f"p.mat 16+24 200/mV 16 0 0 0 0 {name}" for name in ("I", "II")]
    (tmp_path / "p.hea").write_text("\n".join([f"p 2 500 {counts.shape[1]}", *lines]))
    arrays = {"val": counts[:2].astype(np.int16), "name": NAME}
    scipy.io.savemat(tmp_path / "p.mat", arrays)
    done = deidentify(tmp_path / "p.hea", tmp_path / "out", "a-1")
    same_signal(read(tmp_path / "p.hea"), read(done.path))
    assert done.path.with_suffix(".dat").stat().st_size == counts[:2].size * 2
    nothing_left(tmp_path / "out")


def test_wfdb_record_in_segments(tmp_path, counts):
    folder = tmp_path / "in"
    folder.mkdir()
    for part in ("a", "b"):
        wfdb.wrsamp(
            f"{NAME}_{part}", fs=500, units=["mV"], sig_name=["II"], fmt=["16"], write_dir=str(folder),
            p_signal=counts[:1].T / 200, comments=[NUMBER],
        )  # fmt: skip
    (folder / f"{NAME}.hea").write_text(f"{NAME}/2 1 500 2000\n{NAME}_a 1000\n{NAME}_b 1000\n")
    done = deidentify(folder / NAME, tmp_path / "out", "a-1")
    same_signal(read(folder / NAME), read(done.path))
    nothing_left(tmp_path / "out")


# ---------------------------- XML


def places(root: ElementTree.Element):
    """Each distinct element and attribute, as functions that put a word there."""
    seen = set()
    for element in root.iter():
        if ("text", element.tag) not in seen:
            seen.add(("text", element.tag))
            yield element.tag, lambda word, e=element: setattr(e, "text", word)
        for key in element.attrib:
            if (key, element.tag) not in seen:
                seen.add((key, element.tag))
                yield f"{element.tag}@{key}", lambda word, e=element, k=key: e.set(k, word)
        if ("new", element.tag) not in seen:
            seen.add(("new", element.tag))
            yield f"{element.tag}/new", lambda word, e=element: e.append(named(word))


def named(word: str) -> ElementTree.Element:
    element = ElementTree.Element(f"n{word}" if word.isalpha() else "comments", {"planted": word})
    element.text = word
    element.tail = word
    return element


SAMPLES = ("digits", "WaveFormData", "parsedwaveforms", "data")
XML = {
    "aecg": lambda counts: aecg(
        a_set({"I": "1 2 3 4", "II": "4 5 6 7", "V1": "7 8 9 1"})
        + "<id root='1.2' extension='x'/><author><seriesAuthor><id extension='0'/></seriesAuthor></author>"
        "<effectiveTime><low value='20020101000000'/></effectiveTime><subjectOf><annotationSet><component>"
        "<annotation><code code='MDC_ECG_TIME_PD_QT'/><value xsi:type='PQ' value='400' unit='ms'/>"
        "</annotation></component>"
        "</annotationSet></subjectOf>"
    ),
    "muse": lambda counts: muse(
        counts,
        names=EIGHT,
        extra="<Diagnosis><DiagnosisStatement><StmtText>x</StmtText></DiagnosisStatement></Diagnosis>"
        "<RestingECGMeasurements><QTInterval>400</QTInterval></RestingECGMeasurements>",
    ).split("?>", 1)[1],
    "philips": philips,
    "schiller": lambda counts: schiller(
        counts, "<annotation_global><name>HR</name><value>70</value></annotation_global><note>x</note>"
    ),
}


@pytest.mark.parametrize("kind", XML)
def test_no_element_or_attribute_of_an_xml_file_lets_a_word_through(tmp_path, counts, kind):
    text = XML[kind](counts[:, :8])
    path, tried, refused = tmp_path / "in.xml", 0, 0
    number = len(list(places(ElementTree.fromstring(text))))
    for place in range(number):
        if list(places(ElementTree.fromstring(text)))[place][0].rpartition("}")[2] in SAMPLES:
            continue  # a number or letter there is a sample
        for word in (NAME, DAY):
            root = ElementTree.fromstring(text)
            where, put = list(places(root))[place]
            put(word)
            comment = ElementTree.Comment(f"{NAME} {DAY}")
            root.append(comment)
            path.write_bytes(ElementTree.tostring(root, encoding="utf-8"))
            try:
                before = read(path)
            except ECGFileError:
                continue  # a place that the reader needs
            tried += 1
            out = tmp_path / "out"
            try:
                done = deidentify(path, out, "a-1")
            except ECGFileError:
                refused += 1
            else:
                same_signal(before, read(done.path))
                nothing_left(out)
            shutil.rmtree(out, ignore_errors=True)
    assert tried > number / 2  # the others are places that the reader needs
    assert refused < tried / 20, where


def test_xml_samples_keep_signal_age_and_measurements(tmp_path, io_samples):
    out = tmp_path / "out"
    words = (
        "Clark",
        "SBJ-123",
        "ZZDEMO",
        "KANYE",
        "AGUIRRE",
        "081486213",
        "25060897140",
        "FN-3A045256",
        "River City",
    )
    for number, name in enumerate(
        (
            "aecg_fda/Example aECG.xml",
            "aecg_liryc/hl7aecg_example.xml",
            "muse_xml_ml4h/muse_ecg_deidentified_1.xml",
            "muse_xml_wfdb_pair_EGM/muse-sinus.xml",
            "philips_sierra_xml/examples/xml/1_04/3191723_ZZDEMOPTONLY_1-04_orig.xml",
            "philips_sierra_xml/pysierraecg/tests/fixtures/1_03/repbeats_example.xml",
            "cardio_tests/sample.xml",
        )
    ):
        before = read(io_samples / name)
        done = deidentify(io_samples / name, out, f"a-{number}")
        after = read(done.path, keep_identity=True)
        same_signal(before, after)
        assert after.leads == before.leads and len(done.removed) > 5
        for key in ("age", "sex"):
            assert after.metadata.get(key) == before.metadata.get(key)
        kept = after.metadata["device"]
        for key in ("heart_rate", "qt", "qrs"):
            assert kept["measurements"].get(key) == before.metadata["device"]["measurements"].get(key)
        assert (
            kept["median_beats"].signal.tobytes()
            == before.metadata["device"]["median_beats"].signal.tobytes()
        )
        assert "acquired" not in after.metadata and "report" not in after.metadata
        assert "identity" not in after.metadata
        assert kept.get("statements", ["MDC_ECG_RHY_SINUS_RHY"]) == [
            "MDC_ECG_RHY_SINUS_RHY"
        ]  # a code, no text
    nothing_left(out, words)


# ---------------------------- SCP-ECG


def test_scp_with_words_in_every_section(tmp_path, counts, io_samples):
    word = f"{NAME} {NUMBER} {DAY}\0".encode()
    tags = b"".join(
        bytes([tag]) + struct.pack("<H", len(value)) + value
        for tag, value in [
            *((tag, word) for tag in (0, 1, 2, 3, 9, 10, *range(13, 24), 30, 31, 35, 200)),
            (4, struct.pack("<HB", 93, 1) + word), (5, struct.pack("<HBB", 1947, 8, 13)), (8, b"\1" + word),
            (25, struct.pack("<HBB", 1947, 8, 13)), (27, struct.pack("<H", 5)), (33, b"\2\0" + word),
        ]
    )  # fmt: skip
    sections = scp(counts)
    sections = {number: body + word for number, body in sections.items()}
    sections |= {1: tags + b"\xff\0\0" + word, **dict.fromkeys((7, 8, 9, 10, 11), word * 3)}
    path = tmp_path / f"{NAME}.scp"
    path.write_bytes(scp_file(sections, first=0, good=False) + word)
    done = deidentify(path, tmp_path / "out", "a-1")
    before, after = read(path), read(done.path)
    same_signal(before, after)
    assert not after.metadata.get("warnings")  # pointers, lengths and check sums are as they should be
    assert after.metadata["age"] == 90 and after.metadata["sex"] == "male"
    assert after.metadata["lead_placement"] == "Mason-Likar" and after.metadata["filters"] == {"low": 0.05}
    assert struct.pack("<HBB", 1947, 8, 13) not in done.path.read_bytes()
    assert "section 1, last name" in done.removed and "section 8" in done.removed
    nothing_left(tmp_path / "out")
    sample = io_samples / "scp_healforce" / "62.SCP"
    same_signal(read(sample), read(deidentify(sample, tmp_path / "out", "a-2").path))


# ---------------------------- EDF


def edf_file(samples: np.ndarray, plus: bool = True) -> bytes:
    """Two signals and annotations, two records of one second, a word in each field that takes one."""
    word = f"{NAME} {DAY}"
    fields = [
        ("0", 8), (f"{NUMBER} F 13-AUG-1947 {NAME}", 80), (f"Startdate 13-AUG-1947 {NAME}", 80),
        ("13.08.47", 8), ("10.11.12", 8), (str(256 * 4), 8), ("EDF+C " + word, 44), ("2", 8),
        ("1", 8), ("3", 4),
    ]  # fmt: skip
    for row in (
        (("ECG II", 16), (NAME, 16), ("EDF Annotations", 16)), ((word, 80),) * 3,
        (("uV", 8), (NAME, 8), ("", 8)), (("-3276.8", 8),) * 3, (("3276.7", 8),) * 3, (("-32768", 8),) * 3,
        (("32767", 8),) * 3, (("HP:0.05Hz LP:150Hz", 80), (word, 80), ("", 80)),
        (("500", 8), ("500", 8), ("60", 8)), ((word, 32),) * 3,
    ):  # fmt: skip
        fields += row
    content = "".join(text.ljust(width)[:width] for text, width in fields).encode()
    for record in range(2):
        part = samples[:, record * 500 : record * 500 + 500].astype("<i2")
        notes = f"+{record}\x14\x14\0+{record}.5\x15\x31\x14{NAME}\x14{NUMBER}\x14\0".encode()
        content += part[0].tobytes() + part[1].tobytes() + notes.ljust(120, b"\0")
    return content + word.encode()


def test_edf_with_words_in_every_field_and_annotation(tmp_path, counts):
    path = tmp_path / "in.edf"
    content = edf_file(counts[:2])
    path.write_bytes(content)
    removal, out = Removal(), tmp_path / "out"
    out.mkdir()
    ecg = ECG(counts[:2] / 200, 500, ("I", "II"), {"sex": "female"})
    target = edf.keep(path, out, "a-1", removal, ecg)
    nothing_left(out)
    done = deidentify(path, out, "a-2")
    same_signal(read(path), read(done.path))
    assert target.read_bytes()[88:] == done.path.read_bytes()[88:]  # before it stands the sex, from the file
    kept = target.read_bytes()
    assert kept[8:88].split() == [b"X", b"F", b"X", b"X"]
    # To the bit: the samples of both signals, and the marks of time.
    for record in range(2):
        begin = 1024 + record * 2120
        assert kept[begin : begin + 2000] == content[begin : begin + 2000]
        assert kept[begin + 2000 : begin + 2120] == f"+{record}\x14\x14\0".encode().ljust(120, b"\0")
    assert kept[256:288] == b"ECG II          channel1        "
    assert "annotations" in removal.places and "the bytes behind the last record" in removal.places
    edfio = pytest.importorskip("edfio")
    again = edfio.read_edf(target)
    np.testing.assert_array_equal(again.signals[0].digital, counts[0])
    assert again.patient.name == "X" and again.signals[0].prefiltering == "HP:0.05Hz LP:150Hz"


# ---------------------------- DICOM


def dicom_file(path: Path, samples: np.ndarray) -> None:
    word = f"{NAME} {DAY}"

    def code(value: str, scheme: str, meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        item.CodeMeaning = meaning
        item.LongCodeValue = word
        return item

    root = Dataset()
    root.SOPClassUID, root.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3.99887766"
    root.StudyInstanceUID, root.SeriesInstanceUID = "1.2.3.4.99887766", "1.2.3.5.99887766"
    root.PatientName, root.PatientID, root.PatientBirthDate = NAME, NUMBER, DAY
    root.PatientSex, root.PatientAge, root.Modality = "F", "095Y", "ECG"
    root.StudyDate = root.AcquisitionDateTime = DAY
    root.InstitutionName = root.PatientComments = root.StudyDescription = root.ReferringPhysicianName = NAME
    root.AccessionNumber, root.DeviceSerialNumber, root.OtherPatientIDs = NUMBER, NUMBER, NUMBER
    block = root.private_block(0x0099, "ZYXWVUT MAKER", create=True)
    block.add_new(1, "LO", word)
    text = Dataset()
    text.UnformattedTextValue, text.AnnotationGroupNumber = word, 1
    number = Dataset()
    number.NumericValue, number.AnnotationGroupNumber = "400", 1
    number.ConceptNameCodeSequence = [code("5.10.2.5-5", "SCPECG", f"QT {NAME}")]
    number.MeasurementUnitsCodeSequence = [code("ms", "UCUM", "millisecond")]
    root.WaveformAnnotationSequence = [text, number]
    group = Dataset()
    group.WaveformOriginality, group.MultiplexGroupLabel = "ORIGINAL", NAME
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 2, samples.shape[1]
    group.SamplingFrequency = "500"
    channels = []
    for value, meaning in (("5.6.3-9-1", "Lead I (Einthoven)"), ("5.6.3-9-2", f"Lead {NAME}")):
        channel = Dataset()
        channel.ChannelSourceSequence = [code(value, "SCPECG", meaning)]
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "5", "1"
        channel.ChannelSensitivityUnitsSequence = [code("uV", "UCUM", "microvolt")]
        channel.ChannelBaseline, channel.WaveformBitsStored = "0", 16
        channel.ChannelLabel = NAME
        channel.ChannelDerivationDescription = word
        channels.append(channel)
    group.ChannelDefinitionSequence = channels
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = samples.astype("<i2").T.tobytes()
    root.WaveformSequence = [group]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = root.SOPClassUID, root.SOPInstanceUID
    meta.SourceApplicationEntityTitle = NAME
    FileDataset(str(path), root, file_meta=meta, preamble=NAME.encode().ljust(128, b"\0")).save_as(path)


def test_dicom_with_words_in_attributes_private_tags_annotations_and_preamble(tmp_path, counts):
    path = tmp_path / "in.dcm"
    dicom_file(path, counts[:2])
    removal, out = Removal(), tmp_path / "out"
    out.mkdir()
    target = dicom.keep(path, out, "a-1", removal, ECG(counts[:2] / 200, 500, ("I", "II")))
    done = deidentify(path, out, "a-2")
    same_signal(read(path), read(done.path))
    nothing_left(out, (*PLANTED, "99887766"))
    kept = pydicom.dcmread(target)
    group = kept.WaveformSequence[0]
    assert group.WaveformData == counts[:2].astype("<i2").T.tobytes()
    np.testing.assert_allclose(kept.waveform_array(0), counts[:2].T * 5.0)
    assert (kept.PatientAge, kept.PatientSex, kept.PatientIdentityRemoved) == ("090Y", "F", "YES")
    source = group.ChannelDefinitionSequence[0].ChannelSourceSequence[0]
    assert (source.CodeValue, source.CodeMeaning) == ("5.6.3-9-1", "Lead I (Einthoven)")
    assert (
        kept.WaveformAnnotationSequence[0].NumericValue == 400 and len(kept.WaveformAnnotationSequence) == 1
    )
    assert {"PatientName", "PatientID", "the preamble", "private (0099,1001)"} <= set(removal.places)


def test_binary_samples_keep_signal_and_measurements(tmp_path, io_samples):
    for number, name in enumerate(
        (
            "dicom_ecg/anonymous_ecg.dcm",
            "cardio_tests/sample.edf",
            "edf/test_generator.edf",
            "edf/test_utf8.edf",
        )
    ):
        before = read(io_samples / name)
        done = deidentify(io_samples / name, tmp_path / "out", f"a-{number}")
        after = read(done.path)
        same_signal(before, after)
        if number == 0:
            device = after.metadata["device"]
            assert device["measurements"] == before.metadata["device"]["measurements"]
            assert "statements" not in device and device["median_beats"].num_samples == 1200
            assert (after.metadata["age"], after.metadata["sex"]) == (42, "female")
    nothing_left(tmp_path / "out", ("Mortara", "el250", "RITMO", "2013"))


# ---------------------------- tables, names, the command line


def test_names_and_folders_that_are_not_taken(tmp_path, counts):
    source = write(ECG(counts[:2] / 200, 500, ("I", "II")), tmp_path / "p.xml")
    for name in ("../p", "a b", "", "-a"):
        with pytest.raises(ValueError, match="not allowed"):
            deidentify(source, tmp_path / "out", name)
    deidentify(source, tmp_path / "out", "a-1")
    with pytest.raises(FileExistsError, match="already"):
        deidentify(source, tmp_path / "out", "a-1")
    with pytest.raises(FileNotFoundError):
        deidentify(tmp_path / "none.xml", tmp_path / "out", "a-2")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a-1.xml"]


def test_command_line_writes_a_report_and_names_what_failed(tmp_path, counts):
    path = tmp_path / f"{NAME}.xml"
    path.write_text(muse(counts), encoding="latin-1")
    broken = tmp_path / "broken.xml"
    broken.write_text("<AnnotatedECG/>")
    arguments = ["deidentify", str(path), str(broken), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--report", str(tmp_path / "report.json")])
    assert isinstance(result.exception, ValueError) and "1 of 2" in str(result.exception)
    (entry,) = json.loads((tmp_path / "report.json").read_text())
    assert entry["path"].endswith("ecg-000001.xml") and "PatientDemographics/PatientLastName" in str(
        entry["removed"]
    )
    assert entry["kept"] == {"age": 1.5, "sex": "female"}
    nothing_left(tmp_path / "out")


def test_leads_of_a_written_copy_are_those_of_the_source(tmp_path):
    source = write(simulate("normal", 2), tmp_path / "p.xml")
    done = deidentify(source, tmp_path / "out", "a-1")
    assert read(done.path).leads == LEADS_12


@pytest.mark.parametrize("kind", ["csv", "npz", "npy", "mat"])
def test_tables_and_arrays_keep_samples_leads_age_and_sex_only(tmp_path, counts, kind):
    signal = (counts[:3] / 200).astype(np.float32)
    path = tmp_path / f"{NAME}.{kind}"
    hints = {}
    if kind == "csv":
        rows = "\n".join(",".join(f"{value:.9g}" for value in column) for column in signal.T)
        path.write_text(
            f"# name: {NAME}\n# sampling_rate: 500\n# {NUMBER} {DAY}\nI (mV),II (mV),{NAME} (mV)\n{rows}\n"
        )
    elif kind == "npz":
        np.savez(
            path, signal=signal, sampling_rate=500, leads=["I", "II", NAME], unit="mV", age=93, note=NUMBER
        )
    elif kind == "npy":
        np.save(path, signal)
        hints = {"sampling_rate": 500, "unit": "mV", "leads": ("I", "II", NAME)}
    else:
        scipy.io.savemat(path, {"val": signal, "name": NAME, "note": f"{NUMBER} {DAY}"})
        hints = {"sampling_rate": 500, "unit": "mV", "leads": ("I", "II", NAME)}
    done = deidentify(path, tmp_path / "out", "a-1", **hints)
    after = read(done.path)
    same_signal(read(path, **hints), after)
    assert after.leads == ("I", "II", "channel1")
    assert done.path.suffix == (".csv" if kind == "csv" else ".npz")
    assert after.metadata.get("age") == (90 if kind == "npz" else None)
    nothing_left(tmp_path / "out")


@pytest.mark.parametrize("kind", ["no preamble", "deflated", "implicit", "big-endian", "private lead codes"])
def test_dicom_in_every_transfer_syntax_and_with_codes_of_a_maker(tmp_path, counts, kind):
    path, big = tmp_path / "in.dcm", kind == "big-endian"
    dicom_file(path, counts[:2])
    source = pydicom.dcmread(path)
    for channel, name in zip(source.WaveformSequence[0].ChannelDefinitionSequence, ("I", "II"), strict=True):
        if kind == "private lead codes":
            code = channel.ChannelSourceSequence[0]
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = f"{NAME}1", NAME, f"Lead {name}"
            del channel.ChannelLabel
    if big:
        source.WaveformSequence[0].WaveformData = counts[:2].astype(">i2").T.tobytes()
    syntaxes = {"deflated": "1.2.840.10008.1.2.1.99", "implicit": "1.2.840.10008.1.2"}
    source.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2" if big else syntaxes.get(
        kind, "1.2.840.10008.1.2.1"
    )  # fmt: skip
    if big:
        pydicom.dcmwrite(path, source, little_endian=False, implicit_vr=False, force_encoding=True)
    else:
        source.save_as(path)
    if kind == "no preamble":
        path.write_bytes(path.read_bytes()[132:])
    before = read(path)
    assert before.leads == ("I", "II")
    after = read(deidentify(path, tmp_path / "out", "a-1").path)
    same_signal(before, after)
    assert after.leads == before.leads
    nothing_left(tmp_path / "out", (*PLANTED, "99887766"))


def test_lead_names_in_place_of_codes_and_spelled_units_are_kept(tmp_path, counts):
    source = write(ECG(counts[:3] / 200, 500, ("I", "II", "V1")), tmp_path / "p.xml")
    source.write_text(source.read_text().replace("MDC_ECG_LEAD_", ""))
    assert read(deidentify(source, tmp_path / "out", "a-1").path).leads == ("I", "II", "V1")
    source = write(ECG(counts[:3] / 200, 500, ("I", "II", "V1")), tmp_path / "p.edf")
    source.write_bytes(source.read_bytes().replace(b"uV      ", b"Volt    ", 3))
    same_signal(read(source), read(deidentify(source, tmp_path / "out", "a-2").path))


def test_what_a_keeper_does_not_foresee_is_one_line_and_leaves_nothing(tmp_path, counts, monkeypatch):
    source = write(ECG(counts[:2] / 200, 500, ("I", "II")), tmp_path / "p.edf")
    monkeypatch.setattr(edf, "_strip_annotations", lambda *_: {}["no such key"])
    with pytest.raises(ECGFileError, match=r"cannot be rewritten \(KeyError\); nothing was written"):
        deidentify(source, tmp_path / "out", "a-1")
    assert not list((tmp_path / "out").iterdir())
