"""What is kept of the XML formats: elements and attributes by name, each value against a pattern.

Parsing drops comments, processing instructions and document types already; what is written is a new tree.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from ecglm.ecg import ECG, LEADS_12, ECGFileError, standard_lead
from ecglm.io._common import parse_xml
from ecglm.io._finish import is_ecg_name
from ecglm.io._xml import base64_bytes, to_number
from ecglm.io.deidentify import MAX_AGE, Removal

_NUMBER = r"[-+]?\d{1,5}(\.\d{1,6})?"
_COUNT = r"\d{1,10}"
_LIST = r"[-+\d.,eE\s]*"
_BASE64 = r"[A-Za-z0-9+/=\s]*"
_FLAG = r"(?i:true|false)"
_EPOCH = datetime(1900, 1, 1)  # the time of a recording whose time is not known


@dataclass
class Rules:
    """What one format keeps.

    Args:
        texts: an element's parent and name, "parent/name", to the pattern of its text; `*` as the name means
            any.
        attributes: name of an attribute, or "element@name", to the pattern of its value.
        containers: elements that are kept for what is in them.
        leads: elements and attributes that name leads.
        age: paths of elements that hold years.
        namespaces: attributes of the root.
    """

    texts: dict[str, str]
    attributes: dict[str, str]
    containers: frozenset[str]
    leads: frozenset[str] = frozenset()
    age: frozenset[str] = frozenset()
    namespaces: dict[str, str] = field(default_factory=dict)


_MUSE = Rules(
    texts={
        "PatientDemographics/PatientAge": r"\d{1,3}",
        "PatientDemographics/AgeUnits": r"YEARS|MONTHS|WEEKS|DAYS|HOURS",
        "PatientDemographics/Gender": r"MALE|FEMALE|UNKNOWN",
        "RestingECGMeasurements/*": _NUMBER,
        "OriginalRestingECGMeasurements/*": _NUMBER,
        "QRS/*": _NUMBER,
        "QRSTimesTypes/*": _NUMBER,
        "Waveform/WaveformType": r"(?i:rhythm|median)",
        "Waveform/SampleType": r"CONTINUOUS_SAMPLES",
        "Waveform/ACFilter": r"NONE|\d{1,3}",
        "Waveform/*": _NUMBER,
        "LeadData/LeadAmplitudeUnits": r"MICROVOLTS|MILLIVOLTS|NANOVOLTS|VOLTS",
        "LeadData/LeadAmplitudeUnitsPerBit": r"\d{1,6}(\.\d{1,9})?",
        "LeadData/LeadOff": _FLAG,
        "LeadData/BaselineSway": _FLAG,
        "LeadData/WaveFormData": _BASE64,
        "LeadData/LeadID": "",
        "LeadData/LeadSampleCountTotal": _COUNT,
        "LeadData/LeadByteCountTotal": _COUNT,
        "LeadData/LeadDataCRC32": _COUNT,
        "LeadData/*": _NUMBER,
    },
    attributes={},
    containers=frozenset(
        (
            "RestingECG PatientDemographics RestingECGMeasurements OriginalRestingECGMeasurements "
            "QRSTimesTypes QRS Waveform LeadData"
        ).split()
    ),
    leads=frozenset({"LeadData/LeadID"}),
    age=frozenset({"PatientDemographics/PatientAge"}),
)

_PHILIPS = Rules(
    texts={
        "documentinfo/documenttype": r"SierraECG|PhilipsECG",
        "documentinfo/documentversion": r"1\.\d\d(\.\d\d)?",
        "signalcharacteristics/signalbandwidth": r"[\d.]{1,6}-[\d.]{1,6}",
        "signalcharacteristics/signalsigned": _FLAG,
        "signalcharacteristics/notchfiltered": _FLAG,
        "signalcharacteristics/acquisitiontype": r"STD-12|10-WIRE|\d{1,2}-WIRE",
        "signalcharacteristics/electrodeplacement": r"STD|Mason-Likar",
        "signalcharacteristics/*": _NUMBER,
        "age/years": r"\d{1,3}",
        "generalpatientdata/sex": r"(?i:male|female|unknown)",
        "globalmeasurements/*": _NUMBER,
        "interpretationmeasurements/*": _NUMBER,
        "crossleadmeasurements/*": _NUMBER,
        "leadmeasurement/*": _NUMBER,
        "waveforms/parsedwaveforms": _BASE64,
        "repbeat/waveform": _BASE64,
        "repbeats/repbeat": _BASE64,
        "repbeat/*": _NUMBER,
    },
    attributes={
        "dataencoding": r"(?i:base64|plain)",
        "compression": r"(?i:xli|uncompressed|none)",
        "compressmethod": r"(?i:xli|none)",
        "compressflag": _FLAG,
        "filterflag": _FLAG,
        "signalsigned": _FLAG,
        "notchfiltered": _FLAG,
        "donotfilter": _FLAG,
        "leadlabels": "",
        "leadname": "",
        "repbeatmethod": r"mean|median",
        **dict.fromkeys(
            (
                "numberofleads durationperchannel samplespersecond resolution signaloffset bitspersample "
                "nbitspersample hipass lowpass notchfilterfreqs samplespersec duration pdur print qonset "
                "qrsdur tonset qtint"
            ).split(),
            _NUMBER,
        ),
    },
    containers=frozenset(
        (
            "restingecgdata documentinfo dataacquisition signalcharacteristics patient "
            "generalpatientdata age internalmeasurements measurements crossleadmeasurements "
            "globalmeasurements leadmeasurements leadmeasurement interpretations interpretation "
            "interpretationmeasurements waveforms repbeats repbeat"
        ).split()
    ),
    leads=frozenset({"@leadlabels", "@leadname"}),
    age=frozenset({"age/years"}),
    namespaces={"xmlns": "http://www3.medical.philips.com"},
)

_SCHILLER = Rules(
    texts={
        "patdata/gender": r"(?i:male|female|undefined)",
        "wavedata/type": r"ECG_RHYTHMS|ECG_AVERAGES",
        "wavedata/channelconfiguration": r"ECG_STANDARD",
        "samplerate/*": _NUMBER,
        "yres/unitperbit": r"\d{1,6}(\.\d{1,9})?",
        "yres/units": r"(?i:uv|mv|nv|v)",
        "channel/name": "",
        "channel/data": _LIST,
        "channel/datastype": r"COMMASEPARATE",
        "channel/samplecount": _COUNT,
        "annotation_global/name": r"HR|RR|P|PQ|PR|QRS|QT|QTC|AXIS_(P|QRS|T)|[PT]_OFF|P_ON|QRS_O(N|FF)",
        "annotation_global/value": _NUMBER,
        "rhythm_global/name": r"R_(QRS_ON|QRS_OFF|QRS_TYPE|P_ON|T_OFF)",
        "rhythm_global/value": _NUMBER,
        "filter/name": r"MAINS|BASELINE|MYOGRAM|HIGHPASS_CUTOFF_FREQ|LOWPASS_CUTOFF_FREQ|SMOOTHING",
        "filter/value": _NUMBER,
    },
    attributes={},
    containers=frozenset(
        (
            "com.xiriuz.sema.xml.schillerEDI.SchillerEDI SchillerEDI patdata eventdata event wavedata "
            "resolution samplerate yres channel annotation_global rhythm_global filters_data filter"
        ).split()
    ),
    leads=frozenset({"channel/name"}),
)

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_AECG = Rules(
    texts={"value/digits": _LIST},
    attributes={
        # MDC codes (what a lead's code names is checked by itself), and those of the schema's own tables.
        "code": r"MDC_ECG_[A-Za-z_]{1,40}\d{0,2}R?|RHYTHM|REPRESENTATIVE_BEAT|TIME_ABSOLUTE|TIME_RELATIVE"
        r"|93000|21612-7|ROIPS|ROIFS|ROIBND|MINDRAY_ECG_(P|QRS|T)_AXIS|MINDRAY_ECG_TIME_PD_QTcH",
        "codeSystem": r"2\.16\.840\.1\.113883\.(6\.24|5\.4|6\.12|6\.1|5\.1)",
        "type": r"GLIST_TS|GLIST_PQ|SLIST_PQ|SLIST_TS|SLIST_INT|PQ|TS|IVL_TS|IVL_PQ|CE|Observation",
        "unit": r"[umn\u00b5]?V|[mu]?s|min|Hz|deg|bpm|/min|a|%|1",
        "inclusive": _FLAG,
        "classCode": r"OBS|ROIBND|ROIFS|OBSSER|OBSCOR",
        "administrativeGenderCode@code": r"M|F|UN",
        "value": r"[-+]?\d{1,6}(\.\d{1,12})?([eE][-+]?\d{1,3})?",
    },
    containers=frozenset(
        (
            "AnnotatedECG component series derivation derivedSeries sequenceSet sequence code value "
            "head increment origin scale digits controlVariable relatedObservation effectiveTime low "
            "high center subjectOf annotationSet annotation support supportingROI boundary "
            "componentOf timepointEvent subjectAssignment subject trialSubject "
            "subjectDemographicPerson administrativeGenderCode clinicalTrial"
        ).split()
    ),
    namespaces={"xmlns": "urn:hl7-org:v3", "xmlns:xsi": _XSI},
)
_RULES = {
    "AnnotatedECG": _AECG,
    "RestingECG": _MUSE,
    "restingecgdata": _PHILIPS,
    "SchillerEDI": _SCHILLER,
}
_LEAD = "MDC_ECG_LEAD_"
_STAMP = re.compile(r"(\d{8})(\d{2})?(\d{2})?(\d{2})?(\.\d{1,9})?([-+]\d{4})?\Z")
_TIMES = ("low", "high", "center", "head")


def keep(path: Path, folder: Path, name: str, removal: Removal, ecg: ECG) -> Path:
    """The tree without all that its rules do not name."""
    root = parse_xml(path)
    kind = root.tag.rpartition("}")[2]
    rules = _RULES[kind.rpartition(".")[2]]
    shift = _shift(root) if rules is _AECG else None
    kept = _kept(root, "", rules, removal, shift)
    if kept is None:
        raise ECGFileError(f"{path} holds nothing that may be kept")
    for key, value in rules.namespaces.items():
        kept.set(key, value)
    if rules is _MUSE:
        _check_numbers(path, kept, removal)
    _state_age(kept, rules, ecg)
    target = folder / f"{name}.xml"
    text = tostring(kept, encoding="unicode")
    target.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', encoding="utf-8")
    return target


def _kept(
    element: Element, where: str, rules: Rules, removal: Removal, shift: timedelta | None
) -> Element | None:
    """A copy of an element with what may stay; None where that is nothing."""
    tag = element.tag.rpartition("}")[2]
    place = f"{where}/{tag}" if where else tag
    short = "/".join(place.split("/")[-2:])
    pattern = _text_pattern(short, rules)
    if tag not in rules.containers and pattern is None:
        _note_all(element, place, removal)
        return None
    copy = Element(tag)
    for key, value in element.attrib.items():
        plain = key.rpartition("}")[2]
        safe = _safe_attribute(tag, plain, value, rules, removal, shift)
        if safe is not None:
            copy.set("xsi:type" if key == f"{{{_XSI}}}type" else plain, safe)
        elif value.strip() and plain not in ("schemaLocation", "codeSystemName"):
            removal.note(f"{place}@{plain}")
    text = element.text or ""
    if text.strip():
        safe_text = _safe_text(short, text, pattern, rules, removal)
        if safe_text is not None:
            copy.text = safe_text
        else:
            removal.note(place)
    for child in element:
        if (kept := _kept(child, place, rules, removal, shift)) is not None:
            copy.append(kept)
        if (child.tail or "").strip():
            removal.note(f"{place} (text between elements)")
    return copy if len(copy) or copy.text or copy.attrib or not where else None


def _text_pattern(short: str, rules: Rules) -> str | None:
    parent = short.partition("/")[0]
    return rules.texts.get(short, rules.texts.get(f"{parent}/*"))


def _safe_text(short: str, text: str, pattern: str | None, rules: Rules, removal: Removal) -> str | None:
    if pattern is None:
        return None
    if short in rules.leads:
        return _safe_lead(text.strip(), removal)
    stripped = text.strip()
    if not re.fullmatch(pattern, stripped):
        return None
    if short in rules.age and (years := to_number(stripped)) is not None and years > MAX_AGE:
        return str(MAX_AGE)
    return stripped


def _safe_lead(name: str, removal: Removal) -> str:
    """A lead's name as it is, any other as a number."""
    standard = standard_lead(name)
    return name if is_ecg_name(standard) and len(standard) <= 5 else removal.channel()


