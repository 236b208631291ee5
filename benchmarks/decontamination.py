"""How many copies of benchmark questions are found, and how many questions are taken for copies that are none.

The labelled pairs are problems of s1K and OpenThoughts beside one of MATH-500 each. Their labels come from the rules
that chose them: any shared 8-gram (`c_lex`), or a model's word that both need the same idea (`c_sem`). So "all" of
them are mostly other problems, and the rule's purpose is measured by `recall_copies`: the pairs that are the same
problem when they are read, which are six.
"""

import argparse
import json
import time
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from palign_hf.data.decontamination import LOOSE, NUMBERS, Index


# Read by eye, all 184. The last three were reworded: "are" became "are there", the question became "z = a + bi, find
# a + b", and four circles were asked about in other words altogether.
EXACT = {("0103", "s1k_0181"), ("0285", "s1k_0124"), ("0080", "s1k_0081")}
COPIES = EXACT | {("0386", "ot_091537"), ("0126", "s1k_0498"), ("0300", "ot_078445")}
HALVES = ("first", "second")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.open()]


def half(pair: dict) -> str:
    """The pairs by hash: what one half says of a threshold is tried on the other."""
    return "first" if blake2b(pair["train_id"].encode(), digest_size=1).digest()[0] % 2 else "second"


def best_score(index: Index, pair: dict) -> float:
    """How near any benchmark question comes whose numbers agree."""
    question = pair["train_problem"]
    if (match := index.find(question)) and match.kind == "exact":
        return match.score
    return max((match.score for match in index.scores(question) if match.numbers >= NUMBERS), default=0.0)


def best_threshold(scores: list[float], copies: list[bool]) -> float:
    """The middle of the widest gap between neighbouring scores among those with the fewest mistakes."""

    def mistakes(near: float) -> int:
        return sum((score >= near) != copy for score, copy in zip(scores, copies, strict=True))

    gaps = pairwise(sorted({0.0, 1.0, *scores}))
    return min((mistakes(high), low - high, (low + high) / 2) for low, high in gaps)[2]


