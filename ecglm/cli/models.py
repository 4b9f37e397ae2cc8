"""Models: trained, measured, used, converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ecglm.cli._common import (
    NOTICE,
    Index,
    Json,
    Leads,
    Model,
    Records,
    SamplingRate,
    Settings,
    Unit,
    app,
    check_folder,
    given,
    log_to_stderr,
    print_documents,
    print_json,
    warn,
)


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

    log_to_stderr()
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

    log_to_stderr()
    result = evaluate(benchmark, model, settings or [])
    if as_json:
        print_json(result.to_dict())
    else:
        typer.echo(result)


@app.command()
def classify(
    records: Records,
    model: Model,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="A text; may be repeated.")
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="A prompt set (`ecglm ls prompts`).")] = None,
    group: Annotated[str | None, typer.Option(help="Labels of the set: super, sub, form or rhythm.")] = None,
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Score ECGs against texts."""
    from ecglm.pipelines import classify

    hints = given(sampling_rate=sampling_rate, unit=unit, leads=leads, index=index)
    results = classify(records, model, prompts=prompt, prompt_set=prompts, group=group, **hints)
    for result in results:
        warn(result)
    if as_json:
        print_documents(results, alone=len(results) == 1)
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
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    index: Index = None,
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
    check_folder(out)
    opened, processor = load_model(model, "generate")
    hints = given(sampling_rate=sampling_rate, unit=unit, leads=leads, index=index)
    drafts = [draft(read(record, **hints), opened, processor) for record in records]
    for one in drafts:
        warn({"record": one.record, "warnings": one.warnings})
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
    sampling_rate: SamplingRate = None,
    unit: Unit = None,
    leads: Leads = None,
    index: Index = None,
) -> None:
    """Save embeddings of ECGs: features, and ecg_embeds where the model shares a space with texts."""
    import numpy as np

    from ecglm.pipelines import embed

    if out.suffix != ".npz":
        raise ValueError(f"--out must end in .npz, got {out}")
    check_folder(out)
    hints = given(sampling_rate=sampling_rate, unit=unit, leads=leads, index=index)
    np.savez(out, **embed(records, model, **hints))
    typer.echo(out)


@app.command()
def convert(
    system: Annotated[str, typer.Argument(help="Which system's authors wrote the file, e.g. merl.")],
    file: Annotated[Path, typer.Argument(help="Their checkpoint, .pth or .safetensors.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    settings: Settings = None,
) -> None:
    """Turn an authors' checkpoint into a model folder; every key left over or missing is named."""
    from ecglm.convert import convert

    log_to_stderr()
    typer.echo(convert(system, file, out, settings or []))
