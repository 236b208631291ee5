"""Problems of the evaluation tasks, from benchmarks and the toy world, as one table.

A task has lighteval's name, `palign:math_500`, or its last part; `palign` is all of them. Gold answers are text: 142.0
is "142", as people write it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from palign_hf.asking.store import content_key
from palign_hf.benchmarks import BENCHMARKS, Benchmark, Places, departure, open_benchmark
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.evaluation.outputs import written
from palign_hf.evaluation.partial import PARTIAL
from palign_hf.schema import SchemaError
from palign_hf.shipped import shipped
from palign_hf.traces.gold import after_hashes


if TYPE_CHECKING:
    from datasets import Dataset

FAMILY = "palign"
# Last part of each task's name -> its benchmark.
_OF = {"math_500": "MATH-500", "aime24": "AIME24", "aime25": "AIME25", "amc12": "AMC12", "gsm8k": "GSM8K"}
TOY, TOY_SOURCE, TOY_SPLIT = "toy", "palign-toy", "test"
TASKS = (*_OF, TOY)
_TOY = Benchmark(TOY_SOURCE, TOY_SPLIT, "question", about=("family", "difficulty"))
COLUMNS = ("id", "benchmark", "question", "gold")


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
    """A task with its published rows; `partial` describes how they differ from the whole benchmark."""

    name: str
    rows: "Dataset"
    partial: str | None = None

    @property
    def problems(self) -> list[Problem]:
        """Its problems, in the order of the rows, each with a unique id."""
        found = [problem_of(self.name, row) for row in self.rows]
        if self.partial:
            found = [replace(one, about={**one.about, PARTIAL: self.partial}) for one in found]
        twice = {id for id, count in Counter(one.id for one in found).items() if count > 1}
        # Some benchmarks repeat a name; the row number makes it unique.
        return [replace(one, id=f"{one.id}#{at}") if one.id in twice else one for at, one in enumerate(found)]


def task_names(given: Iterable[str]) -> tuple[str, ...]:
    """The last parts of task names, each once and in the given order; unknown tasks are refused."""
    names: list[str] = []
    for one in given:
        name = one.removeprefix(f"{FAMILY}:")
        if one == FAMILY:
            names += TASKS
        elif name not in TASKS:
            raise UserError(
                f"`{shown(one)}` is not a task{nearest(shown(name), TASKS)}. Choose from {listed(TASKS)}, or "
                f"`{FAMILY}` for all of them."
            )
        else:
            names.append(name)
    return tuple(dict.fromkeys(names))


def open_task(name: str, places: Places = None, max_samples: int | None = None) -> Task:
    """Open a task with all its rows, or at most `max_samples` of them."""
    (name,) = task_names([name])
    if name == TOY:
        home = shipped(TOY_SOURCE)
        assert home is not None
        rows, whole, partial = home.problems(TOY_SPLIT), None, None
    else:
        benchmark = _OF[name]
        rows, whole = open_benchmark(benchmark, places), BENCHMARKS[benchmark].rows
        partial = departure(benchmark, rows, places)
    if max_samples is None or max_samples >= len(rows):
        return Task(name, rows, partial)
    first = f"the first {max_samples} of {whole or len(rows)} problems"
    return Task(
        name, rows.select(range(max_samples)), first if partial is None else f"{first}; of a copy with {partial}"
    )


def benchmark_of(task: str) -> str | None:
    """The benchmark of a task; None for the toy task."""
    return _OF.get(task)


def problem_of(task: str, row: Mapping[str, Any]) -> Problem:
    """A row of a task's data as a problem."""
    known = _TOY if task == TOY else BENCHMARKS[_OF[task]]
    gold = written(row.get(known.answer))
    if task == "gsm8k" and gold is not None:
        gold = after_hashes(gold)
    question = row.get(known.column)
    if not isinstance(question, str) or not question.strip() or gold is None:
        lacking = "gold answer" if gold is None else "question"
        raise UserError(
            f"A row of `{FAMILY}:{task}` has no {lacking}: {shown(repr(dict(row)))}. Check the copy of the benchmark."
        )
    name = written(row.get(known.name)) if known.name else None
    return Problem(
        id=name or content_key(question).hex()[:16],
        benchmark=task,
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
