"""Balancing: caps hold, the draw is the same in every order of rows, and a rejected pair says why."""

from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from pair_tables import pair, table

from palign_hf.data.balance import balance, over_cap
from palign_hf.data.pairs import load_pairs
from palign_hf.errors import UserError
from palign_hf.schema import SchemaError


rows = st.lists(
    st.tuples(st.sampled_from("xyz"), st.text(max_size=3), st.integers(0, 9)), unique_by=lambda row: row[1:]
)


def left_out(samples: list[tuple[str, str, int]], cap: int | None, seed: int) -> set[tuple[str, str, int]]:
    positions = over_cap([value for value, *_ in samples], [(one, two) for _, one, two in samples], cap, seed)
    assert positions == sorted(set(positions))
    return {samples[at] for at in positions}


class TestOverCap:
    @given(rows, st.integers(1, 4), st.integers(0, 3))
    def test_each_value_keeps_what_it_has_up_to_the_cap(self, samples, cap, seed):
        counts, gone = Counter(value for value, *_ in samples), Counter(row[0] for row in left_out(samples, cap, seed))
        assert {value: count - gone[value] for value, count in counts.items()} == {
            value: min(count, cap) for value, count in counts.items()
        }

    @given(rows, st.integers(0, 3))
    def test_without_a_cap_all_values_have_as_many_as_the_rarest(self, samples, seed):
        counts, gone = Counter(value for value, *_ in samples), left_out(samples, None, seed)
        assert Counter(row[0] for row in samples if row not in gone) == dict.fromkeys(
            counts, min(counts.values(), default=0)
        )

    @given(rows, st.none() | st.integers(1, 4), st.integers(0, 3), st.randoms())
    def test_the_order_of_rows_decides_nothing(self, samples, cap, seed, random):
        shuffled = random.sample(samples, len(samples))
        assert left_out(samples, cap, seed) == left_out(shuffled, cap, seed)

    @given(rows, st.integers(1, 3))
    def test_a_smaller_cap_leaves_out_more_of_the_same(self, samples, cap):
        assert left_out(samples, cap + 1, 0) <= left_out(samples, cap, 0)

    def test_the_seed_decides_which_stay(self):
        samples = [("x", str(number), 0) for number in range(20)]
        assert len({frozenset(left_out(samples, 10, seed)) for seed in range(5)}) == 5

    def test_a_cap_of_nothing_is_refused(self):
        with pytest.raises(UserError, match="`cap=0` must be at least 1"):
            over_cap([], [], 0, 0)


class TestBalance:
    def pairs(self) -> Dataset:
        return table(
            *(pair(f"s{number}", source="s") for number in range(4)),
            *(pair(f"n{number}", source=None) for number in range(3)),
            pair("t", source="t"),
            pair("t", 1, "rejected", source="t", reason="wrong"),
        )

    def test_what_is_over_the_cap_is_rejected_with_its_reason(self):
        given = self.pairs()
        made = balance(given, "source", cap=2, seed=1)
        assert made.features == given.features and len(made) == len(given)
        changed = [(old, new) for old, new in zip(given, made, strict=True) if old != new]
        for old, new in changed:
            told = f"balance: more than 2 pairs of source `{old['source'] or 'null'}`"
            assert new == old | {"status": "rejected", "reason": told}
        assert Counter(old["source"] for old, _ in changed) == {"s": 2, None: 1}
        assert made[8] == given[8]
        load_pairs(made)

    def test_without_a_cap_the_rarest_value_decides(self):
        made = balance(self.pairs(), "source")
        assert Counter(row["source"] for row in made if row["status"] == "kept") == {"s": 1, None: 1, "t": 1}
        assert "balance: more than 1 pairs of source `s`" in made["reason"][:]

    def test_nothing_over_the_cap_changes_nothing(self):
        assert list(balance(self.pairs(), "source", cap=4)) == list(self.pairs())
        assert list(balance(table(), "source")) == []

    def test_any_column_will_do_and_untyped_reasons_too(self):
        kept = table(pair(), pair("b")).add_column("level", [1, 1])
        read = Dataset.from_list([dict(row) for row in kept])
        assert balance(read, "level", cap=1)["status"][:].count("rejected") == 1

    def test_a_column_that_is_not_there_is_refused_with_the_nearest(self):
        with pytest.raises(SchemaError, match="`per='sorce'`: this table has no such column .nearest match: `source`"):
            balance(table(pair()), "sorce")

    def test_a_table_that_is_no_pairs_is_refused(self):
        with pytest.raises(SchemaError, match="Column `sample` missing: the PAIRS table"):
            balance(table(pair()).remove_columns("sample"), "source")
