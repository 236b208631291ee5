"""`palign train`: PAIRS -> a student in this process, from a recipe or from options alone."""

import argparse

from palign_hf.runs.launch import add_stage_options, run_command
from palign_hf.training.stage import TRAIN


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_stage_options(parser, TRAIN)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the recipe."""
    return run_command(TRAIN, options)
