"""`PAlignTrainer`: TRL's `SFTTrainer` that knows prefix from continuation.

    trainer = PAlignTrainer("Qwen/Qwen2.5-7B-Instruct", args=PAlignConfig(...), train_dataset=pairs)

Loss, packing, distribution and all else stay TRL's. What is added goes through five of its methods: rows are tokenised
with their segments, the column is let through to the batch, each token's log-probability is weighted on its way from
the model to the loss, and what is measured of each segment is logged with the rest. With all weights at 1 the numbers
are those of `SFTTrainer`, bit by bit, and for rows without a prefix it is one.
"""

from collections.abc import Callable
from copy import copy
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import TrainingArguments
from trl import SFTTrainer
from trl.trainer.utils import get_config_model_id

from palign_hf.errors import UserError
from palign_hf.hub.paper import PAPER
from palign_hf.training.card import model_card
from palign_hf.training.collator import with_segments
from palign_hf.training.config import as_config, as_given, refuse_sharded_sequences
from palign_hf.training.first_rows import FirstRows
from palign_hf.training.metrics import SegmentMeter, segment_sums
from palign_hf.training.rows import Account, Rows, build_rows, column_names, layout_of, packed
from palign_hf.weights import check_weights


class PAlignTrainer(SFTTrainer):
    """Trains a student on its prefixes and continuations; the arguments are those of `SFTTrainer`.

    `train_dataset` and `eval_dataset` are rows of PAIRS, rows with `question` or `prompt` and `prefix` and
    `continuation`, completions with the tags in them, or anything that `SFTTrainer` takes. `accounts` tells for each
    what became of its rows.
    """

    _tag_names = ["palign-hf", "trl", "sft"]
    _name = "P-ALIGN"
    _paper = PAPER

    def __init__(self, model: Any, args: TrainingArguments | None = None, *others: Any, **named: Any) -> None:
        self.accounts: dict[str, Account] = {}
        self._meters = {"train": SegmentMeter(), "eval": SegmentMeter()}
        args = as_given(model, args)
        config = as_config(args)
        self._first_rows = FirstRows(config.check)
        if isinstance(model, str) and PartialState().is_local_main_process:
            # What is missing would be filled with random numbers.
            loading = config.model_init_kwargs if isinstance(config.model_init_kwargs, dict) else {}
            check_weights(model, loading.get("revision"), bool(config.trust_remote_code))
        super().__init__(model, args, *others, **named)
        refuse_sharded_sequences(self.accelerator.parallelism_config)
        self._aligned = "segment_ids" in column_names(self.train_dataset)
        if config.weighted and not self._aligned:
            raise UserError(
                "A weight other than 1 was set, but the training rows don't tell prefix from continuation, so it "
                "would change nothing. Give rows with `prefix` and `continuation`, or leave the weights out."
            )
        if config.weighted and self.compute_loss_func is not None:
            raise UserError(
                "`compute_loss_func` makes a loss of its own, in which the weights of prefix and continuation have no "
                "part. Leave it out, or leave all weights at 1."
            )
        self.data_collator = with_segments(self.data_collator, self._aligned, config.masked_segments)
        self._set_signature_columns_if_needed()
        self._first_rows.ready(self, config, aligned=self._aligned)
        self._weights = torch.tensor(config.segment_weights, device=config.device) if config.weighted else None

    def _prepare_dataset(
        self,
        dataset: Rows,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Callable[..., Any] | None,
        dataset_name: str,
    ) -> Rows:
        """Rows with segments are tokenised and packed here, all others by TRL."""
        transformed = isinstance(dataset, Dataset) and dataset.format["type"] == "custom"
        config = as_config(args)
        layout = None if transformed or formatting_func is not None else layout_of(dataset, config)
        if not transformed:
            self._first_rows.before(self, dataset, layout, dataset_name)
        if layout is None:
            return super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)
        if args.completion_only_loss is False:
            raise UserError(
                "`completion_only_loss=False` would learn the prompt as well, but rows with a prefix are learned from "
                "their prefix on. Leave it out."
            )
        state = PartialState()
        with state.main_process_first(), state.local_main_process_first():
            dataset, account = build_rows(dataset, layout, self._tokenizer, config, dataset_name, packing)
            self.accounts[dataset_name] = account
            if packing:
                dataset = packed(dataset, args, dataset_name)
        # What is left to TRL is to shuffle: every row is tokens already, and fits.
        ready = copy(args)
        ready.max_length = None
        return super()._prepare_dataset(dataset, processing_class, ready, False, None, dataset_name)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        if "segment_ids" not in columns:
            columns.append("segment_ids")

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """TRL's loss, over log-probabilities that are weighted by segment."""
        inputs = dict(inputs)  # the caller's own: a subclass may ask for the loss of a batch twice
        segments = inputs.pop("segment_ids", None)
        self._weighed = False
        asked = model if segments is None else partial(self._weighted, model, segments, torch.is_grad_enabled())
        found = super().compute_loss(
            asked, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )
        if self._weights is not None and not self._weighed and (segments is not None or self._mode == "train"):
            raise UserError(
                "A weight other than 1 was set, but the loss was made without it: the batch has no `segment_ids`, or "
                "this release of TRL makes the loss without `fused_lm_head`. Keep `segment_ids` in the batch and take "
                "a TRL that this package supports, or leave all weights at 1."
            )
        return found

    def _weighted(self, model: Any, segments: torch.Tensor, learning: bool, **inputs: Any) -> Any:
        """The model's forward; where it gives a log-probability for each label, these are measured and weighted."""
        outputs = model(**inputs)
        if not inputs.get("fused_lm_head"):
            return outputs
        # Of a forward without gradients beside a loss with them, only metrics are made.
        self._weighed |= torch.is_grad_enabled() or not learning
        # A label is predicted one place before it stands; prompt tuning puts places before the first.
        places = outputs.log_probs.size(1) - segments.size(1)
        segments = torch.nn.functional.pad(segments, (places, 0))
        with torch.no_grad():
            sums = segment_sums(outputs.log_probs.detach(), outputs.is_top1, outputs.label_mask, segments)
            self._meters[self._mode].add(self.accelerator.reduce(sums, "sum"))
        if self._weights is not None:
            outputs.log_probs = outputs.log_probs * self._weights.to(outputs.log_probs)[segments]
        return outputs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's log with the figures of the segments: means over all tokens since the last one."""
        logs.update(self._meters[self._mode].logged(logs, training=self._mode == "train"))
        super().log(logs, start_time)

    def create_model_card(  # type: ignore[override]  # TRL's arguments, which aren't those of its own base
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | list[str] | None = None,
    ) -> None:
        """Write the card beside the student: with what is known, and nothing else."""
        if not self.is_world_process_zero():
            return
        config = as_config(self.args)
        card = model_card(
            config,
            model_name=model_name or Path(str(config.output_dir)).name,
            base=get_config_model_id(self._unwrapped.config) or None,
            dataset_name=dataset_name,
            hub_model_id=self.hub_model_id,
            tags={*self._tag_names, *([tags] if isinstance(tags, str) else tags or [])},
            accounts=[str(account) for account in self.accounts.values()],
            history=self.state.log_history,
            aligned=self._aligned,
            peft=is_peft_model(self._unwrapped),
        )
        card.save(Path(str(config.output_dir)) / "README.md")

    @property
    def _unwrapped(self) -> Any:
        return self.accelerator.unwrap_model(self.model)

    @property
    def _mode(self) -> str:
        return "train" if self.model is not None and self.model.training else "eval"


# What help and editors show of the constructor is what it takes.
update_wrapper(PAlignTrainer.__init__, SFTTrainer.__init__)
