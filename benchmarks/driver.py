"""What jobs, search and store cost beside the engine: a synthetic corpus through all of them, at full speed.

    python benchmarks/driver.py [--problems N] [--ledger PATH]

The engine answers at once, so all that is measured is the program's own: search, scheduling, and commits to a real
ledger. Problems have 20 to 200 segments and a judge that never wavers; they are made when the run draws them, so
memory is the run's too. Every tenth answer or so lets the other problems go first, which mixes them as a real
engine would. With `--ledger` the file is kept (and continued, if it is there); without, it lies in a temporary folder.
The last line is JSON; `peak_mb` counts from before the first problem.
"""

import argparse
import asyncio
import hashlib
import json
import os
import platform
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from palign_hf.engines.base import EngineIdentity
from palign_hf.generation.jobs import in_order
from palign_hf.generation.store import Store
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, Case, Probe
from palign_hf.truncation.rows import PROBES, Searcher, TruncationRow
from palign_hf.truncation.search import make_search


IN_FLIGHT = 256  # what an engine keeps in one step
HEAD, SUFFIX = 220, 11
NEVER = 0.03
MB = 1e6
ENGINE = EngineIdentity("none", "1", "float32")


def draw(count: int) -> Iterator[TruncationRow]:
    """Problems as rows; the answer (beyond the last cut: nothing suffices) stands where a student has its prompt."""
    rng = random.Random(0)
    for index in range(count):
        segments, size = rng.randint(20, 200), rng.randint(20, 60)
        answer = segments + 1 if rng.random() < NEVER else round(rng.betavariate(2, 6) * segments)
        key = hashlib.blake2b(index.to_bytes(8, "big"), digest_size=16).digest()
        tokens = range(0, size * segments + 1, size)
        yield TruncationRow({}, key, Case("", tokens, tokens, segments, HEAD + SUFFIX, HEAD, SUFFIX, prompt=answer))


async def ask(case: Case, segments: int) -> Probe:
    if segments % 10 == 0:
        await asyncio.sleep(0)
    enough = segments >= case.prompt
    prompt = HEAD + case.tokens[segments] + SUFFIX
    return Probe(
        segments, ENOUGH if enough else NOT_ENOUGH, 1.25 if enough else -1.25, 0.98, True, prompt, prompt - 40
    )


class Peak:
    """Resident memory at its highest while the block runs, in MB above the start."""

    def __enter__(self) -> "Peak":
        self._process, self._over = psutil.Process(), threading.Event()
        self._start = self._top = self._process.memory_info().rss
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watch.join()

    @property
    def mb(self) -> float:
        return (self._top - self._start) / MB

    def _sample(self) -> None:
        while not self._over.wait(0.05):
            self._top = max(self._top, self._process.memory_info().rss)


@dataclass
class Figures:
    problems: int = 0
    probes: int = 0
    asked: int = 0
    seconds: float = 0.0

    def line(self, peak: Peak) -> str:
        return (
            f"{self.problems:>9} problems  {self.problems / self.seconds:8.0f}/s  {self.probes:>9} probes  "
            f"{self.seconds / max(1, self.probes) * 1e6:6.1f} us a probe  {peak.mb:6.1f} MB"
        )


async def run(count: int, ledger: Store[Probe], peak: Peak) -> Figures:
    figures, start = Figures(), time.perf_counter()
    searcher = Searcher(make_search("ascend"), ask, lambda: ledger, lambda: ENGINE)
    async for row in in_order(draw(count), searcher, lambda: (IN_FLIGHT, 2**62)):
        assert row.case is not None
        answer, reach, found = row.case.prompt, row.case.reach, row.found
        right = (answer, True) if answer <= reach else (reach, False)
        if found is None or (found.segments, found.sufficient) != right:
            raise SystemExit(f"Problem {figures.problems} ended with {found or row.error}, not with {right}.")
        figures.problems += 1
        figures.probes += len(row.probes)
        figures.asked += row.asked
        figures.seconds = time.perf_counter() - start
        if figures.problems % max(1, count // 10) == 0:
            print(figures.line(peak), flush=True)
    return figures


def measure(count: int, path: Path) -> dict[str, float | int]:
    with Peak() as peak:
        ledger = Store(path, "benchmark", {"student": "none"}, PROBES)
        figures = asyncio.run(run(count, ledger, peak))
        held = ledger.count()
        ledger.close()
    print(
        f"\nAsked {figures.asked} of {figures.probes} probes, the others were in the ledger, which holds {held} now:"
    )
    print(f"{path.stat().st_size / MB:.0f} MB, {path.stat().st_size / max(1, held):.0f} bytes a probe.")
    return {
        "us_per_probe": round(figures.seconds / max(1, figures.probes) * 1e6, 1),
        "peak_mb": round(peak.mb, 1),
        "problems": figures.problems,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a probe costs beside the engine.")
    parser.add_argument("--problems", type=int, default=1_000_000, help="how many (default %(default)s)")
    parser.add_argument("--ledger", type=Path, help="a ledger to keep or to resume (default: a temporary one)")
    args = parser.parse_args()
    if args.problems < 1:
        parser.error(f"`--problems {args.problems}` asks nothing; give 1 or more")

    print(f"Measured on {platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; ", end="")
    print(f"at most {IN_FLIGHT} problems in flight.\n")
    with tempfile.TemporaryDirectory(prefix="palign-benchmark-") as folder:
        print(json.dumps(measure(args.problems, args.ledger or Path(folder) / "ledger.sqlite")))


if __name__ == "__main__":
    main()
