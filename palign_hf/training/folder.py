"""The folder of a training: whose it is, where it goes on from, and that nothing of another run stays in it."""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError
from palign_hf.runs.parts import Parts, read_mapping
from palign_hf.runs.shards import REPORT, Output, difference


# What a training writes, and nothing that could be someone's own.
_STUDENT = ("config.json", "adapter_config.json", "*.safetensors", "*.safetensors.index.json")
_WRITTEN = (*_STUDENT, "report.json", "report.md", "training_args.bin", "merged", "checkpoint-*")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class StudentFolder(Output):
    """`identity` is what makes two trainings the same one."""

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        super().__init__(folder, json.loads(json.dumps(dict(identity))))
        self._begun = Parts(self.folder / ".run" / "training")

    def check(self, replace: bool) -> None:
        """Refuse what another run has written or begun; nothing is changed yet."""
        if not replace:
            self.claim()
            self._refuse_begun()

    def goes_on(self) -> Path | None:
        """The checkpoint from which this run goes on, if it was begun."""
        return self.checkpoint() if self._begun.identity() == self.identity else None

    def begin(self) -> None:
        """Make it this run's own, alone; what another has left, or what is to be done anew, is cleared away."""
        anew = self.finished() or self._begun.identity() != self.identity
        self._begun.claim(self.identity)
        if anew:
            self._clear()

    def release(self) -> None:
        """Let others write to it."""
        self._begun.release()

    def finished(self) -> bool:
        """Whether the report of this very run is there."""
        told = read_mapping(self.folder / REPORT)
        return told is not None and told.get("run") == self.identity

    def report(self) -> dict[str, Any]:
        """What a finished run has reported."""
        return read_mapping(self.folder / REPORT) or {}

    def checkpoint(self) -> Path | None:
        """The last one that is whole: of what was broken off while it was written, the trainer's state is missing."""
        found = {
            int(match[1]): path
            for path in self.folder.glob("checkpoint-*")
            if (match := _CHECKPOINT.fullmatch(path.name)) and (path / "trainer_state.json").exists()
        }
        return found[max(found)] if found else None

    def _refuse_begun(self) -> None:
        """What was only begun is hours of work, too."""
        if self.finished():
            return
        held = self._begun.identity()
        if held is None and any(any(self.folder.glob(name)) for name in (*_STUDENT, "checkpoint-*")):
            told = "a student, or checkpoints of one, without a report, so what made them isn't known"
        else:
            told = difference(held or {}, self.identity).replace("the result of", "checkpoints of", 1)
        if told:
            raise UserError(
                f"`output={self.folder}` holds {told}. Give another folder, or replace it with `replace=True`."
            )

    def _clear(self) -> None:
        for name in _WRITTEN:
            for path in self.folder.glob(name):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def refuse_read(folder: Path, sources: Iterable[str]) -> None:
    """A folder that a run may clear must not hold what the run reads."""
    for name in sources:
        source = Path(name).expanduser()
        if source.exists() and (folder.resolve() in (source.resolve(), *source.resolve().parents)):
            raise UserError(f"`output={folder}` holds `{name}`, which is read for this training. Give another folder.")
