"""The one loop: a recipe becomes model, processor, data and collator, and transformers' Trainer runs
`model(**batch).loss`.

A recipe is one YAML file of keyword arguments for constructors that exist:

    system         name in the registry                 architecture   class name
    status         reproduced | approximate | unverified
    init_from      folder of a trained model to start from
    model          → the system's configuration         processor      → feature extractor and tokenizer
    data           → ecglm.datasets.load                augment        → ecglm.collators.Augmentation
    freeze         regular expressions over parameter names
    lora           → peft.LoraConfig                    trainer        → ECGTrainingArguments
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
import transformers
import yaml
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers import (
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_scheduler,
    set_seed,
)

from ecglm import datasets
from ecglm.assets import (
    apply_overrides,
    find_statement,
    read_statement,
    refuse_unknown,
    refuse_wrong_types,
)
from ecglm.collators import COLLATORS, Augmentation, PreparedRecordings
from ecglm.models import SYSTEMS
from ecglm.models._base import load_whole
from ecglm.models._inference import kind_of, load_processor
from ecglm.models._registry import System
from ecglm.processors import ECGProcessor, load_tokenizer
from ecglm.prompts import all_training_texts
from ecglm.text import join_sentences

_SEAL = "whole"
"""An empty file in each checkpoint, written last."""

STATUSES = ("reproduced", "approximate", "unverified")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a system's stage is trained; the fields are the sections of the file."""

    system: str
    architecture: str
    status: str
    init_from: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    freeze: list[str] = field(default_factory=list)
    lora: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass
class ECGTrainingArguments(TrainingArguments):
    """transformers' arguments and one of our own.

    Args:
        ema_decay: the model that is saved is an exponential moving average of the weights over the steps;
            None saves the last.
    """

    ema_decay: float | None = None


