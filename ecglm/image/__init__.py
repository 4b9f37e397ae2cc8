"""ECGs as pictures: `render` draws one on ECG paper, `draw_page` says where everything stands, `spoil` does
to it what paper and telephones do.
"""

from ecglm.image.defects import DEFECTS, random_defects, spoil
from ecglm.image.geometry import Geometry
from ecglm.image.layouts import COLOURS, LAYOUTS, ORDERS, PAPERS
from ecglm.image.page import Page, draw_page
from ecglm.image.render import render

__all__ = [
    "COLOURS",
    "DEFECTS",
    "LAYOUTS",
    "ORDERS",
    "PAPERS",
    "Geometry",
    "Page",
    "draw_page",
    "random_defects",
    "render",
    "spoil",
]
