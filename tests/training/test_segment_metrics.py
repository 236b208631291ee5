"""What is measured of each segment, against a loop over tokens."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.training.collator import SegmentMeter, segment_sums
from palign_hf.training.features import CLOSE_TAG, LEARNED


tokens = st.tuples(st.integers(0, 3), st.booleans(), st.floats(-5, 0, width=32), st.booleans())
batches = st.integers(1, 12).flatmap(
    lambda width: st.lists(st.lists(tokens, min_size=width, max_size=width), min_size=1, max_size=3)
)


def as_tensors(batch):
    segments, learned, log_probs, top = (
        torch.tensor([[token[n] for token in row] for row in batch]) for n in range(4)
    )
    # As the model gives them: nothing where no label is.
    return log_probs * learned, top & learned, learned, segments


def closing_tags(batch):
    """Every run of learned tokens of closing tags; rows follow each other in a batch as they do in memory."""
    runs, last = [], False
    for segment, learned, log_prob, _ in (token for row in batch for token in row):
        here = learned and segment == CLOSE_TAG
        if here and not last:
            runs.append(0.0)
        if here:
            runs[-1] += log_prob
        last = here
    return runs


@given(st.lists(batches, min_size=1, max_size=3))
def test_figures_are_means_over_all_tokens_however_they_were_batched(given_batches):
    meter = SegmentMeter()
    for batch in given_batches:
        meter.add(segment_sums(*as_tensors(batch)))
    found = meter.take(keep_tokens=True)
    expected = {}
    everything = [token for batch in given_batches for row in batch for token in row]
    for segment, name in LEARNED.items():
        mine = [token for token in everything if token[0] == segment and token[1]]
        if mine:
            expected[f"{name}/nll"] = -sum(token[2] for token in mine) / len(mine)
            expected[f"{name}/token_accuracy"] = sum(token[3] for token in mine) / len(mine)
            expected[f"{name}/num_tokens"] = len(mine)
    if everywhere := [token[2] for token in everything if token[1]]:
        expected["nll"] = -sum(everywhere) / len(everywhere)
    if runs := [run for batch in given_batches for run in closing_tags(batch)]:
        expected["close_tag/probability"] = sum(math.exp(run) for run in runs) / len(runs)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert meter.take(keep_tokens=True) == {}


def test_tokens_are_counted_on_in_training_and_anew_in_each_evaluation():
    batch = as_tensors([[(1, True, -1.0, True), (3, True, -1.0, False)]])
    counts = {}
    for keep in (True, False):
        meter = SegmentMeter()
        counts[keep] = []
        for _ in range(2):
            meter.add(segment_sums(*batch))
            counts[keep].append(meter.take(keep_tokens=keep)["prefix/num_tokens"])
    assert counts == {True: [1, 2], False: [1, 1]}
