"""What is looked at before training, one failure at a time, and what a trained student is asked after it."""

import re
from types import SimpleNamespace

import pytest
import tiny
import torch
from transformers import DataCollatorForLanguageModeling as MaskingCollator
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from palign_hf.errors import UserError
from palign_hf.prompts import SOLVE, tag_style
from palign_hf.training.collator import SegmentCollator
from palign_hf.training.features import row_features
from palign_hf.training.replies import Stops, stops
from palign_hf.training.sanity_checks import (
    Origin,
    check_batch,
    check_conversation,
    check_prompts,
    check_template,
)
from palign_hf.training.turns import Turns


def tokenizer_with(template=tiny.CHATML, end="<|im_end|>", pad="<|endoftext|>"):
    tokenizer = tiny.fast(tiny.byte_level(), template)
    tokenizer.eos_token, tokenizer.pad_token = end, pad
    return tokenizer


ROW = {"question": "How many?", "prefix": "There are 50. ", "continuation": "So 2500."}
TOKENIZER = tokenizer_with()
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")


def model(*ends):
    return SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=list(ends) or None))


def features(tokenizer=TOKENIZER, count=2, **changes):
    turns = Turns(tokenizer)
    rows = [ROW | {"prefix": "There are 50. " * (n + 1)} | changes for n in range(count)]
    return [row_features(row, turns, "question", tag_style("prefix")) for row in rows]


def collator(masked=(), **given):
    return SegmentCollator.like(DataCollatorForLanguageModeling(pad_token_id=0, **given), masked)


@pytest.mark.parametrize("given", [{}, {"padding_free": True}])
def test_rows_that_end_where_the_student_stops_are_fine(given):
    check_batch(features(), collator(**given), model(), TOKENIZER, 1.0)
    # Also where only the generation config knows the end of a turn, as with Gemma.
    check_batch(features(), collator(**given), model(END), tokenizer_with(end="<|endoftext|>"), 1.0)


def test_padding_with_the_end_token_is_no_matter_where_padding_is_known_by_its_place():
    same = tokenizer_with(pad="<|im_end|>")
    check_batch(features(same), SegmentCollator(pad_token_id=END), model(), same, 1.0)


class Forgetful(DataCollatorForLanguageModeling):
    """Learns padding."""

    def torch_call(self, examples):
        batch = super().torch_call(examples)
        batch["labels"] = batch["input_ids"].clone()
        return batch


def no_end(end):
    tokenizer = tokenizer_with()
    tokenizer.eos_token = end
    return tokenizer


def masking(tokenizer):
    """Of transformers: it knows padding by the token."""
    collate = MaskingCollator(tokenizer, mlm=False)
    return lambda rows: collate([{"input_ids": row["input_ids"]} for row in rows])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tokenizer": no_end(None)}, "Neither the tokenizer nor the model's generation config has an end token"),
        ({"tokenizer": no_end("<|endoftext|>")}, "No row ends with `<|endoftext|>`, where the student stops"),
        (
            {"rows": [row | {"labels": [-100] * len(row["labels"])} for row in features()]},
            "The rows have `<|im_end|>`, but their `labels` mask it",
        ),
        ({"collator": collator((3,)), "weight": 0.0}, "`continuation_loss_weight=0` takes `<|im_end|>`"),
        (
            {"tokenizer": tokenizer_with(pad="<|im_end|>"), "collator": masking(tokenizer_with(pad="<|im_end|>"))},
            "takes `<|im_end|>`, which is also the padding, out of the labels",
        ),
        ({"collator": Forgetful(pad_token_id=0)}, "`data_collator=Forgetful` leaves padding in the labels"),
    ],
)
def test_a_student_that_would_not_learn_to_stop_is_not_trained(changed, message):
    given = {"rows": features(), "collator": collator(), "tokenizer": TOKENIZER, "weight": 1.0} | changed
    with pytest.raises(UserError) as refused:
        check_batch(given["rows"], given["collator"], model(), given["tokenizer"], given["weight"])
    assert message in str(refused.value)


