"""A corpus as pictures: pages with their labels, in shards for training.

A folder of pages holds `SPLIT-00000.tar` … (WebDataset: the files of a page share their name up to the first
dot) or `SPLIT-00000.parquet` …, and `manifest.json`, which names the corpus, the settings, every shard, and
each recording that could not be drawn. A shard is written aside and renamed, so that what is there is whole:
a run that was broken off goes on where it stopped. What a page looks like depends on the seed and its place
in the corpus alone, so any number of processes makes the same bytes.

    00000042.png        the page (.jpg if wanted)
    00000042.json       its label: see `page_label`
    00000042.mask.png   on demand: 0, or 1 + the index in the label's `leads` where that lead has ink
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from inspect import signature
from itertools import islice
from multiprocessing import get_context, parent_process
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecglm.assets import refuse_unknown
from ecglm.datasets._rows import SPLITS, EmptySelection, choose, read_row
from ecglm.ecg import ECG, LEADS_12
from ecglm.image import Page, draw_page, spoil
from ecglm.image.defects import defects_of
from ecglm.image.raster import cover, size_in_dots

FORMATS = ("tar", "parquet")
IMAGES = ("png", "jpg")
PAGE_SETTINGS = (
    *(
        name
        for name in signature(draw_page).parameters
        if name not in ("ecg", "header", "measurements", "pacing", "overlay")
    ),
    "defects",
)
"""What a corpus of pages may set: arguments of `ecglm.image.draw_page`, and `defects` as of `spoil`."""

_MANIFEST = "manifest.json"
_FORMAT = 1
_MESH = 5.0  # mm from point to point; bilinear between them it is true to some 0.01 mm
_MAX_BOXES = 1000  # of a page, in the numbering of COCO's annotations


@dataclass
class Rendered:
    """What came of it.

    Args:
        out: the folder.
        written: pages written by this run.
        skipped: pages that were there already.
        failed: record and reason of each recording that has no page, of earlier runs as well.
    """

    out: Path
    written: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """How every page of a corpus is made; the same in each process."""

    out: Path
    format: str
    image: str
    page: dict[str, list[Any]]
    copies: int
    seed: int
    traces: bool
    masks: bool
    boxes: bool


def render_corpus(
    name: str,
    root: str | PathLike | None,
    out: str | PathLike,
    *,
    splits: Sequence[str] = SPLITS,
    page: Mapping[str, Any] | None = None,
    copies: int = 1,
    seed: int = 0,
    format: str = "tar",
    image: str = "png",
    traces: bool = False,
    masks: bool = False,
    boxes: bool = False,
    records_per_shard: int = 256,
    num_workers: int = 1,
    **options: Any,
) -> Rendered:
    """Draw a corpus.

    Call it below `if __name__ == "__main__":` in a script where `num_workers` is above 1.

    Args:
        name: the corpus, one of `ecglm.datasets.CORPORA`.
        root: its folder; None for "simulated".
        out: folder for the shards; one that the same call began is completed.
        splits: those to draw; a split without records is left out.
        page: arguments of `draw_page`, and `defects` in the words of `ecglm.image.defects.defects_of`
            (`PAGE_SETTINGS`); of a list, one is drawn by lot for each page, for example
            `{"layout": ["3x4+1", "12x1"], "defects": ["none", "light", "Rotation:0.5+Noise"]}`.
        copies: pages of each recording.
        seed: of what is drawn by lot.
        format: "tar" for WebDataset, or "parquet", which `datasets.load_dataset` reads, pictures decoded.
        image: "png", or "jpg" with a quality of 92.
        traces: labels hold the polylines too, some 200 kB a page.
        masks: a picture beside each page says which lead's ink stands where.
        boxes: `SPLIT-00000.coco.json` beside each shard holds the boxes of leads and texts as COCO does.
        records_per_shard: recordings in a shard.
        num_workers: processes.
        **options: those of the corpus's `load`.

    Returns:
        What was written, what was there, and what failed.

    Raises:
        ValueError: if a setting is wrong, `out` was begun with other settings, or no recording could be
            drawn; nothing is left behind then.
        FileNotFoundError: if the corpus is missing.
    """
    from tqdm import tqdm

    plan = _checked(
        _Plan(Path(out), format, image, page_choices(page or {}), copies, seed, traces, masks, boxes)
    )
    for label, value in (("records_per_shard", records_per_shard), ("num_workers", num_workers)):
        if value < 1:
            raise ValueError(f"{label} must be 1 or more, got {value}")
    parts = _splits(name, root, splits, options)
    settings = {
        "format": _FORMAT,
        "corpus": name,
        "options": options,
        "records": {split: len(rows) for split, rows in parts.items()},
        "records_per_shard": records_per_shard,
        "page": plan.page,
        "copies": copies,
        "seed": seed,
        **{"suffix": format, "image": image, "traces": traces, "masks": masks, "boxes": boxes},
    }
    settings = json.loads(json.dumps(settings, default=str))
    fresh = _begin(plan.out, settings)

    done = Rendered(plan.out)
    summaries: dict[str, Any] = {}
    total = copies * sum(map(len, parts.values()))
    with tqdm(total=total, desc="drawing", unit="page", disable=None) as progress:
        shards = _shards(parts, records_per_shard)
        for shard, summary, new in _drawn(shards, plan, num_workers):
            summaries[shard] = summary
            if new:
                done.written += summary["pages"]
            else:
                done.skipped += summary["pages"]
            progress.update(summary["pages"] + copies * len(summary["failed"]))
    for shard in sorted(summaries):
        done.failed += [(each["record_id"], each["reason"]) for each in summaries[shard]["failed"]]
    if not done.written + done.skipped:
        record, reason = done.failed[0]
        if fresh:
            _remove(plan, summaries)
        raise ValueError(f"none of {len(done.failed)} recordings could be drawn; {record}: {reason}")
    found = {
        "complete": True,
        "shards": [
            {
                "name": f"{shard}.{format}",
                "pages": summaries[shard]["pages"],
                "bytes": summaries[shard]["bytes"],
            }
            for shard in sorted(summaries)
        ],
        "failed": [{"record_id": record, "reason": reason} for record, reason in done.failed],
    }
    _write_json(plan.out / _MANIFEST, settings | found)
    return done


def page_choices(page: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values among which each setting of a page is drawn by lot.

    Args:
        page: settings of `PAGE_SETTINGS`, each a value or a list of values.

    Raises:
        ValueError: if a name is not in `PAGE_SETTINGS`, a list is empty, or defects are not known.
    """
    refuse_unknown("page", page, PAGE_SETTINGS)
    choices = {name: value if isinstance(value, list) else [value] for name, value in page.items()}
    empty = [name for name, values in choices.items() if not values]
    if empty:
        raise ValueError(f"page.{empty[0]} is an empty list; name at least one value")
    for wanted in choices.get("defects", []):
        defects_of(wanted)
    return choices


