"""How fast a corpus is drawn as pages, on one core: drawing, encoding, mask, label, each in CPU time.

python benchmarks/render_corpus.py [--pages 20]
"""

import argparse
import json
import time
from collections import defaultdict

import numpy as np

from ecglm.datasets import pages
from ecglm.image import draw_page
from ecglm.simulate import simulate_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=20)
    arguments = parser.parse_args()
    row = dict.fromkeys(("record_id", "patient_id", "report"), "") | {"age": 60, "sex": None, "fold": 0}
    row |= {"texts": [], "codes": [], "labels": []}
    spent: dict[str, list[float]] = defaultdict(list)
    sizes: dict[str, list[int]] = defaultdict(list)

    def timed(name, function, *given):
        begin = time.process_time()
        result = function(*given)
        spent[name].append(1000 * (time.process_time() - begin))
        if isinstance(result, bytes):
            sizes[name].append(len(result))
        return result

    for ecg in simulate_corpus(arguments.pages, seed=0):
        page = draw_page(ecg, paper="letter", dpi=200)
        timed("draw", lambda ecg=ecg: draw_page(ecg, paper="letter", dpi=200).image)
        timed("PNG", pages._encoded, page.image, "png")
        timed("JPEG", pages._encoded, page.image, "jpg")
        timed("mask", pages._mask, page)
        timed("label", lambda page=page: json.dumps(pages.page_label(page, row, {}, False)).encode())
        timed(
            "label with traces", lambda page=page: json.dumps(pages.page_label(page, row, {}, True)).encode()
        )
    print(f"{page.image.shape[1]} x {page.image.shape[0]} dots, median of {arguments.pages} pages")
    for name, values in spent.items():
        size = f"  {np.median(sizes[name]) / 1000:7.1f} kB" if name in sizes else ""
        print(f"{name:18} {np.median(values):6.1f} ms{size}")
    for name in ("PNG", "JPEG"):
        total = sum(np.median(spent[each]) for each in ("draw", name, "label"))
        print(f"pages per second on one core, {name}: {1000 / total:.1f}")


if __name__ == "__main__":
    main()
