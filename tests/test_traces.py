"""Any teacher dataset to TRACES: every layout, every place, every error, and no row without an account."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict, Features, IterableDataset, List, Value
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.grading import last_boxed
from palign_hf.schema import TRACES, SchemaError, check
from palign_hf.traces import KNOWN, load_traces, read_traces
from palign_hf.traces.layouts import LAYOUTS
from palign_hf.traces.rows import content_id
from palign_hf.traces.text import split_thinking


DATA = Path(__file__).parent / "data" / "traces"


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
        {"answer column": 1, "none": 1},
        {},
        {},
    ),
    "p-align.jsonl": (
        "p-align",
        [("Start at six. Take four away. Two is left.", "2"), ("Half of one is 0.5. Done.", "0.5")],
        {"answer column": 2},
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
        {"boxed in solution": 1, "bare solution": 1, "none": 1},
        {},
        {},
    ),
    "s1k.jsonl": (
        "s1k",
        [("Three threes are nine.", "9"), ("Five.", "10")],
        {"bare solution": 1, "boxed in solution": 1},
        {},
        {"several texts, none marked: first kept": 1},
    ),
    "openthoughts.jsonl": (
        "sharegpt",
        [("\n\nEight halves to four.\n\n", "4"), ("\n\nA for loop will do.\n\n", None)],
        {"boxed in response": 1, "none": 1},
        {},
        {},
    ),
    "openthoughts-metadata.jsonl": (
        "openthoughts-metadata",
        [("Seven twice is fourteen.", "14"), ("Use print.", None)],
        {"boxed in solution": 1, "none": 1},
        {},
        {},
    ),
    "openr1-math.jsonl": (
        "openr1-math",
        [("\nFour fives are twenty.\n", "20"), ("\nHm, maybe", "0")],
        {"answer column": 2},
        {},
        {"no generation marked correct: first kept": 1, "thinking never closed": 1},
    ),
    "limo.jsonl": (
        "limo",
        [
            ("Okay. Three and four. **Final Answer** \\boxed{7}", "7"),
            ("Four each. Eight. \\boxed{8}", "8"),
        ],
        {"answer column": 2},
        {},
        {},
    ),
    "bespoke-stratos.jsonl": (
        "sharegpt",
        [("\n\nTen quarters.\n\n", "\\dfrac{5}{2}"), ("\n\nZero times", None)],
        {"boxed in response": 1, "none": 1},
        {},
        {"thinking never closed": 1},
    ),
    "alpaca.json": (
        "alpaca",
        [("One, then two.", "3"), ("Five is five.", None)],
        {"boxed in response": 1, "none": 1},
        {},
        {},
    ),
    "sharegpt.jsonl": (
        "sharegpt",
        [("Three twos.", "2")],
        {"boxed in response": 1},
        {"not one question and one reply": 1, "trace missing": 1},
        {},
    ),
    "messages.jsonl": (
        "messages",
        [("Seven less two.\n", "5"), ("Two and two are \\fbox{4}.", "4")],
        {"boxed in response": 2},
        {},
        {"thinking never opened": 1},
    ),
    "prompt-completion.jsonl": (
        "prompt-completion",
        [("Take one from three.", "2")],
        {"boxed in response": 1},
        {},
        {},
    ),
    "thinking.csv": (
        "thinking",
        [("\nTwo twos, four.\n", "4"), ("\nTwo threes, six.\n", "6")],
        {"boxed in response": 2},
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
        check(dataset, TRACES)
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
        traces, report = read_traces(dataset, columns=columns, name="mine")
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
        assert load_traces(dataset, columns=columns, name="ignored")[0] == {
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
        assert "`columns` sets `traces` (nearest match: `trace`)" in text
        assert "`id`, `question`, `trace`, `answer`, `source`, `solution`" in text

    def test_missing_source_column(self):
        text = read_error(DATA / "limo.jsonl", columns={"question": "question", "trace": "solutoin"})
        assert "reads `trace` from `solutoin` (nearest match: `solution`)" in text
        assert "It has `question`, `solution`, `answer`" in text


class TestAnswers:
    @pytest.mark.parametrize(
        ("given", "answer", "where"),
        [
            ("5", "5", "answer column"),
            (" 5\n", " 5\n", "answer column"),
            ("$\\boxed{5}$", "5", "boxed in answer column"),
            ("", None, "none"),
            (None, None, "none"),
        ],
    )
    def test_text(self, given, answer, where):
        dataset, report = read_traces(rows(question=["q", "r"], trace=["t", "u"], answer=[given, "x"]))
        assert dataset[0]["answer"] == answer
        assert report.answers_found == {where: 1} | {"answer column": 1 + (where == "answer column")}

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
        text = read_error(rows(question=["q", "r"], trace=["t", "u"], answer=[None, ["5"]]))
        assert text.startswith("Row 1: column `answer` holds a `list` (['5']), but text or a number is needed")


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
        assert report.duplicates == 2
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
        assert text.startswith("Row 1: the id column `id` is empty")


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
            load_traces(rows(**self.BAD), name="mine")
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
            "dataset: row 1 dropped (question missing), 1 so far",
            "dataset: row 10 dropped (question missing), 10 so far",
        ]

    @pytest.mark.parametrize("column", ["question", "trace"])
    def test_wrong_type_names_the_row(self, column):
        columns = {"question": ["q", "r"], "trace": ["t", "u"]} | {column: [1, 2]}
        assert read_error(rows(**columns)).startswith(
            f"Row 0: column `{column}` holds a `int` (1), but text is needed"
        )

    def test_all_dropped_is_an_error(self):
        text = read_error(rows(question=["q"], trace=[""]))
        assert text.startswith("Every row was dropped: ") and "trace empty 1" in text


class TestPlaces:
    def limo(self) -> Dataset:
        return Dataset.from_json(str(DATA / "limo.jsonl"))

    @pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json", "csv", "arrow"])
    def test_file(self, tmp_path, suffix):
        path = tmp_path / f"some.{suffix}"
        if suffix == "arrow":
            self.limo().save_to_disk(str(tmp_path / "saved"))
            next((tmp_path / "saved").glob("*.arrow")).rename(path)
        else:
            getattr(self.limo(), {"jsonl": "to_json"}.get(suffix, f"to_{suffix}"))(str(path))
        dataset = load_traces(path)
        assert dataset["answer"][:] == ["7", "8"]
        assert dataset["source"][:] == [f"some.{suffix}"] * 2
        assert list(load_traces(str(path), streaming=True)) == list(dataset)

    def test_folder_of_one_format(self, tmp_path):
        half = self.limo()
        for row in range(2):
            half.select([row]).to_json(str(tmp_path / f"part-{row}.jsonl"))
        (tmp_path / "README.md").write_text("# About")
        dataset = load_traces(tmp_path, name="both")
        assert sorted(dataset["answer"][:]) == ["7", "8"]
        assert set(dataset["source"][:]) == {"both"}

    def test_folder_with_configs(self, tmp_path):
        for config in ("first", "second"):
            self.limo().to_parquet(str(tmp_path / config / "train-00000-of-00001.parquet"))
        configs = "".join(f"- config_name: {c}\n  data_files: {c}/train-*\n" for c in ("first", "second"))
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
        assert len(load_traces(tmp_path, config="second")) == 2
        assert "can't be loaded: BuilderConfig 'third' not found" in read_error(tmp_path, config="third")

    def test_saved_to_disk(self, tmp_path):
        self.limo().save_to_disk(str(tmp_path / "one"))
        DatasetDict(train=self.limo(), test=self.limo()).save_to_disk(str(tmp_path / "two"))
        assert load_traces(tmp_path / "one")["source"][:] == ["one", "one"]
        assert len(load_traces(tmp_path / "two", split="test")) == 2
        assert len(list(load_traces(tmp_path / "two", split="test", streaming=True))) == 2
        assert "`two` has the splits `train`, `test`: one must be chosen" in read_error(tmp_path / "two")
        assert "`split='test'` can't be taken from `one`" in read_error(tmp_path / "one", split="test")

    def test_datasets_already_loaded(self):
        limo = self.limo()
        expected = list(load_traces(limo))
        assert [row["source"] for row in expected] == [None, None]
        assert list(load_traces(limo, streaming=True)) == expected
        assert list(load_traces(limo.to_iterable_dataset())) == expected
        assert list(load_traces(limo.with_format("numpy"))) == expected
        assert list(load_traces(limo.to_iterable_dataset().map(dict))) == expected

    def test_dataset_dict_names_its_splits(self):
        both = DatasetDict(train=self.limo(), test=self.limo())
        assert read_error(both) == (
            "`DatasetDict` has the splits `train`, `test`: one must be chosen. Pass `split='train'`."
        )
        assert "`split='dev'` is not one of them" in read_error(both, split="dev")
        assert len(load_traces(both, split="test")) == 2
        assert len(load_traces(DatasetDict(train=self.limo()))) == 2

    def test_the_toy_world_needs_no_file(self):
        found = load_traces("palign-toy", split="test", limit=5)
        assert found["id"][:] == [f"toy1-1000-test-{at}" for at in range(5)]
        assert set(found["source"]) == {"palign-toy-1"} and all(found["answer"])
        assert len(load_traces("palign-toy", split="validation")) == 500
        assert read_error("palign-toy").startswith("`palign-toy` has the splits `train`, `validation`, `test`")
        assert "`split='dev'` is not one of them" in read_error("palign-toy", split="dev")
        assert "`revision='main'` has no meaning" in read_error("palign-toy", split="test", revision="main")

    def test_hub(self, monkeypatch):
        asked = []

        def fake(path, **options):
            asked.append((path, options))
            return DatasetDict(train=self.limo())

        monkeypatch.setattr(datasets, "load_dataset", fake)
        dataset = load_traces("GAIR/LIMO", config="default", revision="abc", limit=1)
        assert dataset["source"][:] == ["GAIR/LIMO"]
        assert asked == [
            ("GAIR/LIMO", {"name": "default", "split": None, "revision": "abc", "streaming": False}),
        ]

    def test_hub_out_of_reach_says_what_was_tried(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)  # a folder of a like name nearby would be named as the nearest
        text = read_error("simplescaling/s1K-1.1")
        assert text.startswith("`simplescaling/s1K-1.1` is no local path, so the Hub was asked")
        assert "`hf download --repo-type dataset simplescaling/s1K-1.1" in text

    def test_hub_without_the_dataset(self, monkeypatch):
        def fake(*args, **options):
            raise datasets.exceptions.DatasetNotFoundError("doesn't exist on the Hub")

        monkeypatch.setattr(datasets, "load_dataset", fake)
        assert "nor a dataset on the Hub that you can read" in read_error("me/nothing")

    def test_missing_path_names_the_nearest(self):
        text = read_error(DATA / "lino.jsonl")
        assert "lino.jsonl` does not exist (nearest in `" in text and "`limo.jsonl`)" in text
        assert "(nearest in `" in read_error(DATA.parent / "trace" / "limo.jsonl")

    def test_unsupported_suffix(self, tmp_path):
        (tmp_path / "a.xlsx").write_text("")
        text = read_error(tmp_path / "a.xlsx")
        assert "the suffix `.xlsx`" in text and "`.parquet`, `.jsonl`, `.json`, `.arrow`, `.csv`" in text

    def test_folder_without_data(self, tmp_path):
        assert "holds no data files" in read_error(tmp_path)

    def test_folder_of_several_formats(self):
        assert "mixes formats (1 `.csv`, 1 `.json`, " in read_error(DATA)

    def test_folder_mostly_of_other_files(self, tmp_path):
        self.limo().to_json(str(tmp_path / "limo.jsonl"))
        for name in ("LICENSE.txt", "NOTICE.txt"):
            (tmp_path / name).write_text("text")
        assert "was read as `text`" in read_error(tmp_path)

    @pytest.mark.parametrize("streaming", [False, True])
    def test_broken_and_empty_files(self, tmp_path, streaming):
        (tmp_path / "broken.jsonl").write_text('{"question": "q"}\n{"question": \n')
        (tmp_path / "empty.jsonl").write_text("")
        assert "`broken.jsonl` can't be read: JSON parse error" in read_error(
            tmp_path / "broken.jsonl", streaming=streaming
        )
        assert "`empty.jsonl` is empty" in read_error(tmp_path / "empty.jsonl", streaming=streaming)

    def test_dataset_without_rows(self):
        assert "`Dataset` is empty: it holds no rows" in read_error(rows(question=[], trace=[]))

    def test_wrong_source_type(self):
        assert read_error([{"question": "q"}]).startswith("`source` is a `list`")

    @pytest.mark.parametrize("option", ["config", "revision"])
    def test_options_without_meaning(self, option):
        assert f"`{option}='x'` has no meaning for `limo.jsonl`" in read_error(DATA / "limo.jsonl", **{option: "x"})
        assert f"`{option}='x'` has no meaning for `Dataset`" in read_error(self.limo(), **{option: "x"})

    def test_limit(self):
        for streaming in (False, True):
            dataset, report = read_traces(DATA / "s1k-1.1.jsonl", limit=2, streaming=streaming)
            assert len(list(dataset)) == report.rows_in == 2
        assert len(load_traces(DATA / "limo.jsonl", limit=99)) == 2
        assert "`limit=0` would read no rows" in read_error(DATA / "limo.jsonl", limit=0)


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
    SCRIPT = "from palign_hf.traces import load_traces; import sys; d = load_traces(sys.argv[1]); "

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
        monkeypatch.setattr("palign_hf.traces.load.READER_VERSION", -1)
        assert load_traces(DATA / "limo.jsonl")._fingerprint != first._fingerprint

    def test_import_and_use_need_no_torch(self):
        script = "import palign_hf.traces, sys; print('datasets' in sys.modules); "
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


# Balanced by construction: text without braces or backslashes, escaped braces, and groups of the same.
balanced = st.recursive(
    st.one_of(st.text(st.characters(exclude_characters="{}\\", exclude_categories=["Cs"])), st.just("\\{ x")),
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: "".join(f"\\frac{{{part}}}" for part in parts)),
    max_leaves=12,
)


class TestLastBoxed:
    @pytest.mark.parametrize(
        ("text", "content"),
        [
            ("no box", None),
            ("", None),
            ("\\boxed{5}", "5"),
            ("\\boxed{ 5 }", "5"),
            ("\\boxed {5}", "5"),
            ("\\fbox{five}", "five"),
            ("\\boxed{1} then \\boxed{2}.", "2"),
            ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
            ("\\boxed{x = \\boxed{5}}", "5"),
            ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
            ("\\boxed{\\left\\{ x \\right.}", "\\left\\{ x \\right."),
            ("$\\boxed 5$", "5"),
            ("so \\boxed -3.5.", "-3.5"),
            ("\\boxed A", "A"),
            ("a \\boxed notation", None),
            ("\\boxedtext{5}", None),
            ("put it within \\boxed{}.", None),
            ("\\boxed{7}, within \\boxed{}", "7"),
            ("\\boxed{1} and \\boxed{2", "1"),
            ("} \\boxed{3} }", "3"),
            ("line \\\\\\boxed{4}", "4"),
            ("escaped twice \\\\boxed{4}", "4"),
        ],
    )
    def test_examples(self, text, content):
        assert last_boxed(text) == content

    @given(balanced, st.sampled_from(["", "} ", "so \\boxed{1} ", "\\boxed{ "]), st.sampled_from(["", "$.", " {a}"]))
    def test_nested_braces_come_back_whole(self, content, before, after):
        expected = content.strip() or ("1" if "{1}" in before else None)
        assert last_boxed(f"{before}\\boxed{{{content}}}{after}") == expected

    @given(st.text(st.sampled_from("\\boxed{} 5A$")))
    def test_any_text_gives_a_piece_of_it_or_none(self, text):
        found = last_boxed(text)
        assert found is None or (found and found in text)

    @pytest.mark.parametrize(
        "unit", ["\\boxed{", "{", "}", "\\", "\\boxed", "\\boxed{1", "\\boxed{}", "\\boxed 5", "\\boxed \t", "a{b}"]
    )
    def test_a_megabyte_of_anything_is_linear(self, unit):
        text = unit * (1_000_000 // len(unit))
        started = time.process_time()
        last_boxed(text)
        last_boxed(text + "}" * (len(text) // len(unit)))
        assert time.process_time() - started < 10  # quadratic work would take minutes


class TestRealData:
    def test_s1k_sample(self, shared_data):
        dataset, report = read_traces(shared_data / "hub" / "simplescaling" / "s1K-1.1-sample")
        assert (report.layout, report.rows_in, report.rows_out) == ("s1k-1.1-gemini", 5, 5)
        assert report.answers_found == {"bare solution": 2, "boxed in solution": 1, "none": 2}
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
        columns = {"question": "problem", "trace": "solution", "id": "unique_id"}
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
