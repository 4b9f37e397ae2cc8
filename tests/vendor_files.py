"""Makers of vendors' files, written from the formats and not from the readers."""

import base64
import binascii
import struct
import zlib

import numpy as np

from ecglm import LEADS_12

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

# ---------------------------- SCP-ECG


def bits_of(value: int) -> str:
    """The standard's default Huffman code of a value, written from its table and not from its numbers."""
    if value == 0:
        return "0"
    if abs(value) <= 8:
        return "1" * abs(value) + "0" + ("0" if value > 0 else "1")
    if -128 <= value < 128:
        return "1111111110" + format(value & 0xFF, "08b")
    return "1111111111" + format(value & 0xFFFF, "016b")


def packed(codes: str) -> bytes:
    codes += "0" * (-len(codes) % 8)
    return int(codes, 2).to_bytes(len(codes) // 8, "big") if codes else b""


def differences(row: np.ndarray, order: int) -> list[int]:
    if order == 0:
        return row.tolist()
    return [*row[:order].tolist(), *np.diff(row, order).tolist()]


def scp_stream(row: np.ndarray, order: int, code=bits_of) -> bytes:
    stream = packed("".join(code(value) for value in differences(row, order)))
    return stream + bytes(len(stream) % 2)


def scp_data(streams: list[bytes], step: int, interval: int, order: int, bimodal: int = 0) -> bytes:
    sizes = struct.pack(f"<{len(streams)}H", *map(len, streams))
    return struct.pack("<HHBB", step, interval, order, bimodal) + sizes + b"".join(streams)


def scp_leads(codes, last: int, flags: int = 4) -> bytes:
    return bytes([len(codes), flags]) + b"".join(struct.pack("<IIB", 1, last, code) for code in codes)


def scp_file(sections: dict[int, bytes], first: int = 1, good: bool = True, swapped: bool = False) -> bytes:
    def crc(content: bytes) -> bytes:
        return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF) ^ (0 if good else 0x55AA))

    def section(number: int, body: bytes) -> bytes:
        body += bytes(len(body) % 2)
        name = b"SCPECG" if number == 0 and good else bytes(6)
        rest = struct.pack("<HIBB6s", number, 16 + len(body), 13, 13, name) + body
        return crc(rest) + rest

    blocks = {number: section(number, body) for number, body in sections.items()}
    numbers = range(12)
    position = 6 + 16 + 10 * len(numbers)
    pointers = struct.pack("<HII", 0, 16 + 10 * len(numbers), 6 + first)
    for number in numbers[1:]:
        size = len(blocks.get(number, b""))
        pointers += struct.pack("<HII", number, size, position + first if size else 0)
        position += size
    content = section(0, pointers) + b"".join(blocks[number] for number in sorted(blocks))
    length = struct.pack("<I", len(content) + 6)
    if swapped:
        length = length[2:] + length[:2]
    return crc(length + content) + length + content


CODES = {
    "I": 1,
    "II": 2,
    "V1": 3,
    "V2": 4,
    "V3": 5,
    "V4": 6,
    "V5": 7,
    "V6": 8,
    "III": 61,
    "aVR": 62,
    "aVL": 63,
    "aVF": 64,
}
DEFAULT_TABLE = struct.pack("<H", 19999)


def scp(counts, leads=LEADS_12, order=2, **more) -> dict[int, bytes]:
    streams = [scp_stream(counts[LEADS_12.index(name)], order) for name in leads]
    return {
        2: DEFAULT_TABLE,
        3: scp_leads([CODES[name] for name in leads], counts.shape[1]),
        6: scp_data(streams, 5000, 2000, order),
    } | more


# ---------------------------- Philips


def lzw(content: bytes) -> bytes:
    """Codes of 10 bits, high bit first, ended by 1023."""
    table = {bytes([value]): value for value in range(256)}
    codes, word = [], b""
    for value in content:
        longer = word + bytes([value])
        if longer in table:
            word = longer
            continue
        codes.append(table[word])
        if len(table) < 1023:
            table[longer] = len(table)
        word = bytes([value])
    codes += [table[word], 1023]
    return packed("".join(format(code, "010b") for code in codes))


