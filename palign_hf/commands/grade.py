"""The `palign grade` command: grade and count existing outputs, without a model."""

import argparse

from palign_hf.commands.traces import column_map
from palign_hf.evaluation.grade import GradeConfig, grade_file
from palign_hf.evaluation.outputs import KNOWN
from palign_hf.prompts import TAG_STYLES
from palign_hf.runs.launch import ANEW
from palign_hf.streams import print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("file", help="JSON lines or parquet: a row a problem with its outputs, or a row a sample")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="TARGET=COLUMN",
        help=f"as gold=label output=response; targets: {', '.join(KNOWN)}",
    )
    parser.add_argument("--carry", nargs="+", default=[], metavar="COLUMN", help="columns to keep beside the labels")
    parser.add_argument("--benchmark", help="its name, where no column has it (default: outputs)")
    parser.add_argument(
        "--grader", default="math", help="math, choice, exact, or module:name of one's own (default: %(default)s)"
    )
    parser.add_argument(
        "--tag-style", choices=list(TAG_STYLES), help="tags around drafts (default: those that outputs begin with)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that grade (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="longest that one answer is graded (default: %(default)s)"
    )
    parser.add_argument("--problems", type=int, help="refuse the file unless it has this many problems")
    parser.add_argument("--samples", type=int, help="refuse the file unless every problem has this many samples")
    parser.add_argument("--output-file", metavar="FILE", help="write the labels of every sample (.jsonl or .parquet)")
    parser.add_argument("--overwrite", action="store_true", help="write over --output-file if it is there")
    parser.set_defaults(run=run, going_on=ANEW)


def run(options: argparse.Namespace) -> int:
    """Print the figures, the last line as JSON; 1 if a text couldn't be judged."""
    summary = grade_file(
        GradeConfig(
            file=options.file,
            columns=column_map(options.columns),
            carry=options.carry,
            benchmark=options.benchmark,
            grader=options.grader,
            tag_style=options.tag_style,
            workers=options.workers,
            seconds=options.seconds,
            problems=options.problems,
            samples=options.samples,
            output_file=options.output_file,
            overwrite=options.overwrite,
        )
    )
    print_out(f"{summary.text()}\n\n{summary.json()}")
    return 1 if summary.unjudged else 0
