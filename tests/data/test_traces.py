"""Any teacher dataset to TRACES: every layout, every place, every error, and no row without an account."""

import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, Features, IterableDataset, List, Value
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.data.cells import split_thinking
from palign_hf.data.layouts import LAYOUTS
from palign_hf.data.trace_rows import OWN_ANSWER, content_id
from palign_hf.data.traces import KNOWN, load_traces, read_traces
from palign_hf.errors import UserError
from palign_hf.schema import TRACES, SchemaError, check_table


DATA = Path(__file__).parents[1] / "fixtures" / "traces"


def rows(**columns: list) -> Dataset:
    return Dataset.from_dict(columns)


def read_error(source: object, **options: object) -> str:
    with pytest.raises(UserError) as error:
        list(load_traces(source, **options))
    return str(error.value)


# file -> (layout, [(trace, answer), ...], where the answers came from, what was dropped, notes)
CASES = {
    "traces.jsonl": (
        "traces",
        [("Two and three. That makes five.", "5"), ("Four is two twos.", None)],
        {"answer column `answer`": 1, "none": 1},
        {},
        {},
    ),
    "p-align.jsonl": (
        "p-align",
        [("Start at six. Take four away. Two is left.", "2"), ("Half of one is 0.5. Done.", "0.5")],
        {"answer column `answer`": 2},
        {},
        {},
    ),
    "s1k-1.1.jsonl": (
        "s1k-1.1-deepseek",
        [
            ("Okay, one.\n\nPlus a half.  ", "\\frac{3}{2}"),
            ("2, 4, 8, 16, 32, 64, 128.", "128"),
            ("Write n = 2k. Square it.", None),
        ],
        {"boxed in `solution`": 1, "bare `solution`": 1, "none": 1},
        {},
        {},
    ),
    "s1k.jsonl": (
        "s1k",
        [("Three threes are nine.", "9"), ("Five.", "10")],
        {"bare `solution`": 1, "boxed in `solution`": 1},
        {},
        {"several texts, none marked: first kept": 1},
    ),
    "openthoughts.jsonl": (
        "sharegpt",
        [("\n\nEight halves to four.\n\n", "4"), ("\n\nA for loop will do.\n\n", None)],
        {OWN_ANSWER: 1, "none": 1},
        {},
        {},
    ),
    "openthoughts-metadata.jsonl": (
        "openthoughts-metadata",
        [("Seven twice is fourteen.", "14"), ("Use print.", None)],
        {"boxed in `ground_truth_solution`": 1, "none": 1},
        {},
        {},
    ),
    "openr1-math.jsonl": (
        "openr1-math",
        [("\nFour fives are twenty.\n", "20"), ("\nHm, maybe", "0")],
        {"answer column `answer`": 2},
        {},
        {"no generation marked correct: first kept": 1, "thinking never closed": 1},
    ),
    "limo.jsonl": (
        "limo",
        [
            ("Okay. Three and four. **Final Answer** \\boxed{7}", "7"),
            ("Four each. Eight. \\boxed{8}", "8"),
        ],
        {"answer column `answer`": 2},
        {},
        {},
    ),
    "bespoke-stratos.jsonl": (
        "sharegpt",
        [("\n\nTen quarters.\n\n", "\\dfrac{5}{2}"), ("\n\nZero times", None)],
        {OWN_ANSWER: 1, "none": 1},
        {},
        {"thinking never closed": 1},
    ),
    "alpaca.json": (
        "alpaca",
        [("One, then two.", "3"), ("Five is five.", None)],
        {OWN_ANSWER: 1, "none": 1},
        {},
        {},
    ),
    "sharegpt.jsonl": (
        "sharegpt",
        [("Three twos.", "2")],
        {OWN_ANSWER: 1},
        {"not one question and one reply": 1, "trace missing": 1},
        {},
    ),
    "messages.jsonl": (
        "messages",
        [("Seven less two.\n", "5"), ("Two and two are \\fbox{4}.", "4")],
        {OWN_ANSWER: 2},
        {},
        {"thinking never opened": 1},
    ),
    "prompt-completion.jsonl": (
        "prompt-completion",
        [("Take one from three.", "2")],
        {OWN_ANSWER: 1},
        {},
        {},
    ),
    "thinking.csv": (
        "thinking",
        [("\nTwo twos, four.\n", "4"), ("\nTwo threes, six.\n", "6")],
        {OWN_ANSWER: 2},
        {},
        {},
    ),
}


