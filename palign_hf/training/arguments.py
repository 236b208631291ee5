"""Checks of the section `training` of a recipe: fields of `PAlignConfig` by name, type and value.

Settings that depend on the machine (half precision without a GPU, a launcher's own settings) are checked when the run
begins, so a recipe for GPUs can be checked on any machine.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any

from palign_hf.config.resolve import refuse_renamed
from palign_hf.config.settings import one_line, refuse_secrets
from palign_hf.config.values import Bounds, Unfit, choices, fit, hints_of, spelt
from palign_hf.config.values import shown_value as as_text
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.training.config import PAlignConfig


# Fields that a recipe sets elsewhere, or that the run sets by itself.
_ELSEWHERE = {
    "output_dir": "it is `output_dir` of the recipe",
    "trust_remote_code": "it is set beside `training` in the recipe",
    "resume_from_checkpoint": "a run resumes from its last checkpoint by itself",
    "do_train": "`palign train` always trains",
    "do_eval": "`eval` of the recipe decides about evaluation",
    "do_predict": "`eval` of the recipe decides about evaluation",
    "local_rank": "the launcher sets it",
}
# Fields that depend on the machine, with values that every machine accepts.
_ANYWHERE: dict[str, Any] = {"use_cpu": True, "bf16": False, "fp16": False, "tf32": None, "torch_compile": False}
_ANYWHERE |= {"bf16_full_eval": False, "fp16_full_eval": False, "deepspeed": None, "fsdp": None, "fsdp_config": None}
# Prefixes of the environment variables that launchers set.
_LAUNCHER = ("ACCELERATE_", "FSDP_", "RANK", "LOCAL_", "WORLD_SIZE", "MASTER_", "OMPI_", "PMI_", "MV2_", "CCL_")
_AT_LEAST_ONE = {
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("max_length", "dataset_num_proc", "save_total_limit"),
}
_NOT_NEGATIVE = {"learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "num_train_epochs", "seed"}
_NOT_NEGATIVE |= {"logging_steps", "save_steps", "eval_steps", "eval_delay"}
# Prefixes of fields that don't change the result: logging, saving, the Hub, and how a batch is split over devices.
_REPORTING: tuple[str, ...] = (
    *("logging_", "log_", "save_", "hub_", "trackio_", "dataloader_", "ddp_", "eval_", "include_", "do_", "debug"),
    *(
        "push_to_hub",
        "report_to",
        "run_name",
        "project",
        "disable_tqdm",
        "dataset_num_proc",
        "output_dir",
        "sanity_checks",
    ),
    *("skip_memory_metrics", "resume_from_checkpoint", "local_rank", "enable_jit_checkpoint", "per_device_"),
    *("gradient_accumulation_steps", "prediction_loss_only", "batch_eval_metrics", "trust_remote_code"),
    *("restore_callback_states_from_checkpoint", "torch_empty_cache_steps"),
)
_DTYPES = ("auto", "bfloat16", "float16", "float32")
_DECIDES = ("dataloader_drop_last",)
_ROWS = ("per_device_train_batch_size", "gradient_accumulation_steps")
# What the identity of a training calls a setting that had another name when the first ones were written.
_AS_RECORDED = {"tag_style": "tags"}


def checked(training: Mapping[str, Any]) -> dict[str, Any]:
    """The section with each value converted to the type of its field.

    Raises:
        UserError: If a field is unknown, or its value can't be right.
    """
    refuse_secrets(training, section="training.")
    known, found = _fields(), {}
    for name, value in training.items():
        given = f"`training.{shown(name)}={as_text(value)}`"
        if name not in known:
            refuse_renamed([name], known, UserError, "training.")
            raise UserError(f"`training.{shown(name)}` is no field of `PAlignConfig`{nearest(shown(name), known)}.")
        if name in _ELSEWHERE:
            raise UserError(f"{given} can't be set here: {_ELSEWHERE[name]}. Leave it out.")
        least = 1 if name in _AT_LEAST_ONE else 0 if name in _NOT_NEGATIVE else None
        try:
            found[name] = fit(known[name], value, Bounds(least=least), plain=True)
            if name.endswith("_kwargs") and isinstance(value, str):
                raise Unfit("must be a mapping or null")
        except Unfit as unfit:
            raise UserError(f"{given} {unfit}.{_yes_and_no(known[name], value)}") from None
    _check_loading(found.get("model_init_kwargs") or {})
    planned(found)
    return found


def _check_loading(given: Mapping[str, Any]) -> None:
    """Check how the student is loaded."""
    section = "`training.model_init_kwargs."
    if "dtype" in given and given["dtype"] not in _DTYPES:
        raise UserError(f"{section}dtype={as_text(given['dtype'])}` is unknown. Choose one of {listed(_DTYPES)}.")
    for name in ("revision", "trust_remote_code"):
        if name in given:
            raise UserError(
                f"{section}{name}={as_text(given[name])}` is set beside `training` in a recipe. Move it there."
            )


def planned(training: Mapping[str, Any]) -> PAlignConfig:
    """The settings with values that any machine accepts."""
    with _without_launcher():
        return _made({**training, "output_dir": "student"} | _ANYWHERE)


def arguments(given: Mapping[str, Any], commit: str | None) -> PAlignConfig:
    """The settings on this machine; a student of the Hub is loaded at `commit`."""
    model = dict(given.get("model_init_kwargs") or {})
    if commit is not None:
        model["revision"] = commit
    return _made({**given, "model_init_kwargs": model})


def decides(name: str) -> bool:
    """Whether a field of a recipe can change the student: rows of a step count, and not how they are divided."""
    return name in _DECIDES or name.startswith(_ROWS) or not name.startswith(_REPORTING)


def deciding(config: PAlignConfig) -> dict[str, Any]:
    """The settings that change the result, as plain data, with the rows of a step."""
    found: dict[str, Any] = {}
    for name in _fields():
        if name in _DECIDES or not name.startswith(_REPORTING):
            found[_AS_RECORDED.get(name, name)] = _plain(getattr(config, name))
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
    return found | {"rows_a_step": rows, "parted": _sharding(config)}


def _sharding(config: PAlignConfig) -> str:
    """How weights and optimizer are sharded over devices: checkpoints are sharded in the same way."""
    if config.deepspeed or os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return f"DeepSpeed, {config.world_size} processes"
    if config.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return "FSDP"
    return "not at all"


def _made(given: Mapping[str, Any]) -> PAlignConfig:
    try:
        return PAlignConfig(**given)
    except UserError as error:
        raise UserError(f"`training`: {error}") from error
    except (ValueError, TypeError, ImportError, OSError, KeyError, AttributeError) as error:
        way_out = ""
        if "bf16" in str(error) or "fp16" in str(error):
            way_out = " Without a GPU, train with `training.use_cpu: true` and `training.bf16: false`."
        raise UserError(f"`training` can't be carried out: {one_line(error).rstrip('.')}.{way_out}") from error


@contextmanager
def _without_launcher() -> Iterator[None]:
    """Hide the launcher's environment, so that checked settings join no process group and keep accelerate's state."""
    from accelerate.state import AcceleratorState, PartialState

    hidden = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(_LAUNCHER)}
    states = {kind: dict(kind._shared_state) for kind in (AcceleratorState, PartialState)}
    try:
        yield
    finally:
        os.environ |= hidden
        AcceleratorState._reset_state(reset_partial_state=True)
        for kind, state in states.items():
            kind._shared_state.update(state)


@cache
def _fields() -> dict[str, Any]:
    hints = hints_of(PAlignConfig)
    return {one.name: hints[one.name] for one in fields(PAlignConfig) if one.init}


def _yes_and_no(hint: Any, value: Any) -> str:
    """A hint for `no` without quotes, which YAML reads as false."""
    texts = str in spelt(hint) or any(isinstance(one, str) for one in choices(hint))
    return ' YAML reads `no` as false: write "no" in quotes.' if value is False and texts else ""


def _plain(value: Any) -> Any:
    """A setting as JSON."""
    if isinstance(value, Enum):
        return value.value
    try:
        return json.loads(json.dumps(value))
    except TypeError:  # an object of another library
        return str(value)
