"""Settings of an alignment, and its identity: everything that changes a row, for fingerprints."""

from dataclasses import dataclass
from typing import Any, Literal

from palign_hf.alignment import acceptance
from palign_hf.alignment.acceptance import FLAGS, Rules
from palign_hf.config import read_template, setting
from palign_hf.errors import UserError, listed, nearest
from palign_hf.generation.settings import SamplesIdentity, SamplingSettings
from palign_hf.prompts import ALIGN, SOLVE, TagStyle, Template, tag_style
from palign_hf.schema import PAIRS


@dataclass(frozen=True, repr=False, kw_only=True)
class AlignmentSettings(SamplingSettings):
    """How the student continues from its prefixes, and which samples are kept."""

    mode: Literal["prompt", "prefill"] = setting(
        default="prompt", help="where the prefix stands: in the user's turn (the paper's), or as the begun reply"
    )
    align_template: str | Template | None = setting(
        default=None, help="text file, or module:name of a Template, with another prompt for mode=prompt"
    )
    tag_style: str | TagStyle | None = setting(
        default=None, help="tags around the prefix of a begun reply: prefix (the default), draft, think or none"
    )
    sampling: Literal["first", "all"] = setting(
        default="first", help="stop a problem at its first kept sample, or draw all n"
    )
    n: int = setting(default=4, least=1, help="most samples of a problem, and of each fallback")
    max_tokens: int | None = setting(
        default=None, least=1, help="most tokens of a continuation; else what the context leaves"
    )
    right: Literal["strict", "lenient"] = setting(
        default="strict", help="which grade counts: only a box, or any reading of the answer"
    )
    refuse: tuple[str, ...] = setting(default=("cut", "loop"), help="flags with which even a right sample is rejected")
    fallback: Literal["drop", "longer_prefix", "full_trace"] = setting(
        default="drop", help="what else is tried with a problem of which no sample is kept"
    )
    fallback_cuts: int = setting(default=2, least=1, help="most longer prefixes that are tried")
    carry: tuple[str, ...] = setting(
        default=(), help="further columns of the prefixes that pairs carry, and that the report breaks down"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "prompt" and self.tag_style is not None:
            raise UserError(
                f"`tag_style={_name(self.tag_style)}` are for `mode='prefill'`, whose reply begins with them."
            )
        if self.mode == "prefill" and self.align_template is not None:
            raise UserError(
                f"`align_template={_name(self.align_template)}` is for `mode='prompt'`: a begun reply follows the "
                f"prompt of training."
            )
        _ = self.style, self.read_template()
        for flag in self.refuse:
            if flag not in FLAGS:
                raise UserError(
                    f"`refuse={flag}`: no sample has such a flag{nearest(flag, FLAGS)}. The flags are {listed(FLAGS)}."
                )
        if twice := [name for name in self.carry if self.carry.count(name) > 1]:
            raise UserError(f"`carry={twice[0]}` is named twice. Name each column once.")
        if taken := [name for name in self.carry if name in PAIRS.columns]:
            raise UserError(f"`carry={taken[0]}` names a column that every pair has. Leave it out.")

    @property
    def style(self) -> TagStyle | None:
        """The tags around the prefix of a begun reply; None for `mode="prompt"`."""
        if self.mode == "prompt":
            return None
        return self.tag_style if isinstance(self.tag_style, TagStyle) else tag_style(self.tag_style or "prefix")

    def read_template(self) -> Template:
        """The prompt of the mode; reads its file, if it has one."""
        return SOLVE if self.mode == "prefill" else read_template(ALIGN, self.align_template)


def _name(value: object) -> str:
    return str(getattr(value, "name", value))


# Raised when the same settings may give other samples, or other rows of the same samples, than before.
SAMPLER_VERSION = 1
TRANSFORM_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class AlignmentIdentity(SamplesIdentity[AlignmentSettings]):
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
            "quality": acceptance.VERSION,
            "schema": PAIRS.version,
            "transform": TRANSFORM_VERSION,
        }
