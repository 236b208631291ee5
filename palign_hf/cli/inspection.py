"""`palign traces` and `palign ledger`: what a teacher dataset and the ledgers of runs hold, without a model."""

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from palign_hf.config.options import as_typed
from palign_hf.data.traces import KNOWN, read_traces
from palign_hf.errors import UserError, shown
from palign_hf.generation.ledger import StoreError, ledger_folder, read_about
from palign_hf.redact import redacted
from palign_hf.runs.report import json_line
from palign_hf.segmentation import GRANULARITIES, cuts
from palign_hf.terminal import print_out


_QUANTILES = (0, 10, 50, 90, 100)
_SHOWN = 400


def configure_traces(parser: argparse.ArgumentParser) -> None:
    """Arguments of `palign traces`."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    inspect = verbs.add_parser("inspect", help="rows, lengths, segments, gold answers, and the first problem")
    inspect.add_argument(
        "source", help="Hub id, file, folder, or a glob in quotes (parquet, arrow, jsonl, json, csv, tsv, .gz)"
    )
    inspect.add_argument("--known", help=f"layout, if it isn't recognised: {', '.join(KNOWN)}")
    inspect.add_argument(
        "--columns", nargs="+", default=[], metavar="TARGET=COLUMN", help="as question=problem answer=gold"
    )
    inspect.add_argument("--split", help="split to read")
    inspect.add_argument("--config", help="configuration of a Hub dataset")
    inspect.add_argument("--revision", help="revision of a Hub dataset")
    inspect.add_argument("--max-samples", type=int, help="read at most this many rows")
    inspect.add_argument("--content-ids", action="store_true", help="make ids from the content")
    inspect.add_argument("--granularity", default="sentence", choices=GRANULARITIES, help="how traces are cut")
    inspect.add_argument("--json", action="store_true", help="the same as one line of JSON")
    inspect.set_defaults(run=partial(run_traces, parser))


def run_traces(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Read the traces and print what is in them."""
    found = inspect(options)
    if found["warning"]:
        found["warning"] = as_typed(found["warning"], parser)
    print_out(json_line(found) if options.json else _text(found))
    return 0


def inspect(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, as plain data."""
    dataset, report = read_traces(
        options.source,
        known=options.known,
        columns=column_map(options.columns),
        split=options.split,
        config=options.config,
        revision=options.revision,
        max_samples=options.max_samples,
        content_ids=options.content_ids,
    )
    characters, segments, first = [], [], None
    for row in dataset:
        first = first or row
        characters.append(len(row["trace"]))
        segments.append(len(cuts(row["trace"], options.granularity)))
    return {
        "source": report.source,
        "layout": report.layout,
        "rows_in": report.rows_in,
        "rows": report.rows_out,
        "dropped": dict(report.dropped),
        "answers": dict(report.answers_found),
        "notes": dict(report.notes),
        "warning": report.warning,
        "columns_left_out": list(report.columns_left_out),
        "granularity": options.granularity,
        "characters": _spread(characters),
        "segments": _spread(segments),
        "first": first,
    }


def column_map(given: list[str]) -> dict[str, str] | None:
    """What `--columns` says; None where it wasn't given."""
    return dict(_pair(text) for text in given) or None


def _pair(text: str) -> tuple[str, str]:
    target, equals, column = text.partition("=")
    if not equals:
        raise UserError(f"`--columns {text}` has no column. Write `TARGET=COLUMN`, as `question=problem`.")
    return target, column


def _spread(values: list[int]) -> dict[str, int]:
    """Least, p10, median, p90 and most: enough to see whether a context will do."""
    ordered = sorted(values)
    return {f"p{q}": ordered[round(q * (len(ordered) - 1) / 100)] for q in _QUANTILES} if ordered else {}


def _text(found: dict[str, Any]) -> str:
    first = found["first"]
    lines = [
        f"source     {found['source']} (layout `{found['layout']}`)",
        f"rows       {found['rows']} of {found['rows_in']} read" + _counts(found["dropped"], ", dropped: "),
        f"answers    {_counts(found['answers']) or 'none'}",
        f"trace      {_line(found['characters'])} characters",
        f"segments   {_line(found['segments'])} by {found['granularity']}",
    ]
    if found["notes"]:
        lines.append(f"notes      {_counts(found['notes'])}")
    if found["warning"]:
        lines.append(f"warning    {found['warning']}")
    if found["columns_left_out"]:
        lines.append(f"left out   {', '.join(map(shown, found['columns_left_out']))}")
    if first:
        lines += [
            "",
            f"first problem, id {shown(first['id'])}",
            f"  question  {_start(first['question'])}",
            f"  trace     {_start(first['trace'])}",
            f"  answer    {_start(first['answer'] or 'none')}",
        ]
    return "\n".join(lines)


def _counts(counts: dict[str, int], before: str = "") -> str:
    return before + ", ".join(f"{count} {name}" for name, count in counts.items()) if counts else ""


def _line(spread: dict[str, int]) -> str:
    return " · ".join(f"{name} {value}" for name, value in spread.items()) or "none"


def _start(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]} ... ({len(text)} characters)"


def configure_ledger(parser: argparse.ArgumentParser) -> None:
    """Arguments of `palign ledger`."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    show = verbs.add_parser("show", help="what each ledger holds: student, problems, answers, tokens")
    show.add_argument("path", nargs="?", help="a ledger, or a folder of them (default: where runs keep theirs)")
    show.add_argument("--json", action="store_true", help="one line of JSON a ledger")
    show.set_defaults(run=run_ledger)


def run_ledger(options: argparse.Namespace) -> int:
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
            print_out(json.dumps(held, sort_keys=True) if options.json else _ledger_text(held))
    if unreadable:
        raise StoreError(" ".join(unreadable))
    return 0


def _ledger_text(held: dict) -> str:
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