def _safe_attribute(
    tag: str, name: str, value: str, rules: Rules, removal: Removal, shift: timedelta | None
) -> str | None:
    if f"@{name}" in rules.leads:
        return " ".join(_safe_lead(each, removal) for each in value.split())
    if shift is not None and name == "value" and tag in _TIMES and (moment := _moment(value)) is not None:
        return _stamp(moment + shift, value)
    if rules is _AECG and f"{tag}@{name}" == "code@code" and standard_lead(value) in LEADS_12:
        return value.strip()  # where makers write the lead's name and no code
    pattern = rules.attributes.get(f"{tag}@{name}", rules.attributes.get(name))
    if pattern is None or not re.fullmatch(pattern, value.strip()):
        return None
    if name == "code" and value.startswith(_LEAD):
        return _LEAD + _safe_lead(value.strip()[len(_LEAD) :], removal)
    return value.strip()


def _note_all(element: Element, place: str, removal: Removal) -> None:
    """Name an element that goes, and those in it that hold something."""
    if (element.text or "").strip() or any(value.strip() for value in element.attrib.values()):
        removal.note(place)
    for child in element:
        _note_all(child, f"{place}/{child.tag.rpartition('}')[2]}", removal)
        if (child.tail or "").strip():
            removal.note(f"{place} (text between elements)")


