"""Commands of a chain against the Hub double, each in a fresh process with an empty cache."""

import sys
from pathlib import Path

from hub_clients import run
from hub_double import Double


# The command, and once more what has ended already.
TWICE = """
import sys
from palign_hf.cli import main
sys.argv[0] = "palign"
for mark in ("== first", "== again"):
    print(mark, flush=True)
    if (status := main(sys.argv[1:])):
        sys.exit(status)
"""


class Chain:
    """What each command said, the first time and when it was given again; errors are what any of them wrote there."""

    def __init__(self, double: Double, folder: Path) -> None:
        self.double, self.folder = double, folder
        self.said: dict[str, tuple[str, str]] = {}
        self.errors: list[str] = []

    def twice(self, name: str, *options: str) -> None:
        """A command run to its end, and then given again."""
        done = run(self.double, self.folder / f"home-{name}", [sys.executable, "-c", TWICE, *options])
        assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        first, again = done.stdout.removeprefix("== first\n").split("== again\n")
        self.said[name] = first, again
        self.errors.append(done.stderr)

    def stage(self, name: str, repo_id: str, *options: str) -> None:
        """A stage that ends in the Hub."""
        places = ["--output-dir", str(self.folder / "runs" / name), "--push-to-hub", repo_id]
        if name != "train":
            places += ["--engine", "transformers", "--ledger", str(self.folder / "ledger")]
        self.twice(name, name, *options, *places)
