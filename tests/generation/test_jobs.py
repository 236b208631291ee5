"""Jobs in order, searches over a fake engine first of all: admission, errors of one row and of all, nothing left."""

import asyncio
import gc
import math
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palign_hf.engines.base import RequestFailed
from palign_hf.engines.supervised import EngineLost
from palign_hf.generation import jobs
from palign_hf.generation.jobs import ExpectedOutput, in_order
from palign_hf.generation.ledger import StoreError
from palign_hf.generation.store import Store
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, UNPARSABLE, Case, Probe
from palign_hf.truncation.rows import PROBES, Searcher, TruncationRow
from palign_hf.truncation.search import Found, Search, make_search


ASCEND = make_search("ascend")
UNBOUNDED = 2**62


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Each run looks for tasks that got lost: not among everything that is imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@dataclass(frozen=True)
class Problem:
    """A problem that brings the judge's answers along: a margin, or an error, at each cut."""

    key: bytes
    margins: tuple[float | Exception | None, ...]
    weight: int = 1
    limit: int | None = None

    @property
    def tokens(self) -> list[int]:
        return [30 * cut for cut in range(len(self.margins))]

    @property
    def reach(self) -> int:
        return len(self.margins) - 1 if self.limit is None else self.limit


def steady(name: int, segments: int = 40, answer: int | None = None, **more: Any) -> Problem:
    """A judge that never wavers; the answer lies somewhere by default."""
    answer = name * 7 % (segments + 1) if answer is None else answer
    margins = tuple(1.0 + cut if cut >= answer else -1.0 - cut for cut in range(segments + 1))
    return Problem(name.to_bytes(4, "big"), margins, **more)


def verdict(margin: float | None) -> str:
    return UNPARSABLE if margin is None else ENOUGH if margin > 0 else NOT_ENOUGH


@dataclass
class Oracle:
    """The engine: answers from the problem after `wait`, and keeps count of who asked what, and beside whom."""

    wait: Callable[[], Awaitable[Any]] = lambda: asyncio.sleep(0)
    asked: list[tuple[bytes, int]] = field(default_factory=list)
    inside: list[Problem] = field(default_factory=list)
    most: int = 0
    heaviest: int = 0

    async def ask(self, problem: Problem, segments: int) -> Probe:
        self.asked.append((problem.key, segments))
        self.inside.append(problem)
        self.most = max(self.most, len(self.inside))
        self.heaviest = max(self.heaviest, sum(each.weight for each in self.inside))
        try:
            await self.wait()
        finally:
            self.inside.remove(problem)
        return answer(problem, segments)


def answer(problem: Problem, segments: int) -> Probe:
    margin = problem.margins[segments]
    if isinstance(margin, Exception):
        raise margin
    return Probe(segments, verdict(margin), margin, 0.9, True, 100 + segments, segments)


class Notes:
    """A ledger in a dict."""

    def __init__(self) -> None:
        self.probes: dict[bytes, dict[int, Probe]] = {}

    def recall(self, problem: bytes) -> dict[int, Probe]:
        return dict(self.probes.get(problem, {}))

    async def record(self, problem: bytes, answer: Probe, engine: Any = None) -> Probe:
        await asyncio.sleep(0)
        probe = answer
        return self.probes.setdefault(problem, {}).setdefault(probe.segments, probe)


@dataclass(slots=True)
class Outcome(TruncationRow):
    """A row that brings its problem along."""

    problem: Any = None

    @property
    def weight(self) -> int:
        return self.problem.weight


def opened(problem: Any) -> Outcome:
    """A problem as a row: its tokens and reach, and no text."""
    case = Case("", [], problem.tokens, problem.reach, shortest=0, head_tokens=0, suffix_tokens=0, prompt=None)
    return Outcome({}, problem.key, case, problem=problem)


