"""The processes that `palign run` starts: for steps of a chain, for one under accelerate, and for the comparison."""

import argparse
import dataclasses
import io
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError
from palign_hf.evaluation.compare import compare_seeds
from palign_hf.evaluation.grade import read_samples
from palign_hf.pipeline.chain import BEFORE, chain
from palign_hf.pipeline.plan import ChainStep, State, states
from palign_hf.pipeline.record import (
    COMPARISON,
    RunRecord,
    begin,
    content_of_sources,
    elapsed,
    files_of,
    read_kept,
    share,
)
from palign_hf.runs.launch import launch, one_gpu
from palign_hf.runs.report import now
from palign_hf.runs.shards import Shard
from palign_hf.runs.signals import Terminated, end_with_parent, terminable
from palign_hf.runs.stages import find_stage
from palign_hf.terminal import prepare, print_err, print_out, settle


def work(folder: Path, names: Sequence[str], force: Sequence[str] = (), brief: bool = False) -> int:
    """Run steps one after the other, on one engine if they have the same.

    Args:
        folder (`Path`): The folder of the run.
        names (`Sequence[str]`): The steps, in order.
        force (`Sequence[str]`): Stages that run again although they are done.
        brief (`bool`): Print a line for each step instead of its report.

    Returns:
        `int`: 1 if more rows failed than the recipe allows, else 0.
    """
    recipe = read_kept(folder)
    steps = {step.name: step for step in chain(recipe)}
    record = RunRecord(folder)
    found = states([*steps.values()], record.steps, content_of_sources, record.damaged, force)
    todo = {one.step.name: one for one in found if one.step.name in names}
    for _, group in itertools.groupby(names, key=lambda name: steps[name].runner):
        together = [*group]
        with _runner(steps[together[0]], shared=len(together) > 1) as runner:
            for name in together:
                failed = _run(record, todo[name], runner, recipe.head.max_failed, brief)
                if failed > recipe.head.max_failed:
                    print_err(
                        f"palign: {name}: {failed:.1%} of its rows failed, more than "
                        f"`max_failed={recipe.head.max_failed}` allows, so the chain stops here. Run the same command "
                        f"again: it asks those rows again."
                    )
                    return 1
    return 0


def _run(record: RunRecord, one: State, runner: Any, most: float, brief: bool) -> float:
    """Run a step; the share of its rows that failed."""
    stage, began = find_stage(one.step.stage), time.monotonic()
    if not brief:
        print_err(f"== {one.step.name}")
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
    if brief:
        print_err(f"  {one.step.name}: done in {elapsed(began):.0f} s")
    else:
        print_out(ending.words)
    if (line := stage.follow(settings, ending)) is not None:
        print_out(line)
    failed = share(ending.failed, rows)
    # Rows that failed are asked again next time, so the step isn't done.
    if failed <= most:
        record.add(one, content_of_sources(one.step.deciding), {"failed": failed, "seconds": elapsed(began)})
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


def write_comparison(folder: Path, signature: str, brief: bool = False) -> int:
    """Compare all evaluations of a run, print the table, and write it with its plot to `comparison`.

    Args:
        folder (`Path`): The folder of the run.
        signature (`str`): The signature of what is compared, for the record.
        brief (`bool`): Print nothing.
    """
    record = RunRecord(folder)
    steps = [one for one in chain(read_kept(folder)) if one.stage == "evaluate" and one.name in record.steps]
    files: dict[str, list[Path]] = {}
    for step in steps:
        files.setdefault(model_of(step), []).append(folder / step.folder)
    found = compare_seeds({name: [read_samples(str(one)) for one in of] for name, of in files.items()}, files)
    found.write(folder / COMPARISON, overwrite=True)
    if not brief:
        print_out(found.text())
    record.held["steps"]["compare"] = {
        "stage": "compare",
        "signature": signature,
        "folder": COMPARISON,
        "files": files_of(folder / COMPARISON),
        "ended": now(),
        "seconds": 0.0,
    }
    record.write()
    return 0


def model_of(step: ChainStep) -> str:
    """What a student is called in the comparison: its arm, with the student's name if there are several."""
    parts = [part for part in step.name.split("/") if not part.startswith("seed-")]
    return (
        "/".join(BEFORE if part == f"evaluate-{BEFORE}" else part for part in parts if part != "evaluate") or "after"
    )


def main() -> int:
    """Run steps, the comparison, or one stage under accelerate; the process above says what has ended it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("steps", nargs="*")
    parser.add_argument("--force", action="append", default=[])
    parser.add_argument("--compare")
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--stage")
    options, others = parser.parse_known_args()
    if options.stage is not None:
        return launch(find_stage(options.stage), others)
    end_with_parent()
    prepare()
    try:
        with terminable():
            if options.compare is not None:
                return write_comparison(Path(options.folder), options.compare, options.brief)
            return work(Path(options.folder), options.steps, options.force, options.brief)
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
