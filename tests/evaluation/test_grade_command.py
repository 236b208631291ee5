"""`palign grade` on outputs as the reference writes them, against figures counted here, subset by subset."""

import json
from collections import Counter
from itertools import combinations

import pytest
from datasets import Dataset

from palign_hf.cli import main
from palign_hf.evaluation.grade import GradeConfig, grade_file, read_samples


OPEN, CLOSE = "<Begin_of_Draft>", "<End_of_Draft>\n"
STEPS = "Okay, let me see.. The sum of both is what we need, so I add them up step by step."


def draft(answer, boxed=True):
    said = f"\\boxed{{{answer}}}" if boxed else f"So the answer is {answer}."
    return f"{OPEN}{STEPS}{CLOSE}Adding up gives the result. {said}"


def cut_loop(number):
    """A draft that never closes and goes round in circles, with a number in it."""
    return OPEN + STEPS + f" Wait, let me check again whether the answer is {number}. So the answer is {number}." * 40


# (gold answer, outputs, and for each what a person says of it: strict, lenient, the answer, and flags).
RECORDED = [
    ("204", [draft(204), draft(204, boxed=False), cut_loop(204)], ["SLa204", "-La204", "-La204"]),
    (25.0, [draft(25), draft(25), draft(24)], ["SLa25", "SLa25", "--a24"]),
    ("\\frac{1}{2}", [draft("0.5"), draft("\\frac12"), ""], ["SLa1/2", "SLa1/2", "--"]),
    ("7", [cut_loop(6), None, draft(8)], ["--a6", "--", "--a8"]),
    ("11", None, ["--", "--", "--"]),
    ("3", [f"{OPEN}{STEPS}", "\\boxed{3}", draft(3)], ["--", "SLa3", "SLa3"]),
]


