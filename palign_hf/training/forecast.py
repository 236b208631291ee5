"""What a training would do, said before any weights are loaded: for `--dry-run`."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.prompts import tag_style
from palign_hf.training.data import Lessons
from palign_hf.training.features import row_features
from palign_hf.training.segments import LEARNED
from palign_hf.training.settings import TrainConfig
from palign_hf.training.turns import Turns


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from palign_hf.students import Student

# So many rows are tokenised; the rest is taken to be like them.
_SAMPLE = 200


def forecast(config: TrainConfig, student: "Student", tokenizer: "PreTrainedTokenizerBase", lessons: Lessons) -> str:
    """Rows, tokens, steps and weights; time and memory depend on a machine, and are not guessed."""
    planned, rows = config.planned, len(lessons.train)
    sample = lessons.train.select(range(0, rows, -(-rows // _SAMPLE)))
    turns, style = Turns(_templated(tokenizer, planned.chat_template_path)), tag_style(planned.tags)
    most = planned.max_length
    shorten = most if planned.overlong == "truncate_prefix" else None
    read = [row_features(row, turns, "question", style, shorten) for row in sample]
    tokens = np.array([row["tokens"] for row in read])
    fitting = np.ones(len(tokens), bool) if most is None else tokens <= most
    parted = planned.packing and planned.packing_strategy == "wrapped"
    used_rows = np.ones(len(tokens), bool) if parted else fitting
    scale = rows / len(sample)
    about = "" if len(sample) == rows else f"about (from {len(sample)} of them) "
    parts = np.array([part for row, used in zip(read, used_rows, strict=True) if used for part in row["segment_ids"]])
    learned = ", ".join(
        f"{name.replace('_', ' ')} {round(int((parts == part).sum()) * scale):,}" for part, name in LEARNED.items()
    )
    used = round(int(used_rows.sum()) * scale)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    a_step = planned.per_device_train_batch_size * planned.gradient_accumulation_steps * processes
    batches, filled = used, ""
    if planned.packing and most is not None:
        batches = math.ceil(int(tokens[used_rows].sum()) * scale / most)
        filled = f", packed into about {batches:,} of {most:,} tokens"
    steps = planned.max_steps
    if steps <= 0:
        steps = math.ceil(math.ceil(batches / a_step) * planned.num_train_epochs)
    trained, whole = weights(config, student)
    left = "".join(f"\n           {count:,} {reason}" for reason, count in lessons.left_out.items())
    over = "" if most is None else f"; {about}{round(int((~fitting).sum()) * scale):,} longer than {most:,} tokens"
    if over and planned.overlong != "error":
        over += ", which packing would cut" if parted else ", which would be left out"
    return "\n".join(
        [
            f"student    {config.student}",
            f"learned    {config.baseline}: {rows:,} of {lessons.given:,} rows{over}{left}",
            *([f"measured   {len(lessons.measured):,} rows"] if lessons.measured is not None else []),
            f"tokens     {about}{round(int(tokens[used_rows].sum()) * scale):,} an epoch; of them {learned}; "
            f"longest row {int(tokens.max()):,}",
            f"steps      {steps:,} of {a_step} rows ({planned.per_device_train_batch_size} x "
            f"{planned.gradient_accumulation_steps} x {processes} processes){filled}",
            f"weights    {trained:,} of {whole:,} are trained"
            + (f" (an adapter of rank {config.lora.r})" if config.lora else ""),
            "time       not known before it runs",
            f"output     {config.folder}",
        ]
    )


def weights(config: TrainConfig, student: "Student") -> tuple[int, int]:
    """How many weights would be trained, of how many; the student is built of its config, without its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    remote: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    shape = AutoConfig.from_pretrained(student.where, revision=student.commit, **remote)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(shape, **remote)
        if config.lora is not None:
            from peft import get_peft_model

            from palign_hf.training.adapter import adapter

            model = get_peft_model(model, adapter(config.lora))
    return counted(model)


def counted(model: Any) -> tuple[int, int]:
    """Trained and all weights of a model, each counted once; of one in parts, those of all parts."""
    sizes = [(one.requires_grad, int(getattr(one, "ds_numel", one.numel()))) for one in model.parameters()]
    return sum(size for trained, size in sizes if trained), sum(size for _, size in sizes)


def _templated(tokenizer: Any, path: str | None) -> Any:
    """The tokenizer with the chat template that the trainer would give it, and the tokens that come with it."""
    if path is None:
        return tokenizer
    if os.path.isfile(path) and path.endswith((".jinja", ".j2")):
        tokenizer.chat_template = Path(path).read_text(encoding="utf-8")
        return tokenizer
    from transformers import AutoTokenizer

    source = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = source.get_chat_template()
    known = tokenizer.get_vocab()
    tokenizer.add_tokens([token for token in source.added_tokens_decoder.values() if token.content not in known])
    tokenizer.eos_token = source.eos_token
    return tokenizer
