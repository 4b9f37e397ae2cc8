"""Pages spoilt in every way that paper, lamps and telephones know, with labels that stay exact.

Traces are drawn again from their warped lines, so no resampling blurs what the labels say. `spoil` puts the
defects into the order of life, whatever the order in which they are given: the sheet, how it lies, the light
on it, the lens, the sensor, the file.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from ecglm.assets import refuse_unknown
from ecglm.image.camera_defects import JPEG, FocusBlur, LowResolution, MotionBlur, Noise
from ecglm.image.drawing import Colour
from ecglm.image.geometry import Box, Geometry, Homography, Warp, keep_inside
from ecglm.image.page import Page
from ecglm.image.paper_defects import Creases, Handwriting, PrintedText, Stains, Stamp, ThermalFade, Wrinkles
from ecglm.image.redraw import Sheet, redraw
from ecglm.image.stages import Defect, Lamp, cloud
from ecglm.image.view_defects import (
    ColourCast,
    Crop,
    Curvature,
    Moire,
    Perspective,
    Rotation,
    Screen,
    Shadow,
    UnevenLight,
)

DEFECTS: dict[str, type[Defect]] = {
    kind.__name__: kind
    for kind in (
        *(PrintedText, Handwriting, Stamp, ThermalFade, Stains, Creases, Wrinkles),
        *(Curvature, Perspective, Rotation, Crop),
        *(Shadow, UnevenLight, ColourCast, Moire, Screen),
        *(FocusBlur, MotionBlur, LowResolution, Noise, JPEG),
    )
}
"""All defects by name, in the order in which they happen."""

SEVERITIES = {"none": 0.0, "light": 0.25, "medium": 0.5, "heavy": 1.0}
"""Words for the severity of `random_defects`."""

__all__ = ["DEFECTS", "SEVERITIES", "Defect", "defects_of", "random_defects", "spoil", *DEFECTS]

_BY_NAME = {name.lower(): kind for name, kind in DEFECTS.items()}
_ORDER = {kind: number for number, kind in enumerate(DEFECTS.values())}
_BORDER = 0.02  # of the picture around a photographed page
_SCANNER: Colour = (246, 246, 244)  # what a scanner sees beside the sheet
_TABLES: tuple[Colour, ...] = ((112, 84, 60), (140, 116, 92), (92, 94, 98), (62, 58, 56), (168, 164, 156))


def spoil(page: Page, defects: Any, seed: int = 0) -> Page:
    """Spoil a page.

    Args:
        page: a clean page, as `draw_page` gives it.
        defects: what happens to it, for example `[Rotation(degrees=3), Shadow(strength=0.5)]`, or in words
            or numbers as `defects_of` reads them, for example `"light"`; a kind may come more than once.
            Those of strength 0 do nothing.
        seed: of all chance; each defect draws from its own, so that one more leaves the others as they were.

    Returns:
        The spoilt page, whose geometry is that of its picture; the same page if nothing happens to it.
        `Geometry.warp` leads from the flat page to the picture and back. Its boxes are upright and closely
        around what they hold; what lies outside the picture is no longer in them or in the traces.

    Raises:
        ValueError: if the page was spoilt before: all defects belong into one call; or if `defects_of` cannot
            read what is wanted.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of 0 or more, got {seed!r}")
    wanted = defects_of(defects, seed)
    active = sorted((defect for defect in wanted if defect.strength > 0), key=lambda d: _ORDER[type(d)])
    if not active:
        return page
    if page.defects:
        names = ", ".join(type(defect).__name__ for defect in page.defects)
        raise ValueError(f"this page was spoilt before ({names}); give all defects in one call")

    dpi, page_size = page.geometry.dpi, page.geometry.size
    sheet = Sheet(replace(page.drawing, strokes=list(page.drawing.strokes), texts=list(page.drawing.texts)))
    for defect, chance in _chances(active, seed):
        defect.mark(sheet, chance)
    warp, size = _lay(active, seed, dpi, page_size)
    photographed = any(isinstance(defect, Perspective | Curvature) for defect in active)
    desk = np.random.default_rng([seed, zlib.crc32(b"table")])
    behind = _TABLES[desk.integers(len(_TABLES))] if photographed else _SCANNER

    geometry = replace(page.geometry, warp=warp, size=size)
    on_sheet = any(type(defect).mark is not Defect.mark for defect in active)
    if on_sheet or warp.steps:
        image, texts = redraw(sheet, dpi, page_size, warp, size, behind)
        geometry = _moved(geometry, page, texts)
    else:
        image = page.image

    lamp = Lamp(size, page.geometry, warp)
    if photographed:
        rows, columns = lamp.shape
        grain = (
            cloud((rows, 8), 60, desk, octaves=3).mean(axis=1)[:, None] * 0.6
            + cloud(lamp.shape, 6, desk) * 0.4
        )
        lamp.dim(np.where(lamp.off_page, 0.72 + 0.28 * grain, 1).astype(np.float32))
    for defect, chance in _chances(active, seed):
        defect.light(lamp, chance)
    picture = lamp.shine(image)
    for defect, chance in _chances(active, seed):
        picture = defect.take(picture, dpi * picture.shape[1] / size[0], chance)
    if picture.shape[1::-1] != size:
        geometry = _resized(geometry, (picture.shape[1], picture.shape[0]))
    return replace(page, picture=picture, geometry=geometry, defects=tuple(active), seed=seed)


