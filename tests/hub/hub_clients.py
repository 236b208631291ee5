"""The real clients, in fresh processes that talk to the Hub double: they read their environment when imported."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hub_double import Double


def run(
    double: Double, home: Path, command: Sequence[str], *, token: str | None = None, xet: bool | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command against the double, and hand back how it ended."""
    return subprocess.run(
        command,
        env=double.environment(home, token=token, xet=xet),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_python(
    double: Double, home: Path, code: str, *arguments: str, token: str | None = None, xet: bool | None = None
) -> str:
    """Run lines of Python in a fresh process, and hand back what they printed; an error there is one here."""
    ended = run(double, home, [sys.executable, "-c", code, *arguments], token=token, xet=xet)
    assert ended.returncode == 0, f"The process ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def run_hf(double: Double, home: Path, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the `hf` command."""
    return run(double, home, [str(Path(sys.executable).parent / "hf"), *arguments], token=token)
