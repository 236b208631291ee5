"""`palign demo`: the method on problems whose truth is known, told so that a newcomer can follow.

Every stage goes on where an interrupted one stopped, by what it left in the output folder: answered questions are in
the ledger, so the second run of a finished demo asks nothing and takes seconds.
"""

import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.segmentation import cuts
from palign_hf.toy import smollm2
from palign_hf.toy.histogram import as_svg, as_text
from palign_hf.toy.measure import Measured, measure_searches
from palign_hf.toy.student import NAME
from palign_hf.toy.truth import JudgeSkill, distances, toy_problem
from palign_hf.truncation.run import (
    Shard,
    TraceSettings,
    TruncateConfig,
    finish,
    make_truncation,
    recipe_traces,
    truncate_shard,
    versions,
)


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.truncation.report import Report

# Where the SmolLM2 student is exported to, as its recipe has it.
_SMOLLM2 = Path(".palign") / "smollm2-135m"
_STAGES = 4
_WIDTH = 100


@dataclass(frozen=True)
class Cast:
    """Who plays the student: what to say of it, how many traces it gets through in a few minutes."""

    words: str
    rows: int
    context: int | None


CASTS = {
    "toy": Cast(
        words="a student of a few million parameters that ships with the package and was taught in this small world; "
        "it judges well, but not perfectly",
        rows=300,
        context=None,
    ),
    "smollm2": Cast(
        words="SmolLM2-135M-Instruct, a real language model. It writes fluent text, but it is far too small to judge "
        "whether it could finish a solution: expect it to say ENOUGH to nearly everything. What you see here "
        "is that the plumbing works with any student, and that the report tells when a judge measures nothing",
        rows=40,
        context=2048,
    ),
}


@dataclass(frozen=True)
class DemoConfig:
    """What `palign demo` may be told."""

    student: str = "toy"
    rows: int | None = None
    output: str = "runs/demo"
    engine: str = "auto"


@dataclass(frozen=True)
class Told:
    """All that the demo found out."""

    rows: int
    report: "Report"
    measured: list[Measured]
    judge: JudgeSkill

    @property
    def default(self) -> Measured:
        """The search that a user gets without asking."""
        return self.measured[0]

    def figures(self) -> dict[str, Any]:
        """The same names as `benchmarks/toy_truncation.py`."""
        skill = self.default.skill
        return {
            "median_distance": skill.median_distance,
            "too_short": skill.too_short,
            "too_long": skill.too_long,
            "judge_auroc": self.judge.auroc,
            "judge_accuracy": self.judge.accuracy,
        }


def demo(config: DemoConfig, say: Callable[[str], None] = print) -> Told:
    """Run all stages, and say what happens in plain words."""
    cast = _cast(config)
    rows = cast.rows if config.rows is None else config.rows
    folder = Path(config.output)
    for line in _opening(config.student, cast, rows):
        say(line)

    _stage(say, 1, "the student and the traces", f"{rows} problems of the test split, each with a long worked trace.")
    student = _student(config.student)
    recipe = TruncateConfig(
        traces=TraceSettings(source=NAME, split="test", limit=rows),
        student=student,
        output=str(folder / "prefixes"),
        engine=config.engine,
        context=cast.context,
        ledger=str(folder / "ledger"),
    )
    traces = recipe_traces(recipe)

    _stage(
        say,
        2,
        "cutting each trace",
        "The student is shown the beginning of a trace and asks itself: could I finish from here? The shortest "
        "beginning with a yes is kept. Loading the engine comes first and takes about half a minute.",
    )
    truncation = make_truncation(recipe)
    try:
        truncate_shard(recipe, Shard(), traces, truncation)
        report = finish(recipe, 1)

        _stage(
            say,
            3,
            "comparing with the truth",
            "Here the true cut is known. Every cut of every trace is judged once, and other ways to search are run on "
            "the same answers.",
        )
        measured, judge = measure_searches(truncation, traces)
        assert judge is not None
    finally:
        truncation.close()
    told = Told(rows, report, measured, judge)
    if report.rows != rows:
        raise UserError(
            f"{rows} traces went in and {report.rows} rows came out of `{folder}`. Delete it and run again."
        )

    _stage(say, 4, "writing it down", "")
    prefixes = _prefixes(folder)
    shown = _example(prefixes)
    written = _write(folder, config, cast, told, prefixes, shown)

    say("")
    say(shown)
    say("")
    for line in ("What happened:", *_words(told), "", *_table(told)):
        say(line)
    say("")
    say(as_text(distances(prefixes)))
    for warning in report.warnings():
        say("")
        say(_wrapped(f"warning: {warning}"))
    say("")
    say("Written:")
    width = max(len(str(path)) for path, _ in written)
    for path, what in written:
        say(f"  {path!s:<{width}}  {what}")
    say("")
    say("Three commands to try next:")
    for command, what in _next(config, student):
        say(f"  {command}")
        say(f"      {what}")
    return told


