"""Forecast of a training for `--dry-run`: rows, tokens, steps, weights and memory, without loading weights."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.prompts import tag_style
from palign_hf.runs.forecast import UNKNOWN_TIME, Forecast, Sharding, TrainingForecast
from palign_hf.runs.parts import read_mapping
from palign_hf.students import StudentShape, shape_of
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


def forecast(
    config: TrainConfig, student: "Student", tokenizer: "PreTrainedTokenizerBase", lessons: Lessons
) -> Forecast:
    """The rows, tokens, steps, weights and memory of a training. Time depends on the device.

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
    trained, shape = weights(config, student)
    an_epoch, longest = round(int(counted[used_rows].sum()) * scale), int(counted.max())
    # What one pass computes, padding included: packed rows are full, others as long as the longest of their batch.
    pass_tokens = planned.per_device_train_batch_size * (most if planned.packing and most is not None else longest)
    epochs = planned.num_train_epochs if planned.max_steps <= 0 else steps * a_step / max(1, batches)
    load = training_forecast(config, steps, round(an_epoch * epochs), pass_tokens, trained, shape, processes)
    left = "".join(f"\n           {count:,} {reason}" for reason, count in lessons.left_out.items())
    over = "" if most is None else f"; {about}{round(int((~fitting).sum()) * scale):,} longer than {most:,} tokens"
    if over and plain:
        over += ", which TRL would truncate"
    elif over and planned.overlong != "error":
        over += ", which packing would cut" if parted else ", which would be left out"
    what = config.baseline if lessons.pairs else lessons.layout_name
    packed = f" (an adapter of rank {config.lora.r})" if config.lora else ""
    per_step = f"{planned.per_device_train_batch_size} x {planned.gradient_accumulation_steps} x {processes} processes"
    lines = [
        ("student", config.student),
        ("learned", f"{what}: {rows:,} of {lessons.given:,} rows{over}{left}"),
        *([("measured", f"{len(lessons.measured):,} rows")] if lessons.measured is not None else []),
        ("tokens", f"{about}{an_epoch:,} an epoch{learned}; longest row {int(tokens.max()):,}"),
        ("steps", f"{steps:,} of {a_step} rows ({per_step}){filled}"),
        ("weights", f"{trained:,} of {shape.parameters:,} are trained{packed}"),
        ("memory", load.text()),
        ("time", UNKNOWN_TIME),
        ("output", str(config.folder)),
    ]
    return Forecast(lines=tuple(lines), rows=rows, training=load, runner=_runner(config, load))


def forecast_after(config: TrainConfig, student: "Student", before: Forecast) -> Forecast:
    """The most that a training takes, before its rows are there.

    Args:
        config ([`TrainConfig`]): The settings.
        student ([`Student`]): The student.
        before ([`Forecast`]): The forecast of the alignment: each request gives a row at most.
    """
    planned = config.planned
    rows, longest = before.requests or before.rows, planned.max_length or 4 * before.request_tokens
    a_step = planned.per_device_train_batch_size * planned.gradient_accumulation_steps
    steps = (
        planned.max_steps if planned.max_steps > 0 else math.ceil(math.ceil(rows / a_step) * planned.num_train_epochs)
    )
    trained, shape = weights(config, student)
    pass_tokens = planned.per_device_train_batch_size * longest
    load = training_forecast(config, steps, steps * a_step * longest, pass_tokens, trained, shape, 1)
    lines = (
        ("learned", f"at most {rows:,} rows of {longest:,} tokens"),
        ("steps", f"at most {steps:,} of {a_step} rows"),
        ("memory", load.text()),
        ("time", UNKNOWN_TIME),
    )
    return Forecast(lines=lines, rows=rows, training=load, runner=_runner(config, load))


def _runner(config: TrainConfig, load: TrainingForecast) -> dict[str, Any]:
    """The student in the number format of the training, which decides its speed."""
    runner: dict[str, Any] = {"student": config.student, "revision": config.revision, "engine": "transformers"}
    dtype = "bfloat16" if load.compute_bytes == 2 else "float32"
    return runner | {"trust_remote_code": config.trust_remote_code, "engine_options": {"dtype": dtype}}


def training_forecast(
    config: TrainConfig,
    steps: int,
    tokens: int,
    batch_tokens: int,
    trained: int,
    shape: StudentShape,
    processes: int,
) -> TrainingForecast:
    """The sizes of a training by its settings and its launcher."""
    planned, given = config.planned, config.training
    half = bool(given.get("fp16") or given.get("bf16", not given.get("use_cpu", False)))
    loaded = (given.get("model_init_kwargs") or {}).get("dtype", "float32")
    shape = shape if loaded == "auto" else replace(shape, weight_bytes=2 if "16" in str(loaded) else 4)
    sharding = sharding_of(given)
    # peft trains an adapter in float32, and so does FSDP whatever it trains.
    trained_bytes = 4 if config.lora is not None or (sharding == "fsdp" and half) else shape.weight_bytes
    states, state_bytes = _OPTIMIZERS.get(str(getattr(planned.optim, "value", planned.optim)), (2, None))
    return TrainingForecast(
        steps=steps,
        tokens=tokens,
        batch_tokens=batch_tokens,
        trained=trained,
        shape=shape,
        compute_bytes=2 if half else shape.weight_bytes,
        trained_bytes=trained_bytes,
        states=states,
        state_bytes=state_bytes or (4 if sharding.startswith("zero") else trained_bytes),
        checkpointing=bool(planned.gradient_checkpointing),
        processes=processes,
        sharding=sharding,
    )


# Numbers that an optimizer keeps for each trained weight, and their bytes; the others keep two, as AdamW does.
_OPTIMIZERS: dict[str, tuple[int, int | None]] = {
    "sgd": (0, None),
    "adafactor": (0, None),
    "adagrad": (1, None),
    "rmsprop": (1, None),
    "adamw_bnb_8bit": (2, 1),
    "adamw_8bit": (2, 1),
    "paged_adamw_8bit": (2, 1),
    "lion_32bit": (1, 4),
    "lion_8bit": (1, 1),
}


def sharding_of(training: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Sharding:
    """What is divided among the processes, by the section `training` or the launcher's environment."""
    environment = os.environ if environment is None else environment
    deepspeed = training.get("deepspeed")
    if deepspeed or environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        if isinstance(deepspeed, str):
            deepspeed = read_mapping(Path(deepspeed))
        section = (deepspeed or {}).get("zero_optimization", {}) if deepspeed else {}
        stage = section.get("stage", environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2))
        found: dict[str, Sharding] = {"0": "none", "1": "zero1", "2": "zero2", "3": "zero3"}
        return found.get(str(stage), "zero2")
    fsdp = training.get("fsdp") or environment.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    return "fsdp" if fsdp else "none"


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


def weights(config: TrainConfig, student: "Student") -> tuple[int, StudentShape]:
    """The number of trained weights, and the student's sizes with the adapter's weights, from its config alone."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    remote: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    shape = AutoConfig.from_pretrained(student.where, revision=student.commit, **remote)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(shape, **remote)
        if config.lora is not None:
            from peft import get_peft_model

            model = get_peft_model(model, adapter(config.lora))
    trained, whole = count_weights(model)
    return trained, shape_of(shape, whole)


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
