"""What is taught is true, is said in the product's own prompts, and gives nothing away that is to be learnt later."""

import hashlib
import re
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from transformers import AutoTokenizer

from examples.toy.student.lessons import READ, LessonPlan, curriculum
from palign_hf.grading import last_boxed
from palign_hf.prompts import ALIGN, JUDGE, LABELS, NO_PREFIX, SOLVE
from palign_hf.segmentation import cuts
from palign_hf.toy import student_folder
from palign_hf.toy.world.problems import continuation, problems


PROBLEMS = list(problems("train", 40))


def asked_and_said(tokenizer, text) -> tuple[str, str]:
    """The user's words and the reply, learnt or not."""
    asked, _, said = tokenizer.decode(text.ids).partition("<|end|>\n<|begin|>assistant\n")
    return asked.removeprefix("<|begin|>user\n"), said


@pytest.mark.parametrize("problem", PROBLEMS[:20], ids=lambda problem: problem.id)
def test_judging_tells_the_truth_at_each_cut_that_is_shown(teacher, tokenizer, problem):
    ends = [0, *cuts(problem.trace)]
    prompts = {JUDGE.render(question=problem.question, prefix=problem.trace[:end].rstrip() or NO_PREFIX): end
               for end in ends}  # fmt: skip
    telling = {LABELS[0][:7]: True, LABELS[1][:4]: False}
    whole = 0
    texts = teacher.judging(problem, Random(1))
    for text in texts:
        asked, said = asked_and_said(tokenizer, text)
        end = prompts[asked]
        (enough,) = {true for begin, true in telling.items() if said.startswith(begin)}
        assert enough == (end >= problem.sufficient_end)
        whole += said == LABELS[0 if enough else 1] + "<|end|>"
    assert whole == 1
    shown = {prompts[asked_and_said(tokenizer, text)[0]] for text in texts}
    near = ends[max(0, problem.sufficient_segments - 1) : problem.sufficient_segments + 2]
    assert shown >= set(near) and len(shown) == len(texts)


def test_only_the_verdict_and_the_shown_trace_are_learnt_in_judging(teacher, tokenizer):
    """The longest text is read along from the trace's first word to the end of the turn, at a tenth of a verdict."""
    texts = teacher.judging(PROBLEMS[3], Random(1))
    trunk = max(texts, key=lambda text: len(text.ids))
    asked, _ = asked_and_said(tokenizer, trunk)
    draft = next(
        PROBLEMS[3].trace[:end].rstrip()
        for end in cuts(PROBLEMS[3].trace)
        if JUDGE.render(question=PROBLEMS[3].question, prefix=PROBLEMS[3].trace[:end].rstrip()) == asked
    )
    read = [id for id, weight in zip(trunk.ids, trunk.weights, strict=True) if weight == READ]
    assert tokenizer.decode(read).startswith(f"{draft}<|end|>")
    ignored = tokenizer.decode([id for id, weight in zip(trunk.ids, trunk.weights, strict=True) if weight == 0])
    assert JUDGE.text.split("\n")[0] in ignored and PROBLEMS[3].question in ignored
    for text in texts:
        if text is not trunk:
            assert sum(weight > 0 for weight in text.weights) <= 5


@pytest.mark.parametrize("problem", PROBLEMS[:20], ids=lambda problem: problem.id)
def test_finishing_goes_on_from_sufficient_cuts_only(teacher, tokenizer, problem):
    ends = [0, *cuts(problem.trace)]
    possible = {
        ALIGN.render(question=problem.question, prefix=problem.trace[:end].rstrip() or NO_PREFIX): end
        for end in ends
        if end >= problem.sufficient_end
    }
    texts = teacher.finishing(problem, Random(2))
    found = []
    for text in texts:
        asked, said = asked_and_said(tokenizer, text)
        found.append(possible[asked])
        assert said == continuation(problem, possible[asked]) + "<|end|>"
        learnt = tokenizer.decode([id for id, weight in zip(text.ids, text.weights, strict=True) if weight])
        assert learnt == said
    assert problem.sufficient_end in found and len(set(found)) == len(found)


def test_solving_is_the_clean_solution_and_its_end(teacher, tokenizer):
    for problem in PROBLEMS[:5]:
        text = teacher.solving(problem)
        asked, said = asked_and_said(tokenizer, text)
        assert asked == SOLVE.render(question=problem.question)
        assert said == problem.solution + "<|end|>" and last_boxed(said) == problem.answer


def test_sums_are_right_and_only_their_results_are_learnt(teacher, tokenizer):
    text = teacher.sums(PROBLEMS)
    sums = re.findall(r" (\d+) ([-+*/]) (\d+) = (\d+)\.", tokenizer.decode(text.ids))
    for left, sign, right, result in sums:
        assert eval(f"{left} {sign} {right}") == int(result)
    assert len(sums) > 60 and sum(weight > 0 for weight in text.weights) == len(sums)


def test_the_solve_prompt_is_practised_on_easy_problems_only(tokenizer):
    """What is left to learn from prefixes."""
    course = curriculum(LessonPlan(seed=5, judging=0, finishing=0, solving=8, sums=0), tokenizer)
    easy = iter(problems("train", 80, seed=4 * 5 + 2, difficulties=(1,)))
    for _ in range(10):
        ((tree,),) = next(course)
        practised = [next(easy) for _ in range(8)]
        text = tokenizer.decode(tree.ids)
        assert text.count("<|end|>\n<|begin|>assistant\n") == 8
        assert all(problem.sufficient_end == 0 and problem.solution in text for problem in practised)


def test_one_count_changes_nothing_of_the_other_lessons(tokenizer):
    """Each kind has a stream of its own, so that plans can be compared."""
    plan = LessonPlan(judging=0, finishing=0, solving=3, sums=4)
    both, sums = curriculum(plan, tokenizer), curriculum(replace(plan, solving=0), tokenizer)
    for _ in range(3):
        (_, drilled), (alone,) = next(both), next(sums)
        assert drilled == alone


def test_groups_that_are_not_wanted_are_left_out_and_a_course_has_its_length(tokenizer):
    course = list(curriculum(LessonPlan(steps=2, judging=1, finishing=0, solving=0, sums=0), tokenizer))
    assert [len(groups) for groups in course] == [1, 1]


def test_the_shipped_student_was_taught_these_very_lessons():
    """Its card says that the same plan gives the same bytes: tokens and weights of the first steps never move."""
    tokenizer = AutoTokenizer.from_pretrained(student_folder())
    total = hashlib.sha256()
    for groups in islice(curriculum(LessonPlan(), tokenizer), 3):
        total.update(repr([(tree.ids, tree.ends, tree.lessons) for group in groups for tree in group]).encode())
    assert total.hexdigest()[:16] == "56b83c57fe245132"
