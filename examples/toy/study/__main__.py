"""`make study`: compares training methods for a small student, on problems whose truth is known.

    python -m examples.toy.study [--output-dir runs/study] [--docs docs] [--workers 2]

The stages make the tables; then each arm is trained with each seed and evaluated, `--workers` students at a time with
one core each. Finished students are kept: the same command resumes with the remaining ones. At the end it writes the
page and its plot into `--docs`, or into `--output-dir`.
"""

import argparse
import sys
from dataclasses import fields
from typing import Any

from examples.toy.study.arms import StudyPlan
from examples.toy.study.run import study
from palign_hf.runs.launch import ended


def main(argv: list[str] | None = None) -> int:
    """Run or resume the study."""
    parser = argparse.ArgumentParser(prog="study", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output-dir", default="runs/study", help="folder for tables, samples and figures")
    parser.add_argument("--docs", default=None, help="folder of study.md and its plot (default: --output-dir")
    parser.add_argument("--workers", type=int, default=2, help="students trained at a time, each on one core")
    parser.add_argument(
        "--engine", choices=["auto", "vllm", "transformers"], default="auto", help="engine that makes the tables"
    )
    for one in fields(StudyPlan):
        kind = {"nargs": "+"} if one.name == "arms" else {"type": type(one.default)}
        option = "--" + one.name.replace("_", "-")
        parser.add_argument(option, default=one.default, help="(default: %(default)s)", **kind)
    options = parser.parse_args(argv)

    def body() -> int:
        plan = StudyPlan(**{one.name: _given(getattr(options, one.name)) for one in fields(StudyPlan)})
        return study(plan, options.output_dir, options.docs, options.workers, options.engine)

    return ended("study", body, parser)


def _given(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
