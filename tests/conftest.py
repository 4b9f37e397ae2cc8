"""Shared fixtures: where real data and parity numbers lie, and a model's worth of offline settings."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
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
def merl_fixtures() -> Path:
    """Numbers computed by MERL's authors' code on random weights."""
    return _folder("ECGLM_FIXTURES", "merl") / "merl"