def search_all(
    problems: Iterable[Any],
    search: Search,
    ask: Callable[[Any, int], Awaitable[Probe]],
    ledger: Any,
    capacity: Callable[[], tuple[int, int]],
    extra_cuts: Callable[[Any], Iterable[int]] = lambda problem: (),
    ahead: int = jobs._AHEAD,
) -> AsyncGenerator[Outcome, None]:
    """Search every problem, as a stage does its rows."""

    async def one(row: Outcome) -> Outcome:
        searcher = Searcher(
            search,
            lambda case, cut: ask(row.problem, cut),
            lambda: ledger,
            extra_cuts=lambda row: extra_cuts(row.problem),
        )
        await searcher(row)
        return row

    return in_order(map(opened, problems), one, capacity, ahead)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """`asyncio.run`, where a task left over or an exception that nobody took is a failure."""
    complaints: list[dict[str, Any]] = []

    async def strict() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda loop, max_model_len: complaints.append(max_model_len))
        result = await asyncio.wait_for(main, timeout=60)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left
        return result

    result = asyncio.run(strict())
    gc.collect()
    assert not complaints
    return result


async def collect(problems: Iterable[Problem], oracle: Oracle | None = None, **more: Any) -> list[Outcome]:
    given = {"search": ASCEND, "ledger": Notes(), "capacity": lambda: (8, UNBOUNDED)} | more
    return [outcome async for outcome in search_all(problems, ask=(oracle or Oracle()).ask, **given)]


def jitter(seed: int, most: float = 0.002) -> Callable[[], Awaitable[None]]:
    rng = random.Random(seed)
    return lambda: asyncio.sleep(rng.random() * most)


