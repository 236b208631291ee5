"""The gold answer when the teacher is wrong: every known column in every layout, GSM8K's marks, and the warning."""

import json
import logging

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.data.cells import ANSWERS, SOLUTIONS, after_hashes, is_bare, known_columns, same, stated
from palign_hf.data.layouts import choose_layout
from palign_hf.data.trace_rows import OWN_ANSWER, read_row
from palign_hf.data.traces import TraceReport, load_traces, read_traces
from palign_hf.schema import SchemaError


WRONG = "It is \\boxed{13}."
THINKING = f"<think>Hm. So \\boxed{{13}}.</think>{WRONG}"
USER, REPLY = "What is 6 * 12?", THINKING


def talk(role: str, text: str, user: str, assistant: str) -> list[dict[str, str]]:
    return [{role: user, text: USER}, {role: assistant, text: REPLY}]


# Layout -> a row in which the teacher's answer, 13, is the only one, and wrong.
ROWS = {
    "traces": {"question": USER, "trace": WRONG},
    "p-align": {"question": USER, "Long-CoT": WRONG},
    "s1k-1.1-deepseek": {"question": USER, "deepseek_thinking_trajectory": WRONG},
    "s1k": {"question": USER, "thinking_trajectories": [WRONG]},
    "openr1-math": {"problem": USER, "generations": [THINKING]},
    "openthoughts-metadata": {"problem": USER, "deepseek_reasoning": WRONG, "deepseek_solution": WRONG},
    "alpaca": {"instruction": USER, "output": THINKING},
    "sharegpt": {"conversations": talk("from", "value", "human", "gpt")},
    "messages": {"messages": talk("role", "content", "user", "assistant")},
    "prompt-completion": {"prompt": USER, "completion": THINKING},
    "thinking": {"problem": USER, "response": THINKING},
    "by hand": {"q": USER, "cot": THINKING},
}
BY_HAND = {"by hand": {"question": "q", "trace": "cot"}}


def gold(layout: str, **columns: object):
    """The answer read from a row of the layout with further columns, and the account of it."""
    row = ROWS[layout] | columns
    chosen = choose_layout(list(row), [row], BY_HAND.get(layout), None)
    assert chosen.name == layout
    read = read_row(row, 0, chosen, "mine")
    report = TraceReport("mine", chosen.name, tuple(name for name in row if name not in chosen.columns()))
    report.count(read)
    assert report.rows_out == 1
    return read["answer"], report


@pytest.mark.parametrize("layout", ROWS)
class TestWrongTeacher:
    @pytest.mark.parametrize("column", ANSWERS)
    def test_every_known_column_beats_the_teacher(self, layout, column):
        answer, report = gold(layout, **{column: "72"})
        assert answer == "72" and report.warning is None
        assert report.answers_found == {f"answer column `{column}`": 1}
        assert column not in report.columns_left_out

    @pytest.mark.parametrize("column", ["Answer", "GROUND_TRUTH", "Expected Answer", "groundTruth", "final-answer"])
    def test_in_any_case(self, layout, column):
        answer, report = gold(layout, **{column: 72.0})
        assert answer == "72" and report.answers_found == {f"answer column `{column}`": 1}

    @pytest.mark.parametrize("streaming", [False, True])
    def test_from_a_table_and_from_a_stream(self, layout, streaming):
        source = Dataset.from_list([ROWS[layout] | {"Gold": "72", "solution": "\\boxed{71}"}])
        dataset, report = read_traces(source, streaming=streaming, columns=BY_HAND.get(layout))
        assert [row["answer"] for row in dataset] == ["72"]
        assert report.layout == layout and report.answers_found == {"answer column `Gold`": 1}

    @pytest.mark.parametrize("column", ["answer", "solution", "target", "Ground_Truth"])
    def test_marks_of_gsm8k(self, layout, column):
        answer, report = gold(layout, **{column: "There are 6 * 12 = <<6*12=72>>72 of them.\n#### 72"})
        assert answer == "72" and report.answers_found == {f"#### in `{column}`": 1}

    @pytest.mark.parametrize("column", ["target", "gt", *SOLUTIONS])
    def test_the_box_of_a_whole_solution(self, layout, column):
        answer, report = gold(layout, **{column: "Six twelves.\n\n" + "That is 72. " * 50 + "\\boxed{72}"})
        assert answer == "72" and report.answers_found == {f"boxed in `{column}`": 1}

    @pytest.mark.parametrize("text", ["x" * 201, "Six twelves.\nThat is 72."])
    @pytest.mark.parametrize("column", ["target", "ground_truth"])
    def test_a_text_without_a_mark_is_no_answer_and_no_reason_to_trust_the_teacher(self, layout, column, text):
        answer, report = gold(layout, **{column: text})
        assert answer is None and report.answers_found == {"none": 1} and report.warning is None
        assert report.notes == {f"`{column}` is a long text without a marked answer": 1}

    def test_without_any_column_the_teacher_counts_and_is_warned_of(self, layout):
        answer, report = gold(layout, another="72")
        assert answer == "13" and report.answers_found == {OWN_ANSWER: 1}
        assert report.warning.startswith("1 of 1 rows have the teacher's own answer as gold.")
        assert "a wrong trace counts as right" in report.warning and "`columns={'answer': ...}`" in report.warning
        assert report.summary().endswith(report.warning)


