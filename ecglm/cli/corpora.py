"""Corpora made ready for training: packed, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecglm.cli._common import Json, Settings, app, print_json


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
    """Draw a corpus as pages with labels, e.g. page.layout=[3x4+1,12x1] page.defects=[none,light,heavy]."""
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
        print_json({"out": str(out), "written": done.written, "skipped": done.skipped, "failed": failed})
    else:
        there = f", {done.skipped} there already" if done.skipped else ""
        typer.echo(f"{out}  {done.written} pages written{there}, {len(done.failed)} recordings failed")
        for record, reason in done.failed[:20]:
            typer.echo(f"  {record}: {reason}", err=True)
        if len(done.failed) > 20:
            typer.echo(f"  … and {len(done.failed) - 20} more in {out / 'manifest.json'}", err=True)
    if done.failed:
        raise ValueError(f"{len(done.failed)} recordings have no page; {out / 'manifest.json'} lists them")
