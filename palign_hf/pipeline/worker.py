"""The processes that `palign run` starts: for steps of a chain, and for one under accelerate.

A process imports the stages of its own steps only; all others would take it seconds.
"""

import argparse
import dataclasses
import io
import itertools
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from palign_hf.config.recipes import read_recipe
from palign_hf.config.settings import build
from palign_hf.errors import UserError
from palign_hf.pipeline.plan import STALE, ChainStep, State
from palign_hf.pipeline.record import (
    RunRecord,
    begin,
    content_of_sources,
    elapsed,
    expected,
    read_kept,
    recipe_of,
    share,
)
from palign_hf.runs.launch import launch, one_gpu
from palign_hf.runs.shards import Shard
from palign_hf.runs.signals import Terminated, end_with_parent, terminable
from palign_hf.runs.stages import find_stage
from palign_hf.terminal import is_terminal, prepare, print_err, print_out, settle


def hand_over(one: State) -> str:
    """A step for another process, which reads its settings from the recipe of the step."""
    step = one.step
    plain = {"name": step.name, "stage": step.stage, "folder": step.folder, "runner": step.runner}
    return json.dumps(plain | {"reads": dict(step.reads), "signature": one.signature})


def _taken(folder: Path, text: str) -> State:
    given = json.loads(text)
    signature, file = given.pop("signature"), recipe_of(folder, given["name"])
    values = read_recipe(file)
    settings = build(find_stage(given["stage"]).settings, values, f"`{file}`")
    return State(ChainStep(**given, values=values, settings=settings), signature, STALE)


def work(folder: Path, steps: Sequence[str], brief: bool = False) -> int:
    """Run steps one after the other, on one engine if they have the same.

    Args:
        folder (`Path`): The folder of the run.
        steps (`Sequence[str]`): The steps in order, as `hand_over` gives them.
        brief (`bool`): Print a line for each step instead of its report.

    Returns:
        `int`: 1 if more rows failed than the recipe allows, else 0.
    """
    most, record = read_kept(folder).head.max_failed, RunRecord(folder)
    todo = [_taken(folder, text) for text in steps]
    for _, group in itertools.groupby(todo, key=lambda one: one.step.runner):
        together = [*group]
        with _runner(together[0].step, shared=len(together) > 1) as runner:
            for one in together:
                failed = _run(record, one, runner, most, brief)
                if failed > most:
                    print_err(
                        f"palign: {one.step.name}: {failed:.1%} of its rows failed, more than `max_failed={most}` "
                        f"allows, so the chain stops here. Run the same command again: it asks those rows again."
                    )
                    return 1
    return 0


def _run(record: RunRecord, one: State, runner: Any, most: float, brief: bool) -> float:
    """Run a step; the share of its rows that failed."""
    stage, began = find_stage(one.step.stage), time.monotonic()
    if not brief:
        print_err(f"== {one.step.name}")
    forecast = expected(stage, one.step.settings)
    settings = begin(record, one, one.step.settings)
    if runner is not None:
        settings = dataclasses.replace(settings, engine=runner, engine_options={})
    stage.ready(settings)
    with ExitStack() as stack:
        if brief:
            # Counts of what is read, and a trainer's log: the report of the step has them. Bars are on stderr.
            stack.enter_context(redirect_stdout(io.StringIO()))
            with redirect_stderr(io.StringIO()):
                opened = stage.open(settings)
        else:
            opened = stage.open(settings)
        run = stack.enter_context(opened)
        run.work(Shard(), run.agree())
        ending = run.finish(1)
        rows = len(getattr(run, "rows", ()))
    if not brief:
        print_out(ending.words)
    if (line := stage.follow(settings, ending)) is not None:
        print_out(line)
    failed = share(ending.failed, rows)
    if brief and not is_terminal():  # there the bar stays
        print_err(f"  {one.step.name}: done in {elapsed(began):.0f} s")
    # Rows that failed are asked again next time, so the step isn't done.
    if failed <= most:
        ended = {"failed": failed, "seconds": elapsed(began), "forecast": forecast}
        record.add(one, content_of_sources(one.step.deciding), ended)
    return failed


@contextmanager
def _runner(step: ChainStep, shared: bool) -> Iterator[Any]:
    """The engine of several steps; None for one alone, which has its own."""
    if not shared:
        yield None
        return
    from palign_hf.generation.runner import StudentRunner

    one_gpu("`palign STAGE` under `accelerate launch` takes all")
    settings = step.settings
    if not isinstance(settings.engine, str):
        raise UserError("A running engine can't be named in a recipe. Give `engine=auto`.")
    with ExitStack() as stack:
        yield stack.enter_context(
            StudentRunner(
                settings.student,
                revision=settings.revision,
                engine=settings.engine,
                engine_options=settings.engine_options,
                max_model_len=settings.max_model_len,
                trust_remote_code=settings.trust_remote_code,
            )
        )


def _accelerate(arguments: list[str]) -> int:
    """Run the launcher of accelerate; its exit status is that of the process that failed first.

    That process has printed its own error, so the launcher's traceback and log are left out.
    """
    from accelerate.commands.launch import main as accelerate_launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)
    sys.argv = ["accelerate launch", *arguments]
    try:
        accelerate_launch()
    except SignalException as ended_by:
        return 128 + ended_by.sigval
    except ChildFailedError as failed:
        return max(1, failed.get_first_failure()[1].exitcode)
    except subprocess.CalledProcessError as failed:
        return max(1, failed.returncode)
    return 0


def main() -> int:
    """Run steps, accelerate's launcher, or one stage under it; the process above says what has ended it."""
    if sys.argv[1:2] == ["--accelerate"]:
        return _accelerate(sys.argv[2:])
    if sys.argv[1:2] == ["--stage"]:
        # All others are options of the stage.
        return launch(find_stage(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder")
    parser.add_argument("steps", nargs="+")
    parser.add_argument("--brief", action="store_true")
    options = parser.parse_args()
    end_with_parent()
    prepare()
    try:
        with terminable():
            return work(Path(options.folder), options.steps, options.brief)
    except UserError as error:
        print_err(f"palign: {' '.join(str(error).split())}")
        return 2
    except KeyboardInterrupt:
        return 130
    except Terminated as ended_by:
        return ended_by.status
    finally:
        settle()


if __name__ == "__main__":
    sys.exit(main())
