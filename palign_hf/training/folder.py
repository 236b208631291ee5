"""The folder of a training: whose it is, where it goes on from, and that nothing of another run stays in it."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError
from palign_hf.runs.claims import STUDENT
from palign_hf.runs.parts import Parts, read_mapping
from palign_hf.runs.shards import REPORT, Output, difference


# What a training may write: also the code of a student, which only a finished one names.
_WRITES = (*STUDENT, "*.py", "merged/*.py")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class StudentFolder(Output):
    """`identity` is what makes two trainings the same one."""

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        super().__init__(folder, json.loads(json.dumps(dict(identity))), _WRITES)
        self._begun = Parts(self.folder / ".run" / "training")

    def check(self, replace: bool) -> None:
        """Refuse what another run has written or begun; nothing is changed yet."""
        self.claim(replace)
        if not replace:
            self._refuse_begun()

    def goes_on(self) -> Path | None:
        """The checkpoint from which this run goes on, if it was begun."""
        return self.checkpoint() if self._begun.identity() == self.identity else None

    def begin(self) -> None:
        """Make it this run's own, alone; what another has left, or what is to be done anew, is cleared away."""
        anew = self.finished() or self._begun.identity() != self.identity
        before = self.files.own() or set()
        self._begun.claim(self.identity)
        if anew:
            self.files.remove(before)
        self.files.begin(self.identity, patterns=STUDENT)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Note what is written meanwhile, whatever a student's own code and tokenizer call their files."""
        before = self._stamps()
        try:
            yield
        finally:
            after = self._stamps()
            self.files.note(*(name for name, stamp in after.items() if before.get(name) != stamp))

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
        told = difference(self._begun.identity() or {}, self.identity).replace("the result of", "checkpoints of", 1)
        if told:
            raise UserError(
                f"`output={self.folder}` holds {told}. Give another folder, or replace it with `replace=True`."
            )

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """When the files of the student were written, by name."""
        homes = [self.folder, self.folder / "merged"]
        files = [file for home in homes if home.is_dir() for file in home.iterdir() if file.is_file()]
        found = {file.relative_to(self.folder).as_posix(): file.lstat() for file in files}
        return {name: (stat.st_mtime_ns, stat.st_ino) for name, stat in found.items()}
