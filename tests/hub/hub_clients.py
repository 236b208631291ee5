"""The real clients, in fresh processes that talk to the Hub double: they read their environment when imported."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hub_double import Double


ROOT = Path(__file__).parents[2]
PREFIXES = ("HF_", "HUGGING", "TRANSFORMERS_", "PALIGN_")


def environment(double: Double, home: Path, *, token: str | None = None, xet: bool | None = None) -> dict[str, str]:
    """The variables of a process whose Hub is the double, with a cache of its own in `home`.

    The token is the one that writes, unless one is given; "" is none. Xet is on if the double has it, unless said.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    settings = {
        "HF_ENDPOINT": double.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_ETAG_TIMEOUT": "10",
        "HF_HUB_DOWNLOAD_TIMEOUT": "10",
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms",
        "HF_TOKEN": double.token if token is None else token,
        "HF_HUB_DISABLE_XET": "0" if (double.state.xet is not None if xet is None else xet) else "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "tests"), kept.get("PYTHONPATH")))),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not settings["HF_TOKEN"]:
        del settings["HF_TOKEN"]
    return {**kept, **settings}


def run(
    double: Double, home: Path, command: Sequence[str], *, token: str | None = None, xet: bool | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command against the double, and hand back how it ended."""
    return subprocess.run(
        command,
        env=environment(double, home, token=token, xet=xet),
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
