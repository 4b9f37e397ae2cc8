"""Read thousands of damaged files of every format: does anything but `ECGFileError` come out, at what cost?

    python benchmarks/fuzz_readers.py [--mutants 10000] [--seed 0] [--formats "EDF and BDF" …] [--keep FOLDER]
                                      [--spans]

Seeds are simulated ECGs, written by ecglm and by the makers of files in `tests/`. A mutant is one of
those cut off at a multiple of 64 bytes, or with bits flipped, fields set to bounds, numbers replaced, parts
moved or left out. With `--spans` a span of each is read, in the way that is else kept for long files. Each
format is read in a process of its own, so that a crash of a library shows as one.
Prints, per format: how many were read all the same, how many refused, the longest CPU time, and the growth of
the process's peak memory in one read. Exits with 1 if anything else came out; `--keep` keeps what caused it.
"""

import argparse
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.io  # noqa: F401  (what readers import at need must not count as the work of one mutant)
import wfdb  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from mutants import HINTS, SPAN, mutants, seeds

from ecglm import ECG, ECGFileError, read
from ecglm.io import arrays, dicom, matlab, tables

MAX_SECONDS, MAX_GROWTH = 1.0, 200.0  # CPU; MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mutants", type=int, default=10_000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="*", help="some of them; without it all")
    parser.add_argument("--keep", type=Path, help="a folder for the mutants that did what they must not")
    parser.add_argument("--spans", action="store_true", help="read spans as if the files were long")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = options.formats or list(seeds(Path(folder)))
    failed = False
    print(
        f"{'format':14} {'mutants':>8} {'read':>7} {'refused':>8} {'worst s':>8} {'worst MB':>9}  otherwise"
    )
    context = multiprocessing.get_context("spawn")
    for name in names:
        receiver, sender = context.Pipe(duplex=False)
        arguments = (name, options.mutants, options.seed, options.keep, options.spans, sender)
        process = context.Process(target=fuzz, args=arguments)
        process.start()
        sender.close()
        try:
            told = receiver.recv()
        except EOFError:
            told = None
        process.join()
        if told is None:
            print(f"{name:14} crashed with exit code {process.exitcode}")
            failed = True
            continue
        count, survived, refused, seconds, growth, others = told
        print(
            f"{name:14} {count:8} {survived:7} {refused:8} {seconds:8.3f} {growth:9.1f}  {len(others)}",
            flush=True,
        )
        for each in others[:10]:
            print(f"    {each}")
        failed = failed or bool(others)
    sys.exit(failed)


def fuzz(name: str, count: int, seed: int, keep: Path | None, spans: bool, sender) -> None:
    """Read the mutants of one format, and send what came out."""
    if spans:
        for module in (arrays, dicom, matlab, tables):
            module.LONG_BYTES = 0
    generator = np.random.default_rng(seed)
    survived = refused = done = 0
    worst, growth, others = 0.0, 0.0, []
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        found = seeds(folder)[name]
        for number, each in enumerate(found):
            read(
                each.written(each.files, folder), **each.hints
            )  # the seed itself, and what is imported for it
            share = count // len(found) + (number < count % len(found))
            for files in mutants(each, share, generator):
                path = each.written(files, folder)
                hints = HINTS[generator.integers(len(HINTS))] | each.hints | (SPAN if spans else {})
                before, start = _peak(), time.process_time()
                trouble = ""
                try:
                    ecg = read(path, **hints)
                    survived += 1
                    if not isinstance(ecg, ECG):
                        trouble = f"came out as {type(ecg).__name__}"
                except ECGFileError as error:
                    refused += 1
                    if "\n" in str(error):
                        trouble = f"more than one line: {error}"
                except Exception as error:
                    trouble = f"{type(error).__name__}: {error}"
                seconds, grown = time.process_time() - start, _peak() - before
                worst, growth = max(worst, seconds), max(growth, grown)
                if seconds > MAX_SECONDS or grown > MAX_GROWTH:
                    trouble = trouble or f"took {seconds:.2f} s and {grown:.0f} MB"
                if trouble:
                    others.append(f"mutant {done}, {hints}: {trouble[:300]}")
                    if keep:
                        target = keep / f"{name.replace(' ', '_')}-{done}"
                        target.mkdir(parents=True, exist_ok=True)
                        for file in folder.iterdir():
                            shutil.copy(file, target / file.name)
                done += 1
    sender.send((done, survived, refused, worst, growth, others))


def _peak() -> float:
    """Highest resident memory of the process so far, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