def draw_by_lot(
    ecg: ECG, choices: Mapping[str, list[Any]], rng: np.random.Generator
) -> tuple[Page, dict[str, Any]]:
    """A page of a recording, maybe spoilt, and what was drawn from `page_choices` for `draw_page`."""

    def one(values: list[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    settings = {name: one(values) for name, values in choices.items() if name != "defects"}
    page = draw_page(ecg, **settings)
    if "defects" in choices:
        page = spoil(page, one(choices["defects"]), int(rng.integers(2**31)))
    return page, settings


def page_label(
    page: Page, row: Mapping[str, Any], settings: Mapping[str, Any], traces: bool
) -> dict[str, Any]:
    """The label of a page: what is known of the recording, how it was drawn, where everything stands.

    Args:
        page: as drawn.
        row: of the corpus, with the common columns.
        settings: arguments of `draw_page`.
        traces: whether polylines are included, rounded to a hundredth of a dot.

    Returns:
        Plain values: `record_id`, `patient_id`, `age`, `sex`, `report`, `texts`, `codes`, `labels` and `fold`
            of the row; `page` (the settings), `defects` and their `seed`, as `ecglm.image.spoil` takes them,
            `notes` (missing and cut leads), `dpi`; `size` (width, height) of the picture in dots; `to_flat`,
            from the picture to the flat page: a `homography` (3, 3), or where the paper is bent a `mesh`,
            the flat page's dots under every `step` dots of the picture, (rows, columns, 2); `to_mm`, (2, 3),
            from dots of the flat page to mm; `leads`, a list of `name` (as in `ecglm.image.Geometry`), `box`
            (x0, y0, x1, y1 in dots of the picture), `to_signal` (2, 3), from dots of the flat page to seconds
            and mV, and `trace`, a list of polylines in dots of the picture; `page_texts`, a list of `text`
            and `box`.
    """
    known = ("record_id", "patient_id", "age", "sex", "report", "texts", "codes", "labels", "fold")
    geometry = page.geometry
    leads = []
    for name, box in geometry.lead_boxes.items():
        lead: dict[str, Any] = {"name": name, "box": _rounded(box)}
        lead["to_signal"] = geometry.to_signal[name].tolist()
        if traces:
            lead["trace"] = [np.round(line, 2).tolist() for line in geometry.traces[name]]
        leads.append(lead)
    return {
        **{key: row[key] for key in known},
        "page": dict(settings),
        "defects": [defect.settings() for defect in page.defects],
        "seed": page.seed,
        "notes": list(page.notes),
        "dpi": geometry.dpi,
        "size": list(geometry.size),
        "to_flat": _to_flat(page),
        "to_mm": geometry.to_mm.tolist(),
        "leads": leads,
        "page_texts": [{"text": text, "box": _rounded(box)} for text, box in geometry.text_boxes],
    }


def _to_flat(page: Page) -> dict[str, Any]:
    matrix = page.geometry.warp.homography
    if matrix is not None:
        inverse = np.linalg.inv(matrix)
        return {"homography": (inverse / inverse[2, 2]).tolist()}
    step = max(4, round(_MESH * page.geometry.dpi / 25.4))
    mesh = page.geometry.warp.mesh(page.geometry.size, step)
    return {"step": step, "mesh": np.round(mesh, 2).tolist()}


def lead_mask(page: Page) -> np.ndarray:
    """Which lead's ink covers at least half of a dot: (height, width) uint8, 0 where none does.

    The number of a lead is 1 + its index in `page.geometry.traces`; where leads cross, the later one counts.
    """
    width, height = page.geometry.size
    mask = np.zeros(height * width, np.uint8)
    pens = {stroke.trace: stroke.width for stroke in page.drawing.strokes if stroke.trace is not None}
    flat = size_in_dots(page.drawing, page.geometry.dpi)
    scale = page.geometry.warp.scale(flat) * page.geometry.dpi / 25.4
    for number, (name, lines) in enumerate(page.geometry.traces.items(), start=1):
        dots = pens[name] * scale
        index, coverage = cover(lines, dots, (width, height))
        mask[index[coverage >= 0.5 * min(dots, 1.0)]] = number
    return mask.reshape(height, width)


def coco(labels: Sequence[Mapping[str, Any]], names: Sequence[str], first: int) -> dict[str, Any]:
    """Boxes of leads and texts as COCO's annotation files hold them.

    Args:
        labels: of pages, as `page_label` gives them.
        names: file name of each page.
        first: number of the first page; numbers of pages and boxes are unique over a split.
    """
    categories = [*LEADS_12, "-aVR", "text"]
    known = {name: number for number, name in enumerate(categories, start=1)}
    images, annotations = [], []
    for number, (label, name) in enumerate(zip(labels, names, strict=True), start=first):
        width, height = label["size"]
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        boxes = [(each["name"], each["box"]) for each in label["leads"]]
        boxes += [("text", each["box"]) for each in label["page_texts"]]
        assert len(boxes) < _MAX_BOXES, "the boxes' numbers would meet the next page's"
        for box, (what, (x0, y0, x1, y1)) in enumerate(boxes):
            lead, _, part = what.partition("/")
            annotations.append(
                {
                    "id": number * _MAX_BOXES + box,
                    "image_id": number,
                    "category_id": known.setdefault(lead, len(known) + 1),
                    "bbox": _rounded((x0, y0, x1 - x0, y1 - y0)),
                    "area": round((x1 - x0) * (y1 - y0), 2),
                    "iscrowd": 0,
                    "part": part,
                }
            )
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in known.items()],
    }


