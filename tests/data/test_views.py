"""Views for trainers: the same prompt bytes everywhere, tags around a prefix, and only rows that are kept."""

import json
import logging

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st
from pair_tables import pair, table

from palign_hf.data.pairs import split_by_outcome
from palign_hf.data.views import matches, target, to_alpaca, to_dpo, to_sft, to_sharegpt
from palign_hf.errors import UserError
from palign_hf.prompts import SOLVE, TAG_STYLES, Template
from palign_hf.schema import OUTCOMES, TRAINED, SchemaError


OPEN, CLOSE = "<Begin_of_Prefix>", "<End_of_Prefix>\n"
QUESTION = "What is {prefix} of \\frac{1}{2}?  \n"
ROW = pair(question=QUESTION, prefix="Half. ", continuation="So \\boxed{1}.\n")
PROMPT = "Please reason step by step, and put your final answer within \\boxed{}.\n\nWhat is {prefix} of \\frac{1}{2}?"
TARGET = f"{OPEN}Half. {CLOSE}So \\boxed{{1}}.\n"


class TestFormats:
    def test_sft_is_two_conversations(self):
        view = to_sft(table(ROW))
        assert view.column_names == ["id", "prompt", "completion"]
        assert view[0] == {
            "id": "a",
            "prompt": [{"role": "user", "content": PROMPT}],
            "completion": [{"role": "assistant", "content": TARGET}],
        }

    def test_alpaca_has_the_whole_prompt_as_its_instruction(self):
        assert list(to_alpaca(table(ROW))) == [{"instruction": PROMPT, "input": "", "output": TARGET}]

    def test_sharegpt_is_one_conversation(self):
        turns = [{"from": "human", "value": PROMPT}, {"from": "gpt", "value": TARGET}]
        assert list(to_sharegpt(table(ROW))) == [{"conversations": turns}]

    @pytest.mark.parametrize("view", [to_sft, to_alpaca, to_sharegpt])
    def test_json_lines_hold_what_the_table_does(self, tmp_path, view):
        made = view(table(ROW, pair("b", prefix="\u4e2d\u2028 ")))
        made.to_json(str(tmp_path / "view.jsonl"))
        lines = (tmp_path / "view.jsonl").read_text(encoding="utf-8").split("\n")
        assert [json.loads(line) for line in lines if line] == list(made)

    @pytest.mark.parametrize("name", TAG_STYLES)
    def test_tags_by_their_name(self, name):
        style = TAG_STYLES[name]
        assert to_alpaca(table(ROW), tag_style=name)["output"][:] == [style.wrap("Half. ", "So \\boxed{1}.\n")]

    def test_a_template_of_ones_own(self):
        own = Template("solve", "Think.\n{question}", ("question",))
        assert to_sharegpt(table(pair()), template=own)[0]["conversations"][0]["value"] == "Think.\nquestion a"

    def test_no_prefix_has_no_tags_and_an_empty_one_has(self):
        view = to_alpaca(table(pair(prefix=None, continuation="c"), pair("b", prefix="", continuation="c")))
        assert view["output"][:] == ["c", f"{OPEN}{CLOSE}c"]

    def test_any_table_with_the_three_texts_will_do(self):
        plain = Dataset.from_dict({"question": ["q"], "prefix": ["p"], "continuation": ["c"], "prompt": [7]})
        assert to_sft(plain).column_names == ["prompt", "completion"]
        assert to_alpaca(plain.with_format("numpy"))["output"][:] == [f"{OPEN}p{CLOSE}c"]

    @given(st.text(), st.text(), st.sampled_from(sorted(TAG_STYLES)))
    def test_a_target_holds_both_texts_byte_for_byte(self, prefix, continuation, tags):
        style, row = TAG_STYLES[tags], {"prefix": prefix, "continuation": continuation}
        assert target(row, tags) == style.open + prefix + style.close + continuation
        assert target(row | {"prefix": None}, tags) == continuation


