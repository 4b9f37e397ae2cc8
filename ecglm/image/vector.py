"""Drawings as SVG and PDF: lines stay lines, texts stay texts, and a millimetre stays a millimetre.

The font travels inside the file, so that it looks alike everywhere.
"""

import base64
import io
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import ImageFont

from ecglm.image.drawing import Colour, Drawing, Stroke
from ecglm.image.raster import load_font

_POINT = 72 / 25.4  # to the mm


def to_svg(drawing: Drawing, title: str) -> str:
    """The drawing as an SVG document, its size in mm."""
    width, height = drawing.size
    face = base64.b64encode(_font_file(drawing.font)).decode("ascii")
    x0, y0, x1, y1 = drawing.grid.box
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}">',
        f"<title>{escape(title)}</title>",
        f'<style>@font-face {{ font-family: "page"; src: url("data:font/ttf;base64,{face}"); }} '
        "text { font-family: page, Aileron, sans-serif; white-space: pre; } "
        "path { fill: none; stroke-linecap: round; stroke-linejoin: round; }</style>",
        f'<rect width="{width:g}" height="{height:g}" fill="{_hex(drawing.paper)}"/>',
        f'<rect x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}" '
        f'fill="{_hex(drawing.grid.paper)}"/>',
    ]
    for thickness, colour, lines in _ruling(drawing):
        path = "".join(f"M{a:.3f} {b:.3f}L{c:.3f} {d:.3f}" for a, b, c, d in lines)
        parts.append(
            f'<path d="{path}" stroke="{_hex(colour)}" stroke-width="{thickness:g}" '
            'style="stroke-linecap: butt"/>'
        )
    for area in drawing.areas:
        a, b, c, d = area.box
        parts.append(
            f'<rect x="{a:.3f}" y="{b:.3f}" width="{c - a:.3f}" height="{d - b:.3f}" '
            f'fill="{_hex(area.colour)}" fill-opacity="{area.opacity:.3f}"/>'
        )
    for stroke in drawing.strokes:
        points = [f"{x:.3f} {y:.3f}" for x, y in _at_least_two(stroke)]
        trace = f" data-trace={quoteattr(stroke.trace)}" if stroke.trace else ""
        parts.append(
            f'<path d="M{points[0]}L{" ".join(points[1:])}" stroke="{_hex(stroke.colour)}" '
            f'stroke-width="{stroke.width:g}"{trace}/>'
        )
    for text in drawing.texts:
        side = ' text-anchor="end"' if text.anchor == "rs" else ""
        parts.append(
            f'<text x="{text.x:.3f}" y="{text.y:.3f}" font-size="{text.size:g}" '
            f'fill="{_hex(text.colour)}"{side}>{escape(text.text)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def to_pdf(drawing: Drawing, title: str) -> bytes:
    """The drawing as a PDF document of one page.

    Raises:
        ValueError: if the drawing's font holds PostScript outlines, which this writer cannot embed.
    """
    width, height = (edge * _POINT for edge in drawing.size)
    font = _font_file(drawing.font)
    if font[:4] == b"OTTO":
        raise ValueError(f"font={drawing.font!r} has PostScript outlines; a PDF page needs a TrueType .ttf")
    metrics = load_font(1000, drawing.font)
    widths = [round(metrics.getlength(bytes([code]).decode("cp1252", "replace"))) for code in range(32, 256)]
    ascent, descent = metrics.getmetrics()
    opacities = sorted({round(area.opacity, 2) for area in drawing.areas})
    states = " ".join(f"/A{value * 100:.0f} << /ca {value:g} >>" for value in opacities)
    content = "\n".join(_pdf_content(drawing, metrics)).encode("cp1252", "replace")
    name = metrics.getname()[0] or "Font"
    name = "".join(char for char in name if char.isascii() and char.isalnum())
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.4f} {height:.4f}] /Contents 4 0 R "
        f"/Resources << /Font << /F 5 0 R >> /ExtGState << {states} >> >> >>".encode(),
        _stream(content),
        f"<< /Type /Font /Subtype /TrueType /BaseFont /{name} /Encoding /WinAnsiEncoding /FirstChar 32 "
        f"/LastChar 255 /Widths [{' '.join(map(str, widths))}] /FontDescriptor 6 0 R >>".encode(),
        f"<< /Type /FontDescriptor /FontName /{name} /Flags 32 /FontBBox [-200 {-descent} 1200 {ascent}] "
        f"/ItalicAngle 0 /Ascent {ascent} /Descent {-descent} /CapHeight 700 /StemV 80 "
        "/FontFile2 7 0 R >>".encode(),
        _stream(font, f"/Length1 {len(font)} "),
        f"<< /Title {_pdf_string(title)} /Producer (ecglm) >>".encode("cp1252", "replace"),
    ]
    file, places = io.BytesIO(), []
    file.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    for number, body in enumerate(objects, 1):
        places.append(file.tell())
        file.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = file.tell()
    file.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    file.writelines(b"%010d 00000 n \n" % place for place in places)
    file.write(
        b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, len(objects), table)
    )
    return file.getvalue()


