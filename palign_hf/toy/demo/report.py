"""The demo's printed report and page: one trace with its cut, a table of searches, a histogram of distances."""

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

from palign_hf.evaluation.summary import figure_text as told_figure
from palign_hf.runs.claims import Claim
from palign_hf.runs.parts import write_whole
from palign_hf.runs.report import versions
from palign_hf.segmentation import cuts
from palign_hf.tables import aligned, number
from palign_hf.toy.demo.measure import BLOCK, FOUND, NONE, Continued, Measured, figures
from palign_hf.toy.world.problems import JudgeSkill, distances, toy_problem


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.alignment.report import AlignmentReport
    from palign_hf.toy.demo.measure import Learned
    from palign_hf.truncation.report import Report

_PAGE, _PLAIN = "report.md", "figures.json"
# Line width of the page, and the maximum on a terminal.
_WIDTH = 100
# Distances beyond this share one bar.
_FAR = 6
# Fewer rows are too few to rate a judge. One that saves less than a tenth of the distance, or that separates
# beginnings hardly better than chance, measures nothing.
_FEW, _NO_GAIN, _COIN = 10, 0.9, 0.55

_SEARCHES = {
    "ascend": "`ascend` is the default",
    "binary": "`binary` is the paper's",
    "linear": "`linear` probes each beginning until one suffices",
    "every": "`every` probes all",
    "full": "`fixed`, `none` and `full` need no judge",
}
_COLUMNS = ("search", "kept", "within 2", "too short", "too long", "median", "asked", "tokens")


@dataclass(frozen=True)
class Aligned:
    """The alignment report, and the share of kept pairs that have the true answer."""

    report: "AlignmentReport"
    kept_right: float | None


@dataclass(frozen=True)
class DemoReport:
    """Results of the demo; the first of `measured` is the default search, `judge` needs a probe of every cut."""

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
    """What the demo shows, and how long it takes."""
    return [
        "palign-hf: long worked solutions, cut where a small student can continue alone",
        "",
        wrapped(
            f"This takes {_duration(seconds)} on two quiet cores, much of it to load the engine. Interrupt it when "
            f"you like: the same command resumes where it stopped, and a finished demo is shown again in seconds."
        ),
        "",
        wrapped(
            "A large teacher model reasons at length: it restates, makes mistakes, corrects itself, and checks the "
            "answer again. A small student learns badly from that. So each trace is cut to the shortest beginning "
            "that the student itself judges sufficient, and the student is trained on that beginning and its own "
            "continuation."
        ),
        "",
        wrapped(f"The student of this demo: {student}."),
    ]


def stage(number: int, of: int, name: str, words: str) -> list[str]:
    """Heading of a stage."""
    return ["", f"[{number}/{of}] {name}", wrapped(words)]


def body(outcome: DemoReport, prefixes: "Dataset", width: int | None = None) -> list[str]:
    """One trace with its cut, and the results, for the terminal and the page."""
    lines = [example(prefixes, width), "", "Results:", wrapped(summary(outcome), width=width), "", *table(outcome), ""]
    names = "; ".join(
        words for name, words in _SEARCHES.items() if any(one.search == name for one in outcome.measured)
    )
    lines += [
        wrapped(
            f"{names}. kept: share of the trace; within 2, median: sentences between found and true cut; asked: "
            f"probes per trace; tokens: prompt tokens per trace that an engine with a prefix cache (blocks of "
            f"{BLOCK}) computes, each trace counted by itself.",
            width=width,
        )
    ]
    lines += ["", "  distance of the default search's cuts from the true ones, in sentences:", ""]
    lines += [bars(distances(prefixes))]
    if outcome.aligned is not None:
        lines += ["", *finished(outcome.aligned, outcome.continued, width)]
    if outcome.learned is not None:
        lines += ["", *taught(outcome.learned, width)]
    for warning in warnings(outcome):
        lines += ["", wrapped(f"warning: {warning}", width=width)]
    return lines


def closing(written: Sequence[tuple[Path, str]], commands: Sequence[tuple[list[str], str]]) -> list[str]:
    """Paths of the results, and commands to try next."""
    width = max(len(str(path)) for path, _ in written)
    lines = ["", "Written:", *(f"  {path!s:<{width}}  {what}" for path, what in written), "", "To try next:"]
    for arguments, what in commands:
        lines += [f"  {shlex.join([_palign(), *arguments])}", f"      {what}"]
    return lines


def example(prefixes: "Dataset", width: int | None = None) -> str:
    """One trace with its cut: a short one with a detour before the cut, and the beginning of the rest."""

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


