"""Settings of the stages that run a student, and fingerprints of their results."""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from palign_hf.config import check_settings, setting
from palign_hf.config.resolve import KnowsOldNames, uncalled
from palign_hf.engines.base import Sampling
from palign_hf.engines.options import check_engine
from palign_hf.errors import UserError
from palign_hf.generation.ledger import check_ledger
from palign_hf.generation.runner import StudentRunner
from palign_hf.grading import Grader, make_grader
from palign_hf.grading.graders import version_of
from palign_hf.students import Student


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
        default="auto", help="where the student runs", neutral=True
    )
    engine_options: dict[str, Any] = setting(
        default_factory=dict, help="passed to the engine, such as gpu_memory_utilization or urls"
    )
    ledger: str | None = setting(
        default=None,
        help="folder of the ledgers, on a local disk; else under PALIGN_HOME or the user's cache",
        neutral=True,
    )
    max_concurrency: int | None = setting(
        default=None, least=1, help="most problems at once; else what the engine's cache holds", neutral=True
    )
    progress: bool | None = setting(default=None, help="false shows nothing while it runs", neutral=True)
    trust_remote_code: bool = setting(default=False, help="run code that comes with the student", neutral=True)

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
    grading_workers: int = setting(default=2, least=1, help="processes that grade", neutral=True)

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


S = TypeVar("S", bound="SamplingSettings")


def fingerprint(description: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a JSON-able description; the order of keys doesn't matter."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def changed_by(kind: type, base: type, added: Mapping[str, Any]) -> dict[str, Any]:
    """What a subclass of `base` changes: its code, and the attributes that it adds."""
    classes = kind.__mro__[: kind.__mro__.index(base)]
    if not classes:
        return {}
    from datasets.fingerprint import Hasher

    code = hashlib.sha256("".join(map(_code_of, classes)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return {"class": kind.__qualname__, "code": code, **({"added": Hasher.hash(dict(added))} if added else {})}


@dataclass(frozen=True, kw_only=True)
class SamplesIdentity(ABC, Generic[S]):
    """Everything that can change a row of a stage that draws samples, and nothing else.

    Samples have a fingerprint of their own, so that another grader, more of them or other rules draw nothing twice.

    Args:
        student (`Student`):
            The student, by commit or content.
        settings (`SamplingSettings`):
            The settings of the stage, as given.
        grader (`Grader`):
            The grader that they name.
        max_model_len (`int`, *optional*):
            Most tokens of a request, where it is set.
        altered (`Mapping`, *optional*):
            Engine options that change the student's numbers.
        changed_by (`Mapping`, *optional*):
            What a subclass of the transform changes.
    """

    student: Student
    settings: S
    grader: Grader
    max_model_len: int | None
    altered: Mapping[str, Any] = field(default_factory=dict)
    changed_by: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def describe_samples(self) -> dict[str, Any]:
        """What decides a sample."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What decides a row."""

    @property
    def samples_fingerprint(self) -> str:
        """Names the ledger."""
        return fingerprint(self.describe_samples())

    @property
    def fingerprint(self) -> str:
        """Names the result."""
        return fingerprint(self.describe())

    def _describe_drawing(self) -> dict[str, Any]:
        """What decides a sample in any stage, given its prompt."""
        return {
            "student": self.student.identity,
            "sampling": self.settings.describe_drawing(),
            "context": self.max_model_len,
            **({"altered": dict(self.altered)} if self.altered else {}),
            **({"changed_by": dict(self.changed_by)} if self.changed_by else {}),
        }

    def _describe_grader(self) -> dict[str, Any]:
        """What decides a grade."""
        grader = self.grader
        description = {"name": grader.name, "version": version_of(grader), "seconds": self.settings.grading_seconds}
        return description | _parameters(grader)


def _parameters(grader: Grader) -> dict[str, Any]:
    """What a grader was made with: its public attributes but for name and version, hashed."""
    held = {name: value for name, value in getattr(grader, "__dict__", {}).items() if not name.startswith("_")}
    given = {name: value for name, value in held.items() if name not in ("name", "version")}
    if not given:
        return {}
    from datasets.fingerprint import Hasher

    return {"parameters": Hasher.hash(given)}


def _code_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made at a prompt, where no source is kept
        methods = ((name, getattr(value, "__code__", None)) for name, value in sorted(vars(kind).items()))
        return "".join(f"{name} {code.co_code.hex()} {code.co_consts}" for name, code in methods if code is not None)
