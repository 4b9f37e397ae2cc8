"""`simulate`: conditions and numbers in, one `ECG` with its exact truth and a report out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecglm.ecg import ECG, LEADS_12
from ecglm.simulate import heart, reports, rhythm, waves
from ecglm.simulate import noise as noises
from ecglm.simulate.conditions import check_conditions, codes_of
from ecglm.simulate.leads import axis_of, twelve_leads
from ecglm.simulate.repolarisation import repolarisation
from ecglm.simulate.waves import EDGE, T_EDGE, Wave

SOURCE = "ecglm simulator"


@dataclass(frozen=True)
class _Kind:
    """One kind of ventricular beat: its QRS, ST, T and U, and what is measured on them (ms, degrees)."""

    qrs: Wave
    st: Wave
    t: Wave
    u: Wave
    qrs_ms: float
    qt_ms: float
    qrs_edges: tuple[float, float, float]
    t_edges: tuple[float, float, float]


def simulate(
    condition: str | Sequence[str] = "normal",
    seed: int = 0,
    *,
    sampling_rate: float = 500,
    duration: float = 10.0,
    age: float | None = None,
    sex: str | None = None,
    heart_rate: float | None = None,
    axis: float | None = None,
    pr: float | None = None,
    qrs: float | None = None,
    qt: float | None = None,
    noise: bool | dict[str, float] = True,
) -> ECG:
    """One simulated 12-lead ECG. The same arguments give the same bits.

    Args:
        condition: one name of `CONDITIONS` or several that go together.
        seed: of the patient, the rhythm, the noise and the report's wording.
        sampling_rate: Hz, 100 or more.
        duration: s, 1 to 3600.
        age: years, drawn where None.
        sex: "male" or "female", drawn where None.
        heart_rate: ventricular rate, 1/min; within what the rhythm allows.
        axis: QRS axis, degrees: atan2(2 aVF / √3, I) of the net areas of the conducted QRS.
        pr: PR interval, ms (of the first beat of a group in Mobitz I).
        qrs: QRS duration, ms.
        qt: QT interval, ms.
        noise: True for a realistic draw, False for none, or rms levels in mV per electrode: `baseline`,
            `muscle`, `mains`, `motion`, and `mains_frequency` in Hz.

    Returns:
        An `ECG` whose metadata holds `record_id`, `age`, `sex`, `codes`, `report`, `source` and `truth`:
        `conditions`, `codes`, `heart_rate` (1/min, over the recorded beats), `pr`, `qrs`, `qt`, `qtc`
        (Bazett) in ms, `axis` in
        degrees, `r_peaks` (samples), `beats` (each with `kind`, `p`, `qrs`, `t`: [on, peak, off] in samples
        or None),
        `p_waves` (all of them, also the dissociated), `spikes` (samples) and `noise` (levels).

    Raises:
        ValueError: if a condition is unknown, conditions exclude each other, or a number contradicts them.
    """
    chosen_names = check_conditions([condition] if isinstance(condition, str) else list(condition))
    chosen = set(chosen_names)
    _check(chosen, sampling_rate, duration, age, sex, heart_rate, axis, pr, qrs, qt)
    # one stream per part: noise on or off leaves the heart as it is
    body, beat_seed, trace, words = np.random.SeedSequence(
        [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    ).spawn(4)
    rng = np.random.default_rng(body)
    patient = heart.draw_patient(rng, age, sex)
    drawn_rate, drawn_pr = rhythm.draw_rate(chosen, rng), rhythm.draw_pr(chosen, rng, patient.age)
    rate = drawn_rate if heart_rate is None else float(heart_rate)
    pr_ms = drawn_pr if pr is None else float(pr)
    qt_ms, qtc_drawn = _draw_qt(chosen, patient, rate, rng)
    if qt is not None:
        qt_ms = float(qt)
    p_shape, p_ms = heart.p_wave(chosen, patient, rng)
    if p_ms > pr_ms - 12:
        p_shape, p_ms = p_shape.scaled((pr_ms - 12) / p_ms), pr_ms - 12
    p_early = p_shape
    if "pac" in chosen:
        p_early = heart.p_wave(set(), patient, rng, ectopic_focus=True)[0].scaled(
            min(1.0, (pr_ms - 12) / 120)
        )
    conducted = heart.conducted(chosen, patient, rng, axis, qrs)
    kinds = {"conducted": _kind(conducted, chosen, patient, rng, qt_ms)}
    line = rhythm.make_timeline(
        chosen, patient.age, rate, pr_ms, duration, int(beat_seed.generate_state(1)[0])
    )
    for name in sorted({beat.kind for beat in line.beats} - {"conducted"}):
        kinds[name] = _foreign(name, patient, rng, qt_ms, axis, qrs)
    main = kinds[_main_kind(line)]
    samples = round(duration * sampling_rate)
    eight = np.zeros((8, samples), np.float32)
    beats = _draw_ventricles(eight, line, kinds, sampling_rate, rng)
    p_truth = _draw_atria(eight, line, p_shape, p_early, sampling_rate, rng)
    if "afib" in chosen:
        eight += _fibrillation(samples, sampling_rate, patient, rng)
    if "flutter" in chosen:
        eight += _flutter(samples, sampling_rate, patient, rate, rng)
    spikes = _draw_spikes(eight, line, sampling_rate, rng)
    levels = noises.levels_of(noise, np.random.default_rng(trace))
    if any(levels[name] > 0 for name in noises.KINDS):
        eight += noises.electrode_noise(
            np.random.default_rng([*trace.generate_state(2)]), samples, sampling_rate, levels
        )
    signal = twelve_leads(eight)
    for beat in beats:
        index = beat.pop("p_index")
        beat["p"] = p_truth.get(index) if index is not None else None
    r_peaks = [beat["qrs"][1] for beat in beats]
    has_pr = any(beat["p"] is not None for beat in beats)
    measured_rate = 60 * sampling_rate / float(np.mean(np.diff(r_peaks))) if len(r_peaks) > 2 else rate
    codes = codes_of(chosen_names)
    truth = {
        "conditions": list(chosen_names),
        "codes": codes,
        "heart_rate": round(measured_rate, 2),
        "pr": round(pr_ms, 1) if has_pr else None,
        "qrs": round(main.qrs_ms, 1),
        "qt": round(main.qt_ms, 1),
        "qtc": round(main.qt_ms * float(np.sqrt(measured_rate / 60)), 1),
        "axis": round(axis_of(main.qrs.area()), 1),
        "p_duration": round(p_ms, 1) if has_pr else None,
        "r_peaks": r_peaks,
        "beats": beats,
        "p_waves": list(p_truth.values()),
        "spikes": spikes,
        "noise": {name: round(value, 5) for name, value in levels.items()},
    }
    report = reports.write(truth, patient.age, patient.female, np.random.default_rng(words))
    metadata = {
        "record_id": f"sim-{'+'.join(chosen_names)}-{seed}",
        "age": patient.age,
        "sex": "female" if patient.female else "male",
        "report": report,
        "codes": codes,
        "source": SOURCE,
        "truth": truth,
    }
    return ECG(signal, sampling_rate, LEADS_12, metadata)


def _check(chosen, sampling_rate, duration, age, sex, heart_rate, axis, pr, qrs, qt) -> None:
    """Refuse numbers that no ECG of these conditions has."""
    has_pr = not chosen & {"afib", "flutter", "svt", "complete_av_block", "pacing_ventricular"}
    low, high, rhythm_name = rhythm.rate_limits(chosen)
    pr_low, pr_high = (200.1, 400.0) if "first_degree_av_block" in chosen else (80.0, 200.0)
    if "wpw" in chosen:
        pr_low, pr_high = 60.0, 119.9
    qrs_low, qrs_high = 60.0, 119.0
    if chosen & {"lbbb", "rbbb", "pacing_ventricular", "pacing_dual"}:
        qrs_low, qrs_high = 120.0, 220.0
    elif chosen & {"irbbb", "ilbbb"}:
        qrs_low = 95.0
    elif chosen & {"wpw", "ivcd"}:
        qrs_low, qrs_high = 105.0, 180.0
    limits = [
        ("sampling_rate", sampling_rate, 100, 10_000, "Hz", ""),
        ("duration", duration, 1, 3600, "s", ""),
        ("age", age, 16, 110, "years", " (adults)"),
        ("heart_rate", heart_rate, low, high, "1/min", f" with {rhythm_name}"),
        ("axis", axis, -180, 180, "degrees", ""),
        ("pr", pr, pr_low, pr_high, "ms", f" with {', '.join(sorted(chosen))}"),
        ("qrs", qrs, qrs_low, qrs_high, "ms", f" with {', '.join(sorted(chosen))}"),
        ("qt", qt, 240, 700, "ms", ""),
    ]
    for name, value, least, most, unit, where in limits:
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name} must lie between {least:g} and {most:g} {unit}{where}, got {value:g}")
    if pr is not None and not has_pr:
        raise ValueError(
            f"pr={pr:g} was given, but {', '.join(sorted(chosen))} has no PR interval; leave pr out"
        )
    if sex not in (None, "male", "female"):
        raise ValueError(f"sex must be 'male', 'female' or None, got {sex!r}")
    if "lafb" in chosen and axis is not None and not -120 <= axis <= -30:
        raise ValueError(f"lafb turns the axis to between -120 and -30 degrees, got {axis:g}; leave axis out")
    if "lpfb" in chosen and axis is not None and not 90 <= axis <= 180:
        raise ValueError(f"lpfb turns the axis to between 90 and 180 degrees, got {axis:g}; leave axis out")


def _draw_qt(
    chosen: set[str], patient: heart.Patient, rate: float, rng: np.random.Generator
) -> tuple[float, float]:
    """QT in ms and the QTc it was made from: Fridericia's correction, norms of Rautaharju et al. 2009."""
    qtc = (411 if patient.female else 401) + 14 * np.clip(rng.standard_normal(), -2.2, 2.2)
    rr = 60 / rate
    if "long_qt" in chosen:
        qtc = rng.uniform(488, 590)
        if rr > 1:  # prolonged by Bazett's formula, too, which shortens at low rates
            qtc = max(qtc, 485 * rr ** (1 / 6))
    if "digitalis" in chosen:
        qtc -= rng.uniform(20, 45)
    if chosen & {"lbbb", "rbbb"}:
        qtc += 28
    if chosen & {"lvh", "lvh_strain", "ilbbb", "ivcd"}:
        qtc += 8
    qt = float(qtc * rr ** (1 / 3))
    return float(np.clip(qt, 260, 0.92 * rr * 1000 if "long_qt" not in chosen else 690)), float(qtc)


