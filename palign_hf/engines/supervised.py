"""Supervised engine: starts at the first request, and restarts once when it dies; the second death ends the run.

A crash in a long run is usually an accident (memory, a driver), and all answers are kept. An engine that dies again is
not restarted: the run stops with instructions to resume.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from threading import Lock
from typing import Any, TypeVar

from palign_hf.engines.base import (
    Engine,
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    Generation,
    Sampling,
    Score,
)
from palign_hf.errors import UserError


T = TypeVar("T")

_MARK = "PALIGN_ENGINE_MARK"
# Seconds between scans while an engine loads: a process that sets its title erases the marker.
_LOOK_S = 0.1
# Seconds that the watch continues after the end, for processes that were just being started.
_LINGER_S = 3.0
# Seconds to wait for the watch to end on a slow machine.
_OVER_S = 15.0

# Python without site-packages, which starts within milliseconds.
_WATCH = """
import os, select, signal, sys, time
mark, look, linger = sys.argv[1].encode(), float(sys.argv[2]), float(sys.argv[3])
known = {}

def processes():
    # pid -> (parent, when it began, in ticks)
    found = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                if fields[0] != b"Z":
                    found[int(name)] = int(fields[1]), int(fields[19])
            except OSError:
                pass
    return found

def marked(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read()
    except OSError:
        return False

def find():
    running = processes()
    me = running.pop(os.getpid(), (0, 0))[1]
    for pid, began in list(known.items()):
        if running:
            # Gone, or its number is another's by now.
            if pid not in running or began not in (None, running[pid][1]):
                del known[pid]
            else:
                known[pid] = running[pid][1]
    # What is older than this watch is not what it watches for.
    fresh = [pid for pid, (_, began) in running.items() if began >= me and pid not in known and marked(pid)]
    while fresh:
        known.update((pid, running[pid][1]) for pid in fresh)
        fresh = [pid for pid, (parent, _) in running.items() if parent in known and pid not in known]

def kill():
    for pid in known:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

looking, killing, rest, until = True, False, b"", None
while until is None or time.monotonic() < until:
    if until is not None:
        time.sleep(look)
    elif select.select([0], [], [], look if looking else None)[0]:
        data = os.read(0, 65536)
        *lines, rest = (rest + data).split(b"\\n")
        for line in lines:
            word, *pids = line.split()
            known.update((int(pid), None) for pid in pids if int(pid) not in known)
            # Who has given up and who has loaded may speak at once, and the first is right.
            killing = looking = killing or word == b"kill"
        if not data:
            killing, until = True, time.monotonic() + linger
    find()
    if killing:
        kill()
        if until is not None and not known:
            # Only what was being started in the last moment can still come.
            until = min(until, time.monotonic() + 5 * look)
"""


class OrphanWatch:
    """Kills an engine's processes when this process is gone, or on command."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._turn = Lock()
        # In a session of its own: what is sent to this one's group must not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, f"{_MARK}={self._mark}", str(_LOOK_S), str(_LINGER_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @contextlib.contextmanager
    def marking(self) -> Iterator[None]:
        """Mark processes that start within this block, and their children, as the engine's."""
        before = os.environ.get(_MARK)
        os.environ[_MARK] = self._mark
        try:
            yield
        finally:
            if before is None:
                del os.environ[_MARK]
            else:
                os.environ[_MARK] = before

    def settle(self, pids: Iterable[int | None]) -> None:
        """Stop scanning after all processes have started, `pids` among them."""
        self._say("settled", *(str(pid) for pid in pids if pid is not None))

    def kill(self) -> None:
        """Kill all of the engine's processes, and any that still start."""
        self._say("kill")

    def clear(self) -> None:
        """Kill all of the engine's processes and end the watch."""
        self._over(kill=False)

    def end(self) -> None:
        """End the watch without killing anything."""
        self._over(kill=True)

    def _over(self, kill: bool) -> None:
        with self._turn:
            if kill:
                self._process.kill()
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(_OVER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _say(self, *words: str) -> None:
        # Another waiter for the engine may have ended it.
        with self._turn, contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(" ".join(words).encode() + b"\n")
            self._process.stdin.flush()


@contextlib.contextmanager
def watched(start: Callable[[], T]) -> Iterator[T]:
    """Yield what `start` makes, such as a `vllm.LLM`; the processes that it started end with this block, or with this
    process, however that ends.
    """
    watch = OrphanWatch()
    try:
        before = set(multiprocessing.active_children())
        with watch.marking():
            made = start()
        watch.settle(child.pid for child in set(multiprocessing.active_children()) - before)
        yield made
    finally:
        watch.clear()


logger = logging.getLogger(__name__)

# Before its first request an engine has no known capacity: one problem starts, and its request starts the engine.
NOT_STARTED = (1, 2**62)


class EngineLost(UserError):
    """The engine died more often than allowed; all answers before are kept."""


class TendedEngine:
    """Forwards requests; the first request starts the engine, and the first to see it die restarts it.

    A run whose answers are all in the ledger makes no request, and so loads no student.
    """

    def __init__(self, engine: Engine, restarts: int = 1, starting: Callable[[], None] = lambda: None) -> None:
        """`starting` is called before each start, which takes long."""
        self._engine = engine
        self._starting = starting
        self._left = restarts
        self._life = 0
        self._started = False
        self._capacity = NOT_STARTED
        self._identity: EngineIdentity | None = None
        self._turn = asyncio.Lock()
        self.name = engine.name

    @property
    def capacity(self) -> tuple[int, int]:
        """Capacity of the inner engine when it last started; one problem until then."""
        return self._capacity

    @property
    def identity(self) -> EngineIdentity:
        """Identity of the inner engine when it last started."""
        if self._identity is None:
            raise EngineDied(f"the {self.name} engine has not started, so it can't say what it is")
        return self._identity

    @property
    def answered_by(self) -> EngineIdentity | None:
        """The same, or None before the first request."""
        return self._identity

    @property
    def started(self) -> bool:
        """Whether the inner engine runs."""
        return self._started

    async def start(self) -> None:
        """Start the inner engine, unless it runs."""
        async with self._turn:
            if not self._started:
                await self._begin()

    async def close(self) -> None:
        """Close the inner engine; a later request starts it again."""
        async with self._turn:
            self._started, self._capacity = False, NOT_STARTED
            await self._engine.close()

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """Forward to the inner engine, with a restart if needed."""
        return await self._ask(lambda: self._engine.score(prompt_ids, label_ids, problem))

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        """Forward to the inner engine, with a restart if needed."""
        return await self._ask(lambda: self._engine.generate(prompt_ids, sampling, problem))

    async def _ask(self, request: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            if not self._started:
                await self.start()
            life = self._life
            try:
                return await request()
            except EngineDied as error:
                await self._restart(life, error)

    async def _restart(self, life: int, error: EngineDied) -> None:
        async with self._turn:
            if life != self._life:
                return
            if not self._started:
                # Closed during the request: the answer isn't needed any more, so no engine may restart for it.
                raise error
            if not self._left:
                raise EngineLost(
                    f"The {self.name} engine died again ({error}), so the run stops here. Every answer is "
                    f"kept: run the same command again to resume."
                ) from error
            self._left -= 1
            logger.warning("The %s engine died (%s): starting it again, once.", self.name, error)
            await self._engine.close()
            try:
                await self._begin()
            except (EngineUnavailable, EngineDied) as failure:
                raise EngineLost(
                    f"The {self.name} engine died ({error}) and can't be started again: {failure} Every answer is "
                    f"kept: fix the cause and run the same command again to resume."
                ) from failure

    async def _begin(self) -> None:
        self._starting()
        await self._engine.start()
        self._life += 1
        # Remembered, because an engine that is dead or starting can't be asked for it.
        self._started, self._capacity, self._identity = True, self._engine.capacity, self._engine.identity
