"""The command line. Imports stand inside the commands, so that `ecglm --help` answers at once.

`--json` prints one JSON document on stdout; progress and log lines go to stderr. Exit 0; 2 with one line
where the input was wrong; 1 where ecglm itself failed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
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
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value]…", help="Changes, e.g. data.root=/data/ptb-xl.")
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the models, the scores and the page.")] = Path("demo"),
) -> None:
    """The main job on simulated ECGs: pretrain, classify with prompts, draft reports, one HTML page."""
    from ecglm.demo import run_demo

    run_demo(out)


@app.command(name="ls")
def list_shipped(
    what: Annotated[str, typer.Argument(help="systems, recipes, benchmarks, prompts or all")] = "all",
    as_json: Json = False,
) -> None:
    """List what is shipped: systems, recipes, benchmarks, prompt sets."""
    from ecglm.assets import asset, list_statements, read_yaml

    kinds = ("systems", "recipes", "benchmarks", "prompts")
    if what not in (*kinds, "all"):
        raise ValueError(f"there is no list of {what!r}; there are {', '.join(kinds)}")
    recipes = {}
    for name in list_statements("training"):
        stated = read_yaml(asset(f"training/{name}.yaml").read_text(encoding="utf-8"))
        recipes[name] = {"system": stated["system"], "status": stated["status"]}
    listing: dict[str, Any] = {
        "systems": {},
        "recipes": recipes,
        "benchmarks": list_statements("eval"),
        "prompts": list_statements("prompts"),
    }
    for name, recipe in recipes.items():
        system = listing["systems"].setdefault(recipe["system"], {"status": recipe["status"], "recipes": []})
        system["recipes"].append(name)
    listing = listing if what == "all" else {what: listing[what]}
    if as_json:
        _print_json(listing)
        return
    for kind, entries in listing.items():
        typer.echo(typer.style(kind, bold=True))
        for name in entries:
            entry = entries[name] if isinstance(entries, dict) else {}
            notes = [entry.get("status", ""), ", ".join(entry.get("recipes", []))]
            typer.echo("  " + "  ".join([f"{name:32}", *filter(None, notes)]).rstrip())


@app.command(name="cp")
def copy_statement(
    name: Annotated[str, typer.Argument(help="Shipped recipe or benchmark, e.g. merl/pretrain.")],
    file: Annotated[Path | None, typer.Argument(help="Where to; by default its own name, here.")] = None,
) -> None:
    """Copy a shipped recipe or benchmark to a file of your own, to edit it."""
    from ecglm.assets import find_statement, list_statements

    benchmark = name in list_statements("eval")
    source = find_statement("eval" if benchmark else "training", name)
    target = file or Path(source.name)
    if target.exists():
        raise ValueError(f"{target} exists already; name another file")
    target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    typer.echo(f"{target}\nUse it with: ecglm {'eval' if benchmark else 'train'} {target}")


@app.command()
def prepare(
    corpus: Annotated[str, typer.Argument(help="ptbxl, mimic_iv_ecg or simulated")],
    root: Annotated[str, typer.Argument(help="The corpus's folder; '-' for simulated.")],
    out: Annotated[Path, typer.Argument(help="Folder for the Parquet shards; must not exist.")],
    settings: Settings = None,
) -> None:
    """Pack a corpus into Parquet shards that train faster: use data.name=prepared data.root=OUT."""
    from ecglm import datasets
    from ecglm.assets import apply_overrides

    options = apply_overrides({}, settings or [])
    typer.echo(datasets.prepare(corpus, None if root == "-" else root, out, **options))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe (`ecglm ls recipes`) or a YAML file.")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Model folder to write; by default runs/RECIPE.")] = None,
    smoke: Annotated[bool, typer.Option(help="Two steps at toy size, without data or network.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a system by its recipe."""
    from ecglm.train import run

    _log_to_stderr()
    folder = run(recipe, settings or [], out, resume=resume, tiny=smoke)
    typer.echo(folder)


