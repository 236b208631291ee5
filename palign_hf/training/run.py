"""Training as a stage that is started: PAIRS in, a whole student out, with the report of what it learned.

All processes train one student together, so there are no shards: each of them makes the trainer, and the first one
alone looks at the folder, lets the student reply, and writes the report. What was begun goes on from its last
checkpoint when the same command is given again.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from palign_hf.config.settings import one_line
from palign_hf.errors import UserError
from palign_hf.hub.stage import PushedSettings, PushedStage
from palign_hf.runs.claims import refuse_read
from palign_hf.runs.launch import Ending, one_gpu
from palign_hf.runs.provenance import Timings, content_of, made_now
from palign_hf.runs.shards import REPORT, Shard
from palign_hf.runs.signals import Terminated
from palign_hf.students import Student, load_tokenizer, resolve_student
from palign_hf.training.data import READ, read_lessons
from palign_hf.training.folder import StudentFolder
from palign_hf.training.report import diverged_words
from palign_hf.training.settings import TrainConfig
from palign_hf.weights import check_weights, not_finite, refuse_not_finite


if TYPE_CHECKING:
    from palign_hf.training.trainer import PAlignTrainer

# Raise it if the same settings and rows would give another student.
TRAINING_VERSION = 1


class TrainRun:
    """One process's part. Nothing is loaded that has weights until `work`."""

    def __init__(self, config: TrainConfig, shown: bool = True) -> None:
        """`shown` is whether this process may say anything: of several, only the first."""
        from palign_hf.training.arguments import deciding

        self.config, self.shown, self.timings = config, shown, Timings()
        self.student = resolve_student(config.student, config.revision)
        refuse_read(config.folder, _read(config, self.student))
        if shown:
            check_weights(self.student.where, self.student.commit, config.trust_remote_code)
        self.tokenizer = load_tokenizer(self.student, config.trust_remote_code)
        self.lessons = read_lessons(config, self.tokenizer)
        self.arguments = config.arguments(self.student.commit)
        self.deciding = deciding(self.arguments)
        self.folder = StudentFolder(config.folder, self.identity())
        self.folder.check(config.replace)
        self.trainer: PAlignTrainer | None = None
        self._begun: dict[str, Any] = {}
        self._measured: dict[str, float] = {}
        self._diverged: list[str] = []
        self.timings.lap("reading")

    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same one, by name, so that a refusal says what differs."""
        lora, train, measured = self.config.lora, self.lessons.train, self.lessons.measured
        own = {
            "version": TRAINING_VERSION,
            "student": self.student.commit or self.student.content,
            "rows": len(train),
            "content": content_of(train, READ),
            "baseline": str(self.config.baseline),
            "measured": None if measured is None else content_of(measured, READ),
            "lora": None if lora is None else asdict(lora),
        }
        return own | self.deciding

    def agree(self) -> dict[str, Any]:
        """Whether there is anything to do, and from where."""
        replace = self.config.replace
        ended = self.folder.ended() and not replace
        goes_on = None if ended else self.folder.goes_on(replace)
        for why in self.folder.passed_over():
            way = "begins anew" if goes_on is None else f"goes on from {goes_on.name}"
            sys.stderr.write(f"{why} The training {way}.\n")
        self._begun = {
            "identity": self.folder.identity,
            "ended": ended,
            "checkpoint": None if goes_on is None else str(goes_on),
        }
        return self._begun

    def work(self, shard: Shard, agreed: Any) -> None:
        """Train, together with the other processes, and save the whole student."""
        if agreed["identity"] != self.folder.identity:
            raise UserError(
                f"Process {shard.index} has other settings or rows than process 0. Give all of them the same recipe, "
                f"student and data."
            )
        self._begun = agreed
        if agreed["ended"]:
            return
        from palign_hf.training.outcome import divergence, save

        trainer = self._made()
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
        """Let the student reply, write the report, and say how it went and what to do next."""
        folder = self.folder.folder
        if self._begun["ended"]:
            if signs := self.folder.diverged():
                return Ending(f"This training was run before: {diverged_words(signs)}", 1)
            return Ending(f"This training is finished: {folder} has the student. `--replace` trains it anew.", 0)
        from palign_hf.training.outcome import (
            card,
            card_of_none,
            figures_of_evaluation,
            merge,
            push,
            replies,
            report,
            words,
        )

        trainer, config = self.trainer, self.config
        assert trainer is not None
        told = None if self._diverged else replies(trainer, config, self.lessons)
        self.timings.lap("replies")
        measured = figures_of_evaluation(self._measured)
        made = report(trainer, config, self.lessons, self.settings(count), measured, told, self._diverged)
        if self._diverged:
            card_of_none(folder, made)
            self.folder.end(made.as_dict(), made.page())
            return Ending(f"{made.text()}\nreport:   {folder / REPORT}, {folder / 'report.md'}", 1)
        with self.folder.saving():
            merged = merge(trainer, folder / "merged") if config.lora and config.lora.merge else None
        card(trainer, config)
        self.folder.end(made.as_dict(), made.page())
        push(trainer, config)
        lines = [made.text(), *words(config, merged)]
        if config.stops and told is None:
            lines.append("replies:  none were asked for, since the weights lie in parts on several devices")
        return Ending("\n".join(lines), 0)

    def settings(self, processes: int) -> dict[str, Any]:
        """What made the student: for the report."""
        config, began = self.config, self._begun["checkpoint"]
        lora = config.lora
        return {
            "student": config.student,
            "student_identity": self.student.identity,
            "input": {
                "source": config.pairs.source,
                "split": config.pairs.split,
                "revision": self.lessons.commit or config.pairs.revision,
            },
            "baseline": str(config.baseline),
            "weights": "all" if lora is None else f"an adapter of rank {lora.r}, alpha {lora.alpha}",
            "lora": None if lora is None else asdict(lora),
            "training": config.training,
            "processes": processes,
            "went_on_from": None if began is None else Path(began).name,
        } | made_now(self.timings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt | Terminated | OSError):
            error.add_note(self._going_on())
        self.folder.release()

    def _made(self) -> "PAlignTrainer":
        from palign_hf.training.adapter import adapter
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
            # The machine's own refusals are told elsewhere, and what isn't about a package is a fault of a program.
            if getattr(error, "errno", None) or (isinstance(error, RuntimeError) and "install" not in str(error)):
                raise
            raise UserError(f"`{self.config.student}` can't be trained so: {one_line(error)}") from error
        from palign_hf.training.outcome import sharded
        from palign_hf.training.recorder import CheckpointRecorder

        model: Any = trainer.model
        refuse_not_finite(self.config.student, not_finite(model.named_parameters()))
        trainer.add_callback(CheckpointRecorder())
        if lora is not None and lora.merge and sharded(trainer):
            raise UserError(
                "`lora.merge=True`: the weights would lie in parts on several devices, and are merged only as a "
                "whole. Leave it out and merge afterwards, or take recipes/accelerate/ddp.yaml or zero2.yaml."
            )
        return trainer

    def _train(self, trainer: "PAlignTrainer", checkpoint: str | None) -> None:
        import torch

        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"The memory of the device is full: {one_line(error)} Lower `training.per_device_train_batch_size` "
                f"and raise `training.gradient_accumulation_steps` as much, lower `training.max_length`, train an "
                f"adapter with `lora`, or take more GPUs (recipes/accelerate/fsdp2.yaml). {self._going_on()}"
            ) from error

    def _going_on(self) -> str:
        """Where a run that is broken off will go on: half a step is nothing that one could save."""
        last = self.folder.checkpoint()
        if last is None and self.arguments.save_only_model:
            return (
                "Its checkpoints have the weights alone (`training.save_only_model`), from which no training goes on: "
                "`--replace` begins anew."
            )
        if last is None:
            return (
                "No checkpoint was saved yet (`training.save_strategy`, `training.save_steps`), so the same command "
                "begins anew."
            )
        return f"The same command goes on from {last}."


class TrainStage(PushedStage):
    """`palign train`, and `recipes/train.py` under accelerate."""

    repo_type = "model"
    name = "train"
    settings = TrainConfig
    together = True

    def open(self, settings: TrainConfig, shown: bool = True) -> TrainRun:
        """Check everything, and read the pairs."""
        one_gpu("`accelerate launch` with recipes/train.py and recipes/accelerate/ddp.yaml takes all")
        return TrainRun(settings, shown)

    def results(self, settings: TrainConfig) -> list[tuple[str | None, Path]]:
        """The student: the whole one, where it was merged."""
        merged = settings.lora is not None and settings.lora.merge
        return [(settings.hub.config_name, settings.folder / "merged" if merged else settings.folder)]

    def follow(self, settings: PushedSettings, ending: Ending) -> str | None:
        """Push the student, if there is one."""
        if ending.failed:
            return None if settings.push_to_hub is None else "not pushed, since the training diverged"
        return super().follow(settings, ending)

    def forecast(self, settings: TrainConfig) -> str:
        """What the run would do; no weights are loaded and nothing is written."""
        from palign_hf.training.forecast import forecast

        student = resolve_student(settings.student, settings.revision)
        check_weights(student.where, student.commit, settings.trust_remote_code)
        tokenizer = load_tokenizer(student, settings.trust_remote_code)
        return forecast(settings, student, tokenizer, read_lessons(settings, tokenizer))


TRAIN = TrainStage()


def _read(config: TrainConfig, student: Student) -> list[str]:
    """Where a training reads, on this machine or elsewhere."""
    return [student.where, config.pairs.source, *([config.prefixes.source] if config.prefixes else [])]
