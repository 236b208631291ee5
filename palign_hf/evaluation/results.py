"""lighteval result files of an evaluation: results as JSON, and the details of every problem as parquet.

lighteval's pipeline runs over the existing samples with its tasks, aggregation and layout, so any reader of lighteval
results reads ours. Nothing is generated or graded again.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from palign_hf.benchmarks import Places
from palign_hf.evaluation.problems import FAMILY, Task
from palign_hf.evaluation.samples import Sample
from palign_hf.evaluation.settings import EvaluationSettings


def write_results(
    folder: Path,
    tasks: Sequence[Task],
    samples: Iterable[Sample],
    settings: EvaluationSettings,
    name: str,
    places: Places = None,
) -> dict[str, Any]:
    """Write lighteval's files into a folder; return its aggregated figures by task. `name` is the student's."""
    from palign_hf.evaluation import shim

    shim.install(downloads=False)
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters

    from palign_hf.evaluation.backend import Recorded, StudentModel
    from palign_hf.evaluation.tasks import tasks_table

    names = [task.name for task in tasks]
    table = tasks_table(names, n=settings.n, max_tokens=settings.max_tokens, places=places)
    ours = ModuleType("palign_tasks")
    vars(ours)["TASKS_TABLE"] = table
    named: Any = ours  # a module may be given as well as its name
    rows = {one.name: {one.evaluation_splits[0]: task.rows} for one, task in zip(table, tasks, strict=True)}
    with _silent(), shim.reading(rows):
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
