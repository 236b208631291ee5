"""Runs a stage in this process (`palign STAGE`), or as one of several processes under `accelerate launch`.

A stage declares its settings and how one process does its shard; the launcher decides on the GPU, shares what all
processes must know alike, and ends a run with a status and one line instead of a traceback. Processes that work
`together` on one thing, as training does, form their own group; the first one reports what has ended them.
Exit status: 0 done, 1 some rows failed, 2 wrong input or a machine that refuses, 130 Ctrl-C, 143 SIGTERM,
129 SIGHUP.
"""

import argparse
import contextlib
import errno
import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, TypeVar

from palign_hf.config import Parser, add_options, read_options
from palign_hf.config.options import as_typed
from palign_hf.config.resolve import uncalled
from palign_hf.errors import UserError
from palign_hf.runs.forecast import NAMES, Forecast
from palign_hf.runs.shards import Shard
from palign_hf.runs.signals import Terminated, destroyable, end_with_parent, grouped, leave, terminable
from palign_hf.schema import Table
from palign_hf.terminal import prepare, print_err, print_out, quiet_bars, settle


C = TypeVar("C")

# Errors of the machine that are reported in one line, too.
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR)
# So long a process leaves the word to the first one.
_FIRST_S = 10.0
_MOMENT_S = 0.5
GO_ON = "What was answered is kept: run the same command again to go on."
ANEW = "Nothing was written: run the same command again."


@dataclass(frozen=True)
class Ending:
    """The last words of a run, and how many of its rows failed."""

    words: str
    failed: int


class Run(Protocol):
    """One process's part of a run: made from settings, with everything checked that needs no engine."""

    def agree(self) -> Any:
        """What all processes must know alike, found out by the first of them; plain data."""

    def work(self, shard: Shard, agreed: Any) -> None:
        """Do the rows of a shard, and write them."""

    def finish(self, count: int) -> Ending:
        """Join what `count` processes have written; done by the first."""

    def __enter__(self) -> "Run": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Stage(Protocol[C]):
    """A stage: its command, settings, tables and run.

    `name` is the command, `help` its line in `palign --help`, `settings` the dataclass of its recipe, `reads` and
    `writes` the tables that it takes and makes. With `together` true all processes share one piece of work, and
    opening it makes them a group. A stage may have an `artifact`, which describes its result on the Hub, and a method
    `forecast_after(settings, before)`: the most that a run takes, by the forecast of the stage that it reads from.
    """

    name: str
    help: str
    settings: type[C]
    reads: Table | None
    writes: Table | None
    together: bool

    def open(self, settings: C, shown: bool = True) -> Run:
        """Check everything, and get ready; of several processes only the first is to be `shown`."""

    def ready(self, settings: C) -> None:
        """Refuse what would fail only after the run; asked once, before any work."""

    def forecast(self, settings: C) -> Forecast:
        """What a run would do and cost: for `--dry-run`."""

    def follow(self, settings: C, ending: Ending) -> str | None:
        """Do what follows a run, after its last process; the line to print about it."""


def add_stage_options(parser: Any, stage: Stage[Any]) -> None:
    """The options of a stage's command: one for each setting, `--dry-run` and `--device`."""
    add_options(parser, stage.settings)
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and what it costs, and stop")
    parser.add_argument(
        "--device",
        choices=NAMES,
        help="with --dry-run: hours and GB on this device, estimated; `this` measures this machine for some seconds",
    )


def run_command(stage: Stage[Any], options: argparse.Namespace) -> int:
    """Run `palign STAGE` with its options: the run in this process, or its forecast."""
    with _looking(options):
        _check_device(options)
        settings = read_options(options, stage.settings)
        return forecast_here(stage, settings, options.device) if options.dry_run else run_here(stage, settings)


def _check_device(options: Any) -> None:
    if options.device is not None and not options.dry_run:
        raise UserError(
            f"`--device {options.device}` is for a forecast and starts no run. Give `--dry-run` with it, or leave it "
            f"out."
        )