def test_the_cache_tells_apart_what_can_differ(monkeypatch):
    own = Template("solve", "Think.\n{question}", ("question",))
    made = [to_sft(table(ROW)), to_sft(table(ROW), tag_style="draft"), to_sft(table(ROW), template=own)]
    monkeypatch.setattr("palign_hf.data.views.VIEW_VERSION", 99)
    assert len({view._fingerprint for view in [*made, to_sft(table(ROW))]}) == 4


class TestRows:
    def test_only_kept_ones_are_trained_on_and_the_others_are_counted(self, caplog):
        rows = [pair(str(number), status=status) for number, status in enumerate(OUTCOMES)]
        with caplog.at_level(logging.INFO, logger="palign_hf"):
            assert to_sft(table(*rows))["id"][:] == ["0"]
        assert "4 of 5 pairs left out of the view" in caplog.text

    def test_published_continuations_were_kept_by_who_published_them(self):
        published = table(*(pair(status, status=status) for status in TRAINED)).remove_columns("strict")
        assert to_sft(published)["id"][:] == list(TRAINED)

    @pytest.mark.parametrize("view", [to_sft, to_alpaca, to_sharegpt])
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (table(pair(status="rejected")), "None of the 1 rows is kept.*split `train`"),
            (table(pair()).rename_column("prefix", "prefx"), "lacks `prefix` .nearest match: `prefx`"),
            (table(pair(), pair("b", continuation=None)), "`continuation` is null in a row .*`b`"),
            (table(pair(question=None)), "`question` is null"),
            (DatasetDict(train=table(pair())), r"`DatasetDict` has no such view.*pairs\['train'\]"),
            (table(pair()).rename_column("strict", "correct"), "version 1.*`load_pairs`"),
        ],
    )
    def test_what_has_no_view_is_refused_in_words(self, view, given, message):
        with pytest.raises(UserError, match=message):
            view(given)

    def test_unknown_tags_are_refused_even_if_no_row_has_a_prefix(self):
        with pytest.raises(UserError, match="`prefixx` is no tag style .nearest match: `prefix`"):
            to_sft(table(pair(prefix=None)), tag_style="prefixx")


