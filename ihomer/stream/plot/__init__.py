"""A replay as one page that needs no network, no library and no script: pictures and a table."""

from ihomer.stream.plot.curves import MEASURES, MOST_POINTS
from ihomer.stream.plot.labels import LabelRow, label_rows
from ihomer.stream.plot.page import page

__all__ = ["MEASURES", "MOST_POINTS", "LabelRow", "label_rows", "page"]
