"""Grading that can't stop a run: in processes that are ended when a pair takes too long, and replaced.

What a grader says at once (`quick`) never leaves this process; the rest goes to workers, which start when the first
such pair comes. A worker is a new interpreter, not a fork: that is safe beside threads and CUDA, and needs no guard
around the user's script.
"""

import asyncio
import contextlib
import os
import pickle
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any, cast

from palign_hf.errors import UserError, shown
from palign_hf.grading.base import Grade, Grader, as_text
from palign_hf.grading.boxes import last_boxed
from palign_hf.grading.choose import make_grader


# To import sympy takes a second, and on a machine under load many.
_START_S = 120.0
_WORK = (
    "import sys; sys.path[:] = sys.argv[3:]; from palign_hf.grading.worker import work; work(*map(int, sys.argv[1:3]))"
)


class _LateError(Exception):
    """A pair that took too long."""


class _Worker:
    """One process, ready to grade once it is made."""

    def __init__(self, message: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _WORK, str(theirs.fileno()), str(os.getpid()), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._connection = Connection(ours.detach())
        try:
            self._connection.send_bytes(message)
            why = self._connection.recv() if self._connection.poll(_START_S) else f"not ready in {_START_S:.0f} s"
        except (EOFError, OSError):
            why = "its process ended"
        except BaseException:
            self.end()
            raise
        if why is not None:
            self.end()
            raise UserError(f"The grader can't start in a process of its own: {why}. Mend that, and start again.")

    def grade(self, output: str, gold: str, limit_s: float) -> Grade:
        """The grade; `_LateError` after the limit, EOFError or OSError if the process died."""
        self._connection.send((output, gold))
        if not self._connection.poll(limit_s):
            raise _LateError
        return cast(Grade, self._connection.recv())

    def end(self) -> None:
        """Kill it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


class GraderPool:
    """A grader in `workers` processes: a pair that takes longer than `limit_s` is a wrong one, with that reason.

    It is a `Grader` itself, may be used from any thread, and ends its workers when it is closed, left, or forgotten;
    used again, it starts new ones.
    """

    def __init__(
        self, grader: str | Mapping[str, Any] | Grader = "math", *, workers: int = 2, limit_s: float = 5.0
    ) -> None:
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise UserError(f"`workers={shown(workers)}` grade nothing. Give a whole number from 1.")
        if not isinstance(limit_s, int | float) or isinstance(limit_s, bool) or not 0 < limit_s < 1e6:
            raise UserError(f"`limit_s={shown(limit_s)}` is no limit. Give the seconds that one pair may take.")
        self.grader = make_grader(grader)
        self.name, self.version = self.grader.name, self.grader.version
        self.workers, self.limit_s = workers, limit_s
        self._quick: Callable[[str, str], Grade | None] = getattr(self.grader, "quick", lambda output, gold: None)
        self._message = self._pickled()
        self._open()

    def _pickled(self) -> bytes:
        if type(self.grader).__module__ != "__main__":
            try:
                return pickle.dumps((self.grader, self.limit_s))
            except Exception:  # one's own class may fail with anything; it's told below
                pass
        raise UserError(
            f"The grader `{self.name}` can't be sent to another process: its class stands in a script or a notebook, "
            f"or it holds what can't be pickled. Put it into a module, and give `module:name`."
        )

    def _open(self) -> None:
        self._home, self._turn = os.getpid(), Lock()
        # The last one back is the first one out: no more start than there is work for.
        self._places: LifoQueue[_Worker | None] = LifoQueue()
        for _ in range(self.workers):
            self._places.put(None)
        self._threads: ThreadPoolExecutor | None = None
        self._end = weakref.finalize(self, _end_all, self._places, self._home)

    def grade(self, output: str, gold: str) -> Grade:
        """One grade, from any thread."""
        return self._quick(output, gold) or self._slow(output, gold)

    def grade_all(self, pairs: Iterable[tuple[str, str]]) -> list[Grade]:
        """The grades of pairs (output, gold), in their order."""
        pairs = list(pairs)
        grades = [self._quick(*pair) for pair in pairs]
        slow = [k for k, grade in enumerate(grades) if grade is None]
        if slow:
            outputs, golds = zip(*(pairs[k] for k in slow), strict=True)
            for k, grade in zip(slow, self._executor().map(self._slow, outputs, golds), strict=True):
                grades[k] = grade
        return [grade for grade in grades if grade is not None]

    async def grade_async(self, output: str, gold: str) -> Grade:
        """One grade, while others of the event loop go on."""
        if (grade := self._quick(output, gold)) is not None:
            return grade
        return await asyncio.get_running_loop().run_in_executor(self._executor(), self._slow, output, gold)

    def close(self) -> None:
        """End the workers; what is still being graded is finished first."""
        if self._home == os.getpid():
            with self._turn:
                threads, self._threads = self._threads, None
            if threads:
                threads.shutdown()
            _end_all(self._places, self._home)

    def __enter__(self) -> "GraderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.grader, self.workers, self.limit_s)

    def _executor(self) -> ThreadPoolExecutor:
        self._come_home()
        with self._turn:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="grading")
            return self._threads

    def _come_home(self) -> None:
        # A fork of the process has neither the threads of the pool nor the right to talk to its workers.
        if self._home != os.getpid():
            self._end.detach()
            self._open()

    def _slow(self, output: str, gold: str) -> Grade:
        self._come_home()
        worker = self._places.get()
        try:
            for _ in range(2):
                worker = worker or _Worker(self._message)
                started = time.monotonic()
                try:
                    return worker.grade(output, gold, self.limit_s)
                except _LateError:
                    worker.end()
                    worker = None
                    return Grade(False, False, _boxed(output), f"not graded within {self.limit_s:g} s")
                except (EOFError, OSError):
                    # It may have been killed for another's sake, so it gets a second chance.
                    worker.end()
                    worker = None
                except BaseException:
                    worker.end()
                    worker = None
                    raise
            took = time.monotonic() - started
            reason = f"the process that graded it died twice, the last time after {took:.1f} s"
            return Grade(False, False, _boxed(output), reason)
        finally:
            self._places.put(worker)


def _boxed(output: str) -> str | None:
    return last_boxed(as_text(output))


def _again(grader: Grader, workers: int, limit_s: float) -> GraderPool:
    return GraderPool(grader, workers=workers, limit_s=limit_s)


def _end_all(places: "LifoQueue[_Worker | None]", home: int) -> None:
    """End the workers that rest; their places stay."""
    if home != os.getpid():
        return
    resting = []
    with contextlib.suppress(Empty):
        while True:
            resting.append(places.get_nowait())
    for worker in resting:
        if worker:
            worker.end()
        places.put(None)
