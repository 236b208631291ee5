"""Files that a training writes: checkpoint records, the student, merged adapters, the report and the card."""

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from palign_hf.errors import UserError, listed
from palign_hf.hub.retries import fault_of
from palign_hf.runs.parts import write_whole
from palign_hf.runs.shards import REPORT
from palign_hf.tables import escaped
from palign_hf.terminal import Progress
from palign_hf.training.data import Lessons
from palign_hf.training.features import IGNORED, LEARNED
from palign_hf.training.folder import record
from palign_hf.training.forecast import count_weights
from palign_hf.training.replies import has_prompt, stops
from palign_hf.training.report import TrainingReport, divergence_message
from palign_hf.training.settings import TrainConfig
from palign_hf.weights import not_finite


if TYPE_CHECKING:
    from trl import SFTConfig

    from palign_hf.training.trainer import PAlignTrainer


class CheckpointRecorder(TrainerCallback):
    """Writes `checkpoint.json` into each checkpoint once all processes have saved their part."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Called by every process after it has saved."""
        PartialState().wait_for_everyone()
        folder = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            record(folder, resumes=not args.save_only_model)


class StepProgress(TrainerCallback):
    """Shows the steps as every stage shows its rows: a bar in a terminal, a line every half minute elsewhere."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._steps = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Called once, also by a run that resumes."""
        self._steps = state.global_step
        if state.is_world_process_zero:
            self._bar = Progress(state.max_steps, "training", unit="step", before=state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Called after each step of the optimizer."""
        if self._bar is not None:
            self._bar.advance(state.global_step - self._steps)
        self._steps = state.global_step

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Called at the end, also of a training that stops early."""
        if self._bar is not None:
            self._bar.close()


def sharded(trainer: "PAlignTrainer") -> bool:
    """Whether the weights are sharded over devices, so that no process can use them alone."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return bool(trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))


def divergence(trainer: "PAlignTrainer", measured: dict[str, float]) -> list[str]:
    """The signs of divergence, the same on all processes: weights and metrics that are NaN or infinite.

    The loss alone is no sign: transformers logs 0 where it is NaN.
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
    # The gradient scaler of fp16 skips steps with infinite gradients.
    allowed = {"grad_norm"} if trainer.args.fp16 else set()
    for what, log in (("the last log", steps[-1] if steps else {}), ("the evaluation", measured)):
        odd = [name for name, value in _figures(log).items() if not math.isfinite(value) and name not in allowed]
        if odd:
            signs.append(f"in {what} {listed(odd)} {'is' if len(odd) == 1 else 'are'} not finite")
    return signs


def save(trainer: "PAlignTrainer") -> None:
    """Save the weights (of an adapter, only its own) and the tokenizer; called by all processes."""
    if trainer.is_fsdp_enabled:
        # Checkpoints may be sharded; a student is not.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model()


def replies(trainer: "PAlignTrainer", config: TrainConfig, lessons: Lessons) -> dict[str, Any] | None:
    """Counts over the student's replies to the first prompts, of held-out rows if there are any."""
    rows: Any = lessons.train if lessons.measured is None else lessons.measured
    if not config.stops or sharded(trainer) or not has_prompt(rows[0]):
        return None
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    tokenizer: Any = trainer._tokenizer
    settings: Any = trainer.args
    counts = stops(
        model,
        tokenizer,
        rows,
        tag_style=settings.tag_style,
        prompts=config.stops,
        max_new_tokens=config.stops_tokens,
    )
    return asdict(counts) | {"limit": config.stops_tokens}


def merge(trainer: "PAlignTrainer", folder: Path) -> Path:
    """Merge the adapter into the weights and save the student; the trainer's model can't be used afterwards."""
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
    replied: dict[str, Any] | None,
    signs: list[str],
) -> TrainingReport:
    """The report, from the trainer's log and its rows."""
    import torch

    logs, args = trainer.state.log_history, cast("SFTConfig", trainer.args)
    learned, reasons = _rows(trainer, lessons)
    account, rows = trainer.accounts.get("train"), trainer.train_dataset
    steps = [log for log in logs if "loss" in log]
    ran = next((log["train_runtime"] for log in reversed(logs) if "train_runtime" in log), None)
    trained, whole = count_weights(trainer.model)
    evaluated, held_out = trainer.accounts.get("eval"), lessons.measured
    device = trainer.args.device.type
    return TrainingReport(
        rows=lessons.given,
        statuses={"learned": learned, "left out": sum(reasons.values())},
        reasons=dict(sorted(reasons.items())),
        settings=settings,
        tokens=_tokens(rows),
        steps=trainer.state.global_step,
        epochs=float(trainer.state.epoch or 0),
        first=_figures(steps[0]) if steps else {},
        last=_honest(_figures(steps[-1])) if steps else {},
        measured=measured,
        measured_rows=(evaluated.trained or 0) if evaluated else len(held_out or ()),
        weights={"trained": trained, "all": whole},
        shortened=account.shortened if account else 0,
        full=0 if account or args.packing else _full(rows, args.max_length),
        seconds=ran,
        peak_memory=torch.cuda.max_memory_allocated() if device == "cuda" else None,
        stops=replied,
        diverged=signs,
    )


