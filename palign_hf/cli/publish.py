"""The `palign publish` command: push the folder of a finished run to the Hub, with its card."""

import argparse
import json

from palign_hf.config import add_settings, read_options
from palign_hf.errors import UserError
from palign_hf.hub.publish import Publication, as_dict, publish, publish_results
from palign_hf.hub.settings import HubSettings
from palign_hf.pipeline.publication import is_run, publish_run
from palign_hf.pipeline.recipe import PublishSettings
from palign_hf.terminal import print_err, print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = (
        "Push the folder of a finished run to the Hub, with its card. The folder of a whole chain (`palign run`) goes "
        "to two repositories of one name: the dataset OWNER/NAME takes the prefixes, the pairs and the samples of "
        "every evaluation, and the model OWNER/NAME the student of one arm, with its evaluation and the plot of the "
        "comparison on its card."
    )
    parser.add_argument("folder", help="folder of a finished run, as runs/STUDENT/prefixes, or of a whole chain")
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository to push to, created if it is missing")
    add_settings(parser, HubSettings)
    parser.add_argument(
        "--arm",
        help="of a chain: publish the student of this arm, as trace or trace/seed-1 (default: the first arm, with the "
        "first seed)",
    )
    parser.add_argument(
        "--model", metavar="OWNER/NAME", help="of an evaluation: push its results to this model's repository, too"
    )
    parser.add_argument(
        "--evaluation", metavar="FOLDER", help="of a student: show the results of this evaluation on its card"
    )
    parser.add_argument("--plot", metavar="FILE", help="of a student: show this PNG on its card")
    parser.add_argument("--dry-run", action="store_true", help="print what would be pushed, and stop")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Push the run; the last line is JSON."""
    hub = read_options(options, HubSettings)
    if is_run(options.folder):
        return _chain(options, hub)
    if options.arm is not None:
        raise UserError(
            f"`--arm {options.arm}` is for the folder of a chain, and `{options.folder}` is none. Leave it out."
        )
    done = publish(
        options.folder,
        options.repo_id,
        config=hub.config_name,
        private=hub.private,
        revision=hub.revision,
        tag=hub.tag,
        create_pr=hub.create_pr,
        license=hub.license,
        language=hub.language,
        evaluation=options.evaluation,
        plot=options.plot,
        dry_run=options.dry_run,
    )
    lines = _lines(done)
    if options.model:
        results = publish_results(options.folder, options.model, create_pr=hub.create_pr, dry_run=options.dry_run)
        lines.append(results.text())
    print_out("\n".join([*lines, json.dumps(as_dict(done), sort_keys=True)]))
    return 0


def _chain(options: argparse.Namespace, hub: HubSettings) -> int:
    """Push what a chain has made; the last line is JSON with every commit."""
    given = [name for name in ("model", "evaluation", "plot") if getattr(options, name) is not None]
    if given:
        raise UserError(
            f"`--{given[0]} {getattr(options, given[0])}` is for the folder of one stage. `{options.folder}` is a "
            f"chain, which has its own evaluations and plot: leave it out."
        )
    settings = PublishSettings(repo_id=options.repo_id, arm=options.arm, **vars(hub))
    done = publish_run(options.folder, settings, dry_run=options.dry_run)
    lines = [line for one in done for line in _lines(one)]
    summary = {"repo_id": settings.repo_id, "published": [as_dict(one) for one in done]}
    print_out("\n".join([*lines, json.dumps(summary, sort_keys=True)]))
    return 0


def _lines(done: Publication) -> list[str]:
    """What is printed of a push; names that aren't for the Hub go to stderr."""
    if done.left_out:
        print_err(f"Not for the Hub: {', '.join(done.left_out)}.")
    return [done.text(), *(f"  {name}" for name in done.files_sent if done.dry_run)]
