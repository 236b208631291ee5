"""The model card of a published student: what the training wrote beside it, and what was measured since.

A training writes the card of its student: what it is, how it was trained, its segments. The sections of that card are
carried to the card on the Hub, with the evaluation and the plot of a study as sections of their own. What a person has
edited survives; of the YAML only facts of the weights are set at every push: their base, their data, and our results.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError
from palign_hf.hub.cards import FrontMatter, parts, updated_plain, with_parts
from palign_hf.hub.eval_results import SOURCE, model_index, part_of, read_evaluation
from palign_hf.hub.facts import public
from palign_hf.hub.settings import check_repo
from palign_hf.redact import redact
from palign_hf.runs.report import engine_text
from palign_hf.tables import UNKNOWN, interval_text, style_of, table


logger = logging.getLogger("palign_hf")

CARD = "README.md"
# Where the plot of a study is in the repository.
PLOT = "pictures/study.png"
# Keys that describe the weights.
_FACTS = ("base_model", "base_model_relation", "datasets", "library_name", "model_name")
_MERGED = "merged"
_NAME = re.compile(r'^name = ".*"$', re.MULTILINE)
_VERDICTS = ("strict", "lenient")
_MEANING = (
    "pass@1 is the share of right samples, averaged over problems; pass@k the chance that one of k samples is right; "
    "maj@n whether the most frequent answer is. Strict counts the last complete box, or the boxes that end the text "
    "together; lenient counts an answer that any reader finds. In brackets: 95 % intervals by resampling problems."
)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A student: its card as training wrote it, the report of its evaluation, and whether a plot goes with it."""

    repo_id: str
    card: str
    evaluation: Mapping[str, Any] | None = None
    plot: bool = False


def model_facts(
    folder: str | Path,
    *,
    repo_id: str,
    evaluation: str | Path | None = None,
    plot: bool = False,
    dataset: str | None = None,
) -> ModelFacts:
    """The facts of a student in the folder of a training, or in its `merged`.

    `evaluation` is a folder, too; `dataset` is the repository of the pairs, for a card that names none.
    """
    check_repo(repo_id, repo_id)
    path = Path(folder).expanduser()
    merged = path.resolve().name == _MERGED and not (path / CARD).is_file()
    card = (path.resolve().parent if merged else path) / CARD
    if card.is_symlink() or not card.is_file():
        raise UserError(
            f"`{folder}` has no `{CARD}` (a link isn't followed), which a training writes at its end. Give the "
            f"folder of a training that has ended, or put a card there."
        )
    with card.open(encoding="utf-8", newline="") as file:
        text = redact(file.read())
    if merged:
        top = FrontMatter(text)
        top.set("library_name", "transformers")
        if "base_model_relation" in top.data:
            top.set("base_model_relation", "finetune")
        text = top.card()
    if dataset is not None:
        top = FrontMatter(text)
        top.setdefault("datasets", [dataset])
        text = top.card()
    results = None if evaluation is None else read_evaluation(evaluation)
    return ModelFacts(repo_id=repo_id, card=text, evaluation=results, plot=plot)


def render(facts: ModelFacts, existing: str | None) -> str:
    """The card of the student, made from the existing one; sections that stay as edited are logged."""
    card, notes = updated(facts, existing)
    for note in notes:
        logger.warning("%s: %s.", facts.repo_id, note)
    return card


def updated(facts: ModelFacts, existing: str | None) -> tuple[str, list[str]]:
    """The card of the student, and notes of the sections that were edited and stay as they are."""
    ours = FrontMatter(facts.card)
    fresh = not parts(existing or "")
    written = existing is not None and bool(FrontMatter(existing).body.strip())
    top = FrontMatter(existing if existing is not None and written else facts.card)
    made = {name: _named(part.text, facts.repo_id) for name, part in parts(ours.body).items()}
    held = parts(top.body)
    measured = written and _has_ours(top.data.get("model-index"))
    if facts.evaluation is not None:
        made["evaluation"] = "\n".join(["## Evaluation", "", *evaluation_blocks(facts.evaluation)])
        _index(top, facts.evaluation, str(ours.data.get("model_name") or facts.repo_id.partition("/")[2]))
    if facts.plot:
        made["study"] = f"## The study\n\n![The student beside others, with 95 % intervals]({PLOT})\n"
    if written:
        for key, value in ours.data.items():
            if key in _FACTS:
                top.set(key, value)
            else:
                top.setdefault(key, value)
    # Of the student's own parts, one that isn't there was deleted; the others come as they are measured.
    new = set(made) if fresh else {"study"} if measured else {"evaluation", "study"}
    behind = {"evaluation": "training", "study": "evaluation" if "evaluation" in {*made, *held} else "training"}
    top.body, notes = with_parts(top.body, made, new, behind.get)
    trained = parts(top.body).get("training")
    if "evaluation" in held and "evaluation" not in made and trained != held.get("training"):
        notes.append("the evaluation on the card is of an earlier training; publish one of this student")
    return top.card(), notes


