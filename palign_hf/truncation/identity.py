"""Identity of a truncation: everything that changes a row, for the fingerprints that name caches and ledgers.

The search has a fingerprint on top of the judge's, so two searches over the same judge share one ledger and ask
nothing twice. What a subclass of the transform changes is part of both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palign_hf import segmentation
from palign_hf.asking.identity import fingerprint
from palign_hf.schema import PREFIXES
from palign_hf.students import Student
from palign_hf.truncation.criteria import Criterion
from palign_hf.truncation.search import Search


# Raised when the same settings may give other rows than before.
TRANSFORM_VERSION = 1


@dataclass(frozen=True)
class Identity:
    """Everything that can change a row of the result, and nothing else."""

    student: Student
    criterion: Criterion
    search: Search
    granularity: str
    max_model_len: int | None
    audit: float
    altered: Mapping[str, Any] = field(default_factory=dict)  # engine options that change the student's numbers
    changed_by: Mapping[str, Any] = field(default_factory=dict)  # what a subclass of the transform changes

    def describe_judge(self) -> dict[str, Any]:
        """What decides a margin at a cut."""
        return {
            "student": self.student.identity,
            "criterion": self.criterion.describe(),
            "segmentation": {"granularity": self.granularity, "version": segmentation.VERSION},
            "context": self.max_model_len,
            **({"altered": dict(self.altered)} if self.altered else {}),
            **({"changed_by": dict(self.changed_by)} if self.changed_by else {}),
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        return self.describe_judge() | {
            "search": self.search.describe(),
            "audit": self.audit,
            "schema": PREFIXES.version,
            "transform": TRANSFORM_VERSION,
        }

    @property
    def judge_fingerprint(self) -> str:
        """Names the ledger."""
        return fingerprint(self.describe_judge())

    @property
    def fingerprint(self) -> str:
        """Names the result."""
        return fingerprint(self.describe())
