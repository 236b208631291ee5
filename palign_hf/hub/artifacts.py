"""Descriptions of what the folder of a finished run becomes on the Hub.

A stage describes its results by one `Artifact`: the kind of repository, the files, the card, and how a folder is
recognised. `TableArtifact` and `ModelArtifact` are the two usual forms. Links are never followed, and of paths on this
machine only the last name is published.

    PREFIXES, PAIRS    CONFIG/SPLIT-0000I-of-0000N.parquet, reports/CONFIG/report.json and report.md
    kept PAIRS, too    sft/CONFIG/train-0000I-of-0000N.parquet, as any trainer reads them
    an evaluation      CONFIG/samples-00000-of-00001.parquet, lighteval/CONFIG/..., reports/CONFIG/...
    a student          its own files at the top, as `from_pretrained` reads them, and reports/CONFIG/...
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError, listed, shown
from palign_hf.hub.cards import render_plain, report_blocks
from palign_hf.hub.facts import name_of, public, public_report
from palign_hf.hub.plan import Item, student_files
from palign_hf.hub.settings import RESERVED, VIEW, config_name
from palign_hf.runs.shards import PAGE, REPORT
from palign_hf.schema import Table


Card = Callable[[str | None], str]
Shards = dict[str, dict[str, Path]]

_SHARD = re.compile(r"(?P<split>\w+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.parquet")
# What another training may have left in a repository, so that no loader could distinguish the students.
_MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
)
_MERGED = "merged"
# Folder names that many students share, so that the folder above is part of a student's name.
_USUAL = ("student", _MERGED)
_BASE = "base_model_name_or_path"


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """What the caller of `publish` states for the card."""

    license: str | None = None
    language: tuple[str, ...] = ()
    evaluation: str | Path | None = None
    plot: str | Path | None = None
    dataset: str | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a stage's results are on the Hub; the defaults are those of a dataset with a plain card.

    Args:
        kind (`str`): The kind of result, as published reports name it, such as `prefixes`.
        title (`str`): The same as the title of a commit.
        about (`str`, *optional*): What the rows are, for the top of a plain card.
        repo_type (`str`, *optional*, defaults to `"dataset"`): The type of the repository.
        subfolders (`tuple[str, ...]`, *optional*): Folders below the run's that may be published instead of it.
        local_settings (`tuple[str, ...]`, *optional*): Settings that keep this machine's value where a repository
            already holds the report.
        reuses_report (`bool`, *optional*, defaults to `True`): Whether the report that a repository holds of the same
            result is kept.
        shows_evaluation (`bool`, *optional*, defaults to `False`): Whether the card takes an evaluation and a plot.
    """

    kind: str
    title: str
    about: str = ""
    repo_type: str = "dataset"
    subfolders: tuple[str, ...] = ()
    local_settings: tuple[str, ...] = ()
    reuses_report: bool = True
    shows_evaluation: bool = False

    def recognises(self, folder: Path) -> bool:
        """Whether the files in a folder are such a result."""
        raise NotImplementedError

    def suffix(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The parts of a configuration's default name after the student's."""
        return (self.kind,)

    def shards(self, folder: Path) -> Shards:
        """The parquet files of each split by their names in the repository."""
        return {}

    def extra_files(self, run: "RunFolder", config: str) -> list[Item]:
        """Files beside the tables and the report."""
        return []

    def owned(self, run: "RunFolder", config: str) -> tuple[str, ...]:
        """Folders and patterns of the files that an earlier push of the same configuration may have left."""
        if run.held:
            return (f"{config}/", f"{VIEW}/{config}/")
        return tuple(f"{place}{config}/" for place in ("", *(f"{name}/" for name in RESERVED)))

    def card(self, run: "RunFolder", repo_id: str, config: str, options: CardOptions) -> tuple[Card, list[Item]]:
        """The card as a function of the one that the repository holds, and the files that it shows."""
        report = public_report(run.report)
        return partial(render_plain, self.about, report_blocks(report), repo_id, config, run.splits), []

    def left_out(self, folder: Path) -> tuple[str, ...]:
        """Names in the folder that are not published and that a user may miss."""
        return ()

    def results(self, run: "RunFolder") -> Mapping[str, Any]:
        """The report of an evaluation, for the card of the model that was evaluated."""
        raise UserError(f"`{run.folder}` is no evaluation but {self.kind}. Give the folder of an evaluation.")


@dataclass(frozen=True)
class RunFolder:
    """A finished run as it is published.

    `home` is where the report lies, which may be the folder above; `held` is whether the report is the one that a
    repository already holds of the same result.
    """

    folder: Path
    artifact: Artifact
    report: Mapping[str, Any]
    home: Path
    held: bool = False

    @property
    def kind(self) -> str:
        """The kind of result."""
        return self.artifact.kind

    @property
    def repo_type(self) -> str:
        """The type of its repository."""
        return self.artifact.repo_type

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was run."""
        found: Mapping[str, Any] = self.report["settings"]
        return found

    @property
    def config(self) -> str:
        """The default name of the configuration: of what distinguishes the run from others of its kind."""
        student = str(self.settings.get("student_name") or self.settings.get("student"))
        return config_name(_called(student), *self.artifact.suffix(self.settings))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of its table, `train` first."""
        return tuple(self.shards)

    @cached_property
    def shards(self) -> Shards:
        """The parquet files of each split."""
        return self.artifact.shards(self.folder)

    def files(self, config: str) -> tuple[Item, ...]:
        """All files of a push, without the card."""
        items = [Item(f"{config}/{name}", file) for files in self.shards.values() for name, file in files.items()]
        items += self.artifact.extra_files(self, config)
        return tuple(items) if self.held else (*items, *self._reports(config))

    def owned(self, config: str) -> tuple[str, ...]:
        """Where an earlier push of the same configuration has put its files."""
        return self.artifact.owned(self, config)

    def left_out(self) -> tuple[str, ...]:
        """Names in the folder that are not published and that a user may miss."""
        return self.artifact.left_out(self.folder)

    def guard(self, config: str) -> tuple[str, Callable[[bytes], None]]:
        """The path of the report in the repository, and a check that it is of the same kind of run."""

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
        """This run with the report that a repository holds, if that is of the same input, settings and releases.

        A later date and a warm ledger change nothing of the result. Whether the rows are the same is checked by the
        push.
        """
        report = json.loads(there)
        settings = report.get("settings")
        if not self.artifact.reuses_report or not isinstance(settings, dict):
            return None
        ours = public({"run": self.report["run"], "versions": self.settings.get("versions")})
        if {"run": report.get("run"), "versions": settings.get("versions")} != ours:
            return None
        own = {name: self.settings[name] for name in self.artifact.local_settings if name in self.settings}
        return replace(self, report={**report, "settings": settings | own}, held=True)

    def _reports(self, config: str) -> list[Item]:
        report = {**public(dict(self.report)), "kind": self.kind}
        text = json.dumps(report, sort_keys=True, ensure_ascii=False, indent=1) + "\n"
        items = [Item(f"reports/{config}/{REPORT}", text.encode())]
        page = unlinked(self.home / PAGE)
        if page.exists():
            items.append(Item(f"reports/{config}/{PAGE}", public(page.read_text(encoding="utf-8")).encode()))
        return items


@dataclass(frozen=True, kw_only=True)
class TableArtifact(Artifact):
    """The shards of one table in `data/`, each split a set of parquet files.

    Args:
        table (`Table`): The table; a folder is recognised by its columns.
    """

    table: Table

    def recognises(self, folder: Path) -> bool:
        """Whether the first shard has the columns of the table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = sorted((folder / "data").glob("[!.]*.parquet"))
        if not files:
            return False
        try:
            return {*self.table.columns} <= {*pq.read_schema(files[0]).names}
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"`{files[0]}` can't be read ({shown(str(error))}). Run the same command again.") from None

    def shards(self, folder: Path) -> Shards:
        """The shards of each split, `train` first; a split with a shard missing is refused."""
        data, found = unlinked(folder / "data"), Shards()
        for file in sorted(data.glob("[!.]*.parquet"), key=lambda one: (not one.name.startswith("train-"), one.name)):
            match = _SHARD.fullmatch(file.name)
            if match is None:
                raise UserError(f"`{file}` is no shard that a run has written. Take it out of that folder.")
            found.setdefault(match["split"], {})[file.name] = unlinked(file)
        for split, files in found.items():
            counts = {int(match["count"]) for name in files if (match := _SHARD.fullmatch(name))}
            if counts != {len(files)}:
                raise UserError(
                    f"`{folder}` has {len(files)} shards of the split `{split}`, of {listed(sorted(counts))}. Run the "
                    f"same command again."
                )
        return found


