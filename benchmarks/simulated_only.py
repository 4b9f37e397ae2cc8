"""How far simulated ECGs carry: AUROC on PTB-XL of a model that has seen no real ECG, code by code.

    ecglm train merl/pretrain_small_simulated --out runs/simulated
    python benchmarks/simulated_only.py /data/ptb-xl --model runs/simulated

Each SCP code that both the simulator and the chosen folds have is scored by its bare statement; codes with
few positives are left out and named. The interval of the mean is bootstrapped by patient.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from ecglm import datasets
from ecglm.evaluation import Bootstrap, metrics
from ecglm.evaluation.rows import patients_of, read_rows
from ecglm.pipelines import embed_texts, input_batches, load_model
from ecglm.prompts import ontology
from ecglm.simulate.conditions import CONDITIONS


def main() -> None:
    """Print one line per code, worst first, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of PTB-XL")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[8])
    parser.add_argument("--min-positives", type=int, default=3)
    args = parser.parse_args()
    rows = datasets.load("ptbxl", root=args.root, folds=args.folds)
    shared = sorted({code for condition in CONDITIONS.values() for code in condition.codes} & set(ontology()))
    targets = np.array([[code in codes for code in shared] for codes in rows["codes"]], dtype=np.int8)
    enough = targets.sum(0) >= args.min_positives
    left_out = [code for code, kept in zip(shared, enough, strict=True) if not kept]
    codes = [code for code, kept in zip(shared, enough, strict=True) if kept]
    model, processor = load_model(args.model, "get_text_features")
    with torch.inference_mode():
        texts = embed_texts(model, processor, [ontology()[code].statement for code in codes])
        batches = input_batches(model, processor, read_rows(rows), total=len(rows))
        scores = np.concatenate(
            [model.similarity(model.get_ecg_features(batch), texts).numpy() for batch in batches]
        )
    settings = Bootstrap()
    weights = metrics.patient_weights(patients_of(rows), settings.resamples, settings.seed)
    macro, each = metrics.macro_auroc(scores, targets[:, enough], weights, settings.level)
    for value, code in sorted((estimate.value, code) for estimate, code in zip(each, codes, strict=True)):
        print(f"{code:8} {value:.3f}")
    print(f"mean of {len(codes)} codes: {macro.value:.3f} ({macro.low:.3f}–{macro.high:.3f})")
    print(f"fewer than {args.min_positives} positives: {' '.join(left_out)}")


if __name__ == "__main__":
    main()
