"""A callback of the trainer that records each checkpoint once all processes have written their part of it."""

from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from palign_hf.training.checkpoints import record


class CheckpointRecorder(TrainerCallback):
    """Writes `checkpoint.json` beside what was saved."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Called by every process after it has saved."""
        PartialState().wait_for_everyone()
        folder = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            record(folder, resumes=not args.save_only_model)
