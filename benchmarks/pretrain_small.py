"""The table of `merl/pretrain_small` on PTB-XL: training texts × prompts, several seeds, as Markdown.

    OMP_NUM_THREADS=1 python benchmarks/pretrain_small.py /data/ptb-xl --seeds 0 1 2

Trains each text once per seed on folds 1 to 7 and judges on fold 8; the models stay in --out, where a second
run finds them. A figure is the mean over seeds; its interval is the mean of the seeds' bootstrap intervals by
patient, so it holds the chance of the sample, while the seeds' own figures stand beside it.

`--calibrate FOLD` prints instead the scale and bias that turn logits into calibrated probabilities (Platt
1999), fitted on the single statements of a fold not trained on (`--folds 1 2 3 4 5 6 --calibrate 7`).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ecglm import datasets, prompts, train
from ecglm.evaluation import evaluate
from ecglm.evaluation.metrics import fit_platt
from ecglm.evaluation.rows import read_rows
from ecglm.pipelines import embed_texts, input_batches, load_model

SCRATCH = [
    "model.text_model=null",
    "model.freeze_text=false",
    "model.text_config={num_hidden_layers: 0}",
    "processor.tokenizer={train: sentencepiece, vocab_size: 1500, lowercase: true}",
]
AFTERWARDS = ["trainer.num_train_epochs=25", "trainer.learning_rate=1e-3"]
SIMULATED = {  # name → recipe and overrides of the stage that training goes on from
    "simulated": ("merl/pretrain_small_simulated", []),
    "simulated-reports": (
        "merl/pretrain_small_reports",
        [
            *("data.name=simulated", "data.num_records=16000", "trainer.num_train_epochs=10"),
            *("model.dropout=0.1", "augment={shift: 0.05, spans: {per_record: 3, max_words: 7, whole: 0.3}}"),
        ],
    ),
}
KNOWLEDGE = ["ckepe/ptbxl", "zero_shot/ptbxl_unseen", "zero_shot/ptbxl_names"]
TEXTS = {  # name → recipe, overrides, prompt sets
    "statements": ("merl/pretrain_small", [], KNOWLEDGE),
    "statements-simulated": ("merl/pretrain_small", [*AFTERWARDS, "augment.templates=0.2"], KNOWLEDGE),
    "statements-scratch": ("merl/pretrain_small", SCRATCH, KNOWLEDGE),
    "reports": ("merl/pretrain_small_reports", [], ["zero_shot/ptbxl_reports", *KNOWLEDGE]),
    "reports-simulated": (
        "merl/pretrain_small_reports",
        AFTERWARDS,
        ["zero_shot/ptbxl_reports", *KNOWLEDGE],
    ),
}


def trained(args: argparse.Namespace, text: str, seed: int) -> Path:
    """The model folder of one text and seed, trained now if it is not there yet."""
    folder = args.out / f"{text}-folds{''.join(map(str, args.folds))}-seed{seed}"
    if not folder.exists():
        recipe, overrides, _ = TEXTS[text]
        given = [f"data.root={args.root}", f"data.folds={args.folds}", f"trainer.seed={seed}"]
        if text == "statements-simulated":
            given += [f"init_from={simulated(args, 'simulated')}"]
        if text == "reports-simulated":  # another tokenizer, so only the ECG encoder goes on
            given += [f"model.ecg_model={simulated(args, 'simulated-reports')}"]
        start = time.process_time()
        train.run(recipe, [*overrides, *given, "trainer.use_cpu=true", *args.set], out=folder)
        print(f"{folder.name}: {(time.process_time() - start) / 60:.1f} core minutes", file=sys.stderr)
    return folder


def simulated(args: argparse.Namespace, name: str) -> Path:
    """A model that has seen simulated ECGs only; all seeds go on from this one."""
    folder = args.out / name
    if not folder.exists():
        recipe, overrides = SIMULATED[name]
        train.run(recipe, [*overrides, "trainer.use_cpu=true", *args.set], out=folder)
    return folder


def row(args: argparse.Namespace, text: str, prompt_set: str | None) -> str:
    """One line of the table."""
    given = [f"data.root={args.root}", f"data.folds={args.test}"]
    if prompt_set is None:
        given += ["mode=probe", f"data.train_folds={args.folds}"]
    else:
        given += [f"prompts={prompt_set}"]
    results = [
        evaluate("classification/ptbxl_super", trained(args, text, seed), given) for seed in args.seeds
    ]
    figures = [result.metrics["macro_auroc"] for result in results]
    value, low, high = (
        np.mean([getattr(figure, name) for figure in figures]) for name in ("value", "low", "high")
    )
    classes = " · ".join(
        f"{name} {np.mean([result.per_class[name]['auroc'].value for result in results]):.3f}"
        for name in results[0].classes
    )
    seeds = " ".join(f"{figure.value:.3f}" for figure in figures)
    prompt_name = prompt_set or "linear probe"
    return f"| {text} | {prompt_name} | {value:.3f} ({low:.3f}–{high:.3f}) | {seeds} | {classes} |"


@torch.inference_mode()
def calibration(args: argparse.Namespace, text: str, fold: int) -> tuple[float, float]:
    """Platt's scale and bias, from every SCP statement against every recording of the fold."""
    rows = datasets.load("ptbxl", root=args.root, folds=[fold])
    statements = prompts.ontology()
    logits, targets = [], []
    for seed in args.seeds:
        model, processor = load_model(trained(args, text, seed), "get_text_features")
        texts = embed_texts(model, processor, [entry.statement for entry in statements.values()])
        for batch in input_batches(model, processor, read_rows(rows), total=len(rows)):
            logits.append(model.similarity(model.get_ecg_features(batch), texts).numpy())
        targets.append(np.array([[code in codes for code in statements] for codes in rows["codes"]]))
    return fit_platt(np.concatenate(logits), np.concatenate(targets))


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of PTB-XL")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7], help="to train on")
    parser.add_argument("--test", type=int, nargs="+", default=[8], help="to judge on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--texts", nargs="+", choices=TEXTS, default=list(TEXTS))
    parser.add_argument("--out", type=Path, default=Path("runs/pretrain_small"))
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the recipes, section.key=value")
    parser.add_argument("--calibrate", type=int, metavar="FOLD")
    parser.add_argument("--train-only", action="store_true")
    args = parser.parse_args()
    if args.calibrate is not None:
        for text in args.texts:
            scale, bias = calibration(args, text, args.calibrate)
            print(f"{text}: calibration_scale: {scale:.3f}, calibration_bias: {bias:.3f}")
        return
    for text in args.texts:
        for seed in args.seeds:
            trained(args, text, seed)
    if args.train_only:
        return
    print("| training text | prompts | macro AUROC (95 % interval) | seeds | by class |")
    print("|---|---|---|---|---|")
    for text in args.texts:
        for prompt_set in [*TEXTS[text][2], None]:
            print(row(args, text, prompt_set), flush=True)


if __name__ == "__main__":
    main()
