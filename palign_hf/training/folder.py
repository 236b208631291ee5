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
from palign_hf.training.checkpoints import Fault, fault


# What a training may write: also the code of a student, which only a finished one names.
_WRITES = (*STUDENT, "*.py", "merged/*.py")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class StudentFolder(Output):
    """`identity` is what makes two trainings the same one."""

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        super().__init__(folder, json.loads(json.dumps(dict(identity))), _WRITES)
        self._begun = Parts(self.folder / ".run" / "training")
        self._passed_over: dict[Path, Fault] = {}

    def check(self, replace: bool) -> None:
        """Refuse what another run has written or begun; nothing is changed yet."""
        self.claim(replace)
        if not replace:
            self._refuse_begun()

    def goes_on(self, replace: bool = False) -> Path | None:
        """The checkpoint from which this run goes on, if it was begun; later ones that are damaged are passed over.

        Where all are damaged, that is for a person to decide: it may be days of work.
        """
        if self._begun.identity() != self.identity:
            return None
        found, faults = self._whole()
        self._passed_over = faults
        damaged = {path: fault for path, fault in faults.items() if not fault.unfinished}
        if found is None and damaged and not replace:
            path, why = next(iter(damaged.items()))
            raise UserError(
                f"`output={self.folder}` holds checkpoints of this run, but it can't go on from any: `{path.name}`: "
                f"{why.reason}. Put that right, or train anew with `replace=True`."
            )
        return found

    def passed_over(self) -> list[str]:
        """The checkpoints that this run can't go on from, and why."""
        return [
            f"`{path}` can't be gone on from: {why.reason}."
            for path, why in self._passed_over.items()
            if not why.unfinished
        ]

    def begin(self) -> None:
        """Make it this run's own, alone; what another has left, or what is to be done anew, is cleared away."""
        anew = self.ended() or self._begun.identity() != self.identity
        before = self.files.own() or set()
        self._begun.claim(self.identity)
        # What is saved again must not stand beside files that aren't its own.
        damaged = {path.name for path in self._passed_over}
        self.files.remove(before if anew else {name for name in before if name.split("/")[0] in damaged})
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

    def ended(self) -> bool:
        """Whether the report of this very run is there, whatever came of it."""
        told = read_mapping(self.folder / REPORT)
        return told is not None and told.get("run") == self.identity

    def finished(self) -> bool:
        """Whether this very run has made a student: one that diverged has not."""
        return self.ended() and not self.diverged()

    def diverged(self) -> list[str]:
        """The signs by which this very run has diverged, as its report has them."""
        told = self.report().get("diverged") if self.ended() else None
        return [str(sign) for sign in told] if isinstance(told, list) else []

    def report(self) -> dict[str, Any]:
        """What a finished run has reported."""
        return read_mapping(self.folder / REPORT) or {}

    def checkpoint(self) -> Path | None:
        """The last one that is whole."""
        return self._whole()[0]

    def _whole(self) -> tuple[Path | None, dict[Path, Fault]]:
        """The last checkpoint that is whole, and those after it, each with what is wrong with it."""
        numbered = {
            int(match[1]): path
            for path in self.folder.glob("checkpoint-*")
            if (match := _CHECKPOINT.fullmatch(path.name)) and path.is_dir()
        }
        faults: dict[Path, Fault] = {}
        for _, path in sorted(numbered.items(), reverse=True):
            why = fault(path)
            if why is None:
                return path, faults
            faults[path] = why
        return None, faults

    def _refuse_begun(self) -> None:
        """What was only begun is hours of work, too."""
        if self.ended():
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
