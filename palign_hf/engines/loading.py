"""Loading of an engine: in a thread that may be given up, from guarded scripts, with a sensible number of threads.

torch counts the cores of the machine; a container or a batch job may use fewer, and two threads on one core slow each
other down.
"""

import ast
import asyncio
import math
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

from palign_hf.engines.supervised import OrphanWatch


T = TypeVar("T")


class GivenUp(Exception):
    """The load was abandoned."""


class Loading:
    """State of a load: whether it was abandoned, and its processes."""

    def __init__(self) -> None:
        self.watch = OrphanWatch()
        self._given_up = threading.Event()

    def check(self) -> None:
        """Raise `GivenUp` if the load was abandoned."""
        if self._given_up.is_set():
            raise GivenUp

    def give_up(self) -> None:
        """Kill the started processes, and those that start before the load notices."""
        self._given_up.set()
        self.watch.kill()


async def load(work: Callable[[Loading], T]) -> tuple[T, OrphanWatch]:
    """Return the result of `work` and the watch over its processes; after an error or a cancellation all of them are
    killed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loading = Loading()
    # In a list, to be taken out of it: some library keeps an old error, with it this thread's frames, and with them
    # whatever they hold, to the end of the process.
    made: list[T] = []

    def resolve(error: BaseException | None) -> None:
        if done.cancelled():
            # Given up in the moment between the end of the load and this.
            undo()
        elif error is not None:
            done.set_exception(error)
        else:
            done.set_result(None)

    def undo() -> None:
        loading.watch.clear()
        made.clear()

    def run() -> None:
        error = None
        before = set(multiprocessing.active_children())
        try:
            made.append(work(loading))
            loading.check()
            loading.watch.settle(child.pid for child in set(multiprocessing.active_children()) - before)
        except BaseException as caught:
            error = caught
            undo()
        try:
            loop.call_soon_threadsafe(resolve, error)
        except RuntimeError:  # the loop was closed meanwhile, with all that waited on it
            undo()

    threading.Thread(target=run, name="palign-load", daemon=True).start()
    try:
        await done
    except asyncio.CancelledError:
        loading.give_up()
        if done.done() and not done.cancelled():
            undo()
        raise
    return made.pop(), loading.watch


def unguarded_script() -> str | None:
    """The file of a script that is running a top-level line outside a guard; None otherwise."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if main is None or path is None:
        return None  # a notebook, `python -c`, an interactive session: nothing is read again
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            return None if _guarded(path, frame.f_lineno) else str(path)
        frame = frame.f_back
    return None


def _guarded(path: str, line: int) -> bool:
    """Whether the top-level statement at this line runs only where the file is the program."""
    try:
        with open(path, encoding="utf-8") as file:
            statements = ast.parse(file.read()).body
    except (OSError, ValueError, SyntaxError):
        return True  # compiled or packed: unknown, so it is not refused
    for statement in statements:
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
    return True


def sensible_threads(root: Path = Path("/")) -> int:
    """The physical cores that this process may use, by its affinity and the quota of its cgroup."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_siblings(root, cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota(root)))


def _siblings(root: Path, cpu: int) -> str:
    """The CPUs that share a core with this one; only itself where the system doesn't report it."""
    try:
        return (root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota(root: Path) -> int:
    """The CPUs that the cgroup's quota grants, at least one; unlimited without a quota."""
    try:
        allowed, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            folder = root / "sys/fs/cgroup/cpu"
            allowed, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return 2**31
    if allowed in ("max", "-1"):
        return 2**31
    return max(1, math.floor(int(allowed) / int(period)))
