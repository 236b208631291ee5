"""What the demo says and writes: plain words, one trace with its cut, a table, bars."""

import json
import os
import platform
import shlex
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.evaluation.summary import told as told_figure
from palign_hf.runs.claims import Claim
from palign_hf.runs.parts import write_whole
from palign_hf.runs.provenance import versions
from palign_hf.segmentation import cuts
from palign_hf.tables import aligned, number
from palign_hf.toy.demo.continuing import FOUND, NONE, Continued
from palign_hf.toy.demo.measure import BLOCK, Measured, figures
from palign_hf.toy.world.truth import JudgeSkill, distances, toy_problem


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.alignment.report import AlignmentReport
    from palign_hf.toy.demo.learning import Learned
    from palign_hf.truncation.report import Report

_PAGE, _PLAIN = "report.md", "figures.json"
# A page has lines of this width, a terminal at most.
_WIDTH = 100
# Distances beyond this share a bar: what matters is how many, not how far.
_FAR = 6
# Fewer rows say nothing of a judge, and one that saves less than a tenth of the distance, or tells beginnings apart
# hardly better than a coin, measures nothing.
_FEW, _NO_GAIN, _COIN = 10, 0.9, 0.55

_SEARCHES = {
    "ascend": "`ascend` is the default",
    "binary": "`binary` is the paper's",
    "linear": "`linear` asks each beginning until one suffices",
    "every": "`every` asks all",
    "full": "`fixed`, `none` and `full` ask nobody",
}
_COLUMNS = ("search", "kept", "within 2", "too short", "too long", "median", "asked", "tokens")


@dataclass(frozen=True)
class Aligned:
    """What the second stage reports, and how much of what it kept is right by the truth."""

    report: "AlignmentReport"
    kept_right: float | None


@dataclass(frozen=True)
class Told:
    """All that the demo found out; the first of `measured` is the default search, `judge` needs every cut asked."""

    student: str
    words: str
    rows: int
    report: "Report"
    measured: list[Measured]
    judge: JudgeSkill | None
    aligned: Aligned | None = None
    continued: Sequence[Continued] = ()
    learned: "Learned | None" = None


