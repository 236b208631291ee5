"""The `palign jobs` command: start a chain on a machine of the Hub, after a forecast has said that it fits."""

import argparse
import shlex

from palign_hf.config import Parser
from palign_hf.terminal import print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
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