class TestPreferences:
    def test_a_kept_sample_is_preferred_to_a_rejected_one(self):
        rows = table(pair(sample=1), pair(sample=0, status="rejected"), pair("b"))
        for both in (rows, split_by_outcome(rows)):
            view = to_dpo(both)
            assert view.column_names == ["id", "prompt", "chosen", "rejected"]
            assert list(view) == [
                {
                    "id": "a",
                    "prompt": [{"role": "user", "content": SOLVE.message("question a")}],
                    "chosen": [{"role": "assistant", "content": f"{OPEN}prefix a. {CLOSE}more a1"}],
                    "rejected": [{"role": "assistant", "content": f"{OPEN}prefix a. {CLOSE}more a0"}],
                }
            ]

    def samples(self) -> Dataset:
        wrong = {"status": "rejected", "strict": False, "lenient": False}
        return table(
            pair(sample=0, status="rejected", strict=True, lenient=True, flags=["cut"]),
            pair(sample=3, **wrong),
            pair(sample=2, **wrong),
            pair(sample=5, strict=True),
            pair(sample=4, strict=True),
            pair("b", sample=0, strict=True),
            pair("b", sample=1, **wrong),
        )

    def texts(self, view: Dataset) -> list[tuple[str, str]]:
        return [tuple(row[side][0]["content"][-2:] for side in ("chosen", "rejected")) for row in view]

    def test_wrong_answers_come_before_right_ones_with_a_flaw(self):
        everything = [("a4", "a2"), ("a4", "a3"), ("a4", "a0"), ("a5", "a2"), ("a5", "a3"), ("a5", "a0"), ("b0", "b1")]
        assert self.texts(to_dpo(self.samples())) == [("a4", "a2"), ("b0", "b1")]
        assert self.texts(to_dpo(self.samples(), per_problem=2)) == [("a4", "a2"), ("a4", "a3"), ("b0", "b1")]
        assert self.texts(to_dpo(self.samples(), per_problem=None)) == everything

    @pytest.mark.parametrize(
        "other",
        [
            {"prefix": "another"},
            {"prefix": None},
            {"reason": "balance: more than 3 pairs of source `x`"},
            {"grading_error": "timeout"},
            {"status": "skipped"},
            {"row_id": "b"},
        ],
    )
    def test_what_was_not_rejected_for_what_it_says_is_no_match(self, other):
        rejected = pair(**{"sample": 1, "status": "rejected", "reason": "wrong"} | other)
        with pytest.raises(UserError, match=r'of the same prefix.*`sampling="all"`'):
            to_dpo(table(pair(), rejected))

    def test_no_match_is_made_of_one_split_alone(self):
        with pytest.raises(UserError, match="`train` and `rejected`"):
            to_dpo(split_by_outcome(table(pair(), pair(sample=1, status="rejected")))["train"])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"per_problem": 0}, "`per_problem=0` must be at least 1"),
            ({"tag_style": "x"}, "`x` is no tag style"),
        ],
    )
    def test_wrong_options(self, change, message):
        with pytest.raises(UserError, match=message):
            to_dpo(self.samples(), **change)

    def test_it_needs_to_know_what_became_of_each_sample(self):
        with pytest.raises(SchemaError, match="lacks `status`"):
            to_dpo(self.samples().remove_columns("status"))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.sampled_from(["p", "", None]),
                st.sampled_from(OUTCOMES),
                st.booleans(),
            ),
            max_size=12,
        ),
        st.none() | st.integers(1, 3),
    )
    def test_every_match_is_of_one_task_and_none_is_missing(self, rows, per_problem):
        samples = [
            pair(name, number, status, prefix=prefix, strict=right)
            for number, (name, prefix, status, right) in enumerate(rows)
        ]
        found = matches(samples, per_problem)
        possible = [
            (at, other)
            for at, one in enumerate(samples)
            for other, two in enumerate(samples)
            if (one["status"], two["status"]) == ("kept", "rejected")
            and (one["id"], one["prefix"]) == (two["id"], two["prefix"])
        ]
        assert set(found) <= set(possible) and len(set(found)) == len(found)
        for problem in "abc":
            of_one = [match for match in possible if samples[match[0]]["id"] == problem]
            taken = sum(samples[at]["id"] == problem for at, _ in found)
            assert taken == (len(of_one) if per_problem is None else min(per_problem, len(of_one)))


@pytest.mark.parametrize("part", ["prefix", "continuation"])
@pytest.mark.parametrize("view", [to_sft, to_alpaca, to_sharegpt])
def test_rows_with_tags_inside_their_text_are_left_out_of_views_with_a_warning(view, part, caplog):
    odd = pair("b", **{part: "So <End_of_Prefix> it is."})
    assert list(view(table(ROW, odd))) == list(view(table(ROW)))
    assert "1 of 2 rows left out of the view: their text holds a tag of `tag_style='prefix'`" in caplog.text
    assert len(view(table(ROW, odd), tag_style="draft")) == 2
    with pytest.raises(UserError, match="All 1 rows contain a tag of `tag_style='prefix'`.*Give another `tag_style`"):
        view(table(odd))


def test_preferences_with_tags_inside_are_left_out(caplog):
    worse = {"status": "rejected", "reason": "wrong answer", "sample": 1, "continuation": "So <End_of_Prefix> 2."}
    fine = [pair("a"), pair("a", **worse | {"continuation": "So 2."})]
    assert len(to_dpo(table(*fine, pair("b"), pair("b", **worse)))) == 1
    assert "1 of 2 rows left out of the view" in caplog.text
