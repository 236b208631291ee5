"""`PAlignTrainer` in the place of `SFTTrainer`: the same losses, gradients and weights, bit by bit, on every form of
data that TRL documents, and the same surroundings (arguments, callbacks, collators, subclasses).

Slow because it trains: two steps of a tiny student for each form, once with each trainer.
"""

import logging
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from peft import LoraConfig
from tiny import CHATML, save_student
from training_runs import aligned, pairs, settings, student, trajectory
from transformers import GenerationConfig, TrainerCallback, TrainingArguments
from trl import LogCompletionsCallback, SFTConfig, SFTTrainer, pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from palign_hf.errors import UserError
from palign_hf.prompts import SOLVE
from palign_hf.training.config import PAlignConfig
from palign_hf.training.trainer import PAlignTrainer


pytestmark = pytest.mark.integration

GENERATION = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}{% else %}{{ message.content }}<|im_end|>"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_TOOLS = "{% if tools %}{{ tools[0].name }} {% endif %}{% if kind %}{{ kind }} {% endif %}" + CHATML
UNENDED = CHATML.replace("<|im_end|>", "")
THINKS = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n\n</think>\n\n{% endif %}")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def text(n: int) -> dict[str, Any]:
    return {"text": f"What is {n} and {n}? So it is {n + n}. " * (1 + n % 3)}


def messages(n: int) -> dict[str, Any]:
    more = [user("Sure?"), assistant("Yes.")] * (n % 2)
    return {"messages": [user(f"What is {n} and {n}?"), assistant(f"So it is {n + n}."), *more]}


def from_value(n: int) -> dict[str, Any]:
    return {"conversations": [{"from": "human", "value": f"What is {n}?"}, {"from": "gpt", "value": f"It is {n}."}]}


def completion(n: int) -> dict[str, Any]:
    return {"prompt": f"What is {n} and {n}? ", "completion": f"So it is {n + n}." * (1 + n % 3)}


def conversation(n: int) -> dict[str, Any]:
    return {"prompt": [user(f"What is {n}?")], "completion": [assistant(f"So it is {n}. " * (1 + n % 3))]}


def tokens(n: int) -> dict[str, Any]:
    return {"input_ids": [*range(20 + n, 32 + n), *[2] * (n % 3)]}


def labelled(n: int) -> dict[str, Any]:
    ids = tokens(n)["input_ids"]
    return {"input_ids": ids, "labels": [-100] * 4 + ids[4:]}


def masked(n: int, name: str = "completion_mask") -> dict[str, Any]:
    ids = tokens(n)["input_ids"]
    return {"input_ids": ids, name: [0] * 5 + [1] * (len(ids) - 5)}


def with_tools(n: int) -> dict[str, Any]:
    return messages(2 * n) | {"tools": '[{"name": "adder"}]', "chat_template_kwargs": {"kind": "short"}}


def with_field(n: int) -> dict[str, Any]:
    return {"story": text(n)["text"]}


def rows_of(make: Any, count: int = 8) -> Dataset:
    return Dataset.from_list([make(n) for n in range(count)])


@dataclass
class Noisy(DataCollatorForLanguageModeling):
    """A user's collator."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        batch["input_ids"][:, 0] = 9
        return batch


def summed(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A user's loss."""
    return outputs.logits.float().square().mean()


def told(row: dict[str, Any]) -> str:
    """A user's `formatting_func`."""
    return f"Q: {row['prompt']} A: {row['completion']}"


