"""Margins that should rise with the cut, and what to make of them when they don't."""

import math
from collections.abc import Sequence
from itertools import pairwise


def crossing(margins: Sequence[float]) -> tuple[int | None, float]:
    """The first place where the isotonic fit of `margins` is above 0, and the sum of the margins from there on.

    One pass instead of the whole fit: a run of positive sum starts there, and no later margins take the sum back to 0.
    The place itself always has a positive margin.
    """
    start, total = None, 0.0
    for place, margin in enumerate(margins):
        if start is not None:
            total += margin
            if total <= 0:
                start = None
        elif margin > 0:
            start, total = place, margin
    return start, total if start is not None else 0.0


def isotonic(margins: Sequence[float]) -> list[float]:
    """The closest non-decreasing sequence (least squares): neighbours that fall are pooled into their mean."""
    means: list[float] = []
    sums: list[float] = []
    sizes: list[int] = []
    for margin in margins:
        if not math.isfinite(margin):
            raise ValueError(f"`{margin}` has no mean with its neighbours. Leave probes without a finite margin out.")
        mean = total = float(margin)
        size = 1
        while means and means[-1] > mean:
            means.pop()
            total += sums.pop()
            size += sizes.pop()
            mean = total / size
        means.append(mean)
        sums.append(total)
        sizes.append(size)
    return [mean for mean, size in zip(means, sizes, strict=True) for _ in range(size)]


def violations(probes: Sequence[tuple[int, float]]) -> int:
    """How often an ENOUGH is followed by a NOT_ENOUGH at the next larger cut among `probes` of (cut, margin)."""
    ordered = [margin for _, margin in sorted(probes)]
    return sum(a > 0 >= b for a, b in pairwise(ordered))
