"""Which cut to ask next, and when to stop: pure state machines, one walk a problem.

With a prefix cache a probe costs some twenty tokens, while showing more of the trace than the answer needs costs
every token of it. So the default climbs by jumps (`schedule.py`) and bisects the last gap, where all is cached.

Measured (`benchmarks/search_cost.py`), tokens computed over the floor at mean ratios .25 / .40: `ascend` 1.14 / 1.11,
`binary` 1.87 / 1.41, `linear` 1.42 / 1.43, the paper's loop without a cache 8.5 / 7.8. With noisy margins (sigma 1)
the mean error is 5.4 sentences (`binary` 5.9), without bias, for two thirds of the tokens of `binary`. Ending at the
first ENOUGH would save less than 1 % on a steady judge, and ends up to 7 sentences too early on a wavering one.
"""

import bisect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, ClassVar, Protocol, runtime_checkable

from palign_hf.errors import UserError, listed, nearest
from palign_hf.truncation.monotone import crossing, isotonic, violations
from palign_hf.truncation.schedule import Prior, jumps, next_cut


__all__ = [
    "SEARCHES",
    "Ascend",
    "Binary",
    "Every",
    "Fixed",
    "Found",
    "Full",
    "Linear",
    "Nothing",
    "Prior",
    "Search",
    "Walk",
    "isotonic",
    "make_search",
    "violations",
]


@dataclass(frozen=True)
class Found:
    """The end of a walk. `sufficient` is False when nothing within reach was judged so (`segments` is then m), and
    for the searches that ask no judge."""

    segments: int
    sufficient: bool


class Walk(Protocol):
    """One problem's search: ask `next`, answer with `tell`, until `next` has nothing more to ask."""

    def next(self) -> int | None: ...

    def tell(self, cut: int, margin: float) -> None: ...

    def result(self) -> Found: ...


@runtime_checkable
class Search(Protocol):
    """A way to look for the shortest sufficient prefix; frozen, hashable and picklable."""

    name: ClassVar[str]
    judged: ClassVar[bool]

    def start(self, tokens: Sequence[int], limit: int | None = None) -> Walk: ...

    def describe(self) -> dict[str, Any]: ...


# A search reads as a loop: it yields a cut, is sent the margin, and returns what it found.
_Steps = Generator[int, float, Found]


class _Walk:
    """Runs the loop of a search one answer at a time, and refuses answers that can't be used."""

    __slots__ = ("_asking", "_found", "_steps")

    def __init__(self, steps: _Steps) -> None:
        self._steps = steps
        self._asking: int | None = None
        self._found: Found | None = None
        self._advance(None)

    def next(self) -> int | None:
        return self._asking

    def tell(self, cut: int, margin: float) -> None:
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
        if self._found is None:
            raise RuntimeError(f"The walk isn't finished: it waits for the margin of cut {self._asking}.")
        return self._found

    def _advance(self, margin: float | None) -> None:
        try:
            self._asking = next(self._steps) if margin is None else self._steps.send(margin)
        except StopIteration as end:
            self._asking, self._found = None, end.value


class _Search(ABC):
    """What the searches share: the checks of `start`, and a description made of the parameters."""

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
        return _Walk(self._steps(tokens, limit))

    def describe(self) -> dict[str, Any]:
        """JSON-able, with everything that can change a result; `make_search` takes it back."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        plain = {name: value.describe() if isinstance(value, Prior) else value for name, value in values.items()}
        return {"name": self.name, "version": self.version, **plain}

    @abstractmethod
    def _steps(self, tokens: Sequence[int], limit: int) -> _Steps:
        """Yields the cuts to ask, is sent their margins, and returns what it found."""


_LARGEST = 1e30  # stands for an infinite margin, so that sums stay numbers


@dataclass(frozen=True)
class Binary(_Search):
    """The paper's search, visit for visit; then cut 0, which it never asks, unless a NOT_ENOUGH implies its answer."""

    name: ClassVar[str] = "binary"

    def _steps(self, tokens: Sequence[int], limit: int) -> _Steps:
        left, right, best = 1, limit, None
        while left <= right:
            middle = (left + right) // 2
            if (yield middle) > 0:
                best, right = middle, middle - 1
            else:
                left = middle + 1
        if (best == 1 or limit == 0) and (yield 0) > 0:
            best = 0
        return Found(len(tokens) - 1, False) if best is None else Found(best, True)


