"""The study's page: setup, results, conclusions and limits."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from examples.toy.study.arms import FIRST, UNTRAINED, StudyPlan, arm_named
from examples.toy.study.figures import SHOWN, Figures, by, figures, read_students
from examples.toy.study.lesson import TRAINED, place
from examples.toy.study.picture import draw
from palign_hf.evaluation.summary import figure_text as told_figure
from palign_hf.runs.parts import read_mapping, write_whole
from palign_hf.runs.report import versions
from palign_hf.tables import table


PAGE, PLOT, FIGURES = "study.md", "study.png", "study.json"
_MAIN = "strict pass@1"
# A student below this share of boxed answers hasn't learned to answer.
_HARDLY = 0.05


def write(plan: StudyPlan, folder: Path, facts: Mapping[str, Any], docs: Path) -> list[Path]:
    """Write page, plot and figures of all students of the plan."""
    students = read_students(plan, folder, plan.seeds)
    every = figures(students)
    parts = {column: by(students, column) for column in ("difficulty", "family")}
    docs.mkdir(parents=True, exist_ok=True)
    draw(every, docs / PLOT)
    write_whole(docs / PAGE, page(plan, facts, every, parts, trained(plan, folder)))
    found = {"plan": facts["plan"], "seeds": plan.seeds, "all": plain(every)}
    found |= {
        column: {value: plain(one) for value, one in groups.items() if one.problems > 1}
        for column, groups in parts.items()
    }
    write_whole(folder / FIGURES, json.dumps(found, sort_keys=True, indent=1) + "\n")
    return [docs / PAGE, docs / PLOT, folder / FIGURES]


def trained(plan: StudyPlan, folder: Path) -> dict[str, dict[str, Any]]:
    """Training report of each arm's first student."""
    found = {arm: read_mapping(place(folder, arm, 0) / TRAINED) for arm in plan.arms}
    return {arm: report for arm, report in found.items() if report is not None}


def page(
    plan: StudyPlan,
    facts: Mapping[str, Any],
    every: Figures,
    parts: Mapping[str, Mapping[str, Figures]],
    training: Mapping[str, Mapping[str, Any]],
) -> str:
    """Render the page."""
    samples = plan.seeds * plan.samples
    head: tuple[str, ...] = ("arm", *(SHOWN[name] for name in every.names()))
    lines = [
        "# What teaches a small student",
        "",
        "Written by `make study`; every figure here comes from that command.",
        "",
        f"The student of the toy world (2.9 million parameters, which ships with the package) is trained in "
        f"{len(plan.arms)} ways, each with {plan.seeds} seeds, and then solves {every.problems} held-out problems, "
        f"{plan.samples} samples each: {samples} samples of each problem by each arm. A seed decides "
        f"the order of the rows and the samples that are drawn. Every arm has {plan.rows} problems that need a "
        f"prefix, {plan.steps} steps, the learning rate {plan.learning_rate:g}, and as many tokens in a step, prompts "
        f"included, as `{FIRST}` has in {plan.rows_a_step} rows. In brackets stand 95 % intervals over problems and "
        f"seeds, both taken as drawn at random; differences are paired, problem by problem and seed by seed.",
        "",
        *table(("arm", "what is learned"), [(arm, arm_named(arm).words) for arm in plan.arms]),
        "",
        "## All problems",
        "",
        f"![Figures of all arms]({PLOT})",
        "",
        *table(head, [_row(every, arm) for arm in every.measures]),
        "",
        f"### Each arm minus `{FIRST}`",
        "",
        *table(head, [_apart(every, arm) for arm in every.measures if arm != FIRST]),
        "",
    ]
    for column, groups in parts.items():
        # A single problem has no interval.
        several = {value: one for value, one in groups.items() if one.problems > 1}
        head = ("arm", *(f"{value} ({one.problems} problems)" for value, one in several.items()))
        rows = [(arm, *(told_figure(one.of(arm, _MAIN)) for one in several.values())) for arm in every.measures]
        lines += [f"## pass@1 by {column}", "", *table(head, rows), ""]
    lines += ["## What each arm read", "", *_read(plan, facts, training), ""]
    lines += ["## What can be concluded", "", *concluded(every), ""]
    lines += ["## What cannot", "", *_limits(plan, facts, every), ""]
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines += [f"Machine: {platform.machine()}, {os.cpu_count()} cores, each student on one. {made}", ""]
    return "\n".join(lines)


