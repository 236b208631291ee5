"""A run that can be killed: real jobs, search and store over an engine that only takes its time.

Run as `python kill_worker.py LEDGER LOG RESULT [ANSWERS]`; LOG has a line for each question before it is asked and one
when it is answered, RESULT the rows once all are there. After so many ANSWERS the engine gives no more.
"""

import asyncio
import hashlib
import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from palign_hf.generation.jobs import in_order
from palign_hf.generation.store import Store
from palign_hf.truncation.criteria import Case, Probe
from palign_hf.truncation.rows import PROBES, Searcher, TruncationRow
from palign_hf.truncation.search import make_search


PROBLEMS, AT_ONCE = 150, 16


@dataclass(frozen=True)
class Problem:
    """A problem whose margins follow from its number alone, wavering ones included."""

    number: int

    @property
    def key(self) -> bytes:
        return hashlib.sha256(f"problem {self.number}".encode()).digest()[:16]

    @property
    def reach(self) -> int:
        return 10 + self.number % 60

    @property
    def tokens(self) -> list[int]:
        return [30 * k for k in range(self.reach + 1)]

    def margin(self, segments: int) -> float:
        draw = random.Random(self.number * 1000 + segments)
        return (segments - self.reach * (self.number % 11) / 10) / 5 + draw.gauss(0, 0.5)


async def run(ledger_path: Path, log_path: Path, answers: int = sys.maxsize) -> list[dict]:
    """All rows, whatever earlier runs have answered already."""
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    wait = random.Random(0)
    left = answers

    async def ask(problem: Problem, segments: int) -> Probe:
        nonlocal left
        left -= 1
        if left < 0:
            await asyncio.Event().wait()
        os.write(log, f"asked {problem.key.hex()} {segments}\n".encode())
        await asyncio.sleep(wait.uniform(0.004, 0.012))
        os.write(log, f"answered {problem.key.hex()} {segments}\n".encode())
        margin = problem.margin(segments)
        return Probe(segments, "enough" if margin > 0 else "not_enough", margin, 0.9, True, 100 + segments, 90)

    def row(problem: Problem) -> TruncationRow:
        case = Case("", [], problem.tokens, problem.reach, 0, head_tokens=0, suffix_tokens=0, prompt=problem)
        return TruncationRow({"number": problem.number}, problem.key, case)

    store = Store(ledger_path, "kill-test", {}, PROBES)
    searcher = Searcher(make_search("ascend"), lambda case, cut: ask(case.prompt, cut), lambda: store)
    rows = []
    opened = (row(Problem(number)) for number in range(PROBLEMS))
    async for done in in_order(opened, searcher, lambda: (AT_ONCE, 10**9)):
        probes = [[probe.segments, probe.margin, probe.verdict] for probe in done.probes]
        rows.append({"number": done.source["number"], "cut": done.found.segments, "probes": probes})
    store.close()
    return rows


if __name__ == "__main__":
    ledger, log, result = map(Path, sys.argv[1:4])
    found = asyncio.run(run(ledger, log, *map(int, sys.argv[4:])))
    result.write_text("".join(json.dumps(row) + "\n" for row in found))