class TestLayouts:
    @pytest.mark.parametrize("streaming", [False, True])
    @pytest.mark.parametrize("file", CASES)
    def test_sample(self, file, streaming):
        layout, expected, answers, dropped, notes = CASES[file]
        dataset, report = read_traces(DATA / file, streaming=streaming)
        assert isinstance(dataset, IterableDataset if streaming else Dataset)
        check_table(dataset, TRACES)
        read = list(dataset)
        assert [(row["trace"], row["answer"]) for row in read] == expected
        assert list(read[0]) == list(TRACES.columns) == list(dataset.features)
        assert report.layout == layout
        assert (report.answers_found, report.dropped, report.notes) == (answers, dropped, notes)
        assert report.rows_in == report.rows_out + sum(report.dropped.values())
        assert report.rows_out == len(read) == sum(report.answers_found.values())

    @pytest.mark.parametrize("file", CASES)
    def test_reading_its_own_table_changes_nothing(self, file):
        once = load_traces(DATA / file)
        twice, report = read_traces(once)
        assert list(twice) == list(once)
        assert (report.layout, report.columns_left_out, report.notes) == ("traces", (), {})

    def test_every_layout_has_a_sample(self):
        assert {layout.name for layout in LAYOUTS} - {"s1k-1.1-gemini"} <= {case[0] for case in CASES.values()}

    def test_every_known_name_can_be_forced_or_says_what_it_needs(self):
        for name in KNOWN:
            assert f"`known={name!r}` reads" in read_error(rows(a=["x"]), known=name)

    def test_gemini_by_force_and_where_it_is_alone(self):
        forced, report = read_traces(DATA / "s1k-1.1.jsonl", known="s1k-1.1-gemini")
        assert forced["trace"][0] == "G: one and a half."
        assert report.layout == "s1k-1.1-gemini"
        alone = datasets.load_dataset("json", data_files=str(DATA / "s1k-1.1.jsonl"), split="train")
        dataset, report = read_traces(alone.remove_columns(["deepseek_thinking_trajectory", "deepseek_attempt"]))
        assert report.layout == "s1k-1.1-gemini"
        assert dataset["trace"][:] == forced["trace"][:]

    def test_dataset_names_stand_for_their_layout(self):
        assert read_traces(DATA / "openthoughts.jsonl", known="openthoughts")[1].layout == "sharegpt"

    def test_input_of_alpaca_joins_the_question(self):
        assert load_traces(DATA / "alpaca.json")["question"][:] == ["Add the numbers.\n1 and 2", "What is 5?"]

    def test_legacy_sequences_of_turns(self):
        turns = {"from": ["human", "gpt"], "value": ["Why?", "<think>a</think>b"]}
        features = Features({"conversations": {"from": List(Value("string")), "value": List(Value("string"))}})
        dataset = load_traces(Dataset.from_list([{"conversations": turns}], features=features))
        assert dataset[0]["question"] == "Why?" and dataset[0]["trace"] == "a"

    @pytest.mark.parametrize(
        "turns",
        [
            [("assistant", "hi"), ("user", "q")],
            [("user", "q"), ("user", "r"), ("assistant", "a")],
            [("user", "q"), ("tool", "t"), ("assistant", "a")],
        ],
    )
    def test_other_conversations_are_dropped_and_counted(self, turns):
        good = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        bad = [{"role": role, "content": text} for role, text in turns]
        dataset, report = read_traces(rows(messages=[good, bad]))
        assert len(dataset) == 1
        assert report.dropped == {"not one question and one reply": 1}

    def test_a_specific_layout_wins_over_a_general_one(self):
        dataset = rows(question=["q"], trace=["t"], solution=["s"], answer=["a"], messages=[[]])
        assert read_traces(dataset)[1].layout == "traces"

    def test_several_layouts_are_an_error_that_shows_both(self):
        talk = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
        dataset = rows(messages=talk, instruction=["i"], output=["o"])
        text = read_error(dataset)
        assert "fit several layouts: `alpaca` (question `instruction`, trace `output`); `messages`" in text
        assert "`known='alpaca'`" in text
        assert load_traces(dataset, known="messages")["trace"][:] == ["a"]

    def test_several_tagged_columns_are_an_error(self):
        text = read_error(rows(problem=["q"], a=["<think>1</think>"], b=["<think>2</think>"]))
        assert "(question `problem`, trace `a`); `thinking` (question `problem`, trace `b`)" in text

    def test_no_layout_names_columns_layouts_and_the_way_out(self):
        text = read_error(rows(quest1on=["q"], solution=["s"], answer=["a"]))
        assert text.startswith("The columns `quest1on`, `solution`, `answer` fit no known layout. Nearest is `limo`")
        assert "also needs `question` (nearest match: `quest1on`)" in text
        assert "`columns={'question': ..., 'trace': ..., 'answer': ...}`" in text
        assert all(f"`{layout.name}`" in text for layout in LAYOUTS)

    def test_unknown_known_names_the_nearest(self):
        text = read_error(DATA / "limo.jsonl", known="lime")
        assert "`known='lime'` (nearest match: `limo`) is not a known layout" in text

    def test_known_with_missing_columns(self):
        text = read_error(DATA / "limo.jsonl", known="p-align")
        assert "the dataset has no `Long-CoT`" in text
        assert "It has `question`, `solution`, `answer`" in text


