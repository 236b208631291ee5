"""What a training leaves behind: the student, its replies, the report and the card."""

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.errors import UserError, listed
from palign_hf.hub.retries import fault_of
from palign_hf.runs.parts import write_whole
from palign_hf.runs.shards import REPORT
from palign_hf.tables import escaped
from palign_hf.training.checks import stops
from palign_hf.training.data import Lessons
from palign_hf.training.forecast import counted
from palign_hf.training.report import TrainingReport, diverged_words
from palign_hf.training.segments import LEARNED
from palign_hf.training.settings import TrainConfig
from palign_hf.weights import not_finite


if TYPE_CHECKING:
    from palign_hf.training.trainer import PAlignTrainer


def sharded(trainer: "PAlignTrainer") -> bool:
    """Whether the weights lie in parts on several devices, so that no process could use them alone."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return bool(trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))


def divergence(trainer: "PAlignTrainer", measured: dict[str, float]) -> list[str]:
    """The signs that a training has diverged, the same on all processes: weights and figures that are no numbers.

    The loss is no sign: transformers logs 0 where it is NaN.
    """
    import torch

    model: Any = trainer.model
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    broken = not_finite(trained)
    everywhere: Any = trainer.accelerator.reduce(
        torch.tensor(float(len(broken)), device=trainer.accelerator.device), "sum"
    )
    signs = []
    if everywhere.item():
        count = f"{len(broken)} of {len(trained)}" if broken else "some"
        where = f" ({listed(broken[:3])}{' and more' if len(broken) > 3 else ''})" if broken else ""
        signs.append(f"{count} trained weights hold NaN or infinite numbers{where}")
    steps = [log for log in trainer.state.log_history if "loss" in log]
    # Steps whose gradients are too large for half precision are left out, which is as it should be.
    allowed = {"grad_norm"} if trainer.args.fp16 else set()
    for what, log in (("the last log", steps[-1] if steps else {}), ("the evaluation", measured)):
        odd = [name for name, value in _figures(log).items() if not math.isfinite(value) and name not in allowed]
        if odd:
            signs.append(f"in {what} {listed(odd)} {'is no number' if len(odd) == 1 else 'are no numbers'}")
    return signs


def save(trainer: "PAlignTrainer") -> None:
    """The weights (of an adapter, its own), and the tokenizer with its chat template; done by all processes."""
    if trainer.is_fsdp_enabled:
        # Checkpoints may be in parts; a student is whole.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model()


def replies(trainer: "PAlignTrainer", config: TrainConfig, lessons: Lessons) -> dict[str, Any] | None:
    """How the trained student ends its replies to the first problems; to those of the evaluation, if there is one."""
    if not config.stops or sharded(trainer):
        return None
    rows = lessons.train if lessons.measured is None else lessons.measured
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    tokenizer: Any = trainer._tokenizer
    settings: Any = trainer.args
    told = stops(
        model,
        tokenizer,
        rows,
        tags=settings.tags,
        prompts=config.stops,
        max_new_tokens=config.stops_tokens,
    )
    return asdict(told) | {"limit": config.stops_tokens}


def merge(trainer: "PAlignTrainer", folder: Path) -> Path:
    """The whole student with the adapter in its weights; the trainer's own model is spent by it."""
    whole: Any = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    whole.save_pretrained(folder)
    trainer._tokenizer.save_pretrained(folder)
    return folder


