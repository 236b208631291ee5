"""`palign run`: the steps of a chain that have to run, each in a process of its own or with others on one engine.

Inference steps that follow each other share one process and one engine. A training has its own process, so that the
GPU's memory is free before and after it. The record is written when a step ends, so a run that was killed resumes with
the step that was under way, and that step with its own ledger or checkpoint.
"""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from palign_hf.config.recipes import recipes_folder
from palign_hf.config.resolve import uncalled
from palign_hf.errors import UserError, listed
from palign_hf.pipeline.chain import BEFORE, chain
from palign_hf.pipeline.plan import DONE, MISSING, ChainStep, State, chosen, in_groups, states
from palign_hf.pipeline.publication import check_targets, commits, publish_run
from palign_hf.pipeline.recipe import LaunchSettings, Recipe, read_chain
from palign_hf.pipeline.record import (
    CHAIN,
    COMPARISON,
    LOG,
    RECIPES,
    RunRecord,
    begin,
    content_of_sources,
    elapsed,
    files_of,
    page,
    plain_values,
    read_kept,
    share,
    write_recipe,
)
from palign_hf.pipeline.worker import hand_over
from palign_hf.runs.forecast import Forecast
from palign_hf.runs.parts import write_whole
from palign_hf.runs.report import now
from palign_hf.runs.shards import PAGE
from palign_hf.runs.stages import STAGES, find_stage
from palign_hf.terminal import print_err, print_out


if TYPE_CHECKING:
    from palign_hf.evaluation.compare import Comparisons

# Seconds that a process has to end after SIGTERM: stages need up to half a minute.
_PATIENCE_S = 40.0


