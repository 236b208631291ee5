"""`palign train`: PAIRS -> a student in this process, from a recipe or from options alone."""

import argparse

from palign_hf.config import read_options
from palign_hf.runs.launch import add_stage_options, forecast_here, run_here
from palign_hf.training.run import TRAIN


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_stage_options(parser, TRAIN)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the recipe."""
    settings = read_options(options, TRAIN.settings)
    return forecast_here(TRAIN, settings) if options.dry_run else run_here(TRAIN, settings)
