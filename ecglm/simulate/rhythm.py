"""When atria and ventricles beat: sinus rhythm, fibrillation, flutter, ectopy, AV block, pacing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Beat:
    """One ventricular activation: QRS onset in s, "conducted", "pvc", "escape" or "paced", its P if any."""

    time: float
    kind: str = "conducted"
    p: int | None = None


@dataclass
class Timeline:
    """Atrial and ventricular activations of one ECG.

    Args:
        beats: in order of time.
        atria: onset of each P wave in s, and whether it is ectopic.
        spikes: pacing artefacts: time in s and chamber ("atrium", "ventricle").
        respiration: Hz and phase, shared by rate and amplitudes.
    """

    beats: list[Beat] = field(default_factory=list)
    atria: list[tuple[float, bool]] = field(default_factory=list)
    spikes: list[tuple[float, str]] = field(default_factory=list)
    respiration: tuple[float, float] = (0.25, 0.0)


def rate_limits(chosen: set[str]) -> tuple[float, float, str]:
    """Allowed ventricular rates of a rhythm in 1/min, and its name for messages."""
    if "sinus_bradycardia" in chosen:
        return 30, 59.9, "sinus_bradycardia"
    if "sinus_tachycardia" in chosen:
        return 100.1, 180, "sinus_tachycardia"
    if "complete_av_block" in chosen:
        return 25, 60, "complete_av_block"
    if "mobitz1" in chosen or "mobitz2" in chosen:
        return 35, 90, "second-degree block"
    if "afib" in chosen and "pacing_ventricular" not in chosen:
        return 35, 200, "afib"
    if "flutter" in chosen:
        return 60, 175, "flutter"
    if "svt" in chosen:
        return 140, 220, "svt"
    if chosen & {"pacing_ventricular", "pacing_atrial", "pacing_dual"}:
        return 50, 120, "pacing"
    return 50, 100, "this sinus rhythm (sinus_bradycardia and sinus_tachycardia are conditions of their own)"


def draw_rate(chosen: set[str], rng: np.random.Generator) -> float:
    """A ventricular rate for the rhythm, 1/min (quantiles as in PTB-XL by rhythm code)."""
    z = rng.standard_normal()
    low, high, _ = rate_limits(chosen)
    if "sinus_bradycardia" in chosen:
        return float(np.clip(51 + 4.5 * z, 36, 59))
    if "sinus_tachycardia" in chosen:
        return float(np.clip(101 + abs(11 * z), 101, 160))
    if "complete_av_block" in chosen:
        return float(np.clip(40 + 6 * z, 28, 55))
    if chosen & {"mobitz1", "mobitz2"}:
        return float(np.clip(58 + 9 * z, 40, 80))
    if "afib" in chosen and "pacing_ventricular" not in chosen:
        return float(np.clip(90 * np.exp(0.27 * z), 45, 180))
    if "flutter" in chosen:
        return float(
            rng.choice([rng.uniform(128, 160), rng.uniform(85, 108), rng.uniform(66, 80)], p=[0.5, 0.2, 0.3])
        )
    if "svt" in chosen:
        return float(np.clip(168 + 15 * z, 142, 215))
    if chosen & {"pacing_ventricular", "pacing_atrial", "pacing_dual"}:
        return float(np.clip(70 + 7 * z, 55, 100))
    return float(np.clip(72 * np.exp(0.17 * z), max(low, 55), min(high, 99)))


def draw_pr(chosen: set[str], rng: np.random.Generator, age: float) -> float:
    """PR interval by condition, ms."""
    z = rng.standard_normal()
    if "first_degree_av_block" in chosen:
        return float(np.clip(228 + abs(28 * z), 208, 340))
    if "wpw" in chosen:
        return float(np.clip(98 + 10 * z, 76, 118))
    mean = 150 + 0.22 * (age - 40) + (8 if "lae" in chosen else 0)
    return float(np.clip(mean + 17 * z, 122, 198))


def _variability(
    chosen: set[str], age: float, n: int, rr: float, respiration: tuple[float, float], rng
) -> np.ndarray:
    """Relative RR intervals around 1: respiratory and 0.1 Hz swings (Task Force 1996), smaller with age."""
    youth = float(np.clip(1.5 - age / 60, 0.2, 1.2))
    swing = 0.030 * youth * np.exp(0.5 * rng.standard_normal())
    if "sinus_arrhythmia" in chosen:
        swing = rng.uniform(0.10, 0.22)
    if "sinus_tachycardia" in chosen:
        swing *= 0.3
    slow, phase = 0.012 * np.exp(0.5 * rng.standard_normal()), rng.uniform(0, 2 * np.pi)
    t = np.arange(n) * rr
    hz, start = respiration
    if "sinus_arrhythmia" in chosen:
        hz = min(hz, 0.4 / rr)  # the swing has to be sampled by the beats
    factor = 1 + swing * np.sin(2 * np.pi * hz * t + start) + slow * np.sin(2 * np.pi * 0.1 * t + phase)
    return factor + 0.006 * rng.standard_normal(n)


def _fibrillation(n: int, rr: float, rng: np.random.Generator) -> np.ndarray:
    """RR intervals of fibrillation: skewed, uncorrelated, never below the AV node's refractory period."""
    spread = float(np.clip(0.20 * np.exp(0.3 * rng.standard_normal()), 0.10, 0.36))
    factor = np.exp(spread * rng.standard_normal(n))
    return np.maximum(factor, 0.30 / rr)


