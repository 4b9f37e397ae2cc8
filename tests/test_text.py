"""Report cleaning, sentence splitting and MERL's text pipeline."""

import doctest

import pytest

import ecglm.text
from ecglm.text import clean_report, drop_repeats, join_machine_statements, split_sentences


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(ecglm.text).failed == 0


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (None, ""),
        ("  \n\t ", ""),
        ("Sinus rhythm\r\nNormal\x00 ECG", "Sinus rhythm Normal ECG"),
        (
            "unvollstÄndiger rechtsschenkelblock f#r #bergang",
            "unvollständiger rechtsschenkelblock für übergang",
        ),
        ("V1 mÖglich, Überleitung", "V1 möglich, Überleitung"),
        ("normales ekg 4.46                          unbestÄtigter bericht", "normales ekg"),
        ("otherwise normal EKG 4.46 Unpasted report", "otherwise normal EKG"),
        (
            "Sinus rhythm.Right Bundle Branch Block.Edit: RVH 50, CRBBB, (CRBBB)",
            "Sinus rhythm. Right Bundle Branch Block.",
        ),
        ("Unconfirmed report", ""),
        ("*** normal ecg ===", "normal ecg"),
        (
            "T waves flat in V4.5.6.St segments normal. QT 0.44 s",
            "T waves flat in V4.5.6. St segments normal. QT 0.44 s",
        ),
    ],
)
def test_clean_report(raw, clean):
    assert clean_report(raw) == clean
    assert clean_report(clean) == clean


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" . ; ", []),
        ("sinus rhythm. normal ecg.", ["sinus rhythm", "normal ecg"]),
        ("sinus rhythm normal ecg", ["sinus rhythm", "normal ecg"]),
        ("first degree av block. qtc 0.45 s", ["first degree av block", "qtc 0.45 s"]),
        ("sinusrhythmus normales ekg", ["sinusrhythmus", "normales ekg"]),
        (
            "sinusrhythmus ueberdrehter linkstyp unvollständiger rechtsschenkelblock qrs(t) abnorm "
            "inferiorer infarkt alter unbest. t abnorm in anterioren ableitungen",
            [
                "sinusrhythmus",
                "ueberdrehter linkstyp",
                "unvollständiger rechtsschenkelblock",
                "qrs(t) abnorm inferiorer infarkt alter unbest",
                "t abnorm in anterioren ableitungen",
            ],
        ),
        ("av-block 1. grades. linkstyp", ["av-block 1. grades", "linkstyp"]),
        ("st & t abnorm, wahrscheinlich ischämie", ["st & t abnorm, wahrscheinlich ischämie"]),
        (
            "sinusrytm vänster el-axel inget säkert patologiskt",
            ["sinusrytm", "vänster el-axel", "inget säkert patologiskt"],
        ),
        (
            "mässige amplitudenkriterien für linkshypertrophie",
            ["mässige amplitudenkriterien für linkshypertrophie"],
        ),
        ("no acute change", ["no acute change"]),
    ],
)
def test_split_sentences(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Normal ECG.", "Normal ECG."),
        ("One. Two. one. Three.", "One. Two. Three."),
        ("One! One. One", "One!"),
        ("Ca. 60/min. Ca. 60/min.", "Ca. 60/min."),
        ("One.  Two.", "One.  Two."),
        ("", ""),
    ],
)
def test_drop_repeats(text, kept):
    assert drop_repeats(text) == kept


def test_no_word_is_lost_by_splitting():
    text = "tachykardes vorhofflimmern lagetyp normal periphere niederspannung linksschenkelblock möglich"
    assert " ".join(split_sentences(text)) == text


@pytest.mark.parametrize(
    ("statements", "text"),
    [
        (["Sinus rhythm", None, "", "Normal EKG"], "sinus rhythm. normal ecg."),
        (["**"], "empty"),
        ([], "empty"),
        (["* *Abnormal ekg - =", "Ekg of 2\tmay\n"], "abnormal ecg - =. ekg of 2 may ."),
        (["--= LVH =--"], " lvh ."),
    ],
)
def test_machine_statements_as_merl_joins_them(statements, text):
    assert join_machine_statements(statements) == text
