"""What is shipped: the wheel, built from the source archive, works alone in an environment of its own."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command, **kwargs) -> str:
    env = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # it may name a checkout
    done = subprocess.run(
        [str(part) for part in command], text=True, capture_output=True, check=False, env=env, **kwargs
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    assert len(list(out.glob("*.tar.gz"))) == 1
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of commands of a fresh environment that holds the wheel and sees our dependencies."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(venv), "platbase": str(venv)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    commands = venv / ("Scripts" if os.name == "nt" else "bin")
    run(
        *(sys.executable, "-m", "pip", "--python", commands / "python", "install"),
        *("--no-deps", "--no-index", "--ignore-installed", wheel),
    )
    return commands


def test_the_wheel_holds_the_wings_and_nothing_else_at_its_top(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ecglm"}
    for wing in ("training", "eval", "prompts"):
        inside = {name for name in names if name.startswith(f"ecglm/_assets/{wing}/")}
        shipped = {
            f"ecglm/_assets/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / wing).rglob("*.yaml")
        }
        assert shipped and shipped <= inside
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_command_lists_its_own_recipes(installed, tmp_path):
    where = "import ecglm, ecglm.assets; print(ecglm.__file__, ecglm.assets.ROOT)"
    package, assets = run(installed / "python", "-c", where, cwd=tmp_path).split()
    assert Path(package).is_relative_to(installed.parent) and Path(assets).is_relative_to(installed.parent)
    assert "Usage" in run(installed / "ecglm", "--help", cwd=tmp_path)
    listing = json.loads(run(installed / "ecglm", "ls", "recipes", "--json", cwd=tmp_path))
    assert "merl/pretrain" in json.dumps(listing)
    for kind in ("systems", "benchmarks", "prompts"):
        assert json.loads(run(installed / "ecglm", "ls", kind, "--json", cwd=tmp_path))
