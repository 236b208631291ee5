"""The `palign recipes` command: list the shipped recipes, and copy one."""

import argparse
import shutil
from pathlib import Path

from palign_hf.config.recipes import parse_yaml, shipped_recipes
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.runs.stages import STAGES
from palign_hf.terminal import print_out


_CHAIN = "pipeline"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    lists = verbs.add_parser("list", help="list name, stages, student and purpose of each")
    lists.set_defaults(run=show)
    copies = verbs.add_parser("copy", help="copy one into a folder, to change it there")
    copies.add_argument("name", help="name of the recipe, as listed by `palign recipes list`")
    copies.add_argument("dest", nargs="?", help="folder to fill (default: recipes/NAME)")
    copies.add_argument("--force", action="store_true", help="replace files that are there")
    copies.set_defaults(run=copy)


def show(options: argparse.Namespace) -> int:
    """Print the table of recipes, and how one is run."""
    rows = [("recipe", "stages", "student", "what for")]
    for name, stages in _recipes().items():
        text = stages[0].read_text(encoding="utf-8")
        rows.append((name, ", ".join(stage.stem for stage in stages), parse_yaml(text)["student"], _purpose(text)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print_out("  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[3]]))
    print_out(
        "\nRun a chain:       palign run RECIPE/pipeline.yaml"
        "\nRun one stage:     palign STAGE --config RECIPE/STAGE.yaml; the recipes train_* are run by `palign train`"
    )
    print_out("Make it yours:     palign recipes copy RECIPE")
    return 0


def copy(options: argparse.Namespace) -> int:
    """Copy a recipe's folder; existing files are replaced only with `--force`."""
    recipes = _recipes()
    name = options.name.removeprefix("recipes/").split("/")[0]
    if name not in recipes:
        raise UserError(
            f"The recipe `{shown(options.name)}` is not among those that ship{nearest(name, recipes)}. They are "
            f"{listed(recipes)}."
        )
    dest = Path(options.dest or f"recipes/{name}").expanduser()
    blocked = next((path for path in (dest, *dest.parents) if path.exists()), dest)
    if blocked.exists() and not blocked.is_dir():
        raise UserError(f"`{blocked}` is a file. Give a folder that is there, or one to make.")
    files = [path for path in sorted(recipes[name][0].parent.iterdir()) if path.is_file()]
    there = [dest / file.name for file in files if (dest / file.name).exists()]
    if there and not options.force:
        raise UserError(f"{listed(there)} would be replaced. Give another folder, or `--force`.")
    dest.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, dest / file.name)
        print_out(f"wrote {dest / file.name}")
    print_out("\nNext:")
    for stage in recipes[name]:
        print_out(f"  palign {_command(stage)} {dest / stage.name}")
    return 0


def _recipes() -> dict[str, list[Path]]:
    """The stages of each recipe, by its name."""
    found: dict[str, list[Path]] = {}
    for path in shipped_recipes().values():
        found.setdefault(path.parent.name, []).append(path)
    return {name: sorted(stages, key=_place) for name, stages in found.items()}


def _command(recipe: Path) -> str:
    """What runs a recipe file: `run` for a chain, `train --config` for `train_lora.yaml`."""
    stem = recipe.stem
    if stem == _CHAIN:
        return "run"
    return next((name for name in STAGES if stem == name or stem.startswith(f"{name}_")), stem) + " --config"


def _place(recipe: Path) -> tuple[int, bool, str]:
    """Where a recipe file stands in the flow; of one stage, adapters come before full weights."""
    flow, command = ["run", *STAGES], _command(recipe).split()[0]
    at = flow.index(command) if command in flow else len(flow)
    return at, not recipe.stem.endswith("lora"), recipe.stem


def _purpose(text: str) -> str:
    """The first comment, up to the end of its sentence."""
    first = text.splitlines()[0].removeprefix("#").strip()
    return first.partition(". ")[0].rstrip(".:")
