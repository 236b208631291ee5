"""Starts once, restarts once, then says how to go on: with engines that die on command."""

import asyncio
import logging

import pytest

from palign_hf.engines.base import (
    Completion,
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    Generation,
    RequestFailed,
    Sampling,
    Score,
)
from palign_hf.engines.supervised import EngineLost, TendedEngine
from palign_hf.errors import UserError


SCORE = Score((-0.1, -2.5), top_is_label=True, prompt_tokens=3, cached_tokens=0)
FREE = (1, 2**62)


class Frail:
    """An engine with a planned number of answers in each of its lives."""

    name = "frail"

    def __init__(self, *lives, failing_starts=(), wait=0.001):
        """`lives`: answers before death, None for no end; `failing_starts`: errors by number of the start."""
        self.lives, self.failing_starts, self.wait = list(lives), dict(failing_starts), wait
        self.starts = self.closes = self.answers = 0
        self.up = False
        self.left = None

    async def start(self):
        self.starts += 1
        await asyncio.sleep(self.wait)
        if error := self.failing_starts.get(self.starts):
            raise error
        self.up, self.left = True, self.lives.pop(0) if self.lives else None

    async def close(self):
        self.closes += 1
        self.up = False
        await asyncio.sleep(0)

    async def score(self, prompt_ids, label_ids, problem):
        await asyncio.sleep(self.wait)
        if not self.up:
            raise EngineDied("not running")
        if self.left is not None:
            if self.left == 0:
                raise EngineDied("core ended")
            self.left -= 1
        self.answers += 1
        return SCORE

    async def generate(self, prompt_ids, sampling, problem):
        await self.score(prompt_ids, (), problem)
        return Generation((Completion((1,), "stop"),) * sampling.n, len(prompt_ids), 0)

    @property
    def capacity(self):
        if not self.up:
            raise EngineDied("not running")
        return 7, 700

    @property
    def identity(self):
        if not self.up:
            raise EngineDied("not running")
        return EngineIdentity("frail", f"life {self.starts}", "bfloat16")


def ask(engine, problem="p"):
    return engine.score([1, 2, 3], (4, 5), problem)


def ask_at_once(engine, count):
    async def run():
        return await asyncio.gather(*(ask(engine, str(number)) for number in range(count)), return_exceptions=True)

    return asyncio.run(asyncio.wait_for(run(), timeout=60))


def test_nothing_starts_before_the_first_question():
    inner = Frail()
    tended = TendedEngine(inner)
    assert tended.name == "frail"
    assert tended.capacity == FREE
    assert inner.starts == 0


def test_many_first_questions_start_it_once():
    inner = Frail()
    tended = TendedEngine(inner)
    assert ask_at_once(tended, 50) == [SCORE] * 50
    assert (inner.starts, inner.closes) == (1, 0)
    assert tended.capacity == (7, 700)


def test_it_says_which_engine_answered_last_even_once_that_is_closed():
    tended = TendedEngine(Frail(1))

    async def run():
        with pytest.raises(EngineDied, match="frail engine has not started"):
            _ = tended.identity
        await ask(tended)
        first = tended.identity
        await ask(tended)
        second = tended.identity
        await tended.close()
        return first, second, tended.identity

    told = asyncio.run(run())
    assert told == tuple(EngineIdentity("frail", f"life {number}", "bfloat16") for number in (1, 2, 2))


def test_start_twice_starts_once():
    inner = Frail()
    tended = TendedEngine(inner)

    async def run():
        await asyncio.gather(tended.start(), tended.start())
        await tended.start()

    asyncio.run(run())
    assert inner.starts == 1


def test_generate_is_tended_too():
    inner = Frail(0)
    tended = TendedEngine(inner)
    assert asyncio.run(tended.generate([1], Sampling(max_tokens=4), "p")).samples == (Completion((1,), "stop"),)
    assert inner.starts == 2


def test_a_death_restarts_once_and_all_waiting_get_their_answers(caplog):
    inner = Frail(10)
    with caplog.at_level(logging.WARNING, "palign_hf"):
        assert ask_at_once(TendedEngine(inner), 64) == [SCORE] * 64
    assert (inner.starts, inner.closes, inner.answers) == (2, 1, 64)
    assert caplog.messages == ["The frail engine died (core ended): starting it again, once."]


def test_the_second_death_says_how_to_go_on():
    inner = Frail(1, 1)
    tended = TendedEngine(inner)

    async def run():
        await ask(tended)
        await ask(tended)
        with pytest.raises(
            EngineLost, match="frail engine died again .core ended.*run the same command again"
        ) as lost:
            await ask(tended)
        assert isinstance(lost.value, UserError)
        assert isinstance(lost.value.__cause__, EngineDied)

    asyncio.run(run())
    assert (inner.starts, inner.answers) == (2, 2)


def test_a_second_death_under_many_questions_restarts_no_further():
    inner = Frail(3, 4)
    answers = ask_at_once(TendedEngine(inner), 40)
    assert answers.count(SCORE) == 7
    assert sum(isinstance(answer, EngineLost) for answer in answers) == 33
    assert inner.starts == 2


