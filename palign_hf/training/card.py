"""The model card of a trained student: what it is, how to ask it, how it was trained, what was measured.

Only facts stand in it. What isn't known is left out: a licence that nobody stated, a base model that was a folder. Its
parts are marked (`palign_hf.hub.marks`), so that `palign_hf.hub.model_card` can bring them to a card on the Hub.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, constants, hf_hub_download
from huggingface_hub.repocard import metadata_load

from palign_hf import __version__
from palign_hf.hub.marks import stamped
from palign_hf.hub.paper import PAPER
from palign_hf.prompts import SOLVE, tag_style
from palign_hf.training.config import PAlignConfig
from palign_hf.training.segments import LEARNED


_TEMPLATE = Path(__file__).with_name("model_card.md")
_MADE_WITH = ("trl", "transformers", "torch", "datasets")


def model_card(
    config: PAlignConfig,
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
) -> ModelCard:
    """The card of a student trained from `base`, a name on the Hub or a folder, with this config and history."""
    base_model = None if base is None or os.path.isdir(base) else base
    data = ModelCardData(
        base_model=base_model,
        base_model_relation=("adapter" if peft else "finetune") if base_model else None,
        datasets=dataset_name,
        library_name="peft" if peft else "transformers",
        license=licence(base),
        pipeline_tag="text-generation",
        model_name=model_name,
        tags=sorted({"generated_from_trainer", *tags}),
    )
    style = tag_style(config.tags)
    instruction = SOLVE.text.partition("{question}")[0]
    card = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        model_name=model_name,
        base_model=base_model,
        dataset_name=dataset_name,
        hub_model_id=hub_model_id,
        instruction=_python(instruction),
        opening=style.open.strip(),
        closing=style.close.strip(),
        training=_settings(config),
        aligned=aligned,
        accounts=accounts,
        segments=_segments(history),
        probability=_last(history, "close_tag/probability", "{:.3g}"),
        versions=", ".join([f"palign-hf {__version__}", *(f"{name} {version(name)}" for name in _MADE_WITH)]),
        citation=PAPER["citation"],
    )
    return ModelCard(stamped(str(card)), ignore_metadata_errors=False)


@lru_cache(maxsize=4)
def licence(base: str | None) -> str | None:
    """The licence that the base model's own card states, beside a folder's weights or on the Hub; asked for once."""
    if base is None:
        return None
    try:
        folder = os.path.isdir(base)
        found = Path(base) / "README.md" if folder else hf_hub_download(base, constants.REPOCARD_NAME)
        stated = (metadata_load(found) or {}).get("license")
    except Exception:  # no card, no network, or a card in whatever YAML: then nothing is known
        return None
    return stated if isinstance(stated, str) else None


def _settings(config: PAlignConfig) -> list[tuple[str, Any]]:
    names = [
        "prefix_loss_weight",
        "continuation_loss_weight",
        "close_tag_loss_weight",
        "tags",
        "max_length",
        "overlong",
    ]
    names += ["packing", "num_train_epochs", "max_steps", "learning_rate", "per_device_train_batch_size"]
    names += ["gradient_accumulation_steps", "seed"]
    unset = {"max_steps": -1, "packing": False}
    shown = [name for name in names if getattr(config, name) != unset.get(name, ...)]
    if config.max_steps > 0:
        shown.remove("num_train_epochs")
    return [(f"`{name}`", f"`{getattr(config, name)}`") for name in shown]


def _segments(history: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The last figures of each segment, in training and in evaluation."""
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
    """A text as Python spells it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
