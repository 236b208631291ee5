"""Comparison of models: figures side by side, paired differences with intervals, a plot with one panel a measure."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from palign_hf.config import folder_of
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.evaluation.grade import read_samples
from palign_hf.evaluation.metrics import VERDICTS, Measures, measure, shown_ks
from palign_hf.evaluation.samples import PARTIAL, Sample, heading, partial_of, partial_words, remarks
from palign_hf.evaluation.statistics import Interval, check_same_problems, crossed, differences, intervals
from palign_hf.evaluation.summary import WORDS, figure_text, grouped
from palign_hf.plotting import Bar, Panel, colour, interval_plot
from palign_hf.runs.claims import Claim
from palign_hf.runs.parts import read_mapping, whole, write_whole
from palign_hf.runs.report import json_line
from palign_hf.tables import aligned, escaped, style_of, table


Models = Mapping[str, Sequence[Sample]]
_TABLE, _FIGURES, _PLOT = "comparison.md", "comparison.json", "comparison.png"


@dataclass(frozen=True)
class Comparison:
    """Figures of models over all problems or a group; the others are compared with the first."""

    group: str
    measures: Mapping[str, Measures]
    seed: int = 0
    partial: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Of each measure that is shown, for each model that has it."""
        found = {model: intervals(one, self.seed) for model, one in self.measures.items()}
        return {name: {model: of[name] for model, of in found.items() if name in of} for name in self.names}

    @cached_property
    def differences(self) -> dict[str, dict[str, Interval]]:
        """Each other model minus the first."""
        (_, first), *others = self.measures.items()
        found = {model: differences(one, first, self.seed) for model, one in others}
        return {name: {model: of[name] for model, of in found.items() if name in of} for name in self.names}

    @cached_property
    def names(self) -> list[str]:
        """The displayed measures: every k that all models have samples for, and the measures that any model has."""
        n = min(one.n for one in self.measures.values())
        several = ["maj@n"] if len({one.n for one in self.measures.values()}) == 1 else []
        passes = [*(f"pass@{k}" for k in shown_ks(n)), *several]
        found = [f"{verdict} {name}" for verdict in VERDICTS for name in passes]
        return found + [name for name in WORDS if any(name in one.of for one in self.measures.values())]

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of a table: a measure, its value for each model, and the differences."""
        rows = []
        for name in self.names:
            cells = [figure_text(self.intervals[name].get(model), name) for model in self.measures]
            apart = [figure_text(self.differences[name].get(model), name) for model in list(self.measures)[1:]]
            rows.append((self.words(name), *cells, *apart))
        return rows

    def head(self) -> tuple[str, ...]:
        """The names of its columns."""
        first, *others = self.measures
        return (heading(self.group, self.partial), first, *others, *(f"{other} - {first}" for other in others))

    def words(self, name: str) -> str:
        """How a measure is called."""
        n = next(iter(self.measures.values())).n
        return WORDS.get(name) or name.replace("@n", f"@{n}")

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "problems": len(next(iter(self.measures.values())).problems),
            "partial": dict(self.partial),
            "n": {model: one.n for model, one in self.measures.items()},
            "figures": _plain(self.intervals),
            "differences": _plain(self.differences),
        }


@dataclass(frozen=True)
class SeededComparison(Comparison):
    """Figures of models that were trained or sampled with several seeds: problems and seeds count as drawn at random.

    `measures` are those of the first seed; `seeds` has those of all, in the same order for each model.
    """

    seeds: Mapping[str, Sequence[Measures]] = field(default_factory=dict)

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Of each measure that is shown, for each model that has it."""
        return {
            name: {model: crossed(self._values(model, name), self._bounds(name)) for model in self._having(name)}
            for name in self.names
        }

    @cached_property
    def differences(self) -> dict[str, dict[str, Interval]]:
        """Each other model minus the first, problem by problem and seed by seed."""
        first, *others = self.measures
        found: dict[str, dict[str, Interval]] = {}
        for name in self.names:
            bounds, having = self._bounds(name), self._having(name)
            apart = bounds and (bounds[0] - bounds[1], bounds[1] - bounds[0])
            found[name] = {
                model: crossed(self._values(model, name) - self._values(first, name), apart)
                for model in others
                if first in having and model in having
            }
        return found

    def _having(self, name: str) -> list[str]:
        return [model for model, of in self.seeds.items() if all(name in one.of for one in of)]

    def _bounds(self, name: str) -> tuple[float, float] | None:
        return next(one.of[name].bounds for of in self.seeds.values() for one in of if name in one.of)

    def _values(self, model: str, name: str) -> np.ndarray:
        found = [one.of[name] for one in self.seeds[model]]
        return np.stack([one.totals / np.maximum(one.weights, 1e-12) for one in found], axis=1)


