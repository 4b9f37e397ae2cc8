"""Measurements: beats, waves, intervals, axes, amplitudes, ST and rhythm of one ECG.

`ecglm.measure(ecg)` gives `Measurements`; nothing here needs torch.
"""

import sys
from types import ModuleType
from typing import Any

from ecglm.measure.measurements import LeadMeasurements, Measurements, RhythmStatistics, Wave
from ecglm.measure.measuring import measure
from ecglm.measure.quality import Quality, assess_quality

__all__ = [
    "LeadMeasurements",
    "Measurements",
    "Quality",
    "RhythmStatistics",
    "Wave",
    "assess_quality",
    "measure",
]


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return measure(*args, **kwargs)


# `ecglm.measure(…)` is promised to users, and this package bears the same name: so the package itself can be
# called
sys.modules[__name__].__class__ = _CallableModule