def shape(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.problem, outcome.found, outcome.error, outcome.probes


def test_outcomes_come_in_order_one_for_each_problem():
    problems = [steady(name) for name in range(120)]
    oracle = Oracle(jitter(1))
    outcomes = run(collect(problems, oracle))
    assert [outcome.problem for outcome in outcomes] == problems
    assert [outcome.found for outcome in outcomes] == [Found(name * 7 % 41, True) for name in range(120)]
    assert oracle.most > 1
    assert sum(outcome.asked for outcome in outcomes) == len(oracle.asked) == len(set(oracle.asked))


def test_problems_are_searched_side_by_side_without_levels():
    # One slow problem among quick ones: all of these end while it waits for its first answer.
    slow = steady(0)
    ended = asyncio.Event()
    quick = [steady(name) for name in range(1, 31)]
    oracle = Oracle()

    async def ask(problem: Problem, segments: int) -> Probe:
        if problem is slow:
            await ended.wait()
        probe = await oracle.ask(problem, segments)
        if problem is quick[-1]:
            ended.set()
        return probe

    async def main() -> list[Outcome]:
        outcomes = search_all([slow, *quick], ASCEND, ask, None, lambda: (4, UNBOUNDED))
        return [outcome async for outcome in outcomes]

    assert [outcome.problem for outcome in run(main())] == [slow, *quick]


@pytest.mark.parametrize(("most", "tokens"), [(1, UNBOUNDED), (5, UNBOUNDED), (64, 100), (3, 70)])
def test_no_more_is_admitted_than_fits(most: int, tokens: int):
    rng = random.Random(most)
    problems = [steady(name, weight=rng.randint(1, 30)) for name in range(60)]
    oracle = Oracle(jitter(2))
    assert len(run(collect(problems, oracle, capacity=lambda: (most, tokens)))) == 60
    assert oracle.most <= most
    assert oracle.heaviest <= tokens
    # What fits is used, too.
    assert oracle.most == most or oracle.heaviest > tokens - 30


def test_a_problem_larger_than_the_cache_gets_in_alone():
    problems = [steady(name, weight=500 if name == 5 else 10) for name in range(10)]
    oracle, beside = Oracle(jitter(3)), []

    async def ask(problem: Problem, segments: int) -> Probe:
        probe = await oracle.ask(problem, segments)
        if problem.weight == 500:
            beside.append(len(oracle.inside))
        return probe

    async def main() -> list[Outcome]:
        return [each async for each in search_all(problems, ASCEND, ask, None, lambda: (8, 40))]

    outcomes = run(main())
    assert [outcome.found.segments for outcome in outcomes] == [name * 7 % 41 for name in range(10)]
    assert set(beside) == {0}
    assert oracle.heaviest == 500


def test_capacity_is_asked_again_once_the_engine_has_started():
    # One problem until its first answer, as before an engine's start; then six.
    answered = False
    oracle, beside = Oracle(jitter(4)), []

    async def ask(problem: Problem, segments: int) -> Probe:
        nonlocal answered
        probe = await oracle.ask(problem, segments)
        if not answered:
            beside.append(oracle.most)
        answered = True
        return probe

    async def main() -> list[Outcome]:
        problems = [steady(name) for name in range(60)]
        outcomes = search_all(problems, ASCEND, ask, None, lambda: (6 if answered else 1, UNBOUNDED))
        return [outcome async for outcome in outcomes]

    assert len(run(main())) == 60
    assert beside == [1]
    assert oracle.most == 6


def counted(problems: Iterable[Problem], drawn: list[Problem]) -> Iterator[Problem]:
    for problem in problems:
        drawn.append(problem)
        yield problem


def test_problems_are_drawn_only_as_they_fit():
    drawn: list[Problem] = []
    over = []
    oracle = Oracle(jitter(5, most=0.0005))

    async def main() -> None:
        delivered = 0
        problems = counted((steady(name) for name in range(300)), drawn)
        async for _ in search_all(problems, ASCEND, oracle.ask, Notes(), lambda: (4, UNBOUNDED)):
            delivered += 1
            over.append(len(drawn) - delivered)

    run(main())
    assert len(drawn) == 300
    # Four inside, one at the door, and those that overtook the slowest of the four.
    assert max(over) < 40


def test_the_first_question_does_not_wait_until_all_that_fits_is_drawn():
    drawn: list[Problem] = []
    drawn_at_first = []

    async def ask(problem: Problem, segments: int) -> Probe:
        drawn_at_first.append(len(drawn))
        await asyncio.sleep(0)
        return answer(problem, segments)

    async def main() -> int:
        problems = counted((steady(name) for name in range(200)), drawn)
        return len([each async for each in search_all(problems, ASCEND, ask, None, lambda: (100, UNBOUNDED))])

    assert run(main()) == 200
    assert drawn_at_first[0] == 1


async def settle() -> None:
    """Let everything go on that waits for no clock."""
    for _ in range(2000):
        await asyncio.sleep(0)


@pytest.mark.parametrize("held_by", ["a slow problem", "the consumer"])
def test_outcomes_that_wait_are_bounded(held_by: str):
    drawn: list[Problem] = []
    problems = [steady(name) for name in range(200)]
    slow = problems[0] if held_by == "a slow problem" else None

    async def main() -> list[Outcome]:
        release = asyncio.Event()

        async def ask(problem: Problem, segments: int) -> Probe:
            if problem is slow:
                await release.wait()
            return answer(problem, segments)

        outcomes = search_all(counted(problems, drawn), ASCEND, ask, Notes(), lambda: (5, UNBOUNDED), ahead=20)
        if slow is None:
            seen = [await anext(outcomes)]
            await settle()
        else:
            first = asyncio.ensure_future(anext(outcomes))
            await settle()
            release.set()
            seen = [await first]
        held.append(len(drawn))
        return seen + [outcome async for outcome in outcomes]

    held: list[int] = []
    assert [outcome.problem for outcome in run(main())] == problems
    # Twenty that wait, five inside at that moment, one at the door, and what was delivered.
    assert 20 <= held[0] <= 20 + 5 + 1 + 1


# Where the default search begins with problems of this size.
FIRST = ASCEND.start(steady(0).tokens).next()


def test_a_failed_request_is_the_error_of_its_row():
    problems = [steady(name, answer=25) for name in range(20)]
    broken: list[Any] = [RequestFailed("the server said 413") for _ in problems[7].margins]
    broken[FIRST] = problems[7].margins[FIRST]
    problems[7] = Problem(problems[7].key, tuple(broken))
    outcomes = run(collect(problems, Oracle(jitter(6))))
    assert [outcome.found for outcome in outcomes] == [None if name == 7 else Found(25, True) for name in range(20)]
    assert [bool(outcome.error) for outcome in outcomes] == [name == 7 for name in range(20)]
    failed = outcomes[7]
    assert failed.error.startswith("no answer at ") and failed.error.endswith("segments: the server said 413")
    assert [probe.segments for probe in failed.probes] == [FIRST] and failed.asked == 1


@pytest.mark.parametrize(
    ("margin", "says", "stored"),
    [
        (None, f"no verdict in the judge's text at {FIRST} ", 1),
        (math.nan, f"the margin at {FIRST} segments is not", 0),
    ],
)
def test_an_answer_without_a_verdict_is_the_error_of_its_row(margin: float | None, says: str, stored: int):
    problems = [steady(name, answer=25) for name in range(20)]
    margins = problems[7].margins
    problems[7] = Problem(problems[7].key, (*margins[:FIRST], margin, *margins[FIRST + 1 :]))
    notes = Notes()
    for _ in range(2):
        # From the ledger it is the same error as from the engine.
        outcomes = run(collect(problems, ledger=notes))
        assert [outcome.found for outcome in outcomes] == [None if n == 7 else Found(25, True) for n in range(20)]
        assert [bool(outcome.error) for outcome in outcomes] == [name == 7 for name in range(20)]
        assert outcomes[7].error.startswith(says)
        assert len(outcomes[7].probes) == len(notes.recall(problems[7].key)) == stored


def test_what_the_ledger_holds_is_not_asked(tmp_path: Path):
    problems = [steady(name) for name in range(30)]
    ledger = Store(tmp_path / "l.sqlite", "judge", {}, PROBES)
    first = run(collect(problems, ledger=ledger))
    oracle = Oracle()
    again = run(collect(problems, oracle, ledger=ledger))
    ledger.close()
    assert oracle.asked == []
    assert [shape(outcome) for outcome in again] == [shape(outcome) for outcome in first]
    assert {outcome.asked for outcome in again} == {0}
    assert all(outcome.asked == len(outcome.probes) for outcome in first)


def test_another_search_asks_only_what_is_new():
    problems, notes = [steady(name) for name in range(30)], Notes()
    first, second = Oracle(), Oracle()
    run(collect(problems, first, ledger=notes))
    run(collect(problems, second, ledger=notes, search=make_search("binary")))
    assert second.asked
    assert not set(first.asked) & set(second.asked)


def test_a_search_is_told_what_the_ledger_says_not_what_it_asked():
    # Another process was faster: its answer stands in the ledger, and decides.
    class Contested(Notes):
        async def record(self, problem: bytes, probe: Probe, engine: Any = None) -> Probe:
            margin = 5.0 if probe.segments >= 10 else -5.0
            return Probe(probe.segments, verdict(margin), margin, None, None, 7, 7)

    (outcome,) = run(collect([steady(1, answer=30)], ledger=Contested()))
    assert outcome.found == Found(10, True)
    assert {probe.prompt_tokens for probe in outcome.probes} == {7}


def test_the_same_content_twice_is_asked_once():
    problems = [steady(name % 5) for name in range(50)]
    oracle = Oracle(jitter(7))
    outcomes = run(collect(problems, oracle, capacity=lambda: (16, UNBOUNDED)))
    assert max(Counter(oracle.asked).values()) == 1
    assert [outcome.found.segments for outcome in outcomes] == [name % 5 * 7 for name in range(50)]
    assert [bool(outcome.asked) for outcome in outcomes] == [name < 5 for name in range(50)]


def test_a_twin_of_a_failed_row_is_asked_for_itself():
    class Flaky(Oracle):
        async def ask(self, problem: Problem, segments: int) -> Probe:
            if not self.asked:
                self.asked.append((problem.key, segments))
                raise RequestFailed("once")
            return await super().ask(problem, segments)

    first, second = run(collect([steady(3), steady(3)], Flaky()))
    assert first.error == f"no answer at {FIRST} segments: once"
    assert (second.error, second.found) == (None, Found(21, True))


@pytest.mark.parametrize("good", [0, 1, 30])
def test_an_error_of_the_iterator_is_raised_after_what_came_before(good: int):
    def problems() -> Iterator[Problem]:
        yield from (steady(name) for name in range(good))
        raise OSError("the disk is gone")

    seen: list[Outcome] = []

    async def main() -> None:
        with pytest.raises(OSError, match="the disk is gone"):
            async for outcome in search_all(problems(), ASCEND, Oracle().ask, Notes(), lambda: (4, UNBOUNDED)):
                seen.append(outcome)

    run(main())
    assert [outcome.found.segments for outcome in seen] == [name * 7 % 41 for name in range(good)]


@pytest.mark.parametrize("error", [EngineLost("died again"), StoreError("no space"), ZeroDivisionError("a bug")])
@pytest.mark.parametrize("where", ["ask", "record"])
def test_what_is_no_fault_of_a_row_ends_the_run(error: Exception, where: str):
    problems = [steady(name) for name in range(100)]
    oracle, notes, seen = Oracle(jitter(8)), Notes(), []

    async def ask(problem: Problem, segments: int) -> Probe:
        probe = await oracle.ask(problem, segments)
        # From then on it fails for everybody, as an engine does that is gone.
        if where == "ask" and len(oracle.asked) > 150:
            raise error
        return probe

    class Full(Notes):
        async def record(self, problem: bytes, probe: Probe, engine: Any = None) -> Probe:
            if where == "record" and len(oracle.asked) > 150:
                raise error
            return await notes.record(problem, probe)

    async def main() -> None:
        with pytest.raises(type(error), match=str(error)):
            async for outcome in search_all(problems, ASCEND, ask, Full(), lambda: (8, UNBOUNDED)):
                seen.append(outcome)

    run(main())
    assert 0 < len(seen) < 100
    assert [outcome.problem for outcome in seen] == problems[: len(seen)]
    assert len(oracle.asked) <= 150 + 8 * 2


def test_a_consumer_that_stops_leaves_nothing_behind():
    oracle = Oracle(jitter(9))

    async def main() -> int:
        outcomes = search_all((steady(n) for n in range(10**9)), ASCEND, oracle.ask, Notes(), lambda: (8, UNBOUNDED))
        assert [(await anext(outcomes)).problem for _ in range(5)] == [steady(name) for name in range(5)]
        await outcomes.aclose()
        assert not oracle.inside
        return len(oracle.asked)

    assert run(main()) == len(oracle.asked)


def test_nothing_starts_before_the_first_outcome_is_wanted():
    drawn: list[Problem] = []

    async def main() -> None:
        outcomes = search_all(counted([steady(1)], drawn), ASCEND, Oracle().ask, Notes(), lambda: (8, UNBOUNDED))
        await asyncio.sleep(0.01)
        await outcomes.aclose()

    run(main())
    assert drawn == []


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01, 0.05])
def test_a_cancelled_consumer_leaves_nothing_behind(delay: float):
    oracle = Oracle(jitter(10))

    async def main() -> None:
        work = asyncio.create_task(collect((steady(name) for name in range(10**9)), oracle))
        await asyncio.sleep(delay)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not oracle.inside

    run(main())


