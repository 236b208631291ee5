"""Test the bounds of pyproject.toml: the lowest and the newest versions it allows, each in a venv of its own.

uv resolves the package with its extras `eval` and `dev`, once with the lowest version of each direct dependency and
once with the newest of all. torch is the exception on a machine without a GPU: the registry has its CPU build only as
requirements/torch.txt says, and the CUDA build needs some GB of libraries that nothing here uses. vLLM is left out: it
pins a torch and a transformers of its own, so beside it there is one resolution, which is the lock's.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lock import WITHOUT_DEPENDENCIES


ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".matrix"
UV = "uv==0.13.9"
# uv's names of the two resolutions.
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
# Printed in the summary: what the package hooks into.
SHOWN = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "peft",
    "huggingface-hub",
    "math-verify",
    "lighteval",
)
UNIT = ["tests", "-m", "not integration"]
INVARIANCE = ["tests/integration/test_drop_in.py"]
# These test the vLLM engine, and its options, which are read from the installed vLLM.
NEED_VLLM = ["tests/engines/test_vllm.py", "tests/engines/test_options.py"]
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass
class Outcome:
    """What one resolution installed and how its tests ended."""

    name: str
    versions: dict[str, str] = field(default_factory=dict)
    resolved_torch: str = ""
    lines: list[str] = field(default_factory=list)
    failed: bool = False


class Unavailable(Exception):
    """A step that installs or resolves failed; holds the last lines that it printed."""


def call(command: list[str]) -> str:
    """Run a command of the installation and return what it printed.

    Raises:
        Unavailable: The command failed.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable("\n".join((done.stderr or done.stdout).strip().splitlines()[-12:]))
    return done.stdout


def uv() -> str:
    """Return the path of uv: the one on PATH, else the pinned one in `.matrix/tools`."""
    found = shutil.which("uv")
    if found:
        return found
    tools = FOLDER / "tools"
    if not (tools / "bin" / "uv").exists():
        call([sys.executable, "-m", "venv", "--clear", str(tools)])
        call([str(tools / "bin" / "pip"), "install", "--quiet", UV])
    return str(tools / "bin" / "uv")


