"""Tables for a page and for a terminal, and the format of the numbers in them. Pure.

Data stay data: nothing in a cell can end it, start markup or move a cursor.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from palign_hf.errors import visible


if TYPE_CHECKING:
    import numpy as np

Values: TypeAlias = "Sequence[float] | np.ndarray"


def share(part: float, whole: float) -> float | None:
    """`part / whole`; None where `whole` is 0."""
    return part / whole if whole else None


def quantiles(values: Values, at: Sequence[float]) -> dict[str, float] | None:
    """Linearly interpolated quantiles as {"p10": ..., "p50": ...}; None of no values."""
    if not len(values):
        return None
    import numpy as np

    found = np.quantile(np.asarray(values), at)
    return {f"p{round(100 * q)}": float(value) for q, value in zip(at, found, strict=True)}


def spread(values: "Values | None", at: Sequence[float]) -> dict[str, float] | None:
    """The mean and some quantiles as {"mean": ..., "p50": ...}; None of no values, or of None."""
    if values is None or (found := quantiles(values, at)) is None:
        return None
    # An exact sum: the order of the values changes nothing.
    return {"mean": math.fsum(values) / len(values), **found}


UNKNOWN = "not known"
_MARKUP = frozenset("\\`*_{}[]<>|#&~$")


def escaped(text: str) -> str:
    """Data in Markdown: nothing in it ends a cell or a line or starts markup, and nothing in it is invisible."""
    flat = visible(" ".join(text.split()))
    return "".join(f"\\{char}" if char in _MARKUP else char for char in flat)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], escape: Callable[[str], str] = escaped) -> list[str]:
    """The lines of a Markdown table; `escape` makes its cells."""
    named = "".join(f" {escape(name)}".rstrip() + " |" for name in head)
    return [f"|{named}", "|" + "---|" * len(head), *(f"| {' | '.join(map(escape, row))} |" for row in rows)]


def aligned(rows: Sequence[Sequence[str]], *, right: bool = False) -> list[str]:
    """The lines of a table for a terminal; with `right` all columns but the first end at the right."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    side = ">" if right else "<"
    return [
        "  ".join(
            [f"{name:<{first}}", *(f"{cell:{side}{width}}" for cell, width in zip(cells, others, strict=True))]
        ).rstrip()
        for name, *cells in rows
    ]


def number(value: float | None, style: str, unknown: str = "-") -> str:
    """A number in a format of Python (`.1%`, `,`), or what stands for one that is not known."""
    return unknown if value is None else format(value, style)


def figures(*named: tuple[str, float | None, str]) -> list[tuple[str, str]]:
    """Lines of those (name, value, style) that were measured."""
    return [(name, format(value, style)) for name, value, style in named if value is not None]


def spread_text(values: Mapping[str, float], style: str) -> str:
    """Several figures of the same values in a line: `mean 0.500 · p50 0.480`."""
    return " · ".join(f"{name} {value:{style}}" for name, value in values.items())


def style_of(measure: str) -> str:
    """The format of a measure of an evaluation by its name: tokens are whole, all others are shares."""
    return ".0f" if measure.endswith("tokens") else ".3f"


def interval_text(value: float, low: float | None, high: float | None, style: str) -> str:
    """A figure with its interval, if it has one: `0.500 [0.400, 0.600]`."""
    ends = "" if low is None or high is None else f" [{low:{style}}, {high:{style}}]"
    return f"{value:{style}}{ends}"