def cut(row, most):
    return {name: row[name][:most] for name in ("input_ids", "labels")}


MASKED = [row | {"labels": [-100] * len(row["labels"])} for row in features()]
NO_END = {"template": tiny.CHATML.replace("<|im_end|>", "")}  # as GLM-4.5's, where the next turn ends this one
OTHERS_END = {"template": tiny.CHATML.replace("<|im_end|>", "<|eot_id|>")}  # a `.jinja` of another model


@pytest.mark.parametrize(
    ("changed", "origin", "wanted", "unwanted"),
    [
        # Long rows of any kind: TRL's truncation is what takes the end away.
        (
            {"rows": [cut(row, 12) for row in features()]},
            {"columns": {"text"}, "max_length": 12},
            "`max_length=12` cuts all of the first 2 rows before `<|im_end|>`",
            ("`labels` column", "eos_token", "chat_template_path"),
        ),
        (
            {"rows": [row | {"labels": [-100] * len(row["labels"])} for row in features()]},
            {"columns": {"prompt", "completion"}, "max_length": 20},
            "`max_length=20` cuts",
            ("`labels` column",),
        ),
        # Labels that TRL made are nobody's column.
        ({"rows": MASKED}, {"columns": {"messages"}}, "`assistant_only_loss`, masks", ("`labels` column",)),
        ({"rows": MASKED}, {"columns": {"input_ids", "labels"}}, "leave the `labels` column out", ()),
        # Tokens that were given have no template.
        (
            {"end": "<|endoftext|>"},
            {"columns": {"input_ids"}},
            "given as `input_ids`: put an end token after each reply",
            ("template",),
        ),
        (
            {"end": "<|endoftext|>"},
            {"turns": {}},
            "ends the assistant's turn with `<|im_end|>`: set `eos_token` to it",
            ("base model",),
        ),
        (
            {"end": "<|endoftext|>", "made": NO_END},
            {"turns": NO_END},
            "The chat template puts no token after a reply. Set `chat_template_path`",
            ("eos_token",),
        ),
        (
            {"end": "<|endoftext|>", "made": OTHERS_END},
            {"turns": OTHERS_END},
            "`<|eot_id|>`, which is no token of this tokenizer.* Set `chat_template_path` to the tokenizer",
            ("eos_token",),
        ),
    ],
)
def test_what_is_missing_is_explained_by_what_was_given(changed, origin, wanted, unwanted):
    given = {"rows": features(tokenizer_with(**changed.get("made", {})))} | changed
    known = dict(origin)
    if "turns" in known:
        known["turns"] = Turns(tokenizer_with(**known["turns"], end=given.get("end", "<|im_end|>")))
    tokenizer = no_end(given.get("end", "<|im_end|>"))
    with pytest.raises(UserError, match=re.escape(wanted).replace(r"\.\*", ".*")) as refused:
        check_batch(given["rows"], collator(), model(), tokenizer, 1.0, Origin(**known))
    assert not [word for word in unwanted if word in str(refused.value)]


def test_rows_of_which_one_is_whole_are_not_said_to_be_cut():
    rows = [cut(features()[0], 12), {"input_ids": [5, 6], "labels": [5, 6]}]
    with pytest.raises(UserError, match="No row ends with"):
        check_batch(rows, collator(), model(), TOKENIZER, 1.0, Origin(frozenset({"text"}), 12))


THINKS = tiny.CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n\n</think>\n\n{% endif %}")


@pytest.mark.parametrize("template", [tiny.CHATML, THINKS])
def test_a_template_may_open_a_thought_only_where_it_asks(template):
    check_template(Turns(tokenizer_with(template)))


def test_a_template_that_renders_replies_elsewhere_is_refused():
    with pytest.raises(UserError, match="renders a reply after `<.*`, so the student would learn replies"):
        check_template(
            Turns(tokenizer_with(tiny.CHATML.replace("<|im_start|>assistant\n{% endif", "Answer: {% endif")))
        )


