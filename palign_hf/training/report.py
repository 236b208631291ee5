"""Report and model card of a training: rows, tokens, loss of each segment, and the student's replies.

Metrics are the trainer's, at its first and its last log; tokens are counted on the rows. Parts of the card are marked
as in `palign_hf.hub.model_card`, which carries them over to the card on the Hub.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf import __version__
from palign_hf.hub.cards import PAPER, stamped
from palign_hf.prompts import SOLVE, tag_style
from palign_hf.runs.report import StageReport, often
from palign_hf.tables import escaped, table
from palign_hf.training.features import LEARNED


if TYPE_CHECKING:
    from huggingface_hub import ModelCard

    from palign_hf.training.config import PAlignConfig

_TEMPLATE = Path(__file__).with_name("model_card.md")
_MADE_WITH = ("trl", "transformers", "torch", "datasets")
_TERMS = {
    "learned": "rows that the student was trained on, in every epoch.",
    "left out": "rows that it was not trained on, each for a reason.",
    "prefix": "the teacher's part of a target, with its opening tag.",
    "close_tag": "the tag that ends the prefix; a student that doesn't learn it never ends its draft.",
    "continuation": "the student's own part of a target, with the end of its turn.",
    "loss": "mean negative log-likelihood of a token.",
    "accuracy": "share of target tokens that are the top-1 prediction.",
    "replies": "greedy replies of the trained student to the first prompts, up to a limit of tokens.",
    "draft": "the text between the tags; a reply that never closes it has no answer.",
}
_PARTS = ("prefix", "close_tag", "continuation")
_METRICS = {"nll": "loss", "token_accuracy": "accuracy"}


@dataclass
class TrainingReport(StageReport):
    """The figures of a training; what isn't measured is empty or null.

    Args:
        tokens (`dict[str, int]`): Tokens of an epoch, by segment; of plain data, by whether they are learned.
        steps (`int`): Optimizer steps.
        epochs (`float`): Epochs.
        first (`dict[str, float]`): Metrics at the first log.
        last (`dict[str, float]`): Metrics at the last log.
        measured (`dict[str, float]`): Metrics of the evaluation.
        measured_rows (`int`): Rows of the evaluation.
        weights (`dict[str, int]`): Number of trained weights and of all.
        shortened (`int`): Rows with a shortened prefix.
        full (`int`): Rows of plain data that fill `max_length`, where TRL truncates.
        seconds (`float`, *optional*): Seconds of training.
        peak_memory (`int`, *optional*): Bytes of GPU memory.
        stops (`dict`, *optional*): Counts over the student's replies.
        diverged (`list[str]`): Signs of divergence; if there are any, no student was saved.
    """

    stage = "train"
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
    full: int = 0
    seconds: float | None = None
    peak_memory: int | None = None
    stops: dict[str, Any] | None = None
    diverged: list[str] = field(default_factory=list)

    @property
    def learned(self) -> int:
        """Rows that were trained on."""
        return self.statuses["learned"]

    def lines(self) -> list[tuple[str, str]]:
        """The figures as (name, value) pairs, in reading order."""
        lines = [*self.counted()]
        if self.diverged:
            lines.insert(0, ("student", "none: the training diverged"))
        if self.shortened:
            lines.append(("rows with a shortened prefix", f"{self.shortened:,}"))
        if self.full:
            lines.append(("rows that fill `max_length`", f"{self.full:,}"))
        if self.measured_rows:
            lines.append(("rows of the evaluation", f"{self.measured_rows:,}"))
        lines += [
            ("tokens an epoch", f"{sum(self.tokens.values()):,}"),
            *((f"tokens of the {name.replace('_', ' ')}", f"{count:,}") for name, count in self.tokens.items()),
            ("weights trained", f"{self.weights['trained']:,} of {self.weights['all']:,}"),
            ("steps", f"{self.steps:,} ({self.epochs:.4g} epochs)"),
        ]
        for name, title in (("loss", "loss"), ("close_tag/probability", "probability of the closing tag")):
            lines += _trend(title, self.first.get(name), self.last.get(name))
        for part in _PARTS:
            for metric, title in _METRICS.items():
                name = f"{part}/{metric}"
                lines += _trend(f"{title} of the {part.replace('_', ' ')}", self.first.get(name), self.last.get(name))
        lines += [(f"evaluation: {name}", f"{value:.4f}") for name, value in self.measured.items()]
        if self.seconds is not None:
            lines.append(("seconds of training", f"{self.seconds:.0f}"))
        if self.peak_memory is not None:
            lines.append(("peak memory of the first GPU", f"{self.peak_memory / 2**30:.1f} GiB"))
        if self.stops:
            lines.append(("replies that stop", f"{self.stops['stopped']} of {self.stops['replies']}"))
            lines.append(("replies that open a draft", f"{self.stops['opened']} of {self.stops['replies']}"))
            if self.stops["opened"]:
                lines.append(("drafts that are closed", f"{self.stops['closed']} of {self.stops['opened']}"))
        return lines

    def warnings(self) -> list[str]:
        """Signs that the training failed in part, each with what to do."""
        found = [divergence_message(self.diverged)] if self.diverged else []
        loss = self.last.get("loss")
        if not self.diverged and loss is not None and not math.isfinite(loss):
            found.append("The loss is not a number: lower `training.learning_rate`, or train in bf16, not fp16.")
        overlong = sum(count for reason, count in self.reasons.items() if "max_length" in reason)
        if often(overlong / self.rows if self.rows else None, self.rows, 0.05):
            found.append(
                f"{overlong} of {self.rows} rows are longer than `max_length` and were left out; long rows are the "
                f"hard ones: raise it, or shorten their prefixes with `training.overlong: truncate_prefix`."
            )
        if often(self.full / self.learned if self.learned else None, self.learned, 0.05):
            found.append(
                f"{self.full} of {self.learned} rows fill `max_length`, where TRL truncates them, so their end may "
                f"be missing: raise it."
            )
        if self.stops and self.stops["stopped"] < self.stops["replies"]:
            found.append(
                f"{self.stops['replies'] - self.stops['stopped']} of {self.stops['replies']} replies don't stop "
                f"within {self.stops['limit']} tokens: train longer, or raise `stops_tokens`."
            )
        if self.stops and self.stops["opened"] < self.stops["replies"] and self._tagged:
            found.append(
                f"{self.stops['replies'] - self.stops['opened']} of {self.stops['replies']} replies don't begin with "
                f"a draft, as the targets do: train longer."
            )
        if self.stops and self.stops["closed"] < self.stops["opened"]:
            found.append(
                f"{self.stops['opened'] - self.stops['closed']} of {self.stops['opened']} drafts are never closed: "
                f"raise `training.close_tag_loss_weight`."
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON data, where NaN is null."""
        data = super().as_dict()
        for name in ("first", "last", "measured"):
            data[name] = {key: value if math.isfinite(value) else None for key, value in data[name].items()}
        return data

    @property
    def _tagged(self) -> bool:
        """Whether targets begin with an opening tag."""
        training, baseline = self.settings.get("training", {}), self.settings.get("baseline", "p-align")
        tags = training.get("tag_style", training.get("tags"))  # `tags` in reports of the last release
        return bool(baseline == "p-align" and tags != "none" and self.tokens.get("close_tag"))

    def title(self) -> str:
        """The heading: the student."""
        return f"Training of {self.settings.get('student', 'a student')}"

    def facts(self) -> Mapping[str, Any]:
        """The facts of the run."""
        about = self.settings
        source = about.get("input", {})
        return {
            "student": about.get("student"),
            "pairs" if source.get("layout", "PAIRS") == "PAIRS" else "data": source.get("source"),
            "layout of the rows": source.get("layout"),
            "revision": source.get("revision"),
            "baseline": about.get("baseline"),
            "weights": about.get("weights"),
            "processes": about.get("processes"),
            "resumed from": about.get("resumed_from"),
            "date": about.get("date"),
            "command": about.get("command"),
        }

    def sections(self) -> Sequence[str]:
        """The settings of the trainer, and the versions."""
        training = [(name, str(value)) for name, value in self.settings.get("training", {}).items()]
        versions = ", ".join(f"{name} {number}" for name, number in self.settings.get("versions", {}).items())
        made = f"Made with {escaped(versions)}.\n"
        return ["## Settings\n", "\n".join([*table(("setting", "value"), training), ""]), made] if training else [made]


