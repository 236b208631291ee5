"""`palign evaluate`: a student's samples on benchmarks, graded and counted, in this process."""

import argparse

from palign_hf.evaluation.run import EVALUATE
from palign_hf.runs.launch import add_stage_options, run_command


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_stage_options(parser, EVALUATE)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the recipe; 1 if samples failed."""
    return run_command(EVALUATE, options)