@dataclass(frozen=True)
class Linear(_Search):
    """Every cut in ascending order until one suffices: the definition the others are tested against."""

    name: ClassVar[str] = "linear"

    def _steps(self, tokens: Sequence[int], limit: int) -> _Steps:
        for cut in range(limit + 1):
            if (yield cut) > 0:
                return Found(cut, True)
        return Found(len(tokens) - 1, False)


@dataclass(frozen=True)
class Every(_Search):
    """Every cut, and where the fit of all margins crosses: to measure a judge, or what a search gives away."""

    name: ClassVar[str] = "every"

    def _steps(self, tokens: Sequence[int], limit: int) -> _Steps:
        margins: list[float] = []
        for cut in range(limit + 1):
            margin = yield cut
            margins.append(max(-_LARGEST, min(_LARGEST, margin)))
        start, _ = crossing(margins)
        return Found(len(tokens) - 1, False) if start is None else Found(start, True)


# Cuts to look at around a crossing when the judge has been seen to waver, as distances from it.
_AROUND = (2, -2, 4, -4, 6, -6)


@dataclass(frozen=True)
class Ascend(_Search):
    """The default: cut 0, then jumps up by the cheapest schedule, then bisection of the last gap.

    A judge wavers: a first ENOUGH may be a spike. So the answer is the crossing of the isotonic fit of all margins,
    once `confirm` ENOUGH stand there in a row and the margins from there on sum to `caution` times all falls of the
    margin seen so far. While margins don't fall this costs next to nothing; when they do, the extra cuts are asked
    below the frontier first, where they are cached. `probe_cost`: what a probe costs, in tokens, beside the tokens of
    the trace that it is the first to show.
    """

    name: ClassVar[str] = "ascend"
    confirm: int = 2
    caution: float = 1.5
    probe_cost: float = 32.0
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        if not isinstance(self.confirm, int) or self.confirm < 1:
            raise UserError(f"`confirm={self.confirm}` can't end a search. Give a whole number of ENOUGH, 1 or more.")
        if not 0 <= self.caution < math.inf:
            raise UserError(f"`caution={self.caution}` is no weight. Give 0 (trust the first crossing) or more.")
        if not 0 < self.probe_cost < math.inf:
            raise UserError(
                f"`probe_cost={self.probe_cost}`: a probe costs tokens. Give more than 0, or take `linear`."
            )
        if not isinstance(self.prior, Prior):
            raise UserError(
                f"`prior={self.prior!r}` is no prior. Give a `Prior`, as `Prior.from_ratios(ratios, never)`."
            )
        # 32 and 32.0 are one search, so they must have one description.
        object.__setattr__(self, "caution", float(self.caution))
        object.__setattr__(self, "probe_cost", float(self.probe_cost))

    def _steps(self, tokens: Sequence[int], limit: int) -> _Steps:
        m = len(tokens) - 1
        schedule = jumps(m, tokens[m], self.probe_cost, self.prior)
        cuts: list[int] = []
        margins: list[float] = []
        spare = 3 * m.bit_length() + 2 + self.confirm  # the last gap needs at most one bit_length of it
        cut = 0
        while True:
            margin = yield cut
            at = bisect.bisect(cuts, cut)
            cuts.insert(at, cut)
            margins.insert(at, max(-_LARGEST, min(_LARGEST, margin)))
            start, evidence = crossing(margins)
            if start is None:
                if cuts[-1] == limit:
                    return Found(m, False)
                cut = next_cut(schedule, tokens, cuts[-1], limit)
                continue
            doubt = self._doubt(cuts, margins, start, evidence)
            if doubt is None or not spare:
                return Found(cuts[start], True)
            if doubt > cuts[-1]:
                if cuts[-1] == limit:
                    return Found(cuts[start], True)
                # A quarter of a jump: enough to tell a spike from a crossing, and little is lost if it was one.
                doubt = cuts[-1] + max(1, (next_cut(schedule, tokens, cuts[-1], limit) - cuts[-1]) // 4)
            spare -= 1
            cut = doubt

    def _doubt(self, cuts: list[int], margins: list[float], start: int, evidence: float) -> int | None:
        """The cut that would settle what is still open about the crossing at `cuts[start]`; None if nothing is.

        A cut above the frontier means that everything up to it is known, and more must be shown.
        """
        found, frontier = cuts[start], cuts[-1]
        below = cuts[start - 1] if start else -1
        if found - below > 1:
            return (below + found) // 2
        falls = sum(a - b for a, b in pairwise(margins) if a > b)
        if falls and self.caution:
            for distance in _AROUND:
                if 0 <= found + distance <= frontier and found + distance not in cuts:
                    return found + distance
        row = margins[start : start + self.confirm]
        if len(row) == self.confirm and min(row) > 0 and evidence >= self.caution * falls:
            return None
        low, high = max(pairwise(cuts[start:]), key=lambda gap: gap[1] - gap[0], default=(found, found))
        return (low + high) // 2 if high - low > 1 else frontier + 1


class _Rule(_Search):
    """A cut that needs no judge."""

    judged: ClassVar[bool] = False

    def _steps(self, tokens: Sequence[int], limit: int) -> _Steps:
        return Found(self._cut(tokens), False)
        yield  # makes this a walk like the others, with nothing to ask

    @abstractmethod
    def _cut(self, tokens: Sequence[int]) -> int:
        """Where the rule cuts."""


@dataclass(frozen=True)
class Fixed(_Rule):
    """The fixed-ratio baseline: the cut nearest to a share of the trace's tokens or to a number of tokens.

    Of two cuts equally near it takes the shorter.
    """

    name: ClassVar[str] = "fixed"
    ratio: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.tokens is None):
            raise UserError(
                f"`fixed(ratio={self.ratio}, tokens={self.tokens})`: give one of them, as `fixed(ratio=0.25)`."
            )
        if self.ratio is not None and not 0 <= self.ratio <= 1:
            raise UserError(f"`ratio={self.ratio}` is no share of a trace. Give a number from 0 to 1.")
        if self.tokens is not None and (not isinstance(self.tokens, int) or self.tokens < 0):
            raise UserError(f"`tokens={self.tokens}` is no length of a prefix. Give a whole number, 0 or more.")
        if self.ratio is not None:
            object.__setattr__(self, "ratio", float(self.ratio))

    def _cut(self, tokens: Sequence[int]) -> int:
        budget = self.tokens if self.tokens is not None else self.ratio * tokens[-1]  # type: ignore[operator]
        cut = bisect.bisect_left(tokens, budget)
        if cut == len(tokens) or (cut and budget - tokens[cut - 1] <= tokens[cut] - budget):
            cut = bisect.bisect_left(tokens, tokens[cut - 1])
        return cut


