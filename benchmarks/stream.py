"""How well a run of many rows keeps its engine busy, where some answers take far longer than others.

    python benchmarks/stream.py [--rows N] [--mean-ms M] [--seed S]

Rows go the way of a recipe's run: drawn, searched side by side, every answer committed to a ledger, written to parquet
in order as they end. Only the engine is simulated: it answers 64 rows at once and only takes its time, which passes
on the wall clock. A row asks several questions, one after the other; how long each takes is drawn from a Pareto law
with exponent 2, up to 100 times the mean, where a limit of tokens would end it: no answer comes in less than half the
mean, which reading a prompt costs, and one in a thousand takes 16 times the mean or more, which makes one row in a
thousand take 7 times its mean. With heavier tails a run of this size is at the mercy of its slowest row.

The ideal is the sum of all answer times over 64. What costs nothing but must start rows in their order can't reach it
either: it is printed beside the run, and so is the same with a barrier after each tenth of the rows, as `map` has one
after each batch. The last line is JSON.
"""

import argparse
import heapq
import itertools
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driver import Peak


CAPACITY = 64
HEAD, SUFFIX, CONTEXT = 220, 11, 32768
CHARACTERS = 4  # in a token
NEVER = 0.03
TAIL, LONGEST = 2.0, 100.0  # the exponent, and the longest answer over the mean


@dataclass(slots=True)
class Script:
    """The engine's answers to one row with their times, drawn at each request."""

    answer: int
    seconds: random.Random
    mean: float
    work: float = 0.0

    def take(self) -> float:
        """The time of the next answer."""
        seconds = self.mean * min(LONGEST, self.seconds.paretovariate(TAIL) * (TAIL - 1) / TAIL)
        self.work += seconds
        return seconds


