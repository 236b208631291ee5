"""Baselines of the same rows: each with its target, all with equal rows, literal traces, and a budget that holds."""

import logging

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from pair_tables import pair, table
from tiny import byte_level, fast, metaspace

from palign_hf.data.baselines import baseline
from palign_hf.data.pairs import BASELINES, FixedRatio, load_pairs, make_baseline
from palign_hf.data.views import to_alpaca, to_dpo, to_sft
from palign_hf.errors import UserError
from palign_hf.prompts import SOLVE
from palign_hf.segmentation import cuts
from palign_hf.students import TextTokenizer


TOKENIZER = fast(byte_level())
TOKENS = TextTokenizer(TOKENIZER, "tiny")
TRACE = "The sum of all odd numbers. There are 50 of them. Their mean is 50. So the sum is 2500. Let me check. Yes. "
KINDS = ["p-align", "label", "trace", "prefix", "continuation", "fixed(ratio=0.4)", "first(tokens=7)"]


def pairs() -> Dataset:
    return table(
        pair("b", 2, strict=True, answer="2"),
        pair("a", 1, answer="\\frac{1}{2}", source="s", tokens=9, engine="e", flags=["leak"]),
        pair("a", 0, "rejected", reason="wrong", answer="\\frac{1}{2}"),
        pair("b", 1, answer="2"),
        pair("c", 0, "left_out", reason="no gold answer"),
        pair("a", 3, answer="\\frac{1}{2}"),
    )


def prefixes(**status: str) -> Dataset:
    names = ["b", "c", "a"]
    rows = {"id": names, "trace": [f"{TRACE}{name}" for name in names]}
    return Dataset.from_dict(rows | {"status": [status.get(name, "sufficient") for name in names]})


def made(kind: object, **options: object) -> Dataset:
    return baseline(pairs(), kind, prefixes(), tokenizer=TOKENIZER, **options)


def targets(kind: object, **options: object) -> list[str]:
    return made(kind, **options)["continuation"][:]


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_all_have_the_same_rows_and_can_be_trained_on(self, kind):
        rows = load_pairs(made(kind))
        assert list(zip(rows["id"], rows["sample"], rows["source"], strict=True)) == [("a", 1, "s"), ("b", 1, None)]
        assert to_sft(rows)["prompt"][0] == [{"role": "user", "content": SOLVE.message("question a")}]

    def test_the_pairs_themselves(self):
        given = pairs()
        assert list(made("p-align")) == [given[1], given[3]]
        assert list(made("p-align", per_problem=None)) == [given[0], given[1], given[3], given[5]]

    @pytest.mark.parametrize("kind", KINDS[1:])
    def test_another_target_stands_alone_and_nothing_is_said_of_it_that_was_measured_on_the_sample(self, kind):
        row = made(kind)[0]
        assert to_alpaca(made(kind))["output"][0] == row["continuation"] and row["prefix"] is None
        assert (row["reason"], row["status"], row["answer"]) == (f"baseline `{kind}`", "kept", "\\frac{1}{2}")
        assert {row[name] for name in ("tokens", "engine", "flags", "strict", "finish_reason")} == {None}

    def test_each_has_its_target(self):
        assert targets("label") == ["\\boxed{\\frac{1}{2}}", "\\boxed{2}"]
        assert targets("trace") == [f"{TRACE}a", f"{TRACE}b"]
        assert targets("prefix") == ["prefix a. ", "prefix b. "]
        assert targets("continuation") == ["more a1", "more b1"]

    def test_further_columns_are_kept(self):
        given = pairs().add_column("level", list(range(6)))
        for kind in KINDS:
            assert baseline(given, kind, prefixes(), tokenizer=TOKENIZER)["level"][:] == [1, 3]

    def test_traces_without_a_status_will_do_and_so_does_a_shipped_tokenizer(self):
        traces = prefixes().remove_columns("status")
        short = baseline(pairs(), "first(tokens=7)", traces, tokenizer="palign-toy")["continuation"][:]
        assert all(f"{TRACE}a".startswith(text) and text for text in short)

    def test_rows_with_an_empty_target_are_left_out_and_counted(self, caplog):
        given = table(pair(prefix=""), pair("b", prefix=None), pair("c"))
        with caplog.at_level(logging.WARNING, logger="palign_hf"):
            assert baseline(given, "prefix")["id"][:] == ["c"]
        assert "prefix: 2 of 3 rows left out, whose target would be empty" in caplog.text
        with pytest.raises(UserError, match="All 1 targets of `prefix` are empty"):
            baseline(table(pair(prefix="")), "prefix")

    def test_preferences_have_no_baseline_in_them(self):
        with pytest.raises(UserError, match="of the same prefix"):
            to_dpo(made("continuation"))


texts = st.text(st.sampled_from("ab .\n\u4e2d\u00e9\U0001f600$1"), min_size=1, max_size=60) | st.just(TRACE)
tokenizers = st.sampled_from([TOKENS, TextTokenizer(fast(metaspace("first"), None), "marked")])