def _cast(config: DemoConfig) -> Cast:
    if config.student not in CASTS:
        raise UserError(
            f"`{config.student}` plays in no demo. Choose one of {', '.join(f'`{name}`' for name in CASTS)}; your own "
            f"student and traces go to `palign truncate`."
        )
    if config.rows is not None and config.rows < 1:
        raise UserError(f"`--rows {config.rows}` leaves nothing to show. Give 1 or more.")
    return CASTS[config.student]


def _student(name: str) -> str:
    return NAME if name == "toy" else str(smollm2.export(_SMOLLM2))


def _opening(student: str, cast: Cast, rows: int) -> list[str]:
    return [
        "palign-hf: long worked solutions, cut where a small student can go on alone",
        "",
        _wrapped(
            "A big teacher model thinks at length: it restates, strays, corrects itself, and checks again when all is "
            "done. A small student learns badly from that. So each trace is cut to the shortest beginning that the "
            "student itself judges sufficient, and the student later learns from that beginning and its own end."
        ),
        "",
        _wrapped(f"The student of this demo: {cast.words}."),
    ]


def _stage(say: Callable[[str], None], number: int, name: str, words: str) -> None:
    say("")
    say(f"[{number}/{_STAGES}] {name}")
    if words:
        say(_wrapped(words))
    # What the stages themselves say goes to stderr: keep the order on a terminal.
    sys.stdout.flush()


def _prefixes(folder: Path) -> "Dataset":
    from datasets import load_dataset

    files = sorted(str(path) for path in (folder / "prefixes" / "data").glob("train-*.parquet"))
    dataset: Any = load_dataset("parquet", data_files={"train": files}, split="train")
    return dataset


def _example(prefixes: "Dataset") -> str:
    """A trace with its cut: one with a detour before the cut, and as much of it as one screen holds."""

    def unfitness(row: dict[str, Any]) -> tuple[bool, bool, bool, int]:
        found = row["status"] == "sufficient" and row["prefix_segments"] > 0
        late = not found or row["prefix_ratio"] > 0.5
        return not found, late, not toy_problem(row["id"]).detours, abs(len(row["trace"]) - 900)

    row = min(prefixes, key=unfitness)
    true = toy_problem(row["id"])
    ends = [0, *cuts(row["trace"])]
    head = f"One trace ({row['n_segments']} sentences), and where it was cut:"
    if row["prefix_segments"] is None:
        return f"{head}\n\n  no cut: {row['status']} ({row['reason']})"
    found = row["prefix_segments"]
    mark = (
        f"──── cut here, after {found} sentences; the first true cut is after {true.sufficient_segments}; "
        f"{1 - row['prefix_ratio']:.0%} of the trace's tokens are left out ────"
    )
    kept, left = row["trace"][: ends[found]], row["trace"][ends[found] :]
    begun = left if len(left) < 400 else left[:300].rsplit(" ", 1)[0] + " ..."
    return "\n".join(
        [head, "", _quoted(f"Problem: {row['question']}"), "", _quoted(kept), "", f"  {mark}", "", _quoted(begun)]
    )


