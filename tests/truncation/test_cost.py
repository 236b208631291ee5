"""Block-cache accounting, by hand-worked cases and by its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.truncation.schedule import BlockCache


def test_whole_blocks_of_the_shared_part_are_reused():
    cache = BlockCache(16)
    assert cache.ask(111, 100) == 111  # blocks 0..95 are kept
    assert cache.ask(111, 100) == 111 - 96
    assert cache.ask(211, 200) == 211 - 96  # longer: extends
    assert cache.ask(61, 50) == 61 - 48  # shorter: cached except its last block and the suffix
    assert cache.ask(211, 200) == 211 - 192


def test_the_last_token_is_computed_even_if_it_is_cached():
    cache = BlockCache(16)
    assert cache.ask(64, 64) == 64
    assert cache.ask(64, 64) == 16
    assert BlockCache(1).ask(1, 1) == 1


@given(st.integers(1, 64), st.lists(st.tuples(st.integers(0, 500), st.integers(1, 30)), max_size=20))
def test_a_prompt_costs_at_least_what_is_new_and_at_most_itself(block, prompts):
    cache, longest = BlockCache(block), 0
    for shared, suffix in prompts:
        computed = cache.ask(shared + suffix, shared)
        new = max(0, shared - longest)
        assert max(1, new + suffix) <= computed <= min(shared + suffix, new + suffix + 2 * block)
        longest = max(longest, shared)


def test_what_cannot_be_a_cache_or_a_prompt_is_refused():
    with pytest.raises(ValueError, match="holds no token"):
        BlockCache(0)
    with pytest.raises(ValueError, match="aren't in a prompt of 5 tokens"):
        BlockCache().ask(5, 6)
