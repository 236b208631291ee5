"""`palign align`: PREFIXES -> PAIRS in this process, from a recipe or from options alone."""

import argparse

from palign_hf.alignment.run import ALIGN
from palign_hf.runs.launch import add_stage_options, run_command


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_stage_options(parser, ALIGN)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the recipe; 1 if rows failed."""
    return run_command(ALIGN, options)
