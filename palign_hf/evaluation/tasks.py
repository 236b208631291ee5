"""Evaluation tasks: problems of the pinned benchmarks, for `palign evaluate` and as tasks of lighteval.

`--custom-tasks palign_hf.evaluation.tasks` makes `palign:math_500` known to lighteval, and `palign` all of them. The
prompt is that of training. Data comes from the Hub at its pinned commit, or from the folder of copies in
PALIGN_BENCHMARKS; PALIGN_SAMPLES is the number of samples a problem, 3 by default.

    python -m palign_hf.lighteval accelerate model_name=... palign:aime24 --custom-tasks palign_hf.evaluation.tasks
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation, SamplingMetric
from lighteval.metrics.utils.metric_utils import SampleLevelMetricGrouping
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

from palign_hf.config.resolve import is_location
from palign_hf.data.benchmarks import BENCHMARKS, Benchmark, Places, departure, open_benchmark, place_of
from palign_hf.data.cells import after_hashes
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.evaluation.metrics import RATES, VERDICTS, measure, shown_ks
from palign_hf.evaluation.outputs import is_file, own_problems, written
from palign_hf.evaluation.samples import PARTIAL, Sample, StudentOutput, sampled, ungraded
from palign_hf.evaluation.settings import MAX_TOKENS, SAMPLES_EACH
from palign_hf.generation.ledger import ledger_folder
from palign_hf.generation.store import content_key
from palign_hf.grading import GraderPool
from palign_hf.prompts import SOLVE, TAG_STYLES, TagStyle, tag_style
from palign_hf.runs.parts import whole
from palign_hf.schema import SchemaError
from palign_hf.students import shipped


if TYPE_CHECKING:
    from datasets import Dataset


FAMILY = "palign"
TOY, TOY_SOURCE, TOY_SPLIT = "toy", "palign-toy", "test"
_TOY = Benchmark(TOY_SOURCE, TOY_SPLIT, "question", about=("family", "difficulty"), task=TOY)
COLUMNS = ("id", "benchmark", "question", "gold")


def known_tasks() -> tuple[str, ...]:
    """The names of the shipped tasks: those of the benchmarks, and the toy task."""
    return (*(one.task for one in BENCHMARKS.values() if one.task), TOY)


def find_task(given: str) -> Benchmark:
    """What is known of a task, as `task_names` gives it."""
    if given == TOY:
        return _TOY
    if (benchmark := benchmark_of(given)) is not None:
        return BENCHMARKS[benchmark]
    # `mine` of `data/mine.jsonl` and of `module:mine`, in characters that lighteval's names may have.
    last = Path(given).name.partition(".")[0] if is_file(given) else given.rpartition(":")[2]
    name = re.sub(r"\W+", "_", last)
    return Benchmark(given, "train", "question", answer="gold", task=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with its gold answer; `about` holds other columns, to report by."""

    id: str
    benchmark: str
    question: str
    gold: str
    about: Mapping[str, str | None]

    def row(self) -> dict[str, str | None]:
        """As a row of the table."""
        return {name: getattr(self, name) for name in COLUMNS} | dict(self.about)


@dataclass(frozen=True)
class Task:
    """A task with its published rows; `partial` describes how they differ from the whole benchmark.

    `given` is what `task_names` returns: a shipped task, a file, or `module:name`.
    """

    given: str
    rows: "Dataset"
    partial: str | None = None

    @property
    def name(self) -> str:
        """Its name in tables and reports."""
        return str(find_task(self.given).task)

    @property
    def problems(self) -> list[Problem]:
        """Its problems, in the order of the rows, each with a unique id."""
        found = [problem_of(self.given, row) for row in self.rows]
        if self.partial:
            found = [replace(one, about={**one.about, PARTIAL: self.partial}) for one in found]
        twice = {id for id, count in Counter(one.id for one in found).items() if count > 1}
        # Some benchmarks repeat a name; the row number makes it unique.
        return [replace(one, id=f"{one.id}#{at}") if one.id in twice else one for at, one in enumerate(found)]


def task_names(given: Iterable[str]) -> tuple[str, ...]:
    """Tasks, each once, in the given order: names without `palign:`, files, and `module:name`; others are refused."""
    names: dict[str, str] = {}
    for one in given:
        for name in known_tasks() if one == FAMILY else (one.removeprefix(f"{FAMILY}:"),):
            if name not in known_tasks() and not is_file(name) and not is_location(name):
                raise UserError(
                    f"`{shown(one)}` is not a task{nearest(shown(name), known_tasks())}, and no file. Choose from "
                    f"{listed(known_tasks())}, `{FAMILY}` for all of them, a file of problems, or `module:name` of "
                    f"your own."
                )
            short = str(find_task(name).task)
            if names.setdefault(short, name) != name:
                raise UserError(
                    f"`{shown(names[short])}` and `{shown(name)}` would both be called `{short}` in the report. Give "
                    f"one of them another name."
                )
    return tuple(names.values())


