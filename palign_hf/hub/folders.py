"""What the folder of a finished run is, and which of its files go where in a repository.

    PREFIXES, PAIRS    CONFIG/SPLIT-0000I-of-0000N.parquet, reports/CONFIG/report.json and report.md
    kept PAIRS, too    sft/CONFIG/train-0000I-of-0000N.parquet, as any trainer reads them
    an evaluation      CONFIG/samples-00000-of-00001.parquet, lighteval/CONFIG/..., reports/CONFIG/...
    a student          its own files at the top, as `from_pretrained` reads them, and reports/CONFIG/...

A run is known by its report, what it has made by its files. Of a student those files go up that students are made of
(`hub/student_files.py`), no ledger, checkpoint, state of an optimizer or pickle, and of places on this machine in
reports only the last name. Links are never followed.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError, listed, shown
from palign_hf.hub.names import RESERVED, VIEW, config_name
from palign_hf.hub.plan import Item
from palign_hf.hub.private import name_of, public
from palign_hf.hub.student_files import student_files
from palign_hf.hub.view import SPLIT, view_items
from palign_hf.runs.claims import WRITTEN
from palign_hf.runs.parts import read_mapping
from palign_hf.runs.shards import REPORT
from palign_hf.schema import PAIRS, PREFIXES


PAGE = "report.md"
_SAMPLES = "samples.parquet"
_LIGHTEVAL = "lighteval"
_MERGED = "merged"
_SHARD = re.compile(r"(?P<split>\w+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.parquet")
# What another training may have left in a repository, so that no loader could tell which student is meant.
_STUDENTS_OWN = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
)
# Names of folders that trainings of many students have.
_USUAL = ("student", _MERGED)
_BASE = "base_model_name_or_path"


@dataclass(frozen=True)
class RunFolder:
    """A finished run; `kind` is `prefixes`, `pairs`, `student` or `evaluation`."""

    folder: Path
    kind: str
    report: Mapping[str, Any]
    # Where the report lies: of a merged student, one above.
    home: Path
    # Whether the report is the one that a repository holds of the same result.
    held: bool = False

    @property
    def repo_type(self) -> str:
        """What such a run becomes."""
        return "model" if self.kind == "student" else "dataset"

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was run."""
        return self.report["settings"]

    @property
    def student(self) -> str:
        """The student's name, without the place where it lay."""
        return name_of(str(self.settings.get("student_name") or self.settings.get("student")))

    @property
    def adapter(self) -> bool:
        """Whether it is a student's adapter."""
        return self.kind == "student" and (self.folder / "adapter_config.json").exists()

    @property
    def config(self) -> str:
        """The configuration's usual name: of what distinguishes a run from others of its kind."""
        told, student = self.settings, _called(str(self.settings.get("student_name") or self.settings.get("student")))
        if self.kind == "prefixes":
            return config_name(student, str(_named(told.get("search")) or "prefixes"))
        if self.kind == "pairs":
            return config_name(student, "pairs", str(told.get("mode", "")))
        if self.kind == "evaluation":
            return config_name(student, "zero-shot" if told.get("zero_shot") else "evaluation")
        return config_name(student, str(told.get("baseline", "")))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of its table, in the order in which one reads them; a student has none."""
        return tuple(self._tables)

    def files(self, config: str) -> tuple[Item, ...]:
        """All that goes up, but for the card."""
        items = [Item(f"{config}/{name}", file) for files in self._tables.values() for name, file in files.items()]
        if self.kind == "student":
            items += [self._of_student(_itself(file)) for file in student_files(self.folder)]
        if self.kind == "pairs":
            items += view_items(config, self._tables.get(SPLIT, {}), self.settings)
        if self.held:
            return tuple(items)
        if self.kind == "evaluation":
            items += self._lighteval(config)
        return (*items, *self._reports(config))

    def owned(self, config: str) -> tuple[str, ...]:
        """Where an earlier push of the same configuration has put its files."""
        if self.kind == "student":
            return (*_STUDENTS_OWN, f"reports/{config}/")
        if self.held:
            return (f"{config}/", f"{VIEW}/{config}/")
        return tuple(f"{place}{config}/" for place in ("", *(f"{name}/" for name in RESERVED)))

    def guard(self, config: str) -> tuple[str, Callable[[bytes], None]]:
        """The report in the repository, and a check that it is of the same kind of run."""

        def check(there: bytes) -> None:
            try:
                held = json.loads(there).get("kind")
            except (ValueError, AttributeError):
                held = None
            if held != self.kind:
                raise UserError(
                    f"The configuration `{config}` of that repository holds {held or 'something else'}, and this is "
                    f"{self.kind}: it would take its place. Give it another name with `--config-name`."
                )

        return f"reports/{config}/{REPORT}", check

    def as_held(self, there: bytes) -> "RunFolder | None":
        """This run with the report that a repository has of it, if that is of the same input, settings and releases.

        When a command was given again, and what it then found in its ledger, is no news. Whether the rows are the same
        is for the push to see. A student's report changes only with the student.
        """
        told = json.loads(there)
        settings = told.get("settings")
        if self.kind == "student" or not isinstance(settings, dict):
            return None
        ours = public({"run": self.report["run"], "versions": self.settings.get("versions")})
        if {"run": told.get("run"), "versions": settings.get("versions")} != ours:
            return None
        # Where a copy of a benchmark lies says which one it is, and only this machine knows.
        own = {"tasks": self.settings["tasks"]} if "tasks" in self.settings else {}
        return replace(self, report={**told, "settings": settings | own}, held=True)

    def left_out(self) -> tuple[str, ...]:
        """Files of the folder that don't go up, as a person may wonder where they are."""
        if self.kind != "student":
            return ()
        names = {path.name for path in self.folder.iterdir() if not path.name.startswith(".")}
        sent = {file.name for file in student_files(self.folder)}
        return tuple(sorted(names - sent - {REPORT, PAGE, "README.md"}))

    @cached_property
    def _tables(self) -> dict[str, dict[str, Path]]:
        """Names of shards with their files, by split."""
        if self.kind == "student":
            return {}
        if self.kind == "evaluation":
            return {"samples": {"samples-00000-of-00001.parquet": _itself(self.folder / _SAMPLES)}}
        return _shards(_itself(self.folder / "data"))

    def _reports(self, config: str) -> list[Item]:
        told = {**public(dict(self.report)), "kind": self.kind}
        text = json.dumps(told, sort_keys=True, ensure_ascii=False, indent=1) + "\n"
        items = [Item(f"reports/{config}/{REPORT}", text.encode())]
        page = _itself(self.home / PAGE)
        if page.exists():
            items.append(Item(f"reports/{config}/{PAGE}", public(page.read_text(encoding="utf-8")).encode()))
        return items

    def _lighteval(self, config: str) -> list[Item]:
        home, items = self.folder / _LIGHTEVAL, []
        written = self.report.get(WRITTEN)
        for file in sorted(_files(home)):
            # A report of the first release doesn't name its files.
            if isinstance(written, list) and file.relative_to(self.folder).as_posix() not in written:
                continue
            path = f"{_LIGHTEVAL}/{config}/{file.relative_to(home).as_posix()}"
            if file.suffix == ".json":
                told = public(json.loads(file.read_text(encoding="utf-8")))
                items.append(Item(path, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()))
            else:
                items.append(Item(path, file))
        return items

    def _of_student(self, file: Path) -> Item:
        """A file as it is; an adapter names its base as others know it."""
        if file.name != "adapter_config.json":
            return Item(file.name, file)
        told = json.loads(file.read_text(encoding="utf-8"))
        told[_BASE] = name_of(str(self.settings.get("student") or told.get(_BASE)))
        return Item(file.name, (json.dumps(told, indent=2, sort_keys=True) + "\n").encode())


