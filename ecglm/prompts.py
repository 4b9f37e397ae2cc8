"""Clinical knowledge as data: prompt sets, the SCP-ECG ontology, training wordings and chat templates.

A prompt set is one YAML file under `prompts/`. Its `statements` say what single findings look like; its
`groups` hold the labels of one task each. A label is made of statements (`members`) or has `prompts` of its
own; a group given as a list has one label per statement ("NST" of `NST_`), and `groups` given as another
set's name borrows that set's labels. Each entry names its sources. Files are read strictly: an unknown key is
refused by name.

    prompts = load_prompts("ckepe/ptbxl:super")
    prompts.labels             # ["NORM", "MI", "STTC", "CD", "HYP"]
    prompts.texts("MI")        # every prompt of the label, flat
    prompts.texts_by_member("MI")   # [[paraphrases of one member], …]: average inside, `combine` across
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.assets import asset, find_statement, list_statements, read_statement, refuse_unknown

_SET_KEYS = {"name", "description", "licence", "combine", "sources", "templates", "statements", "groups"}
_ENTRY_KEYS = {"name", "definition", "prompts", "members", "source", "reviewed_by"}
_STATEMENT_KEYS = {"statement", "class", "subclass", "kind", "synonyms", "source"}
COMBINE = ("noisy_or", "mean", "max")


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one group of labels.

    Attributes:
        name: the set's name, e.g. "ckepe/ptbxl".
        group: the group's name, e.g. "super".
        labels: label codes, in the file's order.
        names: label code to its readable name.
        members: label code to the codes of the statements it is made of; () where it has prompts of its own.
        prompts: label code to its prompts, one inner list per member, paraphrases of one thing inside.
        combine: how members' probabilities become the label's: "noisy_or", "mean" or "max".
        sources: label code to the full references behind it.
        definitions: label code to its definition, where the file gives one.
    """

    name: str
    group: str
    labels: list[str]
    names: dict[str, str]
    members: dict[str, tuple[str, ...]]
    prompts: dict[str, list[list[str]]]
    combine: str
    sources: dict[str, list[str]]
    definitions: dict[str, str]

    def texts(self, label: str) -> list[str]:
        """All prompts of a label, flat, in the file's order.

        Raises:
            ValueError: if the set has no such label.
        """
        return [text for member in self.texts_by_member(label) for text in member]

    def texts_by_member(self, label: str) -> list[list[str]]:
        """The prompts of a label, one inner list per member: paraphrases to average before `combine`.

        Raises:
            ValueError: if the set has no such label.
        """
        if label not in self.prompts:
            raise ValueError(
                f"{self.name} [{self.group}] has no label {label!r}; it has {', '.join(self.labels)}"
            )
        return self.prompts[label]


def combine_probabilities(probabilities: np.ndarray, how: str) -> np.ndarray:
    """The probability of a label from those of its members, along the last axis.

    Args:
        probabilities: (..., members), each in [0, 1].
        how: "noisy_or" (any member present, members independent), "mean" or "max".

    Returns:
        (...) probabilities.

    Raises:
        ValueError: if `how` is another word.
    """
    if how == "noisy_or":
        # Through logarithms, so that many small probabilities do not round to zero.
        return -np.expm1(np.log1p(-np.clip(probabilities, 0.0, 1.0 - 1e-12)).sum(axis=-1))
    if how == "mean":
        return np.mean(probabilities, axis=-1)
    if how == "max":
        return np.max(probabilities, axis=-1)
    raise ValueError(f"combine is {how!r}; allowed are {', '.join(COMBINE)}")


