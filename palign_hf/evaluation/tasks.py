"""lighteval tasks: `--custom-tasks palign_hf.evaluation.tasks`, and `palign:math_500` or `palign` for all.

The prompt is that of training. Data comes from the Hub at its pinned commit, or from the folder of copies in
PALIGN_BENCHMARKS; PALIGN_SAMPLES is the number of samples a problem, 3 by default.

    python -m palign_hf.lighteval accelerate model_name=... palign:aime24 --custom-tasks palign_hf.evaluation.tasks
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

from palign_hf.asking.ledgers import ledger_folder
from palign_hf.benchmarks import BENCHMARKS, Places, place_of
from palign_hf.errors import UserError, shown
from palign_hf.evaluation.metric import metric
from palign_hf.evaluation.problems import (
    FAMILY,
    TASKS,
    TOY,
    TOY_SOURCE,
    TOY_SPLIT,
    Problem,
    benchmark_of,
    open_task,
    problem_of,
)
from palign_hf.evaluation.settings import MAX_TOKENS, SAMPLES_EACH
from palign_hf.prompts import SOLVE
from palign_hf.runs.parts import whole


# Samples of each problem under lighteval's own command line.
VARIABLE = "PALIGN_SAMPLES"
_VERSION = 1


def tasks_table(
    names: Sequence[str] = TASKS,
    *,
    n: int = SAMPLES_EACH,
    max_tokens: int | None = MAX_TOKENS,
    places: Places = None,
    toy: str = TOY_SOURCE,
    grader: str = "math",
) -> list[LightevalTaskConfig]:
    """The configurations of tasks; `toy` is the folder of the toy task's data."""
    return [_config(name, n, max_tokens, places, toy, grader) for name in names]


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
    benchmark = benchmark_of(name)
    if benchmark is None:
        repository, subset, revision, split = toy, "default", None, TOY_SPLIT
    else:
        known = BENCHMARKS[benchmark]
        place, split = place_of(benchmark, places), known.split
        repository = place or known.hub_id
        subset, revision = ("default", None) if place else (known.config or "default", known.revision)
    return LightevalTaskConfig(
        name=f"{FAMILY}:{name}",
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
