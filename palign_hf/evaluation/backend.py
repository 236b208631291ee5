"""A model for lighteval over our engines: `Pipeline(model=StudentModel(evaluation), ...)`.

Samples come from a `StudentEvaluation`, which draws and labels them, or from those that were drawn before. lighteval's
own backends can't do what an honest figure needs: its vLLM one doesn't run with today's vLLM, the one over
transformers seeds nothing and doesn't sample unless the student's files say so, none can switch thinking off, and what
they cache is taken for current when the weights have changed. Nothing is cached here: each sample is in our ledger.
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
    """Where samples come from: `n` of each problem."""

    n: int

    def samples(self, rows: Iterable[Mapping[str, Any]], count: int | None = None) -> Iterator[Sequence[Sample]]:
        """The samples of each problem, in order."""


class Recorded:
    """Samples that are there already."""

    def __init__(self, samples: Iterable[Sample], n: int) -> None:
        self.n = n
        self._of: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            self._of.setdefault((sample.benchmark, sample.question or ""), []).append(sample)

    def samples(self, rows: Iterable[Mapping[str, Any]], count: int | None = None) -> Iterator[Sequence[Sample]]:
        """Those of each problem; a problem that stands in its benchmark twice has its samples twice, n each time."""
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
    """A student as lighteval asks it, and only for free text: there are no log-likelihoods here."""

    def __init__(self, answers: Answers, name: str, settings: EvaluationSettings | None = None) -> None:
        """`name` is what lighteval's files are called by; `settings` go into them."""
        self._answers = answers
        self._cache = _NoCache()
        self.config = ModelConfig(model_name=name, generation_parameters=_parameters(settings))

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """The texts of all samples of each problem; what is known of them goes into `doc.specific`."""
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
        """Not to be had."""
        raise UserError("A student is asked for free text here, not for log-likelihoods. Choose tasks of `palign`.")

    loglikelihood_rolling = loglikelihood

    @property
    def tokenizer(self) -> Any:
        """The student's own, where one draws; samples that are there already come without."""
        if (runner := getattr(self._answers, "runner", None)) is None:
            raise UserError("Samples that were drawn before come without a tokenizer. Load that of the student.")
        return runner.tokenizer

    @property
    def add_special_tokens(self) -> bool:
        """The renderer of prompts has its own say."""
        return False

    @property
    def max_length(self) -> int:
        """The student's context is looked after where samples are drawn."""
        return 2**31


class _NoCache:
    """lighteval keeps answers by the name of a model, which stays when its weights change."""

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
