"""Is a sample kept? Pure: its grade and its flags decide, and every reason against it is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palign_hf.grading import Grade


@dataclass(frozen=True)
class Rules:
    """A sample is kept if its answer is right by that grade and it has none of these flags."""

    right: Literal["strict", "lenient"] = "strict"
    refuse: tuple[str, ...] = ("cut", "loop")

    def against(self, grade: Grade, flags: Sequence[str]) -> tuple[str, ...]:
        """What speaks against a sample, what its answer is first; nothing if it is kept."""
        found = [] if (grade.strict if self.right == "strict" else grade.lenient) else [_fault(grade)]
        return (*found, *(flag for flag in flags if flag in self.refuse))

    def describe(self) -> dict[str, Any]:
        """JSON-able; for fingerprints."""
        return {"right": self.right, "refuse": list(self.refuse)}


def _fault(grade: Grade) -> str:
    """Why an answer doesn't count."""
    if grade.error is not None:
        return "not graded"
    if grade.lenient:
        return "right only outside a box"
    return "no answer" if grade.answer is None else "wrong answer"
