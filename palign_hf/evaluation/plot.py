"""Plot of a comparison as PNG: one panel per measure, one line per model with its 95 % interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palign_hf.evaluation.intervals import Interval
from palign_hf.evaluation.partial import told
from palign_hf.plotting import Bar, Panel, colour, interval_plot
from palign_hf.runs.parts import whole
from palign_hf.tables import style_of


if TYPE_CHECKING:
    from palign_hf.evaluation.compare import Comparison

_COLUMNS = 3


def draw(comparison: "Comparison", path: Path) -> None:
    """Draw all measures of a comparison, each on its own scale: shares from 0 to 1, tokens from 0."""
    models = list(comparison.measures)
    panels = [panel_of(comparison.words(name), name, comparison.intervals[name], models) for name in comparison.names]
    note = f"partial: {told(comparison.partial)}" if comparison.partial else ""
    inks = [colour(k) for k in range(len(models))]
    with whole(path) as unfinished:
        unfinished.write_bytes(interval_plot(models, panels, inks, columns=_COLUMNS, note=note))


def panel_of(
    title: str, name: str, found: Mapping[str, Interval], models: Sequence[str], *, full: bool = True
) -> Panel:
    """The panel of one measure; shares end at 1, or with `full=False` where the longest interval does, as tokens."""
    bars = [
        Bar(found[model].value, found[model].low, found[model].high) if model in found else None for model in models
    ]
    reach = max((max(bar.value, bar.high or 0.0) for bar in bars if bar), default=0.0) or 1.0
    if style_of(name) == ".0f":
        return Panel(title, bars, reach, ".0f")
    return Panel(title, bars, 1.0, "g") if full else Panel(title, bars, reach, ".2f")
