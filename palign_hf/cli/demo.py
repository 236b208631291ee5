"""The `palign demo` command: run the method on this machine, in about a minute and without a network."""

import argparse

from palign_hf.toy.demo.run import CASTS, DemoConfig, demo


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--student", choices=list(CASTS), default="toy", help="who judges (default: %(default)s)")
    parser.add_argument("--rows", type=int, help="how many traces; by default as many as take a minute or two")
    parser.add_argument(
        "--output-dir", help="folder for answers and results (default: runs/demo, or runs/demo-STUDENT)"
    )
    parser.add_argument(
        "--engine", choices=["auto", "vllm", "transformers"], default="auto", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--compare", action="store_true", help="judge every beginning: the judge's skill, and all searches beside it"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo; 1 if rows failed under any search."""
    outcome = demo(DemoConfig(options.student, options.rows, options.output_dir, options.engine, options.compare))
    return 1 if outcome.report.failed or any(one.skill.failed for one in outcome.measured) else 0