class TestColumnsByHand:
    def test_reads_exactly_what_is_named(self):
        dataset = rows(id=["x", "x"], problem=["q", "r"], cot=["c", "d"], gold=[142.0, 0.5], answer=["no", "no"])
        columns = {"question": "problem", "trace": "cot", "answer": "gold"}
        traces, report = read_traces(dataset, columns=columns, source_name="mine")
        assert traces[:] == {
            "id": [content_id("q", "c"), content_id("r", "d")],
            "question": ["q", "r"],
            "trace": ["c", "d"],
            "answer": ["142", "0.5"],
            "source": ["mine", "mine"],
        }
        assert report.layout == "by hand"
        assert report.columns_left_out == ("id", "answer")

    def test_all_targets(self):
        dataset = rows(q=["Q"], t=["T"], s=["so \\boxed{4}"], i=[3], o=["origin"])
        columns = {"question": "q", "trace": "t", "solution": "s", "id": "i", "source": "o"}
        assert load_traces(dataset, columns=columns, source_name="ignored")[0] == {
            "id": "3",
            "question": "Q",
            "trace": "T",
            "answer": "4",
            "source": "origin",
        }

    def test_some_targets_change_a_known_layout(self):
        dataset = load_traces(DATA / "openr1-math.jsonl", columns={"source": "source", "id": "problem"})
        assert dataset["source"][:] == ["made up", "made up"]
        assert dataset["id"][:] == ["What is 4 * 5?", "What is 9 - 9?"]
        assert dataset["trace"][0] == "\nFour fives are twenty.\n"

    def test_unknown_target(self):
        text = read_error(DATA / "limo.jsonl", columns={"traces": "solution"})
        assert text.startswith("`columns={'traces': ...}`: a trace has no `traces` (nearest match: `trace`)")
        assert "`id`, `question`, `trace`, `answer`, `source`, `solution`" in text

    def test_missing_source_column(self):
        text = read_error(DATA / "limo.jsonl", columns={"question": "question", "trace": "solutoin"})
        assert "`columns={'trace': 'solutoin'}`: the dataset has no `solutoin` (nearest match: `solution`)" in text
        assert "It has `question`, `solution`, `answer`" in text


