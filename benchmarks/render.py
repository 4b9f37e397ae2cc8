"""How long one core takes for a clean ECG page of 2200 x 1700 dots, as an array, texts and geometry included.

    OMP_NUM_THREADS=1 python benchmarks/render.py [pages]

CPU time of the process, the median over pages of different simulated recordings with different headers. The
peer in the same run is the former way: Pillow draws the same lines three times larger and averages them down,
on the same cached grid. Encoding the page into files is timed apart. ecg-image-kit's 2.0 s for such a page
were measured on the machine that ours were first measured on, not in this run.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from PIL import Image, ImageDraw

from ecglm.image import Page, draw_page
from ecglm.image.raster import background, write
from ecglm.simulate import simulate_corpus

DPI = 200
KIT_SECONDS = 2.0  # ecg-image-kit, the same page, clean, one core
FINER = 3  # times larger for Pillow


def milliseconds(calls: list[Callable[[], object]]) -> float:
    """Median CPU time."""
    times = []
    for call in calls:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def with_pillow(page: Page) -> np.ndarray:
    """The page's layers drawn by Pillow."""
    drawing, size, scale = page.drawing, page.geometry.size, DPI / 25.4
    large = Image.new("L", (size[0] * FINER, size[1] * FINER))
    draw = ImageDraw.Draw(large)
    for stroke in drawing.strokes:
        width = round(stroke.width * scale * FINER)
        draw.line((stroke.points * scale * FINER).ravel().tolist(), fill=255, width=width)
    picture = Image.fromarray(background(drawing.grid, drawing.paper, size, scale))
    picture.paste(drawing.strokes[0].colour, mask=large.reduce(FINER))
    image = np.array(picture)
    for text in drawing.texts:
        write(image, text, scale, drawing.font)
    return image


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    ecgs = list(simulate_corpus(number, seed=5))
    headers = [f"page {k} | QRS {80 + k} ms" for k in range(number)]
    print(f"{number} pages of 2200 x 1700 dots, one thread, median CPU time")
    for layout in ("3x4+1", "3x4+3", "6x2", "12x1"):

        def draw(k: int, layout: str = layout, dpi: float = DPI) -> Page:
            return draw_page(ecgs[k], layout, paper="letter", dpi=dpi, header=headers[k])

        draw(0).image  # noqa: B018, the first of a size draws its grid
        ours = milliseconds([lambda k=k: draw(k).image for k in range(number)])
        pages = [draw(k) for k in range(min(number, 5))]
        assert {page.image.shape for page in pages} == {(1700, 2200, 3)}  # drawn, for what follows
        pillow = milliseconds([lambda page=page: with_pillow(page) for page in pages])
        print(
            f"{layout:6} {ours:6.1f} ms, {1000 / ours:4.0f} pages/s; Pillow {pillow:5.0f} ms, "
            f"ratio {pillow / ours:4.1f}; ecg-image-kit {1000 * KIT_SECONDS:.0f} ms, "
            f"ratio {1000 * KIT_SECONDS / ours:3.0f}"
        )
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("png", "jpg", "svg", "pdf"):
            path = Path(folder) / f"page.{suffix}"
            took = milliseconds([lambda page=page, path=path: page.save(path) for page in pages])
            print(f"writing .{suffix} (12x1) {took:5.0f} ms, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
