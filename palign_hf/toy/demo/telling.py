"""What the demo says and writes: plain words, one trace with its cut, a table, a picture."""

import json
import os
import platform
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.segmentation import cuts
from palign_hf.toy.demo.histogram import as_svg, as_text
from palign_hf.toy.demo.measure import BLOCK, Measured
from palign_hf.toy.world.truth import JudgeSkill, distances, toy_problem
from palign_hf.truncation.run import versions, write_whole


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.truncation.report import Report

# A page has lines of this width, a terminal at most.
_WIDTH = 100


@dataclass(frozen=True)
class Told:
    """All that the demo found out; the first of `measured` is the default search."""

    student: str
    words: str
    rows: int
    report: "Report"
    measured: list[Measured]
    judge: JudgeSkill

    def figures(self) -> dict[str, Any]:
        """The same names as `benchmarks/toy_truncation.py`."""
        skill = self.measured[0].skill
        return {
            "median_distance": skill.median_distance,
            "too_short": skill.too_short,
            "too_long": skill.too_long,
            "judge_auroc": self.judge.auroc,
            "judge_accuracy": self.judge.accuracy,
        }


def opening(student: str) -> list[str]:
    """What it is about."""
    return [
        "palign-hf: long worked solutions, cut where a small student can go on alone",
        "",
        wrapped(
            "A big teacher model thinks at length: it restates, strays, corrects itself, and checks again when all is "
            "done. A small student learns badly from that. So each trace is cut to the shortest beginning that the "
            "student itself judges sufficient, and the student later learns from that beginning and its own end."
        ),
        "",
        wrapped(f"The student of this demo: {student}."),
    ]


def stage(number: int, of: int, name: str, words: str) -> list[str]:
    """The heading of a stage."""
    return ["", f"[{number}/{of}] {name}", *([wrapped(words)] if words else [])]


def closing(
    told: Told,
    prefixes: "Dataset",
    written: Sequence[tuple[Path, str]],
    commands: Sequence[tuple[str, list[str], str]],
) -> list[str]:
    """One trace, what happened, where it is, what to try next."""
    width = max(len(str(path)) for path, _ in written)
    lines = ["", example(prefixes), "", "What happened:", wrapped(summary(told)), "", *table(told), "", *_legend()]
    lines += ["", "  how far the cuts of the default search lie from the true ones, in sentences:", ""]
    lines += [as_text(distances(prefixes))]
    for warning in [*told.report.warnings(), *failures(told)]:
        lines += ["", wrapped(f"warning: {warning}")]
    lines += ["", "Written:", *(f"  {path!s:<{width}}  {what}" for path, what in written)]
    lines += ["", "Three commands to try next:"]
    for program, arguments, what in commands:
        lines += [f"  {' '.join(map(_typed, [_found(program), *arguments]))}", f"      {what}"]
    return lines


def example(prefixes: "Dataset", width: int | None = None) -> str:
    """A trace with its cut: a short one with a detour before it, and as much of the rest as one screen holds."""

    def unfitness(row: dict[str, Any]) -> tuple[bool, bool, bool, int]:
        found = row["status"] == "sufficient" and row["prefix_segments"] > 0
        late = not found or row["prefix_ratio"] > 0.5
        strays = found and any(end <= row["prefix_end"] for _, end in toy_problem(row["id"]).detours)
        return not found, late, not strays, abs(len(row["trace"]) - 900)

    row = min(prefixes, key=unfitness)
    ends = [0, *cuts(row["trace"])]
    head = f"One trace ({row['n_segments']} sentences), and where it was cut:"
    if row["prefix_segments"] is None:
        return f"{head}\n\n  no cut: {row['status']} ({row['reason']})"
    found, true = row["prefix_segments"], toy_problem(row["id"]).sufficient_segments
    saved = 1 - row["prefix_ratio"]
    mark = f"---- cut here, after {found} sentences ({true} would be enough); {saved:.0%} is left out ----"
    kept, left = row["trace"][: ends[found]], row["trace"][ends[found] :]
    begun = left if len(left) < 400 else left[:300].rsplit(" ", 1)[0] + " ..."
    problem = _quoted(f"Problem: {row['question']}", width)
    return "\n".join([head, "", problem, "", _quoted(kept, width), "", f"  {mark}", "", _quoted(begun, width)])


