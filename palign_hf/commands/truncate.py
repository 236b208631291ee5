"""`palign truncate`: TRACES -> PREFIXES in this process, from a recipe or from options alone."""

import argparse

from palign_hf.runs.launch import add_stage_options, run_command
from palign_hf.truncation.run import TRUNCATE


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_stage_options(parser, TRUNCATE)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the recipe; 1 if rows failed."""
    return run_command(TRUNCATE, options)