def test_a_consumer_cancelled_while_nothing_is_ready_leaves_nothing_behind():
    async def main() -> None:
        never = asyncio.Event()
        oracle = Oracle(never.wait)
        work = asyncio.create_task(collect([steady(1), steady(2)], oracle, capacity=lambda: (1, UNBOUNDED)))
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    run(main())


def test_extra_cuts_are_asked_after_the_search_and_change_no_finding():
    # The audit finds the judge of these saying ENOUGH at 3 already; the search had not asked there.
    problems = [steady(name, answer=25) for name in range(10)]
    problems = [Problem(p.key, (*p.margins[:3], 9.0, *p.margins[4:])) for p in problems]
    plain = run(collect(problems))
    extra = [0, 3, 4, 39, 40]
    audited = run(collect(problems, extra_cuts=lambda problem: extra if problem is problems[4] else []))
    for name, (before, after) in enumerate(zip(plain, audited, strict=True)):
        assert after.found == before.found == Found(25, True)
        known = [probe.segments for probe in before.probes]
        added = [cut for cut in extra if cut not in known] if name == 4 else []
        assert [probe.segments for probe in after.probes] == known + added
        assert after.asked == len(after.probes)
    assert 3 not in [probe.segments for probe in plain[4].probes]


@pytest.mark.parametrize("spoilt", [None, math.nan, RequestFailed("refused")])
def test_a_failed_audit_is_no_error_of_the_row(spoilt: float | Exception | None):
    problem = steady(1, answer=25)
    problem = Problem(problem.key, (*problem.margins[:40], spoilt))
    (outcome,) = run(collect([problem], extra_cuts=lambda problem: [1, 40, 2]))
    assert (outcome.found, outcome.error) == (Found(25, True), None)
    asked = [probe.segments for probe in outcome.probes]
    assert 1 in asked and 2 not in asked