def defects_of(wanted: Any, seed: int = 0) -> list[Defect]:
    """Defects from what is written in a recipe, on a command line, or in a label.

    Args:
        wanted: "none", "light", "medium", "heavy" or a number from 0 to 1 for `random_defects` of that
            severity; names with their strengths, "Rotation:0.5+Noise", 1 where none is given; a mapping as
            `Defect.settings` makes it, `{"defect": "Rotation", "degrees": 3}`; or a list of names, mappings
            and defects.
        seed: of the choice where a severity is given.

    Raises:
        ValueError: if a name or a parameter is not known, or a value is outside its range.
    """
    severity = _severity(wanted)
    if severity is not None:
        return random_defects(np.random.default_rng([seed, zlib.crc32(b"choice")]), severity)
    if isinstance(wanted, str):
        wanted = wanted.split("+")
    elif isinstance(wanted, Mapping | Defect):
        wanted = [wanted]
    if not isinstance(wanted, Sequence):
        raise ValueError(_unknown(wanted))
    return [each if isinstance(each, Defect) else _defect_of(each) for each in wanted]


def _severity(wanted: Any) -> float | None:
    """What a word or a number means; None where it is neither."""
    if isinstance(wanted, str):
        try:
            return SEVERITIES[wanted] if wanted in SEVERITIES else float(wanted)
        except ValueError:
            return None
    return float(wanted) if isinstance(wanted, Real) and not isinstance(wanted, bool) else None


def _defect_of(wanted: Any) -> Defect:
    if isinstance(wanted, str):
        name, colon, strength = wanted.strip().partition(":")
        try:
            settings: dict[str, Any] = {"strength": float(strength)} if colon else {}
        except ValueError:
            raise ValueError(f"{wanted!r}: the strength must be a number from 0 to 1") from None
    elif isinstance(wanted, Mapping) and "defect" in wanted:
        settings = dict(wanted)
        name = str(settings.pop("defect"))
    else:
        raise ValueError(_unknown(wanted))
    kind = _BY_NAME.get(name.lower())
    if kind is None:
        raise ValueError(_unknown(name))
    refuse_unknown(kind.__name__, settings, [part.name for part in fields(kind)])
    lists = {key: tuple(value) for key, value in settings.items() if isinstance(value, list)}
    return kind(**settings | lists)


def _unknown(wanted: Any) -> str:
    return (
        f"unknown defect {wanted!r}; give {', '.join(SEVERITIES)}, a number from 0 to 1, or names with their "
        f"strengths such as Rotation:0.5+Noise, of {', '.join(DEFECTS)}"
    )


def random_defects(rng: np.random.Generator, severity: float = 0.5) -> list[Defect]:
    """Defects as they come together: a scan, a photograph, or a photographed display.

    Args:
        rng: of the choice; `spoil` has a seed of its own.
        severity: 0 to 1, how many and how strong.

    Raises:
        ValueError: if `severity` is outside its range.
    """
    if not 0 <= severity <= 1:
        raise ValueError(f"severity must lie between 0 and 1, got {severity}")
    sheet = {PrintedText: 0.4, Handwriting: 0.4, Stamp: 0.25, ThermalFade: 0.2, Stains: 0.15, Creases: 0.35}
    sheet |= {Wrinkles: 0.15}
    scan: dict[type[Defect], float] = {Rotation: 0.8, Crop: 0.3, LowResolution: 0.25, Noise: 0.4, JPEG: 0.6}
    photograph: dict[type[Defect], float] = {Curvature: 0.4, Perspective: 0.9, Rotation: 0.8, Crop: 0.3}
    photograph |= {Shadow: 0.6, UnevenLight: 0.7, ColourCast: 0.6, FocusBlur: 0.4, MotionBlur: 0.2}
    photograph |= {Noise: 0.7, JPEG: 0.8, LowResolution: 0.2, Moire: 0.05}
    display = {
        Perspective: 0.7,
        Rotation: 0.6,
        Screen: 1.0,
        Moire: 0.7,
        UnevenLight: 0.4,
        Noise: 0.6,
        JPEG: 0.8,
    }
    kind = rng.choice(3, p=(0.4, 0.5, 0.1))
    chances = (sheet | scan, sheet | photograph, display)[kind]
    chosen: list[Defect] = []
    for defect, chance in chances.items():
        happens, strength = rng.random(), rng.uniform(0.2, 1)
        if happens < chance * min(1, 2 * severity):
            chosen.append(defect(strength=round(float(severity * strength), 3)))
    return chosen