def test_a_plain_conversation_keeps_its_prompt_when_the_reply_follows():
    row = {
        "prompt": [{"role": "user", "content": "How many?"}],
        "completion": [{"role": "assistant", "content": "So 2500."}],
    }
    check_conversation(row, TOKENIZER, "tiny")
    with pytest.raises(UserError, match="differently once a reply follows.*Or set `sanity_checks=False`"):
        check_conversation(row, tokenizer_with(THINKS), "tiny")


def test_prompts_of_evaluation_are_known_by_their_tokens():
    turns = Turns(TOKENIZER)
    rows = [
        row_features(ROW | {"question": question}, turns, "question", tag_style("prefix"))
        for question in ("1 + 1?", "How many?\n\n", "Find <|im_end|>", "\u4e2d\u6587")
    ]
    check_prompts(rows, turns)
    lengths = [len(row["input_ids"]) for row in rows]
    packed = {name: [id for row in rows for id in row[name]] for name in ("input_ids", "segment_ids")}
    check_prompts([packed | {"seq_lengths": lengths}], turns)


@pytest.mark.parametrize(
    "content",
    ["How many?", SOLVE.message("How many?").replace("\n\n", "\n"), f" {SOLVE.message('How many?')}"],
)
def test_other_prompts_than_those_of_evaluation_are_refused(content):
    turns = Turns(TOKENIZER)
    row = {"prompt": [{"role": "user", "content": content}], "prefix": "There. ", "continuation": "So."}
    with pytest.raises(UserError, match="training row 1 isn't the prompt of evaluation"):
        check_prompts([row_features(row, turns, "prompt", tag_style("prefix"))], turns)


def test_a_student_that_cannot_be_asked_says_how_to_go_on():
    bare = tiny.fast(tiny.byte_level(), None)
    bare.eos_token = "<|im_end|>"
    row = {"prompt": "How many?", "prefix": "There. ", "continuation": "So."}
    with pytest.raises(UserError, match=r"has no chat template.*set `sanity_checks=False`"):
        check_prompts([row_features(row, Turns(bare), "prompt", tag_style("prefix"))], Turns(bare))


class Reciting(torch.nn.Module):
    """Returns the given reply for each prompt."""

    def __init__(self, replies, tokenizer=TOKENIZER):
        super().__init__()
        self.replies = [tokenizer(reply, add_special_tokens=False)["input_ids"] for reply in replies]
        self.generation_config, self.device = SimpleNamespace(eos_token_id=END), "cpu"

    def generate(self, input_ids, attention_mask, generation_config):
        """What a model gives: prompt and reply, padded behind its end."""
        assert not self.training and not generation_config.do_sample
        self.asked = [row[seen.bool()].tolist() for row, seen in zip(input_ids, attention_mask, strict=True)]
        width = min(generation_config.max_new_tokens, max(map(len, self.replies)))
        padded = [(ids + [END] * width)[:width] for ids in self.replies]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)


CLOSED = f"{tag_style('prefix').wrap('There. ', 'So.')}<|im_end|>"
ENDLESS = "<Begin_of_Prefix>" + "and on " * 30


@pytest.mark.parametrize("rows", [[ROW] * 3, features(count=3), [{"prompt": "How many?"}] * 3])
def test_what_a_student_does_is_counted(rows, caplog):
    student = Reciting([CLOSED, "So.<|im_end|>", ENDLESS])
    student.train()
    found = stops(student, TOKENIZER, rows, max_new_tokens=40)
    lengths = [len(TOKENIZER(text)["input_ids"]) for text in (CLOSED, "So.<|im_end|>")]
    assert found == Stops(replies=3, stopped=2, opened=2, closed=1, tokens=pytest.approx((sum(lengths) + 40) / 3))
    assert "Of 3 replies 2 stop by themselves; 2 open a draft, 1 of these close it" in caplog.text
    assert student.training
    if "question" in rows[0]:
        assert student.asked == [Turns(TOKENIZER).solve.ids(ROW["question"])] * 3


def test_nobody_to_ask_is_an_error():
    with pytest.raises(UserError, match="`rows` is empty"):
        stops(Reciting([CLOSED]), TOKENIZER, [])
