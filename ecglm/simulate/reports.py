"""Reports in a cardiologist's words, made from the truth.

The order is the ward's: rhythm, rate, axis, conduction, hypertrophy, ischaemia, ST-T, summary.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_RHYTHM: dict[str, list[str]] = {
    "afib": [
        "Atrial fibrillation",
        "Atrial fibrillation, irregular ventricular response",
        "The rhythm is atrial fibrillation",
        "Absent P waves and irregular RR intervals: atrial fibrillation",
    ],
    "flutter": [
        "Atrial flutter",
        "Atrial flutter with saw-tooth flutter waves",
        "The rhythm is atrial flutter",
        "Flutter waves in the inferior leads, atrial flutter",
    ],
    "svt": [
        "Supraventricular tachycardia",
        "Regular narrow complex tachycardia, supraventricular tachycardia",
        "The rhythm is a supraventricular tachycardia",
    ],
    "pacing_ventricular": [
        "Ventricular paced rhythm",
        "Ventricular pacing",
        "Pacemaker rhythm with ventricular capture",
    ],
    "pacing_atrial": [
        "Atrial paced rhythm",
        "Atrial pacing with intrinsic conduction",
        "Pacemaker rhythm, atrial pacing",
    ],
    "pacing_dual": [
        "AV sequential paced rhythm",
        "Dual-chamber pacemaker rhythm",
        "Pacemaker rhythm, atrial and ventricular pacing",
    ],
    "sinus_bradycardia": [
        "Sinus bradycardia",
        "The rhythm is sinus bradycardia",
        "Slow sinus rhythm, sinus bradycardia",
    ],
    "sinus_tachycardia": [
        "Sinus tachycardia",
        "The rhythm is sinus tachycardia",
        "Fast sinus rhythm, sinus tachycardia",
    ],
    "sinus_arrhythmia": [
        "Sinus arrhythmia",
        "Sinus rhythm with sinus arrhythmia",
        "Respiratory sinus arrhythmia",
    ],
    "sinus": ["Sinus rhythm", "Normal sinus rhythm", "Regular sinus rhythm", "The rhythm is sinus"],
}

_FINDING: dict[str, list[str]] = {
    "pac": [
        "premature atrial complexes",
        "premature atrial contraction(s)",
        "supraventricular extrasystoles",
        "atrial premature beats",
    ],
    "pvc": [
        "premature ventricular complexes",
        "premature ventricular contraction(s)",
        "ventricular extrasystoles",
        "ventricular premature beats",
    ],
    "bigeminy": [
        "ventricular bigeminy",
        "ventricular extrasystoles in bigeminy",
        "bigeminal premature ventricular complexes",
    ],
    "trigeminy": [
        "ventricular trigeminy",
        "ventricular extrasystoles in trigeminy",
        "trigeminal premature ventricular complexes",
    ],
    "first_degree_av_block": ["first degree AV block", "first-degree atrioventricular block", "AV block I"],
    "mobitz1": [
        "second degree AV block, Mobitz type I (Wenckebach)",
        "second degree AV block with Wenckebach periods",
    ],
    "mobitz2": [
        "second degree AV block, Mobitz type II",
        "second degree AV block with constant PR intervals",
    ],
    "complete_av_block": [
        "complete AV block",
        "third degree AV block",
        "complete heart block with an escape rhythm",
    ],
    "wpw": [
        "Wolff-Parkinson-White pattern with short PR and delta wave",
        "ventricular pre-excitation (WPW)",
        "WPW syndrome",
    ],
    "lbbb": ["complete left bundle branch block", "left bundle branch block", "LBBB"],
    "ilbbb": ["incomplete left bundle branch block", "incomplete LBBB"],
    "rbbb": ["complete right bundle branch block", "right bundle branch block", "RBBB"],
    "irbbb": [
        "incomplete right bundle branch block",
        "incomplete RBBB",
        "rSr' in V1, incomplete right bundle branch block",
    ],
    "ivcd": [
        "non-specific intraventricular conduction delay",
        "nonspecific intraventricular conduction disturbance",
    ],
    "lafb": ["left anterior fascicular block", "left anterior hemiblock", "LAFB"],
    "lpfb": ["left posterior fascicular block", "left posterior hemiblock"],
    "lvh": [
        "voltage criteria for LVH, left ventricular hypertrophy",
        "left ventricular hypertrophy, voltage criteria met",
        "left ventricular hypertrophy, voltage criteria for LVH fulfilled",
    ],
    "lvh_strain": [
        "left ventricular hypertrophy, voltage criteria met, with strain or ischaemia",
        "voltage criteria for LVH, left ventricular hypertrophy with lateral strain or ischaemia",
        "left ventricular hypertrophy, voltage criteria met, ischaemic ST-T changes (strain)",
    ],
    "rvh": ["right ventricular hypertrophy", "dominant R in V1, right ventricular hypertrophy", "RVH"],
    "lae": ["left atrial enlargement", "P mitrale, left atrial enlargement", "left atrial abnormality"],
    "rae": [
        "right atrial enlargement",
        "P pulmonale, right atrial enlargement",
        "tall P waves, right atrial enlargement",
    ],
    "stemi_anterior": [
        "ST elevation in V2-V4, acute anterior myocardial infarction",
        "acute anterior ST-elevation myocardial infarction",
        "acute anterior infarction with ST elevation in the chest leads",
    ],
    "stemi_inferior": [
        "ST elevation in II, III, aVF, acute inferior myocardial infarction",
        "acute inferior ST-elevation myocardial infarction with reciprocal changes in I and aVL",
    ],
    "stemi_lateral": [
        "ST elevation in I, aVL, V5 and V6, acute lateral myocardial infarction",
        "acute lateral ST-elevation myocardial infarction",
    ],
    "old_mi_anteroseptal": [
        "Q waves in V1-V3 consistent with old anteroseptal infarct",
        "pathological Q waves in V1-V3, old anteroseptal infarct",
        "old anteroseptal myocardial infarction with Q waves in V1-V3",
    ],
    "old_mi_anterior": [
        "Q waves in V2-V4, old anterior myocardial infarction",
        "old anterior myocardial infarction with Q waves in V2-V4",
    ],
    "old_mi_anterolateral": [
        "Q waves in V3-V6, old anterolateral myocardial infarction",
        "old anterolateral myocardial infarction with Q waves in V3-V6",
    ],
    "old_mi_lateral": [
        "Q waves in I, aVL, V5 and V6, old lateral myocardial infarction",
        "old lateral myocardial infarction with Q waves in I and aVL",
    ],
    "old_mi_inferior": [
        "Q waves in II, III, aVF consistent with old inferior myocardial infarction",
        "old inferior myocardial infarction with Q waves in III and aVF",
        "Q waves in the inferior leads, probable old inferior infarct",
    ],
    "old_mi_inferolateral": [
        "Q waves in II, III, aVF, V5 and V6, old inferolateral myocardial infarction",
        "old inferolateral myocardial infarction with Q waves",
    ],
    "st_depression": [
        "non-specific ST changes with ST depression",
        "slight ST depression, non-specific ST changes",
        "ST segment depression, non-specific ST changes",
    ],
    "st_depression_anterolateral": [
        "ST depression in the anterolateral leads, consistent with ischaemia",
        "ST segments are depressed in I, V3-V6, anterolateral ischaemia",
    ],
    "st_depression_anteroseptal": [
        "ST depression in V1-V4, anteroseptal ischaemia",
        "ST segments are depressed in the anteroseptal leads, consistent with ischaemia",
    ],
    "st_depression_inferior": [
        "ST depression in the inferior leads, consistent with ischaemia",
        "ST segments are depressed in II, III, aVF, inferior ischaemia",
    ],
    "t_inversion_anterior": [
        "T waves are inverted in V2-V4, anterior ischaemia",
        "inverted T waves in the anterior leads, consistent with ischaemia",
    ],
    "t_inversion_anterolateral": [
        "T waves are inverted in V3-V6, anterolateral ischaemia",
        "inverted T waves in the anterolateral leads, consistent with ischaemia",
    ],
    "t_inversion_inferior": [
        "T waves are inverted in II, III, aVF, inferior ischaemia",
        "inverted T waves in the inferior leads, consistent with ischaemia",
    ],
    "t_inversion_lateral": [
        "T waves are inverted in I, aVL, V5 and V6, lateral ischaemia",
        "inverted T waves in the lateral leads, consistent with ischaemia",
    ],
    "nonspecific_t": [
        "non-diagnostic T-wave changes",
        "non-diagnostic T abnormalities",
        "minor non-diagnostic T wave abnormality",
    ],
    "low_t": [
        "low amplitude T waves, non-diagnostic T abnormalities",
        "T waves are low, non-diagnostic T abnormalities",
    ],
    "digitalis": ["digitalis effect", "ST-T changes of digitalis effect"],
    "long_qt": ["prolonged QT interval", "long QT interval", "QTc is prolonged"],
    "low_voltage": ["low QRS voltage", "low QRS voltages in the limb leads", "low voltage complexes"],
}

_ORDER = list(_FINDING)
_NEGATIVES = [
    (
        {"stemi_anterior", "stemi_inferior", "stemi_lateral"},
        ["No acute ST elevation.", "No ST segment elevation."],
    ),
    (
        {"lbbb", "rbbb", "irbbb", "ilbbb", "ivcd", "pacing_ventricular", "pacing_dual", "wpw"},
        ["No bundle branch block.", "No evidence of bundle branch block."],
    ),
    (
        {"lvh", "lvh_strain", "rvh", "lbbb", "pacing_ventricular", "pacing_dual", "wpw"},
        ["No signs of ventricular hypertrophy."],
    ),
    ({"pac", "pvc", "bigeminy", "trigeminy"}, ["No premature beats.", "No ectopy."]),
]


def _pick(rng: np.random.Generator, options: list[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _sentence(text: str) -> str:
    text = text.strip()
    first = text[0] if text.startswith("rSr") else text[0].upper()
    return first + text[1:] + ("" if text.endswith(".") else ".")


def _axis_words(axis: float, rng: np.random.Generator) -> str:
    if -30 <= axis <= 90:
        return _pick(rng, ["normal axis", "normal QRS axis", "the QRS axis is normal"])
    if -90 <= axis < -30:
        return _pick(rng, ["left axis deviation", "leftward axis, left axis deviation", "marked left axis"])
    if 90 < axis <= 180:
        return _pick(rng, ["right axis deviation", "rightward axis, right axis deviation"])
    return _pick(rng, ["extreme axis deviation", "northwest axis"])


def _join(parts: list[str], rng: np.random.Generator) -> str:
    """Findings as one sentence or several."""
    if len(parts) > 1 and rng.random() < 0.35:
        return _sentence(", ".join(parts[:-1]) + " and " + parts[-1])
    return " ".join(_sentence(part) for part in parts)


def write(truth: dict[str, Any], age: float, female: bool, rng: np.random.Generator) -> str:
    """The report of one simulated ECG.

    Args:
        truth: as in `ECG.metadata["truth"]`.
        age: years.
        female: sex.
        rng: for the wording.
    """
    chosen = set(truth["conditions"])
    rate, axis = truth["heart_rate"], truth["axis"]
    terse = rng.random() < 0.3
    own = [name for name in _RHYTHM if name in chosen]
    rhythm = _pick(rng, _RHYTHM[own[0]] if own else _RHYTHM["sinus"])
    if "pacing_ventricular" in chosen and "afib" in chosen:
        rhythm = f"{_pick(rng, _RHYTHM['pacing_ventricular'])}, underlying atrial fibrillation"
    elif len(own) > 1:
        rhythm = " with ".join([_RHYTHM[own[0]][0], *(_RHYTHM[name][0].lower() for name in own[1:])])
    if "Normal sinus" in rhythm and chosen & {"complete_av_block", "mobitz1", "mobitz2"}:
        rhythm = "Sinus rhythm"
    if "Regular" in rhythm and chosen & {
        "pac",
        "pvc",
        "bigeminy",
        "trigeminy",
        "mobitz1",
        "mobitz2",
        "complete_av_block",
    }:
        rhythm = "Sinus rhythm"
    if not terse and rng.random() < 0.6:
        rhythm += _pick(rng, [f", rate {rate:.0f} per minute", f" at {rate:.0f} bpm", f", {rate:.0f}/min"])
    if "afib" in chosen and "pacing_ventricular" not in chosen and rate > 100 and rng.random() < 0.7:
        rhythm += " with rapid ventricular response"
    parts = [_sentence(rhythm)]
    paced = chosen & {"pacing_ventricular", "pacing_dual"}
    blocked = chosen & {"rbbb", "irbbb"} and not chosen & {
        "lafb",
        "lpfb",
    }  # its late lobe turns the net axis; nobody reports that
    if not paced and not blocked and (not -30 <= axis <= 90 or (not terse and rng.random() < 0.55)):
        parts.append(_sentence(_axis_words(axis, rng)))
    findings = [_pick(rng, _FINDING[name]) for name in _ORDER if name in chosen]
    if findings:
        parts.append(_join(findings, rng))
    if not terse and rng.random() < 0.3:
        numbers = [f"PR {truth['pr']:.0f} ms"] if truth["pr"] else []
        numbers += [f"QRS {truth['qrs']:.0f} ms", f"QTc {truth['qtc']:.0f} ms"]
        parts.append(", ".join(numbers) + ".")
    if rng.random() < 0.25:
        options = [text for unless, text in _NEGATIVES if not unless & chosen]
        if options:
            parts.append(_pick(rng, _pick_list(rng, options)))
    if "NORM" in truth["codes"]:
        parts.append(
            _pick(
                rng,
                [
                    "Normal ECG.",
                    "Otherwise normal ECG." if findings or own else "Normal ECG.",
                    "ECG within normal limits.",
                ],
            )
        )
    elif rng.random() < 0.25:
        parts.append(_pick(rng, ["Abnormal ECG.", "Pathological ECG."]))
    return " ".join(parts)


def _pick_list(rng: np.random.Generator, options: list[list[str]]) -> list[str]:
    return options[int(rng.integers(len(options)))]
