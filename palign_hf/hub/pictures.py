"""The pictures of a card, as files of the repository: the same facts give the same bytes.

They have no ground of their own, and colours of middle brightness, so that they are read on light and on dark pages.
"""

from collections.abc import Sequence

from palign_hf.canvas import COLOURS, GAP, LINE, TEXT, Canvas
from palign_hf.hub.facts import DatasetFacts, Spread


_PLOT, _HEIGHT = 960, 360
# How the values of PREFIXES and of PAIRS are called.
_RATIO = {"PREFIXES": "prefix / trace, in tokens", "PAIRS": "prefix / target, in tokens"}
_AFTER = {"PREFIXES": "prefix", "PAIRS": "target"}


def dataset_pictures(facts: DatasetFacts) -> dict[str, bytes]:
    """PNG files by their paths in the repository; none of what wasn't measured."""
    found = {}
    if facts.ratio is not None:
        told = [("rows", facts.ratio)]
        found[picture_of(facts.config, "prefix_ratio")] = _histogram(_RATIO[facts.table], told, "{:.1f}")
    if facts.before is not None and facts.after is not None:
        lengths = [("trace", facts.before), (_AFTER[facts.table], facts.after)]
        found[picture_of(facts.config, "lengths")] = _histogram("tokens", lengths, "{:,.0f}")
    return found


def picture_of(config: str, name: str) -> str:
    """Where a picture of a configuration is in the repository."""
    return f"pictures/{config}/{name}.png"


def _histogram(title: str, spreads: Sequence[tuple[str, Spread]], style: str) -> bytes:
    """Rows by some value, in bars side by side; all spreads have the same edges."""
    page = Canvas(_PLOT + 3 * GAP, _HEIGHT + 4 * LINE, ground=False)
    left, top = 2 * GAP, 2 * LINE
    bottom = top + _HEIGHT
    at = left
    if len(spreads) > 1:
        for k, (name, _) in enumerate(spreads):
            page.box(at, LINE // 2, at + TEXT, LINE // 2 + TEXT, COLOURS[k])
            page.text(at + LINE, LINE // 2, name)
            at += LINE * 6
    most = max(max(spread.counts) for _, spread in spreads)
    for part in (0, 0.5, 1):
        y = bottom - round(part * _HEIGHT)
        page.line((left, y), (left + _PLOT, y), page.pale, width=2)
        if part * most == int(part * most):
            page.text(left - 8, y, f"{part * most:,.0f}", anchor="rm")
    edges = spreads[0][1].edges
    cell = _PLOT / (len(edges) - 1)
    for k, (_, spread) in enumerate(spreads):
        wide = (cell - 4) / len(spreads)
        for j, count in enumerate(spread.counts):
            if count:
                x = left + 2 + j * cell + k * wide
                height = max(2, round(count / most * _HEIGHT))
                page.box(round(x), bottom - height, round(x + wide) - 1, bottom, COLOURS[k])
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = edges[0] + part * (edges[-1] - edges[0])
        label = f"{value:g}" if style == "{:.1f}" else style.format(value)
        page.text(left + round(part * _PLOT), bottom + 6, label, anchor="ma")
    page.text(left + _PLOT // 2, bottom + LINE, title, anchor="ma")
    return page.png()
