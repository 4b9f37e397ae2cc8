"""Findings as a closed vocabulary: reports to SCP statements, statements to a draft, and rules between them.

Reports may be English, German or (a little) Swedish, as PTB-XL's are. What the words look like is data:
`prompts/ontology/scp_ecg.yaml` (statements, synonyms) and `prompts/ontology/lexicon.yaml` (report wording).
A report asserts a finding, denies it or doubts it; all three are parsed, and `find_codes` keeps what is
asserted and, if wanted, what is doubted.

    find_codes("Sinusrhythmus, Linksschenkelblock, kein Infarkt")    # {"SR", "CLBBB"}
    parse_findings("possible inferior infarct")[0].uncertain         # True
    write_findings({"SR", "1AVB"})    # "Sinus rhythm. First degree AV block. …"
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from ecglm.assets import asset, read_yaml

# What reports say less exactly than an SCP statement: name, and the SCP codes that would be more exact.
# The codes are PTB-XL's superclasses and subclasses.
COARSE: dict[str, str] = {
    "MI": "myocardial infarction of unstated wall",
    "_AVB": "AV block of unstated degree",
    "LAFB/LPFB": "fascicular block of unstated fascicle",
    "HYP": "hypertrophy of unstated chamber",
}

# Sections of a report in a cardiologist's order; codes of a section in the order in which they are said.
SECTIONS: dict[str, tuple[str, ...]] = {
    "rhythm": (
        *("SR", "STACH", "SBRAD", "SARRH", "AFIB", "AFLT", "SVTAC", "PSVT", "SVARR", "PACE"),
        *("PAC", "PVC", "PRC(S)", "BIGU", "TRIGU"),
    ),
    "rate": (),
    "axis": (),
    "conduction": (
        *("1AVB", "LPR", "2AVB", "3AVB", "_AVB", "WPW", "CLBBB", "ILBBB", "CRBBB", "IRBBB"),
        *("LAFB", "LPFB", "LAFB/LPFB", "IVCD"),
    ),
    "hypertrophy": ("LVH", "VCLVH", "RVH", "SEHYP", "HYP", "LAO/LAE", "RAO/RAE", "HVOLT", "LVOLT"),
    "infarction": (
        *("ASMI", "AMI", "ALMI", "LMI", "IMI", "ILMI", "IPMI", "IPLMI", "PMI", "MI", "QWAVE", "ABQRS"),
        *("INJAS", "INJAL", "INJLA", "INJIN", "INJIL"),
    ),
    "st_t": (
        *(
            "ISCAS",
            "ISCAN",
            "ISCAL",
            "ISCLA",
            "ISCIN",
            "ISCIL",
            "ISC_",
            "STE_",
            "STD_",
            "NST_",
            "INVT",
            "LOWT",
        ),
        *("NT_", "NDT", "TAB_", "DIG", "ANEUR", "LNGQT", "EL"),
    ),
    "summary": ("NORM",),
}

_INFARCTION = ("IMI", "ASMI", "ILMI", "AMI", "ALMI", "LMI", "IPLMI", "IPMI", "PMI", "MI")
_INJURY = ("INJAS", "INJAL", "INJLA", "INJIN", "INJIL")
_ISCHEMIA = ("ISC_", "ISCAL", "ISCAS", "ISCAN", "ISCLA", "ISCIN", "ISCIL")
_SINUS = ("SR", "STACH", "SBRAD", "SARRH")
_SINUS_VARIANTS = frozenset(_SINUS[1:])
_NO_SINUS = ("AFIB", "AFLT", "SVTAC", "PSVT")
_BUNDLE = ("CLBBB", "ILBBB", "CRBBB")
_HYPERTROPHY = ("LVH", "RVH", "SEHYP", "HYP", "RAO/RAE")

# Pairs of codes that cannot both be true of one ECG, each with the reason.
_RULES: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (_SINUS, _NO_SINUS, "the rhythm is either sinus or not"),
    (("STACH",), ("SBRAD",), "the sinus rate is either fast or slow"),
    (("SR",), ("STACH", "SBRAD", "SARRH"), "SR stands for sinus rhythm of ordinary rate and regularity"),
    (("AFIB",), ("SVTAC", "PSVT"), "fibrillation is irregular, the tachycardia regular"),
    (("AFIB",), ("1AVB", "2AVB", "LPR"), "without P waves there is no PR to measure"),
    (("AFIB",), ("LAO/LAE", "RAO/RAE"), "without P waves atrial enlargement cannot be seen"),
    (("3AVB",), ("1AVB", "2AVB", "LPR"), "nothing is conducted, or everything is"),
    (("WPW",), ("1AVB", "LPR"), "pre-excitation shortens PR"),
    (("CLBBB",), ("CRBBB", "IRBBB", "ILBBB"), "one QRS shows one bundle branch pattern"),
    (("CRBBB",), ("IRBBB", "ILBBB"), "one QRS shows one bundle branch pattern"),
    (
        ("IVCD",),
        ("CLBBB", "CRBBB"),
        "the disturbance is called non-specific because it is no bundle branch block",
    ),
    (("LAFB",), ("LPFB",), "one QRS axis shows one fascicular block"),
    (("CLBBB",), ("LAFB", "LPFB"), "the fascicles are part of the blocked left bundle"),
    (("LVOLT",), ("HVOLT", "VCLVH"), "voltages are either low or high"),
    (("BIGU",), ("TRIGU",), "every second beat or every third"),
    (
        ("NORM",),
        (
            *_INFARCTION,
            *_INJURY,
            *_ISCHEMIA,
            *_BUNDLE,
            *_HYPERTROPHY,
            *_NO_SINUS,
            "PACE",
            "2AVB",
            "3AVB",
            "_AVB",
            "WPW",
        )
        + ("LAFB", "LPFB", "LAFB/LPFB", "LAO/LAE", "ANEUR", "DIG", "EL", "LNGQT", "NDT"),
        "a normal ECG shows none of these",
    ),
)
_NOT_NORMAL = frozenset(_RULES[-1][1])

_FOLD = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ß": "ss",
        "å": "a",
        "æ": "ae",
        "ø": "oe",
        "é": "e",
        "#": "ue",
        "’": "'",
    }
    | dict.fromkeys('()[]"', " ")
)
_PLURAL = re.compile(r"\((?:s|n|es|en)\)")
_HYPHEN = re.compile(r"(?<=[a-z])-\s?(?=[a-z&/])|(?<=[a-z])-(?=\s)")
_SPACE = re.compile(r"\s+")
_CORRECTION = re.compile(r"\bedit ?:")
# A full stop ends a clause unless a digit follows ("4.46").
_BREAK = re.compile(r"[.;](?!\d)|\b(?:but|although|however|aber|jedoch|men)\b")
_JOINTS = {
    "or": re.compile(r"[\s,]*(?:\w+ ){0,2}?(?:or|oder|nor|eller|/)(?: \w+){0,3}\s*"),
    "and": re.compile(r"[\s,]*(?:and|und|och|sowie|&)(?: (?!with|mit)\w+){0,2}\s*"),
    "comma": re.compile(r"\s*,(?: \w+){0,2}\s*"),
}
# Synonyms that are not read word for word: other words look the same (Swedish "el-axel"), or they say more
# than their own code ("ventricular bigeminy" is of premature ventricular complexes).
_NOT_LITERAL = frozenset({"EL", "NT", "ventricular bigeminy", "ventricular trigeminy"})
# Beyond so many letters a cue belongs to something else.
_REACH = 60


@dataclass(frozen=True)
class Finding:
    """One structured statement about an ECG.

    Attributes:
        code: SCP code, or a coarser class of `COARSE`.
        probability: of its being present, where a model gives one.
        evidence: what it rests on; a parsed finding quotes the (folded) words under "text".
        negated: the report denies it.
        uncertain: the report doubts it.
    """

    code: str
    probability: float | None = None
    evidence: dict[str, Any] | None = None
    negated: bool = False
    uncertain: bool = False

    @property
    def name(self) -> str:
        """The statement in English."""
        return vocabulary()[self.code]


@cache
def vocabulary() -> dict[str, str]:
    """The closed vocabulary, code to English name: PTB-XL's 71 SCP statements and the coarser classes."""
    return {code: entry["statement"] for code, entry in _statements().items()} | COARSE