def summary(outcome: DemoReport) -> str:
    """The results in one paragraph."""
    skill, judge = outcome.measured[0].skill, outcome.judge
    if skill.median_distance is None:
        return "No row has a cut, so there is nothing to compare: see the reasons in the report."
    words = [
        f"The student keeps {skill.found_ratio:.0%} of a trace, {skill.true_ratio:.0%} would be enough. "
        f"{skill.exact:.0%} of its cuts are exact, {skill.within_two:.0%} at most two sentences off; "
        f"{skill.too_short:.0%} are too short, {skill.too_long:.0%} too long."
    ]
    if judge and judge.accuracy is not None:
        words.append(f"Over all beginnings of all traces, it is right about {judge.accuracy:.0%}.")
    # A few rows may hold beginnings of one kind only; then no AUROC is defined.
    if judge and judge.auroc is not None and judge.near_auroc is not None:
        words.append(
            f"Shown one that suffices and one that doesn't, it prefers the right one in {_share(judge.auroc)} of "
            f"cases (AUROC); among beginnings near the true cut in {_share(judge.near_auroc)}, where length alone "
            f"gives {judge.near_auroc_of_length:.1%}."
        )
    return " ".join(words)


def finished(aligned: Aligned, continued: Sequence[Continued], width: int | None = None) -> list[str]:
    """Results of the alignment stage."""
    report = aligned.report
    sentence = (
        f"Continuing from its prefix the student solved {report.kept_problems} of {report.asked_problems} problems in "
        f"{report.samples_a_problem:.0f} samples each; {report.pairs} samples are kept"
        if report.samples_a_problem
        else "No problem had a prefix to continue from"
    )
    if aligned.kept_right is not None:
        sentence += f", and {_share(aligned.kept_right)} of them have the true answer"
    lines = [wrapped(f"{sentence}. How often a sample is right:", width=width), ""]
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
    """Results of the training stage."""
    sentence = (
        f"Then it was trained on {learned.rows} kept pairs in {learned.steps} steps. pass@1 on {learned.problems} new "
        f"problems, {learned.before.n} samples each:"
    )
    lines = [wrapped(sentence, width=width), ""]
    for name, share, one in learned.lines():
        lines.append(f"    {name:<6}  {told_figure(share)}, in {one.value('tokens') or 0:.0f} tokens on average")
    lasts = f"{benefit(learned)} `make study` compares all training methods, on more problems and five seeds."
    return [*lines, "", wrapped(lasts, width=width)]


def benefit(learned: "Learned") -> str:
    """The measured change of pass@1 with its interval, and what the interval allows to say."""
    won = learned.difference
    change = f"Training changed pass@1 by {won.value:+.3f}"
    if won.low is None or won.high is None:
        return f"{change} on these {learned.problems} problems; its interval isn't known."
    measured = f"{change} (95 % interval {won.low:+.3f} to {won.high:+.3f}, each problem compared with itself)"
    if won.low > 0:
        return f"{measured}: an improvement."
    if won.high < 0:
        return f"{measured}: a loss."
    return f"{measured}. The interval includes 0: on these problems it may be chance."


def warnings(outcome: DemoReport) -> list[str]:
    """Warnings about the judge or the rows: by the truth, by the report, by each search."""
    failed = [
        f"{one.skill.failed} of {one.skill.rows} rows have no cut by `{one.search}`: run the same command again to "
        f"retry them; if they fail again, the reasons are in the rows that `palign truncate` writes"
        for one in outcome.measured
        if one.skill.failed
    ]
    return [*measures_nothing(outcome), *outcome.report.warnings(), *failed]


def measures_nothing(outcome: DemoReport) -> list[str]:
    """Warn if the judge's cuts are no better than a search without a judge, or its AUROC hardly better than chance."""
    own = outcome.measured[0].skill
    blind = [one for one in outcome.measured if one.skill.probes == 0 and one.skill.mean_distance is not None]
    if own.mean_distance is None or own.rows < _FEW or not blind:
        return []
    best = min(blind, key=lambda one: one.skill.mean_distance or 0.0)
    found = []
    if own.mean_distance > _NO_GAIN * (best.skill.mean_distance or 0.0):
        found.append(
            f"its cuts are no better than those of `{best.search}`, which needs no judge (on average "
            f"{own.mean_distance:.1f} and {best.skill.mean_distance:.1f} sentences from the true ones)"
        )
    if outcome.judge and outcome.judge.auroc is not None and outcome.judge.auroc < _COIN:
        found.append(
            f"shown a beginning that suffices and one that doesn't, it prefers the right one in "
            f"{_share(outcome.judge.auroc)} of cases (AUROC); chance is 50%"
        )
    return [f"this judge measures nothing here: {'; '.join(found)}."] if found else []


