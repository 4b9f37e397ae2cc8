"""The main job on the embedded corpus, small enough for a laptop: what `ecglm demo` runs.

Simulate a corpus, pretrain ECG and text encoders, classify held-out ECGs with text prompts, train a report
model on the same encoder, draft reports, and show all of it on one page. Each step is the command that a real
corpus would take, at a smaller size.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ecglm import datasets
from ecglm.ecg import ECG
from ecglm.evaluation import evaluate
from ecglm.io import write
from ecglm.pipelines import classify, load_model
from ecglm.prompts import ontology
from ecglm.report import DraftReport, check, draft_reports
from ecglm.train import run

NUM_RECORDS = 1000
"""ECGs to train on, and as many to judge."""
NUM_DRAFTS = 4
PRETRAIN = ["trainer.max_steps=260", "augment.texts_per_code=1"]
REPORT = ["trainer.max_steps=200"]
"""Enough to show every part at work in about a minute each; the recipes' own settings are for real work."""
_MODELS = ("model", "report_model")
WRITTEN = (
    *("corpus", "records", "scores.json", "index.html", *_MODELS),
    *(name + ending for name in _MODELS for ending in (".checkpoints", ".partial")),  # broken off
)
"""All that a demo leaves; a folder that holds anything else is never emptied."""