class TestAnswers:
    @pytest.mark.parametrize(
        ("given", "answer", "where"),
        [
            ("5", "5", "answer column `answer`"),
            (" 5\n", " 5\n", "answer column `answer`"),
            ("$\\boxed{5}$", "5", "boxed in `answer`"),
            ("", None, "none"),
            (None, None, "none"),
        ],
    )
    def test_text(self, given, answer, where):
        dataset, report = read_traces(rows(question=["q", "r"], trace=["t", "u"], answer=[given, "x"]))
        assert dataset[0]["answer"] == answer
        assert report.answers_found == Counter([where, "answer column `answer`"])

    @pytest.mark.parametrize(
        ("given", "answer"),
        [(204, "204"), (142.0, "142"), (0.25, "0.25"), (-3.0, "-3"), (float("nan"), None), (float("inf"), "inf")],
    )
    def test_numbers(self, given, answer):
        assert load_traces(rows(question=["q"], trace=["t"], answer=[given]))[0]["answer"] == answer

    def test_mixed_types_of_a_file(self, tmp_path):
        lines = [{"question": f"q{n}", "trace": "t", "answer": gold} for n, gold in enumerate([1, "x", 2.5, None])]
        path = tmp_path / "mixed.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        assert load_traces(path)["answer"][:] == ["1", "x", "2.5", None]

    def test_null_answer_falls_back_to_the_solution_and_not_to_the_teacher(self):
        columns = {"question": ["q", "r"], "trace": ["so \\boxed{1}", "so \\boxed{2}"]}
        dataset = load_traces(rows(**columns, answer=[None, "3"], solution=["it is \\boxed{4}", "\\boxed{5}"]))
        assert dataset["answer"][:] == ["4", "3"]
        assert load_traces(rows(**columns, answer=["3", None]))["answer"][:] == ["3", None]
        assert load_traces(rows(**columns))["answer"][:] == ["1", "2"]

    def test_box_inside_unfinished_thinking_is_no_answer(self):
        assert load_traces(rows(question=["q"], trace=["<think>maybe \\boxed{1}"]))[0]["answer"] is None

    def test_long_or_multiline_solutions_are_not_answers(self):
        columns = {"question": ["q", "r"], "thinking_trajectories": [["t"], ["u"]]}
        dataset = load_traces(rows(**columns, solution=["x" * 101, "one\ntwo"]))
        assert dataset["answer"][:] == [None, None]

    def test_wrong_type_names_the_row(self):
        text = read_error(rows(question=["q", "r"], trace=["t", "u"], answer=[None, ["5", "6"]]))
        assert text.startswith("Row 2: column `answer` holds a `list` (['5', '6']), but text or a number is needed")


class TestIds:
    @pytest.mark.parametrize("column", ["id", "uuid", "unique_id"])
    def test_given(self, column):
        dataset = load_traces(rows(question=["q", "r"], trace=["t", "t"], **{column: [1, 2]}))
        assert dataset["id"][:] == ["1", "2"]

    def test_hash_of_the_content_is_stable(self):
        dataset = load_traces(rows(question=["q"], trace=["t"]))
        assert dataset["id"][:] == ["8d8135152d545320"]
        assert content_id("ab", "c") != content_id("a", "bc")

    @pytest.mark.parametrize("streaming", [False, True])
    def test_repeated_content_is_kept_numbered_and_counted(self, streaming):
        source = rows(question=["q", "r", "q", "q"], trace=["t", "t", "t", "t"])
        dataset, report = read_traces(source, streaming=streaming)
        first = content_id("q", "t")
        assert [row["id"] for row in dataset] == [first, content_id("r", "t"), f"{first}-1", f"{first}-2"]
        assert report.notes == {"repeats an earlier row": 2}
        assert list(dataset.features) == list(TRACES.columns)

    def test_repeated_given_ids_list_the_first_five(self):
        text = read_error(rows(id=[*range(7), *range(7)], question=["q"] * 14, trace=["t"] * 14))
        assert "The id column `id` repeats `0`, `1`, `2`, `3`, `4` and 2 more" in text
        assert "`content_ids=True`" in text

    def test_repeated_given_ids_in_a_stream(self):
        text = read_error(rows(id=[1, 2, 1], question=["q"] * 3, trace=["t"] * 3), streaming=True)
        assert "The id column `id` repeats `1`, but" in text

    def test_content_ids_are_the_way_out(self):
        source = rows(id=[1, 1], question=["q", "r"], trace=["t", "t"])
        dataset, report = read_traces(source, content_ids=True)
        assert dataset["id"][:] == [content_id("q", "t"), content_id("r", "t")]
        assert report.columns_left_out == ("id",)

    def test_empty_given_id_names_the_row(self):
        text = read_error(rows(id=["a", None], question=["q", "r"], trace=["t", "t"]))
        assert text.startswith("Row 2: the id column `id` is empty")