def read_folder(folder: str | Path) -> RunFolder:
    """The finished run in a folder; what isn't one is refused in words."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"`{folder}` is no folder. Give the folder of a finished run, as `runs/STUDENT/prefixes`.")
    home = path.parent if path.name == _MERGED and not (path / REPORT).exists() else path
    if home != path:
        _itself(path)
    report = read_mapping(_itself(home / REPORT))
    if report is None or not isinstance(report.get("settings"), dict) or not isinstance(report.get("run"), dict):
        raise UserError(_no_run(path, home, report))
    kind = _kind(path)
    if kind is None:
        raise UserError(
            f"`{folder}` has a report, but neither tables nor a student nor samples that it could be of. Run the same "
            f"command again, with `--replace`."
        )
    found = RunFolder(path, kind, report, home)
    _check_splits(found)
    return found


def _no_run(path: Path, home: Path, report: Mapping[str, Any] | None) -> str:
    """Why there is no finished run in a folder."""
    if report is not None or (home / REPORT).exists():
        return f"`{home / REPORT}` is no report of a run. Give the folder of a finished run, as it was written."
    if (home / ".run").exists() or any(home.glob("checkpoint-*")):
        return f"The run in `{path}` hasn't ended: it has no `{REPORT}` yet. Run its command again, which goes on."
    inside = [one.name for one in home.iterdir() if (one / REPORT).exists()]
    way = f"Give one of {listed(sorted(inside))} in it." if inside else "Give a folder that has one."
    return f"`{path}` is no folder of a run of this package: it has no `{REPORT}`. {way}"


def _kind(folder: Path) -> str | None:
    """What a run has made, by its files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if (folder / _SAMPLES).exists():
        return "evaluation"
    if any(folder.glob("*.safetensors")) and any(
        (folder / f"{name}.json").exists() for name in ("config", "adapter_config")
    ):
        return "student"
    tables = sorted((folder / "data").glob("[!.]*.parquet"))
    if not tables:
        return None
    try:
        columns = {*pq.read_schema(tables[0]).names}
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"`{tables[0]}` can't be read ({shown(str(error))}). Run the same command again.") from None
    if {*PAIRS.columns} <= columns:
        return "pairs"
    return "prefixes" if {*PREFIXES.columns} <= columns else None


