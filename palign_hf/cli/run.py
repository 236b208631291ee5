"""The `palign run` command: a whole chain from one recipe, each stage only if it has to run."""

import argparse

from palign_hf.config import Parser
from palign_hf.errors import UserError
from palign_hf.runs.forecast import NAMES


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    assert isinstance(parser, Parser)
    parser.usage = "palign run RECIPE [--set KEY=VALUE ...] [--from STAGE] [--until STAGE] [--dry-run]"
    parser.add_argument("recipe", nargs="?", help="YAML file of a chain, or a shipped one, as toy/pipeline.yaml")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a value of the head, or SECTION.KEY=VALUE of a section; repeatable",
    )
    parser.add_argument("--from", dest="first", metavar="STAGE", help="begin with this stage; those before are done")
    parser.add_argument("--until", dest="last", metavar="STAGE", help="end with this stage")
    parser.add_argument(
        "--force",
        metavar="STAGE",
        action="append",
        default=[],
        help="run a stage again, though it is done; repeatable",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would run and what it costs, and stop")
    parser.add_argument("--device", choices=NAMES, help="with --dry-run: hours and GB on this device, estimated")
    parser.add_argument("--status", metavar="RUN", help="print what is done, stale or missing in the folder of a run")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the chain, or print its state."""
    from palign_hf.pipeline.run import Wish, dry_run, run_chain, status

    wish = Wish(tuple(options.set), options.first, options.last, tuple(options.force))
    if (options.recipe is None) == (options.status is None):
        raise UserError("Give a recipe, as `palign run toy/pipeline.yaml`, or the folder of a run in `--status RUN`.")
    if options.status is not None:
        return status(options.status)
    if options.device is not None and not options.dry_run:
        raise UserError(f"`--device {options.device}` is for a forecast and starts no run. Give `--dry-run` with it.")
    return dry_run(options.recipe, wish, options.device) if options.dry_run else run_chain(options.recipe, wish)