def concluded(every: Figures) -> list[str]:
    """Conclusions from the intervals."""
    better = _sorted_out(every, UNTRAINED)
    against = _sorted_out(every, FIRST)
    lines = [
        f"- Above the untrained student in pass@1: {_named(better['above'])}. Below it: {_named(better['below'])}. "
        f"No difference shown: {_named(better['open'])}.",
        f"- Against `{FIRST}` in pass@1: above it {_named(against['above'])}; below it {_named(against['below'])}; "
        f"no difference shown {_named(against['open'])}.",
    ]
    longest = max(every.measures, key=lambda arm: every.of(arm, "tokens").value)
    opened = max(every.measures, key=lambda arm: 1 - every.of(arm, "closed").value)
    lines.append(
        f"- The longest outputs are those of `{longest}`, {every.of(longest, 'tokens').value:.0f} tokens on average. "
        f"Drafts are left open most often by `{opened}`, in {1 - every.of(opened, 'closed').value:.0%} of its outputs."
    )
    silent = [arm for arm in every.measures if every.of(arm, "boxed").value < _HARDLY]
    if silent:
        lines.append(
            f"- {_named(silent)} hardly ever give an answer: their targets end before there is one. Such targets are "
            f"meant to be continued, and nothing continues them here."
        )
    lines.append(
        f"- These are {2 * len(every.measures) - 3} comparisons: about one in twenty that show nothing would look "
        f"like a difference by chance."
    )
    return lines


def plain(found: Figures) -> dict[str, Any]:
    """Return the figures as plain data."""
    return {
        "problems": found.problems,
        "arms": {arm: {SHOWN[name]: asdict(found.of(arm, name)) for name in found.names()} for arm in found.measures},
        "minus p-align": {
            arm: {SHOWN[name]: asdict(found.apart(arm, name)) for name in found.names()}
            for arm in found.measures
            if arm != FIRST
        },
    }


def _read(plan: StudyPlan, facts: Mapping[str, Any], training: Mapping[str, Mapping[str, Any]]) -> list[str]:
    head = ("arm", "tokens a row", "rows a step", "epochs", "tokens learned", "loss, first and last logged")
    rows = []
    for arm, report in training.items():
        counts = report["tokens"]
        learned = sum(count for name, count in counts.items() if name != "prompt") / report["rows"]
        read = facts["rows_a_step"][arm] * plan.steps
        rows.append(
            (
                arm,
                f"{facts['tokens_a_row'][arm]:.0f}",
                str(facts["rows_a_step"][arm]),
                f"{report['epochs']:.3g}",
                f"{read * learned:,.0f}",
                f"{report['first']['loss']:.2f}, {report['last']['loss']:.2f}",
            )
        )
    return table(head, rows)


def _limits(plan: StudyPlan, facts: Mapping[str, Any], every: Figures) -> list[str]:
    ids = facts["problems"]
    shared = len(set(ids["prompt"]) & set(ids["prefill"]) & set(ids["exact"]))
    return [
        "- This student and its world are small: it has seen such problems before, in another form, and its own "
        "samples are short. What is best here need not be best for a student of 7 billion parameters on mathematics.",
        f"- One budget and one learning rate for all. {plan.steps} steps are few: an arm that learns slowly is at a "
        f"disadvantage, and none was tuned.",
        "- Equal tokens include the prompt, so arms with short targets see their rows more often and learn fewer "
        "tokens; the table above has the counts.",
        f"- The problems are those that the student could solve with help, which are easier than all of them. The "
        f"arms made of the prompt's pairs have the very same ones; of the prefilled and the exact ones "
        f"{shared} of {plan.rows} are the same; those of `rejection` are others, solved without any prefix.",
        f"- {every.problems} problems and {plan.seeds} seeds leave the intervals as wide as they are: a difference "
        f"inside them is not shown to be absent.",
    ]


def _sorted_out(every: Figures, other: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"above": [], "below": [], "open": []}
    for arm in every.measures:
        if arm in (other, UNTRAINED):
            continue
        apart = every.apart(arm, _MAIN, other)
        sure = apart.low is not None and apart.high is not None and (apart.low > 0 or apart.high < 0)
        found[("above" if apart.value > 0 else "below") if sure else "open"].append(arm)
    return found


def _named(arms: list[str]) -> str:
    return ", ".join(f"`{arm}`" for arm in arms) or "none"


def _row(every: Figures, arm: str) -> tuple[str, ...]:
    return (arm, *(told_figure(every.of(arm, name), name) for name in every.names()))


def _apart(every: Figures, arm: str) -> tuple[str, ...]:
    return (arm, *(told_figure(every.apart(arm, name), name) for name in every.names()))
