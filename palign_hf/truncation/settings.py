"""What a truncation is told, declared once: the constructor of `PrefixTruncation`, the keys of a recipe, the options
of the command and the table of the docs. Everything that can be wrong by itself is seen when it is made.
"""

from dataclasses import dataclass
from typing import Any, Literal

from palign_hf.asking.settings import AskingSettings
from palign_hf.config import setting
from palign_hf.prompts import JUDGE, Template
from palign_hf.segmentation import Granularity
from palign_hf.truncation.criteria import Criterion, make_criterion
from palign_hf.truncation.search import Search, make_search


@dataclass(eq=False, repr=False, kw_only=True)
class TruncationSettings(AskingSettings):
    """Everything that a truncation may be told: what is asked, of whom, and how it is carried out."""

    search: str | dict[str, Any] | Search = setting(
        default="ascend", help="ascend, binary (the paper's), linear, every, fixed(ratio=0.25), full or none"
    )
    criterion: str | dict[str, Any] | Criterion | None = setting(
        default=None, help="what sufficient means: self-judge (the default), or module:name of one's own"
    )
    verdict: Literal["margin", "generate"] = setting(
        default="margin", help="how the self-judge is read: log-probabilities of its labels, or free text"
    )
    judge_template: str | Template | None = setting(default=None, help="text file with another judge prompt")
    granularity: Granularity = setting(default="sentence", help="how traces are cut; legacy as the published code")
    audit: float = setting(
        default=0.0, least=0.0, most=1.0, help="share of problems whose whole curve is asked, to measure the judge"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.search = make_search(self.search)
        template = JUDGE if self.judge_template is None else self.judge_template
        if isinstance(template, str):
            template = JUDGE.from_file(template)
        self.criterion = make_criterion(self.criterion, self.verdict, template)