# ------------------------------------------------------------------------------------------- before it starts


def _checked(plan: _Plan) -> _Plan:
    """Refuse what would fail on every page, by drawing one of nothing."""
    choose("format", plan.format, FORMATS)
    choose("image", plan.image, IMAGES)
    if plan.copies < 1 or plan.seed < 0:
        raise ValueError(f"copies must be 1 or more and seed 0 or more, got {plan.copies} and {plan.seed}")
    blank = ECG(np.zeros((12, 5000), np.float32), 500, LEADS_12, {})
    for name, values in plan.page.items():
        for value in values:
            if name not in (
                "layout",
                "leads",
                "start",
                "defects",
            ):  # these ask for others, or for a recording
                draw_page(blank, **{"dpi": 20, name: value})
    for layout in plan.page.get("layout", []):
        if layout != "median":  # there is no beat in it
            draw_page(blank, layout, dpi=20)
    return plan


def _splits(
    name: str, root: str | PathLike | None, splits: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The rows of each split that has some."""
    from ecglm.datasets import load

    parts, empty = {}, None
    for split in splits:
        choose("split", split, SPLITS)
        try:
            parts[split] = load(name, root, split, **options)
        except EmptySelection as error:
            empty = error
    if not parts:
        raise empty or ValueError("splits is empty; name at least one")
    return parts


def _begin(out: Path, settings: dict[str, Any]) -> bool:
    """Make the folder, or see whether it is one to go on with; whether it is new comes back."""
    manifest = out / _MANIFEST
    if not out.exists():
        out.mkdir(parents=True)
        _write_json(manifest, settings | {"complete": False})
        return True
    if not manifest.is_file():
        raise ValueError(f"{out} is there already and holds no pages; give another folder")
    try:
        before = json.loads(manifest.read_text(encoding="utf-8"))
        changed = [key for key in settings if before[key] != settings[key]]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{manifest} is not readable; give another folder, or remove this one") from None
    if changed:
        raise ValueError(
            f"{out} was begun with other settings ({', '.join(changed)}); give the same, or another folder"
        )
    for left in out.glob(".*.part"):  # of a process that was killed
        left.unlink()
    return False


def _remove(plan: _Plan, summaries: Mapping[str, Any]) -> None:
    """Undo a run that wrote no page."""
    for shard in summaries:
        for path in _files(plan, shard):
            path.unlink(missing_ok=True)
    (plan.out / _MANIFEST).unlink()
    plan.out.rmdir()


# ----------------------------------------------------------------------------------------------------- shards


def _shards(parts: Mapping[str, Any], size: int) -> Iterator[tuple[str, int, Any]]:
    """Name, number of the first record and dataset of each shard."""
    for split, rows in parts.items():
        for number, first in enumerate(range(0, len(rows), size)):
            yield f"{split}-{number:05d}", first, rows.select(range(first, min(first + size, len(rows))))


def _drawn(
    shards: Iterator[tuple[str, int, Any]], plan: _Plan, num_workers: int
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Name and summary of each shard as it gets ready, and whether it had to be drawn."""
    missing = []
    for shard, first, rows in shards:
        summary = _summary(plan, shard)
        if summary is None:
            missing.append((shard, first, rows))
        else:
            yield shard, summary, False
    if num_workers == 1:
        for shard, first, rows in missing:
            yield shard, _draw_shard(plan, shard, first, rows.to_list()), True
        return
    waiting = iter(missing)
    # Not by fork: libraries of the calling process may hold threads.
    context = get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_end_with_parent) as pool:
        running: dict[Future[dict[str, Any]], str] = {}
        while True:
            for shard, first, rows in islice(waiting, 2 * num_workers - len(running)):
                running[pool.submit(_draw_shard, plan, shard, first, rows.to_list())] = shard
            if not running:
                return
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                yield running.pop(future), future.result(), True


