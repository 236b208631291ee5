"""Every recipe in the repository is read strictly, and every command in its README names files that exist."""

import os
import re
import runpy
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


@pytest.mark.parametrize(
    ("rank", "world", "visible", "given"),
    [
        ("2", "4", None, "2"),
        ("1", "2", "5,7", "7"),
        ("1", "2", "", ""),
        (None, "1", "3,4", "3,4"),
        ("0", "1", "3,4", "3,4"),
    ],
)
def test_each_process_gets_a_gpu_of_its_own(monkeypatch, rank, world, visible, given):
    environment = {"LOCAL_RANK": rank, "WORLD_SIZE": world, "CUDA_VISIBLE_DEVICES": visible}
    monkeypatch.setattr(os, "environ", {name: value for name, value in environment.items() if value is not None})
    runpy.run_path(str(RECIPES / "truncate.py"))["pin_gpu"]()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == given


def test_more_processes_than_visible_gpus_are_refused(monkeypatch):
    environment = {"LOCAL_RANK": "2", "WORLD_SIZE": "3", "CUDA_VISIBLE_DEVICES": "5,7"}
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(SystemExit, match="process 2 has no GPU left of CUDA_VISIBLE_DEVICES=5,7"):
        runpy.run_path(str(RECIPES / "truncate.py"))["pin_gpu"]()


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("README.md")), ids=lambda path: path.parent.name)
def test_commands_in_recipe_readmes_name_existing_files(path):
    named = set(re.findall(r"recipes/[\w./-]+\.(?:yaml|py)", path.read_text()))
    assert named and all((RECIPES.parent / name).is_file() for name in named)


def test_every_recipe_folder_has_a_readme_and_a_row_in_the_table():
    table = (RECIPES / "README.md").read_text()
    for folder in {path.parent for path in RECIPES.glob("*/*.yaml")}:
        assert (folder / "README.md").is_file() and f"({folder.name}/README.md)" in table
