"""What the commands share: the app, their common options, how they speak."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

NOTICE = "Research use only; not a medical device."

app = typer.Typer(
    name="ecglm",
    help=f"Electrocardiograms and language: pretrain, classify with text prompts, draft reports. {NOTICE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Model = Annotated[Path, typer.Option("--model", "-m", help="Folder that `ecglm train` wrote.")]
Records = Annotated[list[str], typer.Argument(metavar="RECORD…", help="ECG files, e.g. a WFDB record.")]
SamplingRate = Annotated[float | None, typer.Option(help="Hz, where the file does not say or is wrong.")]
Unit = Annotated[str | None, typer.Option(help="mV, uV, nV, V, '4.88 uV' or '200(1024)/mV', likewise.")]
Leads = Annotated[str | None, typer.Option(help="Names of the channels in order, e.g. 'I II V1', likewise.")]
AllowTruncated = Annotated[bool, typer.Option(help="Keep what is there of a file that ends early.")]
Index = Annotated[int | None, typer.Option(help="Which one of a file that holds many, from 0.")]
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value]…", help="Changes, e.g. data.root=/data/ptb-xl.")
]


def given(**hints: Any) -> dict[str, Any]:
    """Those hints that were given, as `ecglm.read` takes them."""
    return {name: value for name, value in hints.items() if value is not None and value is not False}


def check_folder(out: Path | None) -> None:
    """Refuse a file to write whose folder is not there, before the work is done."""
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} to write {out.name} into; make it first")


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr that counts and names what is worked on; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda name: progress.update(task, advance=1, description=name)


def log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("ecglm").setLevel(logging.INFO)


def warn(result: dict[str, Any]) -> None:
    for warning in result["warnings"]:
        typer.echo(f"{result['record']}: {warning}", err=True)


def print_documents(documents: list[dict[str, Any]], alone: bool) -> None:
    """JSON of the one record asked for, or a list; what is said of a patient bears the notice."""
    noted = [document | {"notice": document.get("notice", NOTICE)} for document in documents]
    print_json(noted[0] if alone else noted)


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
