"""The `palign demo` command: the whole chain on this machine, in a minute or two and without a network."""

import argparse

from palign_hf.toy.demo.run import STUDENTS, DemoConfig, demo


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--student", choices=list(STUDENTS), default="toy", help="who judges (default: %(default)s)")
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
    """Run the demo; the status of its chain, or 1 if rows failed under any search."""
    return demo(DemoConfig(options.student, options.rows, options.output_dir, options.engine, options.compare))