def test_a_row_that_fits_no_context_is_neither_found_nor_an_error():
    problems = [steady(name, limit=-1 if name == 2 else None) for name in range(5)]
    oracle = Oracle()
    outcomes = run(collect(problems, oracle, extra_cuts=lambda problem: [0]))
    assert shape(outcomes[2]) == (problems[2], None, None, [])
    assert problems[2].key not in {key for key, _ in oracle.asked}
    assert all(outcome.found for outcome in outcomes if outcome.problem is not problems[2])


def test_no_cut_beyond_reach_is_asked():
    problems = [steady(name, answer=35, limit=name) for name in range(41)]
    oracle = Oracle()
    outcomes = run(collect(problems, oracle))
    limits = {problem.key: problem.limit for problem in problems}
    assert all(cut <= limits[key] for key, cut in oracle.asked)
    assert [outcome.found for outcome in outcomes] == [Found(35 if n >= 35 else 40, n >= 35) for n in range(41)]


@pytest.mark.parametrize(("name", "segments"), [("full", 40), ("none", 0), ("fixed(ratio=0.25)", 10)])
def test_searches_without_a_judge_ask_nothing(name: str, segments: int):
    oracle = Oracle()
    problems = [steady(each) for each in range(20)]
    outcomes = run(collect(problems, oracle, search=make_search(name), ledger=None, extra_cuts=lambda problem: [1, 2]))
    assert [outcome.found for outcome in outcomes] == [Found(segments, False)] * 20
    assert oracle.asked == []


