"""The pictures of a card, as files of the repository: the same facts give the same bytes.

They have no ground of their own, and colours of middle brightness: readable on light and on dark pages.
"""

from collections.abc import Sequence

import numpy as np

from palign_hf.hub.facts import DatasetFacts, Spread
from palign_hf.plotting import colour, new_figure, plot_style, png_bytes


_SIZE = (7.0, 3.0)  # inches
# How the values of PREFIXES and of PAIRS are called.
_RATIO = {"PREFIXES": "prefix / trace, in tokens", "PAIRS": "prefix / target, in tokens"}
_AFTER = {"PREFIXES": "prefix", "PAIRS": "target"}


def dataset_pictures(facts: DatasetFacts) -> dict[str, bytes]:
    """PNG files by their paths in the repository; none of what wasn't measured."""
    found = {}
    if facts.ratio is not None:
        ratio = [("rows", facts.ratio)]
        found[picture_of(facts.config, "prefix_ratio")] = _histogram(_RATIO[facts.table], ratio, "g")
    if facts.before is not None and facts.after is not None:
        lengths = [("trace", facts.before), (_AFTER[facts.table], facts.after)]
        found[picture_of(facts.config, "lengths")] = _histogram("tokens", lengths, ",.0f")
    return found


def picture_of(config: str, name: str) -> str:
    """Where a picture of a configuration is in the repository."""
    return f"pictures/{config}/{name}.png"


def _histogram(title: str, spreads: Sequence[tuple[str, Spread]], style: str) -> bytes:
    """Rows by some value, in bars side by side; all spreads have the same edges."""
    edges = np.asarray(spreads[0][1].edges)
    cell = (edges[-1] - edges[0]) / (len(edges) - 1)
    wide = 0.9 * cell / len(spreads)
    with plot_style(transparent=True):
        figure = new_figure(*_SIZE)
        axes = figure.add_subplot()
        most = max(max(spread.counts) for _, spread in spreads)
        for k, (name, spread) in enumerate(spreads):
            starts = edges[:-1] + 0.05 * cell + k * wide
            # One row of thousands is seen, too.
            heights = [max(count, most / 150) if count else 0 for count in spread.counts]
            axes.bar(starts, heights, wide, align="edge", color=colour(k), label=name)
        # Half of an odd number of rows is no number of rows.
        axes.set_yticks([0, most / 2, most], ["0", "" if most % 2 else f"{most // 2:,}", f"{most:,}"])
        ticks = np.linspace(edges[0], edges[-1], 5)
        axes.set_xticks(ticks, [format(tick, style) for tick in ticks])
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, most), xlabel=title)
        axes.grid(visible=False, axis="x")
        if len(spreads) > 1:
            figure.legend(loc="outside upper left", ncols=len(spreads))
        return png_bytes(figure)
