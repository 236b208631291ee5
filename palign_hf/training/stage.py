"""The stage `palign train`: PAIRS or other rows in, a student and its report out.

All processes train one student together, so there are no shards: each makes the trainer; the first alone checks the
folder, generates replies and writes the report. The same command resumes an interrupted run from its last checkpoint.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from palign_hf.config.settings import one_line
from palign_hf.errors import UserError
from palign_hf.hub.artifacts import ModelArtifact
from palign_hf.hub.publish import PushedSettings, PushedStage
from palign_hf.runs.claims import refuse_read
from palign_hf.runs.launch import Ending, one_gpu
from palign_hf.runs.report import Timings, content_of, made_now
from palign_hf.runs.shards import REPORT, Shard
from palign_hf.runs.signals import Terminated
from palign_hf.schema import PAIRS
from palign_hf.students import Student, load_tokenizer, resolve_student
from palign_hf.terminal import bars_of_others
from palign_hf.training.data import read_lessons
from palign_hf.training.folder import StudentFolder
from palign_hf.training.report import divergence_message
from palign_hf.training.settings import TrainConfig, adapter
from palign_hf.weights import check_weights, not_finite, refuse_not_finite


if TYPE_CHECKING:
    from palign_hf.runs.forecast import Forecast
    from palign_hf.training.trainer import PAlignTrainer

# Raise it if the same settings and rows would give another student.
TRAINING_VERSION = 1


class TrainRun:
    """The part of one process. Weights are loaded in `work` only.

    Args:
        config ([`TrainConfig`]): The settings.
        shown (`bool`, *optional*, defaults to `True`): Whether this process prints: of several, only the first does.
    """

    def __init__(self, config: TrainConfig, shown: bool = True) -> None:
        from palign_hf.training.arguments import deciding

        self.config, self.shown, self.timings = config, shown, Timings()
        self.student = resolve_student(config.student, config.revision)
        refuse_read(config.folder, _sources(config, self.student))
        if shown:
            check_weights(self.student.where, self.student.commit, config.trust_remote_code)
        self.tokenizer = load_tokenizer(self.student, config.trust_remote_code)
        self.lessons = read_lessons(config, self.tokenizer)
        self.arguments = config.arguments(self.student.commit)
        self.deciding = deciding(self.arguments)
        self.folder = StudentFolder(config.folder, self.identity())
        self.folder.check(config.overwrite)
        self.trainer: PAlignTrainer | None = None
        self.own_bar = shown and "disable_tqdm" not in config.training and not bars_of_others()
        self._agreed: dict[str, Any] = {}
        self._measured: dict[str, float] = {}
        self._diverged: list[str] = []
        self.timings.lap("reading")

    def identity(self) -> dict[str, Any]:
        """All that decides the result, by name, so that an error can say what differs."""
        lora, train, measured = self.config.lora, self.lessons.train, self.lessons.measured
        own: dict[str, Any] = {
            "version": TRAINING_VERSION,
            "student": self.student.commit or self.student.content,
            "rows": len(train),
            "content": content_of(train, self.lessons.read),
            "baseline": str(self.config.baseline),
            "measured": None if measured is None else content_of(measured, self.lessons.read),
            "lora": None if lora is None else asdict(lora),
        }
        if not self.lessons.pairs:
            own |= {"layout": self.lessons.layout_name, "columns": list(self.lessons.read)}
        return own | self.deciding

    def agree(self) -> dict[str, Any]:
        """Whether the run has ended before, and else the checkpoint from which it resumes."""
        overwrite = self.config.overwrite
        ended = self.folder.ended() and not overwrite
        checkpoint = None if ended else self.folder.resume_point(overwrite)
        for why in self.folder.damaged():
            way = "restarts" if checkpoint is None else f"resumes from {checkpoint.name}"
            sys.stderr.write(f"{why} The training {way}.\n")
        self._agreed = {
            "identity": self.folder.identity,
            "ended": ended,
            "checkpoint": None if checkpoint is None else str(checkpoint),
        }
        return self._agreed

    def work(self, shard: Shard, agreed: Any) -> None:
        """Train, together with the other processes, and save the whole student."""
        if agreed["identity"] != self.folder.identity:
            raise UserError(
                f"Process {shard.index} has other settings or rows than process 0. Give all processes the same "
                f"recipe, student and data."
            )
        self._agreed = agreed
        if agreed["ended"]:
            return
        from palign_hf.training.outcome import divergence, save

        trainer = self._make_trainer()
        if trainer.is_world_process_zero():
            self.folder.begin()
        self.timings.lap("preparing")
        self._train(trainer, agreed["checkpoint"])
        self.timings.lap("training")
        if self.lessons.measured is not None:
            self._measured = trainer.evaluate()
            self.timings.lap("evaluation")
        self._diverged = divergence(trainer, self._measured)
        if not self._diverged and trainer.is_world_process_zero():
            with self.folder.saving():
                save(trainer)
        elif not self._diverged:
            save(trainer)
        self.timings.lap("saving")
        self.trainer = trainer

    def finish(self, count: int) -> Ending:
        """Generate replies, write report and card, and return the summary."""
        folder = self.folder.folder
        if self._agreed["ended"]:
            if signs := self.folder.diverged():
                return Ending(f"This training has run before: {divergence_message(signs)}", 1)
            return Ending(f"This training is finished: {folder} has the student. `--overwrite` restarts it.", 0)
        from palign_hf.training.outcome import (
            card,
            divergence_card,
            figures_of_evaluation,
            merge,
            push,
            replies,
            report,
            result_lines,
            sharded,
        )

        trainer, config = self.trainer, self.config
        assert trainer is not None
        replied = None if self._diverged else replies(trainer, config, self.lessons)
        self.timings.lap("replies")
        measured = figures_of_evaluation(self._measured)
        made = report(trainer, config, self.lessons, self.settings(count), measured, replied, self._diverged)
        if self._diverged:
            divergence_card(folder, made)
            self.folder.end(made.as_dict(), made.page())
            return Ending(f"{made.text()}\nreport:   {folder / REPORT}, {folder / 'report.md'}", 1)
        with self.folder.saving():
            merged = merge(trainer, folder / "merged") if config.lora and config.lora.merge else None
        card(trainer, config)
        self.folder.end(made.as_dict(), made.page())
        push(trainer, config)
        lines = [made.text(), *result_lines(config, merged)]
        if config.stops and replied is None:
            why = "the weights are sharded" if sharded(trainer) else "the rows have no prompts"
            lines.append(f"replies:  none, since {why}")
        return Ending("\n".join(lines), 0)

    def settings(self, processes: int) -> dict[str, Any]:
        """The settings and provenance of the run, for the report."""
        config, checkpoint = self.config, self._agreed["checkpoint"]
        lora = config.lora
        return {
            "student": config.student,
            "student_identity": self.student.identity,
            "input": {
                "source": config.pairs.source,
                "split": config.pairs.split,
                "layout": self.lessons.layout_name,
                "revision": self.lessons.commit or config.pairs.revision,
            },
            **({"baseline": str(config.baseline)} if self.lessons.pairs else {}),
            "weights": "all" if lora is None else f"an adapter of rank {lora.r}, alpha {lora.alpha}",
            "lora": None if lora is None else asdict(lora),
            "training": config.training,
            "processes": processes,
            "resumed_from": None if checkpoint is None else Path(checkpoint).name,
        } | made_now(self.timings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt | Terminated | OSError):
            error.add_note(self._resume_hint())
        self.folder.release()

    def _make_trainer(self) -> "PAlignTrainer":
        from palign_hf.training.trainer import PAlignTrainer

        lora = self.config.lora
        try:
            trainer = PAlignTrainer(
                self.student.where,
                self.arguments,
                train_dataset=self.lessons.train,
                eval_dataset=self.lessons.measured,
                processing_class=self.tokenizer,
                peft_config=None if lora is None else adapter(lora),
            )
        except UserError:
            raise
        except (ValueError, ImportError, OSError, RuntimeError) as error:
            # Errors with an `errno` are reported by `runs.launch`; a RuntimeError not about a package is a bug.
            if getattr(error, "errno", None) or (isinstance(error, RuntimeError) and "install" not in str(error)):
                raise
            raise UserError(
                f"`{self.config.student}` can't be trained with these settings: {one_line(error)}"
            ) from error
        from palign_hf.training.outcome import CheckpointRecorder, StepProgress, sharded

        model: Any = trainer.model
        refuse_not_finite(self.config.student, not_finite(model.named_parameters()))
        trainer.add_callback(CheckpointRecorder())
        if self.own_bar:
            trainer.add_callback(StepProgress())
        if lora is not None and lora.merge and sharded(trainer):
            raise UserError(
                "`lora.merge=True` can't merge weights that are sharded over devices. Leave it out and merge "
                "afterwards, or launch with recipes/accelerate/ddp.yaml or zero2.yaml."
            )
        return trainer

    def _train(self, trainer: "PAlignTrainer", checkpoint: str | None) -> None:
        import torch

        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"The device is out of memory: {one_line(error)} Lower `training.per_device_train_batch_size` "
                f"and raise `training.gradient_accumulation_steps` by the same factor, lower `training.max_length`, "
                f"train an adapter with `lora`, or use more GPUs (recipes/accelerate/fsdp2.yaml). "
                f"{self._resume_hint()}"
            ) from error

    def _resume_hint(self) -> str:
        """The checkpoint from which the same command resumes an interrupted run."""
        last = self.folder.checkpoint()
        if last is None and self.arguments.save_only_model:
            return (
                "Its checkpoints hold only the weights (`training.save_only_model`), so it can't resume: "
                "`--overwrite` restarts it."
            )
        if last is None:
            return (
                "No checkpoint was saved yet (`training.save_strategy`, `training.save_steps`), so the same command "
                "restarts it."
            )
        return f"The same command resumes from {last}."


class _StudentArtifact(ModelArtifact):
    """A student on the Hub, named by the baseline that it was trained on."""

    def suffix(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of a configuration's default name after the student's."""
        return (str(settings.get("baseline", "")),)


