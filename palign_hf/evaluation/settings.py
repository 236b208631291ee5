"""What an evaluation is told, declared once: how each problem is asked, and what a right answer is."""

from dataclasses import dataclass
from typing import Any

from palign_hf.asking.settings import SamplingSettings
from palign_hf.config import setting
from palign_hf.errors import UserError
from palign_hf.prompts import TagStyle, tag_style


# What a sample may have where nothing else is said: that of the published script.
MAX_TOKENS = 4096
SAMPLES_EACH = 3


@dataclass(eq=False, repr=False, kw_only=True)
class EvaluationSettings(SamplingSettings):
    """How a student is evaluated."""

    n: int = setting(default=SAMPLES_EACH, least=1, help="samples of a problem")
    max_tokens: int | None = setting(
        default=MAX_TOKENS, least=1, help="most tokens of a sample; null gives it what the context leaves"
    )
    tags: str | TagStyle = setting(
        default="prefix", help="tags that the student puts around its draft: prefix, draft, think or none"
    )
    max_draft_tokens: int | None = setting(
        default=None, least=1, help="a draft that is still open after so many tokens is closed for the student"
    )
    stop_loops: bool = setting(default=False, help="end a sample early that goes round in circles")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tags = self.tags if isinstance(self.tags, TagStyle) else tag_style(self.tags)
        if self.max_draft_tokens is not None and not self.tags.open:
            raise UserError(
                f"`max_draft_tokens={self.max_draft_tokens}` with `tags={self.tags.name}`: without tags there is no "
                f"draft to close. Name the tags that the student was trained with, or leave `max_draft_tokens` out."
            )

    @property
    def style(self) -> TagStyle:
        """The tags, as an object."""
        assert isinstance(self.tags, TagStyle)
        return self.tags

    def describe_writing(self) -> dict[str, Any]:
        """What decides a sample beside its prompt and how tokens are drawn: for fingerprints."""
        told: dict[str, Any] = {}
        if self.max_draft_tokens is not None:
            told["draft"] = {"tokens": self.max_draft_tokens, "tags": [self.style.open, self.style.close]}
        if self.stop_loops:
            told["loops"] = "stopped"
        return told
