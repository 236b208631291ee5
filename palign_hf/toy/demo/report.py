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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed
from palign_hf.evaluation.statistics import Interval
from palign_hf.evaluation.summary import WORDS, figure_text
from palign_hf.runs.claims import Claim
from palign_hf.runs.parts import read_mapping, write_whole
from palign_hf.runs.report import versions
from palign_hf.runs.shards import PAGE
from palign_hf.segmentation import cuts
from palign_hf.tables import aligned, number
from palign_hf.toy.demo.measure import BLOCK, FOUND, NONE, Continued, Measured, figures
from palign_hf.toy.world.problems import JudgeSkill, distances, toy_problem


if TYPE_CHECKING:
    from datasets import Dataset

_PAGE, _PLAIN = "demo.md", "figures.json"
PASS = "strict pass@1"
# Samples of a problem in the evaluation.
SAMPLES = 3
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
class Spent:
    """How long a demo was announced to take, and took, in seconds.

    Args:
        announced (`float`): By the measured rates.
        took (`float`, *optional*): From the command to the results.
        engine (`str`): The engine that answered.
        rates (`Mapping[str, float]`): What this machine does in a second.
    """

    announced: float
    took: float | None
    engine: str
    rates: Mapping[str, float]


@dataclass(frozen=True)
class DemoReport:
    """Results of the demo.

    Args:
        student (`str`): The student's name in the demo.
        words (`str`): Who it is.
        rows (`int`): Traces.
        warned (`Sequence[str]`): Warnings of the truncation.
        measured (`list[Measured]`): The searches, the default one first.
        spent (`Spent`): Its time.
        judge (`JudgeSkill`, *optional*): Needs a probe of every cut.
        aligned (`Mapping[str, Any]`): The figures of the alignment; empty where nothing was aligned.
        kept_right (`float`, *optional*): Share of the kept pairs that have the true answer.
        continued (`Sequence[Continued]`): Samples by kind of prefix.
        compared (`Mapping[str, Any]`, *optional*): The chain's comparison of before and after.
        learned (`Mapping[str, Any]`): The figures of the training.
    """

    student: str
    words: str
    rows: int
    warned: Sequence[str]
    measured: list[Measured]
    spent: Spent
    judge: JudgeSkill | None = None
    aligned: Mapping[str, Any] = field(default_factory=dict)
    kept_right: float | None = None
    continued: Sequence[Continued] = ()
    compared: Mapping[str, Any] | None = None
    learned: Mapping[str, Any] = field(default_factory=dict)


def opening(student: str) -> list[str]:
    """What the demo shows."""
    return [
        "palign-hf: long worked solutions, cut where a small student can continue alone",
        "",
        wrapped(
            "A large teacher model reasons at length: it restates, makes mistakes, corrects itself, and checks the "
            "answer again. A small student learns badly from that. So each trace is cut to the shortest beginning "
            "that the student itself judges sufficient, and the student is trained on that beginning and its own "
            "continuation."
        ),
        "",
        wrapped(f"The student of this demo: {student}."),
        "",
    ]


def announced(spent: Spent) -> list[str]:
    """How long it takes."""
    # Measured is the transformers engine in any case, which is the slowest.
    known = spent.engine == "transformers"
    most, starts = ("", "") if known else ("at most ", f", and the start of {spent.engine}, which isn't measured")
    return [
        wrapped(
            f"This takes {most}{_duration(spent.announced)} on this machine (measured just now){starts}. "
            f"Interrupt it when you like: the same command resumes where it stopped, and a finished demo is shown "
            f"again in seconds."
        )
    ]


def resumed(folder: Path, done: Sequence[str]) -> list[str]:
    """That an earlier run is there."""
    steps = f"{listed(done)} {'is' if len(done) == 1 else 'are'} done, and " if done else ""
    return [f"  Resuming the demo in {folder}: {steps}no stored answer is asked again."]


def shown_again() -> list[str]:
    """That nothing is left to do."""
    return ["  This demo has finished before, so nothing is generated: these are its results."]


# What each step of the chain does.
_STEPS = {
    "truncate": "cut each trace where the student judges the beginning sufficient",
    "align": "let the student continue from there, and keep what reaches the right answer",
    "evaluate-before": "let it solve new problems, as it is",
    "train": "train it on the kept pairs of prefix and continuation",
    "evaluate": "let the trained student solve the same problems",
}


def chain_words(recipe: str, last: str | None) -> list[str]:
    """The steps of the chain."""
    names = list(_STEPS)[: 2 if last else None]
    until = f" --until {last}" if last else ""
    side = max(map(len, names))
    return [
        wrapped(f"What `palign run {recipe}{until}` does, with fewer rows:"),
        *(f"    {name:<{side}}  {_STEPS[name]}" for name in names),
    ]