def _looking(options: Any) -> AbstractContextManager[None]:
    """For `--dry-run`, which calls nothing that a recipe names by `module:name`."""
    return uncalled() if options.dry_run else contextlib.nullcontext()


def run_here(stage: Stage[C], settings: C) -> int:
    """The whole run in this process."""
    stage.ready(settings)
    with stage.open(settings) as run:
        run.work(Shard(), run.agree())
        ending = run.finish(1)
    print_out(ending.words)
    return _followed(stage, settings, ending)


def forecast_here(stage: Stage[C], settings: C, device: str | None = None) -> int:
    """Print what a run would do, in its place, and what it would cost on a device."""
    stage.ready(settings)
    forecast = stage.forecast(settings)
    print_out(str(forecast) if device is None else forecast.text(device))
    return 0


def launch(stage: Stage[Any], argv: Sequence[str] | None = None) -> int:
    """Run one process of `accelerate launch`.

    Each process does its shard; the first one writes the report and prints the result.

    Args:
        stage (`Stage`): The stage to run.
        argv (`Sequence[str]`, *optional*): The options; by default those of this process.

    Returns:
        `int`: The exit status.
    """
    if not stage.together:
        pin_gpu()
    end_with_parent()
    parser = Parser(description=stage.help)
    add_stage_options(parser, stage)
    with contextlib.nullcontext() if _rank() == 0 else contextlib.redirect_stderr(io.StringIO()):
        options = parser.parse_args(argv)
    try:
        status = ended(stage.name, lambda: _in_turn(stage, lambda: _launch(stage, options)), parser)
    except Exception:
        if not grouped():
            raise
        traceback.print_exc()
        status = 1
    if grouped():
        leave(status)
    return status


def _in_turn(stage: Stage[Any], body: Callable[[], int]) -> int:
    """Of processes that work together the first reports what has ended them, and the launcher ends the others.

    Another one that fails alone reports it after a while, with its rank.
    """
    if not stage.together or _rank() == 0:
        return body()
    try:
        return body()
    except KeyboardInterrupt:
        return 130
    except Terminated as ended_by:
        return ended_by.status
    except Exception as error:
        try:
            time.sleep(_FIRST_S)
        except Terminated as ended_by:
            return ended_by.status
        if isinstance(error, UserError):
            raise UserError(f"Process {_rank()}: {error}") from error
        raise


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _launch(stage: Stage[Any], options: Any) -> int:
    if options.dry_run:
        return run_command(stage, options) if _rank() == 0 else 0
    _check_device(options)
    settings = read_options(options, stage.settings)
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    if not stage.together:
        # On the CPU's backend: the GPU belongs to the engine. Shards end at different times, so the wait may be long.
        PartialState(cpu=True, timeout=timedelta(days=30))
    ending = None
    with stage.open(settings, shown=_rank() == 0) as run:
        state = PartialState()
        agreed: list[Any] = [None, None]
        if state.is_main_process:
            try:
                stage.ready(settings)
                agreed[0] = run.agree()
            except UserError as error:
                agreed[1] = error
        if state.num_processes > 1:
            # A refusal too: who waits for what never comes ends in a traceback of its own.
            broadcast_object_list(agreed, from_process=0)
        if agreed[1] is not None:
            if state.is_main_process:
                raise agreed[1]
            return 2
        run.work(Shard(state.process_index, state.num_processes), agreed[0])
        state.wait_for_everyone()
        if state.is_main_process:
            ending = run.finish(state.num_processes)
            print_out(ending.words)
    # The other processes needn't wait for what follows, nor would they as long as that may take.
    _part(PartialState())
    return 0 if ending is None else _followed(stage, settings, ending)


def _followed(stage: Stage[C], settings: C, ending: Ending) -> int:
    line = stage.follow(settings, ending)
    if line is not None:
        print_out(line)
    return 1 if ending.failed else 0