class TestBadRows:
    BAD = {"question": ["q", None, " ", "r", "s", "u"], "trace": ["t", "t", "t", None, "\n", "<think> </think>x"]}

    @pytest.mark.parametrize("streaming", [False, True])
    def test_are_dropped_with_a_counted_reason(self, streaming):
        dataset, report = read_traces(rows(**self.BAD), streaming=streaming)
        assert [row["question"] for row in dataset] == ["q"]
        reasons = {"question missing": 1, "question empty": 1, "trace missing": 1, "trace empty": 2}
        assert (report.rows_in, report.rows_out, report.dropped) == (6, 1, reasons)

    def test_are_logged_as_a_warning(self, caplog):
        with caplog.at_level(logging.INFO, logger="palign_hf"):
            load_traces(rows(**self.BAD), source_name="mine")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "mine (layout `traces`): 6 rows in, 1 out; dropped: trace empty 2" in caplog.text

    def test_good_rows_are_logged_as_information(self, caplog):
        with caplog.at_level(logging.INFO, logger="palign_hf"):
            load_traces(DATA / "limo.jsonl")
        assert [record.levelname for record in caplog.records] == ["INFO"]

    def test_a_stream_warns_at_the_first_and_then_ever_more_rarely(self, caplog):
        good = load_traces(rows(question=["q"] + [None] * 30, trace=["t"] * 31), streaming=True)
        assert caplog.text == ""
        assert len(list(good)) == 1
        drops = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert drops == [
            "dataset: row 2 dropped (question missing), 1 so far",
            "dataset: row 11 dropped (question missing), 10 so far",
        ]

    @pytest.mark.parametrize("column", ["question", "trace"])
    def test_wrong_type_names_the_row(self, column):
        columns = {"question": ["q", "r"], "trace": ["t", "u"]} | {column: [1, 2]}
        assert read_error(rows(**columns)).startswith(
            f"Row 1: column `{column}` holds a `int` (1), but text is needed"
        )

    def test_all_dropped_is_an_error(self):
        text = read_error(rows(question=["q"], trace=[""]))
        assert text.startswith("Every row was dropped: ") and "trace empty 1" in text


class TestStreaming:
    def test_report_fills_as_rows_are_read_and_restarts(self):
        dataset, report = read_traces(DATA / "s1k-1.1.jsonl", streaming=True)
        assert report.rows_in == 0 and "no rows read yet" in report.summary()
        stream = iter(dataset)
        next(stream)
        assert report.rows_in == 1
        assert len(list(dataset)) == report.rows_in == report.rows_out == 3
        assert len(list(dataset)) == report.rows_in == 3


