"""Where searches cut, against the truth: every search, and both ways to read the judge, on held-out toy traces.

    python benchmarks/toy_truncation.py [--rows 200] [--student palign-toy]

The margin criterion is evaluated at every cut of every trace by an engine; the searches then run on those answers,
and their tokens are counted with a prefix cache for each trace. Free-text verdicts (`generate`) are used by the
default search. The last line has the default search with the margin criterion, and its questions and wall over those
of the paper's: each of the two is timed on traces that the engine has never seen, in turns.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any


# Each search is timed so often, in turns with the other.
ROUNDS = 4


def shown(value: float | None, width: int, digits: int) -> str:
    """A figure, or a dash where nothing could be measured."""
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def walls(runner: Any, folder: Path, rows: int) -> dict[str, float]:
    """Seconds for `rows` new traces each time, ledger included; the engine has started."""
    from palign_hf.toy.world.problems import toy_traces
    from palign_hf.truncation.transform import PrefixTruncation

    spent = {"ascend": 0.0, "binary": 0.0}
    fresh = toy_traces("train", rows * (2 * ROUNDS + 1))
    for turn in range(2 * ROUNDS + 1):
        # The first turn starts the engine and isn't counted; then the order changes with every pair.
        search = ("ascend", "binary")[(turn + turn // 2) % 2]
        traces = fresh.select(range(turn * rows, (turn + 1) * rows))
        one = PrefixTruncation(
            runner.student.name, search=search, engine=runner, ledger=str(folder / f"wall-{turn}"), progress=False
        )
        with one:
            one.check()
            began = time.perf_counter()
            traces.map(one, batched=True, batch_size=rows, load_from_cache_file=False)
            if turn:
                spent[search] += time.perf_counter() - began
    return spent


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200, help="traces of the test split (default: %(default)s)")
    parser.add_argument("--student", default="palign-toy", help="folder or name (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="auto, vllm or transformers (default: %(default)s)")
    options = parser.parse_args()
    if options.rows < 10:
        parser.error(f"--rows {options.rows} says too little: give 10 or more")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

    from palign_hf.generation.runner import StudentRunner
    from palign_hf.toy.demo.measure import BLOCK, SEARCHES, figures, measure_searches
    from palign_hf.toy.world.problems import toy_traces
    from palign_hf.truncation.transform import PrefixTruncation

    traces = toy_traces("test", options.rows)
    with tempfile.TemporaryDirectory() as folder, StudentRunner(options.student, engine=options.engine) as runner:

        def truncation(verdict: str) -> PrefixTruncation:
            ledger = str(Path(folder) / verdict)
            criterion = {"name": "self-judge", "verdict": verdict}
            return PrefixTruncation(options.student, criterion=criterion, engine=runner, ledger=ledger)

        measured, skill = measure_searches(truncation("margin"), traces, SEARCHES)
        generated, _ = measure_searches(truncation("generate"), traces, ("ascend",))
        spent = walls(runner, Path(folder), options.rows)
    assert skill is not None

    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}; student: {options.student}")
    print(f"{options.rows} traces of the test split, {skill.cuts:,} cuts judged\n")
    print("judge                        every cut   near the true cut")
    for name, every, near in (
        ("accuracy", skill.accuracy, skill.near_accuracy),
        ("AUROC", skill.auroc, skill.near_auroc),
        ("AUROC of length alone", skill.auroc_of_length, skill.near_auroc_of_length),
    ):
        print(f"{name:27}{shown(every, 11, 3)}{shown(near, 20, 3)}")
    head = f"{'search':20}{'criterion':10}{'median':>7}{'mean':>7}{'exact':>7}{'<=2':>6}{'short':>7}{'long':>7}"
    print(f"\n{head}{'ratio':>7}{'probes':>8}{'tokens':>8}{'failed':>8}")
    for verdict, one in [*(("margin", one) for one in measured), *(("generate", one) for one in generated)]:
        cut = one.skill
        print(
            f"{one.search:20}{verdict if cut.probes else '-':10}{shown(cut.median_distance, 7, 1)}"
            f"{shown(cut.mean_distance, 7, 2)}{shown(cut.exact, 7, 2)}{shown(cut.within_two, 6, 2)}"
            f"{shown(cut.too_short, 7, 2)}{shown(cut.too_long, 7, 2)}{shown(cut.found_ratio, 7, 3)}"
            f"{cut.probes or 0:8.1f}{one.tokens:8.0f}{cut.failed:8}"
        )
    default = measured[0].skill
    print(f"\ntrue ratio{shown(default.true_ratio, 6, 3)} of the characters; distances in segments")
    print(f"tokens a trace: computed with a cache of its own, in blocks of {BLOCK}")
    asked = {one.search: one.skill.probes for one in measured}
    print(f"questions a trace: ascend{shown(asked['ascend'], 6, 2)}, binary{shown(asked['binary'], 6, 2)}")
    print(f"wall of {ROUNDS * options.rows} new traces each: " + ", ".join(f"{n} {s:.1f} s" for n, s in spent.items()))
    ratio = {"wall_over_binary": round(spent["ascend"] / spent["binary"], 3)}
    print(json.dumps(figures(measured, skill) | ratio))


if __name__ == "__main__":
    main()
