"""With all weights at 1 the trainer is TRL's, bit by bit; with others it is what the weights say. This is the guard
against the next release of TRL, whose insides it stands on.

Slow because it trains: some steps of a tiny student in each way that rows can be batched, and over two processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_runs
from tiny import save_student
from training_runs import aligned, figures, pairs, plain, student, trajectory


pytestmark = pytest.mark.integration

WAYS = {
    "padded": {},
    "packed": {"packing": True},
    "packed and shuffled": {"packing": True, "shuffle_dataset": True, "seed": 3},
    "wrapped": {"packing": True, "packing_strategy": "wrapped"},
    "padding-free": {"padding_free": True, "max_length": None},
    "accumulated": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "checkpointed": {"gradient_checkpointing": True},
}
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), weights=True)


@every_way
def test_with_all_weights_at_one_it_is_plain_training(folder, tmp_path, way):
    ours = trajectory(aligned(folder, tmp_path, **WAYS[way]))
    assert len(ours["steps"]) == 3 and ours == trajectory(plain(folder, tmp_path, **WAYS[way]))


@every_way
def test_a_continuation_alone_is_completion_only_training(folder, tmp_path, way):
    weights = {"prefix_loss_weight": 0, "close_tag_loss_weight": 0}
    ours = aligned(folder, tmp_path, **weights, **WAYS[way])
    assert trajectory(ours) == trajectory(plain(folder, tmp_path, learned=(3,), **WAYS[way]))
    assert figures(ours, "continuation/nll") and not figures(ours, "prefix/nll")


@pytest.mark.parametrize("way", ["padded", "packed", "padding-free"])
def test_weights_scale_each_token_and_the_mean_stays_one_over_all(folder, tmp_path, way):
    """The loss of the first step, from plain logits and nothing of TRL's."""
    weights = {"prefix_loss_weight": 0.5, "close_tag_loss_weight": 3.0, "continuation_loss_weight": 2.0}
    trainer = aligned(folder, tmp_path, max_steps=1, **weights, **WAYS[way])
    batch = next(iter(trainer.get_train_dataloader()))
    model, _ = student(folder)
    scale = torch.tensor([0.0, 0.5, 3.0, 2.0])
    total, count = 0.0, 0
    lengths = batch.get("cu_seq_lens_q")
    rows = zip(batch["input_ids"], batch["labels"], batch["segment_ids"], strict=True)
    for ids, labels, segments in rows:
        borders = [0, len(ids)] if lengths is None else lengths.tolist()
        for start, end in zip(borders, borders[1:], strict=False):
            with torch.no_grad():
                found = model(ids[None, start:end]).logits[0, :-1].log_softmax(-1)
            wanted, parts = labels[start + 1 : end], segments[start + 1 : end]
            learned = wanted != -100
            picked = found.gather(1, wanted.clamp(min=0)[:, None])[:, 0]
            total -= float((picked * scale[parts] * learned).sum())
            count += int(learned.sum())
    assert trajectory(trainer)["steps"][0][0] == pytest.approx(total / count, rel=1e-5)


def test_segments_are_measured_as_the_loss_is(folder, tmp_path):
    """The segments' losses, each by its share of the tokens, make the loss of the step."""
    trainer = aligned(folder, tmp_path, packing=True)
    trainer.train()
    last = dict.fromkeys(("prefix", "close_tag", "continuation"), 0.0)
    for log in trainer.state.log_history[:-1]:
        counts = {name: log[f"{name}/num_tokens"] - last[name] for name in last}
        total = sum(counts.values())
        for metric, whole in (("nll", "loss"), ("token_accuracy", "mean_token_accuracy")):
            mean = sum(log[f"{name}/{metric}"] * counts[name] for name in last) / total
            assert mean == pytest.approx(log[whole], rel=1e-4)
        assert 0 < log["close_tag/probability"] < 1
        last = {name: log[f"{name}/num_tokens"] for name in last}


def test_two_processes_train_as_trl_does_and_measure_as_one(folder, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [*launch, training_runs.__file__, str(folder), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first["processes"] == 2
    for seen in (first, second):
        assert seen["ours"] == seen["plain"] and seen["zero"] == seen["alone"] != seen["ours"]
    # What is measured is of both processes: the same on each, and as one process has it on the same rows.
    one = aligned(folder, tmp_path / "one")
    one.train()
    for name, values in first["nll"].items():
        assert values == second["nll"][name] == pytest.approx(figures(one, f"{name}/nll"), rel=1e-4)


def test_rows_are_as_long_as_they_are_said_to_be(folder, tmp_path):
    """The data of these tests has what they are for: rows of several lengths, and several to a pack."""
    trainer = aligned(folder, tmp_path, packing=True)
    assert len(trainer.train_dataset) < len(pairs()) and max(map(len, trainer.train_dataset["seq_lengths"])) > 1
