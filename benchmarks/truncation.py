"""What truncation costs on a real student: a naive baseline, bisection over a prefix cache, and the default search.

    python benchmarks/truncation.py [--student FOLDER] [--traces FILE ...] [--naive-seconds 200]

The traces are four of real teachers that ship in `benchmarks/data` (its README says whence), or those given.
All three do the same rows in one run on one machine. The baseline works in the manner of the published reference:
Hugging Face `generate` with batch 1, the student's own sampling settings, a verdict of up to 256 tokens of free text
(and once more stopping as soon as a label is written), the whole prompt read again for each probe, no pauses. The time
that loading takes is left out everywhere.

A student this small says ENOUGH to anything, which would make the default look better than it is (two probes, then
done). So the verdicts, not the work, come from an oracle: a prefix suffices from where the accuracy of answers that
were resampled there stays within 5 points of its best (traces that carry `prefix_accuracy`), else from 30 % on. All
methods so face the same truths; each probe is really computed.
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[1]
TRACES = [Path(__file__).parent / "data" / "traces.jsonl"]
CONTEXT = 8192
BLOCK = 32


def load_rows(paths: list[Path]) -> list[dict[str, Any]]:
    """Question, trace, and the share of its segments that the oracle holds to be sufficient."""
    rows = []
    for path in paths:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            rows.append({"question": row["question"], "trace": row["trace"], "share": sufficient_share(row)})
    # A mix of lengths from the first row on, whatever number of them the baseline gets through.
    return sorted(rows, key=lambda row: hash_of(row["question"]))


def hash_of(text: str) -> int:
    """A fixed shuffle."""
    import zlib

    return zlib.crc32(text.encode())


def sufficient_share(row: dict[str, Any]) -> float:
    """From which share of the trace on it suffices: measured where rollouts were made, 0.3 elsewhere."""
    accuracy = row.get("prefix_accuracy")
    if not accuracy:
        return 0.3
    best = max(accuracy)
    low = [at for at, value in enumerate(accuracy) if value < best - 0.05]
    return min(1.0, (low[-1] + 1) / len(accuracy)) if low else 0.0


class Naive:
    """The reference's manner: one `generate` a probe, batch 1, text out."""

    def __init__(self, student: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(student)
        self.model = AutoModelForCausalLM.from_pretrained(student, dtype="auto").eval()
        torch.manual_seed(0)
        self.probes = self.prompt_tokens = self.written = 0

    def search(self, row: dict[str, Any], stop_at_label: bool) -> int:
        """Bisection over the pieces that `split('. ')` gives, as published; the oracle decides, the work is done."""
        from palign_hf.segmentation import cuts

        ends = [0, *cuts(row["trace"], "legacy")]
        left, right, best = 1, len(ends) - 1, len(ends) - 1
        enough_from = row["share"] * (len(ends) - 1)
        while left <= right:
            middle = (left + right) // 2
            self.ask(row["question"], row["trace"][: ends[middle]], stop_at_label)
            if middle >= enough_from:
                best, right = middle, middle - 1
            else:
                left = middle + 1
        return best

    def ask(self, question: str, prefix: str, stop_at_label: bool) -> None:
        """One verdict of free text."""
        import torch

        from palign_hf.prompts import JUDGE, LABELS

        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": JUDGE.render(question=question, prefix=prefix)}],
            tokenize=False,
            add_generation_prompt=True,
        )
        inputs = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=CONTEXT - 256)
        extra = {"stop_strings": list(LABELS), "tokenizer": self.tokenizer} if stop_at_label else {}
        with torch.inference_mode():
            output = self.model.generate(**inputs, max_new_tokens=256, pad_token_id=0, **extra)
        self.probes += 1
        self.prompt_tokens += inputs["input_ids"].shape[1]
        self.written += output.shape[1] - inputs["input_ids"].shape[1]


def run_naive(student: str, rows: list[dict[str, Any]], seconds: float) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """As many rows as fit the time; then the same rows with a baseline that stops at the label."""
    naive = Naive(student)
    naive.ask("1+1?", "One and one.", False)
    naive.probes = naive.prompt_tokens = naive.written = 0
    began, done = time.perf_counter(), 0
    for row in rows:
        naive.search(row, stop_at_label=False)
        done += 1
        # Another row must fit as well: the mean so far is the best guess.
        if (time.perf_counter() - began) * (done + 1) / done > seconds:
            break
    whole = {"wall": time.perf_counter() - began, "probes": naive.probes, "tokens": naive.prompt_tokens}
    whole["written"] = naive.written
    naive.probes = naive.prompt_tokens = naive.written = 0
    began = time.perf_counter()
    for row in rows[:done]:
        naive.search(row, stop_at_label=True)
    label = {"wall": time.perf_counter() - began, "probes": naive.probes, "tokens": naive.prompt_tokens}
    label["written"] = naive.written
    return done, whole, label


async def run_ours(student: str, rows: list[dict[str, Any]], searches: list[str]) -> dict[str, dict[str, Any]]:
    """Each search on a fresh vLLM cache, ledger included; engine start left out."""
    from palign_hf.engines.vllm import VLLMEngine
    from palign_hf.generation.store import Store
    from palign_hf.students import load_tokenizer, resolve_student
    from palign_hf.truncation.criteria import SelfJudge
    from palign_hf.truncation.rows import PROBES
    from palign_hf.truncation.search import make_search

    judge = SelfJudge().bind(load_tokenizer(resolve_student(student)), student, CONTEXT)
    engine = VLLMEngine(student, max_model_len=CONTEXT, block_size=BLOCK)
    await engine.start()
    await engine.score([1, 2, 3], (4, 5), "warm-up")
    results = {}
    try:
        for name in searches:
            await engine.reset_cache()
            with tempfile.TemporaryDirectory() as folder:
                ledger = Store(Path(folder) / "ledger.sqlite", name, {}, PROBES)
                results[name] = await run_search(engine, ledger, judge, rows, make_search(name))
                ledger.close()
    finally:
        await engine.close()
    return results