def _check_numbers(path: Path, root: Element, removal: Removal) -> None:
    """Drop counts and check sums of MUSE's leads that are not those of the samples: they may be anything."""
    for lead in root.iter("LeadData"):
        raw = base64_bytes(path, lead.findtext("WaveFormData"), "a waveform")
        size = int(lead.findtext("LeadSampleSize") or 2) or 1
        for name, value in (
            ("LeadSampleCountTotal", len(raw) // size),
            ("LeadByteCountTotal", len(raw)),
            ("LeadDataCRC32", zlib.crc32(raw)),
        ):
            stated = lead.find(name)
            if stated is not None and stated.text != str(value):
                lead.remove(stated)
                removal.note(f"LeadData/{name}")


# ----------------------------------------------------------------------------------- times and ages


def _moment(text: str) -> datetime | None:
    """A point in time of HL7's notation; None of a number that is none."""
    match = _STAMP.match(text)
    if not match:
        return None
    try:
        moment = datetime.strptime(
            match[1] + "".join(part or "00" for part in match.groups()[1:4]), "%Y%m%d%H%M%S"
        )
    except ValueError:
        return None
    return moment + timedelta(seconds=float(match[5] or 0))


def _stamp(moment: datetime, like: str) -> str:
    text = moment.strftime("%Y%m%d%H%M%S").rjust(14, "0")
    return f"{text}.{moment.microsecond:06d}" if "." in like else text


def _shift(root: Element) -> timedelta:
    """What brings the first time of the waveforms to the epoch, so that the distances between times stay."""
    times = [
        moment
        for element in root.iter()
        if element.tag.rpartition("}")[2] in _TIMES
        and (moment := _moment(element.get("value", ""))) is not None
    ]
    heads = [
        moment
        for element in root.iter()
        if element.tag.rpartition("}")[2] == "head"
        and (moment := _moment(element.get("value", ""))) is not None
    ]
    first = min(heads or times, default=_EPOCH)
    return _EPOCH - first


def _state_age(root: Element, rules: Rules, ecg: ECG) -> None:
    """The age in years where the file gave it as a date of birth, and at most `MAX_AGE`."""
    age = ecg.metadata.get("age")
    if rules is _AECG:
        for observation in root.iter("relatedObservation"):
            value = observation.find("value")
            if value is not None and (years := to_number(value.get("value"))) is not None and years > MAX_AGE:
                value.set("value", str(MAX_AGE))
    elif rules is _PHILIPS and age is not None and root.find(".//age/years") is None:
        patient = root.find("patient/generalpatientdata")
        if patient is None:
            patient = SubElement(SubElement(root, "patient"), "generalpatientdata")
        SubElement(SubElement(patient, "age"), "years").text = f"{min(age, MAX_AGE):g}"
