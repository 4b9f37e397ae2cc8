"""How a claim is measured: benchmarks (`eval/<protocol>/<dataset>.yaml`), their protocols and metrics.

    >>> result = evaluate("classification/ptbxl_super", "FOLDER", ["data.root=/data/ptb-xl", "mode=probe"])
    >>> result.metrics["macro_auroc"].value

A benchmark is data: `protocol` names a module of this package, every other key is an argument of that
module's benchmark class, and an unknown key is refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from ecglm.assets import apply_overrides, find_statement, read_yaml, refuse_unknown, refuse_wrong_types
from ecglm.evaluation.metrics import Estimate

Overrides = Mapping[str, Any] | Iterable[str]
PROTOCOLS = {"classification": "ClassificationBenchmark", "report": "ReportBenchmark"}


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: `resamples` draws of patients, of which the middle `level` is reported."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.level < 1:
            raise ValueError(
                f"bootstrap needs resamples of 1 or more and a level between 0 and 1, got {self.resamples} "
                f"and {self.level}"
            )


@dataclass(frozen=True)
class Reference:
    """A published figure to stand beside ours; `source` says where it was read."""

    system: str
    mode: str
    metric: str
    value: float
    source: str


@dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Args:
        benchmark: its name.
        model: the model folder.
        mode: how the model was asked.
        metrics: name → figure with its interval.
        n: recordings judged.
        patients: whose recordings they are.
        classes: the classes, or codes, that the mean is over.
        left_out: class → why it is not in the mean.
        per_class: class → {"auroc" or "f1": figure, "positives": recordings that have it}.
        settings: what else shaped the figures: prompt set, folds, chosen regularisation, …
        reference: published figures.
    """

    benchmark: str
    model: str
    mode: str
    metrics: dict[str, Estimate]
    n: int
    patients: int
    classes: list[str]
    left_out: dict[str, str]
    per_class: dict[str, dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    reference: list[Reference] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; each figure is {"value", "low", "high"}."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    def __str__(self) -> str:
        lines = [f"{self.benchmark}, {self.mode}: {self.n} ECGs of {self.patients} patients"]
        if self.settings.get("seen_in_training"):
            lines.append(
                f"  {self.settings['seen_in_training']} of them were in the model's training: too kind"
            )
        lines += [f"  {name:<24} {estimate}" for name, estimate in self.metrics.items()]
        for name, row in self.per_class.items():
            figure = next(value for value in row.values() if isinstance(value, Estimate))
            lines.append(f"    {name:<22} {figure}  {row['positives']} positive")
        if self.left_out:
            named = ", ".join(f"{name} ({why})" for name, why in self.left_out.items())
            lines.append(f"  left out of the mean: {named}")
        lines += [
            f"  published: {row.system} {row.mode} {row.metric} {row.value:.3f} ({row.source})"
            for row in self.reference
        ]
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.to_dict()
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def load_benchmark(benchmark: str | Path, overrides: Overrides = ()) -> Any:
    """Read a benchmark and check every key.

    Args:
        benchmark: name of a shipped one, such as "classification/ptbxl_super", or the path of a YAML file.
        overrides: as for `evaluate`.

    Returns:
        The benchmark object of its protocol, with `run(model_dir) -> Result`.

    Raises:
        ValueError: if a key is unknown or lacking, or a value is not of its kind.
        FileNotFoundError: if there is no such benchmark.
    """
    path = find_statement("eval", str(benchmark))
    where = f"benchmark {path.stem!r}"
    content = read_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("protocol") not in PROTOCOLS:
        raise ValueError(f"{where} must be a mapping whose protocol is one of {', '.join(PROTOCOLS)}")
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]  # JSON is YAML
    content = apply_overrides(content, overrides)
    protocol = content.pop("protocol")
    benchmark_class = getattr(import_module(f"ecglm.evaluation.{protocol}"), PROTOCOLS[protocol])
    return build(benchmark_class, {"name": f"{protocol}/{path.stem}"} | content, where)


def evaluate(benchmark: str | Path, model_dir: str | Path, overrides: Overrides = ()) -> Result:
    """Measure a model folder.

    Args:
        benchmark: see `load_benchmark`.
        model_dir: folder that `ecglm train` or `ecglm convert` wrote.
        overrides: `["mode=probe", "data.folds=[8]"]` as on the command line, or
            `{"mode": "probe", "data.folds": [8]}`.

    Raises:
        ValueError: if the benchmark, an override, the model folder or the data cannot be used.
        FileNotFoundError: if the benchmark or the folder is not there.
    """
    return load_benchmark(benchmark, overrides).run(model_dir)


def build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """Make a dataclass from plain values, refusing what it does not know.

    Args:
        cls: a dataclass whose fields are plain, lists, dicts, or dataclasses.
        values: field → value.
        where: what messages call it.

    Raises:
        ValueError: naming the key, its likely spelling, and where it stands.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must hold keys ({', '.join(f.name for f in fields(cls))}), got {values!r}")
    hints = get_type_hints(cls)
    known = {item.name: item for item in fields(cls)}
    refuse_unknown(where, values, known)
    lacking = [
        name
        for name, item in known.items()
        if name not in values and item.default is MISSING and item.default_factory is MISSING
    ]
    if lacking:
        raise ValueError(f"{where} lacks {', '.join(map(repr, lacking))}")
    arguments = {}
    for name, value in values.items():
        hint = hints[name]
        if is_dataclass(hint):
            value = build(hint, value, f"section {name!r} of {where}")
        elif hint == list[Reference]:
            value = [build(Reference, entry, f"section {name!r} of {where}") for entry in value]
        else:
            refuse_wrong_types(where, {name: value}, hints)
        arguments[name] = value
    return cls(**arguments)
