"""The output folder of a training, and which of its checkpoints can be resumed.

transformers resumes from any checkpoint folder: without the optimizer state it ends in another student, without a
warning, and a damaged file ends every try in a traceback. So each checkpoint has a record with the size and the hash
of each file, which is checked without unpickling anything.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError
from palign_hf.runs.claims import STUDENT
from palign_hf.runs.parts import Parts, read_mapping, write_whole
from palign_hf.runs.shards import REPORT, OutputFolder, difference
from palign_hf.students import content_hash
from palign_hf.weights import header


RECORD = "checkpoint.json"
_STATE = "trainer_state.json"
# All files that a training may write, with the code of a student, which only a finished one names.
_WRITES = (*STUDENT, "*.py", "merged/*.py")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# Files that a trainer reads of a checkpoint; others may change.
_CHECKPOINT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".json", ".distcp", ".metadata")
_PICKLED = (".bin", ".pt", ".pth")
_NEEDED = ("optimizer.pt", "scheduler.pt", _STATE)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin")


@dataclass(frozen=True, slots=True)
class CheckpointFault:
    """Why a training can't resume from a checkpoint; `unfinished` if its writing was interrupted."""

    reason: str
    unfinished: bool = False


class StudentFolder(OutputFolder):
    """The output folder of a training.

    Args:
        folder (`str` or `Path`): Where the student is written.
        identity (`Mapping[str, Any]`): All that decides the result; a run resumes only a run of the same identity.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        super().__init__(folder, json.loads(json.dumps(dict(identity))), _WRITES)
        self._begun = Parts(self.folder / ".run" / "training")
        self._skipped: dict[Path, CheckpointFault] = {}

    def check(self, overwrite: bool) -> None:
        """Raise if another run has written or begun a student here; nothing is changed."""
        self.claim(overwrite)
        if not overwrite:
            self._refuse_begun()

    def resume_point(self, overwrite: bool = False) -> Path | None:
        """The checkpoint from which this run resumes: its last one without a fault, or None.

        If all are damaged it raises, since they may be days of work.
        """
        if self._begun.identity() != self.identity:
            return None
        found, faults = self._whole()
        self._skipped = faults
        damaged = {path: fault for path, fault in faults.items() if not fault.unfinished}
        if found is None and damaged and not overwrite:
            path, why = next(iter(damaged.items()))
            raise UserError(
                f"`output_dir={self.folder}` holds checkpoints of this run, but none can be resumed: "
                f"`{path.name}`: {why.reason}. Repair it, or restart the training with `overwrite=True`."
            )
        return found

    def damaged(self) -> list[str]:
        """The damaged checkpoints after `resume_point`, and why they can't be resumed."""
        return [
            f"`{path}` can't be resumed: {why.reason}." for path, why in self._skipped.items() if not why.unfinished
        ]

    def begin(self) -> None:
        """Claim the folder for this run, and remove what another run, or a restarted one, has left."""
        anew = self.ended() or self._begun.identity() != self.identity
        before = self.files.own() or set()
        self._begun.claim(self.identity)
        # A checkpoint that is saved again must not keep files of the damaged one.
        damaged = {path.name for path in self._skipped}
        self.files.remove(before if anew else {name for name in before if name.split("/")[0] in damaged})
        self.files.begin(self.identity, patterns=STUDENT)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Record all files written meanwhile: a student's own code and tokenizer can use any names."""
        before = self._stamps()
        try:
            yield
        finally:
            after = self._stamps()
            self.files.note(*(name for name, stamp in after.items() if before.get(name) != stamp))

    def release(self) -> None:
        """Release the claim."""
        self._begun.release()

    def ended(self) -> bool:
        """Whether the report of this run is there, of a student or of a diverged training."""
        report = read_mapping(self.folder / REPORT)
        return report is not None and report.get("run") == self.identity

    def finished(self) -> bool:
        """Whether this run has written a student: one that diverged has not."""
        return self.ended() and not self.diverged()

    def diverged(self) -> list[str]:
        """The signs of divergence in the report of this run."""
        signs = self.report().get("diverged") if self.ended() else None
        return [str(sign) for sign in signs] if isinstance(signs, list) else []

    def report(self) -> dict[str, Any]:
        """The report of a finished run."""
        return read_mapping(self.folder / REPORT) or {}

    def checkpoint(self) -> Path | None:
        """The last checkpoint without a fault."""
        return self._whole()[0]

    def _whole(self) -> tuple[Path | None, dict[Path, CheckpointFault]]:
        """The last checkpoint without a fault, and the later ones with their faults."""
        numbered = {
            int(match[1]): path
            for path in self.folder.glob("checkpoint-*")
            if (match := _CHECKPOINT.fullmatch(path.name)) and path.is_dir()
        }
        faults: dict[Path, CheckpointFault] = {}
        for _, path in sorted(numbered.items(), reverse=True):
            why = fault(path)
            if why is None:
                return path, faults
            faults[path] = why
        return None, faults

    def _refuse_begun(self) -> None:
        """Raise if the folder holds checkpoints of another run: they may be hours of work."""
        if self.ended():
            return
        other = difference(self._begun.identity() or {}, self.identity).replace("the result of", "checkpoints of", 1)
        if other:
            raise UserError(
                f"`output_dir={self.folder}` holds {other}. Give another folder, or replace it with `overwrite=True`."
            )

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Modification time and inode of the student's files, by name."""
        homes = [self.folder, self.folder / "merged"]
        files = [file for home in homes if home.is_dir() for file in home.iterdir() if file.is_file()]
        found = {file.relative_to(self.folder).as_posix(): file.lstat() for file in files}
        return {name: (stat.st_mtime_ns, stat.st_ino) for name, stat in found.items()}