def _chances(active: list[Defect], seed: int) -> list[tuple[Defect, np.random.Generator]]:
    """Each defect with its own chance, which hangs on the seed, its kind and how many of it came before."""
    seen: dict[str, int] = {}
    pairs = []
    for defect in active:
        name = type(defect).__name__
        seen[name] = seen.get(name, 0) + 1
        pairs.append((defect, np.random.default_rng([seed, zlib.crc32(name.encode()), seen[name]])))
    return pairs


def _lay(active: list[Defect], seed: int, dpi: float, size: tuple[int, int]) -> tuple[Warp, tuple[int, int]]:
    """How the sheet lies on the picture, and the picture's size."""
    warp = Warp()
    for defect, chance in _chances(active, seed):
        step = defect.place(size, dpi, chance)
        if step is not None:
            warp = warp.then(step)
    if warp.steps:  # all of the page on a picture of the page's size
        width, height = size
        outline = np.array([[0, 0], [width, 0], [width, height], [0, height], [0, 0]], float)
        seen = warp.line_to_picture(outline)
        low, high = seen.min(axis=0), seen.max(axis=0)
        photographed = any(isinstance(defect, Perspective | Curvature) for defect in active)
        border = _BORDER if photographed else 0.0
        scale = float(((1 - 2 * border) * np.array(size) / (high - low)).min())
        x, y = np.array(size) / 2 - scale * (low + high) / 2
        warp = warp.then(Homography(np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]])))
    for defect, chance in _chances(active, seed):
        if isinstance(defect, Crop):
            x0, y0, x1, y1 = defect.cut(size, chance)
            warp = warp.then(Homography(np.array([[1.0, 0, -x0], [0, 1, -y0], [0, 0, 1]])))
            size = x1 - x0, y1 - y0
    return warp, size


def _moved(geometry: Geometry, page: Page, texts: list[tuple[str, Box]]) -> Geometry:
    """The geometry after the warp, which it holds already."""
    warp, size = geometry.warp, geometry.size
    traces = {}
    for key, lines in page.geometry.traces.items():
        pieces = [piece for line in lines for piece in keep_inside(warp.line_to_picture(line), size)]
        if pieces:
            traces[key] = pieces
    widths = {stroke.trace: stroke.width for stroke in page.drawing.strokes}
    half = geometry.dpi / 25.4 * warp.scale(page.geometry.size) / 2
    boxes = {key: _box_around(lines, widths[key] * half, size) for key, lines in traces.items()}
    signal = {key: affine for key, affine in geometry.to_signal.items() if key in traces}
    return replace(geometry, traces=traces, lead_boxes=boxes, text_boxes=texts, to_signal=signal)


def _box_around(lines: list[np.ndarray], pad: float, size: tuple[int, int]) -> Box:
    points = np.concatenate(lines)
    (x0, y0), (x1, y1) = points.min(axis=0) - pad, points.max(axis=0) + pad
    return (
        max(0.0, float(x0)),
        max(0.0, float(y0)),
        min(float(size[0]), float(x1)),
        min(float(size[1]), float(y1)),
    )


def _resized(geometry: Geometry, size: tuple[int, int]) -> Geometry:
    """The geometry of the picture made smaller."""
    x, y = size[0] / geometry.size[0], size[1] / geometry.size[1]

    def shrink(box: Box) -> Box:
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y

    return replace(
        geometry,
        size=size,
        warp=geometry.warp.then(Homography(np.diag([x, y, 1.0]))),
        traces={key: [line * [x, y] for line in lines] for key, lines in geometry.traces.items()},
        lead_boxes={key: shrink(box) for key, box in geometry.lead_boxes.items()},
        text_boxes=[(text, shrink(box)) for text, box in geometry.text_boxes],
    )
