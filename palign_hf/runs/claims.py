"""Whose files a folder holds: a run writes and removes its own, and no others.

A finished run names its files in its report, under `written`. A run that is under way notes them in `.run/files.json`
before they are there. Releases that named no files are known by what such a run writes. A link is never a run's own,
and none is followed. What no record names makes a run refuse, also where it may replace the result of another.
"""

import glob
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError, shown
from palign_hf.runs.parts import clear_parts, no_link, read_mapping, write_whole


# Under which a report names the files of its run.
WRITTEN = "written"
WORK = ".run"
_NOTED = "files.json"
_SHARD = "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"
_SHARD_FOLDER = re.compile(r"\w+-\d{5}-of-\d{5}")
_DEEPEST = 100
# Where files are made before they are moved to their places.
JOINED, LIGHTEVAL = "joined", "lighteval"
TRAINING = "training"

# What a run writes, as patterns of names in its folder; `**` at the end is whatever lies below.
_REPORTS = ("report.json", "report.md")
TABLES = (*_REPORTS, f"data/*{_SHARD}.parquet")
EVALUATION = (
    *TABLES,
    "samples.parquet",
    # A student of the Hub is two folders deep.
    *(f"{LIGHTEVAL}/results/{name}/results_*.json" for name in ("*", "*/*")),
    *(f"{LIGHTEVAL}/details/{name}/*/details_*.parquet" for name in ("*", "*/*")),
)
_WEIGHTS = (
    *("config.json", "generation_config.json", "adapter_config.json", "README.md", "training_args.bin"),
    *("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json"),
    *("tokenizer*.json", "*.model", "*.tiktoken", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json"),
    *("additional_chat_templates/*.jinja", "preprocessor_config.json", "processor_config.json"),
)
STUDENT = (
    *_REPORTS,
    *_WEIGHTS,
    *(f"merged/{name}" for name in _WEIGHTS),
    "checkpoint-[0-9]*/**",
    "runs/*/events.out.tfevents.*",
)


class Claim:
    """The files of a folder that are a run's own.

    Args:
        folder (`Path`): the folder of the run.
        writes (`Sequence[str]`): patterns of what the run may write.
        report (`str`): the file that names what was written.
        ours (`Callable`): whether the content of that file is a report of this package.
        alone (`bool`): whether other files may only lie beside a run that has claimed the folder already.
    """

    def __init__(
        self,
        folder: Path,
        writes: Sequence[str],
        report: str = "report.json",
        ours: "Callable[[Mapping[str, Any]], bool] | None" = None,
        alone: bool = True,
    ) -> None:
        self.folder, self._writes, self._report, self._alone = folder, tuple(writes), report, alone
        self._ours = ours or (lambda report: reported(report) is not None)

    def check(
        self, resumes: "Callable[[Mapping[str, Any]], bool]" = lambda identity: False, name: str = "output_dir"
    ) -> None:
        """Refuse a folder with files that no run of this package has written, if they are alone or in the way.

        Args:
            resumes (`Callable`): whether this run is the one of that identity, whose parts are there.
            name (`str`): the setting that gives the folder.
        """
        work = self.folder / WORK
        if os.path.lexists(work):
            if work.is_symlink() or not work.is_dir():
                raise self._refused(name, WORK)
            links = sorted(entry.name for entry in os.scandir(work) if entry.is_symlink())
            if links:
                raise self._refused(name, f"{WORK}/{links[0]}")
        own = self.own(resumes)
        if own is None and self._alone:
            # Hidden files are an editor's or the system's, and none has the name of a result.
            others = [found for found, _ in _entries(self.folder, 2) if not found.startswith(".")]
            if others:
                first = self._report if self._report in others else others[0]
                # A file rather than the folder that it is in.
                raise self._refused(name, next((one for one in others if one.startswith(f"{first}/")), first))
        for found, mode in _entries(self.folder, _depth(self._writes)):
            if found in (own or ()) and stat.S_ISREG(mode):
                continue
            if self._in_the_way(found, mode):
                raise self._refused(name, found)

    def own(self, resumes: "Callable[[Mapping[str, Any]], bool]" = lambda identity: False) -> set[str] | None:
        """Names of the files that runs of this package have written here; None if none has claimed the folder."""
        report, noted = self._read(self._report), self._noted()
        if report is not None and not self._ours(report):
            report = None
        found: set[str] = set()
        if report is not None:
            names = report.get(WRITTEN)
            found |= {self._report} | (_safe(names) if isinstance(names, list) else self._present(self._usual(report)))
        if noted is not None:
            found |= (
                _safe(noted.get("held")) | _safe(noted.get(WRITTEN)) | self._present(_texts(noted.get("patterns")))
            )
            return found
        begun = {
            place: told_of for place in _listed(self.folder / WORK) if (told_of := self._begun(place)) is not None
        }
        if TRAINING in begun:
            found |= self._present(STUDENT)
        elif any(map(resumes, begun.values())):
            found |= self._present(TABLES)
        return found if report is not None or begun else None

    def published_by(self) -> dict[str, Any] | None:
        """Which run has published files of which there is no report yet."""
        noted = self._noted() or {}
        run = noted.get("run")
        return run if isinstance(run, dict) and (noted.get("held") or noted.get(WRITTEN)) else None

    def mark(self, run: Mapping[str, Any], resumes: "Callable[[Mapping[str, Any]], bool]") -> None:
        """Claim the folder for a run, unless one has; nothing is written yet that anybody would read."""
        if self._noted() is None:
            self._note({"run": dict(run), "held": sorted(self.own(resumes) or ()), WRITTEN: []})

    def begin(self, run: Mapping[str, Any], names: Iterable[str] = (), patterns: Sequence[str] = ()) -> set[str]:
        """Note what a run is going to write; the names of what others have written here before."""
        held = (self.own() or set()) - {*names}
        self._note({"run": dict(run), "held": sorted(held), WRITTEN: sorted(names), "patterns": list(patterns)})
        return held

    def note(self, *names: str) -> None:
        """Note more files, before they are written."""
        held = self._noted() or {}
        self._note({**held, WRITTEN: sorted({*_safe(held.get(WRITTEN)), *names})})

    def settle(self) -> list[str]:
        """Remove what was written before and isn't any longer; the names of what the run has written."""
        held = self._noted() or {}
        noted = _safe(held.get(WRITTEN)) | self._present(_texts(held.get("patterns")))
        written = {name for name in noted if self._regular(name)} - {self._report}
        self.remove((self.own() or set()) - written - {self._report})
        return sorted({*written, self._report})

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of these names, and folders that are empty then; links stay, and what they point to."""
        for name in sorted(names, reverse=True):
            if not self._regular(name):
                continue
            path = self.folder / name
            path.unlink()
            for parent in list(path.parents)[: name.count("/")]:
                try:
                    parent.rmdir()
                except OSError:
                    break

    def staging(self, name: str) -> Path:
        """An empty folder in which files are made, on the disk where they will lie."""
        home = self._work() / name
        _clear(home)
        home.mkdir()
        return home

    def move(self, files: Mapping[str, Path]) -> None:
        """Put files at their places, by name; they are noted already."""
        for name, file in files.items():
            path = self.folder
            for part in name.split("/")[:-1]:
                path = path / part
                no_link(path)
            path.mkdir(parents=True, exist_ok=True)
            file.rename(self.folder / name)

    def adopt(self, staged: Path, place: str) -> None:
        """Move all files of a staging folder below `place`."""
        files = {f"{place}/{name}": staged / name for name, mode in _entries(staged, _DEEPEST) if stat.S_ISREG(mode)}
        self.note(*files)
        self.move(files)

    def end(self) -> None:
        """Clear away what was needed on the way; what isn't the run's stays."""
        work = self.folder / WORK
        if work.is_symlink() or not work.is_dir():
            return
        for name in _listed(work):
            if _SHARD_FOLDER.fullmatch(name) or name == TRAINING:
                clear_parts(work / name)
            elif name in (JOINED, LIGHTEVAL):
                _clear(work / name)
        # What a release before has left where it was interrupted.
        self.remove(self._present((f"data/.*{_SHARD}.parquet*",)))
        if self._regular(f"{WORK}/{_NOTED}"):
            (work / _NOTED).unlink()
        try:
            work.rmdir()
        except OSError:  # something foreign lies there
            return

    def _work(self) -> Path:
        work = self.folder / WORK
        no_link(work)
        work.mkdir(parents=True, exist_ok=True)
        return work

    def _note(self, content: Mapping[str, Any]) -> None:
        write_whole(self._work() / _NOTED, json.dumps(dict(content), sort_keys=True))

    def _noted(self) -> dict[str, Any] | None:
        return self._read(f"{WORK}/{_NOTED}")

    def _begun(self, place: str) -> dict[str, Any] | None:
        return self._read(f"{WORK}/{place}/run.json")

    def _read(self, name: str) -> dict[str, Any] | None:
        return read_mapping(self.folder / name) if self._regular(name) else None

    def _usual(self, report: Mapping[str, Any]) -> Sequence[str]:
        """What the run of a report without names has written."""
        if self._report not in _REPORTS:
            return self._writes
        if {"steps", "weights"} <= report.keys():
            return STUDENT
        return EVALUATION if {"samples", "benchmarks"} <= report.keys() else TABLES

    def _present(self, patterns: Sequence[str]) -> set[str]:
        """Files that match, and whose names can be written down."""
        if not patterns:
            return set()
        return {
            name
            for name, mode in _entries(self.folder, _depth(patterns))
            if stat.S_ISREG(mode) and _matches(name, patterns) and not _surrogates(name)
        }

    def _regular(self, name: str) -> bool:
        """Whether a file is there and no part of its path below the folder is a link."""
        path = self.folder
        *above, last = name.split("/")
        try:
            for part in above:
                path = path / part
                if not stat.S_ISDIR(path.lstat().st_mode):
                    return False
            return stat.S_ISREG((path / last).lstat().st_mode)
        except (OSError, ValueError):
            return False

    def _in_the_way(self, name: str, mode: int) -> bool:
        """Whether something stands where the run writes a file or a folder."""
        if stat.S_ISDIR(mode):
            return _matches(name, [pattern for pattern in self._writes if not pattern.endswith("/**")])
        depth = name.count("/") + 1
        folders = ["/".join(pattern.split("/")[:depth]) for pattern in self._writes if pattern.count("/") >= depth]
        return _matches(name, self._writes) or _matches(name, folders)

    def _refused(self, setting: str, name: str) -> UserError:
        why = "which no run of this package has written"
        if (self.folder / name).is_symlink():
            why = "a link, and links are not followed where a run writes"
        elif name == self._report:
            why = "which can't be read as the report of a run"
        way = "Give a new or empty folder" if self._alone else "Give another folder"
        return UserError(
            f"`{setting}={shown(str(self.folder), 4096)}` holds `{shown(name, 4096)}`, {why}. {way}, or move that "
            f"away."
        )


def reported(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The identity of the run that a report is of; None if it is no report."""
    if isinstance(report.get("run"), dict):
        return dict(report["run"])
    # The first release named the settings, and counted the rows.
    settings = report.get("settings")
    if not isinstance(settings, dict) or "fingerprint" not in settings:
        return None
    return {"fingerprint": settings["fingerprint"], "rows": report.get("rows")}


def refuse_read(folder: Path, sources: Iterable[str | None], within: bool = True) -> None:
    """Refuse a folder for the result that holds what the run reads, under whatever name; `overwrite` changes nothing.

    Args:
        folder (`Path`): the folder for the result.
        sources (`Iterable[str]`): files, folders and globs that the run reads; names on the Hub are passed over.
        within (`bool`): whether a source may not lie in the folder either, of which all may be replaced.
    """
    for source in sources:
        if source and any(_inside(place, folder, within) for place in _places(source)):
            raise UserError(
                f"`output_dir={shown(str(folder), 4096)}` holds `{shown(source, 4096)}`, which this run reads. Give "
                f"another folder."
            )


def _places(source: str) -> Iterator[str]:
    """Where a source lies, and where the links in it point to."""
    path = os.path.expanduser(source)
    if not os.path.exists(path):
        # Perhaps the name of a repository, which is read from here once the result is there.
        if "\0" not in path:
            yield from glob.glob(path, recursive=True) if glob.has_magic(path) else (path,)
        return
    yield path
    for home, folders, files in os.walk(path):
        yield from (found for name in (*folders, *files) if os.path.islink(found := os.path.join(home, name)))


def _inside(place: str, folder: Path, within: bool) -> bool:
    """Whether a place is the folder, or lies in it."""
    real = Path(os.path.realpath(place))
    if real == Path(os.path.realpath(folder)):
        return True
    above = real.parents if within else ()
    return folder.exists() and any(os.path.exists(one) and os.path.samefile(one, folder) for one in (real, *above))


def _listed(folder: Path) -> list[str]:
    """Names in a folder; none if there is no folder."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entries(folder: Path, depth: int, above: str = "") -> Iterator[tuple[str, int]]:
    """What lies at most `depth` levels below a folder, without its `.run`: names and modes; links aren't followed."""
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # it isn't there, or nobody may look into it
        return
    for entry in found:
        if not above and entry.name == WORK:
            continue
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:  # removed meanwhile
            continue
        yield f"{above}{entry.name}", mode
        if depth > 1 and stat.S_ISDIR(mode):
            yield from _entries(Path(entry.path), depth - 1, f"{above}{entry.name}/")


def _depth(patterns: Collection[str]) -> int:
    """How many levels below its folder a name can lie that matches."""
    return max(_DEEPEST if pattern.endswith("/**") else pattern.count("/") + 1 for pattern in patterns)


def _matches(name: str, patterns: Collection[str]) -> bool:
    """Whether a name is one of the patterns, each part of it by itself."""
    parts = name.split("/")
    for pattern in patterns:
        *above, last = pattern.split("/")
        wanted = above if last == "**" else [*above, last]
        enough = len(parts) > len(wanted) if last == "**" else len(parts) == len(wanted)
        if enough and all(fnmatchcase(part, one) for part, one in zip(parts, wanted, strict=False)):
            return True
    return False


def _safe(names: Any) -> set[str]:
    """Names that lead to files in the folder; a record may have been changed by anybody."""
    return {
        name
        for name in _texts(names)
        if name and "\0" not in name and not {"", ".", ".."} & {*name.split("/")} and name.split("/")[0] != WORK
    }


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _surrogates(name: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in name)


def _clear(folder: Path) -> None:
    """Remove a folder of our own in `.run`; links in it are removed, not followed."""
    if folder.is_symlink():
        return
    shutil.rmtree(folder, ignore_errors=True)
