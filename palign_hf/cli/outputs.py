"""`palign grade` and `palign compare`: existing outputs graded without a model, and graded outputs compared."""

import argparse
from typing import Any

from palign_hf.cli.inspection import column_map
from palign_hf.config import check_folder, folder_of
from palign_hf.config.options import read_value
from palign_hf.errors import shown
from palign_hf.evaluation.compare import check_home, compare_files
from palign_hf.evaluation.grade import GradeConfig, grade_file
from palign_hf.evaluation.outputs import KNOWN
from palign_hf.plotting import needs_matplotlib
from palign_hf.prompts import TAG_STYLES
from palign_hf.runs.launch import ANEW
from palign_hf.terminal import print_out


def configure_grade(parser: argparse.ArgumentParser) -> None:
    """Arguments of `palign grade`."""
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
        "--grader",
        default="math",
        help="math, choice, exact, or module:name of your own; with parameters {name: choice, letters: ABCDE} "
        "(default: %(default)s)",
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
    parser.set_defaults(run=run_grade, going_on=ANEW)


def run_grade(options: argparse.Namespace) -> int:
    """Print the figures, the last line as JSON; 1 if a text couldn't be judged."""
    summary = grade_file(
        GradeConfig(
            file=options.file,
            columns=column_map(options.columns),
            carry=options.carry,
            benchmark=options.benchmark,
            grader=read_value(str | dict[str, Any], options.grader, f"`--grader {shown(options.grader)}`"),
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


def configure_compare(parser: argparse.ArgumentParser) -> None:
    """Arguments of `palign compare`."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="labels as `palign grade --output-file` writes them, the baseline first",
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="what the models are called (default: their files)")
    parser.add_argument("--by", nargs="+", default=[], metavar="COLUMN", help="compare by the values of columns, too")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals (default: %(default)s)")
    parser.add_argument("--output-dir", metavar="FOLDER", help="write table, figures and a plot there")
    parser.add_argument(
        "--overwrite", action="store_true", help="write over a comparison of other files in --output-dir"
    )
    parser.set_defaults(run=run_compare, going_on=ANEW)


def run_compare(options: argparse.Namespace) -> int:
    """Print the table of differences; the last line is JSON."""
    if options.output_dir:
        needs_matplotlib("output_dir")
        check_folder("output_dir", options.output_dir, written=True)
        check_home(folder_of(options.output_dir), options.files, options.overwrite)
    found = compare_files(options.files, options.names, options.by, options.seed)
    wrote = (
        [f"wrote {path}" for path in found.write(options.output_dir, options.overwrite)] if options.output_dir else []
    )
    print_out("\n".join([found.text(), "", *wrote, *([""] if wrote else []), found.json()]))
    return 0
