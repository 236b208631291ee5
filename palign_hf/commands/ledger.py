"""`palign ledger show`: what the ledgers hold."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palign_hf.asking.ledgers import StoreError, ledger_folder, read_about
from palign_hf.streams import print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    show = verbs.add_parser("show", help="what each ledger holds: student, problems, answers, tokens")
    show.add_argument("path", nargs="?", help="a ledger, or a folder of them (default: where runs keep theirs)")
    show.add_argument("--json", action="store_true", help="one line of JSON a ledger")
    show.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print each ledger."""
    path = Path(options.path) if options.path else ledger_folder()
    ledgers = sorted(path.glob("*.sqlite")) if path.is_dir() else [path]
    if not ledgers:
        raise StoreError(
            f"`{path}` holds no ledger. They are made by `palign truncate`, `palign align` and `palign evaluate`; "
            f"give their folder."
        )
    for ledger in ledgers:
        held = read_about(ledger)
        print_out(json.dumps(held, sort_keys=True) if options.json else _text(held))
    return 0


def _text(held: dict) -> str:
    about = held["about"]
    prompt, cached = held["prompt_tokens"], held["cached_tokens"]
    answers, kinds = held["answers"], held[f"{held['told_by']}s"]
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    return "\n".join(
        [
            held["path"],
            f"  student    {about.get('student_name', '?')}",
            _asked(about),
            f"  problems   {held['problems']:,}",
            f"  {answers:<9}  {held[answers]:,} ({told})",
            f"  engines    {', '.join(held['engines']) or 'not said'}",
            f"  tokens     {prompt:,} in prompts, {cached:,} from the cache"
            + (f" ({cached / prompt:.1%})" if prompt else ""),
        ]
    )


def _asked(about: Mapping[str, Any]) -> str:
    """How the student was asked: as a judge, to go on from a prefix, or to solve a problem."""
    prompt = about.get("prompt", "?")
    if "mode" in about:
        return f"  mode       {about['mode']}, temperature {about['sampling']['temperature']}, prompt {prompt}"
    if "evaluation" in about:
        return f"  asked      to solve, temperature {about['sampling']['temperature']}, prompt {prompt}"
    criterion = about.get("criterion", {})
    name, verdict = criterion.get("name", "?"), criterion.get("verdict", "?")
    return f"  criterion  {name} ({verdict}), prompt {criterion.get('prompt', '?')}"