def xli(row: np.ndarray) -> bytes:
    values = [int(value) for value in row]
    bends = [2 * b - a - c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    stored = (
        np.array([*values[:2], *(bend + 64 for bend in bends[1:]), 0], np.int64)
        .astype(np.int16)
        .view(np.uint16)
    )
    body = lzw((stored >> 8).astype(np.uint8).tobytes() + (stored & 0xFF).astype(np.uint8).tobytes())
    return struct.pack("<iHh", len(body), 1, bends[0]) + body


def philips_rows(counts: np.ndarray) -> np.ndarray:
    """What is stored of the limb leads: how far they are from their sum rules."""
    rows = counts.copy()
    one, two, three = counts[:3]
    rows[2] = two - one - three
    rows[3] = -counts[3] - (one + two) // 2
    rows[4] = (one - three) // 2 - counts[4]
    rows[5] = (two + three) // 2 - counts[5]
    return rows


def philips(
    counts: np.ndarray, version="1.04", attributes='compression="XLI"', data: bytes | None = None
) -> str:
    if data is None:
        data = b"".join(xli(row) for row in philips_rows(counts))
    kind = "SierraECG" if version.startswith("1.03") else "PhilipsECG"
    facts = "" if version.startswith("1.03") else (
        f'leadlabels="{" ".join(LEADS_12)}" samplespersecond="500" resolution="5" bitspersample="16"'
    )  # fmt: skip
    return f"""<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>
      <documenttype>{kind}</documenttype><documentversion>{version}</documentversion></documentinfo>
      <dataacquisition date="2019-05-06" time="07:08:09"><machine detaildescription="a:b:1.2">TC70</machine>
      <signalcharacteristics><samplingrate>500</samplingrate><signalresolution>5</signalresolution>
      <signalbandwidth>0.05-150</signalbandwidth><numberchannelsvalid>12</numberchannelsvalid>
      </signalcharacteristics></dataacquisition>
      <patient><generalpatientdata><patientid>P1</patientid><name><lastname>Doe</lastname></name>
      <age><years>50</years></age><sex>Female</sex></generalpatientdata></patient>
      <waveforms><parsedwaveforms dataencoding="Base64" durationperchannel="{counts.shape[1] * 2}" {facts}
      {attributes}>{base64.b64encode(data).decode()}</parsedwaveforms></waveforms></restingecgdata>"""


# ---------------------------- GE MUSE


def muse(counts: np.ndarray, order="<", names=EIGHT, crc=0, extra="", kind="Rhythm", step="4.88") -> str:
    leads = ""
    for name in names:
        raw = counts[LEADS_12.index(name)].astype(f"{order}i2").tobytes()
        data = base64.encodebytes(raw).decode()
        leads += f"""<LeadData><LeadByteCountTotal>{len(raw)}</LeadByteCountTotal>
          <LeadSampleCountTotal>{len(raw) // 2}</LeadSampleCountTotal>
          <LeadAmplitudeUnitsPerBit>{step}</LeadAmplitudeUnitsPerBit>
          <LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{name}</LeadID>
          <LeadSampleSize>2</LeadSampleSize>
          <LeadOff>FALSE</LeadOff><LeadDataCRC32>{zlib.crc32(raw) ^ crc}</LeadDataCRC32>
          <WaveFormData>{data}</WaveFormData></LeadData>"""
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
      <!DOCTYPE RestingECG SYSTEM "restecg.dtd"><RestingECG>
      <PatientDemographics><PatientID>7</PatientID><PatientAge>18</PatientAge><AgeUnits>MONTHS</AgeUnits>
      <Gender>FEMALE</Gender><PatientLastName>D\xf6</PatientLastName></PatientDemographics>
      <TestDemographics><AcquisitionTime>01:02:03</AcquisitionTime>
      <AcquisitionDate>12-31-2001</AcquisitionDate></TestDemographics>{extra}
      <Waveform><WaveformType>{kind}</WaveformType><SampleBase>500</SampleBase>
      <SampleExponent>0</SampleExponent><HighPassFilter>5</HighPassFilter><LowPassFilter>150</LowPassFilter>
      <ACFilter>NONE</ACFilter>{leads}</Waveform></RestingECG>"""


# ---------------------------- aECG


def aecg(*sets: str, series: int = 1, head: str = "") -> str:
    body = f"<component><series><code code='RHYTHM'/>{''.join(sets)}</series></component>"
    names = "xmlns='urn:hl7-org:v3' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'"
    return f"{head}<AnnotatedECG {names}>{body * series}</AnnotatedECG>"


def a_set(
    leads: dict[str, str], start="20020101000000.000", step="2", unit="ms", axis: str | None = None
) -> str:
    axis = axis or (
        f"<code code='TIME_ABSOLUTE'/><value xsi:type='GLIST_TS'><head value='{start}'/>"
        f"<increment value='{step}' unit='{unit}'/></value>"
    )
    sequences = "".join(
        f"<component><sequence><code code='MDC_ECG_LEAD_{name}'/><value xsi:type='SLIST_PQ'>"
        f"<origin value='10' unit='uV'/><scale value='0.0025' unit='mV'/>"
        f"<digits>{digits}</digits></value></sequence></component>"
        for name, digits in leads.items()
    )
    axis = f"<component><sequence>{axis}</sequence></component>"
    return f"<component><sequenceSet>{axis}{sequences}</sequenceSet></component>"


# ---------------------------- Schiller


def schiller(counts: np.ndarray, more: str = "") -> str:
    channels = "".join(
        f"<channel><name>{name.upper()}</name><data>{','.join(map(str, row))}</data>"
        f"<datastype>COMMASEPARATE</datastype><samplecount>{len(row)}</samplecount></channel>"
        for name, row in zip(LEADS_12, counts.tolist(), strict=True)
    )
    return f"""<com.xiriuz.sema.xml.schillerEDI.SchillerEDI><patdata><gender>MALE</gender>
      <birthdate>19500102</birthdate><lastname>Roe</lastname></patdata><examdescript><startdatetime>
      <date>20100101</date><time>101112000</time></startdatetime></examdescript>
      <eventdata><event>{more}<wavedata><type>ECG_RHYTHMS</type><resolution>
      <samplerate><exponent>1</exponent><value>500</value></samplerate><yres><unitperbit>5.0</unitperbit>
      <units>UV</units></yres></resolution>{channels}</wavedata></event></eventdata>
      </com.xiriuz.sema.xml.schillerEDI.SchillerEDI>"""
