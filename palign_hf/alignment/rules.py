"""Acceptance rules: a sample's grade and flags decide whether it is kept, with a reason for each rejection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palign_hf.grading import Grade


@dataclass(frozen=True)
class Rules:
    """Keeps a sample if its answer is right by `grade` and it has none of the refused flags."""

    right: Literal["strict", "lenient"] = "strict"
    refuse: tuple[str, ...] = ("cut", "loop")

    def against(self, grade: Grade, flags: Sequence[str]) -> tuple[str, ...]:
        """Reasons to reject a sample, that of its answer first; empty if it is kept."""
        found = [] if (grade.strict if self.right == "strict" else grade.lenient) else [_fault(grade)]
        return (*found, *(flag for flag in flags if flag in self.refuse))

    def describe(self) -> dict[str, Any]:
        """Return a JSON-able description for fingerprints."""
        return {"right": self.right, "refuse": list(self.refuse)}


def _fault(grade: Grade) -> str:
    """Reason why an answer doesn't count."""
    if grade.error is not None:
        return "not graded"
    if grade.lenient:
        return "right only outside a box"
    return "no answer" if grade.answer is None else "wrong answer"
