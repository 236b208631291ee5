"""Results of an evaluation for the Hub: files of `.eval_results/`, and the `model-index` of the card.

Values are per cent. pass@1 is the share of right samples, averaged over problems, not the verdict on the first sample;
pass@k is the chance that one of k samples is right. Both are strict: they count the last complete box, or the boxes
that end the text together.

Of both leaderboards are made, so only whole benchmarks go there: all problems, and of a copy those of the pinned
revision as far as its content is known. Of `.eval_results/` each figure is a file of its own
that says how it was measured. What was asked in part, or has no place on the Hub, is on the card alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.repocard_data import eval_results_to_model_index

from palign_hf.data.benchmarks import BENCHMARKS, Benchmark
from palign_hf.errors import UserError
from palign_hf.hub.cards import dumped
from palign_hf.hub.facts import name_of, public_report
from palign_hf.runs.parts import read_mapping
from palign_hf.runs.shards import REPORT


FOLDER = ".eval_results"
SOURCE = "palign-hf"
# Where a benchmark without a configuration keeps its task.
_TASK = "default"


@dataclass(frozen=True)
class Result:
    """One figure: pass@k of a task, as a share with its interval. `revision` is None unless the Hub's own was read."""

    task: str
    benchmark: str
    known: Benchmark
    revision: str | None
    k: int
    value: float
    low: float | None
    high: float | None
    problems: int
    samples: int

    @property
    def meaning(self) -> str:
        """What the figure is of."""
        counted = f"{self.problems} problems, {self.samples} samples in all"
        if self.k == 1:
            strict = "the last complete box, or the boxes that end the text together"
            return f"pass@1: share of right samples, {counted}; strict: {strict}"
        return f"pass@{self.k}: chance that one of {self.k} samples is right, {counted}; strict"


def read_evaluation(folder: str | Path, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The report of an evaluation in its folder, or another report of the same run, as it may be published."""
    report = read_mapping(Path(folder).expanduser() / REPORT) if report is None else report
    if report is None or not isinstance(report.get("benchmarks"), dict):
        raise UserError(
            f"`{folder}` has no `{REPORT}` of an evaluation. Give the folder of an evaluation, or run the "
            f"same command again until it ends."
        )
    settings = dict(report.get("settings", {}))
    # A local copy of a benchmark is published by the name of the benchmark.
    tasks = {name: _place(str(where)) for name, where in settings.get("tasks", {}).items()}
    return public_report({**report, "settings": {**settings, "tasks": tasks}})


def results(evaluation: Mapping[str, Any]) -> list[Result]:
    """The strict pass@1 and pass@n of every whole benchmark that has a place on the Hub."""
    return list(_results(evaluation))


def eval_result_files(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Files of `.eval_results/` by their paths; none of a benchmark that was asked in part."""
    settings = evaluation.get("settings", {})
    files = {}
    for one in results(evaluation):
        interval = "" if one.low is None or one.high is None else f"; 95 % interval {one.low:.1%} to {one.high:.1%}"
        compared = "compared with the pinned revision" if one.known.content else "whose problems were counted only"
        pinned = "" if one.revision else f"; from a copy of the benchmark, {compared}"
        entry = EvalResultEntry(
            dataset_id=one.known.hub_id,
            task_id=one.known.config or _TASK,
            value=_percent(one.value),
            dataset_revision=one.revision,
            date=settings.get("date"),
            notes=f"{one.meaning}{interval}{_drawn(settings)}{pinned}; {SOURCE}",
        )
        files[f"{FOLDER}/palign_{one.task}_pass_at_{one.k}.yaml"] = dumped(eval_result_entries_to_yaml([entry]))
    return files


def model_index(evaluation: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The `model-index` of a card; empty where no whole benchmark has a place on the Hub."""
    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=one.known.hub_id,
            dataset_name=one.benchmark,
            dataset_config=one.known.config,
            dataset_split=one.known.split,
            dataset_revision=one.revision,
            metric_type=f"pass@{one.k}",
            metric_name=f"pass@{one.k}, strict, in per cent",
            metric_value=_percent(one.value),
            source_name=SOURCE,
            source_url="https://huggingface.co/papers/2601.10064",
        )
        for one in results(evaluation)
    ]
    return eval_results_to_model_index(name, found) if found else []


def _results(evaluation: Mapping[str, Any]) -> Iterator[Result]:
    tasks = evaluation.get("settings", {}).get("tasks", {})
    for task, figures in evaluation["benchmarks"].items():
        place = _known(str(tasks.get(task, "")))
        if place is None:
            continue
        benchmark, revision = place
        if part_of(evaluation, task) or figures["problems"] != BENCHMARKS[benchmark].rows:
            continue
        # An earlier release did not compare copies.
        if revision is None and "partial" not in figures:
            continue
        values = {name.removeprefix("pass@"): value for name, value in figures["strict"].items()}
        ks = sorted(int(k) for k, value in values.items() if k.isdecimal() and value is not None)
        # Between one sample and all of them nobody compares.
        for k in dict.fromkeys([*ks[:1], *ks[-1:]]):
            low, high = figures["intervals"].get(f"strict pass@{k}") or (None, None)
            yield Result(
                task=task,
                benchmark=benchmark,
                known=BENCHMARKS[benchmark],
                revision=revision,
                k=k,
                value=values[str(k)],
                low=low,
                high=high,
                problems=figures["problems"],
                samples=figures["samples"],
            )


def part_of(evaluation: Mapping[str, Any], task: str) -> str | None:
    """Why the figures of a task aren't those of its whole benchmark; None if they are, as far as it is known."""
    reasons = evaluation["benchmarks"][task].get("partial") or {}
    settings = evaluation.get("settings", {})
    limit = settings.get("max_samples") or settings.get("limit")  # as the last release has it
    return reasons.get(task) or (f"the first {limit} problems" if limit and "partial" not in evaluation else None)


def _known(where: str) -> tuple[str, str | None] | None:
    """The benchmark that was read, and its commit if it was the Hub's."""
    name, at, commit = where.partition("@")
    for benchmark, known in BENCHMARKS.items():
        if name == known.hub_id:
            pinned = bool(at and commit and known.revision and known.revision.startswith(commit))
            return benchmark, known.revision if pinned else None
    return None


def _place(where: str) -> str:
    """Of a folder with copies, the name of the benchmark that it ends with."""
    parts = where.replace("\\", "/")
    if "@" in parts:
        return where
    for known in BENCHMARKS.values():
        if f"/{parts}/".find(f"/{known.hub_id}/") >= 0:
            return known.hub_id
    return name_of(where)


def _drawn(settings: Mapping[str, Any]) -> str:
    drawn = settings.get("sampling", {})
    named = [f"{name} {drawn[name]}" for name in ("temperature", "top_p") if drawn.get(name) is not None]
    return f"; {', '.join(named)}" if named else ""


def _percent(value: float) -> float:
    return round(100 * value, 2)