def _main_kind(line: rhythm.Timeline) -> str:
    kinds = [beat.kind for beat in line.beats if beat.kind != "pvc"]
    return max(sorted(set(kinds)), key=kinds.count) if kinds else "conducted"


def _kind(
    qrs: Wave, chosen: set[str], patient: heart.Patient, rng: np.random.Generator, qt_ms: float
) -> _Kind:
    edges = qrs.edges(EDGE)
    qrs_ms = edges[2] - edges[0]
    qt_ms = max(qt_ms, qrs_ms + 150)
    st, t, u = repolarisation(chosen, patient, rng, qrs, qrs_ms, qt_ms, axis_of(qrs.area()))
    return _Kind(qrs, st, t, u, qrs_ms, qt_ms, edges, t.edges(T_EDGE))


def _foreign(name, patient, rng, qt_ms, axis, qrs_ms) -> _Kind:
    """A beat of ventricular or pacemaker origin, its ST-T discordant."""
    wave, _ = heart.ectopic(patient, rng, name)
    if name == "paced":
        wave = heart.fit_duration(
            wave, heart.default_qrs({"pacing_ventricular"}, patient, rng) if qrs_ms is None else qrs_ms
        )
        if axis is not None:
            wave = heart.place_axis(wave, axis)
            wave = heart.fit_duration(wave, qrs_ms or wave.edges()[2])
    return _kind(wave, {"ventricular"}, patient, rng, qt_ms + (40 if name != "paced" else 25))