class AnyEight:
    """The naive rule: a question that shares any eight words in a row with a benchmark is a copy."""

    def __init__(self, benchmarks: dict[str, list[str]]) -> None:
        self.known = {gram for texts in benchmarks.values() for text in texts for gram in self.grams(text)}

    def grams(self, text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return set(zip(*(words[start:] for start in range(8)), strict=False))

    def find(self, question: str) -> bool:
        return not self.known.isdisjoint(self.grams(question))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure decontamination on labelled pairs and on other questions.")
    parser.add_argument("--data", type=Path, default=SHARED, help="a folder with `contamination` and `hub` in it")
    args = parser.parse_args()
    if not (args.data / "contamination").is_dir() or not (args.data / "hub").is_dir():
        parser.error(
            f"`--data {args.data}` holds no labelled pairs and benchmarks, without which nothing can be measured; "
            f"give a folder with `contamination/*.jsonl` and `hub/<benchmark>`"
        )

    from palign_hf.data.benchmarks import BENCHMARKS, load_benchmark

    hub = args.data / "hub"
    benchmarks = {n: load_benchmark(n, hub / known.hub_id / (known.config or "")) for n, known in BENCHMARKS.items()}
    pairs = [row for path in sorted((args.data / "contamination").glob("*.jsonl")) for row in rows(path)]
    gsm8k = [row["question"] for row in rows(hub / "openai/gsm8k/main/train.jsonl")]
    s1k = sorted({row["train_problem"] for row in pairs if row["project"] == "s1"})
    sample = [row["question"] for row in rows(hub / "simplescaling/s1K-1.1-sample/train.jsonl")]

    start = time.perf_counter()
    rules = {
        "this rule": Index(benchmarks, gsm8k),
        "this rule, loose": Index(benchmarks, gsm8k, **LOOSE),
        "any 8-gram": AnyEight(benchmarks),
    }
    contests = {name: benchmarks[name] for name in ("AIME24", "AIME25", "AMC12")}
    on_contests = {
        "this rule": Index(contests), "this rule, loose": Index(contests, **LOOSE), "any 8-gram": AnyEight(contests)
    }  # fmt: skip

    def key(pair: dict) -> tuple[str, str]:
        return pair["math500_id"][-4:], pair["train_id"]

    figures: dict[str, dict[str, float]] = {}
    print(f"{len(pairs)} labelled pairs, {sum(map(len, benchmarks.values()))} questions of {', '.join(benchmarks)}.\n")
    print(f"{'':28}" + "".join(f"{rule:>18}" for rule in rules))
    verdicts = {rule: [bool(index.find(pair["train_problem"])) for pair in pairs] for rule, index in rules.items()}
    groups = {
        "exact copies": lambda pair: key(pair) in EXACT,
        "copies": lambda pair: key(pair) in COPIES,
        "  of the first half": lambda pair: key(pair) in COPIES and half(pair) == "first",
        "  of the second half": lambda pair: key(pair) in COPIES and half(pair) == "second",
        "other problems, by reading": lambda pair: key(pair) not in COPIES,
        "  others of the first half": lambda pair: key(pair) not in COPIES and half(pair) == "first",
        "  others of the second half": lambda pair: key(pair) not in COPIES and half(pair) == "second",
        "all labelled pairs": lambda pair: True,
    }
    for title, belongs in groups.items():
        chosen = [place for place, pair in enumerate(pairs) if belongs(pair)]
        counts = {rule: sum(found[place] for place in chosen) for rule, found in verdicts.items()}
        figures[title] = {rule: count / len(chosen) for rule, count in counts.items()}
        print(f"{title:28}" + "".join(f"{f'{count} of {len(chosen)}':>18}" for count in counts.values()))
    elsewhere = {
        "GSM8K train": (gsm8k, rules),
        "s1K sample": (sample, rules),
        "s1K in pairs, on contests": (s1k, on_contests),
    }
    for title, (questions, judges) in elsewhere.items():
        counts = {rule: sum(bool(index.find(text)) for text in questions) for rule, index in judges.items()}
        figures[title] = {rule: count / len(questions) for rule, count in counts.items()}
        print(f"{title:28}" + "".join(f"{f'{count} of {len(questions)}':>18}" for count in counts.values()))
    print("\nThe loose rule also takes the wording of a test with other numbers, or another question about its story,")
    print(f"for a copy. All of it took {time.perf_counter() - start:.1f} s.\n")
    scores = {name: [best_score(rules["this rule"], pair) for pair in pairs if half(pair) == name] for name in HALVES}
    copies = {name: [key(pair) in COPIES for pair in pairs if half(pair) == name] for name in HALVES}
    print("The rule was made with all pairs in view. Thresholds of the score that one half alone would give:")
    for name, other in (HALVES, HALVES[::-1]):
        near = best_threshold(scores[name], copies[name])
        right = sum(found and score >= near for score, found in zip(scores[other], copies[other], strict=True))
        wrong = sum(not found and score >= near for score, found in zip(scores[other], copies[other], strict=True))
        print(f"  from the {name}: {near:.2f}; on the {other}: {right} of {sum(copies[other])} copies, {wrong} others")
    mine = "this rule"
    line = {
        "recall_exact": figures["exact copies"][mine],
        "recall_copies": figures["copies"][mine],
        "recall_all": figures["all labelled pairs"][mine],
        "recall_all_loose": figures["all labelled pairs"]["this rule, loose"],
        "false_alarm_gsm8k": figures["GSM8K train"][mine],
        "naive_false_alarm_gsm8k": figures["GSM8K train"]["any 8-gram"],
    }
    print(json.dumps({name: round(value, 4) for name, value in line.items()}))


if __name__ == "__main__":
    main()
