"""The `palign publish` command: push the folder of a finished run to the Hub, with its card."""

import argparse
import json

from palign_hf.config import add_settings, read_options
from palign_hf.hub.publish import as_dict, publish, publish_results
from palign_hf.hub.settings import HubSettings
from palign_hf.terminal import print_err, print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", help="folder of a finished run, as runs/STUDENT/prefixes")
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository to push to, created if it is missing")
    add_settings(parser, HubSettings)
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
    if done.left_out:
        print_err(f"Not for the Hub: {', '.join(done.left_out)}.")
    lines = [done.text(), *(f"  {name}" for name in done.files_sent if done.dry_run)]
    if options.model:
        results = publish_results(options.folder, options.model, create_pr=hub.create_pr, dry_run=options.dry_run)
        lines.append(results.text())
    print_out("\n".join([*lines, json.dumps(as_dict(done), sort_keys=True)]))
    return 0