def table(outcome: DemoReport) -> list[str]:
    """Table of the searches."""

    def cells(one: Measured) -> tuple[str, ...]:
        skill, shares = (
            one.skill,
            (one.skill.found_ratio, one.skill.within_two, one.skill.too_short, one.skill.too_long),
        )
        if skill.median_distance is None:
            return (one.search, *["-"] * (len(_COLUMNS) - 1))
        figures = (f"{skill.median_distance:g}", f"{skill.probes:.1f}", f"{one.tokens:,.0f}")
        return (one.search, *(f"{share:.0%}" for share in shares), *figures)

    return [f"  {line}" for line in aligned([_COLUMNS, *map(cells, outcome.measured)], right=True)]


def bars(off: Sequence[int], width: int = 40) -> str:
    """Histogram of the distances from the true cuts, one line each; the first and last line gather all beyond."""
    counts = Counter(max(-_FAR, min(_FAR, step)) for step in off)
    names = {-_FAR: f"{_FAR} or more short", _FAR: f"{_FAR} or more long", 0: "exact"}
    side, most = len(names[-_FAR]), max(counts.values(), default=1)
    drawn = ((names.get(step, f"{step:+d}"), counts[step]) for step in range(-_FAR, _FAR + 1))
    return "\n".join(
        f"{name:>{side}} {'█' * -(-count * width // most) if count else '·'} {count}" for name, count in drawn
    )


def check_home(folder: Path) -> None:
    """Refuse a folder in which another file has the name of one that `write` writes."""

    def ours(outcome: Mapping[str, Any]) -> bool:
        return {"judge", "searches", "student", "rows", "versions"} <= outcome.keys()

    Claim(folder, (_PAGE, _PLAIN), _PLAIN, ours=ours, alone=False).check()


def write(folder: Path, outcome: DemoReport, prefixes: "Dataset") -> list[tuple[Path, str]]:
    """Write the report as a page and as JSON; return each path with its description."""
    page, plain = folder / _PAGE, folder / _PLAIN
    found = (
        figures(outcome.measured, outcome.judge)
        | _continued(outcome)
        | {
            "judge": asdict(outcome.judge) if outcome.judge else None,
            "searches": [{"search": one.search, "tokens": one.tokens} | asdict(one.skill) for one in outcome.measured],
            "student": outcome.student,
            "rows": outcome.rows,
            "versions": versions(),
        }
    )
    write_whole(plain, json.dumps(found, sort_keys=True, indent=1) + "\n")
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    head = [
        f"# {outcome.rows} traces of the toy world, cut by `{outcome.student}`",
        "",
        f"The student: {outcome.words}.",
        "",
    ]
    foot = [
        "## The run",
        "",
        outcome.report.markdown(),
        f"Machine: {platform.machine()}, {os.cpu_count()} cores. {made}",
    ]
    write_whole(page, "\n".join([*head, "```text", *body(outcome, prefixes, _WIDTH), "```", "", *foot]) + "\n")
    table, pairs = folder / "prefixes", folder / "pairs"
    more = [(pairs, "prefixes with the student's own continuations, kept and rejected, and their report")]
    return [
        (table, f"the cut traces: load_dataset({str(table)!r}, split='train'), as from the Hub"),
        *(more if outcome.aligned is not None else []),
        *([(folder / "student", "the student trained on them")] if outcome.learned is not None else []),
        (page, "this report as a page"),
        (plain, "all figures, for machines"),
    ]


def _continued(outcome: DemoReport) -> dict[str, Any]:
    """Figures of the alignment and training stages."""
    if outcome.aligned is None:
        return {}
    shares = {one.name: {"share": one.share, "samples": one.samples} for one in outcome.continued}
    learned = {} if outcome.learned is None else {"learned": dict(outcome.learned.figures())}
    return {"kept_right": outcome.aligned.kept_right, "right": shares} | learned


def wrapped(text: str, indent: str = "  ", width: int | None = None) -> str:
    """Wrap a paragraph to the terminal width, at most the page width."""
    width = width or min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _quoted(text: str, width: int | None = None) -> str:
    return "\n  |\n".join(wrapped(paragraph, "  | ", width) for paragraph in text.strip().split("\n\n"))


def _share(value: float) -> str:
    """Format a percentage; only a share of exactly 1 is shown as 100%."""
    return "over 99.9%" if 0.9995 <= value < 1 else f"{value:.1%}"


def _duration(seconds: float) -> str:
    return f"about {round(seconds, -1):.0f} seconds" if seconds < 115 else f"about {seconds / 60:.0f} minutes"


def _palign() -> str:
    """The installed command as the user can type it: by name if it is on the PATH, else by its path."""
    beside, found = Path(sys.executable).parent / "palign", shutil.which("palign")
    if not beside.exists() or (found and Path(found).parent.resolve() == beside.parent.resolve()):
        return "palign"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