def make_timeline(
    chosen: set[str], age: float, rate: float, pr: float, duration: float, seed: int
) -> Timeline:
    """A timeline whose recorded beats have this mean rate.

    Args:
        chosen: conditions.
        age: years.
        rate: ventricular rate, 1/min.
        pr: PR interval, ms.
        duration: s.
        seed: of all that is random here.
    """
    asked, best, line = rate, np.inf, None
    for attempt in range(12):
        trial = _once(chosen, age, asked, pr, duration, np.random.default_rng(seed))
        times = [beat.time for beat in trial.beats if 0 <= beat.time < duration - 0.1]
        if len(times) < 3:
            return line or trial
        found = 60 / float(np.mean(np.diff(times)))
        if abs(found - rate) < best:
            best, line = abs(found - rate), trial
        if best < 0.25:
            break
        # smaller steps later on: which beats fall into the recording jumps with the rate
        asked = float(np.clip(asked * (rate / found) ** (1 / (1 + attempt / 3)), 0.7 * rate, 1.4 * rate))
    assert line is not None
    return line


def _once(
    chosen: set[str],
    age: float,
    rate: float,
    pr: float,
    duration: float,
    rng: np.random.Generator,
) -> Timeline:
    line = Timeline(respiration=(float(rng.uniform(0.18, 0.32)), float(rng.uniform(0, 2 * np.pi))))
    rr, pr_s = 60 / rate, pr / 1000
    n = int(np.ceil((duration + 3) / rr * 1.4)) + 4
    first = -rr * rng.uniform(0.2, 1.2) - rr
    if "complete_av_block" in chosen:
        _complete_block(line, chosen, rr, first, n, duration, rng)
    elif chosen & {"mobitz1", "mobitz2"}:
        _second_degree(line, chosen, rr, pr_s, first, n, rng)
    elif "afib" in chosen and "pacing_ventricular" not in chosen:
        times = first + np.cumsum(_fibrillation(n, rr, rng) * rr)
        line.beats = [Beat(float(t)) for t in times]
    elif chosen & {"flutter", "svt"}:
        factor = np.ones(n)
        if (
            "flutter" in chosen and rng.random() < 0.3
        ):  # variable block: intervals are multiples of the flutter cycle
            factor = rng.choice([0.75, 1.0, 1.25], n)
        times = first + np.cumsum(factor * rr + 0.002 * rng.standard_normal(n))
        line.beats = [Beat(float(t)) for t in times]
    elif chosen & {"pacing_ventricular", "pacing_dual"}:
        _ventricular_pacing(line, chosen, rr, pr_s, first, n, rng)
    else:
        if "pacing_atrial" in chosen:
            factor = 1 + 0.001 * rng.standard_normal(n)
        else:
            factor = _variability(chosen, age, n, rr, line.respiration, rng)
        times = first + np.cumsum(factor * rr)
        line.atria = [(float(t) - pr_s, False) for t in times]
        line.beats = [Beat(float(t), p=i) for i, t in enumerate(times)]
        if "pacing_atrial" in chosen:
            line.spikes = [(t - 0.008, "atrium") for t, _ in line.atria]
    if chosen & {"pac"}:
        _atrial_ectopy(line, rr, pr_s, duration, rng)
    if chosen & {"pvc", "bigeminy", "trigeminy"}:
        _ventricular_ectopy(line, chosen, rr, duration, rng)
    line.beats.sort(key=lambda beat: beat.time)
    return line


def _complete_block(
    line: Timeline, chosen: set[str], rr: float, first: float, n: int, duration: float, rng
) -> None:
    times = first + np.cumsum(rr * (1 + 0.004 * rng.standard_normal(n)))
    kind = "escape" if rng.random() < 0.45 else "conducted"  # ventricular or junctional pacemaker
    line.beats = [Beat(float(t), kind) for t in times]
    if "afib" not in chosen:
        pp = 60 / rng.uniform(68, 105)
        count = int((duration + 6) / pp) + 2
        atria = -2 + rng.uniform(0, pp) + np.cumsum(pp * (1 + 0.01 * rng.standard_normal(count)))
        line.atria = [(float(t), False) for t in atria]