class TestCache:
    SCRIPT = "from palign_hf.data.traces import load_traces; import sys; d = load_traces(sys.argv[1]); "

    def test_second_load_reuses_the_first_in_this_and_another_process(self):
        first = load_traces(DATA / "openr1-math.jsonl")
        again = load_traces(DATA / "openr1-math.jsonl")
        assert again.cache_files and again.cache_files == first.cache_files
        script = self.SCRIPT + "print(d.cache_files[0]['filename'], d._fingerprint)"
        command = [sys.executable, "-c", script, str(DATA / "openr1-math.jsonl")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert printed == [first.cache_files[0]["filename"], first._fingerprint]

    def test_numbered_duplicates_keep_the_fingerprint(self, tmp_path):
        path = tmp_path / "twice.jsonl"
        path.write_text('{"question": "q", "trace": "t"}\n' * 2)
        assert load_traces(path)._fingerprint == load_traces(path)._fingerprint

    def test_reader_version_is_part_of_the_key(self, monkeypatch):
        first = load_traces(DATA / "limo.jsonl")
        monkeypatch.setattr("palign_hf.data.traces.READER_VERSION", -1)
        assert load_traces(DATA / "limo.jsonl")._fingerprint != first._fingerprint

    def test_import_and_use_need_no_torch(self):
        script = "import palign_hf.data.traces, sys; print('datasets' in sys.modules); "
        script += self.SCRIPT + "print('torch' in sys.modules)"
        command = [sys.executable, "-c", script, str(DATA / "limo.jsonl")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert printed == ["False", "False"]


class TestThinking:
    @pytest.mark.parametrize(
        ("text", "trace", "response", "notes"),
        [
            ("plain", "plain", "plain", ()),
            ("<think>\na\n</think>\n\nb", "\na\n", "\n\nb", ()),
            ("<think>a", "a", "", ("thinking never closed",)),
            ("a</think>b", "a", "b", ("thinking never opened",)),
            ("Well.<think>a</think>b", "a", "b", ("text before the thinking left out",)),
            (
                "<think>a</think>b<think>c</think>d",
                "a",
                "b<think>c</think>d",
                ("several thinking blocks: first kept",),
            ),
            ("<|begin_of_thought|>a<|end_of_thought|>b", "a", "b", ()),
            ("<|begin_of_thought|>a", "a", "", ("thinking never closed",)),
        ],
    )
    def test_split(self, text, trace, response, notes):
        assert split_thinking(text) == (trace, response, notes)

    @given(st.text(st.characters(exclude_characters="<>")))
    def test_trace_is_always_a_piece_of_the_text(self, text):
        assert split_thinking(text).trace in text
        assert split_thinking(f"<think>{text}").trace == split_thinking(f"{text}</think>").trace == text


class TestRealData:
    def test_s1k_sample(self, shared_data):
        dataset, report = read_traces(shared_data / "hub" / "simplescaling" / "s1K-1.1-sample")
        assert (report.layout, report.rows_in, report.rows_out) == ("s1k-1.1-gemini", 5, 5)
        assert report.answers_found == {"bare `solution`": 2, "boxed in `solution`": 1, "none": 2}
        source = [json.loads(line) for line in self.lines(shared_data, "hub/simplescaling/s1K-1.1-sample/train.jsonl")]
        assert dataset["trace"][:] == [row["gemini_thinking_trajectory"] for row in source]
        assert set(dataset["source"][:]) == {"s1K-1.1-sample"}

    @pytest.mark.parametrize(
        ("file", "count", "unopened"), [("mixed_teachers", 14, 0), ("r1_distill_qwen_14b_math", 20, 20)]
    )
    def test_traces(self, shared_data, file, count, unopened):
        dataset, report = read_traces(shared_data / "traces" / f"{file}.jsonl")
        source = [json.loads(line) for line in self.lines(shared_data, f"traces/{file}.jsonl")]
        assert dataset["id"][:] == [row["id"] for row in source]
        assert dataset["trace"][:] == [row["trace"].split("</think>")[0].removeprefix("<think>") for row in source]
        assert report.notes["thinking never opened"] == unopened
        assert report.rows_out == count and not report.dropped and "none" not in report.answers_found
        assert list(load_traces(shared_data / "traces" / f"{file}.jsonl", streaming=True)) == list(dataset)

    def test_boxes_of_math_500_are_its_answers(self, shared_data):
        columns = {"question": "problem", "trace": "solution", "solution": "solution", "id": "unique_id"}
        dataset = load_traces(shared_data / "hub" / "HuggingFaceH4" / "MATH-500", columns=columns)
        gold = [json.loads(line) for line in self.lines(shared_data, "hub/HuggingFaceH4/MATH-500/test.jsonl")]
        same = sum(found == row["answer"] for found, row in zip(dataset["answer"], gold, strict=True))
        # The rest differ by the dataset's own tidying of its answers (units, `\dfrac`), not by the box.
        assert same >= 470 and None not in dataset["answer"][:]

    def test_amc_answers_are_floats_in_the_source(self, shared_data):
        columns = {"question": "problem", "trace": "url", "answer": "answer"}
        dataset = load_traces(shared_data / "hub" / "AI-MO" / "aimo-validation-amc", columns=columns)
        assert dataset[0]["answer"] == "142"

    @staticmethod
    def lines(shared_data: Path, name: str) -> list[str]:
        return (shared_data / name).read_text(encoding="utf-8").splitlines()


def test_schema_errors_are_user_errors():
    with pytest.raises(SchemaError, match="fit no known layout"):
        load_traces(rows(a=["x"]))
