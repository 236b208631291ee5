"""What samples come to: a table for people, and one line of JSON with the same figures."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from palign_hf.evaluation import samples
from palign_hf.evaluation.metrics import RATES, VERDICTS, Measures, measure, shown_ks
from palign_hf.evaluation.samples import Sample, partial_of
from palign_hf.evaluation.statistics import Interval, intervals
from palign_hf.runs.report import Reasons, json_line
from palign_hf.tables import UNKNOWN, interval_text, spread, style_of


# How figures are called where people read them.
WORDS = {
    "draft": "begins a draft",
    "closed": "no draft left open",
    "boxed": "boxed",
    "cut": "cut",
    "loop": "in a loop",
    "draft_share": "draft, of all characters",
    "tokens": "tokens",
    "draft_tokens": "tokens of the draft",
}
_WIDTH = 28
# The quantiles of tokens that are reported: the median and the long end.
TOKENS_AT = (0.5, 0.95)


@dataclass(frozen=True)
class Summary:
    """The figures of an evaluation, with remarks on them."""

    samples: Sequence[Sample]
    measures: Measures
    unjudged: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    about: Mapping[str, str | None] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def partial(self) -> dict[str, str]:
        """The benchmarks that aren't whole, and why."""
        return partial_of(self.samples)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Of every measure."""
        return intervals(self.measures, self.seed)

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain data; None where something isn't known."""
        found = self.measures
        return {
            "problems": len(found.problems),
            "partial": self.partial,
            "samples": found.samples,
            "n": found.n,
            **{verdict: self._verdict(verdict) for verdict in VERDICTS},
            **{rate: found.value(rate) for rate in RATES},
            "draft_share": found.value("draft_share"),
            "tokens": spread(found.tokens, TOKENS_AT),
            "empty": sum(not (sample.text or "").strip() for sample in self.samples),
            "unjudged": self.unjudged.total(),
            "intervals": {
                name: [self.intervals[name].low, self.intervals[name].high]
                for name in [*named_passes(found), *WORDS]
                if name in self.intervals
            },
        }

    def _verdict(self, verdict: str) -> dict[str, Any]:
        found = self.measures
        passes = {f"pass@{k}": found.value(f"{verdict} pass@{k}") for k in shown_ks(found.n)}
        several = {name: found.value(f"{verdict} {name}") for name in ("avg@n", "maj@n")}
        return {
            **passes,
            **several,
            "pass@n": found.value(f"{verdict} pass@{found.n}"),
            "correct": found.correct[verdict],
        }

    def lines(self) -> list[tuple[str, str]]:
        """The figures as (name, value) pairs."""
        found = self.measures
        part = " of a part only" if self.partial else ""
        lines = [("problems", f"{len(found.problems)}{part}, with {self._each()} samples each")]
        if self.partial:
            lines.append(("partial", samples.partial_words(self.partial)))
        for name in [*(f"pass@{k}" for k in shown_ks(found.n)), "maj@n"]:
            shown = name.replace("@n", f"@{found.n}")
            lines += [
                (f"{shown}, {verdict}", figure_text(self.intervals[f"{verdict} {name}"])) for verdict in VERDICTS
            ]
        counts = [(verdict, found.correct[verdict]) for verdict in VERDICTS]
        lines += [(f"right samples, {verdict}", f"{count} of {found.samples}") for verdict, count in counts]
        for name, words in WORDS.items():
            lines.append((words, f"{figure_text(self.intervals.get(name), name)}{self._middle(name)}"))
        groups = grouped(self.samples, lambda sample: sample.benchmark)
        for benchmark, own in groups.items() if len(groups) > 1 else ():
            measured = measure(own)
            ends = intervals(measured, self.seed)
            named = f"{benchmark} (partial)" if benchmark in self.partial else benchmark
            lines.append((f"{named}: problems", str(len(measured.problems))))
            lines += [(f"{named}: pass@1, {verdict}", figure_text(ends[f"{verdict} pass@1"])) for verdict in VERDICTS]
        return lines

    def json(self) -> str:
        """One line."""
        return json_line(self.as_dict())

    def text(self) -> str:
        """For a terminal."""
        found = self.measures
        problems = f"{len(found.problems)}, with {self._each()} samples each"
        about = {"problems": problems, "partial": samples.partial_words(self.partial)}
        lines = [f"{name:<10} {value}" for name, value in (about | dict(self.about)).items() if value]
        lines += ["", f"{self._of():<{_WIDTH}}{'strict':<26}{'lenient':<26}".rstrip()]
        for name in [*(f"pass@{k}" for k in shown_ks(found.n)), "maj@n"]:
            cells = "".join(f"{figure_text(self.intervals[f'{verdict} {name}']):<26}" for verdict in VERDICTS)
            lines.append(f"{name.replace('@n', f'@{found.n}'):<{_WIDTH}}{cells}".rstrip())
        right = "".join(f"{f'{found.correct[verdict]} of {found.samples}':<26}" for verdict in VERDICTS)
        lines += [f"{'right samples':<{_WIDTH}}{right}".rstrip(), ""]
        for name, words in WORDS.items():
            lines.append(f"{words:<{_WIDTH}}{figure_text(self.intervals.get(name), name)}{self._middle(name)}")
        return "\n".join([*lines, *self._by_benchmark(), *self._notes()])

    def _each(self) -> str:
        """How many samples a problem has."""
        found = self.measures
        return f"{found.n}" if found.n == found.most else f"{found.n} to {found.most}"

    def _of(self) -> str:
        """What stands above the names of the figures."""
        return "of a part only" if self.partial else ""

    def _middle(self, name: str) -> str:
        found = spread(self.measures.tokens, TOKENS_AT)
        return f"  p50 {found['p50']:.0f}, p95 {found['p95']:.0f}" if name == "tokens" and found else ""

    def _by_benchmark(self) -> list[str]:
        groups = grouped(self.samples, lambda sample: sample.benchmark)
        if len(groups) < 2:
            return []
        head = f"{self._of():<{_WIDTH}}{'problems':<10}{'pass@1, strict':<26}{'pass@1, lenient':<26}"
        lines = ["", head.rstrip()]
        for name, of in groups.items():
            found = measure(of)
            ends = intervals(found, self.seed)
            cells = "".join(f"{figure_text(ends[f'{verdict} pass@1']):<26}" for verdict in VERDICTS)
            named = f"{name} (partial)" if name in self.partial else name
            lines.append(f"{named:<{_WIDTH}}{len(found.problems):<10}{cells}".rstrip())
        return lines

    def _notes(self) -> list[str]:
        remarks = self.remarks()
        return ["", *(f"note: {line}" for line in remarks)] if remarks else []

    def remarks(self) -> list[str]:
        """Everything that a reader of the figures has to know."""
        counted = [f"{count} x {why}" for why, count in self.counted_as_wrong().items()]
        notes = [f"{count} x {note}" for note, count in self.notes.items()]
        return [*samples.remarks(self.partial), *counted, *notes, *self._limits()]

    def warnings(self) -> list[str]:
        """What limits the figures, without the samples that are counted as wrong."""
        return [*samples.remarks(self.partial), *self._limits()]

    def counted_as_wrong(self) -> Counter[str]:
        """Samples without an answer, or that could not be graded, by reason."""
        blank, unjudged = Reasons(), Reasons()
        for one in self.samples:
            if not (one.text or "").strip():
                blank.add(str(one.error))
        for why, count in self.unjudged.items():
            unjudged.add(why, count)
        found = {f"{reason}: counted as wrong": count for reason, count in blank.counted().items()}
        for reason, count in unjudged.counted().items():
            found[f"could not be judged, counted as wrong: {reason}"] = count
        return Counter(found)

    def _limits(self) -> list[str]:
        found, limits = self.measures, []
        if found.n != found.most:
            limits.append(
                f"problems have from {found.n} to {found.most} samples: n is {found.n}, pass@k takes all samples of a "
                f"problem, maj@{found.n} its first {found.n}"
            )
        gap = found.correct["lenient"] - found.correct["strict"]
        if gap:
            limits.append(f"{gap} right samples are right only for a lenient reader: their answer isn't in a box")
        return limits


def named_passes(found: Measures) -> list[str]:
    """The measures of rightness that are shown."""
    names = [*(f"pass@{k}" for k in shown_ks(found.n)), "avg@n", "maj@n"]
    return [f"{verdict} {name}" for verdict in VERDICTS for name in names]


def grouped(samples: Iterable[Sample], key: Any) -> dict[str, list[Sample]]:
    """Samples by what `key` says of them, numbers in their order and names in theirs."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(str(key(sample)), []).append(sample)
    return {name: groups[name] for name in sorted(groups, key=_natural)}


def figure_text(one: Interval | None, name: str = "") -> str:
    """A figure with its interval: tokens as they are, anything else as a share."""
    return UNKNOWN if one is None else interval_text(one.value, one.low, one.high, style_of(name))


def _natural(name: str) -> tuple[bool, float, str]:
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