def _end_with_parent() -> None:
    """A killed run must not go on in its processes: it would write what the next run writes."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _files(plan: _Plan, shard: str) -> list[Path]:
    """All that belongs to a shard; the last is written last."""
    pages = plan.out / f"{shard}.{plan.format}"
    return [
        *([plan.out / f"{shard}.coco.json"] if plan.boxes else []),
        plan.out / f"{shard}.done.json",
        pages,
    ]


def _summary(plan: _Plan, shard: str) -> dict[str, Any] | None:
    """What a finished shard holds."""
    *_, done, pages = _files(plan, shard)
    if not pages.is_file():
        return None
    summary = json.loads(done.read_text(encoding="utf-8"))
    if pages.stat().st_size != summary["bytes"]:
        raise ValueError(
            f"{pages} has {pages.stat().st_size} bytes, not {summary['bytes']}; remove it to go on"
        )
    return summary


def _draw_shard(plan: _Plan, shard: str, first: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a shard; what it holds and what failed comes back."""
    split = SPLITS.index(shard.rpartition("-")[0])

    def rng(number: int, copy: int) -> np.random.Generator:
        return np.random.default_rng([plan.seed, split, number, copy])

    failed: list[dict[str, str]] = []
    labels: list[dict[str, Any]] = []
    names: list[str] = []
    aside = plan.out / f".{shard}.{os.getpid()}.part"
    try:
        with _Writer(plan, aside) as writer:
            for number, row in enumerate(rows, start=first):
                try:
                    ecg = read_row(row)
                    pages = [draw_by_lot(ecg, plan.page, rng(number, copy)) for copy in range(plan.copies)]
                except (ValueError, OSError) as error:
                    reason = " ".join(str(error).split())
                    failed.append({"record_id": row["record_id"], "reason": reason})
                    continue
                for copy, (page, settings) in enumerate(pages):
                    key = f"{number:08d}" if plan.copies == 1 else f"{number:08d}_{copy}"
                    label = page_label(page, row, settings, plan.traces)
                    writer.add(
                        key, _encoded(page.image, plan.image), label, _mask(page) if plan.masks else None
                    )
                    names.append(f"{key}.{plan.image}")
                    if plan.boxes:
                        labels.append({key: label[key] for key in ("size", "leads", "page_texts")})
        summary = {"pages": len(names), "bytes": aside.stat().st_size, "failed": failed}
        *extra, done, pages_file = _files(plan, shard)
        if extra:
            _write_json(extra[0], coco(labels, names, first * plan.copies))
        _write_json(done, summary)
        aside.replace(pages_file)
    finally:
        aside.unlink(missing_ok=True)
    return summary