def _shards(data: Path) -> dict[str, dict[str, Path]]:
    """The shards of each split; `train` first, since that is what one reads."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(data.glob("[!.]*.parquet"), key=lambda file: (not file.name.startswith("train-"), file.name)):
        match = _SHARD.fullmatch(file.name)
        if match is None:
            raise UserError(f"`{file}` is no shard that a run has written. Take it out of that folder.")
        found.setdefault(match["split"], {})[file.name] = _itself(file)
    return found


def _check_splits(found: RunFolder) -> None:
    """A split is pushed whole or not at all."""
    for split, files in found._tables.items():
        counts = {int(match["count"]) for name in files if (match := _SHARD.fullmatch(name))}
        if counts != {len(files)}:
            raise UserError(
                f"`{found.folder}` has {len(files)} shards of the split `{split}`, of {listed(sorted(counts))}. Run "
                f"the same command again."
            )


def _itself(path: Path) -> Path:
    """A file or folder of a run, which is no link: what a link points to may be anything on this machine."""
    if path.is_symlink():
        raise UserError(
            f"`{path}` is a link, and links in the folder of a run are not followed: what they point to may not be "
            f"for others. Put the file itself in its place."
        )
    return path


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder; links to others are left out."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path)
        elif path.is_file() and not path.is_symlink():
            yield path


def _called(student: str) -> str:
    """What distinguishes a student from others; of one that this package has trained, its folder says too little."""
    parts = [part for part in Path(student).parts if part not in ("/", "~", "..")]
    first = len(parts) - 1
    while first > 0 and parts[first] in _USUAL:
        first -= 1
    return "-".join(parts[max(first, 0) :])


def _named(value: Any) -> Any:
    return value.get("name") if isinstance(value, Mapping) else value