@dataclass
class Job:
    """All that a training run needs, built from a recipe."""

    model: transformers.PreTrainedModel
    processor: ECGProcessor
    dataset: PreparedRecordings
    collator: Any


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe strictly.

    Args:
        name: a shipped name such as "merl/pretrain", or a YAML file.
        overrides: `section.key=value` arguments.

    Raises:
        FileNotFoundError: if there is no such recipe.
        ValueError: if a section or key is unknown, or a needed one is missing; the message names it.
    """
    path = find_statement("training", name)
    keys = [entry.name for entry in fields(Recipe)]
    content = apply_overrides(read_statement(path, keys), overrides)
    refuse_unknown(f"recipe {name}", content, keys)
    for key in ("system", "architecture", "status"):
        if key not in content:
            raise ValueError(f"recipe {name} lacks {key!r}")
    content = {key: value for key, value in content.items() if value is not None}
    refuse_wrong_types(f"recipe {name}", content, get_type_hints(Recipe))
    recipe = Recipe(**content)
    if recipe.status not in STATUSES:
        raise ValueError(f"status of recipe {name} must be {', '.join(STATUSES)}; got {recipe.status!r}")
    if recipe.system not in SYSTEMS:
        raise ValueError(f"recipe {name}: no system {recipe.system!r}; there are {', '.join(SYSTEMS)}")
    system = SYSTEMS[recipe.system]
    if recipe.architecture not in system.models:
        raise ValueError(
            f"recipe {name}: {system.name} has no architecture {recipe.architecture!r}; "
            f"it has {', '.join(system.models)}"
        )
    _check_section("model", recipe.model, _field_hints(system.config))
    try:
        config = system.config(**recipe.model)
    except StrictDataclassError as error:  # of a configuration within ours
        raise ValueError(f"recipe section 'model': {' '.join(str(error).split())}") from error
    for part in system.config.sub_configs:
        if isinstance(recipe.model.get(part), dict):
            known = _field_hints(type(getattr(config, part))) | {"model_type": str}
            _check_section(f"model.{part}", recipe.model[part], known)
    _check_section("processor", recipe.processor, _processor_hints(system))
    _check_section("augment", recipe.augment, _field_hints(Augmentation))
    _check_section("trainer", recipe.trainer, _field_hints(ECGTrainingArguments))
    if "name" not in recipe.data:
        raise ValueError(f"recipe {name}: section 'data' lacks 'name', one of {', '.join(datasets.CORPORA)}")
    return recipe


def _check_section(section: str, given: dict[str, Any], hints: dict[str, Any]) -> None:
    refuse_unknown(f"recipe section {section!r}", given, hints)
    refuse_wrong_types(f"recipe section {section!r}", given, hints)


def _field_hints(cls: Any) -> dict[str, Any]:
    """Name → type of a dataclass's fields; transformers' configurations name some of theirs twice."""
    hints = get_type_hints(cls, localns={"torch": torch})
    known = {entry.name: hints[entry.name] for entry in fields(cls)}
    return known | dict.fromkeys(getattr(cls, "attribute_map", {}), Any)


def _processor_hints(system: System) -> dict[str, Any]:
    extractor = system.feature_extractor
    found = get_type_hints(extractor.__init__) | get_type_hints(ECGProcessor.__init__)
    found |= {"tokenizer": str | dict}  # what `load_tokenizer` makes one of
    return {name: found[name] for name in (*extractor.argument_names(), *ECGProcessor.argument_names())}


def smoke(recipe: Recipe) -> Recipe:
    """The same recipe at toy size: the tiny model, a few simulated ECGs, two steps; no data, no network."""
    system = SYSTEMS[recipe.system]
    data = {"name": "simulated", "num_records": 8}
    if recipe.data.get("text") in ("report", "statements"):
        data["text"] = recipe.data["text"]
    trainer = recipe.trainer | {
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "fp16": False,
    }
    return Recipe(
        system=recipe.system,
        architecture=recipe.architecture,
        status=recipe.status,
        model=recipe.model | system.tiny,
        processor=recipe.processor
        | system.tiny_processor
        | {"tokenizer": {"train": "sentencepiece", "vocab_size": 512}},
        data=data,
        augment=recipe.augment,
        freeze=recipe.freeze,
        lora=recipe.lora,
        trainer=trainer,
    )


def build(recipe: Recipe) -> Job:
    """Make model, processor, data and collator; nothing is written, and bad input fails here.

    Raises:
        ValueError: if an argument is not among those allowed, or the data cannot feed the model.
        FileNotFoundError: if a folder or file that the recipe names is not there.
    """
    system = SYSTEMS[recipe.system]
    model_class = system.models[recipe.architecture]
    rows = datasets.load(**recipe.data)
    if recipe.init_from is None:
        processor = make_processor(recipe, lambda: _texts(rows, recipe.augment))
        model = model_class.build(system.config(**recipe.model))
    else:
        processor, model = _load_trained(recipe, model_class)
    model.adopt_processor(processor)
    if not model.can_generate() and hasattr(processor, "tokenizer"):
        _adopt_special_tokens(model.config.get_text_config(), processor.tokenizer)
    for pattern in recipe.freeze:
        try:
            matched = [weight for name, weight in model.named_parameters() if re.search(pattern, name)]
        except re.error as error:
            raise ValueError(f"freeze: {pattern!r} is no regular expression: {error}") from error
        if not matched:
            raise ValueError(f"freeze: no parameter of {recipe.architecture} matches {pattern!r}")
        for weight in matched:
            weight.requires_grad_(False)
    if recipe.lora:
        from peft import LoraConfig, get_peft_model

        _check_section("lora", recipe.lora, _field_hints(LoraConfig))
        model = get_peft_model(model, LoraConfig(**recipe.lora))
    collator = COLLATORS[model_class.batch_format](processor, Augmentation(**recipe.augment))
    dataset = PreparedRecordings(rows, processor)
    dataset[0]  # a recording that the processor refuses is refused here
    return Job(model, processor, dataset, collator)


def _adopt_special_tokens(config: Any, tokenizer: Any) -> None:
    """What Trainer does too, but with a warning, which says nothing where texts are only embedded."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(tokenizer, name) is not None:
            setattr(config, name, getattr(tokenizer, name))


