"""Each flag on planted cases out of real and toy texts: precision and recall of at least 0.95, both printed."""

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.alignment.acceptance import FLAGS, cut, flags, leaks, leaves_script, no_box, restarts
from palign_hf.repetition import loops
from palign_hf.segmentation import cuts
from palign_hf.toy.world.problems import continuation, problems


LEAST = 0.95


def measured(name, verdicts):
    """Precision and recall over (truth, found), printed and held to the promise."""
    right = sum(truth and found for truth, found in verdicts)
    precision = right / max(1, sum(found for _, found in verdicts))
    recall = right / max(1, sum(truth for truth, _ in verdicts))
    print(f"{name}: precision {precision:.3f}, recall {recall:.3f} over {len(verdicts)} cases")
    assert right and precision >= LEAST and recall >= LEAST, f"{name}: precision {precision}, recall {recall}"


@pytest.fixture(scope="module")
def toy():
    """(question, trace, gold, wording of the whole solution)."""
    return [(p.question, p.trace, p.answer, p.solution) for p in problems("train", 40)]


@pytest.fixture(scope="module")
def real(shared_data):
    rows = []
    for name in ("mixed_teachers", "r1_distill_qwen_14b_math"):
        rows += [json.loads(line) for line in (shared_data / "traces" / f"{name}.jsonl").open()]
    return [(row["question"], row["trace"], row["answer"], None) for row in rows]


@pytest.fixture(params=["toy", "real"])
def texts(request):
    return request.getfixturevalue(request.param)


TABLE = "| n | n squared | rest |\n|---|---|---|\n" + "\n".join(
    f"| {n} | {n * n} | {n * n % 7} |" for n in range(1, 60)
)
CASES = "\n".join(
    f"For n = {n}: n^2 + 1 = {n * n} + 1 = {n * n + 1}, which is {'odd' if n % 2 == 0 else 'even'}." for n in range(50)
)
CODE = "def square(x):\n" + "\n".join(f"    if x == {n}:\n        return {n * n}" for n in range(40))
DERIVATION = "\n".join(
    rf"&= (x + 1)^{n} \left( (x + 1)^2 + {n + 1}(x + 1) + {n * n} \right) - (x + 1)^{n + 1} \\" for n in range(1, 30)
)
MATRIX = r"\begin{pmatrix} 0 & 0 & 0 \\ 0 & 0 & 0 \\ 0 & 0 & 0 \end{pmatrix}"
CHECKS = (
    "Wait, let me check. With x = 4 we get 4 + 3 = 7. Yes, that is right.\n\n"
    "Let me check again. With x = 4 the left side is 7 and the right side is 7. Good.\n\nSo x = 4."
)
ORDINARY = [
    TABLE,
    CASES,
    CODE,
    DERIVATION,
    MATRIX,
    CHECKS,
    "1, 2, 3, " * 2 + "-" * 200,
    ", ".join(map(str, range(300))),
]


def test_cut_is_the_finish_reason():
    assert cut("length") and not cut("stop") and not cut(None)


def test_no_box_asks_for_a_complete_box(texts):
    verdicts = []
    for _, trace, _, _ in texts:
        said = trace.replace(r"\boxed", "")
        verdicts += [(True, no_box(said)), (True, no_box(said + r"\boxed{12")), (True, no_box(said + r"\boxed{}"))]
        verdicts += [(False, no_box(said + r"\boxed{\frac{1}{2}}")), (False, no_box(rf"\boxed{{3}} {said}"))]
    measured("no_box", verdicts)


