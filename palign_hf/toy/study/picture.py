"""The study as a PNG: a line an arm, a panel a measure, each figure with its 95 % interval."""

from pathlib import Path

from palign_hf.canvas import DOT, GAP, LINE, Canvas, colour
from palign_hf.evaluation.intervals import Interval
from palign_hf.runs.parts import whole
from palign_hf.toy.study.arms import FIRST
from palign_hf.toy.study.figures import SHOWN, Figures


_NAMES, _PANEL = 260, 330


def draw(found: Figures, path: Path) -> None:
    """Draw every measure from 0, as far as any interval reaches."""
    arms = list(found.measures)
    page = Canvas(_NAMES + len(found.names()) * (_PANEL + GAP) + GAP, (len(arms) + 3) * LINE)
    for row, arm in enumerate(arms):
        page.text(GAP // 2, LINE * (row + 1) + LINE // 2, arm, anchor="lm")
    for column, name in enumerate(found.names()):
        left = _NAMES + GAP // 2 + column * (_PANEL + GAP)
        figures = {arm: found.of(arm, name) for arm in arms}
        most = max(one.high or one.value for one in figures.values()) or 1.0
        page.text(left, LINE // 4, SHOWN[name])
        for tick in (0.0, 0.5, 1.0):
            x, y = left + round(tick * _PANEL), LINE * (len(arms) + 1)
            page.line((x, LINE), (x, y), page.pale, width=2)
            page.text(x, y + 4, f"{tick * most:.0f}" if name == "tokens" else f"{tick * most:.2f}", anchor="ma")
        for row, arm in enumerate(arms):
            ink = colour(0 if arm.startswith(FIRST) else 1)
            _mark(page, figures[arm], left, LINE * (row + 1) + LINE // 2, _PANEL / most, ink)
    with whole(path) as unfinished:
        unfinished.write_bytes(page.png())


def _mark(page: Canvas, one: Interval, left: int, y: int, scale: float, ink: str) -> None:
    if one.low is not None and one.high is not None:
        page.line((left + round(one.low * scale), y), (left + round(one.high * scale), y), ink)
    page.dot(left + max(round(one.value * scale), DOT // 2), y, ink)
