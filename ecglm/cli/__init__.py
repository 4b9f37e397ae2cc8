"""The command line. Imports stand inside the commands, so that `ecglm --help` answers at once.

`--json` prints one JSON document on stdout; progress and log lines go to stderr. Exit 0; 2 with one line
where the input was wrong; 1 where ecglm itself failed.
"""

from __future__ import annotations

import os

import typer

from ecglm.cli import assets, corpora, models, recordings  # noqa: F401, each adds its commands
from ecglm.cli._common import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; bad input ends in one line and exit 2."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' "Loading weights"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait by spinning make a training step seven times slower where other jobs want the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except (ValueError, OSError) as error:  # OSError: a disk that is read-only or full, among others
        if os.environ.get("ECGLM_TRACEBACK"):
            raise
        typer.echo(f"ecglm: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from None