def _pdf_content(drawing: Drawing, metrics: ImageFont.FreeTypeFont) -> Iterator[str]:
    """The page's operators, in mm from the upper left corner."""
    width, height = drawing.size
    yield f"{_POINT:.6f} 0 0 {-_POINT:.6f} 0 {height * _POINT:.4f} cm 1 J 1 j"
    x0, y0, x1, y1 = drawing.grid.box
    yield f"{_rgb(drawing.paper)} rg 0 0 {width:g} {height:g} re f"
    yield f"{_rgb(drawing.grid.paper)} rg {x0:g} {y0:g} {x1 - x0:g} {y1 - y0:g} re f"
    yield "0 J"
    for thickness, colour, lines in _ruling(drawing):
        yield f"{_rgb(colour)} RG {thickness:g} w"
        yield " ".join(f"{a:.3f} {b:.3f} m {c:.3f} {d:.3f} l" for a, b, c, d in lines) + " S"
    yield "1 J"
    for area in drawing.areas:
        a, b, c, d = area.box
        yield f"q /A{round(area.opacity, 2) * 100:.0f} gs {_rgb(area.colour)} rg"
        yield f"{a:.3f} {b:.3f} {c - a:.3f} {d - b:.3f} re f Q"
    for stroke in drawing.strokes:
        points = [f"{x:.3f} {y:.3f}" for x, y in _at_least_two(stroke)]
        yield f"{_rgb(stroke.colour)} RG {stroke.width:g} w"
        yield f"{points[0]} m " + " ".join(f"{point} l" for point in points[1:]) + " S"
    for text in drawing.texts:
        x = text.x - (metrics.getlength(text.text) * text.size / 1000 if text.anchor == "rs" else 0)
        yield f"BT /F {text.size:g} Tf {_rgb(text.colour)} rg 1 0 0 -1 {x:.3f} {text.y:.3f} Tm"
        yield f"{_pdf_string(text.text)} Tj ET"


def _ruling(drawing: Drawing) -> Iterator[tuple[float, Colour, list[tuple[float, float, float, float]]]]:
    """Each kind of grid line: thickness, colour, and the lines' ends."""
    x0, y0, x1, y1 = drawing.grid.box
    for step, thickness, colour in drawing.grid.lines:
        upright = [(x, y0, x, y1) for x in np.arange(x0, x1 + step / 2, step)]
        level = [(x0, y, x1, y) for y in np.arange(y0, y1 + step / 2, step)]
        yield thickness, colour, upright + level


def _at_least_two(stroke: Stroke) -> np.ndarray:
    """The points; a single one twice, which round caps turn into a dot."""
    return stroke.points if len(stroke.points) > 1 else stroke.points[[0, 0]]


@lru_cache(maxsize=4)
def _font_file(font: str | None) -> bytes:
    return load_font(12, None).font_bytes if font is None else Path(font).read_bytes()


def _stream(data: bytes, entries: str = "") -> bytes:
    packed = zlib.compress(data, 6)
    head = f"<< {entries}/Length {len(packed)} /Filter /FlateDecode >>".encode()
    return head + b"\nstream\n" + packed + b"\nendstream"


def _pdf_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"({escaped})"


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _rgb(colour: Colour) -> str:
    return " ".join(f"{channel / 255:.4g}" for channel in colour)