async def run_search(engine: Any, ledger: Any, judge: Any, rows: list[dict[str, Any]], search: Any) -> dict[str, Any]:
    """One search over all rows as a stage does them; the oracle's verdict replaces the student's."""
    from palign_hf.generation.jobs import in_order
    from palign_hf.truncation.rows import Searcher, open_row

    shares: dict[str, float] = {}
    asked: dict[str, list[tuple[list[int], int]]] = {}

    def opened() -> Any:
        for source in rows:
            row = open_row(judge, source, "sentence", audit=0)
            if row.case is not None:
                shares[row.case.name] = source["share"]
            yield row

    async def ask(case: Any, segments: int) -> Any:
        probe = await judge.ask(engine, case, segments)
        asked.setdefault(case.name, []).append((case.prompt.ids(case.ends[segments]), probe.cached_tokens))
        enough = segments >= shares[case.name] * (len(case.ends) - 1)
        return replace(probe, margin=1.0 if enough else -1.0, verdict="enough" if enough else "not_enough")

    began = time.perf_counter()
    probes = prompt = cached = floor = 0
    searcher = Searcher(search, ask, lambda: ledger, lambda: engine.identity)
    async for row in in_order(opened(), searcher, lambda: engine.capacity):
        if row.found is None:
            reason = row.error or row.skipped
            raise SystemExit(f"The trace of `{row.source['question'][:60]}` was not searched: {reason}")
        floor += row.floor_tokens
        probes += len(row.probes)
        prompt += sum(probe.prompt_tokens for probe in row.probes)
        cached += sum(probe.cached_tokens for probe in row.probes)
    wall = time.perf_counter() - began
    theory = found = 0
    for prompts in asked.values():
        for at, (ids, hit) in enumerate(prompts[1:], start=1):
            theory += max(min(shared(ids, old), len(ids) - 1) // BLOCK * BLOCK for old, _ in prompts[:at])
            found += hit
    return {
        "wall": wall,
        "probes": probes,
        "tokens": prompt - cached,
        "cached_share": cached / prompt,
        "cached_of_theory": found / theory if theory else 1.0,
        "over_floor": (prompt - cached) / floor,
    }


def shared(a: list[int], b: list[int]) -> int:
    """Length of the common beginning."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def main() -> int:
    """Read the options; signals end the engine as they end that of `palign`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--student", help="folder; by default SmolLM2-135M out of its wheel")
    parser.add_argument(
        "--traces",
        type=Path,
        nargs="+",
        default=TRACES,
        help="JSONL files with question and trace; by default those of benchmarks/data",
    )
    parser.add_argument(
        "--naive-seconds", type=float, default=200.0, help="time for the baseline; it decides the rows"
    )
    options = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    absent = [path for path in options.traces if not path.is_file()]
    if absent:
        parser.error(f"`{absent[0]}` doesn't exist: give JSONL files with `question` and `trace` by --traces")
    from palign_hf.runs.launch import ended

    return ended(Path(__file__).name, lambda: measure(options), parser, "Run the same command again.")


def measure(options: argparse.Namespace) -> int:
    """Run all, print a table and one line of JSON."""
    student = options.student
    if not student:
        from palign_hf.toy.demo.run import export

        student = str(export(ROOT / ".palign" / "smollm2-135m"))
    rows = load_rows(options.traces)
    given = len(rows)
    done, naive, label = run_naive(student, rows, options.naive_seconds)
    rows = rows[:done]
    ours = asyncio.run(run_ours(student, rows, ["binary", "ascend"]))
    binary, default = ours["binary"], ours["ascend"]

    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}; student: {Path(student).name}")
    read = ", ".join(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path) for path in options.traces)
    print(f"{done} of the {given} traces in {read}, the same for all; times without loading\n")
    print(f"{'':34}{'wall s':>9}{'probes':>8}{'tokens computed':>17}{'written':>9}")
    for name, run in (
        ("naive, up to 256 tokens of text", naive),
        ("naive, stops at the label", label),
        ("binary + prefix cache (vLLM)", binary),
        ("default: ascend (vLLM)", default),
    ):
        print(f"{name:34}{run['wall']:9.1f}{run['probes']:8}{run['tokens']:17,}{run.get('written', 0):9,}")
    print(f"\nover the floor: binary {binary['over_floor']:.2f}, default {default['over_floor']:.2f}")
    print(
        f"from the cache: {default['cached_share']:.1%} of prompt tokens, "
        f"{default['cached_of_theory']:.1%} of what blocks of {BLOCK} allow"
    )
    print(
        json.dumps(
            {
                "wall_ratio_naive": round(naive["wall"] / default["wall"], 2),
                "tokens_ratio_naive": round(naive["tokens"] / default["tokens"], 2),
                "tokens_over_floor": round(default["over_floor"], 3),
                "cached_share": round(default["cached_share"], 4),
                "cached_of_theory": round(default["cached_of_theory"], 4),
                "wall_ratio_label_stop": round(label["wall"] / default["wall"], 2),
                "wall_ratio_binary": round(binary["wall"] / default["wall"], 2),
                "binary_over_floor": round(binary["over_floor"], 3),
                "traces": done,
            }
        )
    )
    return 0


if __name__ == "__main__":
    status = main()
    if status:
        from palign_hf.runs.signals import leave

        # At its exit Python would wait for engines that are still busy; their watch ends them.
        leave(status)
