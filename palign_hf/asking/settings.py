"""What every stage is told that asks a student: of whom, where, and how it is carried out. Declared once."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from palign_hf.asking.ledgers import check_ledger
from palign_hf.asking.runner import StudentRunner
from palign_hf.config import check_settings, setting
from palign_hf.engines.base import Sampling
from palign_hf.engines.choose import check_engine
from palign_hf.errors import UserError
from palign_hf.grading import Grader, make_grader


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


@dataclass(eq=False, repr=False, kw_only=True)
class SamplingSettings(AskingSettings):
    """How samples are drawn, and what a right one is: for every stage that draws and grades them."""

    n: int = setting(default=3, least=1, help="samples of a problem")
    temperature: float = setting(default=0.6, least=0.0, most=2.0, help="0 takes the likeliest token")
    top_p: float = setting(default=0.9, above=0.0, most=1.0, help="share of the probability that is drawn from")
    top_k: int = setting(default=0, least=0, help="so many tokens are drawn from; 0 leaves all in")
    min_p: float = setting(default=0.0, least=0.0, most=1.0, help="tokens below this share of the likeliest are out")
    repetition_penalty: float = setting(default=1.05, above=0.0, help="above 1 makes said tokens less likely")
    max_tokens: int | None = setting(
        default=None, least=1, help="most tokens of a sample; else what the context leaves"
    )
    seed: int = setting(
        default=0, least=0, most=2**63 - 1, help="each problem and sample has a seed derived from this one"
    )
    grader: str | dict[str, Any] | Grader = setting(
        default="math", help="what a right answer is: math, choice, exact, or module:name of one's own"
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
        self.grader = make_grader(self.grader)

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

    def describe_grader(self) -> dict[str, Any]:
        """What decides a grade: for fingerprints."""
        grader: Any = self.grader
        told = {"name": grader.name, "version": grader.version, "seconds": self.grading_seconds}
        return told | _parameters(grader)


def _parameters(grader: Any) -> dict[str, Any]:
    """What a grader was made with: its attributes, but for its name and what is its own affair."""
    held = {name: value for name, value in getattr(grader, "__dict__", {}).items() if not name.startswith("_")}
    given = {name: value for name, value in held.items() if name not in ("name", "version")}
    if not given:
        return {}
    from datasets.fingerprint import Hasher

    return {"parameters": Hasher.hash(given)}