def summary(told: Told) -> str:
    """The outcome in a paragraph."""
    skill, judge = told.measured[0].skill, told.judge
    if skill.median_distance is None or judge.accuracy is None:
        return "No row has a cut, so there is nothing to compare: see the reasons in the report."
    words = (
        f"The student keeps {skill.found_ratio:.0%} of a trace, {skill.true_ratio:.0%} would be enough. "
        f"{skill.exact:.0%} of its cuts are exact, {skill.within_two:.0%} at most two sentences off; "
        f"{skill.too_short:.0%} are too short, {skill.too_long:.0%} too long. Asked about all beginnings of all "
        f"traces, it is right about {judge.accuracy:.0%}."
    )
    # Few rows may hold beginnings of one kind only, and then there is nothing to tell apart.
    if judge.auroc is not None:
        words += (
            f" Shown one that suffices and one that doesn't, it prefers the right one in {_share(judge.auroc)} of "
            f"cases (AUROC)"
        )
        if judge.near_auroc is not None:
            words += (
                f"; among beginnings near the true cut in {_share(judge.near_auroc)}, where going by length alone "
                f"gives {judge.near_auroc_of_length:.1%}"
            )
        words += "."
    return words


def failures(told: Told) -> list[str]:
    """A line for each search that left rows without a cut."""
    return [
        f"{one.skill.failed} of {one.skill.rows} rows have no cut by `{one.search}`: run the same command again to "
        f"try them once more; if it stays, the reasons are in the rows that `palign truncate` writes"
        for one in told.measured
        if one.skill.failed
    ]


_COLUMNS = ("search", "kept", "median", "within 2", "too short", "too long", "asked", "tokens")


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


def table(told: Told) -> list[str]:
    """The searches side by side."""
    cells = [_COLUMNS, *_cells(told)]
    first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = []
    for name, *figures in cells:
        shown = (f"{figure:>{width}}" for figure, width in zip(figures, others, strict=True))
        lines.append("  ".join([f"  {name:<{first}}", *shown]))
    return lines


def _legend() -> list[str]:
    return [
        wrapped(
            "`ascend` is the default; `binary` is the paper's; `linear` asks each beginning until one suffices; "
            "`every` asks all; `fixed`, `none` and `full` ask nobody. kept: share of the trace; median, within 2: "
            "sentences between found and true cut; asked: questions a trace; tokens: prompt tokens a trace that an "
            f"engine computes which has a prefix cache (blocks of {BLOCK}), each trace counted by itself."
        )
    ]


def write(folder: Path, told: Told, prefixes: "Dataset") -> list[tuple[Path, str]]:
    """The report with its picture and figures; what was written with what it is."""
    picture, page, figures = folder / "cuts.svg", folder / "report.md", folder / "figures.json"
    write_whole(picture, as_svg(distances(prefixes), f"Cuts found by {told.student} in {told.rows} traces"))
    plain = told.figures() | {
        "judge": told.judge.as_dict(),
        "searches": [one.as_dict() for one in told.measured],
        "student": told.student,
        "rows": told.rows,
        "versions": versions(),
    }
    write_whole(figures, json.dumps(plain, sort_keys=True, indent=1) + "\n")
    write_whole(page, _page(told, prefixes))
    return [
        (folder / "prefixes", "the cut traces as a dataset, with its report"),
        (page, "this report as a page"),
        (picture, "how far the cuts lie from the true ones"),
        (figures, "all figures, for machines"),
    ]


def _page(told: Told, prefixes: "Dataset") -> str:
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *_cells(told)]
    lines = [
        f"# {told.rows} traces of the toy world, cut by `{told.student}`",
        "",
        f"The student: {told.words}.",
        "",
        summary(told),
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(line.strip() for line in _legend()[0].splitlines()),
        *(f"\nWarning: {line}." for line in failures(told)),
        "",
        "![how far found cuts lie from the true ones](cuts.svg)",
        "",
        "## One trace",
        "",
        "```text",
        example(prefixes, _WIDTH),
        "```",
        "",
        "## The run",
        "",
        told.report.markdown(),
        f"Machine: {platform.machine()}, {os.cpu_count()} cores. "
        + ", ".join(f"{name} {number}" for name, number in versions().items()),
    ]
    return "\n".join(lines) + "\n"


def wrapped(text: str, indent: str = "  ", width: int | None = None) -> str:
    """A paragraph as wide as the terminal, within reason."""
    width = width or min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _quoted(text: str, width: int | None = None) -> str:
    return "\n  |\n".join(wrapped(paragraph, "  | ", width) for paragraph in text.strip().split("\n\n"))


def _share(value: float) -> str:
    """A percentage that says 100 of nothing but all."""
    return "over 99.9%" if 0.9995 <= value < 1 else f"{value:.1%}"


def _typed(word: str) -> str:
    """A word of a command as one would type it; double quotes where they are enough, since code has single ones."""
    plain = "'" in word and not any(char in word for char in '"$`\\!')
    return f'"{word}"' if plain else shlex.quote(word)


def _found(program: str) -> str:
    """A program of this environment as one can type it: by name if the shell finds it, else by its path."""
    beside = Path(sys.executable).parent / program
    if not beside.exists() and program == "python":
        beside = Path(sys.executable)
    found = shutil.which(beside.name)
    if found and (not beside.exists() or Path(found).parent.resolve() == beside.parent.resolve()):
        return beside.name
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
