"""What may be asked of an engine, the seeds of samples, and how a completion is told."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.engines.base import (
    Completion,
    EngineDied,
    EngineIdentity,
    RequestFailed,
    Sampling,
    completion,
    sample_seed,
    side_by_side,
)
from palign_hf.errors import UserError


SEEDS = st.integers(0, 2**63 - 1)


def test_an_engine_is_named_with_its_release_and_number_format():
    assert EngineIdentity("vllm", "0.32.0", "float32").label == "vllm 0.32.0 (float32)"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ({"temperature": -1}, "`temperature=-1`: must be from 0 to 2."),
        ({"temperature": math.nan}, "`temperature=nan`: must be from 0 to 2."),
        ({"temperature": "hot"}, "`temperature=hot`: must be from 0 to 2."),
        ({"max_tokens": 0}, "`max_tokens=0`: must be a whole number, at least 1."),
        ({"max_tokens": 2.5}, "`max_tokens=2.5`: must be a whole number, at least 1."),
        ({"max_tokens": True}, "`max_tokens=True`: must be a whole number, at least 1."),
        ({"top_p": 0}, "`top_p=0`: must be above 0 and at most 1."),
        ({"top_p": 1.1}, "`top_p=1.1`: must be above 0 and at most 1."),
        ({"top_k": -1}, "`top_k=-1`: must be a whole number, at least 0 (0 leaves all tokens in)."),
        ({"min_p": 2}, "`min_p=2`: must be from 0 to 1."),
        ({"repetition_penalty": 0}, "`repetition_penalty=0`: must be above 0 (1 is none)."),
        ({"n": 0}, "`n=0`: must be a whole number, at least 1."),
        ({"seed": -1}, "`seed=-1`: must be a whole number from 0 to 2**63 - 1."),
        ({"seed": 2**63}, f"`seed={2**63}`: must be a whole number from 0 to 2**63 - 1."),
        ({"stop": "so"}, "`stop=so`: must be a list of texts, none of them empty."),
        ({"stop": ("",)}, "`stop=('',)`: must be a list of texts, none of them empty."),
        ({"stop_token_ids": (1.5,)}, "`stop_token_ids=(1.5,)`: must be a list of token ids."),
        ({"stop_token_ids": 3}, "`stop_token_ids=3`: must be a list of token ids."),
        ({"n": 2}, "`n=2` with `temperature=0`: all samples would be the same. Give a temperature, or `n=1`."),
    ],
)
def test_what_cannot_be_sampled_is_refused(wrong, meant):
    with pytest.raises(UserError) as refused:
        Sampling(**{"max_tokens": 4} | wrong)
    assert str(refused.value) == meant


def test_lists_are_as_good_as_tuples():
    sampling = Sampling(max_tokens=4, stop=["a"], stop_token_ids=[3])
    assert (sampling.stop, sampling.stop_token_ids) == (("a",), (3,))
    assert hash(sampling) == hash(Sampling(max_tokens=4, stop=("a",), stop_token_ids=(3,)))


@given(SEEDS, st.integers(1, 50))
def test_each_sample_has_a_seed_of_its_own_with_which_it_can_be_drawn_alone(seed, n):
    seeds = Sampling(max_tokens=1, temperature=1.0, n=n, seed=seed).seeds
    assert seeds[0] == seed
    assert len(set(seeds)) == n
    # However many others there are.
    assert seeds == Sampling(max_tokens=1, temperature=1.0, n=n + 3, seed=seed).seeds[:n]
    for one in seeds:
        assert Sampling(max_tokens=1, temperature=1.0, seed=one).seeds == (one,)


@given(SEEDS, SEEDS, st.integers(1, 100), st.integers(1, 100))
def test_neighbouring_seeds_share_no_sample(a, b, i, j):
    assert (sample_seed(a, i) == sample_seed(b, j)) == ((a, i) == (b, j))


def test_the_seeds_are_the_same_on_every_machine():
    assert [sample_seed(7, sample) for sample in range(3)] == [7, 5336452013515358, 3214245069846199]


@pytest.mark.parametrize("sampling", [{"temperature": 1.0, "n": 3}, {"seed": 5}])
def test_no_seed_where_none_is_given_or_none_counts(sampling):
    seeds = Sampling(max_tokens=4, **sampling).seeds
    assert seeds == (None,) * len(seeds)


@pytest.mark.parametrize(
    ("ids", "reason", "text", "stop"),
    [
        ([5, 9], "stop", None, 9),
        ([5, 2], "stop", None, None),
        ([5, 9], "length", None, None),
        ([5, 9], "stop", "so", "so"),
        ([], "stop", None, None),
    ],
)
def test_what_ended_a_completion(ids, reason, text, stop):
    sampling = Sampling(max_tokens=4, stop_token_ids=(9,), stop=("so",))
    assert completion(sampling, ids, reason, 3, text) == Completion(tuple(ids), reason, 3, stop)


def test_side_by_side_keeps_the_order_and_tells_a_death_first():
    async def after(turns, value):
        for _ in range(turns):
            await asyncio.sleep(0)
        if isinstance(value, BaseException):
            raise value
        return value

    assert asyncio.run(side_by_side(after(turns, turns) for turns in (3, 1, 2))) == [3, 1, 2]
    with pytest.raises(RequestFailed, match="refused"):
        asyncio.run(side_by_side([after(5, 1), after(1, RequestFailed("refused"))]))
    with pytest.raises(EngineDied, match="gone"):
        asyncio.run(side_by_side([after(1, RequestFailed("refused")), after(1, EngineDied("gone"))]))


def test_side_by_side_leaves_nothing_running_after_a_failure_or_a_cancellation():
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    async def fail():
        await asyncio.sleep(0)
        raise RequestFailed("refused")

    async def run():
        with pytest.raises(RequestFailed):
            await side_by_side([forever(), fail(), forever()])
        whole = asyncio.create_task(side_by_side([forever(), forever()]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole

    asyncio.run(run())
    assert len(ended) == 4
