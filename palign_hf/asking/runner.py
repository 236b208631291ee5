"""One student at work: an engine, a ledger, and the thread whose event loop they live on.

vLLM wants one event loop for its whole life, and a notebook's own loop must not be blocked, so the loop has a thread
of its own and batches are handed over to it. Engine and ledger open with the first problem that needs them.
"""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from palign_hf import segmentation
from palign_hf.asking.jobs import Outcome, search_all
from palign_hf.asking.store import Ledger
from palign_hf.asking.texts import TextTokenizer
from palign_hf.engines.choose import make_engine
from palign_hf.engines.tended import TendedEngine
from palign_hf.students import load_tokenizer, student_context
from palign_hf.truncation.criteria import Case, Judge, Probe
from palign_hf.truncation.settings import Recipe, Runtime
from palign_hf.truncation.usage import Usage


T = TypeVar("T")

# Share of a trace that a search is expected to show, for admission: what it really shows is rarely more.
_EXPECTED_SHARE = 0.6
# How long an interrupt waits for the work to let go.
_CLEANUP_S = 5.0
# An audit asks so many evenly spaced cuts of a chosen problem, both ends included.
_AUDIT_CUTS = 16


@dataclass(slots=True)
class Work:
    """One row on its way through the driver; see `driver.Problem`."""

    row: int
    key: bytes
    case: Case
    audited: bool

    @property
    def tokens(self) -> Sequence[int]:
        """Tokens of the first k segments."""
        return self.case.tokens

    @property
    def reach(self) -> int:
        """The last cut that fits the context."""
        return self.case.reach

    @property
    def weight(self) -> int:
        """Tokens of cache that the search is expected to hold."""
        return self.case.head_tokens + int(_EXPECTED_SHARE * self.case.tokens[-1]) + self.case.suffix_tokens


@dataclass(frozen=True, slots=True)
class TraceRow:
    """What a row brings: its number in the batch, and the texts."""

    row: int
    question: str
    trace: str


class Session:
    """Runs batches of rows; close it to give back memory and processes."""

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.recipe, self.runtime = recipe, runtime
        self.tokenizer = load_tokenizer(recipe.student, runtime.trust_remote_code)
        self.context = recipe.context or student_context(recipe.student, runtime.trust_remote_code)
        self.judge: Judge | None = None
        self.ledger: Ledger | None = None
        self._engine: TendedEngine | None = None
        self._texts: TextTokenizer | None = None
        if not recipe.search.judged:
            self._texts = TextTokenizer(self.tokenizer, recipe.student.name)
        else:
            self.judge = recipe.criterion.bind(self.tokenizer, recipe.student.name, self.context)
            self.ledger = Ledger(
                runtime.ledger_folder / f"{recipe.judge_fingerprint}.sqlite",
                recipe.judge_fingerprint,
                recipe.describe_judge() | {"student_name": recipe.student.name},
            )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="palign-truncation", daemon=True)
        self._thread.start()

    def run(
        self, rows: Iterable[TraceRow], usage: Usage, seen: Callable[[], None] = lambda: None
    ) -> list[Outcome[Work]]:
        """Search all rows, outcomes in order; `usage` is added to and `seen` called as they come."""
        return self._wait(self._run(rows, usage, seen))

    def close(self) -> None:
        """End the engine and its processes, the ledger and the loop; safe to call twice."""
        if self._loop.is_closed():
            return
        try:
            if self._engine is not None:
                self._wait(self._engine.close())
        finally:
            asyncio.run_coroutine_threadsafe(_let_go(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            if self.ledger is not None:
                self.ledger.close()

    async def _run(self, rows: Iterable[TraceRow], usage: Usage, seen: Callable[[], None]) -> list[Outcome[Work]]:
        done = []
        searches = search_all(
            self._open(rows), self.recipe.search, self._ask, self.ledger, self._capacity, _audit_cuts
        )
        async with contextlib.aclosing(searches):
            async for outcome in searches:
                usage.add(outcome.probes, outcome.asked, _floor(outcome))
                # The tokens of a finished problem are of no more use; a batch of them is hundreds of megabytes.
                outcome.problem.case.prompt = None
                done.append(outcome)
                seen()
        return done

    def _open(self, rows: Iterable[TraceRow]) -> Iterator[Work]:
        for row in rows:
            ends = [0, *segmentation.cuts(row.trace, self.recipe.granularity)]  # type: ignore[arg-type]
            key = problem_key(row.question, row.trace)
            name = key.hex()
            if self.judge is not None:
                case = self.judge.open(name, row.question, row.trace, ends)
            else:
                assert self._texts is not None
                case = plain_case(self._texts, name, row.trace, ends)
            yield Work(row.row, key, case, audited=_drawn(key, self.recipe.audit))

    async def _ask(self, work: Work, segments: int) -> Probe:
        assert self.judge is not None
        return await self.judge.ask(self._tended, work.case, segments)

    @property
    def _tended(self) -> TendedEngine:
        if self._engine is None:
            engine = make_engine(
                self.runtime.engine,
                self.recipe.student.where,
                revision=self.recipe.student.commit,
                context=self.context,
                trust_remote_code=self.runtime.trust_remote_code,
                options=self.runtime.engine_options,
            )
            self._engine = TendedEngine(engine)
        return self._engine

    def _capacity(self) -> tuple[int, int]:
        if not self.recipe.search.judged:
            return 1, 2**62
        problems, tokens = self._tended.capacity
        return min(problems, self.runtime.in_flight or problems), tokens

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop's thread; an interrupt cancels the work there and waits until it has let go."""
        over = threading.Event()

        async def whole() -> T:
            try:
                return await work
            finally:
                over.set()

        future = asyncio.run_coroutine_threadsafe(whole(), self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                # The cancelled work still cleans up; an exit must not hang on it.
                over.wait(_CLEANUP_S)
            raise


async def _let_go() -> None:
    """End what an interrupt could not wait for, so that no work is pending when the loop is closed."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CLEANUP_S)


def plain_case(texts: TextTokenizer, name: str, trace: str, ends: Sequence[int]) -> Case:
    """A problem for searches that ask no judge: only its tokens are counted."""
    tokens = texts.count_before(trace, ends)
    return Case(name, ends, tokens, len(ends) - 1, shortest=0, head_tokens=0, suffix_tokens=0, prompt=None)


def _floor(outcome: Outcome[Work]) -> int:
    """The tokens that no search can save: head, shortest sufficient prefix (or all that fits), and one question."""
    if outcome.found is None or not outcome.probes:
        return 0
    case = outcome.problem.case
    shown = outcome.found.segments if outcome.found.sufficient else max(case.reach, 0)
    return case.head_tokens + case.tokens[shown] + case.suffix_tokens


def _audit_cuts(work: Work) -> list[int]:
    if not work.audited:
        return []
    steps = min(_AUDIT_CUTS - 1, work.reach)
    return sorted({round(step * work.reach / steps) for step in range(steps + 1)}) if steps > 0 else [0]


def _drawn(key: bytes, share: float) -> bool:
    """Whether a problem is audited: by its content, so that the choice depends on nothing else."""
    return int.from_bytes(hashlib.sha256(b"audit" + key).digest()[:8], "big") < share * 2**64


def problem_key(question: str, trace: str) -> bytes:
    """The ledger's name for a problem: the same texts, the same answers."""
    parts = (part.encode("utf-8", "surrogatepass") for part in (question, trace))
    return hashlib.blake2b(b"".join(len(part).to_bytes(8, "big") + part for part in parts), digest_size=16).digest()
