"""The grader of mathematics says of toy answers what the world itself says, ten thousand times."""

from random import Random

from palign_hf.grading import make_grader
from palign_hf.toy.world.problems import continuation, problems, right_by_truth


def told(problem, rng: Random) -> list[str]:
    """Ten ways to end a solution of this problem, right and wrong."""
    answer, end = int(problem.answer), rng.randrange(len(problem.trace))
    right, other = continuation(problem, end), str(answer + rng.choice((-10, -1, 1, 2, 10, 100)))
    box, wrong = f"\\boxed{{{answer}}}", right.replace(f"\\boxed{{{answer}}}", f"\\boxed{{{other}}}")
    return [
        right,
        wrong,
        f"{wrong} Wait, that is wrong. The answer is {box}.",
        f"{right} Wait, that is wrong. The answer is \\boxed{{{other}}}.",
        f"The answer is {answer}.",
        f"It is \\boxed{{{answer}",
        f"{box} {box}",
        right[: right.rfind("\\boxed")],
        f"So we have {other}, no: {box}",
        "",
    ]


def test_the_grader_agrees_with_the_truth_on_ten_thousand_answers():
    grader, rng = make_grader("math"), Random(0)
    answers = [(problem, text) for problem in problems("validation", 1000) for text in told(problem, rng)]
    graded = [grader.grade(text, problem.answer).strict for problem, text in answers]
    truth = [right_by_truth(problem.id, text) for problem, text in answers]
    assert graded == truth and len(truth) == 10_000
    assert 0.3 < sum(truth) / len(truth) < 0.7