def divergence_message(signs: Sequence[str]) -> str:
    """The message of a training that diverged: its signs, and what to do."""
    return (
        f"The training diverged, and no student was saved: {'; '.join(signs)}. Lower `training.learning_rate`, keep "
        f"`training.max_grad_norm` above 0 (1.0 is usual), or train in bf16, not fp16; then run it with "
        f"`overwrite=True`, or into another `output_dir`."
    )


def _trend(name: str, first: float | None, last: float | None) -> list[tuple[str, str]]:
    """A metric at the first log and at the last."""
    if first is None or last is None:
        return []
    return [(name, f"{first:.4f} -> {last:.4f}")]


def model_card(
    config: "PAlignConfig",
    *,
    model_name: str,
    base: str | None,
    dataset_name: str | None,
    hub_model_id: str | None,
    tags: Iterable[str],
    accounts: Sequence[str],
    history: Sequence[Mapping[str, Any]],
    aligned: bool,
    peft: bool,
) -> "ModelCard":
    """The model card of a trained student. What isn't known is left out.

    Args:
        config ([`PAlignConfig`]): The settings of the training.
        model_name (`str`): Name of the student.
        base (`str`, *optional*): The model that was trained: Hub id or folder; a folder is not named in the card.
        dataset_name (`str`, *optional*): Hub id of the training rows.
        hub_model_id (`str`, *optional*): Hub id of the student.
        tags (`Iterable[str]`): Tags of the model on the Hub.
        accounts (`Sequence[str]`): Counts of the rows, one line a dataset.
        history (`Sequence[Mapping]`): The trainer's log.
        aligned (`bool`): Whether the rows have prefixes.
        peft (`bool`): Whether the student is an adapter.

    Returns:
        [`~huggingface_hub.ModelCard`]: The card.
    """
    from huggingface_hub import ModelCard, ModelCardData

    base_model = None if base is None or os.path.isdir(base) else base
    data = ModelCardData(
        base_model=base_model,
        base_model_relation=("adapter" if peft else "finetune") if base_model else None,
        datasets=dataset_name,
        library_name="peft" if peft else "transformers",
        license=license_of(base),
        pipeline_tag="text-generation",
        model_name=model_name,
        tags=sorted({"generated_from_trainer", *tags}),
    )
    style = tag_style(config.tag_style)
    instruction = SOLVE.text.partition("{question}")[0]
    card = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        model_name=model_name,
        base_model=base_model,
        dataset_name=dataset_name,
        hub_model_id=hub_model_id,
        instruction=_python(instruction) if aligned else None,
        opening=style.open.strip(),
        closing=style.close.strip(),
        training=_card_settings(config, aligned),
        aligned=aligned,
        accounts=accounts,
        segments=_segment_rows(history),
        probability=_last(history, "close_tag/probability", "{:.3g}"),
        versions=", ".join([f"palign-hf {__version__}", *(f"{name} {version(name)}" for name in _MADE_WITH)]),
        citation=PAPER["citation"],
    )
    return ModelCard(stamped(str(card)), ignore_metadata_errors=False)


