"""The demo's training step: a short training run on the kept pairs, evaluated before and after on unseen problems.

The problems come from another split than the traces. Both evaluations use the transformers engine, whose samples are
reproducible.
"""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError
from palign_hf.evaluation.intervals import Interval, differences, intervals
from palign_hf.evaluation.metrics import Measures, measure
from palign_hf.evaluation.transform import StudentEvaluation
from palign_hf.runs.parts import read_mapping
from palign_hf.runs.shards import REPORT, Shard
from palign_hf.toy import NAME, problems
from palign_hf.toy.teaching import TRAINING
from palign_hf.training.settings import PairSettings, TrainConfig
from palign_hf.training.stage import TrainRun


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
        } | {"steps": self.steps, "rows": self.rows, "problems": self.problems}

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
        # The student of another demo is replaced; this demo's student isn't trained twice.
        if not run.folder.finished():
            # The trainer prints what it logs; here its bar is enough.
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
