"""Simulated 12-lead ECGs of named conditions with their exact truth and a report: the embedded corpus.

`ecglm.simulate("lbbb", seed=1)` makes one ECG, `CONDITIONS` lists what can be asked for,
`simulate_corpus` makes many.
"""

import sys
from types import ModuleType
from typing import Any

from ecglm.simulate.conditions import CONDITIONS, Condition
from ecglm.simulate.corpus import simulate_corpus
from ecglm.simulate.simulator import simulate

__all__ = ["CONDITIONS", "Condition", "simulate", "simulate_corpus"]


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return simulate(*args, **kwargs)


# `ecglm.simulate(…)` is promised to users, and this package bears the same name: so the package itself can
# be called
sys.modules[__name__].__class__ = _CallableModule
