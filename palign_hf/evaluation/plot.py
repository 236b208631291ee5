"""The figures of a comparison as a PNG: a panel a measure, in it a line a model with its 95 % interval.

Drawn with Pillow alone, so the same figures give the same bytes on any machine with the same release of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, shown
from palign_hf.evaluation.intervals import Interval
from palign_hf.runs.parts import whole


if TYPE_CHECKING:
    from palign_hf.evaluation.compare import Comparison

# Colours that people with any kind of sight tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_INK, _PALE = "#222222", "#d8d8d8"
# In pixels; everything is drawn large enough for a page of a paper.
_TEXT, _LINE, _PANEL, _GAP, _COLUMNS = 24, 40, 520, 60, 3
_DOT, _BAR = 9, 4
_LONGEST = 48


def needs_pillow() -> None:
    """Refuse now, before any work, what couldn't be drawn later."""
    try:
        import PIL.ImageDraw  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"The plot can't be drawn here: {error}. Install what it needs, `pip install pillow`, or leave `out` out."
        ) from error


def draw(comparison: "Comparison", path: Path) -> None:
    """Draw all measures of a comparison, each on its own scale: shares from 0 to 1, tokens from 0."""
    needs_pillow()
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_TEXT)
    models = list(comparison.measures)
    height = _LINE * (len(models) + 2) + _GAP
    legend = _LINE * (len(models) + 1)
    rows = -(-len(comparison.names) // _COLUMNS)
    image = Image.new("RGB", (_COLUMNS * (_PANEL + _GAP) + _GAP, legend + rows * height + _GAP), "white")
    pen = ImageDraw.Draw(image)
    for k, model in enumerate(models):
        y = _GAP // 2 + k * _LINE
        pen.ellipse(_around(_GAP + _DOT, y + _TEXT // 2, _DOT), fill=_colour(k))
        pen.text((_GAP + 4 * _DOT, y), shown(model, most=_LONGEST), fill=_INK, font=font)
    for k, name in enumerate(comparison.names):
        left, top = _GAP + k % _COLUMNS * (_PANEL + _GAP), legend + k // _COLUMNS * height
        _panel(pen, font, comparison, name, left, top)
    with whole(path) as unfinished:
        image.save(unfinished, format="PNG", optimize=True)


def _panel(pen: Any, font: Any, comparison: "Comparison", name: str, left: int, top: int) -> None:
    """One measure."""
    found = comparison.intervals[name]
    most = 1.0 if not name.endswith("tokens") else max(max(one.value, one.high or 0) for one in found.values()) or 1.0
    bottom = top + _LINE * (len(comparison.measures) + 1)
    pen.text((left, top), comparison.words(name), fill=_INK, font=font)
    for tick in (0, 0.5, 1):
        x = left + round(tick * _PANEL)
        pen.line((x, top + _LINE, x, bottom), fill=_PALE, width=2)
        label = f"{tick * most:.0f}" if name.endswith("tokens") else f"{tick:g}"
        pen.text((x, bottom + 2), label, fill=_INK, font=font, anchor="ma")
    for k, model in enumerate(comparison.measures):
        y = top + _LINE * (k + 1) + _LINE // 2
        if (one := found.get(model)) is not None:
            _mark(pen, one, left, y, _PANEL / most, _colour(k))


def _mark(pen: Any, one: Interval, left: int, y: int, scale: float, colour: str) -> None:
    """A figure and its interval."""
    if one.low is not None and one.high is not None:
        low, high = (left + round(end * scale) for end in (one.low, one.high))
        pen.line((low, y, high, y), fill=colour, width=_BAR)
        for end in (low, high):
            pen.line((end, y - _DOT, end, y + _DOT), fill=colour, width=_BAR)
    pen.ellipse(_around(left + round(one.value * scale), y, _DOT), fill=colour)


def _around(x: int, y: int, radius: int) -> tuple[int, int, int, int]:
    return x - radius, y - radius, x + radius, y + radius


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
