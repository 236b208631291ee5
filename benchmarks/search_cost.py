"""What each search computes, as a multiple of the floor, and how far a noisy judge leads it astray. Needs no model.

    python benchmarks/search_cost.py [--draws N] [--seed S]

Problems are drawn: about 200 sentences of about 40 tokens, a head (instruction and question) of 220 tokens before the
trace, a suffix of 11 after it, and 3 % that no prefix suffices for. Short ones have 20 to 60 segments of about 9
tokens. Tokens are counted exactly, for an engine that caches whole blocks of 16 tokens. The floor shows the answer's
prefix once and asks once: head + prefix + suffix. No search can reach it: knowing how the answers are spread, the best
order of questions to a judge that says only yes or no is at 1.12 to 1.13 for mean .25 and 1.09 to 1.10 for mean .40.
The last line is JSON; its figures are for the worse, for the default search, of the mean ratios .25 and .40.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from palign_hf.truncation.schedule import BlockCache
from palign_hf.truncation.search import Found, Search, make_search
from palign_hf.truncation.walk import violations


HEAD, SUFFIX, BLOCK = 220, 11, 16
NEVER = 0.03
# Segments (mean, deviation, least, most) and tokens a segment.
LONG, SHORT = (200, 50, 20, 400, 40), (40, 10, 20, 60, 9)
DEFAULT, FIRST = "ascend", "ascend(confirm=1, caution=0)"
RATIOS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "mean .25": lambda rng, n: rng.beta(2, 6, n),
    "mean .40": lambda rng, n: rng.beta(2.4, 3.6, n),
    "uniform": lambda rng, n: rng.random(n),
}


@dataclass(frozen=True)
class Problem:
    tokens: list[int]
    answer: int | None  # None: no prefix suffices

    @property
    def floor(self) -> int:
        return HEAD + self.tokens[-1 if self.answer is None else self.answer] + SUFFIX


def draw(
    ratios: Callable[[np.random.Generator, int], np.ndarray],
    count: int,
    seed: int,
    sizes: tuple[int, int, int, int, int] = LONG,
) -> list[Problem]:
    rng = np.random.default_rng(seed)
    mean, deviation, least, most, size = sizes
    lengths = np.clip(rng.normal(mean, deviation, count).round(), least, most).astype(int)
    problems = []
    for length, ratio, lost in zip(lengths, ratios(rng, count), rng.random(count) < NEVER, strict=True):
        sentences = np.maximum(1, rng.gamma(4, size / 4, length).round()).astype(int)
        answer = None if lost else int(np.clip(math.ceil(ratio * length), 1, length))
        problems.append(Problem([0, *np.cumsum(sentences).tolist()], answer))
    return problems


def walk(search: Search, problem: Problem, margin: Callable[[int], float]) -> tuple[list[int], Found]:
    steps, asked = search.start(problem.tokens), []
    while (cut := steps.next()) is not None:
        asked.append(cut)
        steps.tell(cut, margin(cut))
    return asked, steps.result()


def computed(problem: Problem, asked: list[int]) -> int:
    cache = BlockCache(BLOCK)
    return sum(cache.ask(HEAD + problem.tokens[cut] + SUFFIX, HEAD + problem.tokens[cut]) for cut in asked)


def uncached(problem: Problem, asked: list[int]) -> int:
    # The reference never asks cut 0.
    return sum(HEAD + problem.tokens[cut] + SUFFIX for cut in asked if cut)


def monotone(problem: Problem) -> Callable[[int], float]:
    answer = len(problem.tokens) if problem.answer is None else problem.answer
    return lambda cut: 1.0 if cut >= answer else -1.0


def spent(name: str, problems: list[Problem], price: Callable[[Problem, list[int]], int]) -> tuple[float, float]:
    """Tokens and questions a problem, of a judge that never wavers."""
    search, tokens, probes = make_search(name), 0, 0
    for problem in problems:
        asked, found = walk(search, problem, monotone(problem))
        if (found.segments if found.sufficient else None) != problem.answer:
            raise SystemExit(f"`{name}` found {found} where the answer is {problem.answer}.")
        tokens += price(problem, asked)
        probes += len(asked)
    return tokens / len(problems), probes / len(problems)


def over_floor(name: str, problems: list[Problem], price: Callable[[Problem, list[int]], int]) -> tuple[float, float]:
    """Tokens over the floor (of sums, so that it is the ratio of a whole run) and questions a problem."""
    tokens, probes = spent(name, problems, price)
    return tokens * len(problems) / sum(problem.floor for problem in problems), probes


def noisy_curves(problems: list[Problem], sigma: float, seed: int) -> list[list[float]]:
    """Margins that rise by .1 a sentence through 0 just before the answer, plus AR(1) noise (correlation .7)."""
    rng = np.random.default_rng(seed)
    longest = max(len(problem.tokens) for problem in problems)
    fresh = rng.normal(size=(longest, len(problems)))
    noise = fresh.copy()
    for place in range(1, longest):
        noise[place] = 0.7 * noise[place - 1] + math.sqrt(1 - 0.7**2) * fresh[place]
    curves = []
    for column, problem in enumerate(problems):
        cuts = np.arange(len(problem.tokens))
        curves.append((0.1 * (cuts - problem.answer + 0.5) + sigma * noise[: len(cuts), column]).tolist())
    return curves


def microseconds(name: str, problems: list[Problem]) -> float:
    """Time of the search itself, a probe."""
    search, probes, start = make_search(name), 0, time.perf_counter()
    for problem in problems:
        probes += len(walk(search, problem, monotone(problem))[0])
    return (time.perf_counter() - start) / probes * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare searches by the tokens they make an engine compute.")
    parser.add_argument("--draws", type=int, default=3000, help="problems of each kind (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.draws < 1:
        parser.error(f"`--draws {args.draws}` draws nothing; give 1 or more")

    print(f"Counted on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python", end=" ")
    print(f"{platform.python_version()}; {args.draws} problems of each kind, seed {args.seed}.\n")

    worlds = {label: draw(ratios, args.draws, args.seed) for label, ratios in RATIOS.items()}
    rows = [
        ("reference: binary, no cache", "binary", uncached),
        ("linear", "linear", computed),
        ("binary", "binary", computed),
        (FIRST, FIRST, computed),
        (f"{DEFAULT} (default)", DEFAULT, computed),
    ]
    print("Monotone judge: computed tokens over the floor / probes a problem")
    print(f"{'':32}" + "".join(f"{label:>16}" for label in worlds))
    table = {}
    for title, name, price in rows:
        table[title] = {label: over_floor(name, problems, price) for label, problems in worlds.items()}
        print(f"{title:32}" + "".join(f"{ratio:9.2f} /{probes:5.1f}" for ratio, probes in table[title].values()))

    print("\nShort traces (20 to 60 segments of 9 tokens), monotone judge: computed tokens / probes a problem")
    print(f"{'':32}" + "".join(f"{label:>16}" for label in worlds))
    short: dict[str, dict[str, tuple[float, float]]] = {}
    for title, name, price in rows[1:]:
        short[title] = {
            label: spent(name, draw(ratios, args.draws, args.seed, SHORT), price) for label, ratios in RATIOS.items()
        }
        print(f"{title:32}" + "".join(f"{tokens:9.0f} /{probes:5.1f}" for tokens, probes in short[title].values()))

    print("\nNoisy judge, mean .25, problems with an answer: error and bias in sentences, computed tokens, probes")
    print(f"{'':32}{'sigma':>6}{'wavering':>10}{'error':>8}{'bias':>8}{'tokens':>9}{'probes':>8}")
    answered = [problem for problem in worlds["mean .25"] if problem.answer is not None]
    for sigma in (0.5, 1.0, 2.0):
        curves = noisy_curves(answered, sigma, args.seed + 1)
        wavering = sum(violations(list(enumerate(curve))) > 0 for curve in curves) / len(curves)
        for title, name, price in rows[2:]:
            search, off, tokens, probes = make_search(name), [], 0, 0
            for problem, curve in zip(answered, curves, strict=True):
                asked, found = walk(search, problem, curve.__getitem__)
                off.append(found.segments - problem.answer)
                tokens += price(problem, asked)
                probes += len(asked)
            error, bias = np.abs(off).mean(), np.mean(off)
            print(f"{title:32}{sigma:6.1f}{wavering:10.0%}{error:8.2f}{bias:+8.2f}", end="")
            print(f"{tokens / len(answered):9.0f}{probes / len(answered):8.1f}")

    speed = {name: microseconds(name, worlds["mean .25"]) for name in ("binary", DEFAULT)}
    print(
        "\nTime of the search itself: " + ", ".join(f"{name} {value:.1f} us a probe" for name, value in speed.items())
    )

    title = f"{DEFAULT} (default)"
    default = table[title]
    worst = max(("mean .25", "mean .40"), key=lambda label: default[label][0])
    print(f"\nOver the floor at {worst} (where the default does worse), and on short traces over `binary`, at most:")
    over = [(np.array(short[title][label]) / np.array(short["binary"][label])) for label in ("mean .25", "mean .40")]
    tokens_over, questions_over = np.max(over, axis=0)
    figures = {
        "default_over_floor": default[worst][0],
        "binary_over_floor": table["binary"][worst][0],
        "reference_over_floor": table["reference: binary, no cache"][worst][0],
        "short_questions_over_binary": questions_over,
        "short_tokens_over_binary": tokens_over,
    }
    print(json.dumps({key: round(float(value), 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
