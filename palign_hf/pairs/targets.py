"""Kinds of baselines: name, parameter, and target text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

from palign_hf.config import check_parameters, read_named
from palign_hf.errors import UserError, shown
from palign_hf.segmentation import cuts


class Tokens(Protocol):
    """Token counts for cuts; implemented by `TextTokenizer`."""

    def count_before(self, text: str, ends: list[int]) -> list[int]:
        """For each offset in `text`, how many of its tokens start before it."""

    def encode_with_starts(self, text: str) -> tuple[list[int], Any]:
        """Token ids, and the offset at which each token starts."""


@dataclass(frozen=True)
class Baseline:
    """A kind without parameters. `text` is the column of the target, None for the gold answer."""

    name: ClassVar[str]
    text: ClassVar[str | None]
    # Whether the target is only the start of its text, up to a number of tokens.
    counted: ClassVar[bool] = False

    def end(self, trace: str, tokens: Tokens) -> int:
        """Where the target ends in the trace."""
        return len(trace)

    def __str__(self) -> str:
        given = ", ".join(f"{item.name}={getattr(self, item.name)}" for item in fields(self))
        return f"{self.name}({given})" if given else self.name


class PAlign(Baseline):
    """Prefix and continuation, the reference of the comparison."""

    name, text = "p-align", "continuation"


class Label(Baseline):
    """The gold answer in a box, without any reasoning."""

    name, text = "label", None


class Trace(Baseline):
    """The teacher's whole trace: the long-CoT baseline."""

    name, text = "trace", "trace"


class PrefixOnly(Baseline):
    """The prefix alone, which ends in the middle of the solution."""

    name, text = "prefix", "prefix"


class ContinuationOnly(Baseline):
    """The student's continuation, without its prefix."""

    name, text = "continuation", "continuation"


@dataclass(frozen=True)
class Fixed(Baseline):
    """The first share of a trace's tokens, to the nearest end of a sentence (of two, the first); never empty."""

    name: ClassVar[str] = "fixed"
    text: ClassVar[str | None] = "trace"
    counted: ClassVar[bool] = True
    ratio: float = math.nan

    def __post_init__(self) -> None:
        right = isinstance(self.ratio, (int, float)) and not isinstance(self.ratio, bool) and 0 < self.ratio <= 1
        if not right:
            given = "" if self.ratio is Fixed.ratio else f"ratio={shown(self.ratio)}"
            raise UserError(
                f"`fixed({given})`: must have a share of the trace, above 0 and at most 1, as `fixed(ratio=0.25)`."
            )

    def end(self, trace: str, tokens: Tokens) -> int:
        """The end of the sentence nearest to the share."""
        ends = cuts(trace)
        if not ends:
            return 0
        counts = tokens.count_before(trace, ends)
        wanted = self.ratio * counts[-1]
        return min(zip(ends, counts, strict=True), key=lambda one: (abs(one[1] - wanted), one[0]))[0]


@dataclass(frozen=True)
class First(Baseline):
    """The first tokens of a trace, at most as many as given, wherever they end."""

    name: ClassVar[str] = "first"
    text: ClassVar[str | None] = "trace"
    counted: ClassVar[bool] = True
    tokens: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, int) or isinstance(self.tokens, bool) or self.tokens < 1:
            given = f"tokens={shown(self.tokens)}" if self.tokens else ""
            raise UserError(
                f"`first({given})`: must have a whole number of tokens, at least 1, as `first(tokens=128)`."
            )

    def end(self, trace: str, tokens: Tokens) -> int:
        """Where the first token behind them starts; of a character that lies across it, nothing is taken."""
        _, starts = tokens.encode_with_starts(trace)
        return len(trace) if len(starts) <= self.tokens else int(starts[self.tokens])


_KINDS: tuple[type[Baseline], ...] = (PAlign, Label, Trace, PrefixOnly, ContinuationOnly, Fixed, First)
BASELINES = {kind.name: kind for kind in _KINDS}


def make_baseline(spec: "str | Mapping[str, Any] | Baseline") -> Baseline:
    """Build a baseline from text (`label`, `fixed(ratio=0.25)`), a mapping with its `name`, or a `Baseline`."""
    if isinstance(spec, Baseline):
        return spec
    if isinstance(spec, Mapping):
        spec = dict(spec)
    name, parameters = read_named(spec, "baseline", BASELINES, "fixed(ratio=0.25)")
    kind = BASELINES[name]
    check_parameters(name, parameters, [item.name for item in fields(kind)])
    return kind(**parameters)
