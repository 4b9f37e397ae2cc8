"""`render`: a recording on ECG paper as a Pillow image."""

from typing import Any

from PIL import Image

from ecglm.ecg import ECG
from ecglm.image.page import draw_page


def render(ecg: ECG, layout: str = "3x4+1", **options: Any) -> Image.Image:
    """Draw a recording on ECG paper, in true millimetres.

    Args:
        ecg: the recording.
        layout: one of `LAYOUTS`.
        options: as of `draw_page`: dpi, speed, gain, start, paper, colours, header and more.

    Returns:
        The page, RGB; `page.save(path, dpi=page.info["dpi"])` keeps the true size. `draw_page` gives the same
        as an array, with the place of every lead, and vector files.

    Raises:
        ValueError: if an argument is outside its range, or none of the leads is there after `start`.
    """
    page = draw_page(ecg, layout, **options)
    picture = Image.fromarray(page.image)
    picture.info["dpi"] = (page.geometry.dpi, page.geometry.dpi)
    return picture
