"""Pictures as PNG files by matplotlib: one style, its colours, and intervals in panels.

Equal data give equal bytes with the same release of matplotlib, whatever matplotlibrc the user has. Figures are made
without `pyplot`, so no backend is chosen and no window opens. matplotlib is imported when something is drawn.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, shown


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which people with any kind of colour vision tell apart; its light colours and its black are
# moved to middle brightness, so that each has a contrast of 3 or more with a white page and with a dark one.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c26f9e", "#b07a00", "#3a8fc4", "#7d8590")
# Text and lines on a white ground, and on none.
INK, MID_INK = "#222222", "#7d8590"
_PALE, _MID_PALE = "#d8d8d8", "#7d859055"
_DPI = 150
_PANEL, _ROW, _AROUND = 3.6, 0.28, 0.75  # in inches
_LONGEST = 48


@dataclass(frozen=True, slots=True)
class Bar:
    """A value and the ends of its interval, which are None where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One measure: a bar for each row, or None where it is not known, on an axis from 0 to `most`."""

    title: str
    bars: Sequence[Bar | None]
    most: float
    style: str = "g"


def needs_matplotlib(what: str) -> None:
    """Raises a `UserError` that names the argument `what` if matplotlib can't be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    # An unknown backend in `MPLBACKEND` is a ValueError of the import.
    except (ImportError, ValueError) as error:
        raise UserError(
            f"`{what}` can't be drawn: matplotlib can't be imported ({error}). Install it with "
            f"`pip install 'matplotlib>=3.9,<4'`, or leave `{what}` out."
        ) from error


@contextmanager
def plot_style(*, transparent: bool = False) -> Iterator[None]:
    """Draws in the project's style inside the block, and restores the user's after it.

    Args:
        transparent (`bool`): no ground, and text and lines of middle brightness, for pages that may be light or dark.
    """
    needs_matplotlib("pictures")
    import matplotlib as mpl

    ink, pale = (MID_INK, _MID_PALE) if transparent else (INK, _PALE)
    ground = "none" if transparent else "white"
    parameters: Any = mpl.rcParams
    with mpl.rc_context():
        mpl.rcdefaults()
        parameters.update(
            {
                "figure.dpi": _DPI,
                "savefig.dpi": _DPI,
                "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so no font of the machine is used
                "font.size": 10,
                "axes.titlesize": 10,
                "axes.titlelocation": "left",
                "axes.grid": True,
                "axes.axisbelow": True,
                "xtick.major.size": 0,
                "ytick.major.size": 0,
                "ytick.major.pad": 8,
                "legend.frameon": False,
                **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), ground),
                **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink),
                **dict.fromkeys(("grid.color", "axes.edgecolor"), pale),
                **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
            }
        )
        yield


def new_figure(width: float, height: float) -> "Figure":
    """A figure of some size in inches that lays its axes out so that no text overlaps."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, wspace=0.05))


def png_bytes(figure: "Figure") -> bytes:
    """The figure as a PNG without the name and release of what wrote it; call it inside `plot_style`."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks is a box in the picture.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def colour(number: int) -> str:
    """The colour of the first, second, ... thing in a picture."""
    return COLOURS[number % len(COLOURS)]


def plain_text(value: object, most: int = _LONGEST) -> str:
    """Data as text in a picture: one line of at most `most` characters, without control characters, no mathematics."""
    return shown(value, most).replace("$", r"\$")


def draw_bar(axes: "Axes", bar: Bar, at: float, ink: str) -> None:
    """A dot at the value, and a line with end marks over the interval."""
    # Not by `errorbar`, which refuses a value outside its interval: a BCa interval may leave it out.
    if bar.low is not None and bar.high is not None:
        axes.plot([bar.low, bar.high], [at, at], color=ink, linewidth=2, marker="|", markersize=8, markeredgewidth=2)
    axes.plot([bar.value], [at], color=ink, marker="o", markersize=7, linestyle="none", clip_on=False)


def interval_plot(
    rows: Sequence[str], panels: Sequence[Panel], inks: Sequence[str], *, columns: int, note: str = ""
) -> bytes:
    """A PNG of several measures of the same things: a panel a measure, a row a thing, with 95 % intervals.

    Args:
        rows (`Sequence[str]`): the names of the things, from top to bottom; any text.
        panels (`Sequence[Panel]`): the measures.
        inks (`Sequence[str]`): the colour of each row.
        columns (`int`): the number of panels side by side.
        note (`str`): a line above all panels; any text.
    """
    columns = max(1, min(columns, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    with plot_style():
        figure = new_figure(columns * _PANEL + 1.4, lines * (len(rows) * _ROW + _AROUND) + (0.3 if note else 0))
        if note:
            figure.suptitle(plain_text(note, 2 * _LONGEST), x=0.99, ha="right", fontsize=10)
        for k, axes in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
            if k >= len(panels):
                axes.remove()
                continue
            _draw_panel(axes, panels[k], inks)
            axes.set_yticks(range(len(rows)), [plain_text(row) for row in rows] if k % columns == 0 else [])
        return png_bytes(figure)


def _draw_panel(axes: Any, panel: Panel, inks: Sequence[str]) -> None:
    axes.set_title(plain_text(panel.title))
    for row, (bar, ink) in enumerate(zip(panel.bars, inks, strict=True)):
        if bar is not None:
            draw_bar(axes, bar, row, ink)
    axes.set_xlim(0, panel.most)
    axes.set_ylim(len(inks) - 0.5, -0.5)
    ticks = [0.0, panel.most / 2, panel.most]
    axes.set_xticks(ticks, [format(tick, panel.style) for tick in ticks])
    axes.grid(visible=False, axis="y")