def fold(text: str) -> str:
    """A report in the form that the lexicon's patterns expect.

    Lower case, umlauts written out ("#", a mangled ü, too), British "ischaem" as "ischem", hyphens between
    letters and brackets as spaces.
    """
    text = _PLURAL.sub("", text.lower()).translate(_FOLD)
    text = _HYPHEN.sub(" ", text)
    text = text.replace("ischaem", "ischem").replace("a v block", "av block")
    text = text.replace("non specific", "nonspecific").replace("non diagnostic", "nondiagnostic")
    return _SPACE.sub(" ", text).strip()


def parse_findings(text: str) -> list[Finding]:
    """The findings that a report asserts, denies or doubts, in the report's order, each mention once.

    "Otherwise normal" counts as `NORM` only where nothing that a normal ECG excludes is asserted, and "sinus
    rhythm with sinus arrhythmia" is `SARRH` alone, for `SR` is of ordinary rate and regularity. After
    "Edit:", as PTB-XL's readers mark a correction, bare SCP codes are read too.
    """
    return list(_parse(text))


def find_codes(text: str, include_uncertain: bool = True, coarse: bool = False) -> set[str]:
    """The codes that a report asserts.

    Args:
        text: the report.
        include_uncertain: keep findings that it doubts ("possible", "nicht auszuschliessen").
        coarse: keep classes coarser than SCP statements, e.g. "MI" for an infarction of unstated wall.

    Returns:
        SCP codes, spelt as PTB-XL does.
    """
    return {
        finding.code
        for finding in _parse(text)
        if not finding.negated
        and (include_uncertain or not finding.uncertain)
        and (coarse or finding.code not in COARSE)
    }


