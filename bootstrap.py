#!/usr/bin/env python3
"""Set ecglm up in `.venv` and run it there. Needs Python 3.11 or newer and nothing else.

    python bootstrap.py demo  [OPTION ...]   the main job on simulated ECGs: `ecglm demo`
    python bootstrap.py test  [OPTION ...]   the whole test suite: `pytest`
    python bootstrap.py check                format, lint and types
    python bootstrap.py wheel                build the wheel and the source archive into dist/
    python bootstrap.py setup [EXTRA ...]    set up only, with the named extras of pyproject.toml

The first run installs, with uv where it can be had and with pip otherwise; later runs notice that nothing has
changed. Set-up follows pip's own configuration (indexes, local folders, proxy, certificates); variables named
UV_* are left as they are.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "ecglm-setup.json"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
EXTRAS = {"demo": ["text"], "test": ["dev", "text", "formats", "pdf"], "check": ["dev"], "wheel": ["dev"]}
RUNTIME = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",  # nothing here is fetched from a hub; without this transformers may ask for one
    "TOKENIZERS_PARALLELISM": "false",
}


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def say(text):
    """Tell the user; standard output belongs to the command that is run."""
    print(text, file=sys.stderr, flush=True)


def run(command, env=None, quiet=False):
    """Run a command in the checkout and return its exit status."""
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} if quiet else {}
    return subprocess.call([str(part) for part in command], cwd=str(ROOT), env=env, **output)


def set_up(extras):
    """Make `.venv` hold ecglm with these extras, unless it does already."""
    recipe = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        recipe.update((ROOT / name).read_bytes())
    wanted = {"recipe": recipe.hexdigest(), "root": str(ROOT)}
    stamp = json.loads(STAMP.read_text()) if STAMP.is_file() and PYTHON.exists() else {}
    installed = set(stamp.get("extras", []))
    if all(stamp.get(key) == value for key, value in wanted.items()) and set(extras) <= installed:
        return
    started = time.monotonic()
    extras = sorted(installed | set(extras))
    say(f"Setting up {VENV} with {' '.join(['ecglm', *extras])}; this happens once and takes about 1.5 GB")
    STAMP.unlink(missing_ok=True)
    make_venv(anew=bool(stamp) and stamp.get("root") != str(ROOT))
    install(extras)
    STAMP.write_text(json.dumps({**wanted, "extras": extras}, indent=1))
    say(f"Ready after {time.monotonic() - started:.0f} s.")


def make_venv(anew):
    """Create the environment; `anew` empties one that was made for a checkout elsewhere."""
    if not anew and PYTHON.exists() and run([PYTHON, "-m", "pip", "--version"], quiet=True) == 0:
        return
    if run([sys.executable, "-m", "venv", *(["--clear"] if anew else []), VENV]):
        raise SetupError(
            f"python cannot make {VENV}; on Debian and Ubuntu `apt install python3-venv` adds what is lacking"
        )


def install(extras):
    """Install ecglm, editable, and what it needs."""
    settings = pip_settings()
    target = ["torch", "-e", ".[{}]".format(",".join(extras)) if extras else ".", "-c", "constraints.txt"]
    cpu = wants_cpu_torch(settings)
    uv = [shutil.which("uv")] if shutil.which("uv") else [PYTHON, "-m", "uv"]
    if len(uv) == 1 or run([PYTHON, "-m", "pip", "install", "--quiet", "uv"], quiet=True) == 0:
        env = {**uv_settings(settings), **({"UV_TORCH_BACKEND": "cpu"} if cpu else {}), **os.environ}
        if run([*uv, "pip", "install", "--python", PYTHON, *target], env=env) == 0 and imports():
            return
        say("uv did not manage; trying pip, which takes some minutes")
        target += ["--force-reinstall"]  # or pip would keep what does not import
    index = ["--extra-index-url", CPU_TORCH] if cpu else []
    if run([PYTHON, "-m", "pip", "install", *index, *target]):
        raise SetupError(
            "installing failed; the lines above say why. Mend that and run the same command again"
        )
    if not imports():
        raise SetupError(f"all is installed, but `{PYTHON} -c 'import ecglm.models'` fails and says why")


def imports():
    """Whether what was installed can be loaded: a package may come without the library that it wraps."""
    return run([PYTHON, "-c", "import ecglm.models"], {**RUNTIME, **os.environ}, quiet=True) == 0


def pip_settings():
    """What pip is configured to do, as option → value; its environment variables come before its files."""
    listing = subprocess.run(
        [str(PYTHON), "-m", "pip", "config", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout
    found = dict(re.findall(r"^(\S+?)=(.*)$", listing, re.MULTILINE))
    settings = {}
    for section in ("global", "install", ":env:"):
        for key, value in found.items():
            if key.startswith(section + "."):
                settings[key[len(section) + 1 :]] = str(ast.literal_eval(value))
    return settings


def uv_settings(pip):
    """The same for uv, which does not read pip's configuration."""
    env = {}
    if "find-links" in pip:
        env["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if "index-url" in pip:
        env["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip:
        # Where two indexes have the same version, uv takes the first one's file and pip the most specific;
        # additions that suit this machine better stand last in pip's list.
        env["UV_INDEX"] = " ".join(reversed(pip["extra-index-url"].split()))
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # what pip does: the best version of all indexes
    if pip.get("no-index", "0").lower() in ("1", "true", "yes", "on"):
        env["UV_NO_INDEX"] = "1"
    for key, name in (
        ("cert", "SSL_CERT_FILE"),
        ("proxy", "HTTPS_PROXY"),
        ("default-timeout", "UV_HTTP_TIMEOUT"),
    ):
        if key in pip:
            env[name] = pip[key]
    if "trusted-host" in pip:
        env["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    return env


def wants_cpu_torch(pip):
    """Whether to take torch from PyTorch's CPU index: PyPI's comes with several GB of CUDA on Linux."""
    if not sys.platform.startswith("linux") or shutil.which("nvidia-smi"):
        return False
    places = " ".join(
        (pip.get("find-links", ""), os.environ.get("UV_FIND_LINKS", "").replace(",", " "))
    ).split()
    if any(next(Path(place).glob("torch-*.whl"), None) for place in places if Path(place).is_dir()):
        return False
    try:
        urllib.request.urlopen(CPU_TORCH + "/torch/", timeout=5).close()
    except OSError:
        say(
            CPU_TORCH
            + " cannot be reached; torch comes from where pip looks, on PyPI with several GB of CUDA"
        )
        return False
    return True


def main(arguments):
    """Set up and run one of the commands; returns its exit status."""
    command, options = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command not in ("setup", *EXTRAS):
        say(__doc__)
        return 0 if command in ("-h", "--help") else 2
    set_up(options if command == "setup" else EXTRAS[command])
    env = {**RUNTIME, **os.environ}
    activate = (
        str(BIN / "activate") if os.name == "nt" else "source " + os.path.relpath(str(BIN / "activate"))
    )
    if command == "setup":
        say(f"Next: `{activate}`, then `ecglm --help`.")
        return 0
    if command == "demo":
        return run([BIN / "ecglm", "demo", *options], env)
    if command == "wheel":
        return run([PYTHON, "-m", "build", *options], env)
    if command == "check":
        steps = (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"])
        return max([run([PYTHON, "-m", *step], env) for step in steps])
    status = run([PYTHON, "-m", "pytest", *options], env)
    if status == 0:
        say(f"All passed. Next: `make demo` shows the main job; `{activate}` puts `ecglm` at hand;")
        say("docs/quickstart.md goes on with your own ECGs.")
    else:
        say(
            f"Not all passed. `{os.path.relpath(str(PYTHON))} -m pytest --last-failed` runs only what failed."
        )
    return status


def newer_python():
    """A Python new enough for ecglm, where this one is not."""
    for minor in range(OLDEST[1], OLDEST[1] + 4):
        path = shutil.which(f"python{OLDEST[0]}.{minor}")
        if path:
            return path
    return None


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        other = newer_python()
        if other:
            sys.exit(subprocess.call([other, *sys.argv]))
        sys.exit("ecglm needs Python {}.{} or newer; this is {}".format(*OLDEST, sys.version.split()[0]))
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        sys.exit(f"set-up failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
