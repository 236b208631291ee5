"""The default search: jumps up, bisects the last gap, and probes more only where that pays."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from palign_hf.errors import UserError, shown
from palign_hf.truncation.monotone import crossing
from palign_hf.truncation.schedule import Prior, as_number, jumps, next_cut
from palign_hf.truncation.walk import Found, LoopSearch, Steps


LARGEST = 1e30  # stands for an infinite margin, so that sums stay numbers

# Cuts to ask around a crossing when the judge wavers, as distances from it.
_AROUND = (2, -2, 4, -4, 6, -6)
# Expected share of problems without a needed prefix: there the probe of cut 0 saves a first jump.
_NO_PREFIX = 0.1


@dataclass(frozen=True)
class Ascend(LoopSearch):
    """The default search: jumps up by the cheapest schedule, then bisection of the last gap.

    A judge wavers: a first ENOUGH may be a spike. So the answer is the crossing of the isotonic fit of all margins,
    once `confirm` ENOUGH follow there in a row and the margins from there on sum to `caution` times all falls of the
    margin so far. Every other probe has a price, `probe_cost` tokens plus the tokens of the trace that it shows first:
    cut 0 is probed first where the first jump is long, and cuts around the crossing where the falls are large against
    the margins beside it, and a longer or shorter prefix is worth the probe.
    """

    name: ClassVar[str] = "ascend"
    version: ClassVar[int] = 2
    confirm: int = 2
    caution: float = 1.5
    probe_cost: float = 32.0
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        if not isinstance(self.confirm, int) or isinstance(self.confirm, bool) or self.confirm < 1:
            raise UserError(f"`confirm={shown(self.confirm)}`: must be a whole number of ENOUGH, at least 1.")
        caution, probe_cost = as_number(self.caution), as_number(self.probe_cost)
        if not caution >= 0:
            raise UserError(
                f"`caution={shown(self.caution)}`: must be a number, 0 (trust the first crossing) or more."
            )
        if not probe_cost > 0:
            raise UserError(f"`probe_cost={shown(self.probe_cost)}`: must be a number of tokens above 0.")
        if not isinstance(self.prior, Prior):
            raise UserError(f"`prior={shown(self.prior)}`: must be a `Prior`, or what its `describe()` gives.")
        # 32 and 32.0 are one search, so they must have one description.
        object.__setattr__(self, "caution", caution)
        object.__setattr__(self, "probe_cost", probe_cost)

    def steps(self, tokens: Sequence[int], limit: int) -> Steps:
        m = len(tokens) - 1
        # A single ENOUGH at the frontier isn't accepted: more is shown, until `confirm` and `caution` are satisfied.
        settle = min(self.confirm - 1, m) + self.caution
        schedule = jumps(m, tokens[m], self.probe_cost, self.prior, settle)
        cuts: list[int] = []
        margins: list[float] = []
        spare = 3 * m.bit_length() + 2 + self.confirm  # the last gap needs at most one bit_length of it
        cut = next_cut(schedule, tokens, 0, limit) if limit else 0
        if _NO_PREFIX * (tokens[cut] + self.probe_cost) >= self.probe_cost:
            cut = 0
        while True:
            margin = yield cut
            at = bisect.bisect(cuts, cut)
            cuts.insert(at, cut)
            margins.insert(at, max(-LARGEST, min(LARGEST, margin)))
            start, evidence = crossing(margins)
            if start is None:
                if cuts[-1] == limit:
                    return Found(m, False)
                cut = next_cut(schedule, tokens, cuts[-1], limit)
                continue
            doubt = self._doubt(tokens, cuts, margins, start, evidence)
            if doubt is None or not spare:
                return Found(cuts[start], True)
            if doubt > cuts[-1]:
                if cuts[-1] == limit:
                    return Found(cuts[start], True)
                # A quarter of a jump: enough to distinguish a spike from a crossing, at little cost.
                doubt = cuts[-1] + max(1, (next_cut(schedule, tokens, cuts[-1], limit) - cuts[-1]) // 4)
            spare -= 1
            cut = doubt

    def _doubt(
        self, tokens: Sequence[int], cuts: list[int], margins: list[float], start: int, evidence: float
    ) -> int | None:
        """The cut that would settle the crossing at `cuts[start]`; None if it is settled.

        A cut above the frontier means that everything up to it is known, and more must be shown.
        """
        found, frontier = cuts[start], cuts[-1]
        if not start and found:
            return 0  # nothing shorter was asked: the likeliest answer first, and the cheapest question
        if start and found - cuts[start - 1] > 1:
            return (cuts[start - 1] + found) // 2
        unsure = self.caution * sum(a - b for a, b in pairwise(margins) if a > b)
        if unsure:
            firm = min(margins[start], -margins[start - 1]) if start else margins[start]
            # With odds of unsure : firm the answer moves by half of the way to the cut that probed asked.
            worth = 2 * self.probe_cost * (unsure + firm) / unsure
            for look in (found + distance for distance in _AROUND):
                if 0 <= look <= frontier and look not in cuts and abs(tokens[look] - tokens[found]) > worth:
                    return look
        row = margins[start : start + self.confirm]
        if len(row) == self.confirm and min(row) > 0 and evidence >= unsure:
            return None
        low, high = max(pairwise(cuts[start:]), key=lambda gap: gap[1] - gap[0], default=(found, found))
        return (low + high) // 2 if high - low > 1 else frontier + 1