def _draw_ventricles(eight, line: rhythm.Timeline, kinds: dict[str, _Kind], rate: float, rng) -> list[dict]:
    """Add QRS, ST, T and U of all beats; return the truth of those whose QRS lies within the recording."""
    samples = eight.shape[1]
    hz, phase = line.respiration
    depth = rng.uniform(0.0, 0.07) * rng.standard_normal(8) + rng.uniform(0.0, 0.05)
    truth: list[dict] = []
    before = {id(b): a for a, b in zip(line.beats, line.beats[1:], strict=False)}
    usual = float(np.median(np.diff([b.time for b in line.beats]))) if len(line.beats) > 2 else 1.0
    for name in sorted(kinds):
        kind = kinds[name]
        mine = [b for b in line.beats if b.kind == name and -1.2 < b.time < samples / rate + 0.2]
        if not mine:
            continue
        onset = np.array([b.time for b in mine])
        previous = np.array([b.time - before[id(b)].time if id(b) in before else usual for b in mine])
        # QT follows the preceding interval partly and slowly: a fifth of the full adaptation within one beat
        stretch = np.clip((previous / usual) ** 0.12, 0.92, 1.06)
        gain = (
            1
            + depth[None] * np.sin(2 * np.pi * hz * onset + phase)[:, None]
            + 0.008 * rng.standard_normal((len(mine), 1))
        )
        repol = kind.st + kind.t + kind.u
        j = kind.qrs_ms
        timing = np.repeat(repol.timing[None], len(mine), 0)
        timing[:, :, 0] = j + (timing[:, :, 0] - j) * stretch[:, None]
        timing = np.concatenate([np.repeat(kind.qrs.timing[None], len(mine), 0), timing], 1)
        vectors = np.concatenate([kind.qrs.vectors, repol.vectors]).T.astype(np.float32)  # (8, lobes)
        lead_in, width = int(0.06 * rate), int((kind.qt_ms / 1000 * 1.06 + 0.26) * rate)
        first = np.floor(onset * rate).astype(int) - lead_in
        ms = ((first[:, None] + np.arange(width)) / rate - onset[:, None]) * 1000
        drawn = vectors @ waves.lobes(timing, ms)
        drawn *= gain[:, :, None].astype(np.float32)
        for k, beat in enumerate(mine):
            a, b = max(first[k], 0), min(first[k] + width, samples)
            if a < b:
                eight[:, a:b] += drawn[k][:, a - first[k] : b - first[k]]
            q = [round((beat.time + edge / 1000) * rate) for edge in kind.qrs_edges]
            if q[0] < 0 or q[2] >= samples:
                continue
            t = [round((beat.time + (j + (edge - j) * stretch[k]) / 1000) * rate) for edge in kind.t_edges]
            t[0] = max(t[0], q[2] + 1)
            inside = t[2] < samples and t[0] < t[1] < t[2]
            truth.append({"kind": name, "p_index": beat.p, "qrs": q, "t": t if inside else None})
    return sorted(truth, key=lambda beat: beat["qrs"][0])


