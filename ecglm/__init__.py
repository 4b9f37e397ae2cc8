"""ecglm: electrocardiograms and language.

`import ecglm` is light: the names below are loaded when they are first used. `import ecglm.models` makes the
systems known to transformers' Auto classes and pipelines.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "ECG": "ecglm.ecg",
    "ECGFileError": "ecglm.ecg",
    "LEADS_12": "ecglm.ecg",
    "read": "ecglm.io",
    "write": "ecglm.io",
    "render": "ecglm.image",
}
# `ecglm.simulate(…)` and the package of that name are one: a callable module
_CALLABLE_PACKAGES = ("measure", "simulate")

__all__ = [*_PLACES, *_CALLABLE_PACKAGES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _CALLABLE_PACKAGES:
        return import_module(f"ecglm.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'ecglm' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