def opening(student: str, seconds: float) -> list[str]:
    """What it is about, and how long it takes."""
    return [
        "palign-hf: long worked solutions, cut where a small student can go on alone",
        "",
        wrapped(
            f"This takes {_duration(seconds)} on two quiet cores, much of it to load the engine. Interrupt it when "
            f"you like: the same command goes on where it stopped, and asks nothing once it was through."
        ),
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
    return ["", f"[{number}/{of}] {name}", wrapped(words)]


def body(told: Told, prefixes: "Dataset", width: int | None = None) -> list[str]:
    """One trace, and what happened: for the terminal and for the page."""
    lines = [example(prefixes, width), "", "What happened:", wrapped(summary(told), width=width), "", *table(told), ""]
    names = "; ".join(words for name, words in _SEARCHES.items() if any(one.search == name for one in told.measured))
    lines += [
        wrapped(
            f"{names}. kept: share of the trace; within 2, median: sentences between found and true cut; asked: "
            f"questions a trace; tokens: prompt tokens a trace that an engine computes which has a prefix cache "
            f"(blocks of {BLOCK}), each trace counted by itself.",
            width=width,
        )
    ]
    lines += ["", "  how far the cuts of the default search lie from the true ones, in sentences:", ""]
    lines += [bars(distances(prefixes))]
    if told.aligned is not None:
        lines += ["", *finished(told.aligned, told.continued, width)]
    if told.learned is not None:
        lines += ["", *taught(told.learned, width)]
    for warning in warnings(told):
        lines += ["", wrapped(f"warning: {warning}", width=width)]
    return lines


def closing(written: Sequence[tuple[Path, str]], commands: Sequence[tuple[list[str], str]]) -> list[str]:
    """Where everything is, and what to try next."""
    width = max(len(str(path)) for path, _ in written)
    lines = ["", "Written:", *(f"  {path!s:<{width}}  {what}" for path, what in written), "", "To try next:"]
    for arguments, what in commands:
        lines += [f"  {shlex.join([_palign(), *arguments])}", f"      {what}"]
    return lines


def example(prefixes: "Dataset", width: int | None = None) -> str:
    """A trace with its cut: a short one with a detour before it, and as much of the rest as one screen holds."""

    def unfitness(row: dict[str, Any]) -> tuple[bool, bool, bool, int]:
        found = row["status"] == "sufficient" and row["prefix_segments"] > 0
        late = not found or row["prefix_ratio"] > 0.5
        strays = found and any(end <= row["prefix_end"] for _, end in toy_problem(row["id"]).detours)
        return not found, late, not strays, abs(len(row["trace"]) - 900)

    row = min(prefixes, key=unfitness)
    head = f"One trace ({row['n_segments']} sentences), and where it was cut:"
    found, true = row["prefix_segments"], toy_problem(row["id"]).sufficient_segments
    if found is None:
        return f"{head}\n\n  no cut: {row['status']} ({row['reason']})"
    mark = f"cut here, after {found} sentences ({true} would be enough); {1 - row['prefix_ratio']:.0%} is left out"
    end = [0, *cuts(row["trace"])][found]
    kept, left = row["trace"][:end], row["trace"][end:]
    begun = left if len(left) < 400 else left[:300].rsplit(" ", 1)[0] + " ..."
    problem = _quoted(f"Problem: {row['question']}", width)
    return "\n\n".join([head, problem, _quoted(kept, width), f"  ---- {mark} ----", _quoted(begun, width)])


def summary(told: Told) -> str:
    """The outcome in a paragraph."""
    skill, judge = told.measured[0].skill, told.judge
    if skill.median_distance is None:
        return "No row has a cut, so there is nothing to compare: see the reasons in the report."
    words = [
        f"The student keeps {skill.found_ratio:.0%} of a trace, {skill.true_ratio:.0%} would be enough. "
        f"{skill.exact:.0%} of its cuts are exact, {skill.within_two:.0%} at most two sentences off; "
        f"{skill.too_short:.0%} are too short, {skill.too_long:.0%} too long."
    ]
    if judge and judge.accuracy is not None:
        words.append(f"Asked about all beginnings of all traces, it is right about {judge.accuracy:.0%}.")
    # Few rows may hold beginnings of one kind only, and then there is nothing to tell apart.
    if judge and judge.auroc is not None and judge.near_auroc is not None:
        words.append(
            f"Shown one that suffices and one that doesn't, it prefers the right one in {_share(judge.auroc)} of "
            f"cases (AUROC); among beginnings near the true cut in {_share(judge.near_auroc)}, where going by length "
            f"alone gives {judge.near_auroc_of_length:.1%}."
        )
    return " ".join(words)


def finished(aligned: Aligned, continued: Sequence[Continued], width: int | None = None) -> list[str]:
    """What the student made of its prefixes."""
    report = aligned.report
    said = (
        f"Going on from its prefix the student solved {report.kept_problems} of {report.asked_problems} problems in "
        f"{report.samples_a_problem:.0f} tries each; {report.pairs} samples are kept"
        if report.samples_a_problem
        else "The student was asked to go on from nothing"
    )
    if aligned.kept_right is not None:
        said += f", and {_share(aligned.kept_right)} of them are right by the truth"
    lines = [wrapped(f"{said}. How often a sample is right:", width=width), ""]
    rows = [
        (f"{'from the' if one.name == FOUND else '  ' if one.name != NONE else 'with'} {one.name}", one)
        for one in continued
    ]
    side = max((len(name) for name, _ in rows), default=0)
    for name, one in rows:
        share = number(one.share, ".0%")
        lines.append(f"    {name:<{side}}  {share:>4}  of {one.samples} samples of {one.problems} problems")
    return lines


def taught(learned: "Learned", width: int | None = None) -> list[str]:
    """What the student has learned of its pairs."""
    won = learned.difference
    sure = won.low is not None and won.high is not None and (won.low > 0 or won.high < 0)
    said = (
        f"Then it learned {learned.rows} kept pairs in {learned.steps} steps. Of {learned.problems} new problems, "
        f"{learned.before.n} samples each, so many are right:"
    )
    lines = [wrapped(said, width=width), ""]
    for name, share, one in learned.lines():
        lines.append(f"    {name:<6}  {told_figure(share)}, in {one.value('tokens') or 0:.0f} tokens on average")
    lasts = (
        f"The difference is {told_figure(won)}, and so few problems and steps "
        + ("show it, but not how much it is." if sure else "don't show whether there is one.")
        + " `make study` compares every way to teach, with more of both."
    )
    return [*lines, "", wrapped(lasts, width=width)]


def warnings(told: Told) -> list[str]:
    """What is wrong with the judge or the rows: by the truth, by the report, by each search."""
    failed = [
        f"{one.skill.failed} of {one.skill.rows} rows have no cut by `{one.search}`: run the same command again to "
        f"try them once more; if it stays, the reasons are in the rows that `palign truncate` writes"
        for one in told.measured
        if one.skill.failed
    ]
    return [*measures_nothing(told), *told.report.warnings(), *failed]


def measures_nothing(told: Told) -> list[str]:
    """Said if the judge adds nothing to a cut that asks nobody, or tells beginnings apart no better than a coin."""
    own = told.measured[0].skill
    blind = [one for one in told.measured if one.skill.probes == 0 and one.skill.mean_distance is not None]
    if own.mean_distance is None or own.rows < _FEW or not blind:
        return []
    best = min(blind, key=lambda one: one.skill.mean_distance or 0.0)
    found = []
    if own.mean_distance > _NO_GAIN * (best.skill.mean_distance or 0.0):
        found.append(
            f"its cuts are no better than those of `{best.search}`, which asks nobody (on average "
            f"{own.mean_distance:.1f} and {best.skill.mean_distance:.1f} sentences from the true ones)"
        )
    if told.judge and told.judge.auroc is not None and told.judge.auroc < _COIN:
        found.append(
            f"shown a beginning that suffices and one that doesn't, it prefers the right one in "
            f"{_share(told.judge.auroc)} of cases (AUROC), and a coin in 50%"
        )
    return [f"this judge measures nothing here: {'; '.join(found)}."] if found else []


def table(told: Told) -> list[str]:
    """The searches side by side."""

    def cells(one: Measured) -> tuple[str, ...]:
        skill, shares = (
            one.skill,
            (one.skill.found_ratio, one.skill.within_two, one.skill.too_short, one.skill.too_long),
        )
        if skill.median_distance is None:
            return (one.search, *["-"] * (len(_COLUMNS) - 1))
        figures = (f"{skill.median_distance:g}", f"{skill.probes:.1f}", f"{one.tokens:,.0f}")
        return (one.search, *(f"{share:.0%}" for share in shares), *figures)

    return [f"  {line}" for line in aligned([_COLUMNS, *map(cells, told.measured)], right=True)]


def bars(off: Sequence[int], width: int = 40) -> str:
    """How many cuts lie how far from the true ones, one line a distance; the ends gather all that is farther."""
    counts = Counter(max(-_FAR, min(_FAR, step)) for step in off)
    names = {-_FAR: f"{_FAR} or more short", _FAR: f"{_FAR} or more long", 0: "exact"}
    side, most = len(names[-_FAR]), max(counts.values(), default=1)
    drawn = ((names.get(step, f"{step:+d}"), counts[step]) for step in range(-_FAR, _FAR + 1))
    return "\n".join(
        f"{name:>{side}} {'█' * -(-count * width // most) if count else '·'} {count}" for name, count in drawn
    )


def check_home(folder: Path) -> None:
    """Refuse a folder in which something else has the name of what `write` writes."""

    def ours(told: Mapping[str, Any]) -> bool:
        return {"judge", "searches", "student", "rows", "versions"} <= told.keys()

    Claim(folder, (_PAGE, _PLAIN), _PLAIN, ours=ours, alone=False).check()


def write(folder: Path, told: Told, prefixes: "Dataset") -> list[tuple[Path, str]]:
    """The report as a page, and its figures; what was written with what it is."""
    page, plain = folder / _PAGE, folder / _PLAIN
    found = (
        figures(told.measured, told.judge)
        | _continued(told)
        | {
            "judge": asdict(told.judge) if told.judge else None,
            "searches": [{"search": one.search, "tokens": one.tokens} | asdict(one.skill) for one in told.measured],
            "student": told.student,
            "rows": told.rows,
            "versions": versions(),
        }
    )
    write_whole(plain, json.dumps(found, sort_keys=True, indent=1) + "\n")
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    head = [f"# {told.rows} traces of the toy world, cut by `{told.student}`", "", f"The student: {told.words}.", ""]
    foot = ["## The run", "", told.report.markdown(), f"Machine: {platform.machine()}, {os.cpu_count()} cores. {made}"]
    write_whole(page, "\n".join([*head, "```text", *body(told, prefixes, _WIDTH), "```", "", *foot]) + "\n")
    table, pairs = folder / "prefixes", folder / "pairs"
    more = [(pairs, "prefixes with the student's own continuations, kept and rejected, and their report")]
    return [
        (table, f"the cut traces: load_dataset({str(table)!r}, split='train'), as from the Hub"),
        *(more if told.aligned is not None else []),
        *([(folder / "student", "the student that learned them")] if told.learned is not None else []),
        (page, "this report as a page"),
        (plain, "all figures, for machines"),
    ]


def _continued(told: Told) -> dict[str, Any]:
    """The second stage's figures."""
    if told.aligned is None:
        return {}
    shares = {one.name: {"share": one.share, "samples": one.samples} for one in told.continued}
    learned = {} if told.learned is None else {"learned": dict(told.learned.figures())}
    return {"kept_right": told.aligned.kept_right, "right": shares} | learned


def wrapped(text: str, indent: str = "  ", width: int | None = None) -> str:
    """A paragraph as wide as the terminal, within reason."""
    width = width or min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _quoted(text: str, width: int | None = None) -> str:
    return "\n  |\n".join(wrapped(paragraph, "  | ", width) for paragraph in text.strip().split("\n\n"))


def _share(value: float) -> str:
    """A percentage that says 100 of nothing but all."""
    return "over 99.9%" if 0.9995 <= value < 1 else f"{value:.1%}"


def _duration(seconds: float) -> str:
    return f"about {round(seconds, -1):.0f} seconds" if seconds < 115 else f"about {seconds / 60:.0f} minutes"


def _palign() -> str:
    """This environment's command as one can type it: by name if the shell finds it, else by its path."""
    beside, found = Path(sys.executable).parent / "palign", shutil.which("palign")
    if not beside.exists() or (found and Path(found).parent.resolve() == beside.parent.resolve()):
        return "palign"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
