"""The wheel: built, installed on its own, imported from there, with everything it needs inside."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, str]:
    """The versions of a file of `requirements/`."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def bounds(requirements: list[str]) -> dict[str, Requirement]:
    return {found.name: found for found in map(Requirement, requirements)}


def test_both_versions_of_the_grading_tests_are_in_the_bounds_of_the_package():
    base, extra = bounds(PROJECT["dependencies"]), bounds(PROJECT["optional-dependencies"]["eval"])
    locked, newest = pins("cpu.lock"), pins("math-verify-newest.txt")
    assert newest.keys() == {"math-verify", "latex2sympy2_extended"}
    for name, version in newest.items():
        assert version in base[name].specifier and locked[name] in base[name].specifier and version != locked[name]
    assert locked["math-verify"] in extra["math-verify"].specifier and locked["xxhash"] in extra["xxhash"].specifier


def test_only_the_extra_for_evaluation_pins_what_lighteval_needs():
    base = bounds(PROJECT["dependencies"])
    assert not [name for name, found in base.items() if "==" in str(found.specifier)]
    assert "lighteval" not in base and "4.1.0" in base["xxhash"].specifier


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