@dataclass(frozen=True)
class Comparisons:
    """Over all problems, and by groups of them."""

    overall: Comparison
    groups: Sequence[Comparison]
    files: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "models": list(self.files),
            "files": dict(self.files),
            **self.overall.as_dict(),
            "groups": {one.group: one.as_dict() for one in self.groups},
        }

    def json(self) -> str:
        """One line."""
        return json_line(self.as_dict())

    def text(self) -> str:
        """For a terminal: figures with 95 % intervals."""
        tables = ["\n".join(aligned([one.head(), *one.rows()])) for one in (self.overall, *self.groups)]
        return "\n\n".join([*tables, *(f"note: {line}" for line in remarks(self.overall.partial))])

    def page(self) -> str:
        """As Markdown."""
        blocks = [f"# {escaped(' and '.join(self.files))}", "", f"![The figures of the table]({_PLOT})", ""]
        for one in (self.overall, *self.groups):
            blocks += [*table(one.head(), one.rows()), ""]
        problems = len(next(iter(self.overall.measures.values())).problems)
        seeds = len(next(iter(self.overall.seeds.values()))) if isinstance(self.overall, SeededComparison) else 1
        note = (
            f"Over {problems} problems. In brackets: 95 % intervals by resampling problems (BCa); differences are "
            f"paired over the same problems."
            if seeds == 1
            else f"Over {problems} problems and {seeds} seeds. In brackets: 95 % intervals, problems and seeds taken "
            f"as drawn at random; differences are paired, problem by problem and seed by seed."
        )
        return "\n".join([*blocks, note, "", *(f"- {escaped(line)}" for line in remarks(self.overall.partial))])

    def write(self, folder: str | Path, overwrite: bool = False) -> list[Path]:
        """Table, figures and plot into a folder; what else has their names is never written over.

        Args:
            folder (`str` or `Path`): where to write, which may hold other files.
            overwrite (`bool`): whether a comparison of other files may be written over.
        """

        home = folder_of(folder)
        check_home(home, list(self.files.values()), overwrite)
        home.mkdir(parents=True, exist_ok=True)
        write_whole(home / _TABLE, self.page())
        write_whole(home / _FIGURES, self.json() + "\n")
        draw(self.overall, home / _PLOT)
        return [home / name for name in (_TABLE, _FIGURES, _PLOT)]


def check_home(folder: Path, files: Sequence[str], overwrite: bool = False, name: str = "output_dir") -> None:
    """Refuse a folder for the comparison of these files that is one of them, or holds something else of its names.

    Args:
        folder (`Path`): where the comparison goes.
        files (`Sequence[str]`): what is compared.
        overwrite (`bool`): whether the comparison of other files may be written over.
        name (`str`): the setting that gives the folder.
    """
    for file in files:
        if file and folder.exists() and os.path.realpath(os.path.expanduser(file)) == os.path.realpath(folder):
            raise UserError(f"`{name}={folder}` is what is compared. Give another folder.")
    Claim(folder, (_TABLE, _FIGURES, _PLOT), _FIGURES, ours=_is_comparison, alone=False).check(name=name)
    held = read_mapping(folder / _FIGURES)
    if held is None or overwrite:
        return
    of = list(dict(held["files"]).values())
    if of != list(files) and not all(_within(file, folder) for file in of):
        raise UserError(
            f"`{name}={folder}` holds a comparison of other files: {shown(listed(of), 300)}. Give another folder, or "
            f"replace it with `overwrite=True`."
        )


def _is_comparison(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("files"), dict) and {"models", "figures", "differences", "groups"} <= data.keys()


def _within(file: Any, folder: Path) -> bool:
    """Whether a file lies in the folder of a comparison, as the students of one evaluation do."""
    return isinstance(file, str) and Path(os.path.realpath(folder)) in Path(os.path.realpath(file)).parents


def compare_files(
    files: Sequence[str], names: Sequence[str] | None = None, by: Sequence[str] = (), seed: int = 0
) -> Comparisons:
    """Compare the samples in files, the first with each other one; `by` names columns to group the problems by."""
    if len(files) < 2:
        raise UserError(f"{listed(files)} alone can't be compared. Give the samples of two models or more.")
    called = dict(zip(_names(files, names), files, strict=True))
    models = {name: read_samples(file) for name, file in called.items()}
    return compare(models, by, seed, called)


def compare(
    models: Models, by: Sequence[str] = (), seed: int = 0, files: Mapping[str, str] | None = None
) -> Comparisons:
    """Compare the samples of models by name; all must be of the same problems, with the same gold answers."""
    measures = {name: measure(samples) for name, samples in models.items()}
    check_same_problems(measures)
    first, *others = models
    golds = {sample.problem: sample.gold for sample in models[first]}
    for other in others:
        for sample in models[other]:
            if golds[sample.problem] != sample.gold:
                raise UserError(
                    f"`{first}` and `{other}` can't be compared: the gold answer of the problem `{shown(sample.id)}` "
                    f"is `{shown(golds[sample.problem])}` for one and `{shown(sample.gold)}` for the other. Evaluate "
                    f"both on the same problems."
                )
    # Of any of them: what one has of a benchmark, all have, but older samples don't say so.
    partial = {name: why for samples in models.values() for name, why in partial_of(samples).items()}
    groups = [one for column in _wanted(models, by) for one in _groups(models, column, seed, partial)]
    return Comparisons(Comparison("all problems", measures, seed, partial), groups, files or dict.fromkeys(models, ""))


