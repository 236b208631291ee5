"""How fast answers are graded, what an endless one costs, and whether gold answers are right by themselves.

    python benchmarks/grading.py [--answers N] [--limit S]

Ordinary answers are those of real benchmarks (MATH-500, AMC12, AIME), each in a solution of some thousand characters:
right ones, and as many wrong ones (the next problem's answer), graded one after the other on one core, algebra
included. They are read from ../shared/data/hub beside the checkout; without it a few of the same kinds stand in, and
the last figure is left out. Endless ones go through a pool with a limit; the worst includes the start of a new worker.
The last line is JSON.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from palign_hf.grading import GraderPool, MathGrader


HUB = Path(__file__).resolve().parents[2] / "shared" / "data" / "hub"
GOLD = {"MATH-500": "HuggingFaceH4/MATH-500/test.jsonl", "AMC12": "AI-MO/aimo-validation-amc/train.jsonl"}
MORE = {"AIME24": "HuggingFaceH4/aime_2024/train.jsonl", "AIME25": "yentinglin/aime_2025/train.jsonl"}
# Of the kinds that MATH has, three numbers to two others.
STAND_INS = [
    "42",
    "204",
    "-7",
    "1,250",
    "0.35",
    r"\frac{3}{4}",
    "12",
    r"3\sqrt{2}",
    "360",
    r"45^\circ",
    "(2,-5)",
    "18",
]
STAND_INS += ["x^2+3x-1", "7", r"\text{even}", "96", r"\frac{11}{36}", "[0,4)", "10", "1", r"8\pi", "2, -3", "5"]
STEP = "Adding both sides of $a_{k} + \\frac{b}{2} = 3k$ gives {n}, so we go on with $k = {n}$ and check it again. "
PATHOLOGICAL = {
    "a tower of powers": "9^{9^{9^{9^9}}}",
    "a factorial": "10000000!",
    "an expansion": "(x+1)^{10000}",
    "100 kB of digits": "7" * 100_000,
    "a million braces": "{" * 1_000_000,
    "900 parentheses": "(" * 900 + "x" + ")" * 900,
    "900 terms": "x+" * 900 + "x",
    "an integral": r"\int_0^1 \sin(x^x) e^{\cos x^2} dx",
}


def golds(sources: dict[str, str]) -> dict[str, list[str]]:
    return {
        name: [str(json.loads(line)["answer"]) for line in (HUB / path).open(encoding="utf-8")]
        for name, path in sources.items()
        if (HUB / path).is_file()
    }


def solution(answer: str, number: int) -> str:
    steps = "".join(STEP.replace("{n}", str(number + k)) for k in range(40))
    return f"{steps}The final answer is $\\boxed{{{answer}}}$."


def seconds_each(answers: list[str], count: int) -> tuple[float, int]:
    """Seconds for one answer, half of them right, and how many needed algebra."""
    pairs = [
        (solution(answers[(k + k % 2) % len(answers)], k), answers[k % len(answers)]) for k in range(max(count, 2))
    ]
    grader = MathGrader()
    grader.prepare()
    started = time.perf_counter()
    for pair in pairs:
        grader.grade(*pair)
    each = (time.perf_counter() - started) / len(pairs)
    return each, sum(grader.quick(*pair) is None for pair in pairs)


def worst(limit_s: float) -> float:
    took = {}
    with GraderPool("math", workers=1, limit_s=limit_s) as pool:
        for name, text in PATHOLOGICAL.items():
            started = time.perf_counter()
            grade = pool.grade(f"\\boxed{{{text}}}", "2y")
            took[name] = time.perf_counter() - started
            print(f"  {name:20} {took[name]:6.2f} s  {grade.error or 'wrong'}")
            if grade.lenient:
                sys.exit(f"{name} was graded as right.")
    return max(took.values())


def at_least(least: float, kind: type = int):
    def number(text: str):
        if not (value := kind(text)) >= least:
            raise argparse.ArgumentTypeError(f"{text} is below {least:g}")
        return value

    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=at_least(100), default=1500, help="ordinary answers to grade")
    parser.add_argument("--limit", type=at_least(0.1, float), default=2.0, help="seconds that the pool gives a pair")
    arguments = parser.parse_args()

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; one core is used")
    graded = golds(GOLD)
    whole = len(graded) == len(GOLD)
    answers = [answer for some in (graded | golds(MORE)).values() for answer in some] if whole else STAND_INS
    each, algebra = seconds_each(answers, arguments.answers)
    share = algebra / arguments.answers
    print(
        f"Ordinary answers{'' if whole else ' (stand-ins)'}: {1 / each:.0f} a second; {share:.0%} of them by algebra"
    )

    right = None
    if whole:
        grader = MathGrader()
        wrong = [
            gold for some in graded.values() for gold in some if not grader.grade(f"\\boxed{{{gold}}}", gold).strict
        ]
        count = sum(map(len, graded.values()))
        right = (count - len(wrong)) / count
        print(f"Gold answers of {' and '.join(graded)}, right by themselves: {count - len(wrong)} of {count} {wrong}")
    else:
        print(f"Gold answers by themselves: left out, for {HUB} has no {' and '.join(GOLD.keys() - graded.keys())}")

    print(f"Pathological answers, with a limit of {arguments.limit:g} s:")
    slowest = worst(arguments.limit)
    print(json.dumps({"answers_per_s": round(1 / each), "worst_s": round(slowest, 2), "gold_vs_gold": right}))


if __name__ == "__main__":
    main()
