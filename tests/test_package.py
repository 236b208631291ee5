"""The wheel: built, installed on its own, imported from there, with everything it needs inside."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_template(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "palign_hf").rglob("*") if path.is_file()}
    sources = {name for name in sources if "__pycache__" not in name}
    assert sources <= names
    assert "palign_hf/templates/dataset_card.md" in names and "palign_hf/py.typed" in names
    assert not any(name.startswith(("tests/", "recipes/", "benchmarks/")) for name in names)
    recipes = {str(path.relative_to(ROOT)) for path in (ROOT / "recipes").rglob("*") if path.is_file()}
    assert {f"palign_hf/{name}" for name in recipes if "__pycache__" not in name} <= names


def test_the_card_in_the_wheel_is_the_one_copy(wheel):
    inside = zipfile.ZipFile(wheel).read("palign_hf/templates/dataset_card.md")
    assert inside == (ROOT / "dataset_card.md").read_bytes()


def test_the_wheel_installs_alone_and_finds_itself_and_its_recipes(wheel, tmp_path):
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel],
        check=True,
        capture_output=True,
    )
    code = "import palign_hf; print(palign_hf.__file__); print(palign_hf.__version__); print(palign_hf.TRACES.name)"
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    file, version, table = done.stdout.split()
    assert Path(file).is_relative_to(target) and version == "0.1.0" and table == "TRACES"

    code = "from palign_hf.config import find_recipe; print(find_recipe('toy/truncate.yaml'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == target / "palign_hf" / "recipes" / "toy" / "truncate.yaml"
    listed = subprocess.run(
        [sys.executable, "-m", "palign_hf.cli", "recipes", "copy", "toy"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "palign truncate --config recipes/toy/truncate.yaml" in listed.stdout
    assert (tmp_path / "recipes" / "toy" / "truncate.yaml").is_file()
