"""The toy world: its answers are right, its truth is what it says, and it is the same everywhere."""

import hashlib
import re
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise, product
from statistics import mean

import pytest

from palign_hf.errors import UserError
from palign_hf.schema import TRACES, check_table
from palign_hf.segmentation import cuts
from palign_hf.toy.world.problems import (
    DIFFICULTIES,
    FAMILIES,
    SPLITS,
    ToyProblem,
    continuation,
    problem,
    problems,
    toy_traces,
)


NUMBER = re.compile(r"\d+")
EQUATION = re.compile(r"(?<![-+*/] )\b(\d+) ([-+*/]) (\d+) = (\d+)")
HARD = re.compile(
    r"The order is|Go backwards|Write it down|The right side|Take \d+ \w+ from both sides|The number goes up"
    r"|And \d+ \* |Each time it|The [\d +]+ kids"
)
COUNTS = {"train": 8_000, "validation": 1_500, "test": 1_500}

DIGEST = """
import hashlib
from palign_hf.toy.world.problems import problem
for split, index, seed in (("train", 0, 0), ("validation", 7, 0), ("test", 99_999, 3)):
    print(hashlib.sha256(repr(problem(split, index, seed)).encode()).hexdigest()[:16])
"""
# They move only together with `VERSION`: published tables and trained students rest on them.
PINNED = ["e78c3eb7da4b89fe", "8eac05ec634facf3", "f64cc7cd43b68bee"]


@pytest.fixture(scope="module")
def world() -> dict[str, list[ToyProblem]]:
    return {split: list(problems(split, rows)) for split, rows in COUNTS.items()}


@pytest.fixture(scope="module")
def rows(world) -> list[ToyProblem]:
    return [row for split in SPLITS for row in world[split][:1_500]]


# An evaluator of its own: it knows the questions as a reader does, and nothing of how they were made.


def solve(row: ToyProblem) -> int:
    return {
        "chain": solve_chain,
        "backwards": solve_backwards,
        "bags": solve_bags,
        "machine": solve_machine,
        "clubs": solve_clubs,
    }[row.family](row.question)


def solve_chain(question: str) -> int:
    known = {name: int(n) for name, n in re.findall(r"(\w+) has (\d+) \w+\.", question)}
    more = re.findall(r"(\w+) has (\d+) (more|fewer) than (\w+)\.", question)
    times = re.findall(r"(\w+) has (twice|three times|half) as many as (\w+)\.", question)
    asked = re.search(r"does (\w+) have\?", question)[1]
    assert len(known) + len(more) + len(times) == question.count(".")
    while asked not in known:
        for name, n, which, other in more:
            if other in known:
                known[name] = known[other] + (int(n) if which == "more" else -int(n))
        for name, how, other in times:
            if other in known:
                doubled = known[other] * {"twice": 4, "three times": 6, "half": 1}[how]
                assert doubled % 2 == 0 or other != asked
                known[name] = doubled // 2
    return known[asked]


def solve_backwards(question: str) -> int:
    verbs = r"adds|picks|finds|buys|takes away|eats|drops|loses|multiplies by|halves it|\w+(?: away)? half"
    acts = re.findall(rf"(?:He|She|he|she) ({verbs})(?: (\d+))?", question)
    assert len(acts) == len(re.findall(r"(?:He|She|Then he|Then she) ", question))

    def after(value: float) -> float:
        for verb, n in acts:
            if verb in ("adds", "picks", "finds", "buys"):
                value += int(n)
            elif verb in ("takes away", "eats", "drops", "loses"):
                value -= int(n)
            elif verb == "multiplies by":
                value *= int(n)
            else:
                value /= 2
        return value

    start = re.match(r"\w+ (?:has|thinks of) (\d+)", question)
    if start:
        return after(int(start[1]))
    end = int(re.search(r"(?:The result is|Now s?he has) (\d+)", question)[1])
    (found,) = (value for value in range(1_000) if after(value) == end)
    return found


def solve_bags(question: str) -> int:
    held = re.findall(r"(\w+) has (\d+) \w+(?: of \w+)? and (\d+) loose", question)
    bags, loose = int(held[0][1]), int(held[0][2])
    told = re.search(r"Each \w+ holds (\d+)", question)
    total = re.search(r"There are (\d+) \w+ in all", question)
    if told:
        content = int(told[1])
    elif total:
        (content,) = (c for c in range(1, 100) if bags * c + loose == int(total[1]))
    else:
        ahead = re.search(r"has (\d+) \w+ more than", question)
        gap = int(ahead[1]) if ahead else 0
        (content,) = (c for c in range(1, 100) if bags * c + loose == int(held[1][1]) * c + int(held[1][2]) + gap)
    return bags * content + loose if question.endswith("in all?") else content


