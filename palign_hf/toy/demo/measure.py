"""The demo's training step: a short training run on the kept pairs, evaluated before and after on unseen problems.

The problems come from another split than the traces. Both evaluations use the transformers engine, whose samples are
reproducible.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.evaluation.metrics import Measures, measure
from palign_hf.evaluation.statistics import Interval, differences, intervals
from palign_hf.evaluation.transform import StudentEvaluation
from palign_hf.runs.parts import read_mapping
from palign_hf.runs.shards import REPORT, Shard
from palign_hf.segmentation import cuts
from palign_hf.toy import NAME, problems
from palign_hf.toy.world.problems import (
    CutSkill,
    JudgeSkill,
    curves_of,
    cut_skill,
    distances,
    judge_skill,
    right_by_truth,
)
from palign_hf.training.settings import PairSettings, TrainConfig
from palign_hf.training.stage import TrainRun
from palign_hf.truncation.criteria import Judge
from palign_hf.truncation.schedule import BlockCache


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.alignment.transform import PrefixAlignment
    from palign_hf.truncation.transform import PrefixTruncation


FOUND, EXACT, SHORT, LONG, NONE = "found cut", "exact cut", "too short", "too long", "no prefix"


@dataclass(frozen=True)
class Continued:
    """Samples from one kind of prefix, and how many of them have the true answer."""

    name: str
    problems: int
    samples: int
    right: int

    @property
    def share(self) -> float | None:
        """Share of samples with the true answer."""
        return self.right / self.samples if self.samples else None


def measure_continuations(
    truncation: "PrefixTruncation", alignment: "PrefixAlignment", traces: "Dataset", prefixes: "Dataset", pairs: Any
) -> list[Continued]:
    """Group the samples of `pairs` by distance of their cut from the true one, and add samples without a prefix.

    The samples without a prefix are generated here, with the engine and the ledger of `alignment`.
    """
    bare = traces.map(truncation.with_search("none"), batched=True, load_from_cache_file=False)
    alignment.expect(len(bare), "from no prefix")
    return [*by_cut(pairs, prefixes), counted(NONE, alignment.stream(bare))]


def by_cut(pairs: Iterable[Mapping[str, Any]], prefixes: "Dataset") -> list[Continued]:
    """Count the samples of found prefixes, in total and by kind of cut."""
    cut = prefixes.filter(lambda segments: segments is not None, input_columns="prefix_segments")
    kinds = {
        row_id: EXACT if off == 0 else SHORT if off < 0 else LONG
        for row_id, off in zip(cut["id"], distances(cut), strict=True)
    }
    rows = [row for row in pairs if row["fallback"] is None]
    parts = (counted(kind, (row for row in rows if kinds.get(row["id"]) == kind)) for kind in (EXACT, SHORT, LONG))
    return [counted(FOUND, rows), *parts]


def counted(name: str, rows: Iterable[Mapping[str, Any]]) -> Continued:
    """Count samples and correct samples in rows of PAIRS."""
    found: Counter[str] = Counter()
    ids = set()
    for row in rows:
        if row["status"] in ("kept", "rejected"):
            ids.add(row["id"])
            found["samples"] += 1
            found["right"] += right_by_truth(row["id"], row["continuation"])
    return Continued(name, len(ids), found["samples"], found["right"])


def kept_right(pairs: Iterable[Mapping[str, Any]]) -> float | None:
    """Share of the kept pairs that have the true answer; 1.0 if the grader is correct."""
    found = [right_by_truth(row["id"], row["continuation"]) for row in pairs if row["status"] == "kept"]
    return sum(found) / len(found) if found else None


# The baseline without a judge keeps the mean sufficient ratio of this world.
BLIND = ("fixed(ratio=0.38)", "none", "full")
SEARCHES = ("ascend", "binary", "linear", "every", *BLIND)
# The default search's answers cover most probes of the paper's search; the others need several times as many.
QUICK = ("ascend", "binary", *BLIND)
# Block size of the prefix cache on most GPUs; vLLM on CPUs has larger blocks.
BLOCK = 16


@dataclass(frozen=True)
class Measured:
    """Cut quality of one search, and the mean prompt tokens that an engine computes for a trace."""

    search: str
    skill: CutSkill
    tokens: float


def measure_searches(
    truncation: "PrefixTruncation", traces: "Dataset", searches: Sequence[str] = SEARCHES
) -> tuple[list[Measured], JudgeSkill | None]:
    """Run each search over `traces`; if `every` is among them it runs first, and its probes give the judge's skill.

    The engine of `truncation` is used, and closed at the end.
    """
    judge = truncation.judge()
    found: dict[str, Measured] = {}
    skill = None
    with truncation:
        for search in sorted(searches, key=lambda search: search != "every"):
            one = truncation.with_search(search)
            one.expect(len(traces), f"search {search}")
            rows = traces.map(one, batched=True, load_from_cache_file=False)
            found[search] = Measured(search, cut_skill(rows), computed_tokens(judge, rows))
            if search == "every":
                skill = judge_skill(curves_of(rows))
    return [found[search] for search in searches], skill


def figures(measured: Sequence[Measured], judge: JudgeSkill | None) -> dict[str, float | None]:
    """Return the headline figures of demo and benchmark: the first search against the truth, None for missing
    measures.
    """
    first = measured[0].skill
    paper = next((one.skill.probes for one in measured if one.search == "binary"), None)
    found = {
        "median_distance": first.median_distance,
        "too_short": first.too_short,
        "too_long": first.too_long,
        "judge_auroc": judge.auroc if judge else None,
        "judge_accuracy": judge.accuracy if judge else None,
        "questions_over_binary": first.probes / paper if first.probes is not None and paper else None,
    }
    # A few hundred traces support no more than four digits.
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def computed_tokens(judge: Judge, rows: "Dataset") -> float:
    """Mean prompt tokens of a row that an engine computes for its probes, with an initially empty prefix cache."""
    total = 0
    for row in rows:
        if not row["probes"]:
            continue
        case = judge.open(row["id"], row["question"], row["trace"], [0, *cuts(row["trace"])])
        cache = BlockCache(BLOCK)
        for probe in row["probes"]:
            prompt = len(case.prompt.ids(case.ends[probe["segments"]]))
            total += cache.ask(prompt, min(prompt, case.head_tokens + case.tokens[probe["segments"]]))
    return total / len(rows)


TRAINING: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "max_length": 2048,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
}


_SPLIT, _SAMPLES, _TOKENS = "validation", 3, 512
_BATCH, _STEPS, _PROBLEMS = 8, 40, 60
_PASS = "strict pass@1"


@dataclass(frozen=True)
class Learned:
    """Measures of the student before and after training, on the same problems."""

    rows: int
    steps: int
    before: Measures
    after: Measures

    @property
    def problems(self) -> int:
        """Number of evaluated problems."""
        return len(self.before.problems)

    @property
    def difference(self) -> Interval:
        """Change of pass@1, paired over problems."""
        return differences(self.after, self.before)[_PASS]

    def figures(self) -> Mapping[str, Any]:
        """Return the figures as plain data."""
        return {
            name: {"pass@1": one.value(_PASS), "tokens": one.value("tokens"), "closed": one.value("closed")}
            for name, one in (("before", self.before), ("after", self.after))
        } | {
            "steps": self.steps,
            "rows": self.rows,
            "problems": self.problems,
            "difference": asdict(self.difference),
        }

    def lines(self) -> list[tuple[str, Interval, Measures]]:
        """Return name, pass@1 and measures of each evaluation."""
        return [(name, intervals(one)[_PASS], one) for name, one in (("before", self.before), ("after", self.after))]


def learn(folder: Path, kept: int, rows: int) -> Learned | None:
    """Train the student on its kept pairs; return None if there are too few for one step."""
    steps = min(_STEPS, kept // (_BATCH // 2))
    if not steps:
        return None
    count, student = max(2, min(_PROBLEMS, rows // 5)), folder / "student"
    with TrainRun(_training(folder / "pairs", student, steps)) as run:
        run.own_bar = True
        # The student of another demo is replaced; this demo's student isn't trained twice.
        if not run.folder.finished():
            # The trainer prints what it logs; here a bar is enough.
            with contextlib.redirect_stdout(io.StringIO()):
                run.work(Shard(), run.agree())
                run.finish(1)
    report = read_mapping(student / REPORT)
    if report is None:
        raise UserError(f"`{student}` lost its report while the demo ran. Run the demo again.")
    before, after = (_examined(one, folder / "ledger", count) for one in (NAME, str(student)))
    return Learned(report["rows"], steps, before, after)


def _training(pairs: Path, output_dir: Path, steps: int) -> TrainConfig:
    return TrainConfig(
        pairs=PairSettings(source=str(pairs)),
        student=NAME,
        output_dir=str(output_dir),
        per_problem=None,
        overwrite=True,
        stops=0,
        training=TRAINING
        | {
            "per_device_train_batch_size": _BATCH,
            "max_steps": steps,
            "learning_rate": 1e-3,
            "disable_tqdm": True,
            "logging_steps": max(1, steps // 4),
            "seed": 0,
        },
    )


def _examined(student: str, ledger: Path, count: int) -> Measures:
    rows = (
        problems(_SPLIT).select(range(count)).rename_column("answer", "gold").add_column("benchmark", ["toy"] * count)
    )
    with StudentEvaluation(
        student, engine="transformers", ledger=str(ledger), n=_SAMPLES, max_tokens=_TOKENS, grader="exact"
    ) as evaluation:
        return measure(sample for group in evaluation.samples(rows, count) for sample in group)
