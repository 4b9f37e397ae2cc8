"""Draws docs/gallery.md and its pictures, on simulated ECGs: every layout and option of `draw_page`, every
defect of `spoil`.

python benchmarks/gallery.py [docs]
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecglm.ecg import ECG
from ecglm.image import DEFECTS, draw_page, spoil
from ecglm.measure import measure
from ecglm.simulate import simulate

DPI = 84  # enough to see, small enough to keep
PHOTOGRAPH_DPI = 72  # they are larger

INTRODUCTION = """# Gallery

Pages of simulated ECGs, made by `python benchmarks/gallery.py`. `page.geometry` has the place of every lead,
text and trace point; `page.save` writes PNG, JPEG, SVG or PDF that print at their true size. On the command
line: `ecglm render RECORD -o page.pdf --layout 3x4+3 --paper a4`, and to spoil it `ecglm render RECORD -o
page.jpg --defects Creases+Shadow:0.5`. [All about pages](images.md)
"""


def exhibits() -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, caption and picture of each page; a name without a picture begins a section."""

    def page(name: str, caption: str, ecg: ECG, layout: str, **options: Any) -> tuple[str, str, np.ndarray]:
        """Options that are no plain values are named in the caption by their parameter."""
        said = [f'"{layout}"']
        said += [
            f"{key}={value!r}" if isinstance(value, str | int | float) else f"{key}={key}"
            for key, value in options.items()
        ]
        call = f"draw_page(ecg, {', '.join(said)})"
        return name, f"{caption} `{call}`", draw_page(ecg, layout, dpi=DPI, **options).image

    normal, stemi, wpw = simulate("normal", 1), simulate("stemi_anterior", 5), simulate("wpw", 1)
    nothing = np.zeros((0, 0, 3), np.uint8)
    yield "Layouts", "", nothing
    yield page("3x4", "Three rows of four, 2.5 s each.", normal, "3x4")
    yield page("3x4+1", "With a rhythm strip of lead II.", stemi, "3x4+1", paper="letter")
    yield page("3x4+3", "With strips of V1, II and V5.", simulate("afib", 2), "3x4+3", paper="a4")
    yield page("6x2", "Six rows of two, 5 s each.", simulate("rbbb", 3), "6x2")
    yield page("6x2+1", "With a rhythm strip.", simulate("pvc", 4), "6x2+1", paper="a4")
    yield page("4x3", "Four rows of three.", simulate("lvh_strain", 6), "4x3")
    yield page("12x1", "Twelve rows of 10 s.", simulate("mobitz1", 8), "12x1", paper="letter")
    yield page("median", "The median beat of each lead.", stemi, "median", speed=50)
    long = simulate("sinus_arrhythmia", 9, duration=30)
    yield page("strip", "Single leads in lines of 10 s; here lead II for 30 s.", long, "strip")
    yield page(
        "ecg-image-kit",
        "Everything where ecg-image-kit puts it, for models that were trained on its pages.",
        simulate("lbbb", 3),
        "3x4+1",
        paper="ecg-image-kit",
        colours="ecg-image-kit",
    )

    yield "Order and time", "", nothing
    inferior = simulate("old_mi_inferior", 2)
    yield page("cabrera", "Cabrera's order of the limb leads.", inferior, "6x2", order="cabrera")
    yield page(
        "simultaneous",
        "Every column shows the same seconds.",
        normal,
        "3x4",
        timing="simultaneous",
        speed=50,
        paper="a4",
    )

    yield "Colours", "", nothing
    for colours in ("blue", "green", "grey", "black_and_white"):
        yield page(colours, "", normal, "3x4", colours=colours)

    yield "Measurements, pacing, overlays", "", nothing
    measured = measure(stemi)
    caption = "Measurements in the header, as an unconfirmed draft, and the waves behind them."
    yield page("measured", caption, stemi, "3x4+1", measurements=measured, overlay=measured)
    yield page(
        "pacing", "Pacing spikes, marked below the strip.", simulate("pacing_dual", 3), "3x4+1", gain=5
    )
    caption = "Saliency, an array of the signal's shape: red speaks for, blue against. Here it is the slope."
    yield page("saliency", caption, wpw, "6x2", overlay=np.gradient(wpw.signal, axis=1))
    boxes = draw_page(normal, "3x4", dpi=DPI).geometry.lead_boxes
    yield page("boxes", "Boxes with labels, here those of the leads.", normal, "3x4", overlay=boxes)

    yield "Too little, too much", "", nothing
    yield page("missing", "Leads that were not recorded, samples that are unknown.", holes(normal), "3x4+1")
    yield page("cut", "V2 and V3 run too far out of their rows.", loud(normal), "12x1", paper="letter")
    yield page("short", "Two seconds.", normal.crop(0, 2), "3x4")

    yield "Defects", "", nothing
    letter = draw_page(stemi, "3x4+1", paper="letter", dpi=PHOTOGRAPH_DPI)
    for name, kind in DEFECTS.items():
        summary = str(kind.__doc__).splitlines()[0]
        yield name, f'{summary} `spoil(page, "{name}", seed=3)`', spoil(letter, name, 3).image

    yield "Defects as they come together", "", nothing
    for name, defects, seed in (
        ("scan", "light", 17),
        ("telephone", "medium", 4),
        ("bad-telephone", "heavy", 3),
        ("chosen", "Creases+Stains:0.7+Perspective+Shadow:0.6+Noise:0.4+JPEG:0.5", 5),
    ):
        spoilt = spoil(letter, defects, seed)
        kinds = ", ".join(f"{type(defect).__name__} {defect.strength:g}" for defect in spoilt.defects)
        yield name, f'`spoil(page, "{defects}", seed={seed})`: {kinds}.', spoilt.image


def holes(ecg: ECG) -> ECG:
    """Without V5 and V6, II unknown for 2 s, III throughout."""
    signal = ecg.signal[:10].copy()
    signal[1, 2500:3500] = np.nan
    signal[2] = np.nan
    return ECG(signal, ecg.sampling_rate, ecg.leads[:10], ecg.metadata)


def loud(ecg: ECG) -> ECG:
    """V2 and V3 as if by a wrong gain."""
    signal = ecg.signal.copy()
    signal[7:9] *= 6
    return ECG(signal, ecg.sampling_rate, ecg.leads, ecg.metadata)


def main() -> None:
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    folder = docs / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    text = INTRODUCTION
    for name, caption, image in exhibits():
        if not image.size:
            text += f"\n## {name}\n"
            continue
        if "spoil(" in caption:  # a photograph
            file = f"{name}.jpg"
            Image.fromarray(image).save(folder / file, quality=60, optimize=True)
        else:
            file = f"{name}.png"
            picture = Image.fromarray(image)
            picture = picture.quantize(255, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            picture.save(folder / file, optimize=True, dpi=(DPI, DPI))
        text += f"\n### {name}\n\n{caption.strip()}\n\n![{name}](gallery/{file})\n"
    (docs / "gallery.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