@dataclass(frozen=True, kw_only=True)
class DatasetArtifact(TableArtifact):
    """PREFIXES or PAIRS, with the dataset card and its pictures."""

    def card(self, run: RunFolder, repo_id: str, config: str, options: CardOptions) -> tuple[Card, list[Item]]:
        """The dataset card, and its pictures."""
        from palign_hf.hub.dataset_card import dataset_pictures, render
        from palign_hf.hub.facts import dataset_facts

        facts = dataset_facts(
            run.folder,
            repo_id=repo_id,
            config=config,
            license=options.license,
            language=options.language,
            report=run.report,
        )
        return partial(render, facts), [Item(path, content) for path, content in dataset_pictures(facts).items()]


@dataclass(frozen=True, kw_only=True)
class ModelArtifact(Artifact):
    """A model in the layout of `from_pretrained`, or an adapter of one, which may lie beside the merged model.

    Only the files that a model is made of are published: no ledger, checkpoint, optimizer state or pickle.
    """

    repo_type: str = "model"
    subfolders: tuple[str, ...] = (_MERGED,)
    reuses_report: bool = False
    shows_evaluation: bool = True

    def recognises(self, folder: Path) -> bool:
        """Whether weights and a configuration lie in the folder."""
        names = ("config.json", "adapter_config.json")
        return any(folder.glob("*.safetensors")) and any((folder / name).exists() for name in names)

    def extra_files(self, run: RunFolder, config: str) -> list[Item]:
        """The files of the model; an adapter names its base as the Hub knows it."""
        return [_model_file(unlinked(file), run) for file in student_files(run.folder)]

    def owned(self, run: RunFolder, config: str) -> tuple[str, ...]:
        """The weights and configurations at the top, and the report."""
        return (*_MODEL_FILES, f"reports/{config}/")

    def card(self, run: RunFolder, repo_id: str, config: str, options: CardOptions) -> tuple[Card, list[Item]]:
        """The model card, and the results of an evaluation."""
        from palign_hf.hub.eval_results import eval_result_files
        from palign_hf.hub.model_card import PLOT, model_facts, render

        plot = options.plot
        facts = model_facts(
            run.folder,
            repo_id=repo_id,
            evaluation=options.evaluation,
            plot=plot is not None,
            dataset=options.dataset,
        )
        files = {} if facts.evaluation is None else eval_result_files(facts.evaluation)
        items = [Item(path, text.encode()) for path, text in files.items()]
        if plot is not None:
            picture = Path(plot).expanduser()
            if not picture.is_file() or picture.suffix != ".png":
                raise UserError(
                    f"`plot={plot}` is no PNG file. Give the one that `palign compare --output-dir` has drawn."
                )
            items.append(Item(PLOT, picture))
        return partial(render, facts), items

    def left_out(self, folder: Path) -> tuple[str, ...]:
        """Names beside the model's files, the report and the card."""
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        sent = {file.name for file in student_files(folder)}
        return tuple(sorted(names - sent - {REPORT, PAGE, "README.md"}))


