"""What a training made of its rows: which were learned, how the loss of each part went, and how the student replies.

The figures are those that the trainer has logged, at the first log and at the last; tokens are counted on the rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palign_hf.runs.report import StageReport, often
from palign_hf.tables import escaped, table


_TERMS = {
    "learned": "rows that the student was trained on, in every epoch.",
    "left out": "rows of the pairs that it was not trained on; each has its reason.",
    "prefix": "the teacher's part of a target, with its opening tag.",
    "close_tag": "the tag that ends the prefix; a student that doesn't learn it never ends its draft.",
    "continuation": "the student's own part of a target, with the end of its turn.",
    "loss": "mean negative log-likelihood of a token.",
    "accuracy": "share of tokens that were the likeliest.",
    "replies": "what the trained student says to the first problems, the likeliest tokens, up to a limit.",
    "draft": "what it says between the tags; a reply that never closes it gives no answer of its own.",
}
_PARTS = ("prefix", "close_tag", "continuation")
_METRICS = {"nll": "loss", "token_accuracy": "accuracy"}


@dataclass
class TrainingReport(StageReport):
    """The figures of a training; what wasn't measured is empty or null."""

    terms = _TERMS

    tokens: dict[str, int]
    steps: int
    epochs: float
    first: dict[str, float]
    last: dict[str, float]
    measured: dict[str, float]
    measured_rows: int
    weights: dict[str, int]
    shortened: int = 0
    seconds: float | None = None
    peak_memory: int | None = None
    stops: dict[str, Any] | None = None
    # The signs by which it has diverged: then there is no student.
    diverged: list[str] = field(default_factory=list)

    @property
    def learned(self) -> int:
        """Rows that were trained on."""
        return self.statuses["learned"]

    def lines(self) -> list[tuple[str, str]]:
        """What happened, as (name, value) pairs in the order in which one reads them."""
        told = [*self.counted()]
        if self.diverged:
            told.insert(0, ("student", "none: the training diverged"))
        if self.shortened:
            told.append(("rows with a shortened prefix", f"{self.shortened:,}"))
        if self.measured_rows:
            told.append(("rows of the evaluation", f"{self.measured_rows:,}"))
        told += [
            ("tokens an epoch", f"{sum(self.tokens.values()):,}"),
            *((f"tokens of the {name.replace('_', ' ')}", f"{count:,}") for name, count in self.tokens.items()),
            ("weights trained", f"{self.weights['trained']:,} of {self.weights['all']:,}"),
            ("steps", f"{self.steps:,} ({self.epochs:.4g} epochs)"),
        ]
        for name, said in (("loss", "loss"), ("close_tag/probability", "probability of the closing tag")):
            told += _went(said, self.first.get(name), self.last.get(name))
        for part in _PARTS:
            for metric, said in _METRICS.items():
                name = f"{part}/{metric}"
                told += _went(f"{said} of the {part.replace('_', ' ')}", self.first.get(name), self.last.get(name))
        told += [(f"evaluation: {name}", f"{value:.4f}") for name, value in self.measured.items()]
        if self.seconds is not None:
            told.append(("seconds of training", f"{self.seconds:.0f}"))
        if self.peak_memory is not None:
            told.append(("peak memory of the first GPU", f"{self.peak_memory / 2**30:.1f} GiB"))
        if self.stops:
            told.append(("replies that stop", f"{self.stops['stopped']} of {self.stops['asked']}"))
            told.append(("replies that open a draft", f"{self.stops['opened']} of {self.stops['asked']}"))
            if self.stops["opened"]:
                told.append(("drafts that are closed", f"{self.stops['closed']} of {self.stops['opened']}"))
        return told

    def warnings(self) -> list[str]:
        """Signs that the student didn't learn what it was to learn, each with what to do."""
        found = [diverged_words(self.diverged)] if self.diverged else []
        loss = self.last.get("loss")
        if not self.diverged and loss is not None and not math.isfinite(loss):
            found.append("The loss is no number any more: lower `training.learning_rate`, or train in bf16, not fp16.")
        overlong = sum(count for reason, count in self.reasons.items() if "max_length" in reason)
        if often(overlong / self.rows if self.rows else None, self.rows, 0.05):
            found.append(
                f"{overlong} of {self.rows} rows are longer than `max_length` and were left out, and long ones are "
                f"the hard ones: raise it, or shorten their prefixes with `training.overlong: truncate_prefix`."
            )
        if self.stops and self.stops["stopped"] < self.stops["asked"]:
            found.append(
                f"{self.stops['asked'] - self.stops['stopped']} of {self.stops['asked']} replies don't stop within "
                f"{self.stops['limit']} tokens: train longer, or give them more with `stops_tokens` if they need it."
            )
        if self.stops and self.stops["opened"] < self.stops["asked"] and self._tagged:
            found.append(
                f"{self.stops['asked'] - self.stops['opened']} of {self.stops['asked']} replies don't begin with a "
                f"draft, as the targets do: the student hasn't learned their form yet; train longer."
            )
        if self.stops and self.stops["closed"] < self.stops["opened"]:
            found.append(
                f"{self.stops['opened'] - self.stops['closed']} of {self.stops['opened']} drafts are never closed: "
                f"raise `training.close_tag_loss_weight`."
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which has no NaN."""
        told = super().as_dict()
        for name in ("first", "last", "measured"):
            told[name] = {key: value if math.isfinite(value) else None for key, value in told[name].items()}
        return told

    @property
    def _tagged(self) -> bool:
        """Whether targets begin with an opening tag."""
        tags = self.settings.get("training", {}).get("tags")
        return bool(self.settings.get("baseline") == "p-align" and tags != "none")

    def title(self) -> str:
        """The student and what it learned."""
        return f"Training of {self.settings.get('student', 'a student')}"

    def facts(self) -> Mapping[str, Any]:
        """What was run."""
        about = self.settings
        source = about.get("input", {})
        return {
            "student": about.get("student"),
            "pairs": source.get("source"),
            "revision of the pairs": source.get("revision"),
            "baseline": about.get("baseline"),
            "weights": about.get("weights"),
            "processes": about.get("processes"),
            "went on from": about.get("went_on_from"),
            "date": about.get("date"),
            "command": about.get("command"),
        }

    def sections(self) -> Sequence[str]:
        """The settings that decide a training, and the versions."""
        training = [(name, str(value)) for name, value in self.settings.get("training", {}).items()]
        versions = ", ".join(f"{name} {number}" for name, number in self.settings.get("versions", {}).items())
        made = f"Made with {escaped(versions)}.\n"
        return ["## Settings\n", "\n".join([*table(("setting", "value"), training), ""]), made] if training else [made]


def diverged_words(signs: Sequence[str]) -> str:
    """That a training diverged, by which signs, and what to do."""
    return (
        f"The training diverged, and no student was saved: {'; '.join(signs)}. Lower `training.learning_rate`, keep "
        f"`training.max_grad_norm` above 0 (1.0 is usual), or train in bf16, not fp16; then run it with "
        f"`replace=True`, or into another `output`."
    )


def _went(name: str, first: float | None, last: float | None) -> list[tuple[str, str]]:
    """A figure at the first log and at the last."""
    if first is None or last is None:
        return []
    return [(name, f"{first:.4f} -> {last:.4f}")]