def compose(templates: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Every template filled with every text, texts outermost, duplicates left out.

    Raises:
        ValueError: if a template has no `{x}`.
    """
    templates = list(templates)
    for template in templates:
        if template.count("{x}") != 1:
            raise ValueError(
                f"template {template!r} must hold {{x}} exactly once; write it where the finding goes"
            )
    return list(dict.fromkeys(template.replace("{x}", text) for text in texts for template in templates))


def prompt_sets() -> list[str]:
    """Names of the prompt sets shipped, e.g. "ckepe/ptbxl"."""
    return [name for name in list_statements("prompts") if not name.startswith("ontology/")]


def load_prompts(name: str | Path, group: str | None = None) -> PromptSet:
    """Read one group of a prompt set.

    Args:
        name: a shipped set or a YAML file of one's own, with its group behind a colon: "ckepe/ptbxl:super",
            "own/set.yaml:rhythm".
        group: the group, where the name does not say it; neither is needed where the file has one only.

    Raises:
        FileNotFoundError: if there is no such set.
        ValueError: if it has no such group, or the file breaks the schema.
    """
    if split := re.fullmatch(r"(.+):(\w+)", str(name)):
        if group not in (None, split[2]):
            raise ValueError(
                f"prompt set {str(name)!r} names another group than group={group!r}; give one of the two"
            )
        name, group = split[1], split[2]
    groups = _read_set(name)
    if group is None:
        if len(groups) > 1:
            choices = ", ".join(f"{name}:{key}" for key in groups)
            raise ValueError(f"prompt set {str(name)!r} has several groups; write one of {choices}")
        group = next(iter(groups))
    if group not in groups:
        raise ValueError(f"prompt set {str(name)!r} has no group {group!r}; it has {', '.join(groups)}")
    return groups[group]


def groups_of(name: str | Path) -> list[str]:
    """Names of the groups of a prompt set (no colon).

    Raises:
        FileNotFoundError: if there is no such set.
        ValueError: if the file breaks the schema.
    """
    return list(_read_set(name))


@dataclass(frozen=True)
class Statement:
    """One SCP-ECG statement of the ontology.

    Attributes:
        code: SCP code as PTB-XL writes it, e.g. "ISCAL".
        statement: the statement in English, complete in itself.
        superclass: diagnostic superclass ("MI"), None for form and rhythm statements.
        subclass: diagnostic subclass, None likewise.
        kind: which of "diagnostic", "form", "rhythm" it belongs to.
        synonyms: other wordings, for training.
        sources: full references.
    """

    code: str
    statement: str
    superclass: str | None
    subclass: str | None
    kind: tuple[str, ...]
    synonyms: tuple[str, ...]
    sources: tuple[str, ...]


@cache
def ontology() -> dict[str, Statement]:
    """The 71 SCP-ECG statements of PTB-XL by code, in the publisher's order."""
    return _ontology()[0]


def training_templates() -> tuple[str, ...]:
    """The sentence frames that `training_texts` uses; `{x}` stands for the finding."""
    return _ontology()[1]


def training_texts(
    codes: Sequence[str],
    rng: np.random.Generator,
    *,
    synonyms: float = 0.7,
    templates: float = 0.5,
) -> list[str]:
    """One freshly sampled English wording per SCP code, for training.

    Args:
        codes: SCP codes of the ontology.
        rng: source of chance; the same state gives the same texts.
        synonyms: probability of a synonym in place of the statement itself.
        templates: probability of a sentence frame around it.

    Returns:
        One text per code, in the order given.

    Raises:
        ValueError: if a code is not in the ontology.
    """
    known, frames = _ontology()
    texts = []
    for code in codes:
        if code not in known:
            raise ValueError(f"no SCP statement {code!r} in the ontology; allowed are {', '.join(known)}")
        statement = known[code]
        text = statement.statement
        if rng.random() < synonyms:
            text = statement.synonyms[rng.integers(len(statement.synonyms))]
        if rng.random() < templates:
            text = frames[rng.integers(len(frames))].replace("{x}", text)
        texts.append(text)
    return texts


def all_training_texts() -> dict[str, list[str]]:
    """Every text that `training_texts` can produce, by SCP code."""
    known, frames = _ontology()
    return {code: compose(frames, (entry.statement, *entry.synonyms)) for code, entry in known.items()}


def chat_template(name: str) -> str:
    """A shipped Jinja chat template, e.g. `chat_template("plain")`, for `tokenizer.chat_template`.

    Raises:
        ValueError: if there is none of that name.
    """
    folder = asset("prompts/chat")
    path = folder / f"{name}.jinja"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in folder.glob("*.jinja")))
        raise ValueError(f"no chat template {name!r} is shipped; there are {shipped}")
    return path.read_text(encoding="utf-8")


@cache
def _ontology() -> tuple[dict[str, Statement], tuple[str, ...]]:
    where = "ontology/scp_ecg"
    raw = read_statement(asset(f"prompts/{where}.yaml"), _SET_KEYS)
    sources = _mapping(where, "sources", raw.get("sources"))
    known = {}
    for code, entry in _mapping(where, "statements", raw.get("statements")).items():
        place = f"{where}: {code}"
        refuse_unknown(place, _mapping(place, "the entry", entry), _STATEMENT_KEYS)
        if missing := _STATEMENT_KEYS - set(entry):
            raise ValueError(f"{place} lacks {', '.join(sorted(missing))}; every statement needs all keys")
        known[code] = Statement(
            code=code,
            statement=entry["statement"],
            superclass=entry["class"],
            subclass=entry["subclass"],
            kind=tuple(_strings(place, "kind", entry["kind"])),
            synonyms=tuple(_strings(place, "synonyms", entry["synonyms"])),
            sources=tuple(_references(place, entry, sources)),
        )
    return known, tuple(_strings(where, "templates", raw.get("templates")))


def _read_set(name: str | Path) -> dict[str, PromptSet]:
    path = find_statement("prompts", str(name)).resolve()
    return _read_file(path, path.stat().st_mtime_ns)


