"""What the segments cost in training: step time and memory beside TRL's own trainer, and what packing is worth.

    python benchmarks/training.py [--max-length N] [--steps N] [--repeats N]

Both trainers learn the same rows in the same order, padded and packed, in one process, turn about, ours with weights
other than 1, which is the way with the most work. The rows are as long as 34 real traces, scaled so that the longest
fills `max_length`; a quarter of each is prefix. Their tokens are drawn, since only lengths matter here. The student is
the shipped one: it is so small that whatever is done beside its layers weighs more than with any real one.

On a processor, time is that of the process and memory is what torch had allocated at once, by its profiler; on a GPU,
time is that of the clock and memory is the allocator's peak. Ratios are medians over the repeats. The last line is
JSON.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any


# Characters: twenty traces of DeepSeek-R1-Distill-Qwen-14B (thought-anchors.com) and fourteen of several teachers
# (rasbt/reasoning-from-scratch, camel-ai/camel).
LENGTHS = (4717, 5410, 6239, 6835, 7230, 8153, 8397, 8945, 9615, 10012, 10406, 10435, 10631, 10690, 12214, 13635)
LENGTHS += (14061, 17425, 20541, 22596, 1329, 1616, 2058, 2536, 3161, 3463, 4269, 4541, 5660, 7215, 9962, 11437)
LENGTHS += (12646, 14405)
PROMPT, TAG, PREFIX_SHARE = 24, 6, 0.25
WEIGHTS = {"prefix_loss_weight": 0.5, "close_tag_loss_weight": 2.0}
# Rows to a batch: padded ones are filled up to the longest of them.
BATCH = {"padded": 4, "packed": 1}
MIB = 2**20


def draw_rows(max_length: int, count: int, seed: int = 0) -> list[dict[str, list[int]]]:
    """Tokenised rows, the lengths in a fixed shuffle."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        if number % len(LENGTHS) == 0:
            lengths = rng.sample(LENGTHS, len(LENGTHS))
        total = max(PROMPT + TAG + 8, lengths[number % len(LENGTHS)] * max_length // max(LENGTHS))
        prefix = int((total - PROMPT - TAG) * PREFIX_SHARE)
        segments = [0] * PROMPT + [1] * prefix + [2] * TAG
        segments += [3] * (total - len(segments))
        ids = [rng.randrange(3, 1280) for _ in segments]
        labels = [id if segment else -100 for id, segment in zip(ids, segments, strict=True)]
        rows.append({"input_ids": ids, "labels": labels, "segment_ids": segments})
    return rows


class Clock:
    """Seconds of the device that works."""

    def __init__(self) -> None:
        import torch

        self.gpu = torch.cuda.is_available()
        self._wait = torch.cuda.synchronize if self.gpu else lambda: None

    def now(self) -> float:
        self._wait()
        return time.perf_counter() if self.gpu else time.process_time()


def make_trainer(ours: bool, packed: bool, max_length: int, steps: int, folder: str) -> Any:
    """One of the two, on rows enough for its steps, in a set order."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from palign_hf.toy import student_folder
    from palign_hf.training.config import PAlignConfig
    from palign_hf.training.trainer import PAlignTrainer

    gpu = Clock().gpu
    given = {"output_dir": folder, "max_length": max_length, "max_steps": steps, "packing": packed}
    given |= {"per_device_train_batch_size": BATCH["packed" if packed else "padded"], "logging_steps": 5}
    given |= {"use_cpu": not gpu, "bf16": gpu, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    given |= {"train_sampling_strategy": "sequential", "gradient_checkpointing": False}
    rows = Dataset.from_list(draw_rows(max_length, len(LENGTHS) * (1 + steps * 4 // len(LENGTHS))))
    if ours:
        return PAlignTrainer(
            str(student_folder()), PAlignConfig(**given, **WEIGHTS, sanity_checks=False), train_dataset=rows
        )
    plain = rows.select_columns(["input_ids", "labels"])
    return SFTTrainer(str(student_folder()), SFTConfig(**given), train_dataset=plain)


def train(trainer: Any, clock: Clock) -> float:
    """Seconds of its steps."""
    from transformers import TrainerCallback

    class Between(TrainerCallback):
        def on_train_begin(self, *given: Any, **more: Any) -> None:
            self.start = clock.now()

        def on_train_end(self, *given: Any, **more: Any) -> None:
            self.seconds = clock.now() - self.start

    between = Between()
    trainer.add_callback(between)
    trainer.train()
    trainer.remove_callback(between)
    return between.seconds


def tokens_of(trainer: Any, steps: int) -> int:
    """Tokens that its steps read, padding not counted."""
    rows = trainer.args.per_device_train_batch_size * steps
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    return sum(lengths[row % len(lengths)] for row in range(rows))


def peak_mb(trainer: Any) -> float:
    """Memory of one step above what the student itself takes."""
    import torch

    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    count = (batch["labels"] != -100).sum()
    trainer.model.train()

    def step() -> None:
        trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count).backward()
        trainer.model.zero_grad()

    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        start = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - start) / MIB
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as watched:
        step()
    now = top = 0
    events = (event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        top = max(top, now)
    return top / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure training with segments beside TRL's own, and packing.")
    parser.add_argument("--max-length", type=int, default=1024, help="tokens of the longest row and of a packed one")
    parser.add_argument("--steps", type=int, default=6, help="steps of each training")
    parser.add_argument("--repeats", type=int, default=5, help="how often each is trained, turn about")
    args = parser.parse_args()
    if not 256 <= args.max_length <= 2048:
        parser.error(f"`--max-length {args.max_length}` must be from 256 to 2048, the context of the shipped student")
    if args.steps < 1 or args.repeats < 1:
        parser.error(f"`--steps {args.steps}` and `--repeats {args.repeats}` must be at least 1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    import torch
    import transformers
    import trl

    transformers.logging.set_verbosity_error()
    clock = Clock()
    machine = torch.cuda.get_device_name() if clock.gpu else f"{os.cpu_count()} {platform.machine()} cores"
    print(f"{machine}, {platform.system().lower()}, torch {torch.__version__}, trl {trl.__version__}")

    with tempfile.TemporaryDirectory() as folder:
        ways = [(ours, packed) for packed in (False, True) for ours in (True, False)]
        trainers = {way: make_trainer(*way, args.max_length, args.steps, str(Path(folder))) for way in ways}
        for trainer in trainers.values():
            trainer.remove_callback(transformers.PrinterCallback)
        seconds: dict[tuple[bool, bool], list[float]] = {way: [] for way in ways}
        for way in ways:
            train(trainers[way], clock)  # to warm up
        for repeat in range(args.repeats):
            for way in ways if repeat % 2 else reversed(ways):
                seconds[way].append(train(trainers[way], clock))
        memory = {way: peak_mb(trainers[way]) for way in ways}
        tokens = {way: tokens_of(trainers[way], args.steps) for way in ways}

    def ratio(first: tuple[bool, bool], second: tuple[bool, bool]) -> float:
        return statistics.median(one / other for one, other in zip(seconds[first], seconds[second], strict=True))

    print(f"{args.steps} steps, {args.repeats} times; rows up to {args.max_length} tokens, batches of {BATCH}\n")
    print(f"{'':24}{'ms a step':>12}{'tokens/s':>12}{'MiB a step':>12}")
    for way in ways:
        usual = statistics.median(seconds[way])
        name = f"{'PAlignTrainer' if way[0] else 'SFTTrainer'}, {'packed' if way[1] else 'padded'}"
        print(f"{name:24}{usual / args.steps * 1e3:12.0f}{tokens[way] / usual:12.0f}{memory[way]:12.1f}")
    steps = {packed: ratio((True, packed), (False, packed)) for packed in (False, True)}
    memories = {packed: memory[True, packed] / memory[False, packed] for packed in (False, True)}
    speedup = ratio((True, False), (True, True)) * tokens[True, True] / tokens[True, False]
    print(f"\nA step takes {steps[False]:.3f} (padded) and {steps[True]:.3f} (packed) times that of SFTTrainer, its")
    print(f"memory is {memories[False]:.3f} and {memories[True]:.3f} times as much.")
    print(f"Packed rows are read at {speedup:.2f} times the tokens a second of padded ones.")
    figures = {"step_ratio": max(steps.values()), "memory_ratio": max(memories.values()), "packing_speedup": speedup}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