class TrainStage(PushedStage):
    """`palign train`, and `recipes/train.py` under accelerate."""

    name = "train"
    help = "train the student on its pairs, or on a baseline of them"
    settings = TrainConfig
    reads = PAIRS
    together = True
    result, inputs = "student", {"pairs.source": "align", "prefixes.source": "truncate"}
    from_head, usual = {"training.seed": "seed"}, {"prefixes.split": "train"}
    artifact = _StudentArtifact(kind="student", title="Student")

    def forwarded(self) -> dict[str, type]:
        """The section `training` is a `PAlignConfig`."""
        from palign_hf.training.config import PAlignConfig

        return {"training": PAlignConfig}

    def open(self, settings: TrainConfig, shown: bool = True) -> TrainRun:
        """Check the settings, and read the rows."""
        one_gpu("`accelerate launch` with recipes/train.py and recipes/accelerate/ddp.yaml takes all")
        return TrainRun(settings, shown)

    def results(self, settings: TrainConfig) -> list[tuple[str | None, Path]]:
        """The folder of the student: the merged one, if there is one."""
        merged = settings.lora is not None and settings.lora.merge
        return [(settings.hub.config_name, settings.folder / "merged" if merged else settings.folder)]

    def follow(self, settings: PushedSettings, ending: Ending) -> str | None:
        """Push the student, unless the training diverged."""
        if ending.failed:
            return None if settings.push_to_hub is None else "not pushed, since the training diverged"
        return super().follow(settings, ending)

    def forecast(self, settings: TrainConfig) -> "Forecast":
        """The forecast of the run; no weights are loaded and nothing is written."""
        from palign_hf.training.forecast import forecast

        student = resolve_student(settings.student, settings.revision)
        check_weights(student.where, student.commit, settings.trust_remote_code)
        tokenizer = load_tokenizer(student, settings.trust_remote_code)
        return forecast(settings, student, tokenizer, read_lessons(settings, tokenizer))

    def forecast_after(self, settings: TrainConfig, before: "Forecast") -> "Forecast":
        """The most that the run takes, before the pairs are there."""
        from palign_hf.training.forecast import forecast_after

        return forecast_after(settings, resolve_student(settings.student, settings.revision), before)


TRAIN = TrainStage()


def _sources(config: TrainConfig, student: Student) -> list[str]:
    """The sources that a training reads."""
    return [student.where, config.pairs.source, *([config.prefixes.source] if config.prefixes else [])]
