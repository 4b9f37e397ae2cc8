"""From the authors' checkpoints to model folders of ecglm: weights, configuration and processor."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ecglm.assets import apply_overrides, list_statements
from ecglm.models import SYSTEMS
from ecglm.train import check_out, load_recipe, make_processor, put_in_place

T = TypeVar("T")


@dataclass(frozen=True)
class Conversion:
    """What became of a checkpoint; as text it is what `ecglm convert` prints.

    Args:
        folder: the model folder.
        architecture: the class in it.
        converted: number of tensors taken over.
        unused: the authors' keys that take part in nothing and were left out, as the system's table says.
        elsewhere: our keys that the file lacks, with weights that the model loaded from where its
            configuration says.
    """

    folder: Path
    architecture: str
    converted: int
    unused: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.architecture}: {self.converted} tensors → {self.folder}"]
        if self.unused:
            lines.append(f"left out, since the model does not use them: {', '.join(self.unused)}")
        if self.elsewhere:
            parts = sorted({name.split(".")[0] for name in self.elsewhere})
            lines.append(
                f"not in the file, loaded separately: {', '.join(parts)} ({len(self.elsewhere)} tensors)"
            )
        lines.append("missing: none. unexpected: none.")
        return "\n".join(lines)


def rename(entries: Mapping[str, T], table: Mapping[str, str | None]) -> tuple[dict[str, T], list[str]]:
    """Apply a system's key table.

    Args:
        entries: by the authors' keys.
        table: regular expression → replacement, applied in order; None leaves the key out.

    Returns:
        The entries by our keys, and the authors' keys that were left out.
    """
    renamed, unused = {}, []
    for key, entry in entries.items():
        ours: str | None = key
        for pattern, replacement in table.items():
            if replacement is None and re.search(pattern, ours):
                unused.append(key)
                ours = None
                break
            if replacement is not None:
                ours = re.sub(pattern, replacement, ours)
        if ours is not None:
            renamed[ours] = entry
    return renamed, unused


def read_checkpoint(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors` or PyTorch file, by their keys; code in a pickle is never run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, holds more than tensors, or no tensors by name.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint {str(file)!r}; give the file that the authors publish")
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"{file.name} is no PyTorch file or holds code beside tensors, which is never run; save its "
            "state_dict alone, in a place where you trust it, and convert that"
        ) from error
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(f"{file.name} is truncated or no checkpoint; fetch it again ({error})") from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not (isinstance(content, dict) and all(isinstance(value, torch.Tensor) for value in content.values())):
        raise ValueError(f"{file.name} holds no tensors by name; give a file with a state_dict")
    if all(name.startswith("module.") for name in content):  # saved from inside DistributedDataParallel
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return content


def convert(
    system: str,
    file: str | Path,
    out: str | Path,
    overrides: Sequence[str] = (),
    recipe: str | None = None,
) -> Conversion:
    """Make a model folder from the authors' checkpoint, in the class that the system's recipe builds.

    Sizes are read from the checkpoint where it shows them. Nothing is drawn at random: a parameter that is
    neither in the file nor loaded from where the configuration says is an error, and so is a tensor without
    a place.

    Args:
        system: a name of `SYSTEMS`.
        file: `.safetensors`, or what `torch.save` wrote.
        out: folder to make; it must not exist, or be empty.
        overrides: `model.NAME=VALUE` outranks what the checkpoint shows, `processor.NAME=VALUE` the recipe.
        recipe: says class, processor and what the checkpoint does not show; by default the system's first.

    Raises:
        FileNotFoundError: if the file or the recipe is missing.
        ValueError: if the system is unknown, the file cannot be converted, or keys or shapes do not match;
            the message names every key.
    """
    file, out = Path(file), Path(out)
    if system not in SYSTEMS:
        raise ValueError(f"no system {system!r}; there are {', '.join(sorted(SYSTEMS))}")
    entry = SYSTEMS[system]
    if not entry.original_keys:
        raise ValueError(f"the authors of {system} publish no weights, so there is nothing to convert")
    check_out(out)

    if recipe is None:
        recipe = next(name for name in list_statements("training") if load_recipe(name).system == system)
    stated = load_recipe(recipe, overrides)
    original = read_checkpoint(file)
    architecture = entry.models[stated.architecture]
    try:
        sizes = architecture.original_config({name: tuple(value.shape) for name, value in original.items()})
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error
    asked = apply_overrides({}, overrides).get("model", {})
    model = architecture.build(entry.config(**(stated.model | sizes | asked)))
    weights, unused = rename(original, entry.original_keys)
    elsewhere = _check(file, model, weights)
    model.load_state_dict(weights, strict=False)
    processor = make_processor(stated, tuple)  # a published tokenizer: there are no texts

    aside = out.with_name(f"{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    processor.save_pretrained(aside)
    put_in_place(aside, out)
    return Conversion(out, architecture.__name__, len(weights), unused, elsewhere)


def _check(file: Path, model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Our keys that are loaded from elsewhere than the file; every other difference is an error."""
    wanted = model.state_dict()
    absent = [name for name in wanted if name not in weights]
    elsewhere = [name for name in absent if name.startswith(tuple(model.pretrained_parts) or ("\0",))]
    missing = [name for name in absent if name not in set(elsewhere)]
    unexpected = [name for name in weights if name not in wanted]
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in weights and weights[name].shape != wanted[name].shape
    ]
    complaints = [
        f"{what}: {', '.join(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        if names
    ]
    if complaints:
        raise ValueError(
            f"{file.name} does not fit {type(model).__name__}: {'; '.join(complaints)}. Give sizes that the "
            "checkpoint does not show as model.NAME=VALUE, or take the file of the whole model"
        )
    return elsewhere
