"""What is shipped: the demo, lists, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecglm.cli._common import Json, app, check_folder, print_json


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
        print_json(listing)
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
    check_folder(target)
    if target.exists():
        raise ValueError(f"{target} exists already; name another file")
    target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    typer.echo(f"{target}\nUse it with: ecglm {'eval' if benchmark else 'train'} {target}")
