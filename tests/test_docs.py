"""What the documents claim: the worked example works, links lead somewhere, commands exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("[a-z]*/README.md")])


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```\w+\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout in which docs/adding_a_system.md was followed to the letter."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("ecglm", "training", "eval", "prompts", "docs", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    model, line, _, recipe, row, _ = blocks(ROOT / "docs" / "adding_a_system.md")
    (copy / "ecglm/models/conv_clip.py").write_text(model, encoding="utf-8")
    (copy / "training/conv_clip").mkdir()
    (copy / "training/conv_clip/pretrain.yaml").write_text(recipe, encoding="utf-8")
    for name, addition in (("ecglm/models/__init__.py", line), ("docs/systems.md", row)):
        with (copy / name).open("a", encoding="utf-8") as file:
            file.write(addition)
    return copy


def run(checkout: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_added_system_passes_the_sweeps(checkout):
    tests = ("tests/test_architecture.py", "tests/test_models.py", "tests/test_recipes.py")
    passed = run(
        checkout,
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *tests,
        "-k",
        "conv_clip and not trains_and_leaves or complete or ghosts",
    )
    assert int(re.search(r"(\d+) passed", passed).group(1)) >= 12, passed


def test_the_added_system_trains_from_the_command_line(checkout):
    out = checkout / "model"
    run(checkout, "ecglm.cli", "train", "conv_clip/pretrain", "--smoke", "--out", str(out))
    assert (out / "model.safetensors").is_file() and (out / "processor_config.json").is_file()


def test_the_readme_examples_run(model_folder, tmp_path, monkeypatch):
    """Word for word, with a simulated record and tiny models; what needs a corpus is left to other tests."""
    from typer.testing import CliRunner

    from ecglm import simulate, write
    from ecglm.cli import app

    monkeypatch.chdir(tmp_path)
    write(simulate("lbbb", seed=1), "RECORD")
    examples = (ROOT / "README.md").read_text(encoding="utf-8").split("\n**")[2:]
    assert [text[:2] for text in examples] == ["1.", "2.", "3.", "4.", "5."]
    names: dict = {}
    for example in examples:
        Path("DIR").unlink(missing_ok=True)
        Path("DIR").symlink_to(model_folder("ecg_llm" if "draft" in example else "merl_small"))
        for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", example, re.MULTILINE | re.DOTALL):
            if "/data/" in code:
                continue
            if language == "python":
                exec(compile(code, "README.md", "exec"), names)
                continue
            for words in ecglm_lines(f"```\n{code}```\n"):
                done = CliRunner().invoke(app, words)
                assert done.exit_code == 0, (words, done.output, done.exception)
    for file in ("page.png", "draft.html", "embeddings.npz"):
        assert Path(file).stat().st_size > 100


def test_every_defect_is_told_and_shown():
    from dataclasses import fields

    from ecglm.image import DEFECTS, LAYOUTS

    told = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
    shown = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    for layout in LAYOUTS:
        assert f"`{layout}`" in told and f"### {layout}\n" in shown, layout
    for name, kind in DEFECTS.items():
        (parameters,) = re.findall(rf"`{name}` ([^·|]*)", told)
        for parameter in fields(kind):
            assert parameter.name == "strength" or parameter.name in parameters, f"{name}: {parameter.name}"
        assert f"### {name}\n" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_commands_options_and_recipes_exist(page):
    from typer.main import get_command

    from ecglm.assets import list_statements
    from ecglm.cli import app

    commands = get_command(app).commands
    for words in ecglm_lines(page.read_text(encoding="utf-8")):
        name, rest = (words or ["--help"])[0], words[1:]
        if name.startswith("-"):
            continue
        assert name in commands, f"{page.name}: there is no `ecglm {name}`"
        known = {option for each in commands[name].params for option in each.opts}
        for option in rest:
            if option.startswith("-") and option != "-":
                assert option in known, f"{page.name}: `ecglm {name}` has no {option}"
        wings = {"train": ["training"], "cp": ["training", "eval"], "eval": ["eval"]}.get(name, [])
        if wings and rest and re.fullmatch(r"\w+/\w+", rest[0]) and "conv_clip" not in rest[0]:
            shipped = [each for wing in wings for each in list_statements(wing)]
            assert rest[0] in shipped, f"{page.name}: no {rest[0]} in {' or '.join(wings)}"


def ecglm_lines(text: str) -> list[list[str]]:
    """The words after `ecglm` of each command line, in code blocks and between backticks."""
    code = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [*code.splitlines(), *re.findall(r"`([^`\n]+)`", prose)]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ecglm ")]
