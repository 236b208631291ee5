"""A stage in a few lines, out of the shared machinery alone: n samples a row, durable, sharded, resumable.

Run as `python sampling_stage.py OUTPUT SHARDS [SAMPLES]`: draws for 24 toy problems with the shipped student; after so
many SAMPLES the engine gives no more, so that whoever means to kill the run finds it at work.
"""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from palign_hf.data.traces import load_traces
from palign_hf.engines.base import Sampling, sample_seed
from palign_hf.generation.jobs import ExpectedOutput, in_order
from palign_hf.generation.rendering import ChatPrompt
from palign_hf.generation.runner import StudentRunner
from palign_hf.generation.store import AnswerTable, Store, content_key
from palign_hf.prompts import SOLVE
from palign_hf.runs.shards import OutputFolder, Shard


ROWS, N, SEED = 24, 3, 7
SCHEMA = pa.schema({"id": pa.string(), "samples": pa.list_(pa.list_(pa.int32()))})


@dataclass(frozen=True)
class Sample:
    """One answered request."""

    sample: int
    token_ids: tuple[int, ...]
    finish_reason: str


SAMPLES = AnswerTable(Sample, "samples", key=("sample",), told_by="finish_reason")


@dataclass(frozen=True)
class Job:
    """A problem on its way."""

    id: str
    key: bytes
    prompt: list[int]
    weight: int


def sampled(runner: StudentRunner, store: Store[Sample], rows: list[dict], left: list[int]) -> Iterator[dict]:
    """The whole stage: render, ask what isn't known, store, tell."""
    prompt, expected = ChatPrompt(runner.tokenizer, SOLVE, runner.student.name), ExpectedOutput(16)

    async def work(job: Job) -> dict:
        known = store.recall(job.key)
        for sample in set(range(N)) - known.keys():
            left[0] -= 1
            if left[0] < 0:
                await asyncio.Event().wait()
            sampling = Sampling(max_tokens=16, temperature=0.6, top_p=0.9, seed=sample_seed(SEED, sample))
            (said,) = (await runner.engine.generate(job.prompt, sampling, job.id)).samples
            expected.saw(len(said.token_ids))
            answer = Sample(sample, said.token_ids, said.finish_reason)
            known[sample] = await store.record(job.key, answer, runner.identity())
        return {"id": job.id, "samples": [list(known[sample].token_ids) for sample in range(N)]}

    def jobs() -> Iterator[Job]:
        for row in rows:
            ids = prompt.ids(row["question"])
            yield Job(row["id"], content_key(row["question"]), ids, len(ids) + N * expected.tokens)

    return runner.iterate(in_order(jobs(), work, runner.capacity))


def main(folder: Path, shards: int, answers: int = sys.maxsize) -> None:
    """Every shard after the other, then the files together; after so many `answers` it stands still."""
    left = [answers]
    rows = list(load_traces("palign-toy", split="test", max_samples=ROWS))
    output = OutputFolder(folder / "out", {"fingerprint": f"samples {N} {SEED}", "rows": len(rows)})
    output.claim()
    with StudentRunner("palign-toy", engine="transformers") as runner:
        store = Store(folder / "samples.sqlite", "samples", {}, SAMPLES)
        for index in range(shards):
            part = output.shard(Shard(index, shards), SCHEMA, again=lambda row: False, rows=4)
            mine = rows[len(rows) * index // shards : len(rows) * (index + 1) // shards]
            part.write(sampled(runner, store, mine[part.done :], left))
        store.close()
    output.publish(shards)
    output.end({"rows": len(rows)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
