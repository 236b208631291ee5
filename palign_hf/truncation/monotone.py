"""Isotonic analysis of margins that should rise with the cut."""

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


def violations(probes: Sequence[tuple[int, float]]) -> int:
    """How often an ENOUGH is followed by a NOT_ENOUGH at the next larger cut among `probes` of (cut, margin)."""
    ordered = [margin for _, margin in sorted(probes)]
    return sum(a > 0 >= b for a, b in pairwise(ordered))
