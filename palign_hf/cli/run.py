"""`palign run` and `palign jobs`: a whole chain from one recipe, on this machine or on one of the Hub."""

import argparse
import shlex

from palign_hf.config import Parser
from palign_hf.errors import UserError
from palign_hf.runs.forecast import NAMES
from palign_hf.terminal import print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `palign run`."""
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


def configure_jobs(parser: argparse.ArgumentParser) -> None:
    """Arguments of `palign jobs`."""
    assert isinstance(parser, Parser)
    parser.usage = "palign jobs RECIPE --flavor FLAVOR [--set KEY=VALUE ...] [--submit]"
    parser.add_argument("recipe", help="YAML file of a chain, or a shipped one, as qwen3-1.7b/pipeline.yaml")
    parser.add_argument("--flavor", required=True, help="machine of Jobs, as l4x1, a100-large or h200")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a value of the recipe, as in `palign run`; repeatable",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        help="how long the job may take, as 90m or 6h (default: twice the longest time of the forecast, and 30 min)",
    )
    parser.add_argument("--image", help="Docker image with uv (default: that of `hf jobs uv run`)")
    parser.add_argument("--namespace", metavar="OWNER", help="user or organization that runs the job (default: yours)")
    parser.add_argument("--submit", action="store_true", help="start the job; without it, only print its command")
    parser.set_defaults(run=run_jobs)


def run_jobs(options: argparse.Namespace) -> int:
    """Print the forecast and the command, and start the job if asked to."""
    from palign_hf.pipeline.jobs import plan_job, submit

    job = plan_job(
        options.recipe,
        options.flavor,
        options.set,
        timeout=options.timeout,
        image=options.image,
        namespace=options.namespace,
    )
    print_out("\n".join([*job.lines, f"recipe     {job.write()}", "", shlex.join(job.command())]))
    if options.submit:
        started = submit(job)
        print_out(f"\nstarted: {started.url}\nlogs:    hf jobs logs -f {started.owner.name}/{started.id}")
    return 0
