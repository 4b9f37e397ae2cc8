"""Shared fixtures: where real data and parity numbers lie, and a model's worth of offline settings."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _folder(variable: str, inside: str) -> Path:
    """The folder that an environment variable names; without it a reasoned skip, or a failure on demand."""
    value = os.environ.get(variable)
    if value and (Path(value) / inside).exists():
        return Path(value)
    reason = f"set {variable} to the folder that holds {inside!r} to run this test"
    if os.environ.get("ECGLM_REQUIRE_DATA") == "1":
        pytest.fail(f"{reason} (ECGLM_REQUIRE_DATA=1 forbids the skip)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def ptbxl_root() -> Path:
    """A PTB-XL folder in the publisher's layout."""
    return _folder("ECGLM_DATA", "ptb-xl") / "ptb-xl"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of all real recordings."""
    return _folder("ECGLM_DATA", "challenge-2021")


@pytest.fixture(scope="session")
def io_samples() -> Path:
    """Real files of vendors' and standard formats."""
    return _folder("ECGLM_DATA", "io-samples") / "io-samples"


@pytest.fixture(scope="session")
def challenge_2011_root() -> Path:
    """Set-a of PhysioNet/CinC 2011, graded for signal quality."""
    return _folder("ECGLM_DATA", "challenge-2011/set-a") / "challenge-2011" / "set-a"


@pytest.fixture(scope="session")
def featuredb_fixtures() -> Path:
    """Average beats and axes computed by FeatureDB."""
    return _folder("ECGLM_FIXTURES", "featuredb") / "featuredb"


@pytest.fixture(scope="session")
def merl_fixtures() -> Path:
    """Numbers computed by MERL's authors' code on random weights."""
    return _folder("ECGLM_FIXTURES", "merl") / "merl"


@pytest.fixture(scope="session")
def ecg_image_fixtures() -> Path:
    """Where ecg-image-kit puts the samples of a made-up recording."""
    return _folder("ECGLM_FIXTURES", "ecg_image_geometry") / "ecg_image_geometry"


@pytest.fixture(scope="session")
def llava_fixtures() -> Path:
    """Views of a page, and sizes of grids, computed by PULSE's code."""
    return _folder("ECGLM_FIXTURES", "llava_anyres") / "llava_anyres"


@pytest.fixture(scope="session")
def gem_fixtures() -> Path:
    """Numbers computed by GEM's authors' code on random weights."""
    return _folder("ECGLM_FIXTURES", "gem") / "gem"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Makes folders as training leaves them: `model_folder("merl")` holds a tiny, untrained model."""
    import torch

    from ecglm.models import SYSTEMS
    from ecglm.processors import train_tokenizer
    from ecglm.prompts import load_prompts

    known: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in known:
            system = SYSTEMS[name]
            prompts = load_prompts("ckepe/ptbxl", "sub")
            texts = [text for label in prompts.labels for text in prompts.texts(label)]
            extractor = system.feature_extractor(**system.tiny_processor)
            processor = system.processor(extractor, train_tokenizer(texts, 400))
            torch.manual_seed(0)
            model = next(iter(system.models.values())).build(system.config(**system.tiny)).eval()
            model.adopt_processor(processor)
            known[name] = tmp_path_factory.mktemp(name)
            model.save_pretrained(known[name])
            processor.save_pretrained(known[name])
        return known[name]

    return make


@pytest.fixture(scope="session")
def two_towers(model_folder) -> Path:
    """A tiny model folder that scores texts."""
    return model_folder("merl")