def run_demo(out: Path) -> Path:
    """Run the main job.

    Args:
        out: folder for the corpus, two model folders, some records, `scores.json` and `index.html`.

    Returns:
        The page.

    Raises:
        ValueError: if the folder holds anything that no demo wrote; nothing is deleted then.
    """
    console = Console(stderr=True)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give a folder as --out")
    found = {path.name for path in out.glob("*")}
    foreign = sorted(found - set(WRITTEN)) or sorted(found)
    if foreign and (found - set(WRITTEN) or not (out / "corpus" / "manifest.json").is_file()):
        raise ValueError(f"{out} holds {foreign[0]!r}, which no demo wrote; give another --out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with _step(console, f"1/5 simulate {NUM_RECORDS} ECGs to train on and as many to judge"):
        splits = ("train", "test")
        corpus = datasets.prepare("simulated", None, out / "corpus", splits=splits, num_records=NUM_RECORDS)
    stored = ["data={name: prepared, split: train}", f"data.root={corpus}"]
    with _step(console, "2/5 contrastive pretraining of ECG and text encoder"):
        model = run("merl/pretrain_small", [*stored, *PRETRAIN], out / "model")
    with _step(console, "3/5 zero-shot classification of the held-out ECGs from text prompts"):
        judged = ["data={name: prepared, split: test}", f"data.root={corpus}"]
        scores = evaluate("classification/simulated", model, judged).to_dict()
        (out / "scores.json").write_text(json.dumps(scores, indent=2), encoding="utf-8")
    _print_scores(scores)
    with _step(console, "4/5 report model on the same ECG encoder"):
        settings = [*stored, *REPORT, f"model.ecg_model={model}"]
        report_model = run("ecg_llm/simulated", settings, out / "report_model")
    with _step(console, f"5/5 draft reports of {NUM_DRAFTS} held-out ECGs"):
        rows = datasets.load("prepared", root=corpus, split="test")
        ecgs = [datasets.read_row(rows[index]) for index in _examples(rows["codes"])]
        (out / "records").mkdir()
        for ecg in ecgs:
            write(ecg, out / "records" / ecg.name)
        drafts = _draft(ecgs, report_model)
        codes = sorted({code for codes in rows["codes"] for code in codes})
        ranked = classify(ecgs, model, prompts=[ontology()[code].statement for code in codes])
        page = out / "index.html"
        page.write_text(_page(scores, drafts, ecgs, ranked), encoding="utf-8")
    for ecg, one in zip(ecgs, drafts, strict=True):
        console.print(f"[bold]{ecg.name}[/bold]")
        console.print(f"  simulated as: {ecg.metadata['report']}\n  draft: {one.text}")
    _print_next(page, model, report_model, out / "records" / ecgs[0].name)
    return page


def _print_next(page: Path, model: Path, report_model: Path, record: Path) -> None:
    command = "ecglm"
    beside = Path(sys.executable).with_name(command)  # the environment need not be activated
    if shutil.which(command) is None and beside.exists():
        command = os.path.relpath(beside)
    prompts = '--prompt "atrial fibrillation" --prompt "sinus rhythm"'
    for line in (
        f"\nOpen {page} in a browser. Use the models on a record of your own, or on {record}:",
        f"  {command} report YOUR_RECORD --model {report_model}",
        f"  {command} classify YOUR_RECORD --model {model} {prompts}",
    ):
        Console().print(line, soft_wrap=True, highlight=False)


@contextmanager
def _step(console: Console, title: str) -> Iterator[None]:
    console.rule(f"[bold]{title}", align="left")
    start = time.monotonic()
    yield
    console.print(f"[dim]{time.monotonic() - start:.0f} s[/dim]")


def _figure(figure: dict[str, float]) -> tuple[str, str]:
    return f"{figure['value']:.3f}", f"{figure['low']:.3f}–{figure['high']:.3f}"


def _print_scores(scores: dict[str, Any]) -> None:
    table = Table("class", "AUROC", "95 % interval", "ECGs", box=None)
    for label, entry in scores["per_class"].items():
        table.add_row(label, *_figure(entry["auroc"]), str(entry["positives"]))
    table.add_row("macro", *_figure(scores["metrics"]["macro_auroc"]), str(scores["n"]), style="bold")
    Console().print(table)


def _examples(codes: list[list[str]]) -> list[int]:
    """Which recordings to draft: those that bring a finding not yet shown."""
    chosen: list[int] = []
    seen = {"SR"}
    for index, found in enumerate(codes):
        if set(found) - seen:
            chosen.append(index)
            seen |= set(found)
        if len(chosen) == NUM_DRAFTS:
            break
    return chosen


def _draft(ecgs: list[ECG], folder: Path) -> list[DraftReport]:
    model, processor = load_model(folder, "generate")
    texts = draft_reports(model, processor, ecgs)
    inspect = processor.feature_extractor.inspect
    return [check(text, ecg, inspect(ecg)) for text, ecg in zip(texts, ecgs, strict=True)]


def _page(
    scores: dict[str, Any], drafts: list[DraftReport], ecgs: list[ECG], ranked: list[dict[str, Any]]
) -> str:
    """One self-contained page: the table of AUROCs, then each ECG with its scores and its draft."""
    classes = [
        (html.escape(label), *_figure(entry["auroc"]), entry["positives"])
        for label, entry in scores["per_class"].items()
    ]
    cases = []
    for one, ecg, result in zip(drafts, ecgs, ranked, strict=True):
        bars = [
            (
                html.escape(each["prompt"]),
                f"<meter value={each['score']:.3f}></meter>",
                f"{each['score']:.2f}",
            )
            for each in result["scores"][:6]
        ]
        cases.append(
            f"<section>{one.to_html_fragment()}"
            f"<h2>Most probable statements</h2><table>{_table_rows(bars)}</table>"
            f"<h2>Simulated as</h2><p>{html.escape(ecg.metadata['report'])}</p></section>"
        )
    return _PAGE.format(
        rows=_table_rows(classes),
        n=scores["n"],
        macro=" (".join(_figure(scores["metrics"]["macro_auroc"])) + ")",
        cases="\n".join(cases),
    )


def _table_rows(rows: list[tuple]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>ecglm demo</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 1rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.05rem; margin-bottom: .3rem; }}
img {{ width: 100%; height: auto; border: 1px solid #ddd; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .15rem .8rem .15rem 0; text-align: left; }}
section {{ border-top: 2px solid #888; margin-top: 2rem; }}
.notice {{ background: #fff3cd; border: 1px solid #c90; padding: .5rem 1rem; font-weight: bold; }}
.report {{ font-size: 1.2rem; white-space: pre-wrap; }}
</style></head><body>
<h1>ecglm: the main job on simulated ECGs</h1>
<p>Two encoders were pretrained on simulated ECGs and their statements, and classify {n} held-out ECGs from
text prompts alone. The report model writes from the same ECG encoder. Figures on simulated ECGs say that the
parts work together; they say nothing about patients.</p>
<table><tr><th>class</th><th>AUROC</th><th>95 % interval</th><th>ECGs</th></tr>{rows}</table>
<p><b>Macro AUROC {macro}</b></p>
{cases}
</body></html>
"""
