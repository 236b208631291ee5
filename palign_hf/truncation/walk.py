"""Base class and protocols of searches: a walk probes one cut at a time, and a search is written as a generator."""

import bisect
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Protocol, runtime_checkable

from palign_hf.config import described
from palign_hf.errors import UserError, shown
from palign_hf.truncation.schedule import Prior, as_number, jumps, next_cut


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


@dataclass(frozen=True)
class Found:
    """The end of a walk. `sufficient` is False when nothing within reach was judged sufficient (`segments` is then m),
    and for searches without a judge.
    """

    segments: int
    sufficient: bool


class Walk(Protocol):
    """One problem's search: probe `next`, answer with `tell`, until `next` is None."""

    def next(self) -> int | None: ...

    def tell(self, cut: int, margin: float) -> None: ...

    def result(self) -> Found: ...


@runtime_checkable
class Search(Protocol):
    """A search for the shortest sufficient prefix; frozen, hashable and picklable."""

    name: ClassVar[str]
    judged: ClassVar[bool]

    def start(self, tokens: Sequence[int], limit: int | None = None) -> Walk: ...

    def describe(self) -> dict[str, Any]: ...


# The generator of a search: it yields a cut, receives the margin, and returns the result.
Steps = Generator[int, float, Found]


class SteppedWalk:
    """Runs the generator of a search one answer at a time, and refuses invalid answers."""

    __slots__ = ("_asking", "_ended", "_found", "_steps")

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._asking: int | None = None
        self._found: Any = None
        self._ended = False
        self._advance(None)

    def next(self) -> int | None:
        """The cut to probe; None once the walk is finished."""
        return self._asking

    def tell(self, cut: int, margin: float) -> None:
        """Answer the cut that `next` gave."""
        if cut != self._asking:
            asked = "the walk is finished" if self._asking is None else f"the walk asks cut {self._asking}"
            raise ValueError(
                f"`tell({cut}, …)` answers a question that wasn't asked: {asked}. Answer what `next` gives."
            )
        if math.isnan(margin):
            raise ValueError(
                f"`nan` for cut {cut} is no verdict: it'd be read as NOT_ENOUGH. Record the row as an error instead."
            )
        self._advance(margin)

    def result(self) -> Found:
        """What was found, once `next` is None."""
        if not self._ended:
            raise RuntimeError(f"The walk isn't finished: it waits for the margin of cut {self._asking}.")
        found: Found = self._found
        return found

    def _advance(self, margin: float | None) -> None:
        try:
            self._asking = next(self._steps) if margin is None else self._steps.send(margin)
        except StopIteration as end:
            self._asking, self._found, self._ended = None, end.value, True
            return
        if self._asking is None:
            raise TypeError("`steps` yielded None, which is no cut")


class SearchMistake(ValueError):
    """A mistake in a search, which is an error of its row: one line that names the search and says what is allowed."""


# Repeated probes of a cut are free, but a search that only repeats itself would never end.
_MOST_REPEATS = 100