def open_task(name: str, places: Places = None, max_samples: int | None = None) -> Task:
    """Open a task with all its rows, or at most `max_samples` of them."""
    (given,) = task_names([name])
    whole, partial = 0, None
    if given == TOY:
        home = shipped(TOY_SOURCE)
        assert home is not None
        rows = home.problems(TOY_SPLIT)
    elif (benchmark := benchmark_of(given)) is not None:
        rows, whole = open_benchmark(benchmark, places), BENCHMARKS[benchmark].rows
        partial = departure(benchmark, rows, places)
    else:
        rows = own_problems(given)
    if max_samples is None or max_samples >= len(rows):
        return Task(given, rows, partial)
    first = f"the first {max_samples} of {whole or len(rows)} problems"
    return Task(
        given, rows.select(range(max_samples)), first if partial is None else f"{first}; of a copy with {partial}"
    )


def benchmark_of(task: str) -> str | None:
    """The benchmark of a task; None for the toy task and for one's own."""
    return next((name for name, one in BENCHMARKS.items() if one.task == task), None)


def problem_of(task: str, row: Mapping[str, Any]) -> Problem:
    """A row of a task's data as a problem."""
    known = find_task(task)
    gold = written(row.get(known.answer))
    if known.hashed and gold is not None:
        gold = after_hashes(gold)
    question = row.get(known.column)
    if not isinstance(question, str) or not question.strip() or gold is None:
        lacking = "gold answer" if gold is None else "question"
        raise UserError(
            f"A row of `{FAMILY}:{known.task}` has no {lacking}: {shown(repr(dict(row)))}. Check its data."
        )
    name = written(row.get(known.name)) if known.name else None
    return Problem(
        id=name or content_key(question).hex()[:16],
        benchmark=str(known.task),
        question=question,
        gold=gold,
        about={one: written(row[one]) for one in known.about if one in row},
    )


