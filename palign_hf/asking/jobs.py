"""Many searches at once over one engine: a coroutine a problem, no barrier between levels, results in order.

Problems are drawn from the iterator only as the engine's cache has room for them, so memory stays flat however many
there are. A probe is looked up in the ledger, else asked, then committed, and only then told to its search. What goes
wrong with one row stays with that row; a lost engine or ledger ends the run, with everything before it kept.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from palign_hf.engines.base import RequestFailed
from palign_hf.truncation.criteria import UNPARSABLE, Probe
from palign_hf.truncation.search import Found, Search


class Problem(Protocol):
    """What the driver must know of a problem."""

    @property
    def key(self) -> bytes:
        """Names the problem in the ledger: the same content, the same key."""

    @property
    def tokens(self) -> Sequence[int]:
        """Tokens of the first k segments."""

    @property
    def reach(self) -> int:
        """The last cut that may be asked."""

    @property
    def weight(self) -> int:
        """Tokens of cache that its search is expected to hold."""


# How many outcomes may wait for a slow one before them; then nothing more is started.
_AHEAD = 1024

P = TypeVar("P", bound=Problem)
Ask = Callable[[P, int], Awaitable[Probe]]


class Memory(Protocol):
    """What the driver asks of a ledger."""

    def recall(self, problem: bytes) -> dict[int, Probe]:
        """What is known of a problem."""

    async def record(self, problem: bytes, probe: Probe) -> Probe:
        """Store a probe; what is stored comes back."""


@dataclass(slots=True)
class Outcome(Generic[P]):
    """How one search ended, and every probe it saw, asked now or recalled.

    Either `found`, or `error` in words, or neither where nothing fits the context.
    """

    problem: P
    found: Found | None = None
    error: str | None = None
    probes: list[Probe] = field(default_factory=list)
    asked: int = 0


class Admission:
    """A door that lets problems in while their number and their tokens fit; one always fits alone.

    The capacity is asked each time: an engine that starts with its first question tells it only then. Who has left
    still waits to be delivered, in order; the door stays shut while too many do.
    """

    def __init__(self, capacity: Callable[[], tuple[int, int]]) -> None:
        self._capacity = capacity
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
        if self._undelivered >= _AHEAD:
            return False
        if not self._inside:
            return True
        problems, tokens = self._capacity()
        return self._inside < problems and self._held + weight <= tokens

    def leave(self, weight: int) -> None:
        """Make room."""
        self._inside -= 1
        self._held -= weight
        self._undelivered += 1
        self._changed.set()

    def deliver(self) -> None:
        """One that has left is handed over."""
        self._undelivered -= 1
        self._changed.set()


async def search_all(
    problems: Iterable[P],
    search: Search,
    ask: Ask[P],
    ledger: Memory | None,
    capacity: Callable[[], tuple[int, int]],
    extra_cuts: Callable[[P], Iterable[int]] = lambda problem: (),
) -> AsyncGenerator[Outcome[P], None]:
    """Search every problem, outcomes in the order given; `extra_cuts` are asked after each search, as an audit."""
    door = Admission(capacity)
    started: asyncio.Queue[asyncio.Task[Outcome[P]] | None] = asyncio.Queue()
    running: dict[bytes, asyncio.Task[Outcome[P]]] = {}
    live: set[asyncio.Task[Outcome[P]]] = set()

    async def one(problem: P, twin: "asyncio.Task[Outcome[P]] | None") -> Outcome[P]:
        try:
            if twin is not None:
                # The same content twice in a row of rows: the second finds the first one's answers in the ledger.
                await asyncio.wait([twin])
            return await _search_one(problem, search, ask, ledger, extra_cuts)
        finally:
            door.leave(problem.weight)
            if running.get(problem.key) is asyncio.current_task():
                del running[problem.key]

    async def start() -> None:
        for problem in problems:
            await door.enter(problem.weight)
            task = asyncio.create_task(one(problem, running.get(problem.key)))
            running[problem.key] = task
            live.add(task)
            started.put_nowait(task)
            # To draw a problem takes time (its tokens are counted): those that are in go on in between.
            await asyncio.sleep(0)

    starter = asyncio.create_task(start())
    starter.add_done_callback(lambda _: started.put_nowait(None))
    try:
        while (task := await started.get()) is not None:
            outcome = await task
            live.discard(task)
            door.deliver()
            yield outcome
        await starter  # raises what the iterator of problems raised
    finally:
        for left in (starter, *live):
            left.cancel()
        await asyncio.gather(starter, *live, return_exceptions=True)


async def _search_one(
    problem: P, search: Search, ask: Ask[P], ledger: Memory | None, extra_cuts: Callable[[P], Iterable[int]]
) -> Outcome[P]:
    outcome = Outcome(problem)
    if problem.reach < 0:
        return outcome
    known = ledger.recall(problem.key) if ledger is not None else {}
    walk = search.start(problem.tokens, problem.reach)
    while (cut := walk.next()) is not None:
        margin = await _answer(outcome, cut, known, ask, ledger)
        if margin is None:
            return outcome
        walk.tell(cut, margin)
    outcome.found = walk.result()
    if search.judged:
        seen = {probe.segments for probe in outcome.probes}
        for cut in dict.fromkeys(extra_cuts(problem)):
            if cut not in seen and await _answer(outcome, cut, known, ask, ledger) is None:
                # The search itself ended well: a failed audit is no error of the row.
                outcome.error = None
                break
    return outcome


async def _answer(
    outcome: Outcome[P], cut: int, known: dict[int, Probe], ask: Ask[P], ledger: Memory | None
) -> float | None:
    """A margin from the ledger or the engine; None, with the reason in `outcome.error`, if there is no verdict."""
    probe = known.get(cut)
    if probe is None:
        try:
            fresh = await ask(outcome.problem, cut)
        except RequestFailed as error:
            outcome.error = f"no answer at {cut} segments: {error}"
            return None
        if fresh.margin is not None and math.isnan(fresh.margin):
            # Not stored: SQLite knows no such number, and a NULL would be read back as another kind of answer.
            outcome.error = f"the margin at {cut} segments is not a number (both labels impossible, or an overflow)"
            return None
        probe = await ledger.record(outcome.problem.key, fresh) if ledger is not None else fresh
        outcome.asked += 1
    outcome.probes.append(probe)
    if probe.verdict == UNPARSABLE or probe.margin is None:
        outcome.error = f"no verdict in the judge's text at {cut} segments"
        return None
    return probe.margin
