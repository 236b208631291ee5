"""Settings of an evaluation, declared once for the constructor of `StudentEvaluation`, recipes, options and docs."""

from dataclasses import dataclass
from typing import Any

from palign_hf.asking.settings import SamplingSettings
from palign_hf.config import setting
from palign_hf.errors import UserError
from palign_hf.prompts import TagStyle, tag_style


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
                f"`max_draft_tokens={self.max_draft_tokens}` with `tag_style={self.style.name}`: without tag_style "
                f"there is no draft to close. Name the tag_style that the student was trained with, "
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