@pytest.mark.parametrize(("restarts", "starts"), [(0, 1), (3, 4)])
def test_the_number_of_restarts_is_kept(restarts, starts):
    inner = Frail(*[0] * 9)
    with pytest.raises(EngineLost):
        asyncio.run(ask(TendedEngine(inner, restarts=restarts)))
    assert inner.starts == starts


@pytest.mark.parametrize("error", [RequestFailed("too long"), KeyError("x"), RuntimeError("odd")])
def test_other_errors_pass_and_restart_nothing(error):
    class Refusing(Frail):
        async def score(self, prompt_ids, label_ids, problem):
            raise error

    inner = Refusing()
    with pytest.raises(type(error)) as seen:
        asyncio.run(ask(TendedEngine(inner)))
    assert seen.value is error
    assert (inner.starts, inner.closes) == (1, 0)


def test_a_failing_first_start_is_told_as_it_is_and_may_be_tried_again():
    inner = Frail(failing_starts={1: EngineUnavailable("no such student")})
    tended = TendedEngine(inner)

    async def run():
        with pytest.raises(EngineUnavailable, match="^no such student$"):
            await ask(tended)
        assert tended.capacity == FREE
        assert await ask(tended) == SCORE

    asyncio.run(run())
    assert inner.starts == 2


@pytest.mark.parametrize("error", [EngineUnavailable("no memory left."), EngineDied("no memory left.")])
def test_a_failing_restart_ends_every_question_and_is_not_tried_again(error):
    inner = Frail(5, failing_starts={2: error})
    tended = TendedEngine(inner)
    answers = ask_at_once(tended, 30)
    lost = [answer for answer in answers if answer != SCORE]
    assert len(lost) == 25
    assert all(isinstance(answer, EngineLost) for answer in lost)
    told = [str(answer) for answer in lost if "can't be started again" in str(answer)]
    assert len(told) == 1
    assert "died (core ended) and can't be started again: no memory left. Every answer is kept" in told[0]
    assert "run the same command again" in told[0]
    with pytest.raises(EngineLost, match="died again"):
        asyncio.run(ask(tended))
    assert inner.starts == 2


def test_an_unforeseen_error_of_a_restart_comes_out_and_hangs_nobody():
    inner = Frail(0, failing_starts={2: ZeroDivisionError("odd")})
    answers = ask_at_once(TendedEngine(inner), 8)
    assert sum(isinstance(answer, ZeroDivisionError) for answer in answers) == 1
    assert sum(isinstance(answer, EngineLost) for answer in answers) == 7
    assert inner.starts == 2


def test_its_capacity_can_be_asked_while_the_engine_is_dead():
    inner = Frail(1, wait=0.02)
    tended = TendedEngine(inner)

    async def run():
        await ask(tended)
        second = asyncio.create_task(ask(tended))
        while inner.closes == 0:
            await asyncio.sleep(0.001)
        assert not inner.up
        assert tended.capacity == (7, 700)
        assert await second == SCORE

    asyncio.run(run())


def test_close_then_a_question_starts_it_again_without_spending_the_restart():
    inner = Frail(None, 0, None)
    tended = TendedEngine(inner)

    async def run():
        await ask(tended)
        await tended.close()
        await tended.close()
        assert not inner.up
        assert tended.capacity == FREE
        # Its second life ends at once: that is the first death, so there is a restart left for it.
        assert await ask(tended) == SCORE

    asyncio.run(run())
    assert inner.starts == 3


def test_closing_what_never_started_starts_nothing():
    inner = Frail()
    asyncio.run(TendedEngine(inner).close())
    assert inner.starts == 0


class Hanging(Frail):
    """Its question `slow` waits until it is let go, then dies."""

    def __init__(self):
        super().__init__()
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()

    async def score(self, prompt_ids, label_ids, problem):
        if problem == "slow" and not self.asked.is_set():
            self.asked.set()
            await self.let_go.wait()
            raise EngineDied("gone")
        return await super().score(prompt_ids, label_ids, problem)


def test_a_question_that_close_interrupts_brings_no_engine_back():
    async def run():
        inner = Hanging()
        tended = TendedEngine(inner)
        slow = asyncio.create_task(ask(tended, "slow"))
        await inner.asked.wait()
        await tended.close()
        inner.let_go.set()
        with pytest.raises(EngineDied, match="gone"):
            await slow
        assert (inner.starts, inner.up) == (1, False)

    asyncio.run(run())


def test_a_death_from_before_a_close_does_not_end_the_life_after_it():
    async def run():
        inner = Hanging()
        tended = TendedEngine(inner)
        slow = asyncio.create_task(ask(tended, "slow"))
        await inner.asked.wait()
        await tended.close()
        assert await ask(tended) == SCORE
        inner.let_go.set()
        assert await slow == SCORE
        assert (inner.starts, inner.closes, inner.up) == (2, 1, True)

    asyncio.run(run())