def unlinked(path: Path) -> Path:
    """A path of a run that is no link: what a link points to may be anything on this machine."""
    if path.is_symlink():
        raise UserError(
            f"`{path}` is a link, and links in the folder of a run are not followed: what they point to may not be "
            f"for others. Put the file itself in its place."
        )
    return path


def files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder; links are left out."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from files_below(path)
        elif path.is_file() and not path.is_symlink():
            yield path


def json_item(path: str, file: Path) -> Item:
    """A JSON file as it is published: without keys and without paths of this machine."""
    data = public(json.loads(file.read_text(encoding="utf-8")))
    return Item(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def setting_name(value: Any) -> str:
    """The name of a setting that is a name, or a mapping with one."""
    found = value.get("name") if isinstance(value, Mapping) else value
    return str(found or "")


def _model_file(file: Path, run: RunFolder) -> Item:
    if file.name != "adapter_config.json":
        return Item(file.name, file)
    config = json.loads(file.read_text(encoding="utf-8"))
    config[_BASE] = name_of(str(run.settings.get("student") or config.get(_BASE)))
    return Item(file.name, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def _called(student: str) -> str:
    """What distinguishes a student from others: more than the folder's name where that is a usual one."""
    parts = [part for part in Path(student).parts if part not in ("/", "~", "..")]
    first = len(parts) - 1
    while first > 0 and parts[first] in _USUAL:
        first -= 1
    return "-".join(parts[max(first, 0) :])
