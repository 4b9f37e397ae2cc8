"""Where recipes, benchmarks and prompts live: `ecglm/_assets` in a wheel, the repository root in a checkout."""

from pathlib import Path

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