def write_findings(
    codes: Iterable[str], *, heart_rate: float | None = None, axis: float | None = None
) -> str:
    """An English draft: rhythm, rate, axis, conduction, hypertrophy, infarction, ST-T, summary.

    `find_codes` reads the same codes from it for every set without `contradictions`.

    Args:
        codes: codes of the vocabulary.
        heart_rate: bpm, said after the rhythm.
        axis: of the QRS in the frontal plane, degrees.

    Raises:
        ValueError: if a code is not in the vocabulary.
    """
    codes = set(codes)
    if unknown := sorted(codes - set(vocabulary())):
        raise ValueError(
            f"no finding {', '.join(map(repr, unknown))} in the vocabulary; it has {', '.join(vocabulary())}"
        )
    sentences = []
    for section, members in SECTIONS.items():
        if section == "rate" and heart_rate is not None:
            sentences.append(f"heart rate {heart_rate:.0f}/min")
        if section == "axis" and axis is not None:
            sentences.append(f"QRS axis {axis:.0f} degrees")
        sentences += [vocabulary()[code] for code in members if code in codes]
    if codes and "NORM" not in codes and not codes <= {*_SINUS, "PAC", "PVC", "PRC(S)"}:
        sentences.append("abnormal ECG")
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def contradictions(codes: Collection[str]) -> list[str]:
    """Sentences on codes that cannot be true of one ECG together; none for a consistent set."""
    found = []
    for left, right, reason in _RULES:
        for first in left:
            for second in right:
                if first in codes and second in codes:
                    names = vocabulary()
                    found.append(f"{first} ({names[first]}) and {second} ({names[second]}): {reason}")
    return found


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Finding, ...]:
    lexicon = _lexicon()
    folded = fold(text)
    correction = _CORRECTION.search(folded)
    mentions: list[_Mention] = []
    cues: list[tuple[int, int, str]] = []
    spans: list[tuple[int, int, tuple[str, ...] | _Walls | str]] = [
        (m.start(), m.end(), lexicon.literal[m.group()]) for m in lexicon.literals.finditer(folded)
    ]
    spans += [
        (m.start(), m.end(), lexicon.kinds[m.lastindex or 0]) for m in lexicon.patterns.finditer(folded)
    ]
    # Where two wordings overlap, the one that begins first holds, and of those the longest.
    end = 0
    for start, stop, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start < end:
            continue
        end = stop
        if isinstance(kind, str):
            cues.append((start, stop, kind))
        else:
            codes = kind.codes(folded[start:stop]) if isinstance(kind, _Walls) else kind
            if codes:
                mentions.append(_Mention(start, stop, codes))
    if correction:
        for match in lexicon.codes.finditer(folded, correction.end()):
            code = lexicon.spelling[match.group()]
            if not any(m.start <= match.start() < m.end for m in mentions):
                mentions.append(_Mention(match.start(), match.end(), (code,)))
        mentions.sort(key=lambda m: m.start)
    _weigh(folded, mentions, cues)
    findings: dict[tuple[str, bool], Finding] = {}
    for m in mentions:
        for code in m.codes:
            known = findings.get((code, m.negated))
            if known is None or (known.uncertain and not m.uncertain):
                evidence = {"text": folded[m.start : m.end]}
                findings[code, m.negated] = Finding(code, None, evidence, m.negated, m.uncertain)
    asserted = {f.code for f in findings.values() if not f.negated}
    if asserted & _NOT_NORMAL:
        findings.pop(("NORM", False), None)
    if asserted & _SINUS_VARIANTS:
        findings.pop(("SR", False), None)
    return tuple(findings.values())


