"""Searches for the shortest sufficient prefix: pure state machines that choose the next cut, one walk a problem.

With a prefix cache a probe costs some twenty tokens, while showing more of the trace than the answer needs costs
every token of it. So the default (`ascend.py`) climbs by jumps and bisects the last gap, where all is cached. Subclass
`LoopSearch` for a search of your own; `docs/extending.md` has an example.

Measured (`benchmarks/search_cost.py`), tokens computed over the floor at mean ratios .25 / .40: `ascend` 1.14 / 1.11,
`binary` 1.87 / 1.41, `linear` 1.42 / 1.43, the paper's loop without a cache 8.5 / 7.8. With noisy margins (sigma 1)
the mean error is 5.4 sentences (`binary` 5.9), without bias, for two thirds of the tokens of `binary`. Ending at the
first ENOUGH would save less than 1 % on a steady judge, and ends up to 7 sentences too early on a wavering one. On
short traces (40 segments of 9 tokens) `ascend` computes 4 to 11 % less than `binary`, with 0 to 7 % more questions.
"""

import bisect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from palign_hf.config import Resolver, check_parameters
from palign_hf.config.resolve import Uncalled, uncalled_description
from palign_hf.errors import UserError, shown
from palign_hf.truncation.schedule import Prior, as_number
from palign_hf.truncation.walk import LARGEST, Ascend, Found, LoopSearch, Search, Steps, Walk, crossing


__all__ = [
    "SEARCHES",
    "Ascend",
    "Binary",
    "Every",
    "Fixed",
    "Found",
    "Full",
    "Linear",
    "LoopSearch",
    "Nothing",
    "Prior",
    "Search",
    "UncalledSearch",
    "Walk",
    "has_prior",
    "make_search",
]


@dataclass(frozen=True)
class Binary(LoopSearch):
    """The paper's search, visit for visit; then cut 0, which it never asks, unless a NOT_ENOUGH implies its answer."""

    name: ClassVar[str] = "binary"

    def steps(self, tokens: Sequence[int], limit: int) -> Steps:
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
class Linear(LoopSearch):
    """Every cut in ascending order until one suffices: the definition the others are tested against."""

    name: ClassVar[str] = "linear"

    def steps(self, tokens: Sequence[int], limit: int) -> Steps:
        for cut in range(limit + 1):
            if (yield cut) > 0:
                return Found(cut, True)
        return Found(len(tokens) - 1, False)


@dataclass(frozen=True)
class Every(LoopSearch):
    """Every cut, and where the fit of all margins crosses: to measure a judge, or what a search gives away."""

    name: ClassVar[str] = "every"

    def steps(self, tokens: Sequence[int], limit: int) -> Steps:
        margins: list[float] = []
        for cut in range(limit + 1):
            margin = yield cut
            margins.append(max(-LARGEST, min(LARGEST, margin)))
        start, _ = crossing(margins)
        return Found(len(tokens) - 1, False) if start is None else Found(start, True)


class _Rule(LoopSearch):
    """A cut that needs no judge."""

    judged: ClassVar[bool] = False

    def steps(self, tokens: Sequence[int], limit: int) -> Steps:
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
                f"`fixed(ratio={shown(self.ratio)}, tokens={shown(self.tokens)})`: give one of them, as "
                f"`fixed(ratio=0.25)`."
            )
        if self.ratio is not None:
            ratio = as_number(self.ratio)
            if not 0 <= ratio <= 1:
                raise UserError(f"`ratio={shown(self.ratio)}`: must be a share of the trace, from 0 to 1.")
            object.__setattr__(self, "ratio", ratio)
        elif not isinstance(self.tokens, int) or isinstance(self.tokens, bool) or self.tokens < 0:
            raise UserError(f"`tokens={shown(self.tokens)}`: must be a whole number of tokens, 0 or more.")

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


class UncalledSearch(Uncalled):
    """Placeholder for a user's own search where it must not be made."""

    def __init__(self, name: str, parameters: Mapping[str, Any], kind: Any) -> None:
        super().__init__(name, parameters)
        self.kind, self.judged = kind, bool(getattr(kind, "judged", True))

    def describe(self) -> dict[str, Any]:
        """Its name and what it would be made from."""
        return uncalled_description(self)

    def start(self, tokens: Sequence[int], limit: int | None = None) -> Walk:
        """Raises: a placeholder searches nothing."""
        raise NotImplementedError(f"`{self.name}` is a placeholder that was not made")


_KINDS: tuple[type[LoopSearch], ...] = (Ascend, Binary, Linear, Every, Fixed, Full, Nothing)
SEARCHES: dict[str, type[LoopSearch]] = {kind.name: kind for kind in _KINDS}


def make_search(spec: "str | Mapping[str, Any] | Search") -> Search:
    """The search that a user means.

    Args:
        spec (`str`, `Mapping` or `Search`):
            A name, alone or with parameters (`binary`, `ascend(confirm=3)`), `module:name` of your own, `{name: ...,
            parameter: ...}` such as the `describe()` of a shipped search, or an object.

    Returns:
        `Search`: The search; a placeholder for one of your own within `located.uncalled()`.
    """
    return _SEARCH.resolve(spec)


def has_prior(search: Search) -> bool:
    """Whether a pilot can estimate a prior for it: `ascend`, and the user's own that are derived from it."""
    kind = search.kind if isinstance(search, UncalledSearch) else search
    return isinstance(kind, Ascend) or (isinstance(kind, type) and issubclass(kind, Ascend))


def _plain_parameters(kind: Any, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Plain values as a search takes them: a prior by its `describe()`, and a version only to compare it."""
    parameters = dict(given)
    if name in SEARCHES:
        version = parameters.pop("version", None)
        if version is not None and version != kind.version:
            raise UserError(
                f"`{name}` of version {shown(version)} isn't in this release, which has version {kind.version}. Run "
                f"again."
            )
        check_parameters(name, parameters, [item.name for item in fields(kind)])
    if isinstance(kind, type) and issubclass(kind, Ascend) and isinstance(prior := parameters.get("prior"), dict):
        check_parameters("prior", prior, [item.name for item in fields(Prior)])
        parameters["prior"] = Prior(**prior)
    return parameters


_SEARCH = Resolver[Search](
    "search",
    SEARCHES,
    attributes=("name", "judged"),
    methods=("describe", "start"),
    stand_in=UncalledSearch,
    example="ascend(confirm=3)",
    prepare=_plain_parameters,
)