def _words(told: Told) -> list[str]:
    skill, judge = told.default.skill, told.judge
    if skill.median_distance is None or judge.accuracy is None:
        return ["  No row has a cut, so there is nothing to compare: see the reasons in the report."]
    return _wrapped(
        f"The student keeps {skill.found_ratio:.0%} of a trace; {skill.true_ratio:.0%} would be enough. Its cuts lie "
        f"{skill.median_distance:g} sentences from the true one in the middle of all cases, "
        f"{skill.within_two:.0%} of them at most two away; {skill.too_short:.0%} are too short, {skill.too_long:.0%} "
        f"too long. As a judge it is right about {judge.accuracy:.0%} of all beginnings (AUROC {_shown(judge.auroc)}; "
        f"{_shown(judge.near_auroc)} among those near the true cut, where length alone gives "
        f"{_shown(judge.near_auroc_of_length)})."
    ).splitlines()


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


_COLUMNS = ("search", "kept", "median off", "within 2", "too short", "too long", "questions", "tokens read")


def _cells(told: Told) -> list[tuple[str, ...]]:
    rows = []
    for one in told.measured:
        skill = one.skill
        if skill.median_distance is None:
            rows.append((one.search, *["-"] * (len(_COLUMNS) - 1)))
            continue
        rows.append(
            (
                one.search,
                f"{skill.found_ratio:.0%}",
                f"{skill.median_distance:g}",
                f"{skill.within_two:.0%}",
                f"{skill.too_short:.0%}",
                f"{skill.too_long:.0%}",
                f"{skill.probes:.1f}",
                f"{one.tokens:,.0f}",
            )
        )
    return rows


def _table(told: Told) -> list[str]:
    cells = [_COLUMNS, *_cells(told)]
    first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = []
    for name, *figures in cells:
        shown = (f"{figure:>{width}}" for figure, width in zip(figures, others, strict=True))
        lines.append("  ".join([f"  {name:<{first}}", *shown]))
    return [*lines, "  (per trace; tokens from a cold cache; the first line is the default)"]


def _write(
    folder: Path, config: DemoConfig, cast: Cast, told: Told, prefixes: "Dataset", shown: str
) -> list[tuple[Path, str]]:
    """The report and its picture; what was written with what it is."""
    picture, page, figures = folder / "cuts.svg", folder / "report.md", folder / "figures.json"
    picture.write_text(as_svg(distances(prefixes), f"Cuts found by {config.student} in {told.rows} traces"))
    plain = told.figures() | {
        "judge": told.judge.as_dict(),
        "searches": [one.as_dict() for one in told.measured],
        "student": config.student,
        "rows": told.rows,
        "versions": versions(),
    }
    figures.write_text(json.dumps(plain, sort_keys=True, indent=1) + "\n")
    table = [_COLUMNS, ("---",) * len(_COLUMNS), *_cells(told)]
    words = " ".join(" ".join(_words(told)).split())
    page.write_text(
        "\n".join(
            [
                f"# {told.rows} traces of the toy world, cut by `{config.student}`",
                "",
                f"The student: {cast.words}.",
                "",
                words,
                "",
                *(f"| {' | '.join(row)} |" for row in table),
                "",
                "![how far found cuts lie from the true ones](cuts.svg)",
                "",
                "## One trace",
                "",
                "```text",
                shown,
                "```",
                "",
                "## The run",
                "",
                told.report.markdown(),
                f"Machine: {platform.machine()}, {os.cpu_count()} cores. "
                + ", ".join(f"{name} {number}" for name, number in versions().items()),
                "",
            ]
        )
    )
    return [
        (folder / "prefixes", "the cut traces as a dataset, with a report of what the judge was asked"),
        (page, "this report as a page"),
        (picture, "how far the cuts lie from the true ones"),
        (figures, "all figures, for machines"),
    ]


def _next(config: DemoConfig, student: str) -> list[tuple[str, str]]:
    folder = Path(config.output) / "prefixes"
    other = "smollm2" if config.student == "toy" else "toy"
    return [
        (f"palign traces inspect {NAME} --split test", "look at the traces themselves"),
        (f"palign demo --student {other} --output {config.output}-{other}", "the same with another student"),
        (
            f"python -c \"from datasets import load_dataset; print(load_dataset('{folder}', split='train')[0])\"",
            "load what was written, as anyone would who finds it on the Hub",
        ),
    ]


def _wrapped(text: str, indent: str = "  ") -> str:
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _quoted(text: str) -> str:
    return "\n".join(_wrapped(paragraph, "  | ") for paragraph in text.strip().split("\n\n"))