ADAPTER = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
# Each: how a row is made, settings beside the usual ones, arguments of the trainer, the chat template.
FORMS: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "text": (text, {}, {}, CHATML),
    "text in another column": (with_field, {"dataset_text_field": "story"}, {}, CHATML),
    "text longer than max_length": (text, {"max_length": 12}, {}, CHATML),
    "messages": (messages, {}, {}, CHATML),
    "messages cut": (messages, {"max_length": 20}, {}, CHATML),
    "messages packed": (messages, {"packing": True, "max_length": 64}, {}, CHATML),
    "messages wrapped": (messages, {"packing": True, "packing_strategy": "wrapped", "max_length": 40}, {}, CHATML),
    "messages split": (messages, {"packing": True, "packing_strategy": "bfd_split", "max_length": 24}, {}, CHATML),
    "messages padding-free": (messages, {"padding_free": True, "max_length": None}, {}, CHATML),
    "messages of assistants alone": (messages, {"assistant_only_loss": True}, {}, GENERATION),
    "messages with tools": (with_tools, {}, {}, WITH_TOOLS),
    "from and value": (from_value, {}, {}, CHATML),
    "completion": (completion, {}, {}, CHATML),
    "completion and prompt": (completion, {"completion_only_loss": False}, {}, CHATML),
    "conversation": (conversation, {}, {}, CHATML),
    "conversation and prompt": (conversation, {"completion_only_loss": False}, {}, CHATML),
    "conversation cut": (conversation, {"max_length": 30}, {}, CHATML),
    "conversation that changes": (conversation, {}, {}, THINKS),
    "tokens": (tokens, {}, {}, CHATML),
    "tokens packed": (tokens, {"packing": True, "max_length": 32}, {}, CHATML),
    "labels": (labelled, {}, {}, CHATML),
    "completion masks": (masked, {"completion_only_loss": True}, {}, CHATML),
    "assistant masks": (partial(masked, name="assistant_masks"), {}, {}, CHATML),
    "tokens as they are": (labelled, {"dataset_kwargs": {"skip_prepare_dataset": True}}, {}, CHATML),
    "formatting_func": (completion, {"completion_only_loss": False}, {"formatting_func": told}, CHATML),
    "an adapter": (messages, {}, {"peft_config": ADAPTER}, CHATML),
    "a collator": (text, {}, {"data_collator": Noisy(pad_token_id=0)}, CHATML),
    "a loss": (text, {}, {"compute_loss_func": summed}, CHATML),
    "dft": (messages, {"loss_type": "dft"}, {}, CHATML),
    "dft packed": (completion, {"loss_type": "dft", "packing": True}, {}, CHATML),
    "smoothed labels": (messages, {"label_smoothing_factor": 0.1}, {}, CHATML),
    "shuffled": (text, {"shuffle_dataset": True, "seed": 4}, {}, CHATML),
    "columns kept": (messages, {"remove_unused_columns": False}, {}, CHATML),
    "accumulated": (messages, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}, {}, CHATML),
    "noise in embeddings": (messages, {"neftune_noise_alpha": 5.0}, {}, CHATML),
    "processes": (text, {"dataset_num_proc": 2}, {}, CHATML),
}
KINDS = ((PAlignTrainer, PAlignConfig), (SFTTrainer, SFTConfig))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), weights=True)


@pytest.fixture
def both(folder, tmp_path):
    """The trainers of either kind, made alike."""

    def make(
        rows: Any, more: dict[str, Any] | None = None, template: str = CHATML, kinds: Any = KINDS, **given: Any
    ) -> list[Any]:
        made = []
        for trainer, config in kinds:
            model, tokenizer = student(folder)
            tokenizer.chat_template = template
            args = config(**settings(tmp_path, **{"max_steps": 2} | given))
            made.append(trainer(model, args, train_dataset=rows, processing_class=tokenizer, **more or {}))
        return made

    return make


def logged(trainer: Any) -> list[dict[str, Any]]:
    """What a trainer has logged, without how long it took."""
    timed = ("runtime", "per_second")
    return [
        {name: value for name, value in log.items() if not name.endswith(timed)} for log in trainer.state.log_history
    ]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_data_trains_as_in_sfttrainer(both, form):
    make, given, more, template = FORMS[form]
    found = []
    for kind in KINDS:  # each made and trained before the next: both draw from one source of chance
        (trainer,) = both(rows_of(make), more, template, kinds=[kind], **given)
        found.append((trainer.train_dataset.to_list(), trajectory(trainer), logged(trainer)))
    assert found[0] == found[1]


@pytest.mark.parametrize("make", [text, messages, completion, tokens])
@pytest.mark.parametrize("packing", [False, True])
def test_streams_of_each_form_train_as_in_sfttrainer(both, make, packing):
    def stream() -> IterableDataset:
        return IterableDataset.from_generator(lambda: (make(n) for n in range(16)))

    made = [both(stream(), packing=packing, max_length=64, kinds=[kind])[0] for kind in KINDS]
    ours, stock = map(trajectory, made)
    assert ours == stock


def test_rows_that_come_packed_train_as_in_sfttrainer(both):
    packed = pack_dataset(rows_of(labelled), 40, "bfd")
    ours, stock = both(packed, padding_free=True, max_length=None)
    assert trajectory(ours) == trajectory(stock)


@pytest.mark.parametrize("kind", [PAlignConfig, SFTConfig, TrainingArguments])
def test_a_dict_of_evaluation_sets_is_measured_as_in_sfttrainer(folder, tmp_path, kind):
    found = []
    for trainer, config in ((PAlignTrainer, kind), (SFTTrainer, SFTConfig)):
        model, tokenizer = student(folder)
        given = settings(tmp_path, eval_strategy="steps", eval_steps=1, max_steps=2)
        if kind is TrainingArguments:
            given.pop("max_length")
        args = config(**given)
        sets = {"a": rows_of(messages, 5), "b": rows_of(completion, 3)}
        made = trainer(model, args, train_dataset=rows_of(messages), eval_dataset=sets, processing_class=tokenizer)
        found.append((trajectory(made), logged(made), made.evaluate(rows_of(text, 3))["eval_loss"]))
    assert found[0] == found[1]
    assert {"eval_a_loss", "eval_b_loss"} <= set().union(*found[0][1])