@dataclass
class _Mention:
    start: int
    end: int
    codes: tuple[str, ...]
    negated: bool = False
    uncertain: bool = False


def _weigh(text: str, mentions: list[_Mention], cues: list[tuple[int, int, str]]) -> None:
    """Decide which mentions the cues deny or doubt.

    A cue before a finding reaches the next finding of its clause, and on through a list that ends in "or" or
    "and"; a cue after it must follow at once.
    """
    breaks = [match.start() for match in _BREAK.finditer(text)]
    starts = [mention.start for mention in mentions]
    for start, end, kind in cues:
        standing, _, side = kind.partition("_")
        # Mentions and breaks are in order and do not overlap.
        later = bisect_left(starts, end)
        follower = mentions[later] if later < len(mentions) else None
        earlier = bisect_left(starts, start) - 1
        leader = mentions[earlier] if earlier >= 0 else None
        if follower:
            stop = bisect_left(breaks, end)
            broken = stop < len(breaks) and breaks[stop] < follower.start
            if broken or follower.start - end > _REACH:
                follower = None
        if leader and text[leader.end : start][:_REACH].strip(" ,"):
            leader = None
        target = {"before": follower, "after": leader, "either": follower or leader}.get(side)
        if target and standing == "negated":
            target.negated = True
        elif target:
            target.uncertain = True
    # How each mention is joined to the next, and whether the list that it stands in ends in "or".
    joints = ["" for _ in mentions]
    ends_in_or = [False for _ in mentions]
    for index in range(len(mentions) - 2, -1, -1):
        gap = text[mentions[index].end : mentions[index + 1].start][:_REACH]
        joints[index] = next((name for name, joint in _JOINTS.items() if joint.fullmatch(gap)), "")
        ends_in_or[index] = joints[index] == "or" or (joints[index] == "comma" and ends_in_or[index + 1])
    for index, (before, mention) in enumerate(pairwise(mentions)):
        joined = ends_in_or[index] or (joints[index] == "and" and before.negated)
        if joined and not (mention.negated or mention.uncertain):
            mention.negated, mention.uncertain = before.negated, before.uncertain


