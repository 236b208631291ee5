"""What an alignment costs beside the engine: its whole run over vLLM's own `LLM.generate` on the same requests.

    python benchmarks/alignment.py [--rows 400] [--rounds 4]

Toy problems are cut where the truth says, and the toy student continues from there, four samples each. A run reads its
prefixes from a file, renders, draws, stores every sample durably, grades and flags it, and writes pairs and report;
`LLM.generate` is given the same token ids with the same sampling and seeds, all at once. They take turns, each turn
with problems that neither engine has seen in that turn's order; both engines stay up meanwhile. The last line has the
ratio of the walls, and the tokens that `first` draws over those of `all`.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any


SAMPLES = 4
# The same for both engines, side by side in one memory; without pieces of prompts, which seeds on a CPU don't bear.
OPTIONS = {"enforce_eager": True, "max_num_seqs": 128, "enable_chunked_prefill": False, "max_num_batched_tokens": 8192}
OPTIONS |= {"block_size": 32, "kv_cache_memory_bytes": 2**30, "gpu_memory_utilization": 0.2}


def prefixes(first: int, rows: int) -> Any:
    """PREFIXES of toy problems, cut where they first suffice."""
    from datasets import Dataset

    from palign_hf.schema import PREFIXES
    from palign_hf.segmentation import cuts
    from palign_hf.toy.world.problems import toy_traces

    made = []
    for row in toy_traces("train", first + rows).select(range(first, first + rows)):
        end = row["sufficient_end"]
        found = {"prefix": row["trace"][:end], "prefix_end": end, "prefix_segments": row["sufficient_segments"]}
        found |= {"status": "sufficient", "n_segments": len(cuts(row["trace"])), "probes": []}
        made.append({name: (row | found).get(name) for name in PREFIXES.columns})
    return Dataset.from_list(made, features=PREFIXES.features)


class Turns:
    """One engine of ours and one of vLLM's, side by side."""

    def __init__(self, folder: Path, student: str) -> None:
        from vllm import LLM

        from palign_hf.engines.supervised import watched
        from palign_hf.generation.runner import StudentRunner

        self.folder, self.student = folder, student
        common = {"enable_prefix_caching": True, "disable_log_stats": True, "seed": 0}
        with ExitStack() as opened:
            self.runner = opened.enter_context(StudentRunner(student, engine="vllm", engine_options=OPTIONS))
            self.runner.run(self.runner.engine.start())
            where, length = self.runner.student.where, self.runner.max_model_len
            # vLLM leaves the processes of an `LLM` behind when a signal ends this one.
            self.llm = opened.enter_context(watched(lambda: LLM(where, max_model_len=length, **common, **OPTIONS)))
            opened.callback(self.llm.llm_engine.engine_core.shutdown)
            self._opened = opened.pop_all()

    def run(self, table: Any, name: str, sampling: str) -> tuple[float, Any]:
        """A whole run: seconds, and its report."""
        from palign_hf.alignment.stage import AlignConfig, AlignRun, PrefixSettings
        from palign_hf.runs.shards import Shard

        source = self.folder / f"{name}.parquet"
        table.to_parquet(str(source))
        config = AlignConfig(
            prefixes=PrefixSettings(source=str(source)),
            student=self.student,
            engine=self.runner,
            sampling=sampling,
            n=SAMPLES,
            ledger=str(self.folder / f"{name}-{sampling}-ledger"),
            output_dir=str(self.folder / f"{name}-{sampling}"),
            progress=False,
        )
        began = time.perf_counter()
        with AlignRun(config, shown=False) as run:
            run.work(Shard(), run.agree())
            run.finish(1)
        return time.perf_counter() - began, run.report

    def generate(self, table: Any, name: str) -> tuple[float, int]:
        """`LLM.generate` on the requests of that run: seconds, and the tokens that it wrote."""
        from vllm import SamplingParams, TokensPrompt

        from palign_hf.alignment.rows import problem_key
        from palign_hf.alignment.transform import PrefixAlignment
        from palign_hf.generation.sampling import seed_of

        alignment = PrefixAlignment(self.student, engine=self.runner, ledger=str(self.folder / name))
        rendered, asked, how = alignment.prompts(), [], []
        for row in table:
            beginning = rendered.found(row)
            key = problem_key(row["question"], row["prefix"])
            for sample in range(SAMPLES):
                drawing = alignment.settings.drawing(rendered.room(beginning), seed_of(key, 0, sample))
                asked.append(TokensPrompt(prompt_token_ids=beginning.prompt))
                how.append(
                    SamplingParams(
                        max_tokens=drawing.max_tokens,
                        temperature=drawing.temperature,
                        top_p=drawing.top_p,
                        repetition_penalty=drawing.repetition_penalty,
                        seed=drawing.seed,
                    )
                )
        began = time.perf_counter()
        outputs = self.llm.generate(asked, how, use_tqdm=False)
        spent = time.perf_counter() - began
        return spent, sum(len(one.outputs[0].token_ids) for one in outputs)

    def close(self) -> None:
        """End both."""
        self._opened.close()


def main() -> int:
    """Read the options; signals end the engines as they end those of `palign`."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=400, help="problems of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each (default: %(default)s)")
    parser.add_argument("--student", default="palign-toy", help="folder or name (default: %(default)s)")
    options = parser.parse_args()
    if options.rows < 10 or options.rounds < 1:
        parser.error("give at least 10 --rows and one of --rounds")
    from palign_hf.runs.launch import ended

    return ended(Path(__file__).name, lambda: measure(options), parser, "Run the same command again.")


def measure(options: argparse.Namespace) -> int:
    """Measure, print a table and one line of JSON."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")

    walls: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        turns = Turns(Path(folder), options.student)
        try:
            # The first turn warms both up and isn't counted.
            for turn in range(options.rounds + 1):
                table, name = prefixes(turn * options.rows, options.rows), f"turn{turn}"
                if turn % 2:
                    engine, written = turns.generate(table, name)
                    run, report = turns.run(table, name, "all")
                else:
                    run, report = turns.run(table, name, "all")
                    engine, written = turns.generate(table, name)
                if turn:
                    walls.append((run, engine))
                    print(
                        f"turn {turn}: run {run:.2f} s, LLM.generate {engine:.2f} s; tokens "
                        f"{report.generated_tokens:,} and {written:,}; right {report.strict:.1%}",
                        flush=True,
                    )
            first, drawn = turns.run(table, name, "first")
        finally:
            turns.close()
    over = report.generated_tokens
    print(f"\nmachine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}; student: {options.student}")
    print(f"{options.rows} problems a turn, {SAMPLES} samples each; `first` took {first:.2f} s, `all` {run:.2f} s")
    print(f"problems with a kept pair: first {drawn.kept_problems}, all {report.kept_problems}")
    figures = {
        "wall_over_engine": round(median(run / engine for run, engine in walls), 3),
        "tokens_first_over_all": round(drawn.generated_tokens / over, 3),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    status = main()
    if status:
        from palign_hf.runs.signals import leave

        # At its exit Python would wait for engines that are still busy; their watch ends them.
        leave(status)
