"""The systems: importing this package registers each with transformers' Auto classes. One line per system."""

from ecglm.models import _pipelines as _pipelines  # registers the tasks of transformers.pipeline
from ecglm.models import ecg_llm as ecg_llm
from ecglm.models import merl as merl
from ecglm.models import merl_small as merl_small
from ecglm.models._registry import SYSTEMS as SYSTEMS
