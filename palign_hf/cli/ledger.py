"""The `palign ledger` command: show what the ledgers hold."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palign_hf.generation.ledger import StoreError, ledger_folder, read_about
from palign_hf.redact import redacted
from palign_hf.terminal import print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    show = verbs.add_parser("show", help="what each ledger holds: student, problems, answers, tokens")
    show.add_argument("path", nargs="?", help="a ledger, or a folder of them (default: where runs keep theirs)")
    show.add_argument("--json", action="store_true", help="one line of JSON a ledger")
    show.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print each ledger."""
    path = Path(options.path).expanduser() if options.path else ledger_folder()
    ledgers = sorted(path.glob("*.sqlite")) if path.is_dir() or not options.path else [path]
    if not ledgers:
        raise StoreError(
            f"`{path}` holds no ledger. They are made by `palign truncate`, `palign align` and `palign evaluate`; if "
            f"yours lie elsewhere (a run's `ledger`, or PALIGN_HOME), give their folder: `palign ledger show FOLDER`."
        )
    unreadable = []
    for ledger in ledgers:
        try:
            held = redacted(read_about(ledger))
        except StoreError as error:  # the others are shown all the same
            unreadable.append(str(error))
        else:
            print_out(json.dumps(held, sort_keys=True) if options.json else _text(held))
    if unreadable:
        raise StoreError(" ".join(unreadable))
    return 0


def _text(held: dict) -> str:
    about = held["about"]
    prompt, cached = held["prompt_tokens"], held["cached_tokens"]
    answers, kinds = held["answers"], held[f"{held['told_by']}s"]
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    return "\n".join(
        [
            held["path"],
            f"  student    {about.get('student_name', '?')}",
            _asked(about),
            f"  problems   {held['problems']:,}",
            f"  {answers:<9}  {held[answers]:,} ({counts})",
            f"  engines    {', '.join(held['engines']) or 'not known'}",
            f"  tokens     {prompt:,} in prompts, {cached:,} from the cache"
            + (f" ({cached / prompt:.1%})" if prompt else ""),
        ]
    )


def _asked(about: Mapping[str, Any]) -> str:
    """How the student was asked: as a judge, to go on from a prefix, or to solve a problem."""
    prompt = about.get("prompt", "?")
    drawn, criterion = (_section(about, name) for name in ("sampling", "criterion"))
    if "mode" in about:
        return f"  mode       {about['mode']}, temperature {drawn.get('temperature', '?')}, prompt {prompt}"
    if "evaluation" in about:
        return f"  asked      to solve, temperature {drawn.get('temperature', '?')}, prompt {prompt}"
    name, verdict = criterion.get("name", "?"), criterion.get("verdict", "?")
    return f"  criterion  {name} ({verdict}), prompt {criterion.get('prompt', '?')}"


def _section(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One that a damaged or foreign ledger lacks is empty."""
    found = about.get(name)
    return found if isinstance(found, Mapping) else {}
