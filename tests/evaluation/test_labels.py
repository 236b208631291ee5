"""Labels of a text, the SAMPLES table, and that nothing is missing."""

import json

import pytest
from datasets import load_dataset
from made_samples import sample, verdicts

from palign_hf.errors import UserError
from palign_hf.evaluation.grade import read_samples, writer
from palign_hf.evaluation.samples import (
    SAMPLES,
    Sample,
    StudentOutput,
    check_complete,
    label,
    sampled,
    ungraded,
)
from palign_hf.grading import Grade, MathGrader
from palign_hf.prompts import TAG_STYLES
from palign_hf.schema import check_table


DRAFT, PLAIN, THINK = TAG_STYLES["draft"], TAG_STYLES["none"], TAG_STYLES["think"]
RIGHT, WRONG = Grade(True, True, "4"), Grade(False, False, None)


def found(text, tag_style=DRAFT, finish_reason=None, grade=RIGHT):
    labels = label(text, grade, finish_reason, tag_style)
    return {name for name in ("draft", "closed", "boxed", "loop", "cut") if getattr(labels, name)}


def test_labels_of_a_text():
    assert found("<Begin_of_Draft>ab<End_of_Draft>\nso \\boxed{4}") == {"draft", "closed", "boxed"}
    assert found("<Begin_of_Draft>ab, so 4") == {"draft"}
    assert found("\n <Begin_of_Draft>ab, so 4") == {"draft"}
    assert found("so \\boxed{4}") == {"closed", "boxed"}
    assert found("<Begin_of_Draft>ab", PLAIN) == {"closed"}
    assert found("<think>\nhm\n</think>\n\n4", THINK) == {"draft", "closed"}
    assert found("so it is 12. " * 60, finish_reason="length") == {"closed", "loop", "cut"}
    assert found("so it is \\boxed{4", finish_reason="stop") == {"closed"}


def test_why_a_text_ended_is_not_guessed():
    assert label("x", WRONG, None, PLAIN).cut is None and label("x", WRONG, "stop", PLAIN).cut is False


def test_the_share_of_the_draft_is_that_of_its_characters():
    text = DRAFT.wrap("a" * 30, "b")
    assert label(text, WRONG, None, DRAFT).draft_share == pytest.approx(30 / len(text))
    assert label("abc", WRONG, None, DRAFT).draft_share == 0


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_what_has_nothing_in_it_is_wrong_whatever_the_grader_says(text):
    labels = label(text, RIGHT, "stop", DRAFT)
    assert not any((labels.strict, labels.lenient, labels.draft, labels.closed, labels.boxed, labels.loop, labels.cut))
    assert labels.answer is None and labels.error == ("no output" if text is None else "empty output")


def test_a_crash_is_told_and_costs_no_tokens_unless_known():
    crashed = StudentOutput(id="a", benchmark="b", sample=0, question=None, gold="4", text=None, error="out of memory")
    one = sampled(crashed, ungraded(crashed), DRAFT)
    assert (one.error, one.tokens, one.strict) == ("out of memory", 0, False)
    written = StudentOutput(id="a", benchmark="b", sample=0, question=None, gold="4", text="x", error=None)
    assert sampled(written, WRONG, DRAFT).tokens is None


def graded(gold="4", **known):
    texts = ["so \\boxed{4}", "", None, "<Begin_of_Draft>4"]
    outputs = [
        StudentOutput(
            id="a", benchmark="b", sample=k, question="2+2?", gold=gold, text=text, tokens=k, seed=2**40, **known
        )
        for k, text in enumerate(texts)
    ]
    grader = MathGrader()
    return [sampled(one, grader.grade(one.text or "", one.gold), DRAFT) for one in outputs]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_samples_are_read_as_they_were_written(tmp_path, suffix):
    samples = graded(about={"family": "bags", "level": None})
    writer(tmp_path / f"x{suffix}")(samples)
    assert read_samples(tmp_path / f"x{suffix}") == samples
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]


def test_the_parquet_file_is_a_table_for_datasets_and_an_evaluation_s_folder_is_read(tmp_path):
    samples = graded(about={"family": "bags"})
    writer(tmp_path / "samples.parquet")(samples)
    table = load_dataset(str(tmp_path), split="train")
    check_table(table, SAMPLES)
    assert table["strict"][:] == [True, False, False, False] and table["family"][0] == "bags"
    assert read_samples(tmp_path) == samples


def test_a_row_and_its_sample_are_the_same():
    for one in graded(about={"family": "bags", "level": None}):
        assert Sample.from_row(one.row()) == one


def test_a_line_that_lacks_a_column_is_refused_or_has_none(tmp_path):
    rows = [one.row() for one in graded()]
    del rows[1]["seed"]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [one.seed for one in read_samples(tmp_path / "x.jsonl")] == [2**40, None, 2**40, 2**40]
    del rows[1]["strict"]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="Row 2 .* has no `strict`"):
        read_samples(tmp_path / "x.jsonl")


def test_the_table_has_every_field_of_a_sample():
    assert {*Sample.__dataclass_fields__} - {"about"} == set(SAMPLES.columns)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.csv", "its suffix is none of `.jsonl`, `.parquet`"),
        ("absent/x.jsonl", "is no folder"),
        ("there.jsonl", "`overwrite=True`"),
    ],
)
def test_what_can_not_be_written_is_refused_before_any_work(tmp_path, name, words):
    (tmp_path / "there.jsonl").touch()
    with pytest.raises(UserError, match=words):
        writer(tmp_path / name)


def test_what_is_no_sample_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"answer": "4", "output": ["4"]}\n')
    with pytest.raises(UserError, match="holds no graded samples: it lacks `id`, .* Grade it first"):
        read_samples(tmp_path / "x.jsonl")
    writer(tmp_path / "y.jsonl")([sample("a", 0, gold=None)])
    with pytest.raises(UserError, match="Row 1 .* has no `gold`"):
        read_samples(tmp_path / "y.jsonl")


def test_the_number_of_problems_and_samples_is_held_to():
    samples = verdicts([[True, False]] * 3)
    assert list(check_complete(samples, problems=3, each=2).values()) == [2, 2, 2]
    with pytest.raises(UserError, match="There are 3 problems, and 4 were expected"):
        check_complete(samples, problems=4)
    with pytest.raises(UserError, match="1 of 3 problems don't have the 2 samples .* `p002` has 1"):
        check_complete(samples[:-1], each=2)
    with pytest.raises(UserError, match="Sample 1 of the problem `p000` occurs twice"):
        check_complete([*samples, samples[1]])
