"""How long one core takes to spoil an ECG page of 2200 x 1700 dots, and whether its labels stay exact.

    OMP_NUM_THREADS=1 python benchmarks/defects.py [--pages 12] [--seeds 20]

Speed: CPU time of the process, median over pages of different simulated recordings, each kind of page in turn
in every round: clean; with each defect alone; with the chain rotation, perspective, shadow, noise, JPEG; with
`random_defects`. Encoding into files is timed apart. Beside it Pillow's perspective transform alone of the
same picture. ecg-image-kit's 2.0 s (clean) and 5 to 9 s (spoilt) were measured on the machine that ours were
first measured on, not in this run.

Exactness: on a page without grid, pulses and texts, the same page is spoilt with and without its traces, so
that what is darker is theirs: ink is what is at least a third as dark as they are. Largest distance, in dots,
from a point of the labelled traces to ink, and from ink to a labelled trace, dot centre to dot centre. The
outermost dot is left out: a pen that runs just outside the picture darkens it without a label.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from ecglm.image import DEFECTS, Page, draw_page, spoil
from ecglm.simulate import simulate_corpus

CHAIN = "Rotation+Perspective+Shadow+Noise+JPEG"
KIT_CLEAN, KIT_SPOILT = 2.0, (5.0, 9.0)  # seconds a page
OWN_INK = ("Handwriting", "PrintedText", "Stamp")  # they may lie on a trace, which then darkens nothing
FAINT = 1 / 3  # of the traces' usual darkness on the picture; what is paler counts as no ink


def milliseconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def speed(number: int) -> None:
    ecgs = list(simulate_corpus(number, seed=5))

    def draw(k: int) -> Page:
        return draw_page(ecgs[k], paper="letter", dpi=200)

    page = draw(0)
    assert page.image.shape == (1700, 2200, 3)
    picture = Image.fromarray(page.image)
    tilt = (1.05, 0.02, -40, 0.03, 1.04, -20, 2e-5, 1e-5)
    kinds: dict[str, Callable[[int], object]] = {
        "clean": lambda k: draw(k).image,
        "Pillow's perspective alone": lambda k: picture.transform(
            picture.size, Image.Transform.PERSPECTIVE, tilt, Image.Resampling.BILINEAR
        ),
        CHAIN: lambda k: spoil(draw(k), CHAIN, k).image,
        "light": lambda k: spoil(draw(k), "light", k).image,
        "medium": lambda k: spoil(draw(k), "medium", k).image,
        "heavy": lambda k: spoil(draw(k), "heavy", k).image,
        "all 21": lambda k: spoil(draw(k), "+".join(DEFECTS), k).image,
    }
    kinds |= {name: lambda k, name=name: spoil(draw(k), name, k).image for name in DEFECTS}
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    for k in range(number):
        for name, call in kinds.items():
            spent[name].append(milliseconds(lambda call=call, k=k: call(k)))
    print(f"{number} pages of 2200 x 1700 dots, one thread, median CPU time, the clean page's included")
    clean = statistics.median(spent["clean"])
    for name, values in spent.items():
        took = statistics.median(values)
        low, high = (KIT_CLEAN, KIT_CLEAN) if name == "clean" else KIT_SPOILT
        ratio = f"{1000 * low / took:.0f}" + (f" to {1000 * high / took:.0f}" if high > low else "")
        against = "" if name.startswith("Pillow") else f"  ecg-image-kit / ours {ratio}"
        print(f"{name:40} {took:6.1f} ms  {took / clean:4.1f} times the clean page{against}")
    spoilt = spoil(page, CHAIN, 1)
    with tempfile.TemporaryDirectory() as folder:
        for what, one in (("clean", page), ("spoilt", spoilt)):
            for suffix in ("png", "jpg"):
                path = Path(folder) / f"page.{suffix}"
                took = min(milliseconds(lambda one=one, path=path: one.save(path)) for _ in range(3))
                print(f"writing .{suffix}, {what:6} {took:5.0f} ms, {path.stat().st_size / 1e6:.2f} MB")


def exactness(seeds: int) -> None:
    plain = draw_page(next(simulate_corpus(1, seed=2)), "3x4+1", dpi=110, grid=False)
    alone = [name for name in DEFECTS if name not in OWN_INK]
    all_others = "+".join(f"{name}:0.5" for name in alone if name != "JPEG")
    chains = {name: name for name in alone}
    chains |= {
        "Rotation+Perspective+Curvature+Crop": "Rotation+Perspective+Curvature+Crop",
        "Rotation+Perspective+Shadow+Noise": CHAIN.removesuffix("+JPEG"),
        "the same and JPEG": CHAIN,
        "the same and JPEG, all at strength 0.5": ":0.5+".join(CHAIN.split("+")) + ":0.5",
        "all but JPEG and added ink, at 0.5": all_others,
    }
    print(f"\n{seeds} seeds, in dots: points of traces to ink, ink to traces")
    for name, words in chains.items():
        worst = np.max([distances(plain, words, seed) for seed in range(seeds)], axis=0)
        print(f"{name:40} {worst[0]:5.2f} {worst[1]:5.2f}{'' if worst[0] < 2 and worst[1] < 4 else '  OFF'}")


def distances(page: Page, defects: str, seed: int) -> tuple[float, float]:
    """The largest of each kind."""
    traces = [stroke for stroke in page.drawing.strokes if stroke.trace is not None]
    pair = []
    for strokes in (traces, []):
        drawing = replace(page.drawing, strokes=strokes, texts=[])
        geometry = page.geometry if strokes else replace(page.geometry, traces={})
        pair.append(spoil(replace(page, drawing=drawing, geometry=geometry), defects, seed))
    spoilt, empty = pair
    darker = empty.image.mean(axis=2) - spoilt.image.mean(axis=2)
    height, width = darker.shape
    traced = np.zeros(darker.shape, bool)
    for line in (line for lines in spoilt.geometry.traces.values() for line in lines):
        at = np.linspace(0, len(line) - 1, max(2, int(8 * np.abs(np.diff(line, axis=0)).sum())))
        x, y = (np.interp(at, np.arange(len(line)), line[:, k]) for k in (0, 1))
        traced[y.astype(int).clip(0, height - 1), x.astype(int).clip(0, width - 1)] = True
    inked = darker > FAINT * np.median(darker[traced])
    to_ink, to_trace = distance_transform_edt(~inked), distance_transform_edt(~traced)
    within = np.s_[1:-1, 1:-1]
    return to_ink[within][traced[within]].max(), to_trace[within][inked[within]].max()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    speed(arguments.pages)
    exactness(arguments.seeds)


if __name__ == "__main__":
    main()
