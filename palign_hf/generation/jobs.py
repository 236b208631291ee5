"""Concurrent jobs over one engine: a coroutine per row, no barrier between requests, results in order.

Jobs are drawn from the iterator only as the engine's cache has room for them, so memory stays flat. A row's coroutine
reports its own errors in its result; an exception ends the run after everything before it is delivered.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from palign_hf.errors import listed, nearest
from palign_hf.schema import SchemaError, Table, check_columns


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


# Halves of a surrogate pair, and what Unicode keeps free of characters for ever.
_NO_CHARACTER = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

# About a million tokens. Texts are cut and tokenized before their fit is known, at 250 bytes of memory a character: a
# single row of 56 million characters took 10 GB and five minutes.
MOST_CHARACTERS = 4_000_000

_UNFORMATTED = (
    "`{}` got its rows as `{}`: it reads plain Python values. Take the format of the dataset off: "
    "`dataset.with_format(None).map(transform, batched=True)`."
)


def columns_of(
    batch: Mapping[str, Any], table: Table, texts: Collection[str], transform: str, others: Collection[str] = ()
) -> dict[str, list[Any]]:
    """Return the columns of `table` in a batch, and those of `others` that exist; values of `texts` are text or null.

    `transform` is the transform's name, for messages.
    """
    if not isinstance(batch, Mapping):
        raise SchemaError(_UNFORMATTED.format(transform, type(batch).__name__))
    check_columns(list(batch), table)
    check_others(list(batch), others)
    if batch["id"] is None or isinstance(batch["id"], str | int):
        raise SchemaError(
            f"`{transform}` got a single row: its engine answers many problems at once. "
            f"Use `dataset.map(transform, batched=True, batch_size=1000)`."
        )
    columns: dict[str, list[Any]] = {name: batch[name] for name in (*table.columns, *others)}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise SchemaError(_UNFORMATTED.format(transform, type(values).__name__))
        for row, value in enumerate(values if name in texts else ()):
            if not isinstance(value, str) and (value is not None or name == "id"):
                raise SchemaError(
                    f"Row {row + 1} of the batch (id `{columns['id'][row]}`) has a `{name}` of type "
                    f"`{type(value).__name__}`: it must be text. Load the dataset through "
                    f"`palign_hf.load_traces`, or cast the column."
                )
    if twice := [name for name, count in Counter(columns["id"]).items() if count > 1]:
        raise SchemaError(
            f"Column `id` must be unique, but {len(twice)} ids are repeated: {listed(twice[:5])}. Give each row its "
            f"own, or let `load_traces` do it."
        )
    return columns


def check_others(present: Sequence[str], others: Iterable[str], setting: str = "carry") -> None:
    """Refuse named columns that don't exist."""
    for name in others:
        if name not in present:
            raise SchemaError(
                f"`{setting}={name}` is no column of the prefixes{nearest(name, present)}. They have "
                f"{listed(present)}: name one of these, or leave it out."
            )


def plain_rows(rows: "Dataset", size: int = 256) -> Iterator[dict[str, Any]]:
    """Yield rows as plain values, read `size` at a time."""
    for batch in plain_batches(rows, size):
        yield from rows_of(batch)


def plain_batches(rows: "Dataset", size: int = 256) -> Iterator[dict[str, list[Any]]]:
    """Yield columns as plain values, `size` rows at a time. Invalid UTF-8 is kept as surrogates, as in Python, so that
    an unreadable row affects only itself (`broken`).
    """
    for table in rows.with_format("arrow").iter(size):
        yield {name: _plain(table[name]) for name in table.column_names}


def broken(text: str) -> str | None:
    """Why a text can't be shown to a student; None for valid text."""
    if found := _NO_CHARACTER.search(text):
        return f"it holds U+{ord(found[0]):04X}, which is no character: it was broken before it came here"
    return None


def oversized(text: str) -> str | None:
    """Why a text is too long for any context; None otherwise."""
    if len(text) <= MOST_CHARACTERS:
        return None
    return f"has {len(text):,} characters, more than any context holds ({MOST_CHARACTERS:,} are read at most)"


def _plain(column: "pa.ChunkedArray") -> list[Any]:
    import pyarrow as pa

    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        values = [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw.to_pylist()]
    return values


def rows_of(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """The rows of plain columns."""
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def map_bars() -> list[Any]:
    """The progress bars that `map` currently shows on a terminal."""
    from datasets.utils import tqdm

    shown = getattr(tqdm, "_instances", ())
    return [bar for bar in shown if isinstance(bar, tqdm) and not bar.disable and bar.fp.isatty()]


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