def heading(name: str, lines: Sequence[str]) -> list[str]:
    """The heading of a part, and its lines."""
    return ["", f"== {name}", *lines]


def body(outcome: DemoReport, prefixes: "Dataset", width: int | None = None) -> list[str]:
    """The results, for the terminal and the page."""
    names = "; ".join(
        words for name, words in _SEARCHES.items() if any(one.search == name for one in outcome.measured)
    )
    lines = [
        *heading("where the traces were cut", [example(prefixes, width), ""]),
        wrapped(summary(outcome), width=width),
        "",
        *table(outcome),
        "",
        wrapped(
            f"{names}. kept: share of the trace; within 2, median: sentences between found and true cut; asked: "
            f"probes per trace; tokens: prompt tokens per trace that an engine with a prefix cache (blocks of "
            f"{BLOCK}) computes, each trace counted by itself.",
            width=width,
        ),
        "",
        "  distance of the default search's cuts from the true ones, in sentences:",
        "",
        bars(distances(prefixes)),
    ]
    if outcome.aligned:
        lines += heading("what the student made of its prefixes", finished(outcome, width))
    for warning in warnings(outcome):
        lines += ["", wrapped(f"warning: {warning}", width=width)]
    if outcome.compared is not None:
        lines += heading("before and after the training", taught(outcome, width))
    return lines


def closing(
    outcome: DemoReport, written: Sequence[tuple[Path, str]], commands: Sequence[tuple[list[str], str]]
) -> list[str]:
    """The time, the paths of the results, and commands to try next."""
    width = max(len(str(path)) for path, _ in written)
    spent = outcome.spent
    lines = ["", "To try next:"]
    for arguments, what in commands:
        lines += [f"  {shlex.join([_palign(), *arguments])}", f"      {what}"]
    lines += ["", "Written:", *(f"  {path!s:<{width}}  {what}" for path, what in written)]
    took = _duration(spent.took or 0.0).removeprefix("about ")
    return [*lines, "", f"  It took {took}; {_duration(spent.announced)} had been announced."]


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


def finished(outcome: DemoReport, width: int | None = None) -> list[str]:
    """Results of the alignment stage."""
    aligned = outcome.aligned
    sentence = (
        f"Continuing from its prefix the student solved {aligned['kept_problems']} of {aligned['asked_problems']} "
        f"problems, in {aligned['samples_a_problem']:.1f} samples each on average; {aligned['statuses']['kept']} "
        f"samples are kept"
        if aligned.get("samples_a_problem")
        else "No problem had a prefix to continue from"
    )
    if outcome.kept_right is not None:
        sentence += f", and {_share(outcome.kept_right)} of them have the true answer"
    lines = [wrapped(f"{sentence}. How often its first sample is right:", width=width), ""]
    rows = [
        (f"{'from the' if one.name == FOUND else '  ' if one.name != NONE else 'with'} {one.name}", one)
        for one in outcome.continued
    ]
    side = max((len(name) for name, _ in rows), default=0)
    for name, one in rows:
        share = number(one.share, ".0%")
        lines.append(f"    {name:<{side}}  {share:>4}  of {one.problems} problems")
    return lines


def read_comparison(folder: Path) -> Mapping[str, Any]:
    """The comparison that the chain has written."""
    found = read_mapping(folder / "comparison" / "comparison.json")
    if found is None:
        raise UserError(f"`{folder}` lost its comparison while the demo ran. Run the demo again.")
    return found


# The measures that the demo shows; the page of the run has them all.
_MEASURES = ("strict pass@1", f"strict pass@{SAMPLES}", "closed", "cut", "tokens")


def compared(found: Mapping[str, Any]) -> list[str]:
    """The table of the chain's comparison: figures with their 95 % intervals."""
    first, *others = found["models"]
    rows = [("", first, *others, *(f"{other} - {first}" for other in others))]
    for name in _MEASURES:
        if (figures := found["figures"].get(name)) is None:
            continue
        apart = found["differences"][name]
        cells = [_interval(figures.get(model), name) for model in found["models"]]
        rows.append((WORDS.get(name, name), *cells, *(_interval(apart.get(other), name) for other in others)))
    return [f"  {line}" for line in aligned(rows)]


def _interval(held: Mapping[str, Any] | None, name: str) -> str:
    return figure_text(None if held is None else Interval(**held), name)


def change(found: Mapping[str, Any]) -> Interval:
    """The change of pass@1 by the training."""
    return Interval(**found["differences"][PASS][found["models"][-1]])