class _Writer:
    """Writes pages into one file, tar or Parquet."""

    def __init__(self, plan: _Plan, path: Path) -> None:
        self._plan, self._path = plan, path
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> _Writer:
        if self._plan.format == "tar":
            self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        else:
            import pyarrow.parquet as pq
            from datasets import Features, Value
            from datasets import Image as Picture

            columns = {"key": Value("string"), "image": Picture(), "label": Value("string")}
            columns |= {"mask": Picture()} if self._plan.masks else {}
            self._schema = Features(columns).arrow_schema
            self._parquet = pq.ParquetWriter(self._path, self._schema)
        return self

    def __exit__(self, *error: object) -> None:
        if self._plan.format == "tar":
            self._tar.close()
        else:
            self._flush()
            self._parquet.close()

    def add(self, key: str, picture: bytes, label: Mapping[str, Any], mask: bytes | None) -> None:
        text = json.dumps(label, ensure_ascii=False)
        if self._plan.format == "tar":
            self._add(f"{key}.{self._plan.image}", picture)
            self._add(f"{key}.json", text.encode("utf-8"))
            if mask is not None:
                self._add(f"{key}.mask.png", mask)
            return
        row: dict[str, Any] = {"key": key, "label": text}
        row["image"] = {"bytes": picture, "path": f"{key}.{self._plan.image}"}
        if mask is not None:
            row["mask"] = {"bytes": mask, "path": f"{key}.mask.png"}
        self._rows.append(row)
        if len(self._rows) == 64:
            self._flush()

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)  # of time 0, so that the same pages are the same bytes
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._parquet.write_batch(pa.RecordBatch.from_pylist(self._rows, self._schema))
            self._rows = []


def _encoded(image: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "png":
        Image.fromarray(image).save(file, "PNG", compress_level=1)
    else:
        Image.fromarray(image).save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def _mask(page: Page) -> bytes:
    file = io.BytesIO()
    Image.fromarray(lead_mask(page)).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _rounded(box: Sequence[float]) -> list[float]:
    """To a hundredth of a dot."""
    return [round(float(edge), 2) for edge in box]


def _write_json(path: Path, content: Any) -> None:
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, path)
