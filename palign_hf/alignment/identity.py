"""What decides a row of the result, and nothing else: its fingerprint names caches and ledgers, on any day.

Samples have a fingerprint of their own, so that other rules, another grader, more samples or a fallback draw nothing
twice.
"""

from typing import Any

from palign_hf.alignment import quality
from palign_hf.alignment.rules import Rules
from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.asking.identity import SamplesIdentity
from palign_hf.prompts import SOLVE, TagStyle, Template
from palign_hf.schema import PAIRS


# Raised when the same settings may give other samples, or other rows of the same samples, than before.
SAMPLER_VERSION = 1
TRANSFORM_VERSION = 2


class Identity(SamplesIdentity[AlignmentSettings]):
    """Everything that can change a row of the result, and nothing else."""

    @property
    def rules(self) -> Rules:
        """What keeps a sample."""
        return Rules(self.settings.right, self.settings.refuse)

    def describe_samples(self) -> dict[str, Any]:
        """What decides a sample."""
        told = self.settings
        template = SOLVE if told.mode == "prefill" else told.align_template
        assert isinstance(template, Template)
        return self._describe_drawing() | {
            "mode": told.mode,
            "prompt": template.hash,
            **({"tags": [told.tags.open, told.tags.close]} if isinstance(told.tags, TagStyle) else {}),
            "sampler": SAMPLER_VERSION,
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        told = self.settings
        return self.describe_samples() | {
            "drawn": {"n": told.n, "until": told.sampling},
            "grader": told.describe_grader(),
            "rules": self.rules.describe(),
            "fallback": {"kind": told.fallback, "cuts": told.fallback_cuts if told.fallback == "longer_prefix" else 0},
            "carry": list(told.carry),
            "quality": quality.VERSION,
            "schema": PAIRS.version,
            "transform": TRANSFORM_VERSION,
        }