@lru_cache(maxsize=4)
def license_of(base: str | None) -> str | None:
    """The license in the base model's own card, in its folder or on the Hub; None if there is none."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.repocard import metadata_load

    if base is None:
        return None
    try:
        folder = os.path.isdir(base)
        found = Path(base) / "README.md" if folder else hf_hub_download(base, constants.REPOCARD_NAME)
        stated = (metadata_load(found) or {}).get("license")
    except Exception:  # no card, no network, or a card that is no YAML
        return None
    return stated if isinstance(stated, str) else None


def _card_settings(config: "PAlignConfig", aligned: bool) -> list[tuple[str, Any]]:
    """The settings in the card; for plain data without those of prefix alignment."""
    own = ["prefix_loss_weight", "continuation_loss_weight", "close_tag_loss_weight", "tag_style", "overlong"]
    names = [
        "prefix_loss_weight",
        "continuation_loss_weight",
        "close_tag_loss_weight",
        "tag_style",
        "max_length",
        "overlong",
    ]
    names += ["packing", "num_train_epochs", "max_steps", "learning_rate", "per_device_train_batch_size"]
    names += ["gradient_accumulation_steps", "seed"]
    unset = {"max_steps": -1, "packing": False}
    shown = [name for name in names if getattr(config, name) != unset.get(name, ...) and (aligned or name not in own)]
    if config.max_steps > 0:
        shown.remove("num_train_epochs")
    return [(f"`{name}`", f"`{getattr(config, name)}`") for name in shown]


def _segment_rows(history: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The last metrics of each segment, in training and in evaluation."""
    rows = []
    for name in LEARNED.values():
        figures = [
            _last(history, f"{mode}{name}/{metric}", "{:.4f}" if metric == "nll" else "{:.1%}") or ""
            for mode in ("", "eval_")
            for metric in ("nll", "token_accuracy")
        ]
        if any(figures):
            rows.append([name.replace("_", " "), *figures])
    return rows


def _last(history: Sequence[Mapping[str, Any]], name: str, form: str) -> str | None:
    found = [log[name] for log in history if name in log]
    return form.format(found[-1]) if found else None


def _python(text: str) -> str:
    """A text as a Python literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
