"""Selection skew: each column value's share of the problems and of the kept pairs."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from palign_hf.errors import shown
from palign_hf.statistics import share


# Values of a column that are listed separately, those with most problems.
MOST_VALUES = 20


class ValueShare(TypedDict):
    """One value of a column, or the `values` that are grouped as others.

    `kept_rate` is of the sampled problems; `skew` is the share of the pairs over that of all problems.
    """

    value: str
    values: int
    problems: int
    problem_share: float
    asked: int
    kept_problems: int
    kept_rate: float | None
    pairs: int
    pair_share: float | None
    skew: float | None


class Problems:
    """Outcome of each problem: whether it was sampled, whether a pair was kept, and its number of pairs."""

    def __init__(self, asked: np.ndarray, kept: np.ndarray, pairs: np.ndarray) -> None:
        self.asked, self.kept, self.pairs = asked, kept, pairs

    def by_value(self, codes: np.ndarray, values: Sequence[str | None]) -> list[ValueShare]:
        """The shares of a column; `codes` maps each problem to one of `values`."""
        names = [_name(value) for value in values]
        counts = np.bincount(codes, minlength=len(names))
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], names[code], code))
        listed, left = order[:MOST_VALUES], order[MOST_VALUES:]
        places = np.full(len(names), len(listed))
        places[listed] = np.arange(len(listed))
        shares = self._shares(places[codes], [names[code] for code in listed] + [f"{len(left)} others"] * bool(left))
        for others in shares[len(listed) :]:
            others["values"] = len(left)
        return shares

    def by_quarter(self, numbers: np.ndarray, unit: str) -> list[ValueShare]:
        """The shares of each quarter of the problems, by a number that is -1 where unknown."""
        known = numbers[numbers >= 0]
        if not len(known):
            return []
        # Bounds that are values themselves: a value is in one quarter, however often it occurs.
        bounds = np.unique(np.quantile(known, (0.25, 0.5, 0.75, 1.0), method="inverted_cdf"))
        places = np.where(numbers >= 0, np.searchsorted(bounds, numbers), len(bounds))
        ends = [(known[places[numbers >= 0] == place].min(), bound) for place, bound in enumerate(bounds)]
        names = [f"{low:,} to {high:,} {unit}" if low < high else f"{high:,} {unit}" for low, high in ends]
        return self._shares(places, names + ["not known"] * (len(known) < len(numbers)))

    def _shares(self, places: np.ndarray, names: Sequence[str]) -> list[ValueShare]:
        def sums(numbers: np.ndarray | None = None) -> list[int]:
            return [int(total) for total in np.bincount(places, numbers, minlength=len(names))]

        found: list[ValueShare] = []
        pairs_of_all = int(self.pairs.sum())
        for name, problems, asked, kept, pairs in zip(
            names, sums(), sums(self.asked), sums(self.kept), sums(self.pairs), strict=True
        ):
            pair_share = share(pairs, pairs_of_all)
            problem_share = problems / len(places)
            found.append(
                {
                    "value": name,
                    "values": 1,
                    "problems": problems,
                    "problem_share": problem_share,
                    "asked": asked,
                    "kept_problems": kept,
                    "kept_rate": share(kept, asked),
                    "pairs": pairs,
                    "pair_share": pair_share,
                    "skew": None if pair_share is None else pair_share / problem_share,
                }
            )
        return found


def _name(value: str | None) -> str:
    """Display name of a value."""
    return "(none)" if value is None else shown(value).strip() or "(empty)"
