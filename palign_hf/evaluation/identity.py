"""Identity of an evaluation: everything that changes a sample or its labels, for fingerprints."""

from typing import Any

from palign_hf.asking.identity import SamplesIdentity
from palign_hf.evaluation.samples import SAMPLES
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.prompts import SOLVE


# Raised when the same settings may give other samples, or other labels of the same samples, than before.
WRITER_VERSION = 1
LABELS_VERSION = 1


class Identity(SamplesIdentity[EvaluationSettings]):
    """Everything that can change a row of SAMPLES, and nothing else."""

    def describe_samples(self) -> dict[str, Any]:
        """What decides a sample."""
        return self._describe_drawing() | {
            "evaluation": WRITER_VERSION,
            "prompt": SOLVE.hash,
            **self.settings.describe_writing(),
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        tags = self.settings.style
        return self.describe_samples() | {
            "n": self.settings.n,
            "grader": self._describe_grader(),
            "tags": [tags.open, tags.close],
            "labels": LABELS_VERSION,
            "schema": SAMPLES.version,
        }