@dataclass(frozen=True)
class Full(_Rule):
    """The whole trace: the long-CoT baseline."""

    name: ClassVar[str] = "full"

    def _cut(self, tokens: Sequence[int]) -> int:
        return len(tokens) - 1


@dataclass(frozen=True)
class Nothing(_Rule):
    """No prefix at all: the continuation-only baseline."""

    name: ClassVar[str] = "none"

    def _cut(self, tokens: Sequence[int]) -> int:
        return 0


_KINDS: tuple[type[_Search], ...] = (Ascend, Binary, Linear, Every, Fixed, Full, Nothing)
SEARCHES = {kind.name: kind for kind in _KINDS}
_SPEC = re.compile(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def make_search(spec: "str | Search | dict[str, Any]") -> Search:
    """The search a user means: a `Search`, its `describe()`, or text such as `binary` or `ascend(confirm=3)`."""
    if isinstance(spec, Search) and not isinstance(spec, type):
        return spec
    if isinstance(spec, dict):
        parameters = dict(spec)
        name, version = parameters.pop("name", None), parameters.pop("version", None)
    elif isinstance(spec, str) and (match := _SPEC.fullmatch(spec)):
        name, version, parameters = match[1], None, _parameters(spec, match[2] or "")
    else:
        raise UserError(f"`{spec!r}` names no search. Give one of {listed(SEARCHES)}, as `ascend(confirm=3)`.")
    if name not in SEARCHES:
        raise UserError(f"`{name}` is no search{nearest(str(name), SEARCHES)}. Give one of {listed(SEARCHES)}.")
    kind = SEARCHES[name]
    if version not in (None, kind.version):
        raise UserError(
            f"`{name}` of version {version} isn't in this release, which has version {kind.version}. Run again."
        )
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for parameter in parameters:
        if parameter not in known:
            has = f"It takes {listed(known)}" if known else "It takes none"
            raise UserError(f"`{parameter}` is no parameter of `{name}`{nearest(parameter, known)}. {has}.")
    if isinstance(parameters.get("prior"), dict):
        parameters["prior"] = Prior(**parameters["prior"])
    return kind(**parameters)


def _parameters(spec: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(str.strip, text.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            found[key] = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise UserError(
                f"`{part.strip()}` in `{spec}` is no number for a parameter. Write `name=number`."
            ) from None
    return found