def resolve(name: str, overrides: list[str]) -> dict[str, str]:
    """Resolve pyproject.toml at one end of its bounds.

    Args:
        name (`str`): A key of `RESOLUTIONS`.
        overrides (`list[str]`): Requirements that replace every other requirement on the same package.

    Returns:
        `dict[str, str]`: The version of each package, by its name.
    """
    file = FOLDER / f"{name}.overrides"
    file.write_text("".join(f"{line}\n" for line in overrides))
    command = [uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--extra", "eval", "--extra", "dev"]
    command += ["--python", sys.executable, "--resolution", RESOLUTIONS[name], "--override", str(file)]
    pins = [line.split("==") for line in call([*command, "pyproject.toml"]).splitlines() if "==" in line]
    return {package: version.split(";")[0].strip() for package, version in pins}


def installed(python: str) -> dict[str, str]:
    """Return the version of each package of a venv, by the name that the registry has."""
    listed = call([python, "-m", "pip", "list", "--format=freeze"])
    pins = (line.split("==", 1) for line in listed.splitlines() if "==" in line)
    return {name.lower().replace("_", "-"): version for name, version in pins}


def install(name: str, torch: str) -> Outcome:
    """Install one resolution into `.matrix/NAME`.

    Args:
        name (`str`): A key of `RESOLUTIONS`.
        torch (`str`): The requirement that pip installs as torch, or `""` for the torch of the resolution.

    Raises:
        Unavailable: A version can't be resolved, downloaded or built.
    """
    outcome = Outcome(name, resolved_torch=resolve(name, [])["torch"])
    # A marker that never holds removes torch and the CUDA libraries of its resolved build.
    pins = resolve(name, ['torch ; sys_platform == "none"'] if torch else [])
    lock = FOLDER / f"{name}.txt"
    lock.write_text("".join(f"{package}=={version}\n" for package, version in pins.items()))
    folder = FOLDER / name
    python = str(folder / "bin" / "python")
    call([sys.executable, "-m", "venv", "--clear", str(folder)])
    if torch:
        call([python, "-m", "pip", "install", "--quiet", torch])
    call([uv(), "pip", "install", "--quiet", "--python", python, "--no-deps", "-r", str(lock), *WITHOUT_DEPENDENCIES])
    call([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", "."])
    outcome.versions = installed(python)
    return outcome


def test(outcome: Outcome, selections: list[list[str]]) -> None:
    """Run each selection of tests in the resolution's venv and record how it ended."""
    for selection in selections:
        began, last = time.monotonic(), ""
        command = [
            str(FOLDER / outcome.name / "bin" / "python"),
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "loadfile",
        ]
        command += [*selection, *(f"--ignore={path}" for path in NEED_VLLM)]
        print(f"== {outcome.name}: pytest {' '.join(selection)}", flush=True)
        run = subprocess.Popen(command, cwd=ROOT, env=os.environ | OFFLINE, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        for line in run.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        status = run.wait()
        outcome.failed |= status != 0
        ended = re.sub(r" in [\d.]+s.*|=+", "", last).strip()
        outcome.lines.append(
            f"{' '.join(selection)}: {ended} ({time.monotonic() - began:.0f} s, exit status {status})"
        )


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Installs the lowest and the newest versions that pyproject.toml allows into .matrix/ and runs "
        "the unit tests and the trainer's invariance tests in each. Needs a package index; some GB and about half "
        "an hour. The exit status is 1 where a version can't be installed or a test fails.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{' or '.join(RESOLUTIONS)} (default: both)")
    parser.add_argument(
        "--resolved-torch", action="store_true", help="install the torch that uv resolves, with its CUDA libraries"
    )
    parser.add_argument("--resolve-only", action="store_true", help="print the versions and install nothing")
    parser.add_argument("--no-install", action="store_true", help="test the venvs that the last run left")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="run these tests instead")
    given = parser.parse_args(words)
    unknown = set(given.names) - set(RESOLUTIONS)
    if unknown:
        parser.error(f"`{sorted(unknown)[0]}` is no resolution. Name {' or '.join(RESOLUTIONS)}.")
    return given


def main() -> int:
    """Install and test each resolution, then print one summary."""
    given = parse()
    FOLDER.mkdir(exist_ok=True)
    pinned = next(line for line in (ROOT / "requirements" / "torch.txt").read_text().splitlines() if "==" in line)
    torch = "" if given.resolved_torch else pinned
    outcomes = []
    for name in given.names or list(RESOLUTIONS):
        outcome = Outcome(name)
        outcomes.append(outcome)
        try:
            if given.resolve_only:
                outcome.versions = resolve(name, [])
                outcome.resolved_torch = outcome.versions["torch"]
                continue
            if given.no_install:
                outcome.versions = installed(str(FOLDER / name / "bin" / "python"))
                outcome.resolved_torch = resolve(name, [])["torch"]
            else:
                print(f"== {name}: installing into {FOLDER / name}", flush=True)
                outcome = outcomes[-1] = install(name, torch)
        except Unavailable as error:
            outcome.failed = True
            outcome.lines.append(f"can't be installed from this package index:\n{error}")
            continue
        test(outcome, [given.tests] if given.tests else [UNIT, INVARIANCE])
    for outcome in outcomes:
        print(f"\n{outcome.name} ({RESOLUTIONS[outcome.name]}): {'FAILED' if outcome.failed else 'ok'}")
        print("  " + ", ".join(f"{one} {outcome.versions[one]}" for one in SHOWN if one in outcome.versions))
        present = outcome.versions.get("torch", "")
        if present and present.split("+")[0] != outcome.resolved_torch:
            print(
                f"  torch {outcome.resolved_torch} resolves, but is no CPU build: {present} of torch.txt is installed"
            )
        for line in outcome.lines:
            print(f"  {line}")
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
