"""What an evaluation costs beside the engine: its drawing and grading over vLLM's own `LLM.generate`.

    python benchmarks/evaluation.py [--problems 200] [--rounds 4] [--folder runs/benchmarks/evaluation]

The shipped student answers in a few tokens, so one is trained first, for 60 steps on pairs that are cut where the
truth says: it writes some 200 tokens. It stays in the folder, and the next run takes it from there. Then toy problems
are evaluated, three samples each: rendered, drawn, stored durably, graded, labelled. `LLM.generate` is given the same
token ids with the same sampling and seeds, all at once. They take turns, each turn with seeds of its own; both engines
stay up meanwhile. Grading is timed alone, its processes' start included, over the wall of the evaluation that it was
part of, in which it runs beside the drawing. The last line has the medians: the ratio of the walls, grading's share.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any


SAMPLES, MAX_TOKENS = 3, 512
PAIRS, STEPS = 388, 60
TRAINING = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "save_strategy": "no"}
# The same for both engines, side by side in one memory; without pieces of prompts, which seeds on a CPU don't bear.
OPTIONS = {"enforce_eager": True, "max_num_seqs": 128, "enable_chunked_prefill": False, "max_num_batched_tokens": 8192}
OPTIONS |= {"block_size": 32, "kv_cache_memory_bytes": 2**30, "gpu_memory_utilization": 0.2}


def trained(folder: Path) -> Path:
    """A student that writes its draft out: trained now, unless it is there."""
    student = folder / "student"
    if (student / "report.json").is_file():
        return student
    folder.mkdir(parents=True, exist_ok=True)
    pairs = folder / "pairs.parquet"
    _write_pairs(pairs)
    command = [sys.executable, "-m", "palign_hf.cli", "train", "--config", "toy/train_full.yaml", "--overwrite"]
    given = [f"training.{name}={json.dumps(value)}" for name, value in TRAINING.items()]
    given += [f"pairs.source={pairs}", "prefixes=null", f"output_dir={student}", "eval=null", "stops=0"]
    began = time.perf_counter()
    subprocess.run([*command, *(word for one in given for word in ("--set", one))], check=True)
    print(f"trained for {STEPS} steps in {time.perf_counter() - began:.0f} s: {student}\n", flush=True)
    return student


def _write_pairs(file: Path) -> None:
    """Toy problems whose solution begins with what suffices of the teacher's, and continues correctly."""
    from datasets import Dataset

    from palign_hf.schema import PAIRS as TABLE
    from palign_hf.toy.world.problems import continuation, problems

    rows = []
    for one in problems("train", PAIRS):
        end = one.sufficient_end
        row = {"id": one.id, "question": one.question, "answer": one.answer, "source": "palign-toy"}
        row |= {"prefix": one.trace[:end], "continuation": continuation(one, end)}
        rows.append(dict.fromkeys(TABLE.columns) | row | {"status": "kept", "sample": 0})
    Dataset.from_list(rows, features=TABLE.features).to_parquet(str(file))


