"""Training as people run it: adapters, evaluation, going on from a checkpoint, streams, rows of every kind, plain
data, what is refused before it begins, the card, and a student that learned to stop.

Slow because it trains: a few steps of a tiny student each, and one that reads a few rows until it knows them.
"""

import itertools
import math
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from peft import LoraConfig, PromptTuningConfig
from tiny import save_student
from training_runs import aligned, figures, pairs, plain, settings, student, trajectory
from transformers import DataCollatorForLanguageModeling as MaskingCollator
from trl import SFTConfig, SFTTrainer

from palign_hf.errors import UserError
from palign_hf.prompts import SOLVE, tag_style
from palign_hf.training.config import PAlignConfig
from palign_hf.training.replies import stops
from palign_hf.training.trainer import PAlignTrainer


pytestmark = pytest.mark.integration

CHAT = [{"role": "user", "content": "What is 1 and 1?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), weights=True)


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def completions() -> Dataset:
    """The same rows as `pairs`, as conversations with the tags in them."""
    style, rows = tag_style("prefix"), []
    for row in pairs():
        said = row["continuation"] if row["prefix"] is None else style.wrap(row["prefix"], row["continuation"])
        asked = [{"role": "user", "content": SOLVE.message(row["question"])}]
        rows.append({"prompt": asked, "completion": [{"role": "assistant", "content": said}]})
    return Dataset.from_list(rows)


def test_an_adapter_learns_and_the_rest_stays(folder, tmp_path):
    model, tokenizer = student(folder)
    config = PAlignConfig(**settings(tmp_path, packing=True, gradient_checkpointing=True, prefix_loss_weight=0.5))
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = PAlignTrainer(model, config, train_dataset=pairs(), processing_class=tokenizer, peft_config=adapter)
    before = weights_of(trainer)
    trainer.train()
    changed = {name for name, weight in weights_of(trainer).items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert figures(trainer, "prefix/nll")


def test_places_before_the_prompt_shift_no_segment(folder, tmp_path):
    """Prompt tuning puts virtual tokens first: with all weights at 1 it is TRL's, and each weight finds its tokens."""

    def tuned(kind, config, rows, **given):
        model, tokenizer = student(folder)
        adapter = PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
        args = config(**settings(tmp_path, **given))
        return kind(model, args, train_dataset=rows, processing_class=tokenizer, peft_config=adapter)

    ours = tuned(PAlignTrainer, PAlignConfig, pairs())
    plain_rows = ours.train_dataset.select_columns(["input_ids", "labels"])
    assert trajectory(ours) == trajectory(tuned(SFTTrainer, SFTConfig, plain_rows))
    counted = {name: figures(ours, f"{name}/num_tokens")[-1] for name in ("prefix", "close_tag", "continuation")}
    segments = [segment for row in ours.train_dataset["segment_ids"] for segment in row]
    assert list(counted.values()) == [segments.count(1), segments.count(2), segments.count(3)]


def test_several_processes_tokenise_and_their_errors_are_read(folder, tmp_path):
    given = {"dataset_num_proc": 2}
    assert trajectory(aligned(folder, tmp_path, **given)) == trajectory(aligned(folder, tmp_path))
    rows = Dataset.from_list([*pairs(), pairs()[0] | {"question": " "}])
    with pytest.raises(UserError, match="Row 13: `question` is empty"):
        aligned(folder, tmp_path, dataset=rows, dataset_num_proc=2)


def test_evaluation_measures_segments_of_any_rows(folder, tmp_path):
    trainer = aligned(folder, tmp_path, prefix_loss_weight=0, close_tag_loss_weight=0)
    found = trainer.evaluate(pairs(6))
    # One loss of its own for each batching: what is learned is the continuation alone.
    assert found["eval_loss"] == pytest.approx(found["eval_continuation/nll"], rel=1e-4)
    assert "eval_prefix/nll" not in found
    whole = aligned(folder, tmp_path).evaluate(pairs(6))
    assert whole["eval_continuation/nll"] == pytest.approx(found["eval_continuation/nll"], rel=1e-4)
    assert whole["eval_prefix/num_tokens"] > whole["eval_close_tag/num_tokens"] > 0
    packed = aligned(folder, tmp_path, packing=True).evaluate(pairs(6))
    assert packed["eval_prefix/nll"] == pytest.approx(whole["eval_prefix/nll"], rel=1e-4)


def test_figures_of_an_evaluation_between_steps_are_its_own(folder, tmp_path):
    model, tokenizer = student(folder)
    config = PAlignConfig(**settings(tmp_path, eval_strategy="steps", eval_steps=1, logging_steps=3))
    trainer = PAlignTrainer(
        model, config, train_dataset=pairs(), eval_dataset={"a": pairs(4), "b": pairs(8)}, processing_class=tokenizer
    )
    trainer.train()
    (logged,) = [log for log in trainer.state.log_history if "prefix/nll" in log]
    steps = trainer.state.log_history
    for name in ("a", "b"):
        evaluations = [log[key] for log in steps if (key := f"eval_{name}_prefix/num_tokens") in log]
        assert len(evaluations) == 3 and len(set(evaluations)) == 1
    assert logged["prefix/num_tokens"] == sum(row["segment_ids"].count(1) for row in trainer.train_dataset)
    assert set(trainer.accounts) == {"train", "a", "b"}


def test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(folder, tmp_path):
    given = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "packing": True}
    whole = trajectory(aligned(folder, tmp_path / "whole", **given))
    again = aligned(folder, tmp_path / "again", **given)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert [log["loss"] for log in again.state.log_history if "loss" in log] == [loss for loss, _ in whole["steps"]]
    resumed = [float(weight.detach().double().abs().sum()) for weight in again.model.parameters()]
    assert resumed == whole["weights"]
    card = ModelCard.load(tmp_path / "whole" / "README.md")
    assert "palign-hf" in card.data.tags and "prefix" in card.text and "Replies begin with a draft" in card.text
    assert "12 of 12 rows of the train dataset are used" in card.text


@pytest.mark.parametrize("packing", [False, True])
def test_a_stream_trains_as_its_rows_do(folder, tmp_path, packing):
    given = {"packing": packing, "max_steps": 2, "accelerator_config": {"dispatch_batches": False}}
    model, tokenizer = student(folder)
    config = PAlignConfig(**settings(tmp_path, **given))
    streamed = PAlignTrainer(model, config, train_dataset=pairs().to_iterable_dataset(), processing_class=tokenizer)
    steps = trajectory(streamed)["steps"]
    # Rows of a stream come in their order.
    rows = aligned(folder, tmp_path, train_sampling_strategy="sequential", **given)
    assert steps == trajectory(rows)["steps"] and figures(streamed, "close_tag/probability")


@pytest.mark.parametrize("kind", ["completion", "tokens", "text"])
def test_rows_of_every_kind_train_alike(folder, tmp_path, kind):
    ours = trajectory(aligned(folder, tmp_path))
    if kind == "text":
        model, tokenizer = student(folder)
        rows = completions().map(
            lambda row: {
                "prompt": tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True),
                "completion": row["completion"][0]["content"],
            }
        )
    else:
        rows = completions() if kind == "completion" else aligned(folder, tmp_path).train_dataset
    found = aligned(folder, tmp_path, dataset=rows)
    assert found.accounts["train"].trained == 12
    # A text ends with its end token, a turn of the template with a new line behind it, which nobody learns.
    assert trajectory(found)["steps"] == [pytest.approx(step, rel=1e-5) for step in ours["steps"]]


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": f"What is {n} and {n}? So it is {n + n}."} for n in range(8)],
        [{"messages": [*CHAT, {"role": "assistant", "content": f"So it is {n}."}]} for n in range(8)],
        [{"prompt": CHAT, "completion": [{"role": "assistant", "content": f"So it is {n}."}]} for n in range(8)],
        [{"prompt": "What? ", "completion": f"So it is {n}."} for n in range(8)],
    ],
    ids=["text", "messages", "conversations", "completions"],
)
@pytest.mark.parametrize("packing", [False, True])
def test_for_plain_data_it_is_trl(folder, tmp_path, rows, packing):
    found = []
    for trainer, config in ((PAlignTrainer, PAlignConfig), (SFTTrainer, SFTConfig)):
        model, tokenizer = student(folder)
        args = config(**settings(tmp_path, packing=packing))
        found.append(trainer(model, args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer))
    assert found[0].train_dataset.to_list() == found[1].train_dataset.to_list()
    assert trajectory(found[0]) == trajectory(found[1])
    assert not figures(found[0], "prefix/nll") and not found[0].accounts


