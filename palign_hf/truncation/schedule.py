"""How far the ascending search jumps: the cheapest schedule under a fixed prior of where prefixes end.

Showing one more token costs one token, asking again costs `probe_cost`, and what is shown beyond the answer is lost.
The schedule minimises the expected sum by dynamic programming on a grid over the share of the trace's tokens. It
depends on the size of a problem and on the prior alone, never on which problems finished before.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from palign_hf.errors import UserError


GRID = 256
_BINS = 20

# Prefix share of the target in the released rows: 10 % end below .115, half below .254, 90 % below .564. The share of
# the trace isn't published; the schedule only sets the price of a search, never what it finds on a monotone judge.
_RELEASED = ((0.0, 0.0), (0.115, 0.1), (0.254, 0.5), (0.564, 0.9), (1.0, 1.0))


@dataclass(frozen=True)
class Prior:
    """Where sufficient prefixes end, as a distribution over the share of the trace's tokens.

    `knots` are points of a piecewise linear CDF over the problems that some prefix suffices for; `never` is the share
    of the others. Problems that need no prefix are left out: the first probe has answered them before any jump.
    """

    knots: tuple[tuple[float, float], ...] = _RELEASED
    never: float = 0.03

    def __post_init__(self) -> None:
        knots = tuple((float(share), float(below)) for share, below in self.knots)
        object.__setattr__(self, "knots", knots)
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(knots))
        if len(knots) < 2 or knots[0] != (0.0, 0.0) or knots[-1] != (1.0, 1.0) or not rising:
            raise UserError(
                f"`knots={knots}` is no CDF over shares of a trace. Give (share, fraction below) points in rising "
                f"order from (0, 0) to (1, 1)."
            )
        if not 0 <= self.never < 1:
            raise UserError(f"`never={self.never}` is no share of problems. Give a number from 0 up to, not with, 1.")

    @classmethod
    def from_ratios(cls, ratios: Sequence[float], never: int, weight: float = 20.0) -> "Prior":
        """The prior of a pilot: the shares at which it found prefixes, and how many problems had none that sufficed.

        A histogram, smoothed by `weight` rows' worth of the default prior so that a small pilot rules nothing out.
        Shares of 0 are left out, see the class.
        """
        wrong = next((ratio for ratio in ratios if not 0 <= ratio <= 1), None)
        if wrong is not None:
            raise UserError(
                f"`{wrong}` is no share of a trace. Give the tokens of each prefix over those of its trace."
            )
        if never < 0 or not (weight > 0 and math.isfinite(weight)):
            raise UserError(f"`never={never}, weight={weight}`: give a count, and a weight above 0.")
        default = cls()
        edges = [_below(default.knots, index / _BINS) for index in range(_BINS + 1)]
        counts = [weight * (1 - default.never) * (high - low) for low, high in pairwise(edges)]
        for ratio in ratios:
            if ratio > 0:
                counts[min(_BINS - 1, math.ceil(ratio * _BINS) - 1)] += 1
        found = sum(counts)
        knots, below = [(0.0, 0.0)], 0.0
        for index, count in enumerate(counts[:-1], start=1):
            below += count
            knots.append((index / _BINS, round(below / found, 6)))
        missed = never + weight * default.never
        return cls((*knots, (1.0, 1.0)), round(missed / (missed + found), 6))

    def describe(self) -> dict[str, Any]:
        """JSON-able; `Prior(**description)` gives the prior back."""
        return {"knots": [list(knot) for knot in self.knots], "never": self.never}


def jumps(segments: int, tokens: int, probe_cost: float, prior: Prior) -> tuple[int, ...]:
    """For each grid place of the frontier (the longest prefix shown so far), the grid place to show next.

    Sizes are rounded to steps of at most a quarter, so that a corpus of any length shares a few hundred schedules.
    """
    return _solve(_rounded(segments), _rounded(int(tokens / probe_cost)), prior)


def next_cut(jumps: Sequence[int], tokens: Sequence[int], frontier: int, limit: int) -> int:
    """The cut to ask after a NOT_ENOUGH at `frontier` (< `limit`): nearest to the scheduled share, always above it."""
    total = tokens[-1]
    if not total:
        return limit
    shown = tokens[frontier]
    place = shown * GRID / total
    cell = min(int(place), GRID - 1)
    step, following = jumps[cell] - cell, jumps[cell + 1] - cell - 1
    target = shown + (step + (place - cell) * (following - step)) * total / GRID
    cut = bisect.bisect_left(tokens, target, frontier + 1, limit)
    if cut - 1 > frontier and target - tokens[cut - 1] < tokens[cut] - target:
        cut -= 1
    return cut


def _rounded(size: int) -> int:
    """The three leading bits of a size, 1 at least: integer arithmetic, so equal on every machine."""
    drop = max(0, size.bit_length() - 3)
    return max(1, size >> drop << drop)


def _below(knots: Sequence[tuple[float, float]], share: float) -> float:
    for (low, start), (high, end) in pairwise(knots):
        if share <= high:
            return start + (end - start) * (share - low) / (high - low)
    return 1.0


@lru_cache(maxsize=4096)
def _solve(segments: int, probes: int, prior: Prior) -> tuple[int, ...]:
    """V(lo) = min over k of the tokens to k, a probe, and what follows: V(k), or the bisection of the last gap.

    Costs are shares of the trace's tokens (`probes` of them buy the whole trace).
    """
    ends = np.array([_below(prior.knots, place / GRID) for place in range(GRID + 1)]) * (1 - prior.never)
    probe = 1 / probes
    gap = np.maximum(1.0, np.arange(GRID + 1) * segments / GRID)
    floor_log2 = np.frexp(gap)[1] - 1
    bisection = floor_log2 + 2 * (1 - np.ldexp(1.0, floor_log2) / gap)  # mean depth among `gap` candidates
    value, best = np.zeros(GRID + 1), [GRID] * (GRID + 1)
    for low in range(GRID - 1, -1, -1):
        steps = np.arange(1, GRID - low + 1)
        left = 1 - ends[low]
        # Beyond all that the prior thought possible, every place is as likely as another.
        hit = (ends[low + 1 :] - ends[low]) / left if left > 1e-9 else steps / (GRID - low)
        cost = steps / GRID + probe + (1 - hit) * value[low + 1 :] + hit * probe * bisection[steps]
        # Rounded, so that a last bit that differs between machines can't choose between equals.
        step = int(np.argmin(np.round(cost, 12)))
        value[low], best[low] = cost[step], low + 1 + step
    return tuple(best)
