"""Settings of a truncation, declared once for the constructor of `PrefixTruncation`, recipes, options and docs.

What can be wrong with a setting by itself is refused when the settings are made.
"""

from dataclasses import dataclass
from typing import Any

from palign_hf.asking.settings import AskingSettings
from palign_hf.config import setting
from palign_hf.located import uncalled
from palign_hf.segmentation import Granularity
from palign_hf.truncation.criteria import Criterion, make_criterion
from palign_hf.truncation.search import Search, make_search


@dataclass(frozen=True, repr=False, kw_only=True)
class TruncationSettings(AskingSettings):
    """Search, criterion and segmentation of a truncation, with the student and the engine."""

    search: str | dict[str, Any] | Search = setting(
        default="ascend",
        help="ascend, binary (the paper's), linear, every, fixed(ratio=0.25), full, none, or module:name of your own",
    )
    criterion: str | dict[str, Any] | Criterion | None = setting(
        default=None,
        help="what sufficient means: self-judge (the default), {name: self-judge, verdict: generate, template: FILE}, "
        "or module:name of your own",
    )
    granularity: Granularity = setting(
        default="sentence", help="how traces are segmented; legacy as the published code"
    )
    audit: float = setting(
        default=0.0,
        least=0.0,
        most=1.0,
        help="share of problems whose whole curve is judged, to measure the judge",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        with uncalled():  # the transform makes those of the user's own, once
            make_search(self.search)
            make_criterion(self.criterion)