def solve_machine(question: str) -> int:
    value = int(re.search(r"gives it (\d+)", question)[1])
    rule = re.search(r"takes a number, (.*?)\.", question)
    if rule:
        (habit,) = [
            (int(times or 1), (1 if how == "adds" else -1) * int(n or 0))
            for times, how, n in re.findall(r"^(?:multiplies by (\d+) and then )?(adds|takes away) (\d+)$", rule[1])
        ]
    else:
        examples = [(int(a), int(b)) for a, b in re.findall(r"(\d+) into (\d+)", question)]
        habits = product(range(1, 10), range(-40, 41))
        (habit,) = ((k, add) for k, add in habits if all(k * a + add == b for a, b in examples))
    for _ in range(1 + question.count("goes in")):
        value = habit[0] * value + habit[1]
    return value


def solve_clubs(question: str) -> int:
    kids: list[set[str]] = []
    sizes = [(club, int(n)) for n, club in re.findall(r"(\d+) kids are in the (\w+) club", question)]
    pairs = [(int(n), a, b) for n, a, b in re.findall(r"(\d+) in both (\w+) and (\w+)", question)]
    pairs += [(int(n), sizes[0][0], sizes[1][0]) for n in re.findall(r"There are (\d+) kids in both clubs", question)]
    for n, a, b in pairs:
        kids += [{a, b}] * n
    for club, size in sizes:
        kids += [{club}] * (size - sum(club in clubs for clubs in kids))
    assert Counter(club for clubs in kids for club in clubs) == dict(sizes)
    everyone = re.search(r"There are (\d+) kids in a ", question)
    if question.endswith("in no club?"):
        return int(everyone[1]) - len(kids)
    return sum(len(clubs) == 1 for clubs in kids) if question.endswith("in just one club?") else len(kids)


def test_answers_are_right(rows):
    for row in rows:
        assert solve(row) == int(row.answer), row.question


def test_solution_and_trace_end_in_the_answer(rows):
    for row in rows:
        final = f"The answer is \\boxed{{{row.answer}}}."
        assert row.solution == " ".join([*row.steps, final])
        assert row.trace.endswith(f"\n\n{final}")
        assert row.trace.count("\\boxed") == 1
        assert NUMBER.findall(row.steps[-1])[-1] == row.answer
        assert int(row.answer) <= 99


def test_no_question_shows_its_answer(rows):
    assert not [row.question for row in rows if row.answer in NUMBER.findall(row.question)]


