"""Settings of every stage that runs a student: the student, the engine, and how samples are drawn and graded.

Settings keep the values that they are given, so that they can be given again; `__post_init__` only checks them. The
transform resolves them (`TruncationSettings.search` is what the user wrote, `PrefixTruncation.search` a `Search`).
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from palign_hf.asking.ledgers import check_ledger
from palign_hf.asking.runner import StudentRunner
from palign_hf.config import check_settings, setting
from palign_hf.config.renamed import KnowsOldNames
from palign_hf.engines.base import Sampling
from palign_hf.engines.choose import check_engine
from palign_hf.errors import UserError
from palign_hf.grading import Grader, make_grader
from palign_hf.located import uncalled


@dataclass(frozen=True, repr=False)
class AskingSettings(KnowsOldNames):
    """The student, and where it runs."""

    student: str = setting(help="the student: name of a model on the Hub, or a folder")
    _: KW_ONLY
    revision: str | None = setting(default=None, help="branch, tag or commit of a Hub student")
    max_model_len: int | None = setting(
        default=None,
        least=1,
        help="most tokens of a request and its reply; else what the student can read",
    )
    engine: Literal["auto", "vllm", "server", "transformers"] | StudentRunner = setting(
        default="auto", help="where the student runs"
    )
    engine_options: dict[str, Any] = setting(
        default_factory=dict, help="passed to the engine, such as gpu_memory_utilization or urls"
    )
    ledger: str | None = setting(
        default=None, help="folder of the ledgers, on a local disk; else under PALIGN_HOME or the user's cache"
    )
    max_concurrency: int | None = setting(
        default=None, least=1, help="most problems at once; else what the engine's cache holds"
    )
    progress: bool | None = setting(default=None, help="false shows nothing while it runs")
    trust_remote_code: bool = setting(default=False, help="run code that comes with the student")

    def __post_init__(self) -> None:
        check_settings(self)
        if isinstance(self.engine, str):
            check_engine(self.engine, self.engine_options)
        check_ledger(self.ledger)


@dataclass(frozen=True, repr=False, kw_only=True)
class SamplingSettings(AskingSettings):
    """How samples are drawn and graded."""

    n: int = setting(default=3, least=1, help="samples of a problem")
    temperature: float = setting(default=0.6, least=0.0, most=2.0, help="0 takes the likeliest token")
    top_p: float = setting(default=0.9, above=0.0, most=1.0, help="share of the probability that is drawn from")
    top_k: int = setting(default=0, least=0, help="draw from at most this many tokens; 0 leaves all in")
    min_p: float = setting(default=0.0, least=0.0, most=1.0, help="tokens below this share of the likeliest are out")
    repetition_penalty: float = setting(default=1.05, above=0.0, help="repetition penalty; 1.0 disables it")
    max_tokens: int | None = setting(
        default=None, least=1, help="most tokens of a sample; else what the context leaves"
    )
    seed: int = setting(
        default=0, least=0, most=2**63 - 1, help="each problem and sample has a seed derived from this one"
    )
    grader: str | dict[str, Any] | Grader = setting(
        default="math", help="what a right answer is: math, choice, exact, or module:name of your own"
    )
    grading_seconds: float = setting(default=5.0, above=0.0, below=1e6, help="longest that one answer is graded")
    grading_workers: int = setting(default=2, least=1, help="processes that grade")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature == 0 and self.n > 1:
            raise UserError(
                f"`n={self.n}` with `temperature=0`: all samples would be the same. Give a temperature, or `n=1`."
            )
        self.drawing(self.max_tokens or 1, 0)
        with uncalled():  # the transform makes one of the user's own, once
            make_grader(self.grader)

    def drawing(self, max_tokens: int, seed: int, stop: tuple[str, ...] = ()) -> Sampling:
        """How one sample is drawn."""
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=seed,
            stop=stop,
        )

    def describe_drawing(self) -> dict[str, Any]:
        """What decides a sample, given its prompt: for fingerprints."""
        drawing = self.drawing(self.max_tokens or 1, self.seed)
        return {
            "max_tokens": self.max_tokens,
            "temperature": drawing.temperature,
            "top_p": drawing.top_p,
            "top_k": drawing.top_k,
            "min_p": drawing.min_p,
            "repetition_penalty": drawing.repetition_penalty,
            "seed": self.seed,
        }
