"""Base class and protocols of searches: a walk probes one cut at a time, and a search is written as a generator."""

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from palign_hf.config import described


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

    __slots__ = ("_asking", "_found", "_steps")

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._asking: int | None = None
        self._found: Found | None = None
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
        if self._found is None:
            raise RuntimeError(f"The walk isn't finished: it waits for the margin of cut {self._asking}.")
        return self._found

    def _advance(self, margin: float | None) -> None:
        try:
            self._asking = next(self._steps) if margin is None else self._steps.send(margin)
        except StopIteration as end:
            self._asking, self._found = None, end.value


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
        return SteppedWalk(self.steps(tokens, limit))

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