def test_loop(texts):
    rng = random.Random(1)
    verdicts = [(False, loops(text)) for text in ORDINARY] + [(False, loops(trace)) for _, trace, _, _ in texts]
    for question, trace, _, _ in texts:
        ends = cuts(trace)
        at = rng.randrange(1, len(ends) - 1)
        begin, end = ends[at - 1], ends[min(len(ends) - 1, at + rng.randrange(1, 6))]
        passage = trace[begin:end].strip() + " Hmm. "
        exact = trace[:end] + passage * max(4, 200 // len(passage) + 1)
        verdicts.append((True, loops(exact[: -rng.randrange(1, 30)])))
        number = "".join(f"Wait, maybe the number is {n}, so let me see if it fits what is asked. " for n in range(40))
        verdicts.append((True, loops(trace[:end] + number + trace[end:])))
        near = "".join(
            f"{'Hmm. ' * (n % 3)}So {rng.choice(['yes', 'no', 'well'])}, {question[:150]} " for n in range(16)
        )
        verdicts.append((True, loops(trace[:end] + near)))
        verdicts.append((False, loops(trace[:end] + " " + question + " " + question)))
    measured("loop", verdicts)


STATED = (
    r"So we have \boxed{%s}.", "The answer is %s.", "**Answer:** %s", r"The final answer is \(\boxed{ %s }\)",
    "so the answer should be $%s$, I think.", "Answer: %s\n", "Therefore the answer to the problem is indeed **%s**.",
)  # fmt: skip
UNSTATED = (
    "So x is %s here, and the answer is something else.", "The answer is not %s.", "We get %s on the way.",
    "The answer is %s9.", "the answer is %s + 3.", "We find that %s holds; what is the answer?", r"\boxed{1%s7}",
    "If the answer depends on %s, we go on.", r"\boxed{%s",
)  # fmt: skip


def test_leak(texts):
    rng = random.Random(2)
    verdicts = []
    for question, trace, gold, _ in texts:
        if gold is None:
            continue
        ends = [0, *cuts(trace)]
        early = trace[: ends[len(ends) // 3]]
        if leaks(early, gold):  # real teachers state answers early, rightly or not
            continue
        for _ in range(3):
            verdicts.append((True, leaks(f"{early} {rng.choice(STATED) % gold}", gold)))
            verdicts.append((False, leaks(f"{early} {rng.choice(UNSTATED) % gold}", gold)))
        verdicts.append((False, leaks(question + early, gold)))
    measured("leak", verdicts)


def test_leaks_are_few_before_the_end_of_toy_traces(toy):
    """The last line alone states the answer of a toy trace in one of these ways."""
    for _, trace, gold, _ in toy:
        assert leaks(trace, gold) and not leaks(trace[: trace.rindex("The answer is")], gold)


@pytest.mark.parametrize(
    ("prefix", "gold", "stated"),
    [
        ("the answer is 142", "142.0", True),
        ("the answer is 1,234 apples", "1234", True),
        (r"answer is $\dfrac{1}{2}$", r"\frac{1}{2}", True),
        (r"\boxed{\left( 3, \frac{\pi}{2} \right)}", r"\left(3,\frac{\pi}{2}\right)", True),
        (r"**Answer:** \boxed{\text{D}}", "D", True),
        (r"\boxed{x = 5}", "5", True),
        (r"\boxed{6.17\%}", "6.17", True),
        ("the answer is Dan", "D", False),
        ("the answer is 1, 2", "12", False),
        ("the answer is 12,345", "12", False),
        ("the answer is 5x", "5", False),
        (r"the answer is 3\sqrt{2}", "3", False),
        (r"\boxed{-5}", "5", False),
        ("the answer is 5", None, False),
        ("the answer is ", "", False),
    ],
)
def test_what_states_an_answer(prefix, gold, stated):
    assert leaks(prefix, gold) is stated


def sides(texts):
    """(question, trace, prefix, rest, solution) at several cuts of each trace, not near its ends."""
    rng = random.Random(3)
    for question, trace, _, solution in texts:
        ends = [end for end in cuts(trace) if 0.15 * len(trace) < end < 0.9 * len(trace)]
        for end in rng.sample(ends, min(6, len(ends))):
            yield question, trace, trace[:end], trace[end:], solution


def test_restart(texts):
    verdicts = []
    others = {}
    for question, trace, _, _ in texts:
        others.setdefault(question, []).append(trace)
    for question, trace, prefix, rest, solution in sides(texts):
        verdicts.append((False, restarts(question, prefix, rest)))
        verdicts.append((False, restarts(question, prefix, "Wait, let me check the last step. " + rest)))
        verdicts.append((False, restarts(question, prefix, f"So that is what we need.\n\n{CASES}")))
        verdicts.append((True, restarts(question, prefix, trace)))
        verdicts.append(
            (True, restarts(question, prefix, f"To solve this problem, we go step by step. {question} {rest}"))
        )
        verdicts.append((True, restarts(question, prefix, f"{question} {rest}")))
        for other in others[question]:
            if other is not trace:
                verdicts.append((True, restarts(question, prefix, other)))
        if solution:
            verdicts.append((True, restarts(question, prefix, f"Let's solve this. {question} {solution}")))
    measured("restart", verdicts)


def test_clean_continuations_of_the_toy_world_have_no_flags():
    for problem in problems("train", 150, seed=2000):
        end = problem.sufficient_end
        told = flags(problem.question, problem.trace[:end], continuation(problem, end), "stop", problem.answer)
        assert told == (), (problem.id, told)


CHINESE = "所以我们需要先计算这个数的平方，然后再除以二得到结果。"
RUSSIAN = "Значит, нам нужно сначала найти квадрат этого числа."
KOREAN = "그래서 먼저 이 수의 제곱을 구해야 합니다."
ARABIC = "إذن علينا أن نحسب مربع هذا العدد أولا"


def test_language(texts):
    verdicts = []
    for question, _, prefix, rest, _ in sides(texts):
        verdicts.append((False, leaves_script(question + prefix, rest)))
        symbols = r"Let α, β and Δ be angles with α + β = π; 'Erdős' and 'naïve' too. 中 is a letter. Σ ∑ ∫ ≤ ℝ ½ é"
        verdicts.append((False, leaves_script(question + prefix, f"{rest} {symbols}")))
        for other in (CHINESE, RUSSIAN, KOREAN, ARABIC):
            half = len(rest) // 2
            verdicts.append((True, leaves_script(question + prefix, rest[:half] + other + rest[half:])))
            verdicts.append((False, leaves_script(question + prefix + other, rest)))
        verdicts.append((True, leaves_script(CHINESE * 3, f"So we see what has to be done now. {rest}")))
        verdicts.append(
            (False, leaves_script(CHINESE * 3, rf"{CHINESE} \frac{{a}}{{b}} = \sqrt{{x}} sin cos print {CHINESE}"))
        )
    measured("language", verdicts)


def test_flags_name_what_is_wrong():
    told = flags("How many?", "The answer is 5.", "是的，所以答案是这样的。" + "again and again " * 50, "length", "5")
    assert told == ("cut", "loop", "leak", "no_box", "language") and set(told) <= set(FLAGS)


@given(*[st.text()] * 3, st.sampled_from(["length", "stop", None]), st.none() | st.text())
def test_any_text_can_be_flagged(question, prefix, continuation, reason, gold):
    told = flags(question, prefix, continuation, reason, gold)
    assert list(told) == [name for name in FLAGS if name in told]
    assert ("cut" in told) == (reason == "length")


@pytest.mark.parametrize(
    "part",
    ["ab", "a", " ", "\n", "$", "\\boxed{", "{", "answer is 5 ", r"\boxed{5\%", "answer to ", "然", "1 2 ", "\ud800"],
)
def test_a_megabyte_takes_no_time(part):
    text = part * (1_000_000 // len(part))
    start = time.process_time()
    flags("How many?", "the answer is " + text, text + "x", "stop", "57")
    assert time.process_time() - start < 5  # half a second where nothing else runs; a square would be hours
