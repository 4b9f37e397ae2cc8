"""What can be simulated: the named conditions, their SCP codes, and which of them exclude each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """One thing that an ECG can show.

    Args:
        name: what `simulate` is asked for.
        description: in one line.
        codes: SCP codes in the spelling of PTB-XL's `scp_statements.csv`.
        group: conditions of one group answer the same question (which rhythm, which AV conduction …).
    """

    name: str
    description: str
    codes: tuple[str, ...]
    group: str


_TABLE = [
    # name, group, codes, description
    ("normal", "normal", "NORM", "normal ECG"),
    ("sinus_bradycardia", "rate", "SBRAD", "sinus rhythm below 60/min"),
    ("sinus_tachycardia", "rate", "STACH", "sinus rhythm above 100/min"),
    ("sinus_arrhythmia", "variability", "SARRH", "sinus rhythm that swings with respiration"),
    ("afib", "rhythm", "AFIB", "atrial fibrillation: no P waves, irregularly irregular"),
    ("flutter", "rhythm", "AFLT", "typical atrial flutter, 250 to 350/min, conducted 2:1 to 4:1"),
    ("svt", "rhythm", "SVTAC", "regular narrow-complex tachycardia without visible P waves"),
    ("pac", "atrial_ectopy", "PAC", "premature atrial complexes"),
    ("pvc", "ventricular_ectopy", "PVC", "premature ventricular complexes"),
    ("bigeminy", "ventricular_ectopy", "PVC BIGU", "every second beat a premature ventricular complex"),
    ("trigeminy", "ventricular_ectopy", "PVC TRIGU", "every third beat a premature ventricular complex"),
    ("first_degree_av_block", "av", "1AVB", "PR interval above 200 ms"),
    ("mobitz1", "av", "2AVB", "second-degree AV block, Wenckebach type"),
    ("mobitz2", "av", "2AVB", "second-degree AV block with constant PR"),
    ("complete_av_block", "av", "3AVB", "atria and ventricles beat independently"),
    ("wpw", "av", "WPW", "ventricular pre-excitation: short PR, delta wave"),
    ("lbbb", "bundle", "CLBBB", "complete left bundle branch block"),
    ("ilbbb", "bundle", "ILBBB", "incomplete left bundle branch block"),
    ("rbbb", "bundle", "CRBBB", "complete right bundle branch block"),
    ("irbbb", "bundle", "IRBBB", "incomplete right bundle branch block"),
    ("ivcd", "bundle", "IVCD", "non-specific intraventricular conduction disturbance"),
    ("lafb", "fascicle", "LAFB", "left anterior fascicular block"),
    ("lpfb", "fascicle", "LPFB", "left posterior fascicular block"),
    ("lvh", "ventricle", "LVH VCLVH", "left ventricular hypertrophy by voltage"),
    ("lvh_strain", "ventricle", "LVH VCLVH ISC_", "left ventricular hypertrophy with strain"),
    ("rvh", "ventricle", "RVH", "right ventricular hypertrophy"),
    ("lae", "atrium", "LAO/LAE", "left atrial enlargement"),
    ("rae", "atrium", "RAO/RAE", "right atrial enlargement"),
    ("stemi_anterior", "injury", "AMI STE_", "acute anterior ST-elevation infarction"),
    ("stemi_inferior", "injury", "IMI STE_", "acute inferior ST-elevation infarction"),
    ("stemi_lateral", "injury", "LMI STE_", "acute lateral ST-elevation infarction"),
    ("old_mi_anteroseptal", "old_mi_front", "ASMI QWAVE", "old anteroseptal Q-wave infarction"),
    ("old_mi_anterior", "old_mi_front", "AMI QWAVE", "old anterior Q-wave infarction"),
    ("old_mi_anterolateral", "old_mi_front", "ALMI QWAVE", "old anterolateral Q-wave infarction"),
    ("old_mi_lateral", "old_mi_front", "LMI QWAVE", "old lateral Q-wave infarction"),
    ("old_mi_inferior", "old_mi_below", "IMI QWAVE", "old inferior Q-wave infarction"),
    ("old_mi_inferolateral", "old_mi_below", "ILMI QWAVE", "old inferolateral Q-wave infarction"),
    ("st_depression", "st", "NST_ STD_", "non-specific ST depression"),
    ("st_depression_anterolateral", "st", "ISCAL STD_", "ischaemic ST depression, anterolateral leads"),
    ("st_depression_anteroseptal", "st", "ISCAS STD_", "ischaemic ST depression, anteroseptal leads"),
    ("st_depression_inferior", "st", "ISCIN STD_", "ischaemic ST depression, inferior leads"),
    ("t_inversion_anterior", "t", "ISCAN INVT", "ischaemic T inversion, anterior leads"),
    ("t_inversion_anterolateral", "t", "ISCAL INVT", "ischaemic T inversion, anterolateral leads"),
    ("t_inversion_inferior", "t", "ISCIN INVT", "ischaemic T inversion, inferior leads"),
    ("t_inversion_lateral", "t", "ISCLA INVT", "ischaemic T inversion, lateral leads"),
    ("nonspecific_t", "t", "NDT", "non-diagnostic T-wave abnormality: low, flat or shallowly inverted"),
    ("low_t", "t", "NDT LOWT", "T waves of low amplitude"),
    ("digitalis", "st", "DIG", "sagging ST depression and short QT of digitalis"),
    ("long_qt", "qt", "LNGQT", "prolonged QTc"),
    ("low_voltage", "voltage", "LVOLT", "low QRS voltage: below 0.5 mV in all limb leads"),
    ("pacing_ventricular", "pacing", "PACE", "ventricular pacing"),
    ("pacing_atrial", "pacing", "PACE", "atrial pacing with the patient's own QRS"),
    ("pacing_dual", "pacing", "PACE", "atrial and ventricular pacing"),
]

CONDITIONS: dict[str, Condition] = {
    name: Condition(name, description, tuple(codes.split()), group)
    for name, group, codes, description in _TABLE
}

BENIGN = {"normal", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia"}
OWN_RHYTHM = {"afib", "flutter", "svt", "pacing_ventricular", "pacing_atrial", "pacing_dual"}

_OLD_MI = {name for name in CONDITIONS if name.startswith("old_mi")}
_STEMI = {name for name in CONDITIONS if name.startswith("stemi")}
_INFARCT = _OLD_MI | _STEMI
_REPOLARISATION = {name for name, c in CONDITIONS.items() if c.group in ("st", "t")}
_SHAPE = {
    name
    for name, c in CONDITIONS.items()
    if c.group in ("bundle", "fascicle", "ventricle") or name in _INFARCT | _REPOLARISATION
}
_NO_P = {"afib", "flutter", "svt"}
_AV = {name for name, c in CONDITIONS.items() if c.group == "av"}

_WHY = [
    # two sets of which no two members go together, and the reason that the error gives
    (
        {"normal"},
        set(CONDITIONS) - BENIGN - {"pac", "pvc", "low_voltage"},
        "a normal ECG shows no abnormality",
    ),
    (
        _NO_P,
        _AV - {"complete_av_block"},
        "without P waves before the QRS there is no PR to be long, short or dropped",
    ),
    ({"flutter", "svt"}, {"complete_av_block"}, "this rhythm needs AV conduction"),
    (
        _NO_P,
        {"sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia"},
        "the rhythm is either sinus or not",
    ),
    (_NO_P, {"pac", "lae", "rae"}, "without P waves there is no atrial complex to judge"),
    ({"svt"}, {"bigeminy", "trigeminy", "pvc"}, "the simulated tachycardia is regular"),
    ({"sinus_tachycardia"}, {"sinus_arrhythmia"}, "respiratory arrhythmia fades at high rates"),
    (
        {"mobitz1", "mobitz2", "complete_av_block"},
        {"pac", "pvc", "bigeminy", "trigeminy", "sinus_arrhythmia", "sinus_tachycardia", "sinus_bradycardia"},
        "the block itself makes the ventricular rhythm",
    ),
    (
        {"bigeminy", "trigeminy"},
        {"pac", "sinus_arrhythmia", "sinus_tachycardia"},
        "the group beating is all that can be told from ten seconds",
    ),
    ({"pac", "pvc"}, {"sinus_arrhythmia"}, "two kinds of irregularity cannot be told apart in ten seconds"),
    ({"lbbb", "ilbbb"}, {"lafb", "lpfb"}, "the fascicles are part of the blocked left bundle"),
    (
        {"lbbb"},
        _INFARCT | {"lvh", "lvh_strain", "rvh"} | _REPOLARISATION,
        "the blocked activation hides infarction, hypertrophy and primary ST-T changes",
    ),
    ({"wpw"}, _SHAPE | {"bigeminy", "trigeminy"}, "pre-excitation distorts QRS, ST and T"),
    (
        {"pacing_ventricular", "pacing_dual"},
        (_SHAPE | _AV | {"bigeminy", "trigeminy", "long_qt"}),
        "the paced QRS hides it",
    ),
    ({"pacing_atrial", "pacing_dual"}, _NO_P | _AV | {"pac", "lae", "rae"}, "the atria are paced"),
    ({"pacing_ventricular"}, {"flutter", "svt", "pac"}, "the ventricles are paced at their own rate"),
    (
        {"pacing_ventricular", "pacing_atrial", "pacing_dual"},
        {"sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia"},
        "the pacemaker makes the rhythm",
    ),
    ({"rvh"}, {"rbbb", "irbbb", "lafb", "lpfb", "lvh", "lvh_strain"}, "the tall R of V1 has one cause here"),
    (_STEMI, _REPOLARISATION | {"lvh_strain"}, "the injury current makes ST and T"),
    (_OLD_MI, {"rvh"}, "the simulated patterns contradict each other in the chest leads"),
    ({"lvh_strain"}, _REPOLARISATION, "the strain makes ST and T"),
    ({"low_voltage"}, {"lvh", "lvh_strain", "rvh"}, "hypertrophy is seen by high voltage"),
    (
        {"lafb", "lpfb"},
        {"old_mi_inferior", "old_mi_inferolateral", "old_mi_lateral", "ivcd"},
        "both are read from the same limb-lead complexes",
    ),
    (
        {"stemi_anterior"},
        {"old_mi_anterior", "old_mi_anteroseptal", "old_mi_anterolateral"},
        "it is the same wall",
    ),
    ({"stemi_inferior"}, {"old_mi_inferior", "old_mi_inferolateral"}, "it is the same wall"),
    (
        {"stemi_lateral"},
        {"old_mi_lateral", "old_mi_anterolateral", "old_mi_inferolateral"},
        "it is the same wall",
    ),
    ({"digitalis"}, {"long_qt", "rbbb"}, "digitalis shortens QT, and its ST is read in narrow complexes"),
    ({"old_mi_lateral", "old_mi_anterolateral"}, {"old_mi_inferolateral"}, "both hold the lateral wall"),
]


def check_conditions(names: Sequence[str]) -> tuple[str, ...]:
    """The conditions in the table's order, without repeats.

    Raises:
        ValueError: if one is unknown, or two cannot be seen in one ECG.
    """
    unknown = [name for name in names if name not in CONDITIONS]
    if unknown:
        raise ValueError(
            f"unknown condition {', '.join(map(repr, unknown))}; choose among {', '.join(CONDITIONS)}"
        )
    chosen = tuple(name for name in CONDITIONS if name in set(names)) or ("normal",)
    for i, first in enumerate(chosen):
        for second in chosen[i + 1 :]:
            reason = conflict(first, second)
            if reason:
                raise ValueError(
                    f"{first} and {second} cannot be simulated in one ECG: {reason}; leave one out"
                )
    return chosen


def conflict(first: str, second: str) -> str | None:
    """Why two conditions exclude each other; None where they go together."""
    for left, right, reason in _WHY:
        if (first in left and second in right) or (second in left and first in right):
            return reason
    if first != second and CONDITIONS[first].group == CONDITIONS[second].group:
        return f"both answer one question ({CONDITIONS[first].group.replace('_', ' ')})"
    return None


def codes_of(conditions: Sequence[str]) -> list[str]:
    """The SCP codes of these conditions as PTB-XL would write them, sorted.

    `SR` stands for sinus rhythm of ordinary rate: PTB-XL writes `SBRAD`, `STACH`, `SARRH` in its place.
    `NORM` is added where nothing but a sinus variant is asked for.
    """
    chosen = set(conditions)
    codes = {code for name in chosen for code in CONDITIONS[name].codes}
    if not chosen & OWN_RHYTHM and not codes & {"SBRAD", "STACH", "SARRH"}:
        codes.add("SR")
    if "pacing_ventricular" in chosen and "afib" not in chosen:
        codes.discard("SR")
    if chosen <= BENIGN:
        codes.add("NORM")
    return sorted(codes)
