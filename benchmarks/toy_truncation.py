"""Where searches cut, against the truth: every search, and both ways to read the judge, on held-out toy traces.

    python benchmarks/toy_truncation.py [--rows 200] [--student palign-toy]

The margin criterion is asked at every cut of every trace, by a real engine; the searches then run on those answers,
and their tokens are counted as from a cold prefix cache. Free-text verdicts (`generate`) are asked by the default
search. The last line has the default search with the margin criterion.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200, help="traces of the test split (default: %(default)s)")
    parser.add_argument("--student", default="palign-toy", help="folder or name (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="auto, vllm or transformers (default: %(default)s)")
    options = parser.parse_args()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

    from palign_hf.toy.measure import SEARCHES, measure_searches
    from palign_hf.toy.problems import toy_traces
    from palign_hf.truncation.transform import PrefixTruncation

    traces = toy_traces("test", options.rows)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for verdict, searches in (("margin", SEARCHES), ("generate", ("ascend",))):
            truncation = PrefixTruncation(
                options.student,
                verdict=verdict,
                engine=options.engine,
                ledger=str(Path(folder) / verdict),
            )
            found, judge = measure_searches(truncation, traces, searches, curves=verdict == "margin")
            measured += [(verdict, one) for one in found]
            if judge is not None:
                skill = judge

    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}; student: {options.student}")
    print(f"{options.rows} traces of the test split, {skill.cuts:,} cuts judged\n")
    print("judge                        every cut   near the true cut")
    for name, every, near in (
        ("accuracy", skill.accuracy, skill.near_accuracy),
        ("AUROC", skill.auroc, skill.near_auroc),
        ("AUROC of length alone", skill.auroc_of_length, skill.near_auroc_of_length),
    ):
        print(f"{name:27}{every:11.3f}{near:20.3f}")
    head = f"{'search':20}{'criterion':10}{'median':>7}{'mean':>7}{'exact':>7}{'<=2':>6}{'short':>7}{'long':>7}"
    print(f"\n{head}{'ratio':>7}{'probes':>8}{'tokens':>8}{'failed':>8}")
    for verdict, one in measured:
        cut = one.skill
        judged = cut.probes > 0
        print(
            f"{one.search:20}{verdict if judged else '-':10}{cut.median_distance:7.1f}{cut.mean_distance:7.2f}"
            f"{cut.exact:7.2f}{cut.within_two:6.2f}{cut.too_short:7.2f}{cut.too_long:7.2f}{cut.found_ratio:7.3f}"
            f"{cut.probes:8.1f}{one.tokens:8.0f}{cut.failed:8}"
        )
    default = measured[0][1].skill
    print(
        f"\ntrue ratio {default.true_ratio:.3f} of the characters; distances in segments; tokens a trace, cold cache"
    )
    print(
        json.dumps(
            {
                "median_distance": default.median_distance,
                "too_short": round(default.too_short, 4),
                "too_long": round(default.too_long, 4),
                "judge_auroc": round(skill.auroc, 4),
                "judge_accuracy": round(skill.accuracy, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
