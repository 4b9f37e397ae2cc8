"""The systems: importing this package registers each with transformers' Auto classes. One line per system."""

import transformers

from ecglm.models import _pipelines as _pipelines  # registers the tasks of transformers.pipeline
from ecglm.models import ecg_llm as ecg_llm
from ecglm.models import merl as merl
from ecglm.models import merl_small as merl_small
from ecglm.models._registry import SYSTEMS as SYSTEMS
from ecglm.processors import ECGImageProcessor

# It serves encoders of any kind, so it is found by its name in preprocessor_config.json, not by a system's
# configuration. transformers asks for a configuration all the same: this is the one that no model has.
transformers.AutoImageProcessor.register(
    transformers.PreTrainedConfig, image_processor_classes={"pil": ECGImageProcessor}, exist_ok=True
)
