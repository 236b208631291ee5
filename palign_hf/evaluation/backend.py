"""lighteval model over our engines: `Pipeline(model=StudentModel(evaluation), ...)`.

Samples come from a `StudentEvaluation`, which draws and labels them, or from a recorded set. lighteval's own backends
can't be used: its vLLM backend doesn't run with current vLLM, the transformers one sets no seed and samples only if
the student's files ask for it, none can switch thinking off, and their caches survive a change of weights. Nothing is
cached here: each sample is in our ledger.
"""

import contextlib
import inspect
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_input import GenerationParameters
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from palign_hf.data.benchmarks import Places
from palign_hf.errors import UserError
from palign_hf.evaluation.samples import Sample
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.evaluation.tasks import COLUMNS, FAMILY, Task


if TYPE_CHECKING:
    from datasets import Dataset


_TASKS = "lighteval.tasks.tasks"
_READER = "download_dataset_worker"


def require_lighteval() -> None:
    """Check that lighteval is installed.

    Raises:
        `UserError`: It isn't; the message names the extra to install.
    """
    if find_spec("lighteval") is None:
        raise UserError("Evaluation needs lighteval, which isn't installed. Run `pip install 'palign-hf[eval]'`.")


def install(downloads: bool = True) -> list[str]:
    """Replace modules that would fail, and return their names. Call it before lighteval looks for tasks.

    Without `downloads` also those that fetch word lists on import.
    """
    require_lighteval()
    downloading = [] if downloads else [f"{_TASKS}.{name}.main" for name in ("ifeval", "ifbench")]
    failing = [name for name in (*_failing(), *downloading) if name not in sys.modules]
    for name in failing:
        sys.modules[name] = ModuleType(name, "Can't be imported here: see palign_hf.evaluation.backend.")
    _import_what_changes_the_process()
    return failing


def _import_what_changes_the_process() -> None:
    """Import two modules of lighteval here, and undo their changes to the process.

    Its transformers model turns gradients off, so that nothing could be trained afterwards; its code tasks raise
    Python's limit for the digits of a number.
    """
    import torch

    gradients, digits = torch.is_grad_enabled(), sys.get_int_max_str_digits()
    import_module("lighteval.models.transformers.transformers_model")
    import_module(f"{_TASKS}.lcb.codegen_metrics")
    torch.set_grad_enabled(gradients)
    sys.set_int_max_str_digits(digits)


@contextmanager
def reading(rows: Mapping[str, Mapping[str, "Dataset"]]) -> Iterator[None]:
    """Give lighteval's tasks their data by task name, instead of loading it again."""
    from lighteval.tasks.lighteval_task import LightevalTask

    before = LightevalTask.download_dataset_worker
    setattr(LightevalTask, _READER, staticmethod(lambda task: rows[task.name]))
    try:
        yield
    finally:
        setattr(LightevalTask, _READER, staticmethod(before))


def main() -> None:
    """lighteval's own command line."""
    if left_out := install():
        names = ", ".join(name.removeprefix(f"{_TASKS}.").removesuffix(".main") for name in left_out)
        sys.stderr.write(f"palign: lighteval's own tasks of {names} can't be imported here, and are left out\n")
    from lighteval.__main__ import app

    app()


def _failing() -> Iterator[str]:
    from huggingface_hub import HfApi

    if "model_name" not in inspect.signature(HfApi.list_models).parameters:
        yield from (f"{_TASKS}.{name}.main" for name in ("mt_bench", "mix_eval"))
    package = find_spec(_TASKS)
    assert package is not None and package.submodule_search_locations
    # Where the file lies beside it, nothing is downloaded.
    if not (Path(package.submodule_search_locations[0]) / "tinyBenchmarks.pkl").is_file():
        yield f"{_TASKS}.tiny_benchmarks"


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


def write_results(
    folder: Path,
    tasks: Sequence[Task],
    samples: Iterable[Sample],
    settings: EvaluationSettings,
    name: str,
    places: Places = None,
) -> dict[str, Any]:
    """Write lighteval's files into a folder; return its aggregated figures by task. `name` is the student's."""

    install(downloads=False)
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters

    from palign_hf.evaluation.tasks import tasks_table

    names = [task.name for task in tasks]
    table = tasks_table([task.given for task in tasks], n=settings.n, max_tokens=settings.max_tokens, places=places)
    ours = ModuleType("palign_tasks")
    vars(ours)["TASKS_TABLE"] = table
    named: Any = ours  # a module may be given as well as its name
    rows = {one.name: {one.evaluation_splits[0]: task.rows} for one, task in zip(table, tasks, strict=True)}
    with _silent(), reading(rows):
        pipeline = Pipeline(
            tasks=",".join(f"{FAMILY}:{one}|0" for one in names),
            evaluation_tracker=EvaluationTracker(output_dir=str(folder), save_details=True),
            model=StudentModel(Recorded(samples, settings.n), name, settings),
            pipeline_parameters=PipelineParameters(
                launcher_type=ParallelismManager.NONE,
                custom_tasks_directory=named,
                remove_reasoning_tags=False,
            ),
        )
        pipeline.evaluate()
        pipeline.save_and_push_results()
    found: dict[str, Any] = pipeline.evaluation_tracker.results["results"]
    return {one: found[f"{FAMILY}:{one}|0"] for one in names}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence lighteval's progress bars and log lines about loading and saving."""
    import datasets

    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with contextlib.redirect_stdout(io.StringIO()), _only_errors("lighteval"):
            yield
    finally:
        if not shown:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _only_errors(name: str) -> Iterator[None]:
    import logging

    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
