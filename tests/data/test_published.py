"""Published prefixes: our tables, tagged targets in four layouts, plain tables; borders are exact, no row is lost."""

import json
import logging

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st
from pair_tables import pair, table

from palign_hf.data.cells import Dropped
from palign_hf.data.pairs import split_by_outcome
from palign_hf.data.published import load_prefixes, read_prefixes
from palign_hf.data.published_rows import find_border, without_instruction
from palign_hf.data.trace_rows import content_id
from palign_hf.data.views import target, to_alpaca, to_sft, to_sharegpt
from palign_hf.errors import UserError
from palign_hf.prompts import SOLVE, TAG_STYLES
from palign_hf.schema import PREFIXES, SchemaError, check_table


SENTENCE = "Please reason step by step, and put your final answer within \\boxed{}."
QUESTION, PREFIX, MORE = "What is 2 + 3?", "Two and three.\n\nSo ", "\nfive: \\boxed{5}."
OUTPUT = f"<Begin_of_Prefix>{PREFIX}<End_of_Prefix>\n{MORE}"


def rows(*given: dict) -> Dataset:
    return Dataset.from_list(list(given))


def alpaca(output: object = OUTPUT, instruction: str = SENTENCE, question: str = QUESTION, **more: object) -> dict:
    return {"instruction": instruction, "input": question, "output": output} | more


class TestBorders:
    @given(st.text(), st.text(), st.sampled_from(["prefix", "draft", "think"]))
    def test_a_border_is_found_again_exactly(self, prefix, continuation, tags):
        notes: list[str] = []
        text = target({"prefix": prefix, "continuation": continuation}, tags)
        assert find_border(text, (tags,), notes) == (prefix, continuation) and not notes

    pieces = st.sampled_from(["<", ">", "\n", " ", "x", "</think>", "<Begin_of_Prefix>", "<End_of_Prefix>", "End_of"])
    texts = st.lists(pieces, max_size=6).map("".join)

    @given(texts, texts, st.sampled_from(["prefix", "draft", "think"]))
    def test_unless_the_prefix_holds_a_closing_tag_itself(self, prefix, continuation, tags):
        close = TAG_STYLES[tags].close.rstrip("\n")
        found = find_border(target({"prefix": prefix, "continuation": continuation}, tags), (tags,), [])
        if close in prefix:
            assert found[0] == prefix[: prefix.index(close)]
        else:
            assert found == (prefix, continuation)

    def test_the_style_is_the_one_a_text_begins_with(self):
        text = "<Begin_of_Draft>a <End_of_Prefix>\n<End_of_Draft>\nb"
        assert find_border(text, ("prefix", "draft"), []) == ("a <End_of_Prefix>\n", "b")

    def test_a_missing_line_break_is_noted(self):
        notes: list[str] = []
        assert find_border("<Begin_of_Prefix>a<End_of_Prefix>b", ("prefix",), notes) == ("a", "b")
        assert notes == ["no line break after the closing tag"]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a", "no prefix in tags"),
            (f" {OUTPUT}", "no prefix in tags"),
            ("<Begin_of_Prefix>a", "prefix never closed"),
            ("<Begin_of_Prefix>a<End_of_Draft>\nb", "prefix never closed"),
        ],
    )
    def test_what_has_no_border_is_dropped(self, text, reason):
        with pytest.raises(Dropped, match=reason):
            find_border(text, ("prefix", "draft"), [])


class TestQuestions:
    @pytest.mark.parametrize(
        "lead", [SOLVE.text.partition("{question}")[0], f"{SENTENCE}\n", f"{SENTENCE} ", SENTENCE]
    )
    def test_the_usual_instruction_is_taken_off(self, lead):
        assert without_instruction(f"{lead}{QUESTION}") == QUESTION
        assert without_instruction(f"{QUESTION}\n{SENTENCE}") == QUESTION

    @given(st.text())
    def test_the_solve_prompt_gives_its_question_back(self, question):
        assert without_instruction(SOLVE.message(question)) == question.rstrip()

    def test_any_other_wording_stays(self):
        other = f"Solve this. {SENTENCE} {QUESTION}"
        assert without_instruction(other) == other


