"""Concurrent jobs over one engine: a coroutine per row, no barrier between requests, results in order.

Jobs are drawn from the iterator only as the engine's cache has room for them, so memory stays flat. A row's coroutine
reports its own errors in its result; an exception ends the run after everything before it is delivered.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar


class Job(Protocol):
    """What admission needs to know of a row."""

    @property
    def key(self) -> bytes:
        """Key of its content: of two with the same key, the second waits for the first one's answers."""

    @property
    def weight(self) -> int:
        """Tokens of KV cache that it is expected to hold: its prompts and completions."""


J = TypeVar("J", bound=Job)
R = TypeVar("R")

# Results that may wait for a slow one before them; then no further job starts. Answer times have heavy tails, and an
# idle engine costs more than this memory: `benchmarks/stream.py` has seen 780 wait at 64 rows at once.
_AHEAD = 4096


class Admission:
    """Limits in-flight jobs by count and tokens; a single job is always admitted.

    The capacity is read each time: an engine that starts at its first request has it only then. Finished jobs that
    wait for delivery count too: no job starts while too many of them wait.
    """

    def __init__(self, capacity: Callable[[], tuple[int, int]], ahead: int = _AHEAD) -> None:
        self._capacity, self._ahead = capacity, ahead
        self._inside = self._held = self._undelivered = 0
        self._changed = asyncio.Event()

    async def enter(self, weight: int) -> None:
        """Wait for room."""
        while not self._fits(weight):
            self._changed.clear()
            await self._changed.wait()
        self._inside += 1
        self._held += weight

    def _fits(self, weight: int) -> bool:
        if self._undelivered >= self._ahead:
            return False
        if not self._inside:
            return True
        jobs, tokens = self._capacity()
        return self._inside < jobs and self._held + weight <= tokens

    def leave(self, weight: int) -> None:
        """Make room."""
        self._inside -= 1
        self._held -= weight
        self._undelivered += 1
        self._changed.set()

    def deliver(self) -> None:
        """Count one finished job as delivered."""
        self._undelivered -= 1
        self._changed.set()


async def in_order(
    jobs: Iterable[J],
    work: Callable[[J], Awaitable[R]],
    capacity: Callable[[], tuple[int, int]],
    ahead: int = _AHEAD,
) -> AsyncGenerator[R, None]:
    """Run all jobs and yield results in the order of the jobs; `capacity` is (jobs, tokens) in flight at once."""
    door = Admission(capacity, ahead)
    started: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    running: dict[bytes, asyncio.Task[R]] = {}
    live: set[asyncio.Task[R]] = set()

    async def one(job: J, weight: int, twin: "asyncio.Task[R] | None") -> R:
        try:
            if twin is not None:
                # The same content twice in a row of rows: the second finds the first one's answers in the store.
                await asyncio.wait([twin])
            return await work(job)
        finally:
            door.leave(weight)
            if running.get(job.key) is asyncio.current_task():
                del running[job.key]

    async def start() -> None:
        for job in jobs:
            weight = job.weight  # the expectation may change later
            await door.enter(weight)
            task = asyncio.create_task(one(job, weight, running.get(job.key)))
            running[job.key] = task
            live.add(task)
            started.put_nowait(task)
            # Drawing a job takes time (its tokens are counted): let running jobs continue in between.
            await asyncio.sleep(0)

    starter = asyncio.create_task(start())
    starter.add_done_callback(lambda _: started.put_nowait(None))
    try:
        while (task := await started.get()) is not None:
            result = await task
            live.discard(task)
            door.deliver()
            yield result
        await starter  # raises what the iterator of jobs raised
    finally:
        for left in (starter, *live):
            left.cancel()
        await asyncio.gather(starter, *live, return_exceptions=True)


class ExpectedOutput:
    """Expected tokens of a completion, for the weight of a job: the mean of the completions so far.

    Before the first ones, a quarter of the limit: most students stop long before it, and an engine that admits too few
    at first only starts a little slower.
    """

    def __init__(self, max_tokens: int) -> None:
        self._first = max(1, max_tokens // 4)
        self._seen = self._tokens = 0

    def saw(self, tokens: int) -> None:
        """Record a completion of `tokens` tokens."""
        self._seen += 1
        self._tokens += tokens

    @property
    def tokens(self) -> int:
        """The expectation, at least 1."""
        return max(1, self._tokens // self._seen) if self._seen else self._first