def _part(state: Any) -> None:
    """Let go of the group of processes, once all of them are here; it is destroyed where that can't hang."""
    state.wait_for_everyone()
    if not grouped():
        return
    # Threads of the backend may still be sending what the last exchange was of.
    time.sleep(_MOMENT_S)
    if destroyable():
        state.destroy_process_group()


def ended(
    name: str,
    body: Callable[[], int],
    parser: argparse.ArgumentParser,
    going_on: str | Callable[[], str] = GO_ON,
) -> int:
    """Run a command to its exit status; errors of the user or of the machine are reported in one line.

    Messages name the options of `parser` instead of settings. `going_on` is what remains of an interrupted command; it
    is a function where that depends on how far the command has come.
    """

    def left() -> str:
        return going_on if isinstance(going_on, str) else going_on()

    prepare()
    _one_bar()
    sys.excepthook = _masked_traceback
    try:
        parting = "and by force: something did not let go."
        with quiet_bars(), terminable(lambda sent: f"{name}: ended by {sent}, {parting} {left()}"):
            _check_place()
            return body()
    except UserError as error:
        return _said(name, as_typed(str(error), parser), 2)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return _said(name, f"{error}. Make room, or give the right to write there. {_left(error, left())}", 2)
    except BaseException as error:
        # Some libraries turn what interrupts their import into an error of their own.
        by = error if isinstance(error, SystemExit) else _behind(error)
        if isinstance(by, Terminated):
            return _said(name, f"ended by {by.signal.name}. {_left(by, left())}", by.status)
        if isinstance(by, KeyboardInterrupt):
            return _said(name, f"interrupted. {_left(by, left())}", 130)
        raise
    finally:
        settle()


def _behind(error: BaseException) -> BaseException:
    """What has ended the work: an error, or an interrupt that it was made of."""
    while (
        not isinstance(error, KeyboardInterrupt | Terminated)
        and (before := error.__cause__ or error.__context__) is not None
    ):
        error = before
    return error


def _check_place() -> None:
    """Refuse to start in a folder that was deleted: whatever asks where it is would fail, libraries included."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"The working folder can't be used: {error.strerror or error}. It was deleted or moved while this shell "
            f"was in it: `cd` to a folder that is there, and run the same command again."
        ) from error


def _left(error: BaseException, usual: str) -> str:
    """Where the run resumes, if its stage has noted it."""
    return " ".join(getattr(error, "__notes__", ())) or usual


def _one_bar() -> None:
    """Reading and writing tables is quick here: the one bar is that of the work itself, unless somebody wants more."""
    wanted = os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if wanted == "1" and (loaded := sys.modules.get("datasets")) is not None:
        loaded.disable_progress_bars()


def pin_gpu() -> None:
    """Give this process's engine the GPU of its local rank, before torch or vllm look at what there is."""
    local, count = os.environ.get("LOCAL_RANK"), int(os.environ.get("WORLD_SIZE", "1"))
    if local is None or count == 1:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":  # no GPU is wanted
        return
    devices = visible.split(",") if visible else None
    if devices and int(local) >= len(devices):
        sys.exit(f"Process {local} has no GPU left of CUDA_VISIBLE_DEVICES={visible}. Start one process a GPU.")
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(local)] if devices else local


def one_gpu(others: str) -> None:
    """Keep a process that no launcher has started to the first GPU, and say what takes them all."""
    import torch

    if "LOCAL_RANK" in os.environ or torch.cuda.device_count() < 2:
        return
    first = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]
    os.environ["CUDA_VISIBLE_DEVICES"] = first
    print_err(f"One process takes one GPU, here number {first}; {others}.")


def _masked_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a process as a fault of this program: the errors in it may repeat what a server was sent."""
    print_err("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))


def _said(name: str, line: str, status: int) -> int:
    print_err(f"{name}: {' '.join(line.split())}")
    return status