# Every layout of a tagged target, with its question somewhere in it.
USER = f"{SENTENCE}\n{QUESTION}"
LAYOUTS = {
    "alpaca": alpaca(),
    "alpaca ": alpaca(instruction=USER, question=""),
    "alpaca  ": {"instruction": USER, "output": OUTPUT},
    "sharegpt": {"conversations": [{"from": "human", "value": USER}, {"from": "gpt", "value": OUTPUT}]},
    "messages": {
        "messages": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": USER},
            {"role": "assistant", "content": OUTPUT},
        ]
    },
    "prompt-completion": {"prompt": USER, "completion": OUTPUT},
    "prompt-completion ": {
        "prompt": [{"role": "user", "content": USER}],
        "completion": [{"role": "assistant", "content": OUTPUT}],
    },
}


class TestTagged:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_is_the_same_row(self, layout):
        prefixes, report = read_prefixes(rows(LAYOUTS[layout]))
        check_table(prefixes, PREFIXES)
        assert prefixes.features == PREFIXES.features | {"continuation": PREFIXES.features["prefix"]}
        (row,) = prefixes
        known = {"question": QUESTION, "prefix": PREFIX, "trace": PREFIX, "continuation": MORE, "status": "published"}
        known |= {"id": content_id(QUESTION, PREFIX), "prefix_end": len(PREFIX), "probes": [], "source": None}
        assert row == dict.fromkeys(PREFIXES.columns) | known
        assert (report.layout, report.rows_in, report.rows_out) == (layout.strip(), 1, 1)
        assert report.answers_found == {"none": 1} and not report.dropped and not report.notes

    def test_gold_is_that_of_a_known_column_and_never_the_students_own(self):
        prefixes, report = read_prefixes(rows(alpaca(answer=7.0), alpaca(answer=None, question="Another?")))
        assert prefixes["answer"][:] == ["7", None]
        assert report.answers_found == {"answer column `answer`": 1, "none": 1}

    def test_what_can_not_be_read_is_dropped_and_counted(self, caplog):
        given = rows(
            alpaca(),
            alpaca("no tags"),
            alpaca("<Begin_of_Draft>never closed"),
            alpaca(" "),
            alpaca(None),
            alpaca(question="", instruction=SENTENCE),
            alpaca("<Begin_of_Draft>a<End_of_Draft>b", instruction="Be brief.", question="Why?"),
            alpaca("<Begin_of_Draft><End_of_Draft>\nb"),
        )
        prefixes, report = read_prefixes(given)
        assert prefixes["prefix"][:] == [PREFIX, "a", ""] and prefixes["question"][:] == [QUESTION, "Why?", QUESTION]
        assert (report.rows_in, report.rows_out) == (8, 3)
        reasons = ["no prefix in tags", "prefix never closed", "output empty", "output missing", "question empty"]
        assert report.dropped == dict.fromkeys(reasons, 1)
        odd = ["an instruction of its own left out", "no line break after the closing tag", "blank prefix"]
        assert report.notes == dict.fromkeys(odd, 1)
        with caplog.at_level(logging.INFO, logger="palign_hf"):
            load_prefixes(given)
        (record,) = caplog.records
        assert record.levelname == "WARNING" and record.message == report.summary()

    def test_conversations_that_are_not_one_exchange_are_dropped(self):
        talks = [[{"role": "user", "content": "a"}], LAYOUTS["messages"]["messages"]]
        assert read_prefixes(rows(*({"messages": talk} for talk in talks)))[1].dropped == {"output missing": 1}

    def test_another_style_can_be_asked_for(self):
        thinking = rows(alpaca("<think>\na\n</think>\n\nb"))
        assert load_prefixes(thinking, tag_style="think")["prefix"][:] == ["a"]
        with pytest.raises(SchemaError, match="Every row was dropped: .*dropped: no prefix in tags 1"):
            load_prefixes(thinking)

    def test_repeated_content_gets_ids_of_its_own(self):
        prefixes, report = read_prefixes(rows(alpaca(), alpaca()))
        assert prefixes["id"][:] == [content_id(QUESTION, PREFIX), f"{content_id(QUESTION, PREFIX)}-1"]
        assert report.notes == {"repeats an earlier row": 1}

    def test_a_limit_reads_the_first_rows(self):
        assert read_prefixes(rows(alpaca(), alpaca("no tags")), max_samples=1)[1].rows_in == 1

    def test_a_file_gives_its_name_as_the_source(self, tmp_path):
        (tmp_path / "set.json").write_text(json.dumps([alpaca(), alpaca(source="book")]))
        assert load_prefixes(tmp_path / "set.json")["source"][:] == ["set.json", "book"]


