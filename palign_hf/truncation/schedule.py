"""Jump schedule of the ascending search: the cheapest one under a prior of where prefixes end.

Showing one more token costs one token, another probe costs `probe_cost`, and tokens beyond the answer are lost. An
answer at the frontier itself costs `settle` more probes, since nothing above it confirms it yet. The schedule
minimizes the expected sum by dynamic programming on a grid over the share of the trace's tokens. It depends on the
size of a problem and on the prior alone, never on which problems finished before.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from palign_hf.errors import UserError, shown


class BlockCache:
    """The prefix cache of one problem: whole blocks are reused, and the last token of a prompt is always computed.

    Only the shared part of prompts (head and trace) is cached: a judge's suffix is at another place each time.
    """

    def __init__(self, block: int = 16) -> None:
        if block < 1:
            raise UserError(f"`block={block}` holds no token. Give the engine's block size, 16 on most GPUs.")
        self.block = block
        self.held = 0

    def ask(self, prompt_tokens: int, shared_prefix_tokens: int) -> int:
        """Tokens computed for a prompt whose first `shared_prefix_tokens` are those of the problem's longest text."""
        if not 0 <= shared_prefix_tokens <= prompt_tokens:
            raise UserError(
                f"`shared_prefix_tokens={shared_prefix_tokens}` aren't in a prompt of {prompt_tokens} tokens. "
                f"Give the length of the part before the suffix."
            )
        shared = shared_prefix_tokens - shared_prefix_tokens % self.block
        reusable = (prompt_tokens - 1) // self.block * self.block
        hit = max(0, min(self.held, shared, reusable))
        self.held = max(self.held, shared)
        return prompt_tokens - hit


GRID = 256
_BINS = 20
_MOST_PROBES = 2**30  # where probes cost next to nothing, how little changes nothing

# Prefix share of the target in the released rows: 10 % end below .115, half below .254, 90 % below .564. The share of
# the trace isn't published; the schedule only sets the price of a search, never what it finds on a monotone judge.
_RELEASED = ((0.0, 0.0), (0.115, 0.1), (0.254, 0.5), (0.564, 0.9), (1.0, 1.0))


@dataclass(frozen=True)
class Prior:
    """Distribution of the ends of sufficient prefixes over the share of the trace's tokens.

    `knots` are points of a piecewise linear CDF over the problems that some prefix suffices for; `never` is the share
    of the others. Problems that need no prefix are excluded: cut 0 is a separate probe.
    """

    knots: tuple[tuple[float, float], ...] = _RELEASED
    never: float = 0.03

    def __post_init__(self) -> None:
        knots = _points(self.knots)
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(knots))
        if len(knots) < 2 or knots[0] != (0.0, 0.0) or knots[-1] != (1.0, 1.0) or not rising:
            raise UserError(
                f"`knots={shown(self.knots)}` is no CDF over shares of a trace: must be (share, fraction below) "
                f"points in rising order from (0, 0) to (1, 1)."
            )
        never = as_number(self.never)
        if not 0 <= never < 1:
            raise UserError(f"`never={shown(self.never)}`: must be a share of problems, from 0 up to, not with, 1.")
        object.__setattr__(self, "knots", knots)
        object.__setattr__(self, "never", never)

    @classmethod
    def from_ratios(cls, ratios: Sequence[float], never: int, weight: float = 20.0) -> "Prior":
        """The prior of a pilot: the shares at which it found prefixes, and the number of problems without a sufficient
        one.

        A histogram, smoothed by `weight` rows of the default prior so that a small pilot excludes nothing. Shares of 0
        are left out, see the class.
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


def as_number(value: object) -> float:
    """A parameter as a float; NaN for what is no finite number (`True` is none), so that no range holds it."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def jumps(segments: int, tokens: int, probe_cost: float, prior: Prior, settle: float = 0.0) -> tuple[int, ...]:
    """For each grid place of the frontier (the longest prefix shown so far), the grid place to show next.

    Sizes are rounded to steps of at most a quarter, so that a corpus of any length shares a few hundred schedules.
    """
    segments = _rounded(segments)
    probes = _rounded(int(min(tokens / probe_cost, _MOST_PROBES)))
    # More questions than segments can't be asked.
    return _solve(segments, probes, min(settle, float(segments)), prior)


def next_cut(jumps: Sequence[int], tokens: Sequence[int], frontier: int, limit: int) -> int:
    """Next cut after NOT_ENOUGH at `frontier` (< `limit`): nearest to the scheduled share, above the frontier."""
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


def _points(knots: object) -> tuple[tuple[float, float], ...]:
    """Pairs of numbers, or nothing if any of it is something else."""
    if not isinstance(knots, list | tuple) or not all(isinstance(knot, list | tuple) for knot in knots):
        return ()
    points = tuple(tuple(map(as_number, knot)) for knot in knots)
    return () if any(len(point) != 2 for point in points) else points  # type: ignore[return-value]


def _below(knots: Sequence[tuple[float, float]], share: float) -> float:
    for (low, start), (high, end) in pairwise(knots):
        if share <= high:
            return start + (end - start) * (share - low) / (high - low)
    return 1.0


@lru_cache(maxsize=4096)
def _solve(segments: int, probes: int, settle: float, prior: Prior) -> tuple[int, ...]:
    """V(lo) = min over k of the tokens to k, a probe, and what follows: V(k), or what settles the last gap.

    Costs are shares of the trace's tokens (`probes` of them buy the whole trace).
    """
    ends = np.array([_below(prior.knots, place / GRID) for place in range(GRID + 1)]) * (1 - prior.never)
    probe = 1 / probes
    gap = np.maximum(1.0, np.arange(GRID + 1) * segments / GRID)
    floor_log2 = np.frexp(gap)[1] - 1
    bisection = floor_log2 + 2 * (1 - np.ldexp(1.0, floor_log2) / gap)  # mean depth among `gap` candidates
    questions = bisection + settle / gap
    value, best = np.zeros(GRID + 1), [GRID] * (GRID + 1)
    for low in range(GRID - 1, -1, -1):
        steps = np.arange(1, GRID - low + 1)
        left = 1 - ends[low]
        # Beyond all that the prior thought possible, every place is as likely as another.
        hit = (ends[low + 1 :] - ends[low]) / left if left > 1e-9 else steps / (GRID - low)
        cost = steps / GRID + probe + (1 - hit) * value[low + 1 :] + hit * probe * questions[steps]
        # Rounded, so that a last bit that differs between machines can't choose between equals.
        step = int(np.argmin(np.round(cost, 12)))
        value[low], best[low] = cost[step], low + 1 + step
    return tuple(best)
