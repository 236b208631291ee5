"""Every recipe in the repository is read strictly, and every command in its README names files that exist."""

import re
from pathlib import Path

import pytest

from palign_hf.config import load_config
from palign_hf.truncation.run import TruncateConfig
from palign_hf.truncation.search import make_search


RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/truncate.yaml")), ids=lambda path: path.parent.name)
def test_truncate_recipes_are_valid(path):
    config = load_config(TruncateConfig, path)
    assert config.output.startswith(f"runs/{path.parent.name}")
    assert make_search(config.search).judged


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("README.md")), ids=lambda path: path.parent.name)
def test_commands_in_recipe_readmes_name_existing_files(path):
    named = set(re.findall(r"recipes/[\w./-]+\.(?:yaml|py)", path.read_text()))
    assert named and all((RECIPES.parent / name).is_file() for name in named)


def test_every_recipe_folder_has_a_readme_and_a_row_in_the_table():
    table = (RECIPES / "README.md").read_text()
    for folder in {path.parent for path in RECIPES.glob("*/*.yaml")}:
        assert (folder / "README.md").is_file() and f"({folder.name}/README.md)" in table