def problem_columns(batch: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The columns of a batch of problems, as `map` hands it over; refused in words if it can't be evaluated.

    Gold answers and what else is known of a problem are written as text.
    """
    if not isinstance(batch, Mapping):
        raise SchemaError(
            f"`StudentEvaluation` got its rows as `{type(batch).__name__}`. Take the format of the dataset off: "
            f"`dataset.with_format(None).map(evaluation, batched=True)`."
        )
    if missing := [name for name in COLUMNS if name not in batch]:
        raise SchemaError(
            f"Column {listed(missing)}{nearest(missing[0], list(batch))} missing: problems have {listed(COLUMNS)}. "
            f"Rename the columns, or add them."
        )
    if not isinstance(batch["id"], list):
        raise SchemaError(
            "`StudentEvaluation` got a single row: its engine answers many problems at once. Use "
            "`problems.map(evaluation, batched=True)`."
        )
    columns: dict[str, list[Any]] = {name: list(batch[name]) for name in batch}
    for name, values in columns.items():
        if name != "question":
            columns[name] = [written(value) for value in values]
        for row, value in enumerate(columns[name] if name in COLUMNS else ()):
            if not isinstance(value, str) or not value.strip():
                raise SchemaError(
                    f"Row {row + 1} of the batch has no text as `{name}`: {shown(repr(value))}. Every problem "
                    f"needs one."
                )
    return columns


def problem_table(tasks: Sequence[Task]) -> "Dataset":
    """All problems of tasks in one table; columns that a benchmark lacks are null."""
    from datasets import Dataset, Features, Value

    problems = [problem for task in tasks for problem in task.problems]
    names = dict.fromkeys([*COLUMNS, *(name for one in problems for name in one.about)])
    empty: dict[str, str | None] = dict.fromkeys(names)
    features = Features({name: Value("string") for name in names})
    return Dataset.from_list([empty | one.row() for one in problems], features=features)


_MEANS = (*RATES, "draft_share", "tokens", "draft_tokens")
# Of these less is better, or neither is.
_LOWER = ("cut", "loop", "draft_share", "tokens", "draft_tokens")


class LabelledSamples(SampleLevelComputation, SamplingMetric):
    """The measures of one problem's `n` samples."""

    def __init__(self, n: int, grader: str = "math") -> None:
        self.n, self.grader = n, grader

    def num_samples(self) -> int:
        """Number of samples that lighteval requests."""
        return self.n

    def compute(self, doc: Doc, model_response: ModelResponse, **_: Any) -> dict[str, float]:
        """All measures; those that a backend's samples don't support, such as finish reasons, are left out."""
        assert doc.specific is not None
        if "samples" not in doc.specific:
            doc.specific["samples"] = [sample.row() for sample in self._graded(doc, model_response)]
        samples = [Sample.from_row(row) for row in doc.specific["samples"]]
        self._check(doc, len(samples))
        found = measure(samples)
        named = {f"{verdict} {name}": name for verdict in VERDICTS for name in _passes(self.n)}
        values = {_name(name, self.n): found.value(name) for name in (*named, *_MEANS)}
        return {name: value for name, value in values.items() if value is not None}

    def _graded(self, doc: Doc, response: ModelResponse) -> list[Sample]:
        self._check(doc, len(response.text))
        assert doc.specific is not None
        shared = {name: doc.specific[name] for name in COLUMNS} | {"about": doc.specific.get("about", {})}
        counts = [len(ids) for ids in response.output_tokens]
        tokens = counts if len(counts) == self.n else [None] * self.n
        outputs = [
            StudentOutput(**shared, sample=number, text=text, tokens=count)
            for number, (text, count) in enumerate(zip(response.text, tokens, strict=True))
        ]
        grades = iter(_pool(self.grader).grade_all((one.text or "", one.gold) for one in outputs if not one.blank))
        return [sampled(one, ungraded(one) if one.blank else next(grades), _style(one.text or "")) for one in outputs]

    def _check(self, doc: Doc, samples: int) -> None:
        if samples != self.n:
            raise UserError(
                f"`{doc.task_name}` has {samples} samples of the problem {doc.id}, and {self.n} were asked for. Each "
                f"counts: let the model give all of them."
            )


def metric(n: int, grader: str = "math") -> SampleLevelMetricGrouping:
    """The metric over `n` samples a problem."""
    names = [_name(f"{verdict} {name}", n) for verdict in VERDICTS for name in _passes(n)] + list(_MEANS)
    better: Any = {name: name not in _LOWER for name in names}
    return SampleLevelMetricGrouping(
        metric_name=names,
        higher_is_better=better,
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=LabelledSamples(n, grader),
        corpus_level_fn=dict.fromkeys(names, np.mean),
    )


def _passes(n: int) -> Sequence[str]:
    return [*(f"pass@{k}" for k in shown_ks(n)), "avg@n", "maj@n"]


def _name(name: str, n: int) -> str:
    """As lighteval's tables show it: `strict_pass@3`."""
    return name.replace(" ", "_").replace("@n", f"@{n}")


def _style(text: str) -> TagStyle:
    """The tags that a text begins with."""
    begun = text.lstrip()
    return next((one for one in TAG_STYLES.values() if one.open and begun.startswith(one.open)), tag_style("none"))


@lru_cache(maxsize=4)
def _pool(grader: str) -> GraderPool:
    """One pool for all problems; its workers end with this process."""
    return GraderPool(grader)


# Samples of each problem under lighteval's own command line.
VARIABLE = "PALIGN_SAMPLES"
_VERSION = 1


def tasks_table(
    names: Sequence[str] | None = None,
    *,
    n: int = SAMPLES_EACH,
    max_tokens: int | None = MAX_TOKENS,
    places: Places = None,
    toy: str = TOY_SOURCE,
    grader: str = "math",
) -> list[LightevalTaskConfig]:
    """The configurations of tasks; `toy` is the folder of the toy task's data."""
    return [_config(name, n, max_tokens, places, toy, grader) for name in (known_tasks() if names is None else names)]


def document(problem: Problem, task: str) -> Doc:
    """A problem as lighteval's `Doc`: the message of training, and the metric's data."""
    specific = {"id": problem.id, "benchmark": problem.benchmark, "question": problem.question, "gold": problem.gold}
    return Doc(
        task_name=task,
        query=SOLVE.message(problem.question),
        choices=[problem.gold],
        gold_index=0,
        # Parquet, in which lighteval keeps it, has no empty structures.
        specific=specific | ({"about": dict(problem.about)} if problem.about else {}),
    )


def __getattr__(name: str) -> Any:
    """Build the table when lighteval reads it, by the environment at that time."""
    if name != "TASKS_TABLE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return tasks_table(n=_samples(), toy=str(_toy_folder()))


def _config(name: str, n: int, max_tokens: int | None, places: Places, toy: str, grader: str) -> LightevalTaskConfig:
    known, benchmark = find_task(name), benchmark_of(name)
    place = toy if name == TOY else place_of(benchmark, places) if benchmark else None
    repository, split = place or known.hub_id, known.split
    subset, revision = ("default", None) if place else (known.config or "default", known.revision)
    return LightevalTaskConfig(
        name=f"{FAMILY}:{known.task}",
        prompt_function=partial(_document, name),
        hf_repo=repository,
        hf_subset=subset,
        hf_revision=revision,
        hf_avail_splits=[split],
        evaluation_splits=[split],
        few_shots_split=split,
        generation_size=max_tokens,
        # None breaks backends that join it to their own.
        stop_sequence=[],
        metrics=[metric(n, grader)],
        version=_VERSION,
    )


def _document(name: str, line: dict[str, Any], task_name: str) -> Doc:
    return document(problem_of(name, line), task_name)


def _samples() -> int:
    given = os.environ.get(VARIABLE, str(SAMPLES_EACH))
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"`{VARIABLE}={shown(given)}` is no number of samples. Give a whole number from 1.")
    return int(given)


def _toy_folder() -> Path:
    """The toy problems as a folder for `load_dataset`; written once, beside the ledgers."""
    home = ledger_folder().parent / "toy-problems"
    file = home / f"{TOY_SPLIT}.parquet"
    rows = open_task(TOY).rows
    home.mkdir(parents=True, exist_ok=True)
    # Rewritten each time: another release may have other problems.
    with whole(file) as unfinished:
        rows.to_parquet(str(unfinished))
    return home