def test_no_problems_no_outcomes():
    assert run(collect([])) == []


def judge(seed: int) -> tuple[float | Exception | None, ...]:
    """A judge of any kind: steady, wavering, or with no answer at some cuts."""
    rng = random.Random(seed)
    segments = rng.choice([0, 1, 2, 5, 30])
    crossing = rng.randint(0, segments + 1)
    noise = rng.choice([0.0, 1.0, 10.0])
    margins: list[Any] = [cut - crossing + 0.5 + rng.gauss(0, noise) for cut in range(segments + 1)]
    if rng.random() < 0.5:
        strange = [None, math.nan, RequestFailed("refused"), math.inf, -math.inf, 0.0]
        for _ in range(rng.randint(1, 3)):
            margins[rng.randint(0, segments)] = rng.choice(strange)
    return tuple(margins)


def one_by_one(problems: list[Problem], search: Search, extra: Callable[[Problem], list[int]]) -> list[tuple]:
    """What the driver must come to, written as the plain loop that it isn't."""
    results = []
    for problem in problems:
        found, error, probes = None, None, []
        if problem.reach >= 0:
            walk = search.start(problem.tokens, problem.reach)
            while error is None and (cut := walk.next()) is not None:
                margin, error = problem.margins[cut], spoilt(problem.margins[cut], cut)
                if stored(margin):
                    probes.append(answer(problem, cut))
                if error is None:
                    walk.tell(cut, margin)
            found = None if error else walk.result()
            if error is None and search.judged:
                for cut in extra(problem):
                    if cut in {probe.segments for probe in probes}:
                        continue
                    if stored(problem.margins[cut]):
                        probes.append(answer(problem, cut))
                    if spoilt(problem.margins[cut], cut):
                        break
        results.append((problem, found, error, probes))
    return results


