"""The house as `docs/concepts.md` draws it: imports go down, doors stay thin, every system is complete."""

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecglm
from ecglm.assets import list_statements

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ecglm"

FLOORS = (
    *("assets", "ecg", "preprocessing", "measure", "io", "simulate"),  # floor 0
    *("image", "text", "findings", "prompts", "datasets"),  # floor 0
    *("layers", "losses"),  # floor 1: torch
    *("processors", "models"),  # floor 2: transformers
    *("collators", "retrieval"),  # floor 3
    *("train", "report", "pipelines", "evaluation", "convert"),  # floor 4
    *("demo", "app", "server", "cli"),  # roof
)
WITHOUT_TORCH = FLOORS[: FLOORS.index("layers")]
HEAVY = ("torch", "transformers", "scipy")
NEVER = (
    "torchvision",
    "timm",
    "open_clip",
)  # they break `from transformers import CLIPModel` beside a CPU torch
SHARED_SYSTEMS = ("ecg_llm",)  # the one system that others may build on
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, tree: ast.AST | None = None) -> Iterator[str]:
    """Full names of all that a file imports, at any depth; `import_module` of a fixed beginning counts."""
    package = list(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(tree or ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            fixed = re.match(r"f?['\"]([\w.]*)", ast.unparse(node.args[0]))
            if fixed and fixed.group(1):
                yield fixed.group(1)


def floors_imported(path: Path) -> Iterator[str]:
    for target in imports(path):
        top, _, rest = target.partition(".")
        if top != "ecglm" or rest == "__version__":
            continue
        first = rest.split(".")[0]
        yield ecglm._PLACES[first].split(".")[1] if first in ecglm._PLACES else first


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, check=True, cwd=ROOT
    ).stdout.strip()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path):
    floor = floor_of(path)
    assert floor in FLOORS, f"{floor} stands on no floor; give it a place in FLOORS and in docs/concepts.md"
    for target in floors_imported(path):
        assert target in FLOORS, f"{name_of(path)} imports ecglm.{target}, which stands on no floor"
        assert FLOORS.index(target) <= FLOORS.index(floor), (
            f"{floor} may not import {target}: it is higher up"
        )


def test_a_climbing_import_is_caught(tmp_path, monkeypatch):
    """The test above can fail: nested, relative and dynamic imports of a higher floor are all seen."""
    module = tmp_path / "ecglm" / "text.py"
    module.parent.mkdir()
    module.write_text(
        "def f():\n    from . import train\n    from ecglm.models import merl\n"
        "    import_module(f'ecglm.datasets.{f}')\n    from ecglm import render\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert sorted(floors_imported(module)) == ["datasets", "image", "models", "train"]


@pytest.mark.parametrize("path", [path for path in MODULES if floor_of(path) in WITHOUT_TORCH], ids=name_of)
def test_floor_0_loads_no_torch(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    loaded = {target.split(".")[0] for target in imports(path, tree)}
    assert not loaded & {"torch", "transformers"}, f"{name_of(path)} loads them on import"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_what_breaks_transformers(path):
    assert not {target.split(".")[0] for target in imports(path)} & set(NEVER)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_assets_knows_where_the_wings_lie(path):
    names = {
        node.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name)
    }
    if floor_of(path) != "assets":
        assert "__file__" not in names, "ask ecglm.assets for a shipped file"
        assert not {"ecglm.assets.ROOT", "importlib.resources"} & set(imports(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_is_short_enough_to_read(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 700, f"{name_of(path)} has {lines} lines; split it by meaning (docs/concepts.md)"


def test_importing_ecglm_is_light():
    assert run_python(f"import sys, ecglm; print(sorted(set({HEAVY}) & set(sys.modules)))") == "[]"


@pytest.mark.parametrize("command", ["", "train", "classify"])
def test_help_is_light(command):
    code = f"""
import contextlib, io, sys
sys.argv = ["ecglm", *{command.split()}, "--help"]
from ecglm.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main()
assert "Usage" in out.getvalue(), out.getvalue()
print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    assert run_python(code) == "[]"


@pytest.mark.parametrize("name", ["training/train.py", "eval/evaluate.py"])
def test_doors_stay_thin(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 15, f"{name} is a door; what it does belongs into ecglm/"
    assert not [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]


def test_the_wings_hold_no_other_code():
    code = {name_of(path) for wing in ("training", "eval", "prompts") for path in (ROOT / wing).rglob("*.py")}
    assert code == {"training/train.py", "eval/evaluate.py"}


# ---- the systems; from here on torch is loaded


def systems():
    return importlib.import_module("ecglm.models").SYSTEMS


def test_a_system_imports_no_other_system():
    names = set(systems())
    for path in (PACKAGE / "models").rglob("*.py"):
        own = path.relative_to(PACKAGE / "models").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for target in imports(path):
            match = re.match(r"ecglm\.models\.(\w+)", target)
            other = match.group(1) if match else None
            assert other not in names - {own, *SHARED_SYSTEMS}, (
                f"models/{own} imports models/{other}; compose through AutoModel.from_config instead"
            )


def mentions(source: str, words: set[str]) -> list[str]:
    """Identifiers and strings of the code, comments and docstrings left out, that name one of `words`."""
    docstrings = {
        (node.body[0].lineno, node.body[0].col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and ast.get_docstring(node) is not None
    }
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string in words:
            found.append(token.string)
        elif token.type == tokenize.STRING and token.start not in docstrings:
            text = token.string.strip("rbfuRBFU\"'")
            found += [word for word in words if re.fullmatch(rf"(ecglm_)?{re.escape(word)}(/.*)?", text)]
    return found


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if floor_of(path) in ("train", "collators", "evaluation")],
    ids=name_of,
)
def test_the_loop_knows_no_system(path):
    words = set(systems())
    for system in systems().values():
        words |= {system.config.__name__, *system.models}
    assert not mentions(path.read_text(encoding="utf-8"), words)


def test_a_mention_of_a_system_is_caught():
    source = '"""Like merl."""\n# merl\nif name == "merl": model = MERLModel\nload("merl/pretrain")\n'
    assert sorted(mentions(source, {"merl", "MERLModel"})) == ["MERLModel", "merl", "merl"]


def recipes_of(name: str) -> list[str]:
    load_recipe = importlib.import_module("ecglm.train").load_recipe
    return [recipe for recipe in list_statements("training") if load_recipe(recipe).system == name]


def test_every_system_is_complete():
    """Each has a recipe, and a row in the index that names its file and the status of each recipe."""
    load_recipe = importlib.import_module("ecglm.train").load_recipe
    index = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
    missing = []
    for name in systems():
        recipes = recipes_of(name)
        if not recipes:
            missing.append(f"{name}: no recipe under training/ says `system: {name}`")
        row = next((line for line in index.splitlines() if line.startswith(f"| `{name}` ")), None)
        if row is None:
            missing.append(f"{name}: no row `| `{name}` | …` in docs/systems.md")
            continue
        for recipe in recipes:
            if f"`{recipe}` {load_recipe(recipe).status}" not in row:
                missing.append(
                    f"{name}: its row in docs/systems.md lacks '`{recipe}` {load_recipe(recipe).status}'"
                )
    assert not missing, "\n".join(missing)


def test_the_index_names_no_ghosts():
    index = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` ", index, re.MULTILINE)) == set(systems())