def test_settings_of_trl_and_none_at_all_are_taken(folder, tmp_path, monkeypatch):
    model, tokenizer = student(folder)
    args = SFTConfig(**settings(tmp_path, eos_token="<|im_end|>", max_length=200))
    trainer = PAlignTrainer(model, args, train_dataset=pairs(), processing_class=tokenizer)
    assert isinstance(trainer.args, PAlignConfig) and trainer.args.max_length == 200
    assert trainer.args.eos_token == "<|im_end|>"
    monkeypatch.chdir(tmp_path)
    # What TRL's defaults ask of the machine.
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
    bare = PAlignTrainer(str(folder), train_dataset=pairs(), processing_class=tokenizer)
    assert bare.args.output_dir == f"{folder.name}-P-ALIGN" and not bare.args.weighted


LONG = {"prefix": "We start from 1. " * 100}


@pytest.mark.parametrize(("overlong", "trained"), [("drop", 12), ("truncate_prefix", 13)])
def test_rows_too_long_are_dealt_with_as_said(folder, tmp_path, overlong, trained):
    rows = Dataset.from_list([*pairs(), pairs()[0] | LONG])
    trainer = aligned(folder, tmp_path, dataset=rows, overlong=overlong, packing=True)
    account = trainer.accounts["train"]
    assert (account.trained, account.overlong + account.shortened) == (trained, 1)
    assert sum(itertools.chain(*trainer.train_dataset["seq_lengths"])) == sum(
        map(len, trainer.train_dataset["labels"])
    )