def report(
    trainer: "PAlignTrainer",
    config: TrainConfig,
    lessons: Lessons,
    settings: dict[str, Any],
    measured: dict[str, float],
    told: dict[str, Any] | None,
    signs: list[str],
) -> TrainingReport:
    """The figures of a training, out of what the trainer has logged and of its rows."""
    import torch

    account, logs = trainer.accounts["train"], trainer.state.log_history
    reasons = Counter(lessons.left_out)
    reasons += Counter({"longer than `max_length`": account.overlong, "a tag in its own text": account.tagged})
    steps = [log for log in logs if "loss" in log]
    ran = next((log["train_runtime"] for log in reversed(logs) if "train_runtime" in log), None)
    trained, whole = counted(trainer.model)
    eval_account = trainer.accounts.get("eval")
    device = trainer.args.device.type
    return TrainingReport(
        rows=lessons.given,
        statuses={"learned": account.trained or 0, "left out": sum(reasons.values())},
        reasons=dict(sorted(reasons.items())),
        settings=settings,
        tokens=_tokens(trainer.train_dataset),
        steps=trainer.state.global_step,
        epochs=float(trainer.state.epoch or 0),
        first=_figures(steps[0]) if steps else {},
        last=_honest(_figures(steps[-1])) if steps else {},
        measured=measured,
        measured_rows=(eval_account.trained or 0) if eval_account else 0,
        weights={"trained": trained, "all": whole},
        shortened=account.shortened,
        seconds=ran,
        peak_memory=torch.cuda.max_memory_allocated() if device == "cuda" else None,
        stops=told,
        diverged=signs,
    )


def card_of_none(folder: Path, made: TrainingReport) -> None:
    """A card that says that no student came of this training; checkpoints have brought theirs."""
    write_whole(folder / "README.md", f"# {escaped(made.title())}\n\n> **Warning.** {diverged_words(made.diverged)}\n")


def card(trainer: "PAlignTrainer", config: TrainConfig) -> None:
    """The model card, with the pairs if they have a name on the Hub."""
    trainer.create_model_card(dataset_name=dataset_name(config))


def push(trainer: "PAlignTrainer", config: TrainConfig) -> None:
    """To the Hub as the trainer does it, if its own settings say so; the disk stays as it is whatever comes of it."""
    if not trainer.args.push_to_hub:
        return
    try:
        trainer.push_to_hub(dataset_name=dataset_name(config))
        return
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
    raise UserError(
        f"The student is in `{config.folder}`, but pushing it failed: {fault.words.rstrip('.')}. Push it with `palign "
        f"publish {config.folder} OWNER/NAME`."
    )


def words(config: TrainConfig, merged: Path | None) -> list[str]:
    """Where everything is, and what to do next."""
    folder = config.folder
    whole = folder if config.lora is None else merged
    said = [f"student:  {folder}" + (" (an adapter)" if config.lora else "")]
    if merged is not None:
        said.append(f"merged:   {merged}")
    said.append(f"report:   {folder / REPORT}, {folder / 'report.md'}")
    if whole is None:
        said.append("next:     an adapter is no student by itself: with `--lora.merge` a whole one is written, too")
    else:
        said.append(f"next:     a student as any other: `vllm serve {whole}`, `palign truncate --student {whole}`")
    return said


def dataset_name(config: TrainConfig) -> str | None:
    """The pairs by the name that others know them under; a place on this machine is none."""
    source = config.pairs.source
    return None if Path(source).expanduser().exists() or source.count("/") != 1 else source


def figures_of_evaluation(measured: dict[str, float]) -> dict[str, float]:
    """What an evaluation says of the student, without how long it took."""
    return {
        name.removeprefix("eval_"): value
        for name, value in _figures(measured).items()
        if not name.endswith(("runtime", "per_second", "epoch", "num_tokens"))
    }


def _figures(log: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in log.items() if isinstance(value, (int, float))}


def _honest(log: dict[str, float]) -> dict[str, float]:
    """A log whose loss is NaN where those of its parts are: transformers makes it 0."""
    lost = any(name.endswith("/nll") and not math.isfinite(value) for name, value in log.items())
    return log | {"loss": math.nan} if lost else log


def _tokens(rows: Any) -> dict[str, int]:
    """The tokens of an epoch by what they are of."""
    names = {0: "prompt"} | LEARNED
    found = dict.fromkeys(names.values(), 0)
    for batch in rows.select_columns(["segment_ids"]).with_format("numpy").iter(1000):
        counts = np.bincount(np.concatenate(list(batch["segment_ids"])).astype(np.int64), minlength=len(names))
        for segment, name in names.items():
            found[name] += int(counts[segment])
    return found
