"""What an alignment is told, declared once: the constructor of `PrefixAlignment`, the keys of a recipe, the options of
the command and the table of the docs. Everything that can be wrong by itself is seen when it is made.
"""

from dataclasses import dataclass
from typing import Literal

from palign_hf.alignment.quality import FLAGS
from palign_hf.asking.settings import SamplingSettings
from palign_hf.config import setting
from palign_hf.errors import UserError, listed, nearest
from palign_hf.prompts import ALIGN, TagStyle, Template, tag_style
from palign_hf.schema import PAIRS


@dataclass(eq=False, repr=False, kw_only=True)
class AlignmentSettings(SamplingSettings):
    """Everything that an alignment may be told: how the student goes on, and what of it is kept."""

    mode: Literal["prompt", "prefill"] = setting(
        default="prompt", help="where the prefix stands: in the user's turn (the paper's), or as the begun reply"
    )
    align_template: str | Template | None = setting(default=None, help="text file with another prompt for mode=prompt")
    tags: str | TagStyle | None = setting(
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
        if self.mode == "prompt" and self.tags is not None:
            raise UserError(f"`tags={_name(self.tags)}` are for `mode='prefill'`, whose reply begins with them.")
        if self.mode == "prefill" and self.align_template is not None:
            raise UserError(
                f"`align_template={_name(self.align_template)}` is for `mode='prompt'`: a begun reply follows the "
                f"prompt of training."
            )
        if self.mode == "prefill":
            self.tags = self.tags if isinstance(self.tags, TagStyle) else tag_style(self.tags or "prefix")
        template = ALIGN if self.align_template is None else self.align_template
        self.align_template = ALIGN.from_file(template) if isinstance(template, str) else template
        for flag in self.refuse:
            if flag not in FLAGS:
                raise UserError(
                    f"`refuse={flag}`: no sample has such a flag{nearest(flag, FLAGS)}. The flags are {listed(FLAGS)}."
                )
        if twice := [name for name in self.carry if self.carry.count(name) > 1]:
            raise UserError(f"`carry={twice[0]}` is named twice. Name each column once.")
        if taken := [name for name in self.carry if name in PAIRS.columns]:
            raise UserError(f"`carry={taken[0]}` names a column that every pair has. Leave it out.")


def _name(value: object) -> str:
    return str(getattr(value, "name", value))
