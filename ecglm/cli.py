"""The command line. Imports stand inside the commands, so that `ecglm --help` answers at once.

`--json` prints one JSON document on stdout; progress and log lines go to stderr. Exit 0; 2 with one line
where the input was wrong; 1 where ecglm itself failed.
"""

from __future__ import annotations

import json
import logging
import os
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


@app.command(name="render-corpus")
def render_corpus(
    corpus: Annotated[str, typer.Argument(help="ptbxl, mimic_iv_ecg, simulated or prepared")],
    root: Annotated[str, typer.Argument(help="The corpus's folder; '-' for simulated.")],
    out: Annotated[Path, typer.Argument(help="Folder for the shards; a broken-off run goes on there.")],
    settings: Settings = None,
    format_: Annotated[str, typer.Option("--format", help="Shards: tar (WebDataset) or parquet.")] = "tar",
    image: Annotated[str, typer.Option(help="Pictures: png or jpg.")] = "png",
    copies: Annotated[int, typer.Option(help="Pages of each recording.")] = 1,
    seed: Annotated[int, typer.Option(help="Of what is drawn by lot.")] = 0,
    traces: Annotated[bool, typer.Option(help="Polylines in the labels.")] = False,
    masks: Annotated[bool, typer.Option(help="Which lead's ink stands where, as pictures.")] = False,
    boxes: Annotated[bool, typer.Option(help="COCO files with the boxes of leads and texts.")] = False,
    records_per_shard: Annotated[int, typer.Option(help="Recordings in a shard.")] = 256,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    as_json: Json = False,
) -> None:
    """Draw a corpus as pages with labels, e.g. page.layout=[3x4+1,12x1] page.dpi=100 splits=[train]."""
    from ecglm import datasets
    from ecglm.assets import apply_overrides

    done = datasets.render_corpus(
        corpus,
        None if root == "-" else root,
        out,
        format=format_,
        image=image,
        copies=copies,
        seed=seed,
        traces=traces,
        masks=masks,
        boxes=boxes,
        records_per_shard=records_per_shard,
        num_workers=workers,
        **apply_overrides({}, settings or []),
    )
    if as_json:
        failed = [{"record_id": record, "reason": reason} for record, reason in done.failed]
        _print_json({"out": str(out), "written": done.written, "skipped": done.skipped, "failed": failed})
    else:
        there = f", {done.skipped} there already" if done.skipped else ""
        typer.echo(f"{out}  {done.written} pages written{there}, {len(done.failed)} recordings failed")
        for record, reason in done.failed[:20]:
            typer.echo(f"  {record}: {reason}", err=True)
        if len(done.failed) > 20:
            typer.echo(f"  … and {len(done.failed) - 20} more in {out / 'manifest.json'}", err=True)
    if done.failed:
        raise ValueError(f"{len(done.failed)} recordings have no page; {out / 'manifest.json'} lists them")


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
def inspect(
    files: Records,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    allow_truncated: AllowTruncated = False,
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Say what ECG files are: format, leads, rate, units, what was assumed, warnings, checksums."""
    from ecglm.io.inspection import inspect

    hints = _hints(
        sampling_rate=sampling_rate, unit=unit, leads=leads, allow_truncated=allow_truncated, index=index
    )
    found, failed = [], []
    for file in files:
        try:
            found.append(inspect(file, **hints))
        except (ValueError, OSError) as error:
            if len(files) == 1:
                raise
            failed.append(file)
            found.append({"file": file, "error": " ".join(str(error).split())})
    if as_json:
        _print_json(found[0] if len(files) == 1 else found)
    else:
        for number, each in enumerate(found):
            typer.echo("\n" * bool(number) + _describe(each))
    if failed:
        raise ValueError(f"{len(failed)} of {len(files)} files cannot be read")


@app.command(name="convert-file")
def convert_file(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="ECG files, folders or RECORDS lists.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into, or one file.")],
    to: Annotated[str | None, typer.Option(help="wfdb, edf, dicom, aecg, csv or npz")] = None,
    overwrite: Annotated[bool, typer.Option(help="Write again what is there already.")] = False,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    start: Annotated[float | None, typer.Option(help="Seconds from the beginning.")] = None,
    stop: Annotated[float | None, typer.Option(help="Seconds from the beginning.")] = None,
    allow_truncated: AllowTruncated = False,
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Convert ECG files to another format; a broken-off run goes on where it stopped."""
    from ecglm.io import read, write
    from ecglm.io.many import convert_files, format_of, sources

    hints = _hints(
        sampling_rate=sampling_rate,
        unit=unit,
        leads=leads,
        start=start,
        stop=stop,
        allow_truncated=allow_truncated,
        index=index,
    )
    if to is None:
        if not out.suffix or len(files) > 1 or files[0].is_dir() or out.is_dir():
            raise ValueError("--to is missing; give wfdb, edf, dicom, aecg, csv or npz")
        if format_of(out) is None:
            raise ValueError(
                f"{out.name!r} names no format that is written; end it in .hea, .edf, .dcm, .xml …"
            )
        if out.exists() and not overwrite:
            raise ValueError(f"{out} exists already; pass --overwrite or name another file")
        typer.echo(write(read(files[0], **hints), out))
        return
    found = list(sources(files, index=index))
    with _progress(len(found)) as tick:
        done = convert_files(
            found, out, to, overwrite=overwrite, on_progress=lambda source: tick(source.path.name), **hints
        )
    if as_json:
        _print_json(
            {
                "written": list(map(str, done.written)),
                "skipped": list(map(str, done.skipped)),
                "failed": [{"file": file, "error": error} for file, error in done.failed],
            }
        )
    else:
        there = f", {len(done.skipped)} there already" if done.skipped else ""
        typer.echo(f"{out}  {len(done.written)} written{there}, {len(done.failed)} failed")
        for _, error in done.failed[:20]:
            typer.echo(f"  {error}", err=True)
        if len(done.failed) > 20:
            typer.echo(f"  … and {len(done.failed) - 20} more; --json lists all", err=True)
    if done.failed:
        total = len(done.written) + len(done.skipped) + len(done.failed)
        raise ValueError(f"{len(done.failed)} of {total} files were not converted")


@app.command()
def deidentify(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="ECG files, folders or RECORDS lists.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    prefix: Annotated[str, typer.Option(help="New names are PREFIX-000001, PREFIX-000002 ….")] = "ecg",
    report: Annotated[Path | None, typer.Option(help="JSON file for what was removed from each.")] = None,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Copy ECGs without names, identifiers, dates and free text; the signal stays the same to the bit."""
    from ecglm.io.deidentify import deidentify
    from ecglm.io.many import Source, sources

    hints = _hints(sampling_rate=sampling_rate, unit=unit, leads=leads)
    found: list[Source] = []
    done, failed = [], []
    for file in files:
        try:
            found += sources(file, index=index)
        except (ValueError, OSError) as error:
            failed.append(error)
    with _progress(len(found)) as tick:
        for number, source in enumerate(found, start=1):
            try:
                which = {} if source.index is None else {"index": source.index}
                done.append(deidentify(source.path, out, f"{prefix}-{number:06d}", **hints, **which))
            except (ValueError, OSError) as error:
                failed.append(error)
            tick(source.path.name)
    document = [each.to_dict() for each in done]
    if report:
        report.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        _print_json(document)
    else:
        for each in done:
            places = len(each.removed)
            typer.echo(f"{each.path}  from {each.source}, {places} place{'s' * (places != 1)} emptied")
        if done and not report:
            typer.echo("Which places: --report FILE.json or --json. They name the source files.", err=True)
    for error in failed[:20]:
        typer.echo(f"  {' '.join(str(error).split())}", err=True)
    if failed:
        raise ValueError(f"{len(failed)} of {len(done) + len(failed)} files were not written")


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


def _hints(**given: Any) -> dict[str, Any]:
    """Those hints that were given, as `ecglm.read` takes them."""
    return {name: value for name, value in given.items() if value is not None and value is not False}


def _describe(found: dict[str, Any]) -> str:
    """One recording for people."""
    lines = [typer.style(found["file"], bold=True)]
    if "error" in found:
        return "\n".join([*lines, f"  cannot be read: {found['error']}"])
    lines.append(
        f"  {found['format']}, {found['duration']:g} s at {found['sampling_rate']:g} Hz "
        f"({found['num_samples']:,} samples), {len(found['leads'])} leads"
    )
    for lead in found["leads"]:
        span = "all unknown" if lead["lowest"] is None else f"{lead['lowest']:8.3f} … {lead['highest']:7.3f}"
        unknown = f"  {lead['unknown']:.1%} unknown" if 0 < lead["unknown"] < 1 else ""
        lines.append(f"    {lead['name']:10} {span} {lead['unit']}{unknown}")
    known = found["metadata"]
    facts = [
        f"{name} {known[name]}" for name in ("age", "sex", "acquired", "lead_placement") if name in known
    ]
    lines += [f"  {', '.join(facts)}"] if facts else []
    lines += [f"  assumed: {sentence}" for sentence in found["assumed"]]
    lines += [typer.style(f"  warning: {sentence}", fg="yellow") for sentence in found["warnings"]]
    lines += [
        f"  {each['name']}  {each['bytes']:,} bytes  sha256 {each['sha256']}" for each in found["files"]
    ]
    return "\n".join(lines)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr that counts and names what is worked on; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda name: progress.update(task, advance=1, description=name)


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