def _draw_atria(
    eight, line: rhythm.Timeline, shape: Wave, early: Wave, rate: float, rng
) -> dict[int, list[int]]:
    """Add all P waves; return [on, peak, off] by index for those within the recording."""
    samples, truth = eight.shape[1], {}
    for ectopic, wave in ((False, shape), (True, early)):
        # a NaN marks a P wave that a premature beat hides
        mine = [
            (i, t) for i, (t, e) in enumerate(line.atria) if e == ectopic and -0.3 < t < samples / rate + 0.05
        ]
        if not mine:
            continue
        edges = wave.edges()
        onset = np.array([t for _, t in mine])
        first, width = np.floor((onset - 0.02) * rate).astype(int), int((edges[2] / 1000 + 0.06) * rate)
        ms = ((first[:, None] + np.arange(width)) / rate - onset[:, None]) * 1000
        gain = (1 + 0.04 * rng.standard_normal((len(mine), 1, 1))).astype(np.float32)
        drawn = wave.vectors.T.astype(np.float32) @ waves.lobes(wave.timing, ms) * gain
        for k, (i, t) in enumerate(mine):
            a, b = max(first[k], 0), min(first[k] + width, samples)
            if a < b:
                eight[:, a:b] += drawn[k][:, a - first[k] : b - first[k]]
            marks = [round((t + edge / 1000) * rate) for edge in edges]
            if marks[0] >= 0 and marks[2] < samples:
                truth[i] = marks
    return dict(sorted(truth.items()))