def test_everything_computed_outside_of_detours_is_true(rows):
    for row in rows:
        inside = [row.trace[begin:end] for begin, end in row.detours]
        text = row.trace
        for part in inside:
            text = text.replace(part, "")
        found = EQUATION.findall(text) + EQUATION.findall(row.solution)
        assert len(found) >= 2
        for left, sign, right, result in found:
            a, b, c = int(left), int(right), int(result)
            assert {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": a == b * c}[sign], row.trace


def test_detours_lead_to_a_wrong_value_before_the_sufficient_cut(rows):
    strayed = [row for row in rows if row.detours]
    assert 0.4 < len(strayed) / len(rows) < 0.8
    for row in strayed:
        ends = {0, *cuts(row.trace)}
        assert len(row.detours) == len(row.wrong_values)
        assert all(a[1] <= b[0] for a, b in pairwise(row.detours))
        for (begin, end), wrong in zip(row.detours, row.wrong_values, strict=True):
            assert {begin, end} <= ends
            assert begin < end < row.sufficient_end
            assert str(wrong) in NUMBER.findall(row.trace[begin:end])
            assert str(wrong) != row.answer


def test_the_sufficient_cut_is_a_segment_boundary_and_leaves_only_routine(rows):
    for row in rows:
        ends = [0, *cuts(row.trace)]
        assert ends[row.sufficient_segments] == row.sufficient_end
        assert set(row.marks) <= set(ends)
        assert list(row.marks) == sorted(set(row.marks))
        left = left_steps(row, row.sufficient_end)
        assert len(left) <= 2
        assert not any(map(HARD.match, left))
        if row.sufficient_segments:
            before = left_steps(row, ends[row.sufficient_segments - 1])
            assert len(before) == len(left) + 1
            assert len(before) > 2 or HARD.match(before[0])


def left_steps(row: ToyProblem, end: int) -> list[str]:
    text = continuation(row, end)
    (told,) = (
        n for n in range(len(row.steps) + 1) if text == " ".join([*row.steps[n:], row.solution[at_final(row) :]])
    )
    return list(row.steps[told:])


def at_final(row: ToyProblem) -> int:
    return row.solution.index("The answer is")


def test_steps_are_told_where_the_marks_say(rows):
    for row in rows:
        for step, mark in zip(row.steps, row.marks, strict=True):
            told = row.trace[:mark].rstrip()
            last = told[max(told.rfind(". "), told.rfind("? "), told.rfind("\n")) + 1 :]
            assert set(NUMBER.findall(step)) <= set(NUMBER.findall(last)) | {"2"}, (step, last)


def test_easy_problems_need_no_prefix_and_no_other_does(rows):
    for row in rows:
        assert (row.sufficient_end == 0) == (row.difficulty == 1)


def test_share_of_the_sufficient_prefix(world):
    shares = [row.sufficient_end / len(row.trace) for row in world["train"]]
    count = len(shares)
    assert 0.25 < mean(shares) < 0.40
    assert 0.04 < sum(share == 0 for share in shares) / count < 0.12
    assert 0.02 < sum(share > 0.8 for share in shares) / count < 0.08
    for low in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        assert sum(low < share <= low + 0.1 for share in shares) / count > 0.02


def test_traces_are_long_but_fit_a_small_context(world):
    for split in SPLITS:
        for row in world[split]:
            assert 600 <= len(row.trace) <= 2_500
            assert 15 <= len(cuts(row.trace)) <= 60
            assert len(row.question) <= 320
            assert len(row.solution) <= 400


def test_difficulty_is_graded(world):
    steps: dict[tuple[str, int], list[int]] = {}
    for row in world["train"]:
        steps.setdefault((row.family, row.difficulty), []).append(len(row.steps))
    for family in FAMILIES:
        means = [mean(steps[family, difficulty]) for difficulty in DIFFICULTIES]
        assert all(a + 0.4 < b for a, b in pairwise(means)), (family, means)


def test_splits_share_no_problem(world):
    questions = {split: {row.question for row in rows} for split, rows in world.items()}
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not questions[a] & questions[b]
    assert sum(map(len, questions.values())) > 0.99 * sum(COUNTS.values())


def test_splits_share_no_retold_problem(world):
    # In these families the numbers come in a fixed order, so that they tell the problem from any other.
    retold = {
        split: {
            (row.family, row.difficulty, row.answer, *NUMBER.findall(row.question))
            for row in rows
            if row.family in ("bags", "machine", "clubs")
        }
        for split, rows in world.items()
    }
    assert not retold["train"] & (retold["validation"] | retold["test"])
    assert not retold["validation"] & retold["test"]


def test_text_reads_well(rows):
    for row in rows:
        text = f"{row.question} {row.trace} {row.solution}"
        assert "  " not in text
        assert not re.search(r"\b([A-Za-z]+) \1\b", text), text
        assert not re.search(r"\ba (?:[aeiou])|[{}]", text.replace(f"\\boxed{{{row.answer}}}", "")), text
        assert not re.search(r"[.?] [a-z]", text), text
        assert not re.search(r"\b1 (?!box\b|bag\b|jar\b|sack\b|tin\b)[a-z]+s\b", row.question), row.question


def test_prose_varies_but_the_words_are_few(world):
    texts = [row.trace for row in world["train"][:5_000]]
    words = {word for text in texts for word in re.findall(r"[A-Za-z]+", text)}
    assert 250 < len(words) < 600
    assert len(set(texts)) == len(texts)
    assert len({text[: text.index(".")] for text in texts}) > 20


def test_continuation_goes_on_from_any_cut():
    for row in problems("train", 200):
        assert continuation(row, 0) == row.solution
        assert continuation(row, len(row.trace)) == f"The answer is \\boxed{{{row.answer}}}."
        lengths = []
        for end in cuts(row.trace):
            text = continuation(row, end)
            astray = any(begin < end < close for begin, close in row.detours)
            assert text.startswith("Wait, that is not right. ") == astray
            text = text.removeprefix("Wait, that is not right. ")
            assert row.solution.endswith(text)
            lengths.append(len(text))
        assert lengths == sorted(lengths, reverse=True)


def test_random_access_and_selection_agree_with_the_stream():
    stream = list(problems("validation", 40, seed=5))
    assert stream == [problem("validation", index, seed=5) for index in range(40)]
    chosen = [row for row in stream if row.difficulty in (2, 3)]
    assert 10 < len(chosen) < 40
    assert list(problems("validation", len(chosen), seed=5, difficulties=[2, 3])) == chosen
    assert stream[0].question != problem("validation", 0, seed=6).question
    assert list(problems("test", 0)) == []


def test_the_same_in_every_process():
    for hash_seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.split() == PINNED
    here = hashlib.sha256(repr(problem("train", 0, 0)).encode()).hexdigest()[:16]
    assert here == PINNED[0]


def test_five_thousand_in_five_seconds_of_work():
    begin = time.process_time()
    made = sum(1 for _ in problems("train", 5_000, seed=9))
    assert made == 5_000
    assert time.process_time() - begin < 5


def test_a_table_of_traces():
    table = toy_traces("test", 50, seed=2)
    check_table(table, TRACES)
    truth = {"family": "string", "difficulty": "int32", "sufficient_segments": "int32", "sufficient_end": "int64"}
    assert list(table.features) == [*TRACES.columns, *truth]
    assert {name: table.features[name].dtype for name in truth} == truth
    for row, toy in zip(table, problems("test", 50, seed=2), strict=True):
        assert row["source"] == "palign-toy-1"
        assert all(row[name] == getattr(toy, name) for name in row if name != "source")
    check_table(toy_traces("train", 0), TRACES)


def test_a_split_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"`vaildation` is not a split \(nearest match: `validation`\)"):
        problem("vaildation", 0)
    with pytest.raises(UserError, match="Choose one of `train`, `validation`, `test`"):
        next(problems("dev", 1))
