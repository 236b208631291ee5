"""Forecast of a training for `--dry-run`: rows, tokens, steps and weights, without loading weights."""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.prompts import tag_style
from palign_hf.training.config import PAlignConfig
from palign_hf.training.data import Lessons
from palign_hf.training.features import LEARNED, given_features, row_features
from palign_hf.training.settings import TrainConfig, adapter
from palign_hf.training.turns import Turns


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from palign_hf.students import Student

# Rows that are tokenized; the figures are scaled to all rows.
_SAMPLE = 200


def forecast(config: TrainConfig, student: "Student", tokenizer: "PreTrainedTokenizerBase", lessons: Lessons) -> str:
    """The rows, tokens, steps and weights of a training, one a line. Time and memory depend on the machine.

    Args:
        config ([`TrainConfig`]): The settings.
        student ([`Student`]): The student.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Its tokenizer.
        lessons ([`Lessons`]): The rows, as `read_lessons` returns them.
    """
    planned, rows = config.planned, len(lessons.train)
    sample = lessons.train.select(range(0, rows, -(-rows // _SAMPLE)))
    turns = Turns(_templated(tokenizer, planned.chat_template_path))
    most = planned.max_length
    tokens, segments = _tokenized(sample, turns, lessons, planned)
    fitting = np.ones(len(tokens), bool) if most is None else tokens <= most
    plain = lessons.layout is None
    parted = planned.packing and planned.packing_strategy == "wrapped"
    used_rows = np.ones(len(tokens), bool) if parted or plain else fitting
    counted = tokens if most is None or not plain or planned.packing else np.minimum(tokens, most)
    scale = rows / len(sample)
    about = "" if len(sample) == rows else f"about (from {len(sample)} of them) "
    learned = ""
    if not plain:
        parts = np.array([part for row, used in zip(segments, used_rows, strict=True) if used for part in row])
        names = ((name.replace("_", " "), int((parts == part).sum())) for part, name in LEARNED.items())
        learned = "; of them " + ", ".join(f"{name} {round(count * scale):,}" for name, count in names)
    used = round(int(used_rows.sum()) * scale)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    a_step = planned.per_device_train_batch_size * planned.gradient_accumulation_steps * processes
    batches, filled = used, ""
    if planned.packing and most is not None:
        batches = math.ceil(int(counted[used_rows].sum()) * scale / most)
        filled = f", packed into about {batches:,} of {most:,} tokens"
    steps = planned.max_steps
    if steps <= 0:
        steps = math.ceil(math.ceil(batches / a_step) * planned.num_train_epochs)
    trained, whole = weights(config, student)
    left = "".join(f"\n           {count:,} {reason}" for reason, count in lessons.left_out.items())
    over = "" if most is None else f"; {about}{round(int((~fitting).sum()) * scale):,} longer than {most:,} tokens"
    if over and plain:
        over += ", which TRL would truncate"
    elif over and planned.overlong != "error":
        over += ", which packing would cut" if parted else ", which would be left out"
    what = config.baseline if lessons.pairs else lessons.layout_name
    return "\n".join(
        [
            f"student    {config.student}",
            f"learned    {what}: {rows:,} of {lessons.given:,} rows{over}{left}",
            *([f"measured   {len(lessons.measured):,} rows"] if lessons.measured is not None else []),
            f"tokens     {about}{round(int(counted[used_rows].sum()) * scale):,} an epoch{learned}; "
            f"longest row {int(tokens.max()):,}",
            f"steps      {steps:,} of {a_step} rows ({planned.per_device_train_batch_size} x "
            f"{planned.gradient_accumulation_steps} x {processes} processes){filled}",
            f"weights    {trained:,} of {whole:,} are trained"
            + (f" (an adapter of rank {config.lora.r})" if config.lora else ""),
            "time       unknown before the run",
            f"output     {config.folder}",
        ]
    )


def _tokenized(sample: Any, turns: Turns, lessons: Lessons, planned: PAlignConfig) -> tuple[np.ndarray, list[Any]]:
    """The tokens of each row, and the segments of its tokens, which plain data has none of."""
    style, layout = tag_style(planned.tag_style), lessons.layout
    shorten = planned.max_length if planned.overlong == "truncate_prefix" else None
    if layout is None:
        return np.array([_plain_tokens(row, turns, planned.dataset_text_field) for row in sample]), []
    if layout == "tokens":
        read = [given_features(row) for row in sample]
    else:
        read = [row_features(row, turns, layout, style, shorten) for row in sample]
    return np.array([row["tokens"] for row in read]), [row["segment_ids"] for row in read]


def _plain_tokens(row: dict[str, Any], turns: Turns, text_field: str) -> int:
    """The tokens of a row of plain data, as TRL tokenizes it."""
    from trl import maybe_convert_to_chatml

    if "input_ids" in row:
        return len(row["input_ids"])
    row = maybe_convert_to_chatml(dict(row))
    whole = row["prompt"] + row["completion"] if "prompt" in row else row.get("messages") or row[text_field]
    if isinstance(whole, str):
        return len(turns.encode_prompt(whole)) + (not whole.endswith(turns.end_token))
    more: dict[str, Any] = dict(row.get("chat_template_kwargs") or {})
    if tools := row.get("tools"):
        more["tools"] = json.loads(tools) if isinstance(tools, str) else tools
    return len(turns.encode_conversation(whole, more))


def weights(config: TrainConfig, student: "Student") -> tuple[int, int]:
    """The number of trained weights and of all, from the student's config alone."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    remote: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    shape = AutoConfig.from_pretrained(student.where, revision=student.commit, **remote)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(shape, **remote)
        if config.lora is not None:
            from peft import get_peft_model

            model = get_peft_model(model, adapter(config.lora))
    return count_weights(model)


def count_weights(model: Any) -> tuple[int, int]:
    """The number of trained weights of a model and of all; of a sharded model, those of all shards."""
    sizes = [(one.requires_grad, int(getattr(one, "ds_numel", one.numel()))) for one in model.parameters()]
    return sum(size for trained, size in sizes if trained), sum(size for _, size in sizes)


def _templated(tokenizer: Any, path: str | None) -> Any:
    """The tokenizer with the chat template of `chat_template_path`, and its special tokens, as TRL sets them."""
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