@dataclass(frozen=True)
class _Walls:
    """A pattern whose codes depend on the walls that it names."""

    pattern: re.Pattern[str]
    by_wall: tuple[str | None, ...]
    unlocated: str | None
    also: dict[str, str]

    def codes(self, text: str) -> tuple[str, ...]:
        named = [self.by_wall[(match.lastindex or 1) - 1] for match in self.pattern.finditer(text)]
        if not named:
            named = [self.unlocated]
        if self.also and re.search(self.also["match"], text):
            named.append(self.also["code"])
        return tuple(dict.fromkeys(code for code in named if code))


@dataclass(frozen=True)
class _Lexicon:
    """Compiled wordings. `kinds` says what each group of `patterns` means: codes, walls or a cue."""

    literals: re.Pattern[str]
    literal: dict[str, tuple[str, ...]]
    patterns: re.Pattern[str]
    kinds: list[tuple[str, ...] | _Walls | str]
    codes: re.Pattern[str]
    spelling: dict[str, str]


@cache
def _statements() -> dict[str, dict[str, Any]]:
    return read_yaml(asset("prompts/ontology/scp_ecg.yaml").read_text(encoding="utf-8"))["statements"]


@cache
def _lexicon() -> _Lexicon:
    raw = read_yaml(asset("prompts/ontology/lexicon.yaml").read_text(encoding="utf-8"))
    parts: list[str] = []
    kinds: list[tuple[str, ...] | _Walls | str] = [()]

    def add(pattern: str, kind: tuple[str, ...] | _Walls | str) -> None:
        parts.append(f"({pattern})")
        kinds.append(kind)

    add(raw["cues"]["neutral"], "neutral")
    walls = raw["walls"]
    one = "|".join(walls.values())
    wall_scanner = re.compile("|".join(f"({pattern})" for pattern in walls.values()))
    list_of = rf"(?:{one})(?:(?:\s*[,/]\s*|\s+(?:and|und|or|oder|och)\s+|\s+)(?:{one})){{0,3}}"
    for entry in sorted(raw["wall_findings"].values(), key=lambda entry: entry["unlocated"] is not None):
        kind = _Walls(
            wall_scanner,
            tuple(entry["codes"][wall] for wall in walls),
            entry["unlocated"],
            entry.get("also", {}),
        )
        nouns = "|".join(entry[key] for key in ("adjective", "noun") if key in entry)
        between = raw["between"]
        add(rf"(?:{list_of}){between}(?:{nouns})|(?:{nouns}) {between}(?:{list_of})(?: leads| wall)?", kind)
    for entry in raw["patterns"]:
        add(entry["match"], tuple(entry["codes"]))
    for entry in raw["wall_findings"].values():
        if entry["unlocated"]:
            nouns = "|".join(entry[key] for key in ("adjective", "noun") if key in entry)
            add(nouns, (entry["unlocated"],))
    for cue in ("uncertain_either", "uncertain_after", "negated_after", "uncertain_before", "negated_before"):
        add(raw["cues"][cue], cue)
    spelling = {re.sub(r"[^a-z0-9/]", "", code.lower()): code for code in _statements()}
    spelling |= {"lae": "LAO/LAE", "lao": "LAO/LAE", "rae": "RAO/RAE", "rao": "RAO/RAE", "ivcb": "IVCD"}
    short = "|".join(sorted(map(re.escape, spelling), key=len, reverse=True))
    literal: dict[str, tuple[str, ...]] = {
        fold(text): (code,)
        for code, entry in _statements().items()
        for text in (entry["statement"], *entry["synonyms"])
        if text not in _NOT_LITERAL
    }
    literal |= {fold(text): (code,) for code, text in COARSE.items()}
    wordings = "|".join(map(re.escape, sorted(literal, key=len, reverse=True)))
    return _Lexicon(
        literals=re.compile(rf"(?<![a-z0-9])(?:{wordings})(?![a-z0-9])"),
        literal=literal,
        patterns=re.compile(rf"(?<![a-z0-9])(?:{'|'.join(parts)})(?![a-z0-9])"),
        kinds=kinds,
        codes=re.compile(rf"(?<![a-z0-9])(?:{short})(?![a-z0-9])"),
        spelling=spelling,
    )