def counted(place, letter):
    """Figures by brute force: of one verdict, over all k-subsets."""
    rows = [[said[place] == letter for said in problem] for _, _, problem in RECORDED]
    votes = [
        Counter((said[3:], right) for said, right in zip(problem, row, strict=True) if said[2:3] == "a")
        for (_, _, problem), row in zip(RECORDED, rows, strict=True)
    ]
    if letter == "S":  # only a box votes
        votes = [
            Counter(
                (said[3:], right)
                for said, right, text in zip(problem, row, outputs or [None] * 3, strict=True)
                if text and "\\boxed" in text
            )
            for (_, outputs, problem), row in zip(RECORDED, rows, strict=True)
        ]
    majority = []
    for vote in votes:
        best = [right for (_, right), count in vote.items() if count == max(vote.values())]
        majority.append(sum(best) / len(best) if best else 0)
    figures = {}
    for k in (1, 2, 3):
        subsets = [[any(chosen) for chosen in combinations(row, k)] for row in rows]
        figures[f"pass@{k}"] = sum(sum(each) / len(each) for each in subsets) / len(rows)
    return figures | {
        "avg@n": sum(map(sum, rows)) / 18,
        "pass@n": sum(map(any, rows)) / 6,
        "maj@n": sum(majority) / 6,
        "correct": sum(map(sum, rows)),
    }


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "recorded.jsonl"
    rows = [{"prompt_ori": f"{gold}?", "answer": gold, "output": outputs} for gold, outputs, _ in RECORDED]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def grade(capsys, *arguments):
    status = main(["grade", *map(str, arguments)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_the_figures_are_those_counted_by_hand(recorded, capsys):
    status, told, _ = grade(capsys, recorded)
    found = json.loads(told.splitlines()[-1])
    assert status == 0 and (found["problems"], found["samples"], found["n"]) == (6, 18, 3)
    assert found["strict"] == pytest.approx(counted(0, "S")) and found["lenient"] == pytest.approx(counted(1, "L"))
    assert found["strict"]["correct"] == 7 and found["lenient"]["correct"] == 9
    # Of 18: 5 have nothing in them, 3 leave their draft open.
    assert found["closed"] == pytest.approx(10 / 18) and found["draft"] == pytest.approx(12 / 18)
    assert found["boxed"] == pytest.approx(9 / 18) and found["loop"] == pytest.approx(2 / 18)
    assert found["cut"] is None and found["tokens"] is None and (found["empty"], found["unjudged"]) == (5, 0)
    low, high = found["intervals"]["strict pass@1"]
    assert low < found["strict"]["pass@1"] < high


def test_the_table_says_what_a_person_wants_to_know(recorded, capsys):
    _, told, _ = grade(capsys, recorded)
    assert "problems   6, with 3 samples each" in told and "tags       draft (recognised)" in told
    assert "7 of 18" in told and "9 of 18" in told and "cut                         not known" in told
    assert "note: 1 x empty output: counted as wrong" in told and "note: 4 x no output: counted as wrong" in told
    assert "note: 2 right samples are right only for a lenient reader" in told
    assert "1 x problems without outputs, counted with 3 empty ones" in told


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_the_labels_are_written_and_graded_again_are_the_same(recorded, tmp_path, capsys, suffix):
    out, again = tmp_path / f"labels{suffix}", tmp_path / f"again{suffix}"
    _, told, _ = grade(capsys, recorded, "--output-file", out)
    samples = read_samples(out)
    assert [(one.strict, one.lenient) for one in samples] == [
        (said[0] == "S", said[1] == "L") for _, _, problem in RECORDED for said in problem
    ]
    status, told_again, _ = grade(capsys, out, "--output-file", again)
    assert status == 0 and told_again.splitlines()[-1] == told.splitlines()[-1]
    assert again.read_bytes() == out.read_bytes()
    status, _, error = grade(capsys, recorded, "--output-file", out)
    assert status == 2 and "`--overwrite`" in error
    assert grade(capsys, recorded, "--output-file", out, "--overwrite")[0] == 0


def test_columns_a_grader_and_tags_of_one_s_own(tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    rows = [{"uid": "a", "key": "B", "reply": "<think>\nhm\n</think>\n\nthe answer is B", "level": 2}]
    rows += [{"uid": "a", "key": "B", "reply": "(C)", "level": 2}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [path, "--columns", "id=uid", "gold=key", "output=reply", "--grader", "choice", "--carry", "level"]
    out = tmp_path / "labels.jsonl"
    status, told, _ = grade(capsys, *arguments, "--tag-style", "think", "--benchmark", "quiz", "--output-file", out)
    found = json.loads(told.splitlines()[-1])
    assert status == 0 and found["lenient"]["pass@1"] == 0.5 and found["draft"] == 0.5
    first = read_samples(out)[0]
    assert (first.benchmark, first.id, first.about) == ("quiz", "a", {"level": "2"})


def test_benchmarks_are_told_apart_and_unequal_numbers_of_samples_are_said(tmp_path, capsys):
    path = tmp_path / "both.jsonl"
    rows = [
        {"id": "1", "benchmark": "easy", "answer": "1", "output": ["\\boxed{1}", "\\boxed{1}"]},
        {"id": "1", "benchmark": "hard", "answer": "1", "output": ["\\boxed{2}", "\\boxed{1}", "\\boxed{3}"]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, told, _ = grade(capsys, path)
    found = json.loads(told.splitlines()[-1])
    assert found["n"] == 2 and found["strict"]["pass@1"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["strict"]["pass@n"] == pytest.approx((1 + 2 / 3) / 2)
    assert "problems have from 2 to 3 samples: n is 2" in told
    assert [line.split()[:3] for line in told.splitlines() if line.startswith(("easy", "hard"))] == [
        ["easy", "1", "1.000"],
        ["hard", "1", "0.333"],
    ]


OWN = """
def fails(output, gold):
    if output == "odd":
        raise RuntimeError("no such thing")
    return output == gold
"""


def test_what_a_grader_can_not_judge_is_wrong_told_and_status_1(tmp_path, monkeypatch, capsys):
    (tmp_path / "failing_graders.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"answer": "1", "output": ["1", "odd"]}) + "\n")
    status, told, _ = grade(capsys, path, "--grader", "failing_graders:fails", "--workers", "1")
    found = json.loads(told.splitlines()[-1])
    assert status == 1 and (found["strict"]["correct"], found["unjudged"]) == (1, 1)
    assert "could not be judged, counted as wrong: failing_graders:fails: RuntimeError: no such thing" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--problems", "500"], "There are 6 problems, and 500 were expected"),
        (["--samples", "4"], "don't have the 4 samples that were expected"),
        (["--columns", "gold"], "`--columns gold` has no column"),
        (["--columns", "gold=anwser"], "no column `anwser`"),
        (["--grader", "maths"], "`maths` is no grader (nearest match: `math`)"),
        (["--workers", "0"], "`--workers 0` is no number of processes"),
        (["--seconds", "0"], "`--seconds 0.0` is no limit"),
        (["--output-file", "labels.txt"], "its suffix is none of"),
    ],
)
def test_mistakes_are_said_in_one_line(recorded, capsys, arguments, words):
    status, told, error = grade(capsys, recorded, *arguments)
    assert status == 2 and not told and error.startswith("palign: ") and error.count("\n") == 1 and words in error


def test_two_kinds_of_tags_are_asked_about(tmp_path, capsys):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"answer": "1", "output": ["<Begin_of_Draft>a", "<Begin_of_Prefix>b"]}) + "\n")
    status, _, error = grade(capsys, path)
    assert status == 2 and "begin with the tags of `draft`, `prefix`" in error and "`--tag-style draft`" in error
    assert grade(capsys, path, "--tag-style", "prefix")[0] == 0


def test_the_same_from_python(recorded):
    assert grade_file(GradeConfig(file=str(recorded), progress=False)).as_dict()["strict"]["correct"] == 7


@pytest.mark.parametrize("command", [["grade"], ["compare", "other.jsonl"]])
def test_interrupted_it_promises_nothing_that_was_kept(command, recorded, monkeypatch, capsys):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    for name in ("grade_file", "compare_files"):
        monkeypatch.setattr(f"palign_hf.cli.outputs.{name}", interrupted)
    assert main([*command, str(recorded)]) == 130
    assert capsys.readouterr().err == "palign: interrupted. Nothing was written: run the same command again.\n"


def test_the_flow_of_the_readme(tmp_path, monkeypatch, capsys):
    """`grade` twice, then `compare`: files of different names and layouts, whose problems have the same ids."""
    monkeypatch.chdir(tmp_path)
    answers = {f"p{k}": str(k) for k in range(6)}
    mine = [{"id": id, "answer": gold, "output": [f"\\boxed{{{gold}}}"] * 3} for id, gold in answers.items()]
    theirs = [{"uid": id, "label": gold, "response": ["\\boxed{0}"] * 3} for id, gold in answers.items()]
    (tmp_path / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine))
    Dataset.from_list(theirs).to_parquet("theirs.parquet")
    named = ["--columns", "gold=label", "output=response", "id=uid"]
    assert main("grade outputs.jsonl --problems 6 --samples 3 --output-file mine.parquet".split()) == 0
    assert main(["grade", "theirs.parquet", *named, "--output-file", "theirs-graded.parquet"]) == 0
    capsys.readouterr()
    both = ["compare", "theirs-graded.parquet", "mine.parquet"]
    assert main(both) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["problems"] == 6
    again = ["grade", "theirs.parquet", *named, "--output-file", "theirs-graded.parquet", "--overwrite"]
    assert main([*again, "--benchmark", "quiz"]) == 0
    assert main(both) == 2
    told = capsys.readouterr().err
    assert "the names of their benchmarks, `quiz` and `outputs`: grade both files again with the same" in told
    assert main(["grade", "theirs.parquet", *named[:3], "--output-file", "theirs-graded.parquet", "--overwrite"]) == 0
    assert main(both) == 2
    assert "None of their ids is the same: where a file has no column of ids" in capsys.readouterr().err


HUGE = 10**30


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"answer": "1", "output": [{"text": "a", "tokens": HUGE}]}, "Row 1: `tokens` holds"),
        ({"answer": "1", "output": [{"text": "a", "tokens": -1}]}, "a whole number from 0 to 2147483647 is needed"),
        ({"answer": "1", "output": [{"text": "a", "seed": HUGE}]}, "Row 1: `seed` holds"),
        ({"answer": "1", "output": ["a"], "tokens": [HUGE]}, "Row 1: `tokens` holds"),
        ({"answer": "1", "output": "a", "draft_tokens": HUGE}, "Row 1: `draft_tokens` holds"),
        ({"answer": "1", "output": "a", "sample": HUGE}, "Row 1: `sample` holds"),
    ],
)
def test_a_count_that_no_table_holds_is_refused_in_one_line(row, told, tmp_path, capsys):
    file = tmp_path / "outputs.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert main(["grade", str(file), "--output-file", str(tmp_path / "labels.parquet")]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not (tmp_path / "labels.parquet").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"answer": "1", "output": ["a"]}\n[1]\n', "line 2"),
        ('{"answer": "1", "output": ["a"]}\n{"answer": null, "output": ["a"]}\n', "Row 2"),
        ('[{"answer": "1", "output": ["a"]}, [1]]', "entry 2"),
        ('{"answer": "1", "output": ["a"]}\n{"answer": "1", "output": [7]}\n', "Row 2"),
    ],
)
def test_every_message_counts_rows_from_one(text, told, tmp_path, capsys):
    (tmp_path / "outputs.jsonl").write_text(text)
    assert main(["grade", str(tmp_path / "outputs.jsonl")]) == 2
    assert told in capsys.readouterr().err


def test_a_grader_with_parameters_is_given_as_in_a_recipe(tmp_path, capsys):
    file = tmp_path / "outputs.jsonl"
    file.write_text('{"answer": "F", "output": ["\\\\boxed{F}", "\\\\boxed{A}"]}\n')
    assert main(["grade", str(file), "--grader", "{name: choice, letters: ABCDEF}"]) == 0
    assert "choice(ABCDEF), version 1" in capsys.readouterr().out
    assert main(["grade", str(file), "--grader", "{name: choice, lettres: AB}"]) == 2
    assert "`lettres` is no parameter of `choice` (nearest match: `letters`)" in capsys.readouterr().err
