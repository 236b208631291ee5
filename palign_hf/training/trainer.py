"""TRL's `SFTTrainer` with a loss weight and metrics for each segment of a target.

    trainer = PAlignTrainer("Qwen/Qwen2.5-7B-Instruct", args=PAlignConfig(...), train_dataset=pairs)

Five methods are overridden: rows are tokenized with segment ids, the column is kept for the batch, each token's
log-probability is weighted between the model and the loss, segment metrics are logged, and the card is written. With
all weights at 1 the numbers are those of `SFTTrainer`, bit by bit; plain data is trained by `SFTTrainer` alone.
"""

from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments
from trl import SFTTrainer
from trl.trainer.utils import get_config_model_id

from palign_hf.errors import UserError
from palign_hf.hub.cards import PAPER
from palign_hf.training.collator import SegmentMeter, segment_sums, with_segments
from palign_hf.training.config import as_config, as_given, refuse_sharded_sequences
from palign_hf.training.report import model_card
from palign_hf.training.rows import Account, Rows, build_rows, column_names, layout_of, packed
from palign_hf.training.sanity_checks import FirstRows
from palign_hf.weights import check_weights


if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin


class PAlignTrainer(SFTTrainer):
    """Trainer for prefix alignment: [`~trl.SFTTrainer`] with a loss weight and metrics for each segment of a target.

    All arguments of [`~trl.SFTTrainer`] are taken, by the same names, defaults and order.

    Args:
        model (`str` or [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The student: Hub id, folder, or a loaded model.
        args ([`PAlignConfig`], *optional*):
            Configuration. `SFTConfig` and `TrainingArguments` are taken as well.
        data_collator (`Callable`, *optional*):
            Collator of the batches. For rows with a prefix it must derive from the collator of `SFTTrainer`.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Rows to train on: PAIRS; rows with `question` or `prompt`, `prefix` and `continuation`; `prompt` and
            `completion` with the tags in the completion; tokens with `segment_ids`; or any format of `SFTTrainer`.
        eval_dataset ([`~datasets.Dataset`], [`~datasets.IterableDataset`] or `dict`, *optional*):
            Rows to evaluate on, of the same layouts.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            The tokenizer; that of the model by default.
        compute_loss_func (`Callable`, *optional*):
            A loss function of one's own, which excludes weights other than 1.
        compute_metrics (`Callable`, *optional*):
            Metrics of an evaluation.
        callbacks (list of [`~transformers.TrainerCallback`], *optional*):
            Callbacks beside the default ones.
        optimizers (`tuple`, *optional*, defaults to `(None, None)`):
            Optimizer and learning rate scheduler.
        optimizer_cls_and_kwargs (`tuple`, *optional*):
            Optimizer class and its arguments.
        preprocess_logits_for_metrics (`Callable`, *optional*):
            Applied to logits before `compute_metrics`.
        quantization_config (`BitsAndBytesConfig`, *optional*):
            Quantization of a model that is given by name.
        peft_config ([`~peft.PeftConfig`], *optional*):
            Adapter to train instead of all weights.
        formatting_func (`Callable`, *optional*):
            Converts each row to a text, which is then plain data.

    Attributes:
        accounts (`dict[str, Account]`): For each dataset with prefixes, how many rows are used and why others are not.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from palign_hf import PAlignConfig, PAlignTrainer
    >>> from palign_hf.toy import student_folder

    >>> row = {"question": "What is 2 + 3?", "prefix": "Add 3 to 2. ", "continuation": "That is \\\\boxed{5}."}
    >>> trainer = PAlignTrainer(
    ...     str(student_folder()),
    ...     PAlignConfig("student", max_steps=1, use_cpu=True, bf16=False, report_to="none", save_strategy="no"),
    ...     train_dataset=Dataset.from_list([row] * 8),
    ... )
    >>> print(trainer.accounts["train"])
    8 of 8 rows of the train dataset are used.
    >>> output = trainer.train()
    {'train_runtime': ..., 'epoch': '1'}
    >>> output.global_step
    1
    ```
    """

    _tag_names = ["palign-hf", "trl", "sft"]
    _name = "P-ALIGN"
    _paper = PAPER

    def __init__(
        self,
        model: "str | PreTrainedModel | PeftModel",
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        train_dataset: Rows | None = None,
        eval_dataset: Rows | dict[str, Rows] | None = None,
        processing_class: "PreTrainedTokenizerBase | ProcessorMixin | None" = None,
        compute_loss_func: Callable[..., Any] | None = None,
        compute_metrics: Callable[[Any], dict[str, Any]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[..., torch.Tensor] | None = None,
        quantization_config: "BitsAndBytesConfig | None" = None,
        peft_config: "PeftConfig | None" = None,
        formatting_func: Callable[[dict[str, Any]], str] | None = None,
    ) -> None:
        self.accounts: dict[str, Account] = {}
        self._meters = {"train": SegmentMeter(), "eval": SegmentMeter()}
        args = as_given(model, args)
        config = as_config(args)
        self._first_rows = FirstRows(config.sanity_checks)
        if isinstance(model, str) and PartialState().is_local_main_process:
            # Missing weights would be initialized at random.
            loading = config.model_init_kwargs if isinstance(config.model_init_kwargs, dict) else {}
            check_weights(model, loading.get("revision"), bool(config.trust_remote_code))
        super().__init__(
            model,
            args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_loss_func=compute_loss_func,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
            quantization_config=quantization_config,
            peft_config=peft_config,
            formatting_func=formatting_func,
        )
        refuse_sharded_sequences(self.accelerator.parallelism_config)
        self._aligned = "segment_ids" in column_names(self.train_dataset)
        if config.weighted and not self._aligned:
            raise UserError(
                "A weight other than 1 was set, but the training rows have no prefix, so it has no effect. Give rows "
                "with `prefix` and `continuation`, or leave the weights out."
            )
        if config.weighted and self.compute_loss_func is not None:
            raise UserError(
                "`compute_loss_func` computes the loss without the weights of prefix and continuation. Leave it out, "
                "or leave all weights at 1."
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
        """Tokenize and pack rows with a prefix; leave plain data to TRL."""
        transformed = isinstance(dataset, Dataset) and dataset.format["type"] == "custom"
        config = as_config(args)
        layout = None if transformed or formatting_func is not None else layout_of(dataset, config)
        if not transformed:
            self._first_rows.before(self, dataset, layout, dataset_name)
        if layout is None:
            return super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)
        if args.completion_only_loss is False:
            raise UserError(
                "`completion_only_loss=False` trains on the prompt as well, but rows with a prefix are trained on "
                "from their prefix on. Leave it out."
            )
        state = PartialState()
        with state.main_process_first(), state.local_main_process_first():
            dataset, account = build_rows(dataset, layout, self._tokenizer, config, dataset_name, packing)
            self.accounts[dataset_name] = account
            if packing:
                dataset = packed(dataset, args, dataset_name)
        # TRL only shuffles: every row is tokenized and fits.
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
        """TRL's loss, over log-probabilities weighted by segment."""
        inputs = dict(inputs)  # a copy: a subclass may compute the loss of a batch twice
        segments = inputs.pop("segment_ids", None)
        self._weighed = False
        forward = model if segments is None else partial(self._weighted, model, segments, torch.is_grad_enabled())
        found = super().compute_loss(
            forward, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )
        if self._weights is not None and not self._weighed and (segments is not None or self._mode == "train"):
            raise UserError(
                "A weight other than 1 was set, but the loss was computed without it: the batch has no `segment_ids`, "
                "or this release of TRL doesn't use `fused_lm_head`. Keep `segment_ids` in the batch and install a "
                "TRL that this package supports, or leave all weights at 1."
            )
        return found

    def _weighted(self, model: Any, segments: torch.Tensor, learning: bool, **inputs: Any) -> Any:
        """The model's forward; if it returns log-probabilities of the labels, measure and weight them."""
        outputs = model(**inputs)
        if not inputs.get("fused_lm_head"):
            return outputs
        # A forward without gradients beside a loss with them is for metrics only.
        self._weighed |= torch.is_grad_enabled() or not learning
        # A label is predicted one position earlier; prompt tuning adds positions before the first.
        places = outputs.log_probs.size(1) - segments.size(1)
        segments = torch.nn.functional.pad(segments, (places, 0))
        with torch.no_grad():
            sums = segment_sums(outputs.log_probs.detach(), outputs.is_top1, outputs.label_mask, segments)
            self._meters[self._mode].add(self.accelerator.reduce(sums, "sum"))
        if self._weights is not None:
            outputs.log_probs = outputs.log_probs * self._weights.to(outputs.log_probs)[segments]
        return outputs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's log, with segment metrics: means over all tokens since the last log."""
        logs.update(self._meters[self._mode].logged(logs, training=self._mode == "train"))
        super().log(logs, start_time)

    def create_model_card(  # type: ignore[override]  # the arguments of TRL, which differ from its base class
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | list[str] | None = None,
    ) -> None:
        """Write the model card beside the student."""
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