def make_processor(recipe: Recipe, texts: Callable[[], Iterable[str]]) -> Any:
    """The processor that a recipe describes; a feature extractor alone, where the system reads no text.

    Args:
        recipe: its section `processor`.
        texts: gives those that a tokenizer is trained on, where one is.

    Raises:
        ValueError: if there is no tokenizer, or an argument is not among those allowed.
    """
    system = SYSTEMS[recipe.system]
    arguments = _extractor_arguments(recipe)
    extractor = system.feature_extractor(**arguments)
    if system.processor is None:
        return extractor
    others = {key: value for key, value in recipe.processor.items() if key not in arguments}
    if "tokenizer" not in others:
        raise ValueError("recipe section 'processor' lacks 'tokenizer'")
    others["tokenizer"] = load_tokenizer(others["tokenizer"], texts)
    return system.processor(extractor, **others)


def run(
    name: str,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    tiny: bool = False,
) -> Path:
    """Train, and leave a folder that `from_pretrained` loads: weights, configuration, processor, recipe.

    Args:
        name: of the recipe; see `load_recipe`.
        overrides: see `load_recipe`.
        out: the folder to write; by default `runs/<name>`. It appears whole, when training has ended;
            checkpoints lie beside it in `<out>.checkpoints` until then.
        resume: go on from the last checkpoint.
        tiny: the smoke version of the recipe; see `smoke`.

    Returns:
        `out`.

    Raises:
        ValueError: for bad input, before anything is written.
        FileNotFoundError: likewise.
    """
    recipe = load_recipe(name, overrides)
    if tiny:
        recipe = smoke(recipe)
    out = Path(out) if out else default_out(name)
    checkpoints = out.with_name(out.name + ".checkpoints")
    check_out(out)
    last = last_checkpoint(checkpoints)
    if last and not resume:
        raise ValueError(f"{checkpoints} is left from an unfinished run; use --resume, or remove it")
    if resume and not last:
        raise ValueError(f"nothing to resume: there is no whole checkpoint in {checkpoints}")
    defaults = {"report_to": "none", "save_strategy": "no", "logging_steps": 20}
    defaults["dataloader_pin_memory"] = torch.cuda.is_available()
    # Rows must reach the collator whole: Trainer would drop what `forward` does not name.
    forced = {"output_dir": str(checkpoints), "remove_unused_columns": False}
    arguments = ECGTrainingArguments(**(defaults | recipe.trainer | forced))
    _check_schedule(arguments)
    set_seed(arguments.seed)
    job = build(recipe)
    at_once = arguments.train_batch_size * arguments.world_size
    if arguments.dataloader_drop_last and len(job.dataset) < at_once:
        raise ValueError(
            f"{len(job.dataset)} recordings fill no batch of {at_once}; lower "
            "trainer.per_device_train_batch_size, or give more recordings"
        )
    averaging = [EMACallback(arguments.ema_decay)] if arguments.ema_decay else []
    _log.info(
        "%s: %s recordings%s, %s parameters",
        name,
        f"{len(job.dataset):,}",
        " (repeats of rare codes counted)" if recipe.data.get("repeat_rare") else "",
        f"{sum(weight.numel() for weight in job.model.parameters()):,}",
    )
    try:
        trainer = ECGTrainer(
            model=job.model,
            args=arguments,
            train_dataset=job.dataset,
            data_collator=job.collator,
            processing_class=job.processor,
            callbacks=[*averaging, SealCallback()],
        )
        if not arguments.disable_tqdm:
            trainer.remove_callback(ProgressCallback)
            trainer.add_callback(ProgressOnStderr)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except BaseException:  # broken off by hand as well
        if not last_checkpoint(checkpoints):
            shutil.rmtree(checkpoints, ignore_errors=True)
        raise
    if trainer.is_world_process_zero():
        save(trainer, job, recipe, out)
        shutil.rmtree(checkpoints, ignore_errors=True)
    return out


