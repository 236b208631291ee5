"""The record of a chain: `run.json` with the signature, settings, files and figures of each step, and `report.md`.

The folder holds the recipe of each step, too (`recipes/`), which its stage takes alone: `palign train --config ...`.
"""

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import xxhash
import yaml

from palign_hf import __version__
from palign_hf.errors import UserError
from palign_hf.pipeline.plan import ChainStep, State
from palign_hf.pipeline.recipe import Recipe, chain_of
from palign_hf.runs.forecast import Forecast
from palign_hf.runs.parts import read_mapping, write_whole
from palign_hf.runs.report import now, versions
from palign_hf.runs.shards import PAGE, REPORT
from palign_hf.students import resolve_student, shipped
from palign_hf.tables import escaped, table


RECORD, RECIPES, CHAIN, LOG = "run.json", "recipes", "chain.yaml", "run.log"
COMPARISON = "comparison"
VERSION = 1
_PIECE = 2**20
# Suffixes of what `load_dataset` and our readers take.
_DATA = (".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tsv", ".gz")


class RunRecord:
    """What has been done in the folder of a chain.

    Args:
        folder (`Path`): The folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        held = read_mapping(folder / RECORD)
        if held is None and (folder / RECORD).exists():
            raise UserError(f"`{folder / RECORD}` can't be read as the record of a run. Give another `output_dir`.")
        if held is not None and held.get("version") != VERSION:
            raise UserError(
                f"`{folder / RECORD}` has version {held.get('version')}; this release reads {VERSION}. Give another "
                f"`output_dir`."
            )
        self.held: dict[str, Any] = held or {"version": VERSION, "steps": {}}

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        """What is recorded of each step that has ended."""
        return dict(self.held["steps"])

    def add(self, state: State, content: Mapping[str, Any], ending: Mapping[str, Any]) -> None:
        """Record that a step has ended; another process may have added others meanwhile."""
        self.held = read_mapping(self.folder / RECORD) or self.held
        step = state.step
        self.held["steps"][step.name] = {
            "stage": step.stage,
            "signature": state.signature,
            "settings": step.deciding,
            "reads": dict(step.reads),
            "content": dict(content),
            "folder": step.folder,
            "files": files_of(self.folder / step.folder),
            "tables": tables_of(self.folder / step.folder),
            # The tables that it has read: the same for all arms.
            "inputs": {key: self.steps.get(name, {}).get("tables") for key, name in step.reads.items()},
            "figures": _numbers(self.folder / step.folder),
            "ended": now(),
            "versions": versions(),
            **ending,
        }
        self.write()

    def keep(self, names: Iterable[str]) -> None:
        """Forget steps that the recipe no longer has."""
        self.held["steps"] = {name: one for name, one in self.held["steps"].items() if name in set(names)}

    def write(self) -> None:
        """Write `run.json`, whole or not at all; the same content isn't written again."""
        text = json.dumps(self.held, indent=1, sort_keys=True) + "\n"
        with suppress(OSError):
            if (self.folder / RECORD).read_text(encoding="utf-8") == text:
                return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / RECORD, text)

    def finished(self, recipe: Recipe) -> bool:
        """Whether all of this very recipe is done, and what it has read and written is as it was."""
        if self.held.get("finished") != _digest(recipe):
            return False
        for held in self.held["steps"].values():
            if self.damaged(held) or content_of_sources(held.get("settings") or {}) != (held.get("content") or {}):
                return False
        return True

    def finish(self, recipe: Recipe, published: Mapping[str, Any] | None = None) -> None:
        """Note that all of a recipe is done, and the last commit of each repository that it was published to."""
        self.held["finished"] = _digest(recipe)
        self.held.pop("published", None)
        if published is not None:
            self.held["published"] = dict(published)
        self.write()

    def damaged(self, held: Mapping[str, Any]) -> str:
        """What is wrong with the files of a recorded step; empty if nothing is."""
        home = self.folder / str(held.get("folder"))
        for name, size in dict(held.get("files") or {}).items():
            try:
                there = (home / name).stat().st_size
            except OSError:
                return f"`{held.get('folder')}/{name}` is gone"
            if there != size:
                return f"`{held.get('folder')}/{name}` is not as it was written"
        return ""


