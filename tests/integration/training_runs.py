"""Short training runs of a tiny student, and what is compared of them. Started as a script, it is a worker of a run
over several processes, which writes what it saw as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from palign_hf.runs.signals import leave
from palign_hf.training.config import PAlignConfig
from palign_hf.training.rows import build_rows
from palign_hf.training.trainer import PAlignTrainer


def pairs(count: int = 12) -> Dataset:
    """Rows whose parts differ in length, one of them without a prefix."""
    rows = []
    for n in range(count):
        steps = " ".join(f"Add {k} to {n}, which is {n + k}." for k in range(1 + n % 4))
        prefix = None if n == 5 else f"We start from {n}. {steps}\n\n"
        rows.append(
            {
                "question": f"What is {n} and {n}?",
                "prefix": prefix,
                "continuation": f"So it is {n + n}. " * (1 + n % 3),
            }
        )
    return Dataset.from_list(rows)


def settings(folder: Path, **given: Any) -> dict[str, Any]:
    """Few steps on the processor, each of them logged."""
    usual = {"max_length": 256, "max_steps": 3, "per_device_train_batch_size": 4, "logging_steps": 1}
    usual |= {"save_strategy": "no", "learning_rate": 1e-2, "gradient_checkpointing": False}
    return {"output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True} | (
        usual | given
    )


def student(folder: Path) -> tuple[Any, Any]:
    """The same student and tokenizer each time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer


def aligned(folder: Path, out: Path, dataset: Dataset | None = None, **given: Any) -> PAlignTrainer:
    """A trainer of prefix alignment."""
    model, tokenizer = student(folder)
    config = PAlignConfig(**settings(out, **given))
    return PAlignTrainer(model, config, train_dataset=dataset or pairs(), processing_class=tokenizer)


def plain(
    folder: Path, out: Path, learned: tuple[int, ...] = (1, 2, 3), dataset: Dataset | None = None, **given: Any
) -> SFTTrainer:
    """TRL's trainer on the same tokens, with labels for these segments alone."""
    model, tokenizer = student(folder)
    rows, _ = build_rows(dataset or pairs(), "question", tokenizer, PAlignConfig(**settings(out)), "train")
    rows = rows.map(masked, fn_kwargs={"learned": learned}).select_columns(["input_ids", "labels"])
    return SFTTrainer(model, SFTConfig(**settings(out, **given)), train_dataset=rows, processing_class=tokenizer)


def masked(row: dict[str, list[int]], learned: tuple[int, ...]) -> dict[str, list[int]]:
    """Labels of these segments alone."""
    parts = zip(row["labels"], row["segment_ids"], strict=True)
    return {"labels": [label if segment in learned else -100 for label, segment in parts]}


def trajectory(trainer: SFTTrainer) -> dict[str, Any]:
    """Loss and gradient of each step, and the student that comes out of them."""
    trainer.train()
    steps = [(log["loss"], log["grad_norm"]) for log in trainer.state.log_history if "loss" in log]
    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = [float(weight.detach().double().abs().sum()) for weight in model.parameters()]
    return {"steps": steps, "weights": weights}


def figures(trainer: SFTTrainer, name: str) -> list[float]:
    """A metric over the steps."""
    return [log[name] for log in trainer.state.log_history if name in log]


def main(folder: Path, out: Path) -> None:
    """Both trainers, one after the other, in this process of several."""
    given = {"per_device_train_batch_size": 2, "ddp_backend": "gloo"}
    ours = aligned(folder, out / "ours", **given)
    seen = {"ours": trajectory(ours), "plain": trajectory(plain(folder, out / "plain", **given))}
    zero = aligned(folder, out / "zero", prefix_loss_weight=0, close_tag_loss_weight=0, **given)
    alone = plain(folder, out / "alone", learned=(3,), **given)
    seen |= {"zero": trajectory(zero), "alone": trajectory(alone), "processes": ours.accelerator.num_processes}
    seen["nll"] = {name: figures(ours, f"{name}/nll") for name in ("prefix", "continuation")}
    (out / f"rank-{ours.accelerator.process_index}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    leave(0)