def test_evaluation_sets_of_pairs_have_figures_of_their_own(folder, tmp_path):
    """Keys are `eval_a_prefix/nll`; under one name the sets would overwrite each other."""
    model, tokenizer = student(folder)
    args = PAlignConfig(**settings(tmp_path, prefix_loss_weight=0.5))
    sets = {"a": pairs(4), "b": pairs(8)}
    trainer = PAlignTrainer(model, args, train_dataset=pairs(), eval_dataset=sets, processing_class=tokenizer)
    found = trainer.evaluate()
    for name, rows in sets.items():
        alone = trainer.evaluate(rows)
        for figure in ("loss", "nll", "prefix/nll", "continuation/num_tokens"):
            assert found[f"eval_{name}_{figure}"] == alone[f"eval_{figure}"]
    assert found["eval_a_prefix/nll"] != found["eval_b_prefix/nll"]
    assert not [name for name in found if name.startswith(("eval_prefix", "eval_continuation"))]
    assert trainer.evaluate(pairs(4), metric_key_prefix="test")["test_prefix/nll"] == found["eval_a_prefix/nll"]


def test_the_unweighted_loss_is_reported_beside_the_weighted(folder, tmp_path):
    """So that runs with other weights compare: `eval_nll` beside `eval_loss`."""
    plain = aligned(folder, tmp_path).evaluate(pairs(6))
    weighted = aligned(folder, tmp_path, prefix_loss_weight=0.25, continuation_loss_weight=2.0).evaluate(pairs(6))
    assert plain["eval_nll"] == pytest.approx(plain["eval_loss"], rel=1e-5)
    assert weighted["eval_nll"] == pytest.approx(plain["eval_nll"], rel=1e-6)
    assert weighted["eval_loss"] != pytest.approx(weighted["eval_nll"], rel=0.05)


@pytest.mark.parametrize("template", [THINKS, UNENDED])
def test_checks_of_plain_data_warn_once_and_train(both, caplog, template):
    """A template that moves the reply, or ends no turn: `SFTTrainer` trains with it, and so does this one."""
    sets = {"a": rows_of(conversation, 3), "b": rows_of(conversation, 3)}
    ours, stock = both(rows_of(conversation), {"eval_dataset": sets}, template)
    said = [record for record in caplog.records if record.name.startswith("palign_hf")]
    assert len(said) == 1 and said[0].levelno == logging.WARNING
    assert trajectory(ours) == trajectory(stock)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (UNENDED, "The chat template puts no token after a reply"),
        (CHATML.replace("<|im_end|>", "<|eot_id|>"), "`<|eot_id|>`, which is no token of this tokenizer"),
        (CHATML.replace("assistant\n{% endif", "Answer: {% endif"), "so the student would learn replies to a prompt"),
    ],
)
def test_checks_refuse_rows_with_a_prefix(both, template, message):
    with pytest.raises(UserError, match=re.escape(message)):
        both(pairs(), template=template, kinds=KINDS[:1])


def test_the_length_is_named_where_it_cuts_the_end(both, caplog):
    both(rows_of(text), max_length=12, kinds=KINDS[:1])
    assert "`max_length=12` cuts all of the first 8 rows before `<|im_end|>`" in caplog.text


def test_evaluation_rows_that_are_all_too_long_are_named_as_such(folder, tmp_path):
    trainer = aligned(folder, tmp_path)
    long = pairs(2).map(lambda row: {"prefix": row["prefix"] * 40})
    with pytest.raises(UserError, match="rows of the eval dataset .* Nothing is left to evaluate on"):
        trainer.evaluate(long)


class Twice(PAlignTrainer):
    """Asks for the loss of each batch twice."""

    def compute_loss(self, model: Any, inputs: Any, *others: Any, **named: Any) -> Any:
        before = dict(inputs)
        first = super().compute_loss(model, inputs, *others, **named)
        assert inputs.keys() == before.keys() and all(inputs[name] is before[name] for name in before)
        return (first + super().compute_loss(model, inputs, *others, **named)) / 2


def test_a_subclass_that_asks_for_the_loss_twice_gets_the_same(both):
    weights = {"prefix_loss_weight": 3.0, "close_tag_loss_weight": 0.0}
    once, twice = both(pairs(), kinds=[(PAlignTrainer, PAlignConfig), (Twice, PAlignConfig)], **weights)
    losses = [[loss for loss, _ in trajectory(trainer)["steps"]] for trainer in (once, twice)]
    assert losses[0] == losses[1]