def _named(text: str, repo_id: str) -> str:
    """A section whose program names the student as the Hub does."""
    return _NAME.sub(f'name = "{repo_id}"', text)


def _index(top: FrontMatter, evaluation: Mapping[str, Any], name: str) -> None:
    """Our own results, in place of those that were there before; what others have measured stays."""
    held = top.data.get("model-index")
    entries = [dict(one) for one in held] if isinstance(held, list) else []
    for entry in entries:
        entry["results"] = [one for one in entry.get("results") or () if not _is_ours(one)]
    others = [entry for entry in entries if entry["results"]]
    for entry in model_index(evaluation, name):
        same = next((one for one in others if one.get("name") == entry["name"]), None)
        if same is None:
            others.append(entry)
        else:
            same["results"] += entry["results"]
    if others or held:
        top.set("model-index", others)


def _has_ours(index: Any) -> bool:
    """Whether results of ours were published before."""
    entries = index if isinstance(index, list) else []
    return any(_is_ours(one) for entry in entries if isinstance(entry, dict) for one in entry.get("results") or ())


def _is_ours(result: Any) -> bool:
    source = result.get("source") if isinstance(result, dict) else None
    return isinstance(source, dict) and source.get("name") == SOURCE


def evaluation_blocks(evaluation: Mapping[str, Any]) -> list[str]:
    """The figures, a column a benchmark and a row a measure, with their meaning and the run."""
    of = dict(evaluation["benchmarks"])
    parts_of = {task: part_of(evaluation, task) for task in of}
    heads = [f"{task} (partial: {why})" if why else task for task, why in parts_of.items()]
    rows = {"problems": {task: f"{one['problems']:,}" for task, one in of.items()}}
    for task, one in of.items():
        for name, cell in _cells(one):
            rows.setdefault(name, {})[task] = cell
    lines = table(
        ("measure", *heads), [(name, *(found.get(task, UNKNOWN) for task in of)) for name, found in rows.items()]
    )
    run = [(name, str(value)) for name, value in _run(public(evaluation.get("settings", {}))) if value]
    return [*lines, "", _MEANING, "", *table(("run", ""), run), ""]


def _cells(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    ends = one.get("intervals", {})
    for verdict in _VERDICTS:
        for name, value in one[verdict].items():
            if value is not None and f"{verdict} {name}" in ends:
                called = name.replace("@n", f"@{one['n']}")
                yield f"{called}, {verdict}", _figure(name, value, ends[f"{verdict} {name}"])
    for name, interval in ends.items():
        value = one.get(name)
        if isinstance(value, Mapping):
            value = value.get("mean")
        if isinstance(value, (int, float)):
            yield name.replace("_", " "), _figure(name, value, interval)


def _figure(name: str, value: float, interval: Sequence[float | None]) -> str:
    low, high = interval
    return interval_text(value, low, high, style_of(name))


def _run(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "evaluated as", settings.get("student_name")
    yield "tasks", ", ".join(f"{name} ({where})" for name, where in settings.get("tasks", {}).items())
    first = settings.get("max_samples") or settings.get("limit")  # as the last release has it
    yield "max_samples", first and f"the first {first} problems of each task"
    drawn = settings.get("sampling", {})
    yield "sampling", ", ".join(f"{name} {value}" for name, value in drawn.items() if value is not None)
    yield "grader", (settings.get("grader") or {}).get("name")
    yield "engine", engine_text(settings)
    yield "versions", ", ".join(f"{name} {number}" for name, number in settings.get("versions", {}).items())
    yield "result", settings.get("fingerprint")
    yield "date", settings.get("date")
    yield "command", settings.get("command")


_TAGS = ("palign-hf", "evaluation", "reasoning")
_WHAT = (
    "Solutions that students wrote to benchmark problems, with the verdict on every sample. A row is a sample: the "
    "problem's `id` and `benchmark`, its `gold` answer, the `text`, its finish reason, its tokens and its seed, the "
    "grader's verdicts `strict` (the last complete box, or the boxes that end the text together) and `lenient` (any "
    "reader finds the right answer), and whether it has a box, a draft, a loop. Samples that failed are rows, too, "
    "and count as wrong. lighteval's own results and details lie in `lighteval/`, reports in `reports/`. The problems "
    "are those of the benchmarks, under their own licenses."
)


def render_results(
    evaluation: Mapping[str, Any], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> str:
    """The card with this evaluation, made from the existing one; sections that stay as edited are logged."""
    card, notes = updated_results(evaluation, repo_id, config, splits, existing)
    for note in notes:
        logger.warning("%s: %s.", repo_id, note)
    return card


def updated_results(
    evaluation: Mapping[str, Any], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> tuple[str, list[str]]:
    """The card with this evaluation, and notes of the sections that were edited and stay as they are."""
    blocks = evaluation_blocks(evaluation)
    return updated_plain(_WHAT, blocks, repo_id, config, splits, existing, tags=_TAGS, variable="samples")
