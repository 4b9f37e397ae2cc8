"""How fast Philips XML and HL7 aECG are read beside `sierraecg` and `aecg`, in one run on the same files.

    python3.12 -m venv peers; peers/bin/pip install sierraecg aecg "python-benedict[io]"
    python benchmarks/read_vendor_xml.py peers/bin/python FILE.xml …

The peers run in an interpreter of their own. CPU time of reading a file counts; each file is read once
before, then ten times, and the median counts. The samples of the leads are compared in millivolts.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ecglm import read

ROUNDS = 10
PEER = """
import json, statistics, sys, time, warnings
import numpy as np

def philips(path):
    import sierraecg
    leads = sierraecg.read_file(path).leads
    return [lead.label for lead in leads], np.array([lead.samples for lead in leads]) * 0.005

def aecg_xml(path):
    import aecg
    table = aecg.read(path).series[0].sequence_sets[0].get_sequences_df()
    names = [name for name in table.columns if "LEAD" in str(name)]
    return [str(name) for name in names], table[names].to_numpy(float).T

warnings.simplefilter("ignore")
out = []
for path, kind, target in json.loads(sys.argv[1]):
    reader = {"philips": philips, "aecg": aecg_xml}[kind]
    try:
        names, values = reader(path)
    except Exception as error:
        out.append([None, type(error).__name__])
        continue
    np.save(target, values)
    times = []
    for _ in range(int(sys.argv[2])):
        start = time.process_time()
        reader(path)
        times.append(time.process_time() - start)
    out.append([names, statistics.median(times)])
print(json.dumps(out))
"""


def main() -> None:
    python, files = sys.argv[1], [Path(name) for name in sys.argv[2:]]
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for number, path in enumerate(files):
            kind = "philips" if "Philips" in read(path).metadata["source"] else "aecg"
            jobs.append((str(path), kind, f"{folder}/{number}.npy"))
        done = subprocess.run(
            [python, "-c", PEER, json.dumps(jobs), str(ROUNDS)], check=True, capture_output=True, text=True
        )
        print("| file | ecglm.read | peer | ratio | largest difference |\n|---|---|---|---|---|")
        for (path, kind, target), (names, theirs) in zip(jobs, json.loads(done.stdout), strict=True):
            times = []
            for _ in range(ROUNDS):
                start = time.process_time()
                ecg = read(path)
                times.append(time.process_time() - start)
            ours = statistics.median(times)
            name = Path(path).name
            peer = "sierraecg" if kind == "philips" else "aecg"
            if names is None:
                print(f"| {name} | {ours * 1e3:.1f} ms | {peer} does not read it ({theirs}) | – | – |")
                continue
            values = np.load(target)[:, : ecg.num_samples]
            rows = [ecg.lead(each) for each in names]
            difference = max(
                float(np.abs(row - value).max()) for row, value in zip(rows, values, strict=True)
            )
            print(
                f"| {name} | {ours * 1e3:.1f} ms | {peer} {theirs * 1e3:.1f} ms | {theirs / ours:.1f} | "
                f"{difference:.1e} mV |"
            )


if __name__ == "__main__":
    main()