def test_weights_that_no_loss_takes_up_are_an_error(folder, tmp_path, monkeypatch):
    """As with a release of TRL that makes its loss without `fused_lm_head`."""

    def plain_loss(self: Any, model: Any, inputs: Any, return_outputs: bool = False, **named: Any) -> Any:
        return model(**inputs).loss

    monkeypatch.setattr(SFTTrainer, "compute_loss", plain_loss)
    with pytest.raises(UserError, match="A weight other than 1 was set, but the loss was computed without it"):
        aligned(folder, tmp_path, prefix_loss_weight=0.5).train()
    aligned(folder, tmp_path).train()


@dataclass
class Own(SFTConfig):
    """A user's settings, as those of a trainer that derives from TRL's."""

    flavour: str = "plain"


def test_settings_of_a_subclass_stay_the_object_that_they_are(both):
    ours, stock = both(rows_of(messages), kinds=[(PAlignTrainer, Own), (SFTTrainer, Own)], flavour="sweet")
    assert type(ours.args) is Own and ours.args.flavour == "sweet"
    assert trajectory(ours) == trajectory(stock)
    (found,) = both(pairs(), kinds=[(PAlignTrainer, Own)])
    found.train()
    found.create_model_card()
    found.save_model()
    args = torch.load(Path(found.args.output_dir) / "training_args.bin", weights_only=False)
    assert type(args) is Own and found.accounts["train"].trained == 12


class Seen(TrainerCallback):
    """What a callback is given."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def on_log(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self.steps.append((state.global_step, sorted(named)))


def test_callbacks_see_what_they_see_in_sfttrainer(both):
    seen = [Seen(), Seen()]
    for callback, kind in zip(seen, KINDS, strict=True):
        both(rows_of(messages), {"callbacks": [callback]}, kinds=[kind])[0].train()
    assert seen[0].steps == seen[1].steps != []


def test_completions_are_logged_of_the_prompts_of_rows_with_a_prefix(folder, tmp_path):
    """`LogCompletionsCallback` reads the column `prompt` of the evaluation rows."""
    rows = pairs(4).map(lambda row: {"prompt": [user(SOLVE.message(row["question"]))]}, remove_columns="question")
    model, tokenizer = student(folder)
    args = PAlignConfig(**settings(tmp_path, eval_strategy="steps", eval_steps=1, max_steps=1))
    trainer = PAlignTrainer(model, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
    callback = LogCompletionsCallback(
        trainer, GenerationConfig(max_new_tokens=2, eos_token_id=2), num_prompts=3, freq=1
    )
    trainer.add_callback(callback)
    trainer.train()
    assert [asked for _, asked, _ in callback.table] == [
        tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        for row in rows.select(range(3))
    ]


def test_pairs_that_come_packed_are_documents_of_their_own(folder, tmp_path):
    """Packed once by this trainer, and given again: the same batches, and so the same losses."""
    made = aligned(folder, tmp_path, packing=True, max_length=512, max_steps=2)
    given, steps = made.train_dataset, trajectory(made)["steps"]
    for more in ({"packing": True}, {"padding_free": True, "max_length": None}):
        again = aligned(folder, tmp_path, dataset=given, **{"max_length": 512, "max_steps": 2} | more)
        assert again.train_dataset.to_list() == given.to_list()
        batches = [next(iter(trainer.get_train_dataloader())) for trainer in (made, again)]
        assert batches[0]["position_ids"].tolist() == batches[1]["position_ids"].tolist()
        assert (batches[1]["position_ids"] == 0).sum() > 4
        assert trajectory(again)["steps"] == steps


def test_a_collator_derived_from_that_of_trl_trains_with_segments(both):
    (trainer,) = both(pairs(), {"data_collator": Noisy(pad_token_id=0)}, kinds=KINDS[:1], prefix_loss_weight=0.5)
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch["input_ids"][:, 0].tolist()) == {9} and batch["segment_ids"].any()
    trainer.train()


def test_pairs_longer_than_a_row_stay_whole_under_wrapped_packing(folder, tmp_path):
    rows = Dataset.from_list([*pairs(), pairs()[0] | {"prefix": "We start from 1. " * 100}])
    given = {"packing": True, "packing_strategy": "wrapped", "max_steps": 1}
    trainer = aligned(folder, tmp_path, dataset=rows, **given)
    assert (trainer.accounts["train"].trained, trainer.accounts["train"].parted) == (13, 1)
    whole = aligned(folder, tmp_path, dataset=rows, max_length=None)
    assert sum(map(len, trainer.train_dataset["labels"])) == sum(map(len, whole.train_dataset["labels"]))
    trainer.train()
