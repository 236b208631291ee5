"""The study's plot as PNG: one row per arm, one panel per measure, with 95 % intervals."""

from pathlib import Path

from examples.toy.study.arms import FIRST
from examples.toy.study.figures import SHOWN, Figures
from palign_hf.evaluation.compare import panel_of
from palign_hf.plotting import colour, interval_plot
from palign_hf.runs.parts import whole


_COLUMNS = 4


def draw(found: Figures, path: Path) -> None:
    """Draw every measure on an axis from 0 to the end of its longest interval."""
    arms = list(found.measures)
    panels = [
        panel_of(SHOWN[name], name, {arm: found.of(arm, name) for arm in arms}, arms, full=False)
        for name in found.names()
    ]
    inks = [colour(0 if arm.startswith(FIRST) else 1) for arm in arms]
    with whole(path) as unfinished:
        unfinished.write_bytes(interval_plot(arms, panels, inks, columns=_COLUMNS))
