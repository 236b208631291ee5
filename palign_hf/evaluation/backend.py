"""lighteval model over our engines: `Pipeline(model=StudentModel(evaluation), ...)`.

Samples come from a `StudentEvaluation`, which draws and labels them, or from a recorded set. lighteval's own backends
can't be used: its vLLM backend doesn't run with current vLLM, the transformers one sets no seed and samples only if
the student's files ask for it, none can switch thinking off, and their caches survive a change of weights. Nothing is
cached here: each sample is in our ledger.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_input import GenerationParameters
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from palign_hf.errors import UserError
from palign_hf.evaluation.problems import COLUMNS
from palign_hf.evaluation.samples import Sample
from palign_hf.evaluation.settings import EvaluationSettings


class Answers(Protocol):
    """A source of `n` samples of each problem."""

    n: int

    def samples(self, rows: Iterable[Mapping[str, Any]], count: int | None = None) -> Iterator[Sequence[Sample]]:
        """The samples of each problem, in order."""


class Recorded:
    """Samples that were drawn before."""

    def __init__(self, samples: Iterable[Sample], n: int) -> None:
        self.n = n
        self._of: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            self._of.setdefault((sample.benchmark, sample.question or ""), []).append(sample)

    def samples(self, rows: Iterable[Mapping[str, Any]], count: int | None = None) -> Iterator[Sequence[Sample]]:
        """The samples of each problem; a problem that is in its benchmark twice has n samples for each occurrence."""
        for row in rows:
            found = self._of.get((row["benchmark"], row["question"]), [])
            one, found[: self.n] = found[: self.n], []
            if len(one) != self.n:
                raise UserError(
                    f"The problem `{row['id']}` of `{row['benchmark']}` has {len(one)} recorded samples, and {self.n} "
                    f"are needed. Give all of them."
                )
            yield one


class StudentModel(LightevalModel):
    """A student for lighteval, for free text only: there are no log-likelihoods."""

    def __init__(self, answers: Answers, name: str, settings: EvaluationSettings | None = None) -> None:
        """`name` is the name in lighteval's files; `settings` are written into them."""
        self._answers = answers
        self._cache = _NoCache()
        self.config = ModelConfig(model_name=name, generation_parameters=_parameters(settings))

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Return the texts of all samples of each problem; their labels go into `doc.specific`."""
        if wrong := [doc for doc in docs if doc.num_samples != self._answers.n]:
            raise UserError(
                f"`{wrong[0].task_name}` asks for {wrong[0].num_samples} samples of each problem, and the student is "
                f"to give {self._answers.n}. Give both the same `n`."
            )
        rows = [{name: _specific(doc)[name] for name in COLUMNS} | _specific(doc).get("about", {}) for doc in docs]
        responses = []
        for doc, samples in zip(docs, self._answers.samples(rows, len(rows)), strict=True):
            _specific(doc)["samples"] = [sample.row() for sample in samples]
            responses.append(ModelResponse(input=doc.query, text=[sample.text or "" for sample in samples]))
        return responses

    def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
        """Not supported."""
        raise UserError("A student gives free text here, no log-likelihoods. Choose tasks of `palign`.")

    loglikelihood_rolling = loglikelihood

    @property
    def tokenizer(self) -> Any:
        """The student's tokenizer; recorded samples have none."""
        if (runner := getattr(self._answers, "runner", None)) is None:
            raise UserError("Recorded samples have no tokenizer. Load the student's.")
        return runner.tokenizer

    @property
    def add_special_tokens(self) -> bool:
        """False: prompts are rendered with their special tokens."""
        return False

    @property
    def max_length(self) -> int:
        """The context is checked where samples are drawn."""
        return 2**31


class _NoCache:
    """Disables lighteval's cache, which is keyed by the model's name and survives a change of weights."""

    def _init_registry(self, registry: object) -> None:
        pass


def _specific(doc: Doc) -> dict[str, Any]:
    assert doc.specific is not None
    specific: dict[str, Any] = doc.specific
    return specific


def _parameters(settings: EvaluationSettings | None) -> GenerationParameters:
    if settings is None:
        return GenerationParameters()
    return GenerationParameters(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k or None,
        min_p=settings.min_p or None,
        repetition_penalty=settings.repetition_penalty,
        max_new_tokens=settings.max_tokens,
        seed=settings.seed,
    )
