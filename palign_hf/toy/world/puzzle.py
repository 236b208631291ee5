"""The parts of a puzzle that a family gives to the narrator: question, solution steps, wrong tries, and checks.

Every draw uses `random()` alone, whose values are the same in all versions of Python.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple


# Routine steps at the end of the solution that a sufficient prefix may lack.
ROUTINE_STEPS = 2

LARGEST = 99

NAMES = (
    ("Mia", "she"), ("Leo", "he"), ("Ana", "she"), ("Ben", "he"), ("Zoe", "she"), ("Tom", "he"),
    ("Ida", "she"), ("Finn", "he"), ("Eva", "she"), ("Sam", "he"), ("Lily", "she"), ("Noah", "he"),
    ("Ruth", "she"), ("Otto", "he"), ("Nora", "she"), ("Hugo", "he"),
)  # fmt: skip


class Op(NamedTuple):
    """One arithmetic operation with its second operand."""

    sign: str
    n: int

    def on(self, value: int) -> int:
        """The result on `value`; -1 if a division isn't exact."""
        if self.sign == "/":
            return value // self.n if value % self.n == 0 else -1
        return {"+": value + self.n, "-": value - self.n, "*": value * self.n}[self.sign]

    @property
    def inverse(self) -> "Op":
        """The inverse operation."""
        return Op({"+": "-", "-": "+", "*": "/", "/": "*"}[self.sign], self.n)


class Try(NamedTuple):
    """A wrong try: the clauses that lead to a wrong `value`, and the reason why the teacher rejects it."""

    value: int
    clauses: tuple[str, ...]
    reason: str = ""


class Sum(NamedTuple):
    """One computation."""

    left: int
    op: Op

    @property
    def value(self) -> int:
        """The result."""
        return self.op.on(self.left)

    def __str__(self) -> str:
        return f"{self.left} {self.op.sign} {self.op.n} = {self.value}"


@dataclass(slots=True)
class Step:
    """One step of the clean solution, and its wording in a trace.

    `text` is the sentence of the solution, `wordings` are its forms in a trace; `leads` precede it in the trace
    without giving it away; `hard` marks a step that needs insight.
    """

    text: str
    wordings: Sequence[str]
    sum: Sum | None
    tries: Sequence[Try]
    leads: Sequence[str] = ()
    hard: bool = False


def routine(sum: Sum, text: str, *wordings: str, tries: Sequence[Try] = ()) -> Step:
    """A step that is one small computation."""
    return Step(text, wordings, sum, tries)


def insight(
    text: str, *wordings: str, leads: Sequence[str] = (), tries: Sequence[Try] = (), sum: Sum | None = None
) -> Step:
    """A step that needs insight."""
    return Step(text, wordings, sum, tries, leads, hard=True)


@dataclass(slots=True)
class Puzzle:
    """A problem with names and wording; `facts` and `asked` are clauses that can follow `So` or `It says that`."""

    question: str
    theme: str
    facts: list[str]
    asked: str
    steps: list[Step]
    answer: int
    result: str
    checks: list[list[str]]

    @property
    def needed(self) -> int:
        """Number of steps in a sufficient prefix: all hard ones, and all but the last few routine ones."""
        hard = [number for number, step in enumerate(self.steps, 1) if step.hard]
        return max(hard[-1] if hard else 0, len(self.steps) - ROUTINE_STEPS)


def pick(rng: Random, items: Sequence[Any]) -> Any:
    """One of `items`."""
    return items[int(rng.random() * len(items))]


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def shuffled(rng: Random, items: Sequence[Any]) -> list[Any]:
    """`items` in another order."""
    return [items[place] for _, place in sorted((rng.random(), place) for place in range(len(items)))]


def people(rng: Random, count: int) -> list[tuple[str, str]]:
    """Draw `count` different names, each with its pronoun."""
    return shuffled(rng, NAMES)[:count]


def capital(clause: str) -> str:
    """The clause as the beginning of a sentence."""
    return clause[0].upper() + clause[1:]


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def draw_ops(rng: Random, value: int, count: int, signs: str) -> tuple[Op, ...]:
    """Draw `count` operations from `value` on, of the kinds in `signs`, with results that stay small and whole."""
    ops: list[Op] = []
    while len(ops) < count:
        sign = pick(rng, signs)
        op = Op(sign, 2 if sign == "/" else between(rng, 2, 3) if sign == "*" else between(rng, 2, 9))
        result = op.on(value)
        repeats = ops and (ops[-1] == op.inverse or (sign in "*/" and ops[-1].sign in "*/"))
        if 2 <= result <= 60 and not repeats:
            ops.append(op)
            value = result
    return tuple(ops)


def stated(clauses: Iterable[str]) -> str:
    """The clauses as sentences, one after the other."""
    return " ".join(f"{capital(clause)}." for clause in clauses)


def course(value: int, ops: Iterable[Op]) -> list[int]:
    """The values after each operation, `value` included."""
    return list(accumulate(ops, lambda at, op: op.on(at), initial=value))


def sums(value: int, ops: Sequence[Op]) -> list[Sum]:
    """The operations as computations."""
    return [Sum(at, op) for at, op in zip(course(value, ops), ops, strict=False)]


def undone(value: int, ops: Sequence[Op]) -> list[Sum]:
    """The computations back to `value`, the last operation first."""
    return [Sum(sum.value, sum.op.inverse) for sum in reversed(sums(value, ops))]