class TestStartsOfTraces:
    @given(texts, st.integers(1, 20), tokenizers)
    def test_the_first_tokens_are_a_literal_start_of_the_trace(self, trace, most, tokens):
        ids, starts = tokens.encode_with_starts(trace)
        end = make_baseline({"name": "first", "tokens": most}).end(trace, tokens)
        assert 0 <= end <= len(trace)
        assert end == len(trace) if len(ids) <= most else sum(start < end for start in starts) <= most

    @given(texts, st.floats(0.01, 1), tokenizers)
    def test_a_share_ends_at_the_border_nearest_to_it(self, trace, ratio, tokens):
        ends = cuts(trace)
        counts = tokens.count_before(trace, ends)
        end = FixedRatio(ratio=ratio).end(trace, tokens)
        distance = abs(counts[ends.index(end)] - ratio * counts[-1])
        assert all(distance <= abs(count - ratio * counts[-1]) for count in counts)

    def test_shares_of_a_plain_trace(self):
        borders = [TRACE[:end] for end in cuts(TRACE)]
        assert FixedRatio(ratio=1).end(TRACE, TOKENS) == len(TRACE)
        assert TRACE[: FixedRatio(ratio=0.001).end(TRACE, TOKENS)] == borders[0]
        assert targets("fixed(ratio=0.4)")[0] in borders[1:3]

    def test_an_empty_trace_has_no_start(self):
        assert FixedRatio(ratio=0.5).end("", TOKENS) == 0


class TestBudget:
    def many(self) -> Dataset:
        return table(*(pair(str(number), prefix="p", continuation=" odd numbers" * number) for number in range(1, 20)))

    def sizes(self, rows: Dataset) -> int:
        return sum(len(TOKENS.encode(row["prefix"] + row["continuation"])) for row in rows)

    @pytest.mark.parametrize("budget", [10, 40, 100])
    def test_the_targets_fit_it_and_no_other_would(self, budget):
        rows = baseline(self.many(), "p-align", tokenizer=TOKENIZER, budget=budget)
        left = budget - self.sizes(rows)
        others = [row for row in self.many() if row["id"] not in rows["id"][:]]
        assert left >= 0 and others and all(self.sizes([row]) > left for row in others)
        assert rows["id"][:] == sorted(rows["id"][:], key=int)

    def test_the_rows_are_those_of_the_seed_in_every_order(self):
        given = self.many()
        turned = given.select(range(len(given) - 1, -1, -1))
        chosen = [
            baseline(rows, "p-align", tokenizer=TOKENIZER, budget=60, seed=seed)["id"][:]
            for rows, seed in [(given, 0), (turned, 0), (given, 1)]
        ]
        assert set(chosen[0]) == set(chosen[1]) != set(chosen[2])

    def test_a_budget_for_everything_changes_nothing(self):
        assert list(made("trace", budget=10**6)) == list(made("trace"))

    def test_one_that_holds_no_row_is_refused(self):
        with pytest.raises(UserError, match="`budget=1` holds no target: the shortest has"):
            baseline(self.many(), "p-align", tokenizer=TOKENIZER, budget=1)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lable", {}, "`lable` is no baseline .nearest match: `label`"),
        ("label(x=1)", {}, "`x` is no parameter of `label`. It takes none"),
        (7, {}, "`7` names no baseline"),
        ("fixed", {}, r"`fixed\(\)`: must have a share .*`fixed\(ratio=0.25\)`"),
        ("fixed(ratio=0)", {}, r"`fixed\(ratio=0\)`: must have a share of the trace, above 0"),
        ({"name": "fixed", "ratio": "a"}, {}, r"`fixed\(ratio=a\)`"),
        ("first", {}, r"`first\(\)`: must have a whole number of tokens"),
        ("first(tokens=0.5)", {}, r"`first\(tokens=0.5\)`"),
        ("label", {"per_problem": None}, "Only `p-align` has it; leave it out for `label`"),
        ("p-align", {"per_problem": 0}, "`per_problem=0` must be at least 1"),
        ("p-align", {"budget": 0}, "`budget=0` must be at least 1 token"),
        ("p-align", {"budget": 9, "tokenizer": None}, "without a tokenizer"),
        ("first(tokens=3)", {"tokenizer": None}, "without a tokenizer"),
        ("trace", {"prefixes": None}, "`trace` is made of the teacher's traces, .* no `prefixes` were given"),
        ("trace", {"prefixes": pairs()}, "a `Dataset` without was given"),
        ("trace", {"prefixes": prefixes().select([0])}, "`prefixes` has no row for `a`"),
        ("trace", {"prefixes": prefixes(a="published")}, "of `a` only the prefix was published"),
        ("first(tokens=3)", {"prefixes": prefixes(b="published")}, "of `b` only the prefix"),
        ("fixed(ratio=1)", {"prefixes": prefixes(b="published")}, "of `b` only the prefix"),
        ("label", {"pairs": table(pair(), pair("b", answer=" "))}, "`a`, `b` has none.*pairs.filter"),
        ("p-align", {"pairs": table(pair(status="rejected"))}, "None of the 1 pairs is kept"),
        ("p-align", {"pairs": table(pair()).remove_columns("sample")}, "Column `sample` missing"),
    ],
)
def test_what_cannot_be_is_refused_in_words(kind, options, message):
    given = {"pairs": pairs(), "prefixes": prefixes(), "tokenizer": TOKENIZER} | options
    with pytest.raises(UserError, match=message):
        baseline(kind=kind, **given)


def test_a_published_row_that_no_pair_is_of_does_no_harm():
    assert len(baseline(pairs(), "trace", prefixes(c="published"))) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_known_again_by_its_text(kind):
    assert str(make_baseline(kind)) == kind and make_baseline(make_baseline(kind)) == make_baseline(kind)
    assert kind.partition("(")[0] in BASELINES
