"""The `palign compare` command: compare graded outputs of models on the same problems, with paired intervals."""

import argparse

from palign_hf.config import check_folder, folder_of
from palign_hf.evaluation.compare import check_home, compare_files
from palign_hf.plotting import needs_matplotlib
from palign_hf.runs.launch import ANEW
from palign_hf.streams import print_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
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
    parser.set_defaults(run=run, going_on=ANEW)


def run(options: argparse.Namespace) -> int:
    """Print the table, the last line as JSON."""
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