@cache
def _read_file(path: Path, modified: int) -> dict[str, PromptSet]:
    """Parse one file; `modified` only keys the cache, so that an edited file is read again."""
    where = path.name
    raw = read_statement(path, _SET_KEYS)
    title = raw.get("name")
    if not isinstance(title, str):
        raise ValueError(f"{where} lacks a name; begin the file with `name: folder/file`")
    if raw.get("combine") not in COMBINE:
        raise ValueError(f"{where}: combine is {raw.get('combine')!r}; allowed are {', '.join(COMBINE)}")
    sources = _mapping(where, "sources", raw.get("sources"))
    frames = _strings(where, "templates", raw.get("templates", ["{x}"]))
    statements = _mapping(where, "statements", raw.get("statements", {}))
    for code, entry in statements.items():
        place = f"{where}: {code}"
        refuse_unknown(place, _mapping(place, "the entry", entry), _ENTRY_KEYS - {"members"})
        _strings(place, "prompts", entry.get("prompts"))
        _references(place, entry, sources)
    groups = raw.get("groups")
    if isinstance(groups, str):
        borrowed = _read_set(groups)
        plans = {
            key: {
                label: {"name": group.names[label], "definition": group.definitions[label]}
                | {"members": list(group.members[label])}
                for label in group.labels
            }
            for key, group in borrowed.items()
        }
    else:
        plans = {key: _plan(where, key, group) for key, group in _mapping(where, "groups", groups).items()}
    return {
        key: _build(where, title, key, plan, statements, sources, frames, raw["combine"])
        for key, plan in plans.items()
    }


def _plan(where: str, key: str, group: Any) -> dict[str, dict[str, Any]]:
    """A group as label to entry; a list stands for labels that are statements, named as corpora name their
    classes: without the underscores that pad SCP codes.
    """
    if isinstance(group, list):
        codes = _strings(f"{where}: {key}", "labels", group)
        return {code.strip("_"): {"members": [code]} for code in codes}
    plan = _mapping(where, key, group)
    for label, entry in plan.items():
        place = f"{where}: {key}: {label}"
        refuse_unknown(place, _mapping(place, "the entry", entry), _ENTRY_KEYS)
        if "source" not in entry:
            raise ValueError(f"{place} names no source; add `source: [key, …]` with keys of `sources`")
        if ("members" in entry) == ("prompts" in entry):
            raise ValueError(f"{place} must have either members or prompts; it has both or neither")
    return plan


def _build(
    where: str,
    title: str,
    key: str,
    plan: Mapping[str, Mapping[str, Any]],
    statements: Mapping[str, Mapping[str, Any]],
    sources: Mapping[str, str],
    frames: Sequence[str],
    combine: str,
) -> PromptSet:
    members: dict[str, tuple[str, ...]] = {}
    texts: dict[str, list[list[str]]] = {}
    cited: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    definitions: dict[str, str] = {}
    for label, entry in plan.items():
        place = f"{where}: {key}: {label}"
        parts = [entry]
        members[label] = ()
        if "members" in entry:
            members[label] = tuple(_strings(place, "members", entry["members"]))
            if unknown := [code for code in members[label] if code not in statements]:
                raise ValueError(
                    f"{place} has the members {', '.join(unknown)}, which `statements` does not describe"
                )
            parts = [statements[code] for code in members[label]]
        texts[label] = [compose(frames, _strings(place, "prompts", part.get("prompts"))) for part in parts]
        own = [entry] if "source" in entry else []
        cited[label] = list(
            dict.fromkeys(ref for part in own + parts for ref in _references(place, part, sources))
        )
        only = parts[0] if len(parts) == 1 else {}
        titles[label] = entry.get("name") or only.get("name") or label
        definitions[label] = entry.get("definition") or only.get("definition") or ""
    return PromptSet(title, key, list(plan), titles, members, texts, combine, cited, definitions)


def _mapping(where: str, what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {what} must be a mapping, not {type(value).__name__}")
    if odd := [key for key in value if not isinstance(key, str)]:
        raise ValueError(
            f"{where}: {what} has the key {odd[0]!r}, which YAML does not read as text; quote it"
        )
    return value


def _strings(where: str, what: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(x, str) and x.strip() for x in value):
        raise ValueError(f"{where}: {what} must be a list of at least one text; got {value!r}")
    return value


def _references(where: str, entry: Mapping[str, Any], sources: Mapping[str, str]) -> list[str]:
    keys = _strings(where, "source", entry.get("source"))
    if unknown := [key for key in keys if key not in sources]:
        raise ValueError(f"{where} cites {', '.join(unknown)}; `sources` has {', '.join(sources)}")
    return [sources[key] for key in keys]
