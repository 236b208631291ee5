"""Identity of an alignment: everything that changes a row, for the fingerprints that name caches and ledgers."""

from dataclasses import dataclass
from typing import Any

from palign_hf.alignment import quality
from palign_hf.alignment.rules import Rules
from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.asking.identity import SamplesIdentity
from palign_hf.prompts import Template
from palign_hf.schema import PAIRS


# Raised when the same settings may give other samples, or other rows of the same samples, than before.
SAMPLER_VERSION = 1
TRANSFORM_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Identity(SamplesIdentity[AlignmentSettings]):
    """Everything that can change a row of the result, and nothing else; `template` is the prompt of the mode."""

    template: Template

    @property
    def rules(self) -> Rules:
        """What keeps a sample."""
        return Rules(self.settings.right, self.settings.refuse)

    def describe_samples(self) -> dict[str, Any]:
        """What decides a sample."""
        style = self.settings.style
        return self._describe_drawing() | {
            "mode": self.settings.mode,
            "prompt": self.template.hash,
            **({"tag_style": [style.open, style.close]} if style is not None else {}),
            "sampler": SAMPLER_VERSION,
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        settings = self.settings
        return self.describe_samples() | {
            "drawn": {"n": settings.n, "until": settings.sampling},
            "grader": self._describe_grader(),
            "rules": self.rules.describe(),
            "fallback": {
                "kind": settings.fallback,
                "cuts": settings.fallback_cuts if settings.fallback == "longer_prefix" else 0,
            },
            "carry": list(settings.carry),
            "quality": quality.VERSION,
            "schema": PAIRS.version,
            "transform": TRANSFORM_VERSION,
        }