class TestColumns:
    def test_a_trace_or_question_is_no_gold(self):
        source = Dataset.from_list([{"problem": USER, "answer": THINKING, "gold": "72"}])
        assert load_traces(source)["answer"][:] == ["72"]
        report = read_traces(source.remove_columns("gold"))[1]
        assert report.answers_found == {OWN_ANSWER: 1}

    def test_a_text_of_a_teacher_is_no_gold_whatever_its_column(self):
        answer, report = gold("messages", target=THINKING)
        assert answer is None and report.notes == {"`target` is a long text without a marked answer": 1}

    def test_the_first_in_order_is_kept_and_disagreement_is_noted(self):
        answer, report = gold("traces", final_answer="13", ground_truth="72", target="$72.0$")
        assert answer == "72"
        assert report.notes == {"`ground_truth` and `final_answer` disagree: `ground_truth` kept": 1}
        assert "disagree" in report.summary()

    def test_an_empty_column_leaves_it_to_the_next(self):
        answer, report = gold("traces", answer=" ", gt="72", solution="\\boxed{5}")
        assert answer == "72" and not report.notes
        answer, report = gold("traces", answer=None, gt="x" * 300, solution="\\boxed{5}")
        assert answer == "5" and report.answers_found == {"boxed in `solution`": 1}

    def test_by_hand_the_named_column_is_the_only_one(self):
        source = Dataset.from_list([{"q": USER, "cot": WRONG, "mine": "72", "answer": "1", "solution": "\\boxed{2}"}])
        by_hand = {"question": "q", "trace": "cot"}
        assert load_traces(source, columns=by_hand | {"answer": "mine"})["answer"][:] == ["72"]
        assert load_traces(source, columns=by_hand | {"solution": "solution"})["answer"][:] == ["2"]
        assert load_traces(source, columns=by_hand)["answer"][:] == ["1"]

    def test_an_answer_by_hand_replaces_those_of_a_known_layout(self):
        source = Dataset.from_list([ROWS["traces"] | {"answer": "1", "mine": "72"}])
        dataset, report = read_traces(source, columns={"answer": "mine"})
        assert dataset["answer"][:] == ["72"] and not report.notes and report.columns_left_out == ("answer",)

    def test_gsm8k_itself_as_a_trace(self):
        text = "Six times 12 is 72.\n#### 72"
        source = Dataset.from_list([{"question": USER, "answer": text}])
        dataset, report = read_traces(source, columns={"question": "question", "trace": "answer"})
        assert dataset[0]["trace"] == text and dataset[0]["answer"] == "72" and report.answers_found == {OWN_ANSWER: 1}
        named = {"question": "question", "trace": "answer", "answer": "answer"}
        assert read_traces(source, columns=named)[1].answers_found == {"#### in `answer`": 1}

    def test_lists_of_one(self):
        assert gold("traces", final_answer=["72"])[0] == "72"
        assert gold("traces", final_answer=[])[0] is None
        with pytest.raises(SchemaError, match="Row 1: column `final_answer` holds a `list`"):
            gold("traces", final_answer=["7", "2"])

    def test_a_table_of_traces_keeps_its_long_answers(self):
        matrix = "\\begin{pmatrix}" + "1 & 2 \\\\\n" * 40 + "\\end{pmatrix}"
        once = load_traces(Dataset.from_list([ROWS["traces"] | {"answer": f"\\boxed{{{matrix}}}"}]))
        assert once[0]["answer"] == matrix
        assert load_traces(once)[:] == once[:]

    def test_the_log_warns_of_the_teacher_as_gold(self, caplog):
        with caplog.at_level(logging.INFO, logger="palign_hf"):
            load_traces(Dataset.from_list([ROWS["traces"]]), source_name="mine")
        (record,) = caplog.records
        assert record.levelname == "WARNING" and "teacher's own answer as gold" in record.getMessage()

    def test_a_stream_warns_once_each_time_it_is_read(self, caplog):
        source = Dataset.from_list([ROWS["traces"] | {"question": f"q{n}"} for n in range(5)])
        stream, _ = read_traces(source, streaming=True, source_name="mine")
        for times in (1, 2):
            list(stream)
            warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
            assert len(warned) == times
            assert warned[0].startswith("mine: row 1 and those like it have the teacher's own answer as gold.")

    def test_files_too(self, tmp_path):
        path = tmp_path / "wrong.jsonl"
        path.write_text(json.dumps(ROWS["messages"] | {"expected_answer": "#### 1,072"}))
        assert load_traces(path)["answer"][:] == ["1072"]
        assert [row["answer"] for row in load_traces(path, streaming=True)] == ["1072"]


