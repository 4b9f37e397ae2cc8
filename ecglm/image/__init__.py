"""ECGs as pictures: `render` draws one on ECG paper; `draw_page` says besides where everything stands."""

from ecglm.image.geometry import Geometry
from ecglm.image.layouts import COLOURS, LAYOUTS, ORDERS, PAPERS
from ecglm.image.page import Page, draw_page
from ecglm.image.render import render

__all__ = ["COLOURS", "LAYOUTS", "ORDERS", "PAPERS", "Geometry", "Page", "draw_page", "render"]
