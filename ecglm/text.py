"""Report text: cleaning, sentence splitting, and the published pipelines that training texts depend on.

Nothing here judges what a report says; findings are parsed in `ecglm.findings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# What the writing program adds and what names no finding: the software version and "unconfirmed report" of
# PTB-XL's German reports; the "Edit: NORM, (NORM)" tail of some, which is the label itself and must not
# reach a model as text.
_BOILERPLATE = (
    re.compile(r"\b4\.46\b|\bun\w+ (?:bericht|report)\b\.?", re.IGNORECASE),
    re.compile(r"\s*\bedit\s*:.*$", re.IGNORECASE),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\xa0]+")
_LOST_UMLAUT = re.compile(r"(?<=[a-zäöüß])#(?=[a-zäöüß])|(?<!\S)#(?=[a-zäöüß]{2})")  # "f#r", "#bergang"
_CAPITAL_UMLAUT = re.compile(r"[ÄÖÜÅ](?=[a-zäöüß])|(?<=[a-zäöüß])[ÄÖÜÅ]")
_MISSING_SPACE = re.compile(r"(?<=[a-zäöüß)])\.(?=[A-Za-zÄÖÜäöü][\w -])|(?<=\d)\.(?=[A-Z][a-z])")

# Full stops that end no sentence.
_ABBREVIATIONS = frozenset(
    "unbest mögl mgl wahrsch supraventr ventr ca vgl bzw evtl inkompl kompl vent abl nr z b u a".split()
    + "approx min dr vs etc".split()
)
_STOP = re.compile(r"(?<=[.!?;])\s+")

# Where a new statement begins in reports without punctuation ("sinusrhythmus lagetyp normal normales ekg"):
# the openers of PTB-XL's German and Swedish reports and of its unpunctuated English ones, each with the
# modifiers that may stand before it.
_OPENERS = re.compile(
    "|".join(
        (
            r"(?<![\w-])(?:sinusrhythmus",
            "sinus ?(?:brady|tachy)kardie|sinus ?arrhythmie",
            "(?:tachykardes |bradykardes )?vorhof(?:flimmern|flattern)",
            "(?:supra)?ventrikuläre (?:extrasystole|tachykardie|arrhythmie)|schrittmacher",
            "lagetyp normal|(?:(?:ü|ue)berdrehter )?(?:links|rechts|steil|indifferenz)typ",
            "schwierig bestimmbare|p-verbreiterung|qt-verlängerung",
            "(?:sonst )?normales ekg|pathologisches ekg",
            r"qrs\(t\) abnorm|st & t abnorm|(?<!& )t abnorm|unspezifisch(?:es)? abnorm",
            r"(?<!degree )a-?v[- ]block\b",
            "(?:(?:un|in)?(?:vollständiger|kompletter) )?(?:links|rechts)schenkelblock",
            "links(?:anteriorer|posteriorer) hemiblock|bifaszikulärer block",
            "unspezifischer? intraventrikuläre|periphere niederspannung",
            "mä(?:ss|ß)ige amplitudenkriterien|(?<!für )(?:links|rechts)hypertrophie|verdacht auf",
            r"sinusrytm|sinus(?:tak|brad)ykardi\b|förmaksflimmer|(?:vänster|höger) el-axel",
            "inget säkert patologiskt|normalt ekg|(?:vänster|höger)sidigt (?:gren|skänkel)block",
            "(?:otherwise |borderline )?normal e[ck]g)",
        )
    ),
    re.IGNORECASE,
)


def clean_report(text: str | None) -> str:
    """A report without line breaks, boilerplate and lost letters, its words as written.

    Collapses white space; removes the version number and "unconfirmed report" that a device adds, and an
    "Edit: …" tail, which repeats the label; mends what PTB-XL's export did to umlauts ("mÖglich", "f#r") and
    full stops without a space.

    Args:
        text: the report; None counts as empty.

    Returns:
        The cleaned text, "" where nothing is left.

    >>> clean_report("sinusrhythmus normales ekg 4.46           unbestÄtigter bericht")
    'sinusrhythmus normales ekg'
    """
    text = _CONTROL.sub(" ", text or "")
    text = _LOST_UMLAUT.sub("ü", text)
    text = text.lower() if not re.search("[A-Z]", text) else _CAPITAL_UMLAUT.sub(_lower_in_words, text)
    text = _MISSING_SPACE.sub(". ", text)
    text = " ".join(text.split())
    for pattern in _BOILERPLATE:
        text = pattern.sub(" ", text)
    return " ".join(text.split()).strip(" *=-")


def _lower_in_words(match: re.Match) -> str:
    """A capital umlaut inside a lower-case word becomes small; at the start of a word it stays."""
    before = match.string[match.start() - 1] if match.start() else " "
    return match[0].lower() if before.isalpha() and before.islower() else match[0]


def split_sentences(text: str) -> list[str]:
    """The sentences or statements of a report, in order, without their final full stop.

    Splits at full stops, semicolons, exclamation and question marks that are followed by white space, except
    after abbreviations and ordinals ("av-block 1. grades"), and before the words that open a statement in
    German, Swedish and English reports without punctuation. The list of openers comes from PTB-XL's wording:
    other unpunctuated text stays in one piece.

    Args:
        text: a report, best after `clean_report`.

    Returns:
        The pieces; none is empty.

    >>> split_sentences("sinusrhythmus lagetyp normal normales ekg")
    ['sinusrhythmus', 'lagetyp normal', 'normales ekg']
    >>> split_sentences("Sinus rhythm. PR 0.22 s, first degree av block. Normal ECG.")
    ['Sinus rhythm', 'PR 0.22 s, first degree av block', 'Normal ECG']
    """
    sentences = _split_at_stops(text)
    starts = [[0, *(m.start() for m in _OPENERS.finditer(each) if m.start())] for each in sentences]
    pieces = [
        each[first:last]
        for each, begins in zip(sentences, starts, strict=True)
        for first, last in zip(begins, [*begins[1:], len(each)], strict=True)
    ]
    stripped = (piece.strip().rstrip(".;!").strip(" ,") for piece in pieces)
    return [piece for piece in stripped if any(letter.isalnum() for letter in piece)]


def _split_at_stops(text: str) -> list[str]:
    """The sentences as written, each with the mark that ends it."""
    sentences: list[str] = []
    open_piece = ""
    for piece in _STOP.split(text.strip()):
        open_piece = f"{open_piece} {piece}".strip()
        last = re.split(r"[\s(]", open_piece)[-1].rstrip(".").lower()
        if open_piece.endswith(".") and (last in _ABBREVIATIONS or last.isdigit() and len(last) == 1):
            continue
        sentences.append(open_piece)
        open_piece = ""
    return [*sentences, open_piece] if open_piece else sentences


def drop_repeats(text: str) -> str:
    """A text without sentences that it said before, in whatever case; else as written.

    >>> drop_repeats("Sinus rhythm. Left axis deviation. Left axis deviation.")
    'Sinus rhythm. Left axis deviation.'
    """
    sentences = _split_at_stops(text)
    said = {sentence.rstrip(".;!?").casefold(): sentence for sentence in reversed(sentences)}
    kept = [sentence for sentence in sentences if said.pop(sentence.rstrip(".;!?").casefold(), None)]
    return " ".join(kept) if len(kept) < len(sentences) else text


def join_machine_statements(statements: Iterable[str | None]) -> str:
    """MERL's text of a MIMIC-IV-ECG record: its machine statements as one lower-case line (Liu et al. 2024,
    preprocessing).

    Joined with ". "; "EKG" and "ekg" become "ECG" and "ecg"; the character sets {space, *} twice, {*}, {=,
    -} and {=} are stripped from both ends of the whole, one after the other; lower case; line breaks and
    tabs become spaces; a full stop ends it.

    Args:
        statements: `report_0` … `report_17` of one row of `machine_measurements.csv`; None and "" are
            skipped.

    Returns:
        The text, or "empty" (without a full stop) where no words remain.

    >>> join_machine_statements(["Sinus rhythm", None, "Normal EKG"])
    'sinus rhythm. normal ecg.'
    """
    text = ". ".join(each for each in statements if each).replace("EKG", "ECG").replace("ekg", "ecg")
    for characters in (" *", " *", "*", "=-", "="):
        text = text.strip(characters)
    text = text.lower()
    if not text.split():
        return "empty"
    return re.sub(r"[\n\r\t]", " ", text) + "."


def join_sentences(sentences: Iterable[str]) -> str:
    """One text of several sentences or statements, each ended by one full stop; "" where there is none.

    >>> join_sentences(["Sinus rhythm", "Normal ECG."])
    'Sinus rhythm. Normal ECG.'
    """
    ended = [sentence.strip().rstrip(".") for sentence in sentences]
    return " ".join(f"{sentence}." for sentence in ended if sentence)


def words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case, without punctuation.

    >>> words("PR 0.22 s, A-V Block I")
    ['pr', '0', '22', 's', 'a', 'v', 'block', 'i']
    """
    return re.findall(r"[^\W\d_]+|\d+", text.lower())


# Words that PTB-XL's reports have in one of their languages only.
_LANGUAGES = {
    "en": "the ecg rhythm with waves are and or left right of infarction ischaemia leads no definite"
    " pathology",
    "de": "lagetyp normales ekg linkstyp infarkt sinusrhythmus oder ischämie ableitungen sonst wahrscheinlich"
    " überdrehter vorhofflimmern schrittmacher steiltyp rechtstyp bericht llt unbest mit unspezifisches"
    " abnormes abnorm sinusbradykardie sinustachykardie",
    "sv": "sinusrytm vänster el axel ej såsom normalt inget säkert patologiskt förlopp avvikande",
}
_LANGUAGE_WORDS = {language: frozenset(listed.split()) for language, listed in _LANGUAGES.items()}


def detect_language(clauses: Iterable[Iterable[str]]) -> str | None:
    """The language of a report of PTB-XL's kind: "en", "de", "sv", or None where no known word occurs.

    Args:
        clauses: the report's sentences as lists of `words`.
    """
    found = {word for clause in clauses for word in clause}
    hits = {language: len(found & listed) for language, listed in _LANGUAGE_WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] else None