class TestAfterHashes:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("#### 72", "72"),
            ("sum\n#### 72\n", "72"),
            ("sum\r\n####72\r\n\r\n", "72"),
            ("one line #### 72", "72"),
            ("#### $1,234,567.50", "1234567.50"),
            ("#### \\$18", "18"),
            ("#### -3", "-3"),
            ("#### -$3", "-3"),
            ("#### $-3", "-3"),
            ("#### +3", "3"),
            ("#### .5", ".5"),
            ("#### 3/4", "3/4"),
            ("#### 50%", "50"),
            ("#### 72.", "72"),
            ("#### 72 apples", "72"),
            ("#### 60 km/h (about)", "60"),
            ("#### 72 dollars.\n\nThe answer is 72.", "72"),
            ("#### 1\n#### 72", "72"),
            ("#### 2x", None),
            ("#### 2 x", None),
            ("#### 2 + 3", None),
            ("#### 2 \\sqrt{3}", None),
            ("#### 3 1/2", None),
            ("#### 1, 2 and 3", None),
            ("#### 12,34", None),
            ("#### 1.2.3", None),
            ("#### 1. Count them", None),
            ("#### 2) Count them", None),
            ("#### Step 2", None),
            ("##### 72", None),
            ("### 72", None),
            ("####", None),
            ("", None),
            ("#### 2 cases\n" + "Now for the long proof. " * 10, None),
        ],
    )
    def test_examples(self, text, answer):
        assert after_hashes(text) == answer

    @given(st.integers(-(10**12), 10**12), st.text(), st.sampled_from(["", "\n", " \r\n\n", " dollars", "."]))
    def test_any_number_with_commas_behind_any_text(self, number, before, after):
        assert after_hashes(f"{before}\n#### {number:,}{after}") == str(number)

    @given(st.text(st.sampled_from("#$ 1,./-x\n")))
    def test_gives_a_number_or_nothing(self, text):
        found = after_hashes(text)
        assert found is None or found.lstrip("-")[0] in "1."

    def test_a_box_comes_first(self):
        assert stated("so \\boxed{72}\n#### 71") == ("72", "boxed")
        assert stated("so\n#### 71") == ("71", "####")
        assert stated("so 71") is None


class TestNames:
    def test_no_name_is_known_twice(self):
        assert len({*ANSWERS, *SOLUTIONS}) == len(ANSWERS) + len(SOLUTIONS)

    def test_order_is_that_of_trust_and_not_of_the_dataset(self):
        assert known_columns(["target", "Final Answer", "x", "GT", "answer"], ANSWERS, ["answer"]) == (
            "GT",
            "Final Answer",
            "target",
        )

    @pytest.mark.parametrize("name", ["answers", "is_answer", "label", "gtx", "model_answer", "deepseek_solution", ""])
    def test_like_names_are_not_known(self, name):
        assert known_columns([name], (*ANSWERS, *SOLUTIONS), []) == ()


class TestSame:
    @pytest.mark.parametrize(
        ("one", "other"),
        [("72", " 72\n"), ("72", "$72$"), ("72", "72.0"), ("1,072", "1072"), ("\\dfrac{1}{2}", "\\frac{1}{2}")],
    )
    def test_to_the_eye(self, one, other):
        assert same(one, other) and same(other, one)

    @pytest.mark.parametrize(("one", "other"), [("72", "13"), ("(1,2)", "(12)"), ("x", "y"), ("1,2", "12")])
    def test_not_to_the_eye(self, one, other):
        assert not same(one, other)


def test_bare_is_one_short_line():
    assert is_bare(" 72\n", 5) and not is_bare("72 or so", 5) and not is_bare("7\n2", 5)
    assert not is_bare("<think>72", 100)