class Turns:
    """One engine of ours and one of vLLM's, side by side."""

    def __init__(self, folder: Path, student: Path, problems: int) -> None:
        from vllm import LLM

        from palign_hf.engines.supervised import watched
        from palign_hf.evaluation.tasks import open_task, problem_table
        from palign_hf.generation.runner import StudentRunner

        self.folder = folder
        self.rows = list(problem_table([open_task("toy", max_samples=problems)]))
        common = {"enable_prefix_caching": True, "disable_log_stats": True, "seed": 0}
        with ExitStack() as opened:
            self.runner = opened.enter_context(StudentRunner(str(student), engine="vllm", engine_options=OPTIONS))
            self.runner.run(self.runner.engine.start())
            where, length = self.runner.student.where, self.runner.max_model_len
            # vLLM leaves the processes of an `LLM` behind when a signal ends this one.
            self.llm = opened.enter_context(watched(lambda: LLM(where, max_model_len=length, **common, **OPTIONS)))
            opened.callback(self.llm.llm_engine.engine_core.shutdown)
            self._opened = opened.pop_all()

    def evaluation(self, turn: int) -> Any:
        """The evaluation of one turn: with seeds and a ledger of its own."""
        from palign_hf.evaluation.transform import StudentEvaluation

        return StudentEvaluation(
            self.runner.student.where,
            engine=self.runner,
            n=SAMPLES,
            max_tokens=MAX_TOKENS,
            seed=turn,
            ledger=str(self.folder / str(turn)),
            progress=False,
        )

    def evaluate(self, turn: int) -> tuple[float, list[Any]]:
        """All samples, graded and labelled: seconds, and the samples."""
        began = time.perf_counter()
        with self.evaluation(turn) as evaluation:
            samples = [one for of in evaluation.samples(self.rows, len(self.rows)) for one in of]
        return time.perf_counter() - began, samples

    def generate(self, turn: int) -> tuple[float, int]:
        """`LLM.generate` on the requests of that turn: seconds, and the tokens that it wrote."""
        from vllm import SamplingParams, TokensPrompt

        from palign_hf.generation.sampling import seed_of
        from palign_hf.generation.store import content_key

        evaluation = self.evaluation(turn)
        chat, asked, how = evaluation.prompt(), [], []
        for row in self.rows:
            prompt = chat.ids(row["question"])
            room = min(MAX_TOKENS, self.runner.max_model_len - len(prompt))
            for sample in range(SAMPLES):
                drawing = evaluation.settings.drawing(room, seed_of(content_key(row["question"]), turn, sample))
                asked.append(TokensPrompt(prompt_token_ids=prompt))
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

    def grade(self, samples: Sequence[Any]) -> float:
        """The same samples graded once more and alone: seconds."""
        from palign_hf.grading import GraderPool

        began = time.perf_counter()
        with GraderPool("math") as pool:
            pool.grade_all((one.text or "", one.gold) for one in samples)
        return time.perf_counter() - began

    def close(self) -> None:
        """End both."""
        self._opened.close()


def main() -> int:
    """Read the options; signals end the engines as they end those of `palign`."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=200, help="problems of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each (default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, default="runs/benchmarks/evaluation", help="for the student (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.problems < 10 or options.rounds < 1:
        parser.error("give at least 10 --problems and one of --rounds")
    from palign_hf.runs.launch import ended

    return ended(Path(__file__).name, lambda: measure(options), parser, "Run the same command again.")


def measure(options: argparse.Namespace) -> int:
    """Measure, print a table and one line of JSON."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")

    student = trained(options.folder)
    walls: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        turns = Turns(Path(folder), student, options.problems)
        try:
            # The first turn warms both up and isn't counted.
            for turn in range(options.rounds + 1):
                if turn % 2:
                    engine, written = turns.generate(turn)
                    wall, samples = turns.evaluate(turn)
                else:
                    wall, samples = turns.evaluate(turn)
                    engine, written = turns.generate(turn)
                grading = turns.grade(samples)
                if turn:
                    walls.append((wall, engine, grading))
                    print(
                        f"turn {turn}: evaluation {wall:.2f} s, LLM.generate {engine:.2f} s, grading alone "
                        f"{grading:.2f} s; tokens {sum(one.tokens for one in samples):,} and {written:,}; right "
                        f"{sum(one.strict for one in samples) / len(samples):.1%}",
                        flush=True,
                    )
        finally:
            turns.close()
    print(f"\nmachine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}")
    print(
        f"{options.problems} problems a turn, {SAMPLES} samples each, {written / len(samples):.0f} tokens on average"
    )
    figures = {
        "wall_over_engine": round(median(wall / engine for wall, engine, _ in walls), 3),
        "grading_share": round(median(grading / wall for wall, _, grading in walls), 3),
        "tokens_each": round(written / len(samples)),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    status = main()
    if status:
        from palign_hf.runs.signals import leave

        # At its exit Python would wait for engines that are still busy; their watch ends them.
        leave(status)
