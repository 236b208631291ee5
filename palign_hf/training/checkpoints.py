"""Checkpoints that a training can go on from: what each is made of is recorded when it has been saved.

transformers goes on from whatever lies there: without the optimizer's state it ends in another student and says
nothing, and a file that is damaged or not its own ends every later try in a traceback. So the record has each file's
size and a hash of its content. Nothing is unpickled to find out.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palign_hf.runs.parts import read_mapping, write_whole
from palign_hf.students import content_hash
from palign_hf.weights import header


RECORD = "checkpoint.json"
_STATE = "trainer_state.json"
# What a trainer reads of a checkpoint; cards and the like may come and go.
_READ = (".safetensors", ".bin", ".pt", ".pth", ".json", ".distcp", ".metadata")
_PICKLED = (".bin", ".pt", ".pth")
_NEEDED = ("optimizer.pt", "scheduler.pt", _STATE)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a training can't go on from a checkpoint; an `unfinished` one was broken off while it was written."""

    reason: str
    unfinished: bool = False


def record(folder: Path, resumes: bool) -> None:
    """Write down what a checkpoint is made of; `resumes` is whether it has more than the weights."""
    files = {name: _signature(path) for name, path in _files(folder)}
    write_whole(folder / RECORD, json.dumps({"resumes": resumes, "files": files}, sort_keys=True))


def fault(folder: Path) -> Fault | None:
    """Why a training can't go on from a checkpoint; None if it can."""
    told = read_mapping(folder / RECORD)
    if told is None:
        return _fault_without_record(folder)
    files = told.get("files")
    if not isinstance(files, dict):
        return Fault(f"`{RECORD}` can't be read")
    if not told.get("resumes"):
        return Fault("it has the weights alone (`training.save_only_model`)")
    found = dict(_files(folder))
    for name, signature in files.items():
        if name not in found:
            return Fault(f"`{name}` is missing")
        if _signature(found[name]) != signature:
            return Fault(f"`{name}` isn't as it was saved")
    others = [name for name in found if name not in files]
    return Fault(f"`{others[0]}` wasn't saved with it") if others else None


def _fault_without_record(folder: Path) -> Fault | None:
    """One that an earlier release has made, as far as it can be known, or that was broken off before its record."""
    if missing := [name for name in _NEEDED if not (folder / name).is_file()]:
        return Fault(f"`{missing[0]}` is missing", unfinished=True)
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        return Fault("it has no weights", unfinished=True)
    if not (read_mapping(folder / _STATE) or {}).get("global_step"):
        return Fault(f"`{_STATE}` can't be read", unfinished=True)
    for name, path in _files(folder):
        try:
            if path.suffix == ".safetensors":
                header(path)
            elif path.suffix in _PICKLED and not zipfile.is_zipfile(path):
                return Fault(f"`{name}` is cut off, or no file of torch", unfinished=True)
        except (OSError, ValueError) as error:
            return Fault(f"`{name}` can't be read: {error}", unfinished=True)
    return None


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """What a trainer reads, by the name inside the checkpoint."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _READ and path.name != RECORD:
            yield path.relative_to(folder).as_posix(), path


def _signature(path: Path) -> list[Any]:
    size = path.stat().st_size
    return [size, content_hash(path, size)]