def compare_seeds(
    models: Mapping[str, Sequence[Sequence[Sample]]], files: Mapping[str, Sequence[str | Path]]
) -> Comparisons:
    """Compare models of which each was sampled with the same seeds; with one seed as `compare` does.

    Args:
        models (`Mapping`): The samples of each seed, by model; the others are compared with the first.
        files (`Mapping`): Where they come from.
    """
    firsts = {name: seeds[0] for name, seeds in models.items()}
    named = {name: str(of[0]) for name, of in files.items()}
    found = compare(firsts, files=named)
    if all(len(seeds) == 1 for seeds in models.values()):
        return found
    if len({len(seeds) for seeds in models.values()}) > 1:
        counts = listed(f"{name}: {len(seeds)}" for name, seeds in models.items())
        raise UserError(f"The models have different numbers of seeds ({counts}). Evaluate each with the same seeds.")
    measures = {name: [measure(samples) for samples in seeds] for name, seeds in models.items()}
    check_same_problems({f"{name}, seed {k}": one for name, of in measures.items() for k, one in enumerate(of)})
    overall = SeededComparison("all problems", found.overall.measures, 0, found.overall.partial, seeds=measures)
    return Comparisons(overall, (), named)


def _groups(models: Models, column: str, seed: int, partial: Mapping[str, str]) -> list[Comparison]:
    """One comparison for each value of a column of the first model, whose problems all models share."""
    first = next(iter(models.values()))
    values = {sample.problem: _value(sample, column) for sample in first}
    parted = {name: grouped(samples, lambda sample: values[sample.problem]) for name, samples in models.items()}
    parted_first = next(iter(parted.values()))
    return [
        Comparison(
            f"{column} {value}",
            {name: measure(groups[value]) for name, groups in parted.items()},
            seed,
            {name: why for name, why in partial.items() if any(one.benchmark == name for one in parted_first[value])},
        )
        for value in parted_first
    ]


def _wanted(models: Models, by: Sequence[str]) -> list[str]:
    """The columns to group by; benchmarks are always separated."""
    first = next(iter(models.values()))
    known = ["benchmark", *dict.fromkeys(name for sample in first for name in sample.about if name != PARTIAL)]
    for column in by:
        if column not in known:
            raise UserError(
                f"Problems can't be grouped by `{shown(column)}`{nearest(column, known)}: the first file has no such "
                f"column. It has {listed(known)}; `palign grade --carry COLUMN` keeps others."
            )
    several = len({sample.benchmark for sample in first}) > 1
    return list(dict.fromkeys([*(["benchmark"] if several else []), *by]))


def _value(sample: Sample, column: str) -> Any:
    return sample.benchmark if column == "benchmark" else sample.about.get(column)


def _names(files: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """Names of the models: as given, else the file names with as many folders as make them unique."""
    if names is not None:
        if len(names) != len(files) or len(set(names)) != len(names):
            raise UserError(f"{listed(names)} don't name {len(files)} files. Give each file its own name.")
        return list(names)
    parts = [Path(file).expanduser().absolute().with_suffix("").parts for file in files]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(one[-length:]) for one in parts]
        if len(set(found)) == len(found):
            return found
    raise UserError(f"{listed(files)} are the same file. Give those of different models.")


def _plain(found: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    return {name: {model: asdict(one) for model, one in of.items()} for name, of in found.items()}


_COLUMNS = 3


def draw(comparison: "Comparison", path: Path) -> None:
    """Draw all measures of a comparison, each on its own scale: shares from 0 to 1, tokens from 0."""
    models = list(comparison.measures)
    panels = [panel_of(comparison.words(name), name, comparison.intervals[name], models) for name in comparison.names]
    note = f"partial: {partial_words(comparison.partial)}" if comparison.partial else ""
    inks = [colour(k) for k in range(len(models))]
    with whole(path) as unfinished:
        unfinished.write_bytes(interval_plot(models, panels, inks, columns=_COLUMNS, note=note))


def panel_of(
    title: str, name: str, found: Mapping[str, Interval], models: Sequence[str], *, full: bool = True
) -> Panel:
    """The panel of one measure; shares end at 1, or with `full=False` where the longest interval does, as tokens."""
    bars = [
        Bar(found[model].value, found[model].low, found[model].high) if model in found else None for model in models
    ]
    reach = max((max(bar.value, bar.high or 0.0) for bar in bars if bar), default=0.0) or 1.0
    if style_of(name) == ".0f":
        return Panel(title, bars, reach, ".0f")
    return Panel(title, bars, 1.0, "g") if full else Panel(title, bars, reach, ".2f")