def write_pool(seed: int) -> str:
    """Words of which all texts are cut."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(5000)]
    return " ".join(rng.choices(words, k=300_000))


def draw(pool: str, count: int, seed: int, mean: float) -> Iterator[Any]:
    """Rows of 20 to 200 segments of 20 to 60 tokens, some 18 kB of text; made as they are drawn."""
    from palign_hf.truncation.criteria import Case
    from palign_hf.truncation.rows import TruncationRow

    rng = random.Random(seed)
    for index in range(count):
        segments, size = rng.randint(20, 200), rng.randint(20, 60)
        answer = segments + 1 if rng.random() < NEVER else round(rng.betavariate(2, 6) * segments)
        tokens = range(0, size * segments + 1, size)
        ends = range(0, CHARACTERS * tokens[-1] + 1, CHARACTERS * size)
        at = rng.randrange(len(pool) - ends[-1])
        source = {
            "id": str(index),
            "question": pool[at : at + 400],
            "trace": pool[at : at + ends[-1]],
            "answer": str(answer),
            "source": "benchmark",
        }
        script = Script(answer, random.Random(rng.random()), mean)
        case = Case(str(index), ends, tokens, segments, HEAD + SUFFIX, HEAD, SUFFIX, script)
        yield TruncationRow(source, index.to_bytes(16, "big"), case)


@dataclass
class Run:
    """What happened in one run."""

    rows: int
    output: Path
    work: list[float] = field(default_factory=list)
    questions: int = 0
    ended: int = 0
    waited: int = 0
    parts: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: float = 0.0
    kept: int = 0

    def end(self) -> None:
        """One more row has ended; those before it may not have."""
        self.ended += 1
        self.waited = max(self.waited, self.ended - len(self.work))
        if self.ended == round(0.99 * self.rows):
            self.parts = list(self.output.rglob("*.parquet"))

    @property
    def ideal(self) -> float:
        return sum(self.work) / CAPACITY

    @property
    def over_ideal(self) -> float:
        return self.seconds / self.ideal


def run(rows: Iterator[Any], count: int, batch: int, part: int, folder: Path) -> Run:
    """All rows to the disk, with a barrier after each `batch` of them."""
    import asyncio

    from pyarrow.parquet import read_metadata

    from palign_hf.engines.base import EngineIdentity
    from palign_hf.generation.jobs import in_order
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.generation.store import Store
    from palign_hf.runs.shards import OutputFolder, Shard
    from palign_hf.schema import PREFIXES
    from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, Case, Probe
    from palign_hf.truncation.rows import PROBES, Searcher, TruncationRow, prefix_columns
    from palign_hf.truncation.search import make_search

    seen = Run(count, folder / "prefixes")
    search, engine = make_search("ascend"), EngineIdentity("simulated", "1", "float32")
    store = Store(folder / "ledger.sqlite", "benchmark", {}, PROBES)
    output = OutputFolder(seen.output, {"fingerprint": "benchmark"})
    file = output.shard(Shard(), PREFIXES.features.arrow_schema, lambda row: False, part)

    async def ask(case: Case, cut: int) -> Probe:
        await asyncio.sleep(case.prompt.take())
        enough, prompt = cut >= case.prompt.answer, HEAD + case.tokens[cut] + SUFFIX
        verdict, margin = (ENOUGH, 1.25) if enough else (NOT_ENOUGH, -1.25)
        return Probe(cut, verdict, margin, 0.98, True, prompt, prompt - 40)

    searcher = Searcher(search, ask, lambda: store, lambda: engine)

    async def searched(row: TruncationRow) -> TruncationRow:
        await searcher(row)
        seen.end()
        return row

    def found() -> Iterator[dict[str, Any]]:
        while jobs := list(itertools.islice(rows, 1)):
            batched = itertools.chain(jobs, itertools.islice(rows, batch - 1))
            for row in runner.iterate(in_order(batched, searched, lambda: (CAPACITY, 2**62))):
                assert row.case is not None
                seen.work.append(row.case.prompt.work)
                seen.questions += row.asked
                yield {**row.source, **prefix_columns(row, search, CONTEXT)}

    # No question reaches the student: what is borrowed is the thread that all runs work on.
    with StudentRunner("palign-toy", engine="transformers") as runner, Peak() as peak:
        began = time.perf_counter()
        file.write(found())
        seen.seconds = time.perf_counter() - began
    store.close()
    seen.peak_mb = peak.mb
    seen.kept = sum(read_metadata(part).num_rows for part in seen.parts)
    if len(seen.work) != count:
        raise SystemExit(f"{len(seen.work)} rows were written, not {count}.")
    return seen


def in_order_without_cost(work: list[float]) -> float:
    """When the last row ends if each starts as soon as one of 64 places is free, and nothing else takes time."""
    places = [0.0] * CAPACITY
    for seconds in work:
        heapq.heapreplace(places, places[0] + seconds)
    return max(places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=10_000, help="how many (default %(default)s)")
    parser.add_argument("--mean-ms", type=float, default=48.0, help="mean time of an answer (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.rows < 100:
        parser.error(f"`--rows {args.rows}` is too few for {CAPACITY} at once; give 100 or more")
    if not args.mean_ms > 0:
        parser.error(f"`--mean-ms {args.mean_ms}` is no time; give more than 0")

    tenth = -(-args.rows // 10)
    print(f"Measured on {platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; ", end="")
    print(f"{args.rows} rows, {CAPACITY} at once, parquet parts of {tenth} rows.\n")
    pool, runs = write_pool(args.seed), {}
    for name, batch in (("streamed", args.rows), (f"barrier at {tenth}", tenth)):
        with tempfile.TemporaryDirectory(prefix="palign-benchmark-") as folder:
            rows = draw(pool, args.rows, args.seed, args.mean_ms / 1000)
            runs[name] = run(rows, args.rows, batch, tenth, Path(folder))
    streamed = runs["streamed"]
    mean = sum(streamed.work) / len(streamed.work)
    work = sorted(streamed.work)
    print(f"{streamed.questions} questions, {sum(work):.0f} s of answers, ideally {streamed.ideal:.1f} s of run;")
    slow = work[-1 - len(work) // 1000]
    print(f"a row takes {mean:.2f} s, one in a thousand {slow:.1f} or more, the slowest {work[-1]:.1f}.\n")
    print(f"{'':24}{'wall s':>8}{'over ideal':>12}{'waited at most':>16}{'on disk at 99 %':>17}")
    for name, one in runs.items():
        print(f"{name:24}{one.seconds:8.1f}{one.over_ideal:12.3f}{one.waited:16}{one.kept:17}")
    bound = in_order_without_cost(streamed.work)
    print(f"{'in order, at no cost':24}{bound:8.1f}{bound / streamed.ideal:12.3f}\n")
    print("Waited: rows that had ended and could not be written yet, for one before them had not.")
    print(f"Streamed, the run took {streamed.peak_mb:.0f} MB of memory above its start at most.")
    print(json.dumps({"stream_over_ideal": round(streamed.over_ideal, 3)}))


if __name__ == "__main__":
    main()
