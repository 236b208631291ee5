"""Settings of an evaluation, and its identity: everything that changes a sample or its labels, for fingerprints."""

from dataclasses import dataclass
from typing import Any

from palign_hf.config import setting
from palign_hf.errors import UserError
from palign_hf.evaluation.samples import SAMPLES
from palign_hf.generation.settings import SamplesIdentity, SamplingSettings
from palign_hf.prompts import SOLVE, TagStyle, tag_style


# The default of the published script.
MAX_TOKENS = 4096
SAMPLES_EACH = 3


@dataclass(frozen=True, repr=False, kw_only=True)
class EvaluationSettings(SamplingSettings):
    """How problems are sampled, and which tags the student was trained with."""

    n: int = setting(default=SAMPLES_EACH, least=1, help="samples of a problem")
    max_tokens: int | None = setting(
        default=MAX_TOKENS, least=1, help="most tokens of a sample; null gives it what the context leaves"
    )
    tag_style: str | TagStyle = setting(
        default="prefix", help="tags that the student puts around its draft: prefix, draft, think or none"
    )
    max_draft_tokens: int | None = setting(
        default=None, least=1, help="close a draft that is still open after this many tokens"
    )
    stop_loops: bool = setting(default=False, help="end a sample early that repeats itself (loop)")

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.style
        if self.max_draft_tokens is not None and not self.style.open:
            raise UserError(
                f"`max_draft_tokens={self.max_draft_tokens}` with `tag_style={self.style.name}`: without tags "
                f"there is no draft to close. Name the `tag_style` that the student was trained with, "
                f"or leave `max_draft_tokens` out."
            )

    @property
    def style(self) -> TagStyle:
        """The tags, as an object."""
        return self.tag_style if isinstance(self.tag_style, TagStyle) else tag_style(self.tag_style)

    def describe_writing(self) -> dict[str, Any]:
        """What decides a sample besides its prompt and how tokens are drawn: for fingerprints."""
        description: dict[str, Any] = {}
        if self.max_draft_tokens is not None:
            description["draft"] = {"tokens": self.max_draft_tokens, "tags": [self.style.open, self.style.close]}
        if self.stop_loops:
            description["loops"] = "stopped"
        return description


# Raised when the same settings may give other samples, or other labels of the same samples, than before.
WRITER_VERSION = 1
LABELS_VERSION = 1


class EvaluationIdentity(SamplesIdentity[EvaluationSettings]):
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