def record(folder: Path, resumes: bool) -> None:
    """Record the files of a checkpoint; `resumes` is whether it has more than the weights."""
    files = {name: _signature(path) for name, path in _files(folder)}
    write_whole(folder / RECORD, json.dumps({"resumes": resumes, "files": files}, sort_keys=True))


def fault(folder: Path) -> CheckpointFault | None:
    """Why a training can't resume from a checkpoint; None if it can."""
    saved = read_mapping(folder / RECORD)
    if saved is None:
        return _fault_without_record(folder)
    files = saved.get("files")
    if not isinstance(files, dict):
        return CheckpointFault(f"`{RECORD}` can't be read")
    if not saved.get("resumes"):
        return CheckpointFault("it holds only the weights (`training.save_only_model`)")
    found = dict(_files(folder))
    for name, signature in files.items():
        if name not in found:
            return CheckpointFault(f"`{name}` is missing")
        if _signature(found[name]) != signature:
            return CheckpointFault(f"`{name}` isn't as it was saved")
    others = [name for name in found if name not in files]
    return CheckpointFault(f"`{others[0]}` wasn't saved with it") if others else None


def _fault_without_record(folder: Path) -> CheckpointFault | None:
    """The same without a record: an earlier release wrote the checkpoint, or its writing was interrupted."""
    if missing := [name for name in _NEEDED if not (folder / name).is_file()]:
        return CheckpointFault(f"`{missing[0]}` is missing", unfinished=True)
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        return CheckpointFault("it has no weights", unfinished=True)
    if not (read_mapping(folder / _STATE) or {}).get("global_step"):
        return CheckpointFault(f"`{_STATE}` can't be read", unfinished=True)
    for name, path in _files(folder):
        try:
            if path.suffix == ".safetensors":
                header(path)
            elif path.suffix in _PICKLED and not zipfile.is_zipfile(path):
                return CheckpointFault(f"`{name}` is truncated, or no file of torch", unfinished=True)
        except (OSError, ValueError) as error:
            return CheckpointFault(f"`{name}` can't be read: {error}", unfinished=True)
    return None


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that a trainer reads, by their name inside the checkpoint."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _CHECKPOINT_FILES and path.name != RECORD:
            yield path.relative_to(folder).as_posix(), path


def _signature(path: Path) -> list[Any]:
    size = path.stat().st_size
    return [size, content_hash(path, size)]