def taught(outcome: DemoReport, width: int | None = None) -> list[str]:
    """Results of the training, as the chain has compared them."""
    found, learned = outcome.compared, outcome.learned
    assert found is not None
    sentence = (
        f"It was trained on {learned.get('rows', 0)} kept pairs in {learned.get('steps', 0)} steps. On "
        f"{found['problems']} new problems, {SAMPLES} samples each, with 95 % intervals:"
    )
    lasts = f"{benefit(found)} `make study` compares all training methods, on more problems and five seeds."
    return [wrapped(sentence, width=width), "", *compared(found), "", wrapped(lasts, width=width)]


def benefit(found: Mapping[str, Any]) -> str:
    """The measured change of pass@1 with its interval, and what the interval allows to say."""
    won = change(found)
    words = f"Training changed pass@1 by {won.value:+.3f}"
    if won.low is None or won.high is None:
        return f"{words} on these {found['problems']} problems; its interval isn't known."
    words += f" (95 % interval {won.low:+.3f} to {won.high:+.3f}, each problem compared with itself)"
    if won.low > 0:
        return f"{words}: an improvement."
    if won.high < 0:
        return f"{words}: a loss."
    return f"{words}. The interval includes 0: on these problems it may be chance."


def warnings(outcome: DemoReport) -> list[str]:
    """Warnings about the judge or the rows: by the truth, by the report, by each search."""
    failed = [
        f"{one.skill.failed} of {one.skill.rows} rows have no cut by `{one.search}`: run the same command again to "
        f"retry them; if they fail again, the reasons are in the rows that `palign truncate` writes"
        for one in outcome.measured
        if one.skill.failed
    ]
    return [*measures_nothing(outcome), *outcome.warned, *failed]


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
    Claim(folder, (_PAGE, _PLAIN), _PLAIN, ours=_ours, alone=False).check()


def _ours(held: Mapping[str, Any]) -> bool:
    return {"judge", "searches", "student", "rows", "versions"} <= held.keys()


def spent_before(folder: Path, compare: bool) -> Spent | None:
    """The time of the demo that has finished here; None without one, or if it has compared fewer searches."""
    held = read_mapping(folder / _PLAIN) or {}
    if "time" not in held or (compare and held.get("judge") is None):
        return None
    return Spent(**held["time"])


def write(folder: Path, outcome: DemoReport, prefixes: "Dataset") -> list[tuple[Path, str]]:
    """Write the report as a page and as JSON; return each path with its description."""
    page, plain = folder / _PAGE, folder / _PLAIN
    found = (
        figures(outcome.measured, outcome.judge)
        | _chain_figures(outcome)
        | {
            "judge": asdict(outcome.judge) if outcome.judge else None,
            "searches": [{"search": one.search, "tokens": one.tokens} | asdict(one.skill) for one in outcome.measured],
            "student": outcome.student,
            "rows": outcome.rows,
            "time": asdict(outcome.spent),
            "versions": versions(),
        }
    )
    write_whole(plain, json.dumps(found, sort_keys=True, indent=1) + "\n")
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines = [
        f"# {outcome.rows} traces of the toy world, cut by `{outcome.student}`",
        "",
        f"The student: {outcome.words}.",
        "",
        "```text",
        *body(outcome, prefixes, _WIDTH),
        "```",
        "",
        f"The run: [{PAGE}]({PAGE}). Machine: {platform.machine()}, {os.cpu_count()} cores. {made}",
    ]
    write_whole(page, "\n".join(lines) + "\n")
    table = folder / "prefixes"
    taught = [(folder / "p-align" / "student", "the student trained on them")]
    return [
        (table, f"the cut traces: load_dataset({str(table)!r}, split='train'), as from the Hub"),
        (folder / "pairs", "prefixes with the student's own continuations, kept and rejected, and their report"),
        *(taught if outcome.compared is not None else []),
        (plain, "all figures, for machines"),
        (page, "what you have just read, as a page"),
        (folder / PAGE, "the page of the run: each step, and the whole comparison"),
    ]


def _chain_figures(outcome: DemoReport) -> dict[str, Any]:
    """Figures of alignment and training."""
    shares = {one.name: {"share": one.share, "problems": one.problems} for one in outcome.continued}
    found = outcome.compared
    if found is None:
        return {"kept_right": outcome.kept_right, "right": shares}
    learned: dict[str, Any] = {}
    for name, model in zip(("before", "after"), found["models"], strict=True):
        values = {measure: found["figures"][measure][model]["value"] for measure in (PASS, "tokens", "closed")}
        learned[name] = {"pass@1": values.pop(PASS)} | values
    learned |= {name: outcome.learned.get(name) for name in ("rows", "steps")}
    learned |= {"problems": found["problems"], "difference": asdict(change(found))}
    return {"kept_right": outcome.kept_right, "right": shares, "learned": learned}


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