def masked_labels(folder, tmp_path) -> Dataset:
    tokens = aligned(folder, tmp_path).train_dataset
    return tokens.map(lambda row: {"labels": [-100] * len(row["labels"])})


def plain_rows(folder, tmp_path) -> Dataset:
    return Dataset.from_list([{"prompt": CHAT, "completion": [{"role": "assistant", "content": "So it is 2."}]}])


def other_prompts(folder, tmp_path) -> Dataset:
    return Dataset.from_list([{"prompt": CHAT, "prefix": "We start. ", "continuation": "So it is 2."}])


def no_rows(folder, tmp_path) -> Dataset:
    return Dataset.from_list([row | {"status": "rejected"} for row in pairs()])


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        (None, {"overlong": "error", "max_length": 60}, "`max_length=60`: .* rows are longer"),
        (None, {"packing": True, "max_length": None}, "`packing=True` needs a length, but `max_length=None`"),
        (None, {"completion_only_loss": False}, "`completion_only_loss=False` trains on the prompt"),
        (None, {"continuation_loss_weight": 0}, "`continuation_loss_weight=0` takes `<|im_end|>`"),
        (no_rows, {}, "0 of 12 rows of the train dataset are used, left out: 12 rejected"),
        (masked_labels, {}, "their `labels` mask it"),
        (plain_rows, {"prefix_loss_weight": 0.5}, "the training rows have no prefix"),
        (other_prompts, {}, "isn't the prompt of evaluation"),
        (completions, {"tag_style": "draft"}, "Set `tag_style='prefix'`"),
    ],
)
def test_what_would_go_wrong_is_refused_before_it_begins(folder, tmp_path, rows, given, message):
    dataset = completions() if rows is completions else rows(folder, tmp_path) if rows else None
    with pytest.raises(UserError) as refused:
        aligned(folder, tmp_path, dataset=dataset, **given)
    assert all(part in str(refused.value) for part in message.split(".*"))


def test_without_checks_what_is_meant_so_is_trained(folder, tmp_path):
    given = {"continuation_loss_weight": 0, "sanity_checks": False}
    rows = pairs(5)  # all of them with a prefix
    expected = trajectory(plain(folder, tmp_path, learned=(1, 2), dataset=rows))
    assert trajectory(aligned(folder, tmp_path, dataset=rows, **given)) == expected
    aligned(folder, tmp_path, dataset=other_prompts(folder, tmp_path), sanity_checks=False)


def test_a_collator_that_drops_segments_and_a_loss_without_weights_are_refused(folder, tmp_path):
    model, tokenizer = student(folder)
    collator = MaskingCollator(tokenizer, mlm=False)
    given = {"train_dataset": pairs(), "processing_class": tokenizer}
    with pytest.raises(UserError, match="`data_collator=DataCollatorForLanguageModeling` drops the segments"):
        PAlignTrainer(model, PAlignConfig(**settings(tmp_path)), collator, **given)
    args = PAlignConfig(**settings(tmp_path, prefix_loss_weight=0.5))
    with pytest.warns(FutureWarning), pytest.raises(UserError, match="`compute_loss_func` computes the loss without"):
        PAlignTrainer(model, args, compute_loss_func=lambda *given, **more: 0.0, **given)


def test_a_student_learns_to_close_its_draft_and_to_stop(folder, tmp_path):
    rows = pairs(2)
    given = {"max_steps": 60, "learning_rate": 2e-2, "per_device_train_batch_size": 2, "logging_steps": 60}
    trainer = aligned(folder, tmp_path, dataset=rows, close_tag_loss_weight=2.0, **given)
    before = stops(trainer.model, trainer.processing_class, rows, max_new_tokens=60)
    assert before.stopped == before.opened == 0 and before.replies == 2
    trainer.train()
    after = stops(trainer.model, trainer.processing_class, trainer.train_dataset, max_new_tokens=120)
    assert (after.replies, after.stopped, after.opened, after.closed) == (2, 2, 2, 2)
    assert after.tokens < 120 and not math.isnan(trainer.state.log_history[0]["close_tag/probability"])
    assert trainer.evaluate(rows)["eval_close_tag/probability"] > 0.5
