"""What a truncation is told, declared once; and which of it decides a row.

`TruncationSettings` is the constructor of `PrefixTruncation`, the keys of a recipe, the options of the command and the
table of the docs. `Identity` holds the part that can change a row of the result; its fingerprint names caches and
ledgers, across processes and days. The search has a fingerprint on top of the judge's, so two searches over the same
judge share one ledger and ask nothing twice.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from palign_hf import segmentation
from palign_hf.asking.runner import StudentRunner
from palign_hf.asking.store import check_ledger
from palign_hf.config import check_settings, setting
from palign_hf.engines.choose import check_engine
from palign_hf.prompts import JUDGE, Template
from palign_hf.schema import SCHEMA_VERSION
from palign_hf.segmentation import Granularity
from palign_hf.students import Student
from palign_hf.truncation.criteria import Criterion, make_criterion
from palign_hf.truncation.search import Search, make_search


# Raised when the same settings may give other rows than before.
TRANSFORM_VERSION = 1


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
    context: int | None = setting(default=None, least=1, help="most tokens of a prompt; else what the student can read")
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
        # Everything that can be wrong by itself is seen here, before a trace is read or a model found.
        self.search = make_search(self.search)
        template = JUDGE if self.judge_template is None else self.judge_template
        if isinstance(template, str):
            template = JUDGE.from_file(template)
        self.criterion = make_criterion(self.criterion, self.verdict, template)
        self.engine_options = dict(self.engine_options)
        if isinstance(self.engine, str):
            check_engine(self.engine, self.engine_options)
        check_ledger(self.ledger)


@dataclass(frozen=True)
class Identity:
    """Everything that can change a row of the result, and nothing else."""

    student: Student
    criterion: Criterion
    search: Search
    granularity: str
    context: int | None
    audit: float
    altered: Mapping[str, Any] = field(default_factory=dict)  # engine options that change the student's numbers
    changed_by: Mapping[str, Any] = field(default_factory=dict)  # what a subclass of the transform does otherwise

    def describe_judge(self) -> dict[str, Any]:
        """What decides a margin at a cut."""
        return {
            "student": self.student.identity,
            "criterion": self.criterion.describe(),
            "segmentation": {"granularity": self.granularity, "version": segmentation.VERSION},
            "context": self.context,
            **({"altered": dict(self.altered)} if self.altered else {}),
            **({"changed_by": dict(self.changed_by)} if self.changed_by else {}),
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        return self.describe_judge() | {
            "search": self.search.describe(),
            "audit": self.audit,
            "schema": SCHEMA_VERSION,
            "transform": TRANSFORM_VERSION,
        }

    @property
    def judge_fingerprint(self) -> str:
        """Names the ledger."""
        return fingerprint(self.describe_judge())

    @property
    def fingerprint(self) -> str:
        """Names the result."""
        return fingerprint(self.describe())


def fingerprint(description: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a JSON-able description; the order of keys doesn't matter."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