class TestOurOwn:
    @pytest.mark.parametrize("view", [to_sft, to_alpaca, to_sharegpt])
    @pytest.mark.parametrize("tags", ["prefix", "draft"])
    def test_a_view_is_read_back_with_its_borders(self, view, tags):
        pairs = table(pair(prefix=PREFIX, continuation=MORE), pair("b", question="Q\n\n", prefix=""))
        read = load_prefixes(view(pairs, tag_style=tags))
        assert read["question"][:] == ["question a", "Q"]
        assert read["prefix"][:] == [PREFIX, ""] and read["continuation"][:] == [MORE, "more b0"]
        assert read["id"][:] == (
            ["a", "b"] if view is to_sft else [content_id(r["question"], r["prefix"]) for r in read]
        )

    def prefixes(self) -> Dataset:
        usual = {"question": "q", "trace": "p and more", "prefix": "p ", "prefix_end": 2, "status": "sufficient"}
        usual |= {"n_segments": 3, "prefix_ratio": 0.5, "answer": "5"}
        probes = [{"segments": 1, "margin": 0.5, "verdict": "ENOUGH"}]
        full = [
            dict.fromkeys(PREFIXES.columns) | usual | more for more in ({"id": "a", "probes": probes}, {"id": "b"})
        ]
        return Dataset.from_list(full, features=PREFIXES.features)

    def test_prefixes_are_read_as_they_are(self, tmp_path):
        given = self.prefixes()
        given.to_parquet(str(tmp_path / "data" / "train-00000-of-00001.parquet"))
        (tmp_path / "report.json").write_text("{}")
        wanted = [given[0], given[1] | {"probes": []}]
        for source in (given, tmp_path):
            read, report = read_prefixes(source)
            assert read.features == PREFIXES.features and list(read) == wanted
            assert (report.layout, report.rows_in, report.rows_out) == ("prefixes", 2, 2)

    def test_prefixes_without_probes_and_with_continuations(self):
        given = (
            self.prefixes().remove_columns("probes").add_column("continuation", ["c", None]).add_column("x", [1, 2])
        )
        read, report = read_prefixes(given)
        assert read["probes"][:] == [[], []] and read["continuation"][:] == ["c", None]
        assert report.columns_left_out == () and report.answers_found == {"answer column `answer`": 2}

    def test_pairs_give_one_row_a_problem(self):
        pairs = table(
            pair("a", 0, "rejected", reason="wrong"),
            pair("a", 2, answer="a long answer, of two lines\nyet final"),
            pair("a", 1, prefix="longer. ", fallback="longer_prefix", answer="a long answer, of two lines\nyet final"),
            pair("b", 1, "rejected", answer="5", source="s"),
            pair("c", 0, "left_out", prefix=""),
            pair("d", 0, "error"),
            pair("e", 0, "skipped", question=None),
        )
        read, report = read_prefixes(pairs)
        assert read["id"][:] == ["a", "b", "d"] and read["status"][:] == ["published"] * 3
        assert read["prefix"][:] == read["trace"][:] == ["longer. ", "prefix b. ", "prefix d. "]
        # What was not kept is no continuation to train on.
        assert read["continuation"][:] == ["more a1", None, None]
        assert read["answer"][:] == ["a long answer, of two lines\nyet final", "5", None]
        assert read["source"][:] == [None, "s", None]
        assert report.dropped.pop("another sample of its problem") == 2
        assert report.dropped == {"no prefix: its pair is `left_out`": 1, "question missing": 1}
        assert (report.rows_in, report.rows_out) == (7, 3)

    def test_a_folder_of_pairs_asks_for_the_split(self, tmp_path):
        for split, rows_of in split_by_outcome(table(pair(), pair("b", status="rejected"))).items():
            rows_of.to_parquet(str(tmp_path / "data" / f"{split}-00000-of-00001.parquet"))
        assert load_prefixes(tmp_path, split="train")["id"][:] == ["a"]
        with pytest.raises(UserError, match="one must be chosen"):
            load_prefixes(tmp_path)

    def test_pairs_of_version_1(self):
        given = self.prefixes().add_column("continuation", ["c", "d"]).add_column("sample", [0, 0])
        given = given.add_column("correct", [True, False]).add_column("finish_reason", ["stop"] * 2)
        given = given.add_column("answer_found", ["5", "6"]).add_column("flags", [[""], [""]])
        read = load_prefixes(given)
        assert read["prefix"][:] == ["p ", "p "] and read["continuation"][:] == ["c", None]