def _second_degree(line: Timeline, chosen: set[str], rr: float, pr: float, first: float, n: int, rng) -> None:
    """Groups of conducted beats that end in a dropped one: PR grows by shrinking steps in Mobitz I."""
    group = int(rng.integers(3, 6))  # 3:2, 4:3 or 5:4
    wenckebach = "mobitz1" in chosen
    if not wenckebach and rng.random() < 0.4:
        group = 2
    pp = rr * (group - 1) / group
    step = rng.uniform(0.06, 0.12)
    for k in range(n * 2):
        at = first + k * pp + 0.005 * float(rng.standard_normal())
        place = k % group
        line.atria.append((at, False))
        if place == group - 1:
            continue
        delay = pr + (step * (1 - 0.5**place) / 0.5 if wenckebach else 0.0)
        line.beats.append(Beat(at + delay, p=len(line.atria) - 1))


def _ventricular_pacing(
    line: Timeline, chosen: set[str], rr: float, pr: float, first: float, n: int, rng
) -> None:
    times = first + np.cumsum(rr * (1 + 0.0008 * rng.standard_normal(n)))
    dual = "pacing_dual" in chosen
    line.beats = [Beat(float(t), "paced", i if dual else None) for i, t in enumerate(times)]
    line.spikes = [(float(t) - 0.004, "ventricle") for t in times]
    if dual:
        line.atria = [(float(t) - pr, False) for t in times]
        if rng.random() < 0.6:  # otherwise the atria are sensed, and only the ventricle is paced
            line.spikes += [(float(t) - pr - 0.008, "atrium") for t in times]


def _eligible(line: Timeline, duration: float) -> list[int]:
    """Conducted beats well inside the recording, so that what precedes and follows is seen, too."""
    order = range(2, len(line.beats) - 2)
    return [i for i in order if line.beats[i - 1].time > 0.3 and line.beats[i + 1].time < duration - 0.5]


def _atrial_ectopy(line: Timeline, rr: float, pr: float, duration: float, rng) -> None:
    """One to three P waves too early, of another shape; the sinus node is reset, so the pause is short."""
    candidates = _eligible(line, duration)
    rng.shuffle(candidates)
    hit: list[int] = []
    for i in candidates:
        if len(hit) < rng.integers(1, 4) and all(abs(i - j) > 2 for j in hit):
            hit.append(i)
    for i in sorted(hit, reverse=False):
        early = rr * rng.uniform(0.22, 0.42)
        shift = -early
        late = shift + rr * rng.uniform(0.03, 0.12)
        for j in range(i, len(line.beats)):
            move = shift if j == i else late
            line.beats[j].time += move
            p = line.beats[j].p
            if p is not None:
                line.atria[p] = (line.atria[p][0] + move, line.atria[p][1] or j == i)
        p = line.beats[i].p
        if p is not None:
            line.atria[p] = (line.beats[i].time - pr * rng.uniform(0.9, 1.15), True)


def _ventricular_ectopy(line: Timeline, chosen: set[str], rr: float, duration: float, rng) -> None:
    """A premature wide beat in a sinus beat's place: the sinus node goes on, so the pause is compensatory."""
    coupling = max(rr * rng.uniform(0.5, 0.68), 0.36)
    if "bigeminy" in chosen or "trigeminy" in chosen:
        every = 2 if "bigeminy" in chosen else 3
        start = int(rng.integers(every))
        hit = [i for i in range(1, len(line.beats)) if i % every == start]
    else:
        candidates = _eligible(line, duration)
        rng.shuffle(candidates)
        wanted, hit = int(rng.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1])), []
        for i in candidates:
            if len(hit) < wanted and all(abs(i - j) > 1 for j in hit) and line.beats[i].kind != "pvc":
                hit.append(i)
    for i in hit:
        beat, before = line.beats[i], line.beats[i - 1]
        at = min(before.time + coupling * (1 + 0.02 * rng.standard_normal()), beat.time - 0.08)
        at = max(at, before.time + 0.30)
        line.beats[i] = Beat(float(at), "pvc")
        line.spikes = [s for s in line.spikes if abs(s[0] - beat.time) > 0.3]
        # its sinus P is there but hidden in or behind the wide QRS, and is not conducted; it is left out of
        # the picture
        if beat.p is not None:
            line.atria[beat.p] = (float("nan"), False)
