"""The batch: TRL's own, with segments that lie where the tokens lie."""

import pickle
from dataclasses import dataclass

import pytest
import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from palign_hf.errors import UserError
from palign_hf.training.collator import SegmentCollator, with_segments


ROWS = [
    {"input_ids": [1, 2, 3, 4], "labels": [-100, 2, 3, 4], "segment_ids": [0, 1, 2, 3]},
    {"input_ids": [5, 6], "labels": [-100, 6], "segment_ids": [0, 3]},
]


def plain(rows):
    return [{name: row[name] for name in row if name != "segment_ids"} for row in rows]


@pytest.mark.parametrize(
    "given", [{}, {"padding_free": True}, {"pad_to_multiple_of": 8}, {"return_position_ids": True}]
)
def test_it_is_the_batch_of_trl_with_segments(given):
    base = DataCollatorForLanguageModeling(pad_token_id=0, **given)
    expected, found = base(plain(ROWS)), SegmentCollator.like(base, ())(ROWS)
    segments = found.pop("segment_ids")
    assert found.keys() == expected.keys() and segments.shape == found["input_ids"].shape
    assert all(torch.equal(torch.as_tensor(found[name]), torch.as_tensor(expected[name])) for name in expected)
    by_token = {1: 0, 2: 1, 3: 2, 4: 3, 5: 0, 6: 3, 0: 0}
    assert segments.tolist() == [[by_token[id] for id in row] for row in found["input_ids"].tolist()]


def test_a_packed_row_is_one_row():
    packed = [{**ROWS[0], "input_ids": [1, 2, 5, 6], "segment_ids": [0, 3, 0, 3], "seq_lengths": [2, 2]}]
    base = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    found = SegmentCollator.like(base, ())(packed)
    assert found["segment_ids"].tolist() == [[0, 3, 0, 3]] and found["position_ids"].tolist() == [[0, 1, 0, 1]]


def test_what_has_no_weight_leaves_the_labels_and_nothing_else():
    base = DataCollatorForLanguageModeling(pad_token_id=0)
    found = SegmentCollator.like(base, (1, 2))(ROWS)
    assert found["labels"].tolist() == [[-100, -100, -100, 4], [-100, 6, -100, -100]]
    assert found["segment_ids"].tolist() == [[0, 1, 2, 3], [0, 3, 0, 0]]


def test_plain_rows_become_the_batch_of_trl():
    base = DataCollatorForLanguageModeling(pad_token_id=0)
    assert "segment_ids" not in SegmentCollator.like(base, (1,))(plain(ROWS))


@dataclass
class Noisy(DataCollatorForLanguageModeling):
    """A user's collator: other tokens in the same places."""

    noise: int = 9

    def torch_call(self, examples):
        batch = super().torch_call(examples)
        batch["input_ids"][:, 0] = self.noise
        return batch


class Leftward(DataCollatorForLanguageModeling):
    """A user's collator that pads on the left."""

    def torch_call(self, examples):
        batch = super().torch_call(examples)
        return {name: value.flip(1) for name, value in batch.items()}


def test_a_subclass_of_the_collator_of_trl_is_looked_at():
    """It makes the batch, and gets the segments beside; refused is one that puts tokens elsewhere."""
    given = Noisy(pad_token_id=0, noise=7)
    collator = with_segments(given, True, (1,))
    found = pickle.loads(pickle.dumps(collator))(ROWS)
    assert found["input_ids"].tolist() == [[7, 2, 3, 4], [7, 6, 0, 0]]
    assert found["segment_ids"].tolist() == [[0, 1, 2, 3], [0, 3, 0, 0]]
    assert found["labels"].tolist() == [[-100, -100, 3, 4], [-100, 6, -100, -100]]
    with pytest.raises(UserError, match="`data_collator=Leftward` places tokens elsewhere"):
        with_segments(Leftward(pad_token_id=0), True, ())(ROWS)
    # For plain data it is the user's own, as in `SFTTrainer`.
    assert with_segments(given, False, ()) is given
