"""What decides a sample, and what decides its labels: fingerprints that name ledgers and results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palign_hf.asking.identity import fingerprint
from palign_hf.evaluation.samples import SAMPLES
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.prompts import SOLVE
from palign_hf.students import Student


# Raised when the same settings may give other samples, or other labels of the same samples, than before.
WRITER_VERSION = 1
LABELS_VERSION = 1


@dataclass(frozen=True)
class Identity:
    """Everything that can change a row of SAMPLES, and nothing else."""

    student: Student
    settings: EvaluationSettings
    context: int | None
    altered: Mapping[str, Any] = field(default_factory=dict)  # engine options that change the student's numbers
    changed_by: Mapping[str, Any] = field(default_factory=dict)  # what a subclass of the transform does otherwise

    def describe_samples(self) -> dict[str, Any]:
        """What decides a sample."""
        return {
            "evaluation": WRITER_VERSION,
            "student": self.student.identity,
            "prompt": SOLVE.hash,
            "sampling": self.settings.describe_drawing(),
            "context": self.context,
            **self.settings.describe_writing(),
            **({"altered": dict(self.altered)} if self.altered else {}),
            **({"changed_by": dict(self.changed_by)} if self.changed_by else {}),
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        tags = self.settings.style
        return self.describe_samples() | {
            "n": self.settings.n,
            "grader": self.settings.describe_grader(),
            "tags": [tags.open, tags.close],
            "labels": LABELS_VERSION,
            "schema": SAMPLES.version,
        }

    @property
    def samples_fingerprint(self) -> str:
        """Names the ledger."""
        return fingerprint(self.describe_samples())

    @property
    def fingerprint(self) -> str:
        """Names the result."""
        return fingerprint(self.describe())
