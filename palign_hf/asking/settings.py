"""What every stage is told that asks a student: of whom, where, and how it is carried out. Declared once."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from palign_hf.asking.ledgers import check_ledger
from palign_hf.asking.runner import StudentRunner
from palign_hf.config import check_settings, setting
from palign_hf.engines.choose import check_engine


@dataclass(eq=False, repr=False)
class AskingSettings:
    """The student, and where it answers."""

    student: str = setting(help="the student: name of a model on the Hub, or a folder")
    _: KW_ONLY
    revision: str | None = setting(default=None, help="branch, tag or commit of a Hub student")
    context: int | None = setting(
        default=None,
        least=1,
        help="most tokens of a request, with what is written to it; else what the student can read",
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
        self.engine_options = dict(self.engine_options)
        if isinstance(self.engine, str):
            check_engine(self.engine, self.engine_options)
        check_ledger(self.ledger)
