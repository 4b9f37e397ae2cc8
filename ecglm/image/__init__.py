"""ECGs as pictures: `render` draws a recording on ECG paper in true millimetres."""

from ecglm.image.render import LAYOUTS, render

__all__ = ["LAYOUTS", "render"]