class CheckedWalk:
    """A walk of any search, whose mistakes are a `SearchMistake`. No cut is judged twice.

    Args:
        search (`Search`):
            The search.
        tokens (`Sequence[int]`):
            As `Search.start` takes them.
        limit (`int`):
            The last cut that may be asked.
    """

    __slots__ = ("_limit", "_margins", "_most", "_name", "_walk")

    def __init__(self, search: Search, tokens: Sequence[int], limit: int) -> None:
        self._name, self._most, self._limit = search.name, len(tokens) - 1, limit
        self._margins: dict[int, float] = {}
        self._walk: Walk = self._called(search.start, tokens, limit)

    def next(self) -> int | None:
        """The cut to probe; None once the walk is finished."""
        repeats = 0
        while (given := self._called(self._walk.next)) is not None:
            cut = self._whole(given, self._limit)
            if cut is None:
                raise self._mistake(
                    f"asked cut {shown(repr(given))}; a cut is a whole number from 0 to {self._limit}, the `limit`"
                )
            if cut not in self._margins:
                return cut
            repeats += 1
            if repeats > _MOST_REPEATS:
                raise self._mistake(
                    f"asked {repeats} times for what it had asked before, the last time cut {cut}; it must return a "
                    f"`Found` once it learns nothing more"
                )
            self._called(self._walk.tell, cut, self._margins[cut])
        return None

    def tell(self, cut: int, margin: float) -> None:
        """Answer the cut that `next` gave."""
        self._margins[cut] = margin
        self._called(self._walk.tell, cut, margin)

    def result(self) -> Found:
        """What was found, once `next` is None."""
        found = self._called(self._walk.result)
        segments = self._whole(found.segments, self._most) if isinstance(found, Found) else None
        if segments is None:
            raise self._mistake(
                f"returned {shown(repr(found))}; it must return `Found(segments, sufficient)` with a whole number of "
                f"segments from 0 to {self._most}"
            )
        return Found(segments, bool(found.sufficient))

    def _called(self, method: Callable[..., Any], *given: Any) -> Any:
        try:
            return method(*given)
        except Exception as error:  # the user's code may raise anything
            raise self._mistake(f"raised {type(error).__name__}: {shown(str(error), 300)}") from error

    def _mistake(self, what: str) -> SearchMistake:
        return SearchMistake(f"the search `{shown(self._name)}` {what}")

    @staticmethod
    def _whole(value: object, most: int) -> int | None:
        """A number from 0 to `most`, also of numpy; None for anything else."""
        try:
            number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            return None
        return number if number is not None and 0 <= number <= most else None


class LoopSearch(ABC):
    """A search that is written as a loop over cuts.

    A subclass sets `name` and implements `steps`. If it is a frozen dataclass, its fields are its parameters, in
    Python and in recipes; they are part of the fingerprint, with `name` and `version`.

    Args:
        name (`str`):
            Class attribute. Names the search in fingerprints, reports and cards.
        version (`int`, defaults to `1`):
            Class attribute. Raise it when `steps` changes what it finds.
        judged (`bool`, defaults to `True`):
            Class attribute. False for a rule that asks no cut.

    Example:

    ```python
    class FromTheEnd(LoopSearch):
        name = "from-the-end"

        def steps(self, tokens, limit):
            for cut in range(limit, -1, -1):
                if (yield cut) <= 0:
                    return Found(min(cut + 1, limit), cut < limit)
            return Found(0, True)
    ```
    """

    name: ClassVar[str]
    judged: ClassVar[bool] = True
    version: ClassVar[int] = 1  # raised with every change that can change a result

    def start(self, tokens: Sequence[int], limit: int | None = None) -> Walk:
        """Begin one problem. `tokens[k]` counts the tokens of its first k segments, k = 0..m; no cut above `limit` is
        asked (a rule that asks nothing has no use for it)."""
        if not len(tokens) or tokens[0] != 0:
            raise ValueError(
                f"`tokens={list(tokens[:3])}…` doesn't start with 0, the tokens of the empty prefix. Add it."
            )
        m = len(tokens) - 1
        limit = m if limit is None else limit
        if not 0 <= limit <= m:
            raise ValueError(
                f"`limit={limit}` is no cut of a trace of {m} segments. Skip a row whose question alone doesn't fit."
            )
        steps = self.steps(tokens, limit)
        if not isinstance(steps, Generator):
            raise TypeError(
                f"`steps` returned `{shown(repr(steps))}`, and must be a generator: it yields cuts, and returns a "
                f"`Found`"
            )
        return SteppedWalk(steps)

    def describe(self) -> dict[str, Any]:
        """JSON-able, with everything that can change a result."""
        return described(self)

    @abstractmethod
    def steps(self, tokens: Sequence[int], limit: int) -> Steps:
        """The loop: yields the cuts to probe, receives their margins, and return the cut that result.

        Args:
            tokens (`Sequence[int]`):
                `tokens[k]` counts the tokens of the first k segments, from 0 to all of them.
            limit (`int`):
                The last cut that fits the context; none above it can be asked.

        Returns:
            `Generator[int, float, Found]`: Yields cuts and returns `Found(segments, sufficient)`.
        """


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