def _check_schedule(arguments: ECGTrainingArguments) -> None:
    """Refuse no steps, and what the learning rate's schedule does not take, before anything is built."""
    if arguments.max_steps <= 0 and arguments.num_train_epochs <= 0:
        raise ValueError(
            "recipe section 'trainer': nothing is trained in "
            f"{arguments.num_train_epochs} epochs; num_train_epochs must be above 0"
        )
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        if getattr(arguments, name) < 1:
            raise ValueError(
                f"recipe section 'trainer': {name} must be at least 1, got {getattr(arguments, name)}"
            )
    nothing = torch.optim.SGD([torch.zeros(1)])
    try:
        get_scheduler(arguments.lr_scheduler_type, nothing, 0, 1, arguments.lr_scheduler_kwargs)
    except TypeError as error:
        raise ValueError(f"recipe section 'trainer': lr_scheduler_kwargs: {error}") from error


def check_out(out: Path) -> None:
    """Refuse a model folder that is there already or cannot be made, before the work is done."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; give another --out, or remove it first")
    place = next(folder for folder in out.absolute().parents if folder.exists())
    if not place.is_dir():
        raise ValueError(f"{out} cannot be made: {place} is a file; give another --out")
    if not os.access(place, os.W_OK):
        raise ValueError(f"{out} cannot be made: {place} may not be written to; give another --out")


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole one; what a kill broke off while it was saved has no seal."""
    sealed = (seal.parent for seal in folder.glob(f"checkpoint-*/{_SEAL}"))
    return max(sealed, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)


def default_out(name: str) -> Path:
    """Where a recipe's model goes unless told otherwise: "merl/pretrain" → `runs/merl-pretrain`."""
    return Path("runs") / re.sub(r"\W+", "-", Path(name).with_suffix("").as_posix()).strip("-")


def save(trainer: Trainer, job: Job, recipe: Recipe, out: Path) -> None:
    """Write the folder aside and move it into place in one step: a half-written model is never found."""
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    model = trainer.accelerator.unwrap_model(job.model)
    if recipe.lora:
        model.save_pretrained(aside / "adapter")
        model = model.merge_and_unload()
    model.save_pretrained(aside)
    job.processor.save_pretrained(aside)
    stated = {key: value for key, value in vars(recipe).items() if value not in (None, {}, [])}
    statement = yaml.safe_dump(stated, sort_keys=False, allow_unicode=True)
    (aside / "recipe.yaml").write_text(statement, encoding="utf-8")
    put_in_place(aside, out)


def put_in_place(aside: Path, out: Path) -> None:
    """Move a whole model folder to where it belongs, which is empty or not there.

    safetensors lets nobody but their writer read the weights: they get the mode of the configuration.
    """
    for weights in aside.rglob("*.safetensors"):
        shutil.copymode(aside / "config.json", weights)
    if out.exists():
        out.rmdir()
    os.replace(aside, out)


class ECGTrainer(Trainer):
    """transformers' Trainer, which also logs the named parts of a loss."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._parts: dict[str, list[torch.Tensor]] = {}

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Trainer's own, which also keeps the parts that the model returns."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        for name, value in (getattr(outputs, "loss_parts", None) or {}).items():
            self._parts.setdefault(name, []).append(value.detach())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean of each part since the last log."""
        if "loss" in logs:
            logs |= {name: torch.stack(values).mean().item() for name, values in self._parts.items()}
            self._parts.clear()
        super().log(logs, *args, **kwargs)


