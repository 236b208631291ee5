"""A pool of grader processes with a time limit per answer.

Answers that `quick` decides stay in this process; the first other one starts a worker. A worker is a new interpreter
and no fork, which is safe beside threads and CUDA and needs no `__main__` guard.
"""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any, cast

from palign_hf.errors import UserError, shown
from palign_hf.grading.extraction import last_boxed
from palign_hf.grading.graders import Grade, Grader, MathGrader, as_grade, as_text, version_of
from palign_hf.grading.registry import make_grader


# Importing sympy takes a second, and many on a machine under load.
_START_S = 120.0
# How often an idle worker checks that its pool still exists.
_CHECK_S = 5.0
# The kernel ends a worker this long after the time limit, in case that its pool no longer exists.
_GRACE_S = 1.0
# Address space that a worker may add to that of its imports. A tower of powers in sympy exceeds any machine's memory.
_MEMORY_BYTES = 4 << 30
_WORK = (
    "import sys; sys.path[:] = sys.argv[3:]; from palign_hf.grading.pool import work; work(*map(int, sys.argv[1:3]))"
)


class _LateError(Exception):
    """A pair exceeded the time limit."""


class _Worker:
    """A grader process, ready once the constructor returns."""

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
            raise UserError(f"The grader can't start in its worker process: {why}. Fix that, and start again.")

    def grade(self, output: str, gold: str, limit_s: float) -> Grade:
        """Grade a pair; raises `_LateError` after the limit, EOFError or OSError if the process died."""
        self._connection.send((output, gold))
        if not self._connection.poll(limit_s):
            raise _LateError
        return cast(Grade, self._connection.recv())

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


class GraderPool:
    """Runs a grader in worker processes, with a limit of time for each answer and of memory for each worker.

    An answer that exceeds a limit counts as wrong, with the reason in `Grade.error`. A pool is a `Grader` itself, is
    thread-safe, and ends its workers when it is closed or garbage-collected; further use starts new ones.

    Args:
        grader (`str`, `Mapping` or `Grader`, defaults to `"math"`): The grader, as `make_grader` takes it.
        workers (`int`, defaults to 2): The most processes.
        limit_s (`float`, defaults to 5.0): The most seconds per answer.
    """

    def __init__(
        self, grader: str | Mapping[str, Any] | Grader = "math", *, workers: int = 2, limit_s: float = 5.0
    ) -> None:
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise UserError(f"`workers={shown(workers)}` is no number of processes. `workers` must be at least 1.")
        if not isinstance(limit_s, int | float) or isinstance(limit_s, bool) or not 0 < limit_s < 1e6:
            raise UserError(f"`limit_s={shown(limit_s)}` is no time limit. Give the seconds per answer.")
        self.grader = make_grader(grader)
        self.name, self.version = self.grader.name, version_of(self.grader)
        self.workers, self.limit_s = workers, limit_s
        self._message = self._pickled()
        self._open()

    def _pickled(self) -> bytes:
        if type(self.grader).__module__ != "__main__":
            try:
                return pickle.dumps((self.grader, self.limit_s))
            except Exception:  # the user's class may raise anything; the error below reports it
                pass
        raise UserError(
            f"The grader `{self.name}` can't be sent to another process: its class is defined in a script or a "
            f"notebook, or it can't be pickled. Move it to a module, and give `module:name`."
        )

    def _open(self) -> None:
        self._home, self._turn = os.getpid(), Lock()
        # Last in, first out: a new worker starts only if all others are busy.
        self._places: LifoQueue[_Worker | None] = LifoQueue()
        for _ in range(self.workers):
            self._places.put(None)
        self._threads: ThreadPoolExecutor | None = None
        self._end = weakref.finalize(self, _end_all, self._places, self._home)

    def grade(self, output: str, gold: str) -> Grade:
        """Grade one output.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`: The verdict.
        """
        return self._quick(output, gold) or self._slow(output, gold)

    def grade_all(self, pairs: Iterable[tuple[str, str]]) -> list[Grade]:
        """Grade many outputs.

        Args:
            pairs (`Iterable[tuple[str, str]]`): Outputs and their gold answers.

        Returns:
            `list[Grade]`: The verdicts, in the order of the pairs.
        """
        pairs = list(pairs)
        grades = [self._quick(*pair) for pair in pairs]
        slow = [k for k, grade in enumerate(grades) if grade is None]
        if slow:
            outputs, golds = zip(*(pairs[k] for k in slow), strict=True)
            for k, grade in zip(slow, self._executor().map(self._slow, outputs, golds), strict=True):
                grades[k] = grade
        return [grade for grade in grades if grade is not None]

    async def grade_async(self, output: str, gold: str) -> Grade:
        """Grade one output without blocking the event loop.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`: The verdict.
        """
        if (grade := self._quick(output, gold)) is not None:
            return grade
        return await asyncio.get_running_loop().run_in_executor(self._executor(), self._slow, output, gold)

    def close(self) -> None:
        """Finish the answers in progress and end the workers."""
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

    def _quick(self, output: str, gold: str) -> Grade | None:
        """What `quick` of the grader decides; None if it has none, or only `grade` can decide."""
        quick: Callable[[str, str], Grade | bool | None] | None = getattr(self.grader, "quick", None)
        verdict = None if quick is None else quick(output, gold)
        return None if verdict is None else as_grade(verdict, self.name, output)

    def _executor(self) -> ThreadPoolExecutor:
        self._come_home()
        with self._turn:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="grading")
            return self._threads

    def _come_home(self) -> None:
        # A forked process has no threads of the pool, and must not use the pipes of its workers.
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
                    # The system may have killed the worker for another process, so the pair is tried once more.
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
    """End the idle workers; their places stay."""
    if home != os.getpid():
        return
    idle = []
    with contextlib.suppress(Empty):
        while True:
            idle.append(places.get_nowait())
    for worker in idle:
        if worker:
            worker.end()
        places.put(None)


def work(descriptor: int, parent: int) -> None:
    """Grade pairs from a pipe until the pool is gone. The entry point of a worker process.

    The first message is the grader with its time limit.

    Args:
        descriptor (`int`): The worker's end of the pipe.
        parent (`int`): The process ID of the pool.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool handles Ctrl-C
    pool = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        try:
            grader, limit_s = pool.recv()
            _prepare(grader)
        except (EOFError, OSError):
            raise
        except Exception as error:  # the user's code may raise anything
            pool.send(f"{type(error).__name__}: {error}")
            return
        pool.send(None)
        while True:
            while not pool.poll(_CHECK_S):
                if os.getppid() != parent:
                    return
            output, gold = pool.recv()
            # Without a handler the signal ends this process even inside one long multiplication.
            signal.setitimer(signal.ITIMER_REAL, limit_s + _GRACE_S)
            grade = _graded(grader, output, gold)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pool.send(grade)


def _prepare(grader: Grader) -> None:
    if isinstance(grader, MathGrader):
        grader.prepare()
    _limit_memory()


def _limit_memory() -> None:
    """Limit the address space of this process. The imports of a user's grader, such as torch, don't count."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _MEMORY_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _graded(grader: Grader, output: str, gold: str) -> Grade:
    try:
        return as_grade(grader.grade(output, gold), grader.name, output)
    except Exception as error:  # the user's code may raise anything
        return Grade(False, False, None, f"{type(error).__name__}: {error}".rstrip(": "))