class TestPlain:
    def plain(self, **more: object) -> dict:
        return {"question": QUESTION, "prefix": PREFIX} | more

    def test_a_prefix_alone(self):
        (row,) = load_prefixes(rows(self.plain()))
        assert (row["trace"], row["prefix_end"], row["status"]) == (PREFIX, len(PREFIX), "published")
        assert "continuation" not in row and row["id"] == content_id(QUESTION, PREFIX)

    def test_what_stands_beside_it_is_used(self):
        given = rows(
            self.plain(id=1, trace=f"{PREFIX}more", answer="\\boxed{5}", continuation="c", source="s"),
            self.plain(id=2, trace="else", answer="6", continuation="c", source=None),
            self.plain(id=3, trace=None, answer=None, continuation=None, source=None),
            self.plain(id=4, trace="t", answer=None, continuation=None, source=None) | {"prefix": None},
        )
        read, report = read_prefixes(given)
        assert read["id"][:] == ["1", "3"] and read["status"][:] == ["fixed", "published"]
        assert read["trace"][:] == [f"{PREFIX}more", PREFIX] and read["answer"][:] == ["5", None]
        assert read["continuation"][:] == ["c", None] and read["source"][:] == ["s", None]
        assert "no judge" in read["reason"][0] and read["reason"][1] is None
        assert report.dropped == {"the trace doesn't begin with the prefix": 1, "prefix missing": 1}

    def test_without_an_id_it_is_that_of_the_trace(self):
        trace = f"{PREFIX}more"
        assert load_prefixes(rows(self.plain(trace=trace)))["id"][:] == [content_id(QUESTION, trace)]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (rows(alpaca()), {"tag_style": "none"}, "`tag_style='none'` has no tags"),
        (rows(alpaca()), {"tag_style": "prefx"}, "`prefx` is no tag style .nearest match: `prefix`"),
        (rows(alpaca()), {"max_samples": 0}, "`max_samples=0` must be at least 1"),
        (
            rows({"question": "q", "prefix": "p"}),
            {"tag_style": "draft"},
            "`tag_style='draft'`: this table has its prefixes in",
        ),
        (rows({"question": "q", "prefx": "p"}), {}, "`prefix` .nearest match: `prefx`. is missing.*`alpaca`"),
        (rows(alpaca(messages=[])), {}, "fit several layouts: `alpaca`, `messages`.*select_columns"),
        (rows(alpaca(7)), {}, "Row 1: column `output` holds a `int`.*text is needed"),
        (rows({"question": "q", "prefix": 7}), {}, "Row 1: column `prefix` holds a `int`"),
        (rows({"question": "q", "prefix": "p", "continuation": 7}), {}, "Row 1: column `continuation` holds a `int`"),
        (rows(alpaca(id=""), alpaca(id="a")), {}, "Row 1: the id column `id` is empty.*remove the column"),
        (rows(alpaca(id="a"), alpaca(id="a")), {}, "The id column `id` repeats `a`.*one row of each problem"),
        (Dataset.from_dict({"question": [], "prefix": []}), {}, "is empty: it holds no rows"),
        (rows(alpaca()).to_iterable_dataset(), {}, "is a stream"),
        (DatasetDict(a=rows(alpaca()), b=rows(alpaca())), {}, "one must be chosen"),
        ("no/such/set.jsonl", {}, "does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(given, options, message):
    with pytest.raises(UserError, match=message):
        load_prefixes(given, **options)


@pytest.mark.parametrize(
    ("prefix", "continuation", "tag"),
    [
        ("We <End_of_Prefix> add.", "So 4.", "<End_of_Prefix>"),
        ("We add.", "So <End_of_Prefix>\n4.", "<End_of_Prefix>"),
        ("We <Begin_of_Prefix> add.", "So 4.", "<Begin_of_Prefix>"),
    ],
)
def test_tags_inside_the_text_of_a_published_set_are_dropped_with_their_reason(prefix, continuation, tag):
    """Nobody can tell which of two closing tags is the border."""
    tagged = alpaca(f"<Begin_of_Prefix>{prefix}<End_of_Prefix>\n{continuation}")
    columns = {"question": QUESTION, "prefix": prefix, "continuation": continuation}
    for odd, good in ((tagged, alpaca()), (columns, columns | {"prefix": PREFIX, "continuation": MORE})):
        read, report = read_prefixes(rows(odd, good))
        assert read["prefix"][:] == [PREFIX]
        assert report.dropped == {f"`{tag}` inside the text, where it would be taken for the border": 1}