@dataclass(frozen=True)
class Wish:
    """What a command asks for.

    Args:
        overrides (`tuple[str, ...]`): `--set`.
        first (`str`, *optional*): `--from`.
        last (`str`, *optional*): `--until`.
        force (`tuple[str, ...]`): `--force`.
    """

    overrides: tuple[str, ...] = ()
    first: str | None = None
    last: str | None = None
    force: tuple[str, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether only some stages are meant, or some whatever their state."""
        return bool(self.first or self.last or self.force)


def run_chain(recipe: str | Path, wish: Wish, brief: bool = False) -> int:
    """Run what has to run of a chain.

    Args:
        recipe (`str` or `Path`): The recipe.
        wish (`Wish`): What the command asks for.
        brief (`bool`, *optional*, defaults to `False`): Print a line for each step that has run, and no reports.

    Returns:
        `int`: The exit status: that of the stage that stopped the chain, else 0.
    """
    read = read_chain(recipe, wish.overrides)
    with _alone(read.head.folder) as folder:
        record = RunRecord(folder)
        if not wish.narrows and record.finished(read):
            return _end(folder, f"all {len(record.steps)} steps are done already", brief)
        steps = chain(read)
        found = _states(steps, record, wish)
        todo = chosen(found, wish.first, wish.last, _stages(steps))
        if read.head.publish is not None:
            check_targets(steps, read.head.publish)
        if not brief:
            _say(found, todo)
        if todo or read.head.publish is not None:
            _keep(read, record, steps, recipe, wish)
        for group in in_groups(todo):
            if status := _run_group(read, folder, group, brief):
                _log(folder, f"{listed(one.step.name for one in group)}: stopped with status {status}")
                return status
        return _finish(read, folder, steps, bool(todo), brief)


def finished(recipe: str | Path, wish: Wish) -> bool:
    """Whether all of a recipe is done, so that `run_chain` starts nothing; quick, as no stage is imported."""
    read = read_chain(recipe, wish.overrides)
    return not wish.narrows and RunRecord(read.head.folder).finished(read)


def waiting(recipe: str | Path, wish: Wish) -> tuple[list[State], list[State]]:
    """The steps of a chain that are done, and those that `run_chain` would run; nothing is run.

    Args:
        recipe (`str` or `Path`): The recipe.
        wish (`Wish`): What the command asks for.
    """
    read = read_chain(recipe, wish.overrides)
    steps = chain(read)
    found = _states(steps, RunRecord(read.head.folder), wish)
    return [one for one in found if one.state == DONE], chosen(found, wish.first, wish.last, _stages(steps))


def dry_run(recipe: str | Path, wish: Wish, device: str | None = None) -> int:
    """Print which steps would run, and what each would do and cost; nothing is written.

    Args:
        recipe (`str` or `Path`): The recipe.
        wish (`Wish`): What the command asks for.
        device (`str`, *optional*): The device for hours and GB, as `h100`; `this` starts an engine to measure it.
    """
    with uncalled():
        read = read_chain(recipe, wish.overrides)
        steps = chain(read)
        found = _states(steps, RunRecord(read.head.folder), wish)
        todo = {one.step.name for one in chosen(found, wish.first, wish.last, _stages(steps))}
        costs = dict(forecasts(steps, todo))
        for one in found:
            print_out(f"== {one.step.name}: {_words(one, one.step.name in todo)}")
            cost = costs.get(one.step.name)
            if isinstance(cost, Forecast):
                print_out(str(cost) if device is None else cost.text(device))
            elif cost is not None:
                print_out(f"not known here: {cost}")
        if read.head.publish is not None:
            check_targets(steps, read.head.publish)
            print_out(f"== publish: to `{read.head.publish.repo_id}`, when all steps are done")
    return 0


def forecasts(steps: Sequence[ChainStep], running: Container[str]) -> Iterator[tuple[str, Forecast | str]]:
    """The forecasts of steps, in order; a text where one isn't known.

    Args:
        steps (`Sequence[ChainStep]`): All steps of the chain.
        running (`Container[str]`): Those that would run. One that reads what another of them will write is forecast at
            the most that it takes, and the evaluation of a trained student as that of the student before training.
    """
    found: dict[str, Forecast | str] = {}
    students: dict[str, Any] = {}
    with uncalled():
        for step in steps:
            stage: Any = find_stage(step.stage)
            settings, reads = step.settings, dict.fromkeys(step.reads.values())
            if stage.together:
                students[step.name] = settings.student
            if step.name not in running:
                continue
            if (trained := step.reads.get("student")) in students and trained in running:
                settings = dataclasses.replace(settings, student=students[str(trained)])
                reads.pop(trained)
            before = [found[name] for name in reads if name in running]
            known = [one for one in before if isinstance(one, Forecast)]
            try:
                if not before:
                    found[step.name] = stage.forecast(settings)
                elif len(known) == len(before) and hasattr(stage, "forecast_after"):
                    found[step.name] = stage.forecast_after(settings, known[0])
                else:
                    found[step.name] = f"it reads what {listed(name for name in reads if name in running)} will write"
            except UserError as error:
                found[step.name] = " ".join(str(error).split())
            yield step.name, found[step.name]


def status(folder: str | Path) -> int:
    """Print what is done, stale or missing in the folder of a run."""
    home = Path(folder).expanduser()
    record = RunRecord(home)
    if not (home / RECIPES / CHAIN).is_file():
        raise UserError(f"`{folder}` is no run of a chain: `{RECIPES}/{CHAIN}` is missing. Give the folder of one.")
    begun = dict(record.held.get("recipe") or {})
    place = Path(str(begun.get("file", "")))
    if place.is_file():
        read = read_chain(place, tuple(begun.get("set") or ()))
    else:
        read = read_kept(home)
    with uncalled():
        for one in _states(chain(read), record, Wish()):
            print_out(f"{one.step.name:<32} {one.state:<8} {one.why}".rstrip())
    if read.head.publish is not None:
        there = {name.split()[1] for name in record.held.get("published", {})}
        print_out(f"{'publish':<32} {DONE if read.head.publish.repo_id in there else MISSING}")
    return 0


def _states(steps: Sequence[ChainStep], record: RunRecord, wish: Wish) -> list[State]:
    if unknown := [name for name in wish.force if name not in _stages(steps)]:
        raise UserError(f"`--force {unknown[0]}` is no stage of this chain. It has {listed(_stages(steps))}.")
    return states(steps, record.steps, content_of_sources, record.damaged, wish.force)


def _stages(steps: Sequence[ChainStep]) -> list[str]:
    there = {step.stage for step in steps}
    return [name for name in STAGES if name in there]


def _words(one: State, runs: bool) -> str:
    if one.state == DONE:
        return "kept"
    return f"{'runs' if one.state == 'missing' else 'runs again'}: {one.why}" if runs else f"left out ({one.why})"


def _say(found: Sequence[State], todo: Sequence[State]) -> None:
    running = {one.step.name for one in todo}
    for one in found:
        print_err(f"{one.step.name}: {_words(one, one.step.name in running)}")


def _keep(recipe: Recipe, record: RunRecord, steps: Sequence[ChainStep], file: str | Path, wish: Wish) -> None:
    """Write the recipe of the chain and of each step, and forget steps that are no longer in it."""
    folder = recipe.head.folder
    (folder / RECIPES).mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(plain_values(recipe.whole()), sort_keys=False, allow_unicode=True)
    write_whole(folder / RECIPES / CHAIN, text)
    for step in steps:
        write_recipe(folder, step)
    record.keep([*(step.name for step in steps), *(name for name in record.steps if name.endswith("compare"))])
    record.held["recipe"] = {
        "file": os.path.abspath(file) if Path(file).is_file() else str(file),
        "set": [*wish.overrides],
    }
    record.write()


def _run_group(recipe: Recipe, folder: Path, group: Sequence[State], brief: bool) -> int:
    """Run steps in one process, or a training under accelerate; their exit status."""
    names = [one.step.name for one in group]
    _log(folder, f"{listed(names)}: begins")
    step = group[0].step
    if recipe.head.launch is not None and find_stage(step.stage).together:
        return _launched(recipe, folder, group[0], recipe.head.launch)
    command = [sys.executable, "-m", "palign_hf.pipeline.worker", *(["--brief"] if brief else []), str(folder)]
    return _child([*command, *map(hand_over, group)])


def _launched(recipe: Recipe, folder: Path, one: State, launch: LaunchSettings) -> int:
    record, began = RunRecord(folder), time.monotonic()
    settings = begin(record, one, one.step.settings)
    command = [sys.executable, "-m", "palign_hf.pipeline.worker", "--accelerate"]
    command += ["--num_processes", str(launch.processes)]
    if launch.config is not None:
        command += ["--config_file", str(accelerate_config(launch.config))]
    command += ["--module", "palign_hf.pipeline.worker", "--stage", one.step.stage]
    command += ["--config", str(write_recipe(folder, one.step))]
    command += ["--set", "overwrite=true"] if getattr(settings, "overwrite", False) else []
    if status := _child(command):
        return status
    record.add(one, content_of_sources(one.step.deciding), {"failed": share(0, 1), "seconds": elapsed(began)})
    return 0


def accelerate_config(name: str) -> Path:
    """A configuration of accelerate: a file, or one that ships."""
    shipped = recipes_folder() / "accelerate" / f"{name}.yaml"
    if (path := Path(name).expanduser()).is_file():
        return path
    if shipped.is_file():
        return shipped
    known = [one.stem for one in sorted(shipped.parent.glob("*.yaml"))]
    raise UserError(f"`launch.config={name}` is no file, and none of {listed(known)}.")


def _child(command: Sequence[str]) -> int:
    """Run a process to its end; whatever ends this one ends it, too."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:
        # Ctrl-C in a terminal has reached it already.
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def _finish(recipe: Recipe, folder: Path, steps: Sequence[ChainStep], worked: bool, brief: bool) -> int:
    """Compare what was evaluated, and write the page of the run."""
    record = RunRecord(folder)
    evaluated = [step for step in steps if step.stage == "evaluate" and step.name in record.steps]
    wanted = comparison_signature(evaluated, record)
    if len(evaluated) > 1 and wanted != record.steps.get("compare", {}).get("signature"):
        found = _compare(record, evaluated, wanted)
        if not brief:
            print_out(found.text())
        worked = True
    if worked:
        record = RunRecord(folder)
        table = folder / COMPARISON / "comparison.md"
        compared = table.read_text(encoding="utf-8") if table.is_file() else ""
        write_whole(folder / PAGE, page(recipe, steps, record, compared.replace("](", f"]({COMPARISON}/")))
    undone = [step.name for step in steps if step.name not in record.steps]
    if not undone:
        record.finish(recipe, _published(recipe, folder))
    left = f"{len(undone)} of {len(steps)} steps are left: {listed(undone[:3])}"
    return _end(folder, left if undone else "all is done", brief)


def _published(recipe: Recipe, folder: Path) -> Mapping[str, Any] | None:
    """Publish what the chain has made, if its recipe asks for it; the last commits."""
    wanted = recipe.head.publish
    if wanted is None:
        return None
    try:
        done = publish_run(folder, wanted)
    except UserError as error:
        raise UserError(
            f"All steps are done, but publishing failed. {error} Give the same command again: it publishes what is "
            f"left."
        ) from error
    for one in done:
        print_out(one.text())
        _log(folder, one.text())
    return commits(done)


def _end(folder: Path, words: str, brief: bool) -> int:
    if not brief:
        print_out(f"{words}; report: {folder / PAGE}")
    _log(folder, words)
    return 0


def comparison_signature(evaluated: Sequence[ChainStep], record: RunRecord) -> str:
    """The signature of the comparison."""
    return "-".join(["1", *(str(record.steps[step.name]["signature"])[:8] for step in evaluated)])


def _compare(record: RunRecord, steps: Sequence[ChainStep], signature: str) -> "Comparisons":
    """Compare all evaluations of a run, and write the table with its plot to `comparison`."""
    from palign_hf.evaluation.compare import compare_seeds
    from palign_hf.evaluation.grade import read_samples

    files: dict[str, list[Path]] = {}
    for step in steps:
        files.setdefault(_model_of(step), []).append(record.folder / step.folder)
    found = compare_seeds({name: [read_samples(str(one)) for one in of] for name, of in files.items()}, files)
    found.write(record.folder / COMPARISON, overwrite=True)
    record.held["steps"]["compare"] = {
        "stage": "compare",
        "signature": signature,
        "folder": COMPARISON,
        "files": files_of(record.folder / COMPARISON),
        "ended": now(),
        "seconds": 0.0,
    }
    record.write()
    return found


def _model_of(step: ChainStep) -> str:
    """What a student is called in the comparison: its arm, with the student's name if there are several."""
    parts = [part for part in step.name.split("/") if not part.startswith("seed-")]
    return (
        "/".join(BEFORE if part == f"evaluate-{BEFORE}" else part for part in parts if part != "evaluate") or "after"
    )


def _log(folder: Path, line: str) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(f"{now()} {line}\n")


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Refuse a second run in the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        with suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"`{folder}` is in use by another `palign run`. Wait for it, or give another folder."
                ) from None
        yield folder