@app.command(name="eval")
def evaluate_model(
    benchmark: Annotated[str, typer.Argument(help="Name (`ecglm ls benchmarks`) or YAML file.")],
    model: Model,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Measure a model, e.g. classification/ptbxl_super mode=zero_shot data.root=/data/ptb-xl."""
    from ecglm.evaluation import evaluate

    _log_to_stderr()
    result = evaluate(benchmark, model, settings or []).to_dict()
    if as_json:
        _print_json(result)
    else:
        _print_result(result)


@app.command()
def classify(
    records: Records,
    model: Model,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="A text; may be repeated.")
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="A prompt set (`ecglm ls prompts`).")] = None,
    group: Annotated[str | None, typer.Option(help="Labels of the set: super, sub, form or rhythm.")] = None,
    as_json: Json = False,
) -> None:
    """Score ECGs against texts."""
    from ecglm.pipelines import classify

    results = classify(records, model, prompts=prompt, prompt_set=prompts, group=group)
    for result in results:
        _warn(result)
    if as_json:
        _print_json(results[0] if len(results) == 1 else results)
        return
    for result in results:
        typer.echo(f"{typer.style(result['record'], bold=True)}  ({result['kind']})")
        for score in result["scores"]:
            label = score["label"]
            typer.echo(f"  {score['score']:6.3f}  {label}")
    typer.echo(NOTICE, err=True)


@app.command()
def report(
    records: Records,
    model: Model,
    as_format: Annotated[str, typer.Option("--format", help="text, json or html")] = "text",
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write instead of stdout.")] = None,
) -> None:
    """Draft reports of ECGs."""
    from ecglm.io import read
    from ecglm.pipelines import load_model
    from ecglm.report import draft

    as_format = "json" if as_json else as_format
    if as_format not in ("text", "json", "html"):
        raise ValueError(f"--format must be text, json or html, got {as_format!r}")
    if as_format == "html" and len(records) > 1:
        raise ValueError("--format html makes one page of one record; call it once for each")
    opened, processor = load_model(model, "generate")
    drafts = [draft(read(record), opened, processor) for record in records]
    for one in drafts:
        _warn({"record": one.record, "warnings": one.warnings})
    if as_format == "json":
        documents = [one.to_dict() for one in drafts]
        text = json.dumps(documents[0] if len(documents) == 1 else documents, indent=2, ensure_ascii=False)
    elif as_format == "html":
        text = drafts[0].to_html()
    else:
        text = "\n\n".join(one.to_text() for one in drafts)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
        typer.echo(out)
    else:
        typer.echo(text)


@app.command()
def embed(
    records: Records,
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="NPZ file to write.")],
) -> None:
    """Save embeddings of ECGs: features, and ecg_embeds where the model shares a space with texts."""
    import numpy as np

    from ecglm.pipelines import embed

    if out.suffix != ".npz":
        raise ValueError(f"--out must end in .npz, got {out}")
    np.savez(out, **embed(records, model))
    typer.echo(out)


@app.command()
def measure(
    records: Records,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row a record.")] = False,
    beats: Annotated[bool, typer.Option(help="With --csv: one row a beat.")] = False,
    grounding: Annotated[
        bool, typer.Option(help="Print JSON: fourteen sequences of every lead, a value for each beat.")
    ] = False,
) -> None:
    """Measure ECGs as a cardiograph does, and judge their signal quality."""
    from ecglm.io import read
    from ecglm.measure import measure, tables
    from ecglm.measure.grounding import grounding_sequences

    if as_csv and (as_json or grounding):
        raise ValueError("--csv and JSON exclude each other; choose one")
    if beats and not as_csv:
        raise ValueError("--beats goes with --csv; --json and --grounding hold every beat already")
    documents: list[Any] = []
    for record in records:
        ecg = read(record)
        for warning in ecg.metadata.get("warnings", []):
            typer.echo(f"{ecg.name}: {warning}", err=True)
        measured = measure(ecg)
        if grounding:
            documents.append(grounding_sequences(ecg, measured))
        elif as_json:
            documents.append(tables.document(ecg, measured))
        elif as_csv:
            documents += tables.beat_rows(ecg, measured) if beats else [tables.record_row(ecg, measured)]
        else:
            documents.append(tables.for_people(ecg, measured))
    if as_json or grounding:
        _print_json(documents[0] if len(documents) == 1 else documents)
    elif as_csv:
        typer.echo(tables.to_csv(documents), nl=False)
    else:
        _print_measurements(documents)
        typer.echo(NOTICE, err=True)


@app.command()
def render(
    record: Annotated[str, typer.Argument(help="An ECG file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .jpg, .svg or .pdf.")],
    layout: Annotated[
        str, typer.Option(help="3x4, 3x4+1, 3x4+3, 6x2, 6x2+1, 4x3, 12x1, median or strip")
    ] = "3x4+1",
    order: Annotated[str, typer.Option(help="Limb leads: standard or cabrera.")] = "standard",
    timing: Annotated[str, typer.Option(help="Columns: consecutive or simultaneous.")] = "consecutive",
    rhythm: Annotated[list[str] | None, typer.Option(help="Lead of a rhythm strip; may be repeated.")] = None,
    lead: Annotated[list[str] | None, typer.Option(help="Lead of layout strip; may be repeated.")] = None,
    dpi: Annotated[float, typer.Option(help="Dots per inch.")] = 150,
    speed: Annotated[float, typer.Option(help="Paper speed, mm/s.")] = 25,
    gain: Annotated[float, typer.Option(help="mm/mV")] = 10,
    start: Annotated[float, typer.Option(help="First second shown.")] = 0,
    paper: Annotated[
        str | None, typer.Option(help="a4, letter or ecg-image-kit; by default as large as needed.")
    ] = None,
    colours: Annotated[
        str, typer.Option(help="red, blue, green, grey, black_and_white or ecg-image-kit")
    ] = "red",
    grid: Annotated[bool, typer.Option(help="Ruled or plain paper.")] = True,
    line_width: Annotated[float, typer.Option(help="Of the traces, mm.")] = 0.28,
    font: Annotated[Path | None, typer.Option(help="A .ttf file instead of Aileron.")] = None,
    title: Annotated[str | None, typer.Option(help="First line; by default the record's name.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="A further line; may be repeated.")] = None,
    measured: Annotated[bool, typer.Option(help="Print measurements, as an unconfirmed draft.")] = False,
    waves: Annotated[bool, typer.Option(help="Colour the measured waves.")] = False,
) -> None:
    """Draw an ECG on paper, in true millimetres."""
    from ecglm.image import draw_page
    from ecglm.io import read

    ecg = read(record)
    measurements = None
    if measured or waves:
        from ecglm.measure import measure

        measurements = measure(ecg)
    page = draw_page(
        ecg,
        layout,
        order=order,
        timing=timing,
        rhythm=rhythm or None,
        leads=lead or None,
        dpi=dpi,
        speed=speed,
        gain=gain,
        start=start,
        paper=paper,
        colours=colours,
        grid=grid,
        line_width=line_width,
        font=font,
        title=title,
        header=header or None,
        measurements=measurements if measured else None,
        overlay=measurements if waves else None,
    )
    page.save(out)
    for note in page.notes:
        typer.echo(f"{ecg.name}: {note}", err=True)
    typer.echo(out)


@app.command()
def deidentify(
    files: Records,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    prefix: Annotated[str, typer.Option(help="New names are PREFIX-000001, PREFIX-000002 ….")] = "ecg",
    report: Annotated[Path | None, typer.Option(help="JSON file for what was removed from each.")] = None,
    as_json: Json = False,
) -> None:
    """Copy ECGs without names, identifiers, dates and free text; the signal stays the same to the bit."""
    from ecglm.io.deidentify import deidentify

    done, failed = [], 0
    for number, file in enumerate(files, start=1):
        try:
            done.append(deidentify(file, out, f"{prefix}-{number:06d}"))
        except (ValueError, OSError) as error:
            failed += 1
            typer.echo(f"ecglm: {' '.join(str(error).split())}", err=True)
            continue
        if not as_json:
            places = len(done[-1].removed)
            typer.echo(f"{done[-1].path}  from {file}, {places} place{'s' * (places != 1)} emptied")
    document = [each.to_dict() for each in done]
    if report:
        report.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        _print_json(document)
    elif done and not report:
        typer.echo(
            "Which places: --report FILE.json or --json. The list names the files they came from.", err=True
        )
    if failed:
        raise ValueError(f"{failed} of {len(files)} files were not written")


@app.command()
def convert(
    system: Annotated[str, typer.Argument(help="Which system's authors wrote the file, e.g. merl.")],
    file: Annotated[Path, typer.Argument(help="Their checkpoint, .pth or .safetensors.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    settings: Settings = None,
) -> None:
    """Turn an authors' checkpoint into a model folder; every key left over or missing is named."""
    from ecglm.convert import convert

    _log_to_stderr()
    typer.echo(convert(system, file, out, settings or []))


def main() -> None:
    """Run the command line; bad input ends in one line and exit 2."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' "Loading weights"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait by spinning make a training step seven times slower where other jobs want the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if os.environ.get("ECGLM_TRACEBACK"):
            raise
        typer.echo(f"ecglm: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from None


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("ecglm").setLevel(logging.INFO)


def _warn(result: dict[str, Any]) -> None:
    for warning in result["warnings"]:
        typer.echo(f"{result['record']}: {warning}", err=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print_measurements(documents: list[dict[str, Any]]) -> None:
    """A table of each record: our values, the device's beside them, quality, what is missing and why."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for number, document in enumerate(documents):
        if number:
            console.print()
        console.print(Text(document["title"], style="bold"), Text(document["about"]), sep="  ")
        table = Table(box=None, pad_edge=False)
        device = [document["device"]] if document["device"] else []
        for column, justify in (
            ("", "left"),
            ("ecglm", "right"),
            *((name, "right") for name in device),
            ("", "left"),
        ):
            table.add_column(Text(column), justify=justify)
        for name, ours, theirs, unit in document["values"]:
            table.add_row(name, ours, *([theirs] if device else []), unit)
        console.print(table)
        for note in document["notes"]:
            console.print(Text(note), soft_wrap=True)


def _print_result(result: dict[str, Any]) -> None:
    """A table for people: each class, then the means, then what was left out and what was published."""
    from rich.console import Console
    from rich.table import Table

    def figure(metric: dict[str, float]) -> str:
        return f"{metric['value']:.3f} ({metric['low']:.3f}–{metric['high']:.3f})"

    console = Console()
    console.print(f"[bold]{result['benchmark']}[/bold]  {result['mode']}  {result['n']} ECGs")
    table = Table(box=None, pad_edge=False)
    names = [name for name in next(iter(result["per_class"].values()), {}) if name != "positives"]
    for column, justify in (("class", "left"), ("positives", "right"), *((name, "left") for name in names)):
        table.add_column(column, justify=justify)
    for label, entry in result["per_class"].items():
        figures = [figure(entry[name]) if entry.get(name) else "–" for name in names]
        table.add_row(label, str(entry["positives"]), *figures)
    console.print(table)
    for name, metric in result["metrics"].items():
        console.print(f"[bold]{name}[/bold] {figure(metric)}")
    for label, reason in result["left_out"].items():
        console.print(f"left out of the mean: {label} ({reason})")
    for published in result["reference"]:
        console.print(
            f"published: {published['system']} {published['mode']} {published['metric']} "
            f"{published['value']:g} ({published['source']})"
        )


if __name__ == "__main__":
    main()
