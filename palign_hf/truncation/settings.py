"""What a truncation is told, declared once: the constructor of `PrefixTruncation`, the keys of a recipe, the options
of the command and the table of the docs. Everything that can be wrong by itself is seen when it is made.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from palign_hf.asking.ledgers import check_ledger
from palign_hf.asking.runner import StudentRunner
from palign_hf.config import check_settings, setting
from palign_hf.engines.choose import check_engine
from palign_hf.prompts import JUDGE, Template
from palign_hf.segmentation import Granularity
from palign_hf.truncation.criteria import Criterion, make_criterion
from palign_hf.truncation.search import Search, make_search


@dataclass(eq=False, repr=False)
class TruncationSettings:
    """Everything that a truncation may be told: what is asked, of whom, and how it is carried out."""

    student: str = setting(help="the student: name of a model on the Hub, or a folder")
    _: KW_ONLY
    revision: str | None = setting(default=None, help="branch, tag or commit of a Hub student")
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
    context: int | None = setting(
        default=None, least=1, help="most tokens of a prompt; else what the student can read"
    )
    audit: float = setting(
        default=0.0, least=0.0, most=1.0, help="share of problems whose whole curve is asked, to measure the judge"
    )
    engine: Literal["auto", "vllm", "server", "transformers"] | StudentRunner = setting(
        default="auto", help="where the student answers"
    )
    engine_options: dict[str, Any] = setting(
        default_factory=dict, help="passed to the engine, such as gpu_memory_utilization or urls"
    )
    ledger: str | None = setting(
        default=None, help="folder of the ledgers, on a local disk; else under PALIGN_HOME or the user's cache"
    )
    in_flight: int | None = setting(
        default=None, least=1, help="most problems at once; else what the engine's cache holds"
    )
    progress: bool | None = setting(default=None, help="false shows nothing while it runs")
    trust_remote_code: bool = setting(default=False, help="run code that comes with the student")

    def __post_init__(self) -> None:
        check_settings(self)
        self.search = make_search(self.search)
        template = JUDGE if self.judge_template is None else self.judge_template
        if isinstance(template, str):
            template = JUDGE.from_file(template)
        self.criterion = make_criterion(self.criterion, self.verdict, template)
        self.engine_options = dict(self.engine_options)
        if isinstance(self.engine, str):
            check_engine(self.engine, self.engine_options)
        check_ledger(self.ledger)
