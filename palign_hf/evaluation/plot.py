"""The figures of a comparison as a PNG: a panel a measure, in it a line a model with its 95 % interval."""

from pathlib import Path
from typing import TYPE_CHECKING

from palign_hf.canvas import DOT, GAP, LINE, TEXT, Canvas, colour
from palign_hf.errors import shown
from palign_hf.evaluation.intervals import Interval
from palign_hf.evaluation.partial import told
from palign_hf.runs.parts import whole


if TYPE_CHECKING:
    from palign_hf.evaluation.compare import Comparison

_PANEL, _COLUMNS = 520, 3
_LONGEST = 48


def draw(comparison: "Comparison", path: Path) -> None:
    """Draw all measures of a comparison, each on its own scale: shares from 0 to 1, tokens from 0."""
    models = list(comparison.measures)
    height = LINE * (len(models) + 2) + GAP
    legend = LINE * (len(models) + 1)
    rows = -(-len(comparison.names) // _COLUMNS)
    page = Canvas(_COLUMNS * (_PANEL + GAP) + GAP, legend + rows * height + GAP)
    if comparison.partial:
        page.text(
            page.width - GAP, GAP // 2, shown(f"partial: {told(comparison.partial)}", most=_LONGEST), anchor="ra"
        )
    for k, model in enumerate(models):
        y = GAP // 2 + k * LINE
        page.dot(GAP + DOT, y + TEXT // 2, colour(k))
        page.text(GAP + 4 * DOT, y, shown(model, most=_LONGEST))
    for k, name in enumerate(comparison.names):
        left, top = GAP + k % _COLUMNS * (_PANEL + GAP), legend + k // _COLUMNS * height
        _panel(page, comparison, name, left, top)
    with whole(path) as unfinished:
        unfinished.write_bytes(page.png())


def _panel(page: Canvas, comparison: "Comparison", name: str, left: int, top: int) -> None:
    """One measure."""
    found = comparison.intervals[name]
    most = 1.0 if not name.endswith("tokens") else max(max(one.value, one.high or 0) for one in found.values()) or 1.0
    bottom = top + LINE * (len(comparison.measures) + 1)
    page.text(left, top, comparison.words(name))
    for tick in (0, 0.5, 1):
        x = left + round(tick * _PANEL)
        page.line((x, top + LINE), (x, bottom), page.pale, width=2)
        page.text(x, bottom + 2, f"{tick * most:.0f}" if name.endswith("tokens") else f"{tick:g}", anchor="ma")
    for k, model in enumerate(comparison.measures):
        y = top + LINE * (k + 1) + LINE // 2
        if (one := found.get(model)) is not None:
            _mark(page, one, left, y, _PANEL / most, colour(k))


def _mark(page: Canvas, one: Interval, left: int, y: int, scale: float, ink: str) -> None:
    """A figure and its interval."""
    if one.low is not None and one.high is not None:
        low, high = (left + round(end * scale) for end in (one.low, one.high))
        page.line((low, y), (high, y), ink)
        for end in (low, high):
            page.line((end, y - DOT), (end, y + DOT), ink)
    page.dot(left + round(one.value * scale), y, ink)