def stored(margin: Any) -> bool:
    return margin is None or not (isinstance(margin, Exception) or math.isnan(margin))


def spoilt(margin: Any, cut: int) -> str | None:
    if isinstance(margin, Exception):
        return f"no answer at {cut} segments: {margin}"
    if margin is None:
        return f"no verdict in the judge's text at {cut} segments"
    if math.isnan(margin):
        return f"the margin at {cut} segments is not a number (both labels impossible, or an overflow)"
    return None


@pytest.mark.parametrize("name", ["ascend", "ascend(confirm=1, caution=0)", "binary", "linear", "fixed(ratio=0.5)"])
@settings(deadline=None)
@given(data=st.data())
def test_concurrency_changes_no_result(name: str, data: st.DataObject):
    margins = [judge(seed) for seed in data.draw(st.lists(st.integers(0, 2**32 - 1), max_size=6))]
    chosen = data.draw(st.lists(st.integers(0, max(0, len(margins) - 1)), max_size=14)) if margins else []
    weights = [data.draw(st.integers(1, 9)) for _ in margins]
    limits = [data.draw(st.none() | st.integers(-1, len(each) - 1)) for each in margins]
    problems = [Problem(bytes([each]), margins[each], weights[each], limits[each]) for each in chosen]
    room = data.draw(st.tuples(st.integers(1, 8), st.sampled_from([1, 10, 30, UNBOUNDED])))
    rng = random.Random(data.draw(st.integers(0, 2**32 - 1)))
    search = make_search(name)

    def extra(problem: Problem) -> list[int]:
        return [0, problem.reach // 2, problem.reach] if problem.key[0] % 2 else []

    async def wait() -> None:
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)

    oracle = Oracle(wait)
    outcomes = run(collect(problems, oracle, search=search, capacity=lambda: room, extra_cuts=extra))
    # By their text: a result may hold a NaN's row, and nothing else than text says that it is the same.
    assert repr([shape(outcome) for outcome in outcomes]) == repr(one_by_one(problems, search, extra))
    assert oracle.most <= room[0]
    answered = {problem.key: problem.margins for problem in problems}
    assert all(times == 1 for (key, cut), times in Counter(oracle.asked).items() if stored(answered[key][cut]))


def test_a_long_run_of_recalled_rows_stays_lazy():
    # Nothing is asked, so no search ever waits for an engine: the door alone holds the iterator back.
    notes, drawn = Notes(), []
    run(collect([steady(0)], ledger=notes))

    async def main() -> None:
        outcomes = search_all(counted((steady(0) for _ in range(10**9)), drawn), ASCEND, Oracle().ask, notes, room)
        for _ in range(500):
            await anext(outcomes)
        await outcomes.aclose()

    def room() -> tuple[int, int]:
        return 8, UNBOUNDED

    run(main())
    assert len(drawn) < 500 + 8 + 2 + jobs._AHEAD


def test_a_generation_weighs_what_its_kind_has_weighed():
    expected = ExpectedOutput(4000)
    assert expected.tokens == 1000
    for tokens in (100, 300, 200):
        expected.saw(tokens)
    assert expected.tokens == 200
    silent = ExpectedOutput(2)
    silent.saw(0)
    assert silent.tokens == 1


def test_a_weight_that_changes_while_it_is_inside_is_given_back_as_it_was():
    class Growing:
        def __init__(self, name: int) -> None:
            self.key, self.asked = bytes([name]), 0

        @property
        def weight(self) -> int:
            self.asked += 1
            return 5 * self.asked

    async def main() -> int:
        async def work(job: Growing) -> int:
            await asyncio.sleep(0)
            return job.key[0]

        jobs = [Growing(name) for name in range(50)]
        return [done async for done in in_order(jobs, work, lambda: (8, 10))]

    assert run(main()) == list(range(50))