def _digest(recipe: Recipe) -> str:
    """The whole recipe and the release, as a hash."""
    text = json.dumps([plain_values(recipe.whole()), VERSION, __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def files_of(folder: Path) -> dict[str, int]:
    """The files of a result and their sizes; of a training without its checkpoints."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not parts[0].startswith((".", "checkpoint-")) and parts[0] != "runs":
            found["/".join(parts)] = path.stat().st_size
    return found


def tables_of(folder: Path) -> str | None:
    """A hash of the rows that a step has written; None if it writes no table."""
    found = xxhash.xxh3_128()
    files = sorted((folder / "data").glob("*.parquet"))
    for path in files:
        found.update(path.name.encode())
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    return found.hexdigest() if files else None


def content_of_sources(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies the sources that no step makes: the student, and local tables.

    Args:
        settings (`Mapping`): The deciding settings of a step, without those that read from other steps.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if not isinstance(value, str) or not value:
            continue
        if key == "student":
            found[key] = _student(value, settings.get("revision"))
        elif key.endswith(".source") and shipped(value) is None and (place := Path(value).expanduser()).exists():
            found[key] = _stamps(place)
    return found


def _student(name: str, revision: str | None) -> Any:
    """The identity of a student; its name where the Hub can't be reached, since nothing else is known."""
    try:
        return resolve_student(name, revision).identity
    except UserError:
        return {"name": name}


def _stamps(place: Path) -> list[Any]:
    """Sizes and times of the files of a source."""
    files = [place] if place.is_file() else sorted(one for one in place.rglob("*") if one.suffix in _DATA)
    return [[str(one.relative_to(place)), one.stat().st_size, one.stat().st_mtime_ns] for one in files]


def recipe_of(folder: Path, step: str) -> Path:
    """The recipe of a step."""
    return folder / RECIPES / f"{step.replace('/', '-')}.yaml"


def write_recipe(folder: Path, step: ChainStep) -> Path:
    """The recipe of a step, for its stage alone."""
    path = recipe_of(folder, step.name)
    text = f"# {step.name}: palign {step.stage} --config {path}\n" + yaml.safe_dump(
        plain_values(step.values), sort_keys=False, allow_unicode=True
    )
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            return path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path


def plain_values(values: Any) -> Any:
    """Values as YAML writes them."""
    if isinstance(values, Mapping):
        return {key: plain_values(one) for key, one in values.items()}
    return [plain_values(one) for one in values] if isinstance(values, list | tuple) else values


def figures(folder: Path, held: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a step's report."""
    return read_mapping(folder / str(held["folder"]) / REPORT) or {}


def _numbers(folder: Path) -> dict[str, float]:
    """The numbers of a stage's report."""
    report = read_mapping(folder / REPORT) or {}
    usage = report.get("usage")
    found = {**report, **(usage if isinstance(usage, Mapping) else {})}
    return {
        name: value for name, value in found.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def expected(stage: Any, settings: Any) -> dict[str, int]:
    """What a stage is forecast to compute, for the record; empty where that can't be known before."""
    try:
        # The run itself prints what it reads.
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            found = stage.forecast(settings)
    except UserError:
        return {}
    if not isinstance(found, Forecast):
        return {}
    steps = found.training.steps if found.training is not None else None
    numbers = {"computed_tokens": found.prompt_tokens, "generated_tokens": found.written_tokens, "steps": steps}
    return {name: number for name, number in numbers.items() if number is not None}


def _side_by_side(name: str, held: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Forecast and fact of a step."""
    forecast, fact = held.get("forecast") or {}, dict(held.get("figures") or {})
    if "prompt_tokens" in fact:
        fact.setdefault("computed_tokens", fact["prompt_tokens"] - fact.get("cached_tokens", 0))
    return [
        (name, words, f"{forecast[key]:,}", f"{fact[key]:,}")
        for key, words in _FORECAST.items()
        if forecast.get(key) is not None and fact.get(key) is not None
    ]


_FORECAST = {"computed_tokens": "prompt tokens", "generated_tokens": "written tokens", "steps": "training steps"}


def page(recipe: Recipe, steps: Sequence[ChainStep], record: RunRecord, compared: str) -> str:
    """The page of the run: its steps with their main figures, and the comparison."""
    rows = []
    lines = []
    for step in steps:
        held = record.steps.get(step.name)
        if held is None:
            rows.append((step.name, "not run", "", ""))
            continue
        rows.append((step.name, "done", f"{held['seconds']:,.0f} s", f"[{step.folder}]({step.folder}/{PAGE})"))
        shown = [f"{name}: {value}" for name, value in list(figures(record.folder, held).get("lines", []))[:6]]
        lines += [f"- **{escaped(step.name)}**: " + escaped("; ".join(shown))]
    blocks = [f"# {escaped(str(recipe.head.student or ', '.join(recipe.head.all_students())))}", ""]
    blocks += [*table(("step", "state", "time", "result"), rows, str), "", *lines, ""]
    done = [row for step in steps if (held := record.steps.get(step.name)) for row in _side_by_side(step.name, held)]
    if done:
        blocks += ["## Forecast and fact", "", *table(("step", "what", "forecast", "fact"), done, str), ""]
    if compared:
        blocks += ["## Comparison", "", compared, ""]
    return "\n".join(blocks)


def read_kept(folder: Path) -> Recipe:
    """The recipe that a run keeps in its folder."""
    text = (folder / RECIPES / CHAIN).read_text(encoding="utf-8")
    return chain_of(yaml.safe_load(text), f"`{folder / RECIPES / CHAIN}`", folder / RECIPES)


def begin(record: RunRecord, one: State, settings: Any) -> Any:
    """Note that a step begins; its settings, which replace the result of other settings where there is one."""
    begun = record.held.setdefault("begun", {})
    before = begun.get(one.step.name) or record.steps.get(one.step.name, {}).get("signature")
    again = one.step.name in record.steps
    record.held["steps"].pop(one.step.name, None)
    # What this run changes is no longer the result of the recipe that was finished before.
    for name in ("finished", "published"):
        record.held.pop(name, None)
    begun[one.step.name] = one.signature
    record.write()
    if not hasattr(settings, "overwrite"):  # a stage of another package
        return settings
    return dataclasses.replace(settings, overwrite=again or (before is not None and before != one.signature))


def share(failed: int, rows: int) -> float:
    """The share of rows that failed; all of it where nothing is counted."""
    return failed / max(rows, failed, 1)


def elapsed(began: float) -> float:
    """Seconds since a moment of `time.monotonic`."""
    return round(time.monotonic() - began, 1)
