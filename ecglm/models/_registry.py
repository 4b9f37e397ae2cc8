"""The index of systems: what `ecglm ls` shows, what recipes may name, and what the tests sweep over."""

from dataclasses import dataclass, field
from typing import Any

import transformers

from ecglm.processors import ECGFeatureExtractor, ECGProcessor

_PREFIX = "ecglm_"


@dataclass(frozen=True)
class System:
    """One published system.

    Args:
        name: `model_type` without the prefix `ecglm_`.
        config: its configuration class.
        auto: name of one of transformers' Auto classes → our model class.
        feature_extractor: turns an `ECG` into `input_values`.
        processor: feature extractor and tokenizer; None where the system reads no text.
        tiny: overrides of `config` for tests and `--smoke`; they exercise every branch.
        tiny_processor: overrides of the processor's arguments that go with them.
        original_keys: regular expression → replacement, from the authors' checkpoint keys to ours; empty
            where none is published.
    """

    name: str
    config: type[transformers.PreTrainedConfig]
    auto: dict[str, type[transformers.PreTrainedModel]]
    feature_extractor: type
    processor: type | None
    tiny: dict[str, Any]
    tiny_processor: dict[str, Any] = field(default_factory=dict)
    original_keys: dict[str, str | None] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, type[transformers.PreTrainedModel]]:
        """Class name → class: what a recipe's `architecture` may be."""
        return {model.__name__: model for model in self.auto.values()}


SYSTEMS: dict[str, System] = {}


def register(
    config: type[transformers.PreTrainedConfig],
    *,
    tiny: dict[str, Any],
    tiny_processor: dict[str, Any] | None = None,
    feature_extractor: type = ECGFeatureExtractor,
    processor: type | None = ECGProcessor,
    original_keys: dict[str, str | None] | None = None,
    **auto: type[transformers.PreTrainedModel],
) -> None:
    """Make a system known to transformers' Auto classes and to ecglm.

    Example: `register(MERLConfig, tiny=dict(projection_size=16), AutoModel=MERLModel)`.

    Args:
        config: the configuration; its `model_type` is `ecglm_<name>`, so that no later model of transformers
            can collide.
        tiny: see `System`.
        tiny_processor: see `System`.
        feature_extractor: see `System`.
        processor: see `System`.
        original_keys: see `System`.
        auto: name of one of transformers' Auto classes → our model class.
    """
    assert config.model_type.startswith(_PREFIX), config.model_type
    name = config.model_type.removeprefix(_PREFIX)
    transformers.AutoConfig.register(config.model_type, config)
    for auto_class, model in auto.items():
        getattr(transformers, auto_class).register(config, model)
    transformers.AutoFeatureExtractor.register(config, feature_extractor)
    if processor is not None:
        transformers.AutoProcessor.register(config, processor)
    SYSTEMS[name] = System(
        name=name,
        config=config,
        auto=auto,
        feature_extractor=feature_extractor,
        processor=processor,
        tiny=tiny,
        tiny_processor=tiny_processor or {},
        original_keys=original_keys or {},
    )