def divergence_card(folder: Path, made: TrainingReport) -> None:
    """Write a card that says that the training has no student; it replaces those of checkpoints."""
    write_whole(
        folder / "README.md", f"# {escaped(made.title())}\n\n> **Warning.** {divergence_message(made.diverged)}\n"
    )


def card(trainer: "PAlignTrainer", config: TrainConfig) -> None:
    """Write the model card, with the Hub id of the rows if they have one."""
    trainer.create_model_card(dataset_name=dataset_name(config))


def push(trainer: "PAlignTrainer", config: TrainConfig) -> None:
    """Push by the trainer, if its settings say so; an error changes nothing on the disk."""
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


def result_lines(config: TrainConfig, merged: Path | None) -> list[str]:
    """The paths of all results, and the next commands."""
    folder = config.folder
    whole = folder if config.lora is None else merged
    lines = [f"student:  {folder}" + (" (an adapter)" if config.lora else "")]
    if merged is not None:
        lines.append(f"merged:   {merged}")
    lines.append(f"report:   {folder / REPORT}, {folder / 'report.md'}")
    if whole is None:
        lines.append("next:     other stages need a whole student: `--lora.merge` writes one beside the adapter")
    else:
        lines.append(f"next:     `vllm serve {whole}`, `palign truncate --student {whole}`")
    return lines


def dataset_name(config: TrainConfig) -> str | None:
    """The Hub id of the rows; None for a folder or file of this machine."""
    source = config.pairs.source
    return None if Path(source).expanduser().exists() or source.count("/") != 1 else source


def figures_of_evaluation(measured: dict[str, float]) -> dict[str, float]:
    """The metrics of an evaluation, without its timings."""
    return {
        name.removeprefix("eval_"): value
        for name, value in _figures(measured).items()
        if not name.endswith(("runtime", "per_second", "epoch", "num_tokens"))
    }


def _figures(log: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in log.items() if isinstance(value, (int, float))}


def _honest(log: dict[str, float]) -> dict[str, float]:
    """The log, with a NaN loss if the loss of a segment is NaN: transformers logs 0."""
    lost = any(name.endswith("/nll") and not math.isfinite(value) for name, value in log.items())
    return log | {"loss": math.nan} if lost else log


def _rows(trainer: "PAlignTrainer", lessons: Lessons) -> tuple[int, Counter[str]]:
    """How many rows were trained on, and how many were left out, by reason."""
    reasons, account = Counter(lessons.left_out), trainer.accounts.get("train")
    if account is not None:
        reasons += Counter({f"not kept: {status}": count for status, count in account.not_kept.items()})
        reasons += Counter({"longer than `max_length`": account.overlong, "a tag in its own text": account.tagged})
        return account.trained or 0, reasons
    rows: Any = trainer.train_dataset
    # TRL drops rows whose labels are all cut off, and packs the others.
    dropped = 0 if cast("SFTConfig", trainer.args).packing else len(lessons.train) - len(rows)
    return len(lessons.train) - dropped, reasons + Counter({"no label within `max_length`": dropped})


def _tokens(rows: Any) -> dict[str, int]:
    """The tokens of an epoch, by segment; of plain data, by whether they are learned."""
    if "segment_ids" not in rows.column_names:
        found = {"prompt": 0, "target": 0}
        for batch in rows.select_columns(["labels"]).with_format("numpy").iter(1000):
            labels = np.concatenate(list(batch["labels"]))
            found["prompt"] += int((labels == IGNORED).sum())
            found["target"] += int((labels != IGNORED).sum())
        return found
    names = {0: "prompt"} | LEARNED
    found = dict.fromkeys(names.values(), 0)
    for batch in rows.select_columns(["segment_ids"]).with_format("numpy").iter(1000):
        counts = np.bincount(np.concatenate(list(batch["segment_ids"])).astype(np.int64), minlength=len(names))
        for segment, name in names.items():
            found[name] += int(counts[segment])
    return found


def _full(rows: Any, most: int | None) -> int:
    """Rows of `max_length` tokens, where TRL truncates."""
    lengths = (len(labels) for batch in rows.select_columns(["labels"]).iter(1000) for labels in batch["labels"])
    return 0 if most is None else sum(length >= most for length in lengths)