class ProgressOnStderr(ProgressCallback):
    """transformers' progress bar, with the logged figures on stderr too: stdout is for results."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """One line for each log of a step; the summary of the run is not repeated."""
        if state.is_world_process_zero and self.training_bar is not None and "loss" in (logs or {}):
            figures = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
            self.training_bar.write(f"step {state.global_step}  {figures}", file=sys.stderr)


class SealCallback(TrainerCallback):
    """Seals each checkpoint when all that belongs to it, other callbacks' files too, is written."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the seal in."""
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _SEAL).touch()


class EMACallback(TrainerCallback):
    """Keeps a moving average of weights and buffers, and puts it into the model when training ends.

    The decay rises from 0.1 to its value over the first steps, as min(decay, (1 + step) / (10 + step)), so
    that the random start does not weigh. Source: TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: dict[str, torch.Tensor] = {}

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the average into the checkpoint: a resumed run goes on with it."""
        if state.is_world_process_zero:
            average = {name: value.contiguous() for name, value in self._average.items()}
            save_file(average, self._file(args, state))

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Take it from there."""
        if state.global_step:
            file = self._file(args, state)
            if not file.is_file():
                raise ValueError(f"{file} is not there: the run began without ema_decay; resume without it")
            device = next(model.parameters()).device
            self._average = {name: value.to(device) for name, value in load_file(file).items()}

    @staticmethod
    def _file(args: Any, state: Any) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}" / "ema.safetensors"

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Move the average towards the weights."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            if name not in self._average:
                self._average[name] = value.detach().clone()
            self._average[name].lerp_(value.detach(), 1 - decay)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Take the average for the model."""
        model.load_state_dict(self._average, strict=False)


def _load_trained(recipe: Recipe, model_class: type) -> tuple[ECGProcessor, transformers.PreTrainedModel]:
    """The model and the processor to go on from, with those settings of the recipe that leave both valid."""
    folder = Path(str(recipe.init_from))
    system, found = kind_of(folder)
    if found is not model_class:
        raise ValueError(
            f"init_from: {folder} holds {found.__name__}, and the recipe trains {model_class.__name__}"
        )
    processor = load_processor(folder, system)
    for name, value in _extractor_arguments(recipe).items():
        _refuse_other(folder, "processor", name, getattr(processor.feature_extractor, name), value)
    for name in ("max_text_length", "instruction"):
        setattr(processor, name, recipe.processor.get(name, getattr(processor, name)))
    config = transformers.AutoConfig.from_pretrained(folder)
    _set(config, recipe.model, folder)
    return processor, load_whole(model_class, folder, config=config)


def _set(config: Any, given: dict[str, Any], folder: Path) -> None:
    """Numbers and switches may differ from those trained with (sizes then fit no weight); names may not."""
    for name, value in given.items():
        if isinstance(value, dict):
            _set(getattr(config, name), value, folder)
        elif isinstance(value, str):
            _refuse_other(folder, "model", name, getattr(config, name), value)
        elif value is not None:
            setattr(config, name, value)


def _refuse_other(folder: Path, section: str, name: str, trained: Any, given: Any) -> None:
    if trained != given:
        raise ValueError(
            f"init_from: {folder} was trained with {name}: {trained}; the recipe's section {section!r} says "
            f"{given}; make it the same"
        )


def _extractor_arguments(recipe: Recipe) -> dict[str, Any]:
    names = SYSTEMS[recipe.system].feature_extractor.argument_names()
    return {key: value for key, value in recipe.processor.items() if key in names}


def _texts(rows: Any, augment: dict[str, Any]) -> list[str]:
    """Texts to train a tokenizer on: the rows', alone and joined, and all wordings that may replace them."""
    texts = [text for texts in rows["texts"] for text in (*texts, join_sentences(texts))]
    if augment.get("texts_per_code"):
        texts += [text for wordings in all_training_texts().values() for text in wordings]
    return texts