def _fibrillation(samples: int, rate: float, patient: heart.Patient, rng: np.random.Generator) -> np.ndarray:
    """Fibrillatory waves of 4 to 9 Hz, largest in V1 (Petrutiu 2006): two independent narrow-band sources."""
    n = noises._fast_length(samples)
    f = np.fft.rfftfreq(n, 1 / rate)
    top, width = rng.uniform(4.3, 7.5), rng.uniform(0.6, 1.5)
    size = 0.026 * np.exp(0.5 * rng.standard_normal())
    band = np.exp(-0.5 * ((f - top) / width) ** 2) + 0.12 * np.exp(-0.5 * ((f - 2 * top) / (2 * width)) ** 2)
    phase = np.exp(2j * np.pi * rng.random((3, len(f))))
    sources = np.fft.irfft(band * phase * rng.rayleigh(1.0, (3, len(f))), n, axis=1)[:, :samples]
    sources /= sources.std(axis=1, keepdims=True)
    direction = np.array(
        [[0.25, 0.55, -0.75], [0.4, -0.2, -0.35], [0.1, 0.3, 0.3]]
    ) + 0.15 * rng.standard_normal((3, 3))
    matrix = patient.matrix.copy()
    matrix[3:] *= 0.5  # the atria lie close to V1, far from V2 to V6
    return size * (direction @ matrix.T).T @ sources


def _flutter(
    samples: int, rate: float, patient: heart.Patient, ventricular: float, rng: np.random.Generator
) -> np.ndarray:
    """A saw-tooth: slow descent and quick rise in II, III, aVF; upright in V1 (counter-clockwise circuit)."""
    ratios = [k for k in (2, 3, 4) if 240 <= k * ventricular <= 350] or [2 if ventricular > 120 else 4]
    atrial = float(np.clip(ventricular * ratios[0], 230, 350)) / 60
    t = np.arange(samples) / rate
    phase = 2 * np.pi * (atrial * t + rng.random())
    k = np.arange(1, 6)[:, None]
    saw = -(np.sin(k * phase) / k * np.exp(-0.12 * k)).sum(0)
    bump = np.cos(phase + rng.uniform(0.5, 1.2)) + 0.35 * np.cos(2 * phase)
    size = 0.10 * np.exp(0.35 * rng.standard_normal())
    down = np.array([0.05, 1.0, 0.1]) + 0.15 * rng.standard_normal(3)
    front = np.array([0.05, 0.05, -0.55]) + 0.08 * rng.standard_normal(3)
    matrix = patient.matrix.copy()
    matrix[3:] *= 0.45
    return size * (np.outer(matrix @ down, saw) + np.outer(matrix @ front, bump))


def _draw_spikes(eight, line: rhythm.Timeline, rate: float, rng: np.random.Generator) -> list[int]:
    """Pacing artefacts: a few ms wide, tall when unipolar, tiny when bipolar."""
    size = rng.uniform(0.8, 3.2) if rng.random() < 0.5 else rng.uniform(0.12, 0.6)
    direction = {
        "ventricle": rng.normal([0.5, 0.8, 0.3], 0.35),
        "atrium": 0.7 * rng.normal([0.3, 0.7, -0.2], 0.35),
    }
    out = []
    for time, chamber in line.spikes:
        at = round(time * rate)
        if not 0 <= at < eight.shape[1] - 3:
            continue
        vector = size * heart.DOWER @ direction[chamber]
        for offset, part in ((0, 1.0), (1, 0.55 if rate >= 400 else 0.0), (2, -0.18 if rate >= 400 else 0.0)):
            eight[:, at + offset] += part * vector
        out.append(at)
    return sorted(out)
