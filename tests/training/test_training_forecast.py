"""What `--dry-run` says of a training, which the training itself then does."""

import re

import pytest
import tiny
from pair_tables import pair, table

from palign_hf.config import build
from palign_hf.errors import UserError
from palign_hf.training.forecast import sharding_of
from palign_hf.training.settings import TrainConfig
from palign_hf.training.stage import TRAIN


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base model: its tokenizer has no chat template."""
    return tiny.save_student(tmp_path_factory.mktemp("base"), tiny.fast(tiny.byte_level(), None))


@pytest.fixture
def forecast(base, tmp_path):
    table(*[pair(str(n), prefix="There are 50. " * (n + 1)) for n in range(6)]).to_parquet(tmp_path / "pairs.parquet")

    def say(**training) -> str:
        given = {"student": str(base), "pairs": {"source": str(tmp_path / "pairs.parquet")}, "training": training}
        return str(TRAIN.forecast(build(TrainConfig, given | {"output_dir": str(tmp_path / "out")}, "a recipe")))

    return say


@pytest.fixture
def template(tmp_path) -> str:
    (tmp_path / "chat.jinja").write_text(tiny.CHATML)
    return str(tmp_path / "chat.jinja")


def test_the_template_of_a_base_model_is_the_one_that_is_given(forecast, template, tiny_student):
    with pytest.raises(UserError, match="has no chat template"):
        forecast()
    found = forecast(chat_template_path=template)
    assert "6 of 6 rows" in found and found == forecast(chat_template_path=str(tiny_student))


def test_rows_too_long_are_left_out_or_cut_as_the_packing_has_it(forecast, template):
    given = {"chat_template_path": template, "max_length": 110, "packing": True}
    left_out, cut = forecast(**given), forecast(**given, packing_strategy="wrapped")
    assert "longer than 110 tokens, which would be left out" in left_out
    assert "longer than 110 tokens, which packing would cut" in cut
    tokens = [re.findall(r"tokens +([\d,]+) an epoch", said)[0] for said in (left_out, cut)]
    assert int(tokens[0].replace(",", "")) < int(tokens[1].replace(",", ""))


@pytest.fixture
def numbers(tiny_student, tmp_path):
    """The sizes of a training that a recipe plans."""
    table(*[pair(str(n), prefix="There are 50. " * (n + 1)) for n in range(6)]).to_parquet(tmp_path / "pairs.parquet")

    def plan(lora=None, **training):
        given = {"student": str(tiny_student), "pairs": {"source": str(tmp_path / "pairs.parquet")}, "lora": lora}
        given |= {"training": training, "output_dir": str(tmp_path / "out")}
        return TRAIN.forecast(build(TrainConfig, given, "a recipe"))

    return plan


def test_the_numbers_are_those_of_the_lines(numbers):
    said = numbers(num_train_epochs=2, per_device_train_batch_size=2)
    found = said.training
    assert found.steps == 6 and said.rows == 6 and found.tokens == 2 * int(re.findall(r"tokens +(\d+)", str(said))[0])
    assert f"{found.trained:,} of {found.shape.parameters:,} are trained" in str(said)
    assert found.batch_tokens == 2 * int(re.findall(r"longest row (\d+)", str(said))[0])
    assert numbers(max_steps=3, per_device_train_batch_size=2).training.tokens == found.tokens // 2
    assert said.as_dict()["training"]["optimizer_bytes"] == 8 * found.trained


def test_an_adapter_and_checkpointing_take_less_memory(numbers):
    full, adapter = numbers().training, numbers(lora={"r": 2}).training
    assert adapter.optimizer < full.optimizer and adapter.memory < full.memory
    assert numbers(gradient_checkpointing=False).training.activations > full.activations


@pytest.mark.parametrize(
    ("settings", "bytes_each"),
    [
        ({}, 8),
        ({"model_init_kwargs": {"dtype": "bfloat16"}}, 4),
        ({"optim": "sgd"}, 0),
        ({"optim": "adamw_8bit"}, 2),
    ],
)
def test_the_optimizer_keeps_states_in_the_format_of_the_weights(numbers, settings, bytes_each):
    found = numbers(**settings).training
    assert found.optimizer == bytes_each * found.trained


@pytest.mark.parametrize(
    ("training", "environment", "sharding"),
    [
        ({}, {}, "none"),
        ({}, {"ACCELERATE_USE_FSDP": "true"}, "fsdp"),
        ({}, {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "zero3"),
        ({"deepspeed": {"zero_optimization": {"stage": 1}}}, {}, "zero1"),
        ({"fsdp": "full_shard"}, {}, "fsdp"),
    ],
)
def test_the_launcher_says_what_is_sharded(training, environment, sharding):
    assert sharding_of(training, environment) == sharding


def test_several_processes_share_the_optimizer(numbers, monkeypatch):
    alone = numbers().training
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    said = numbers()
    found = said.training
    assert (found.processes, found.sharding) == (4, "zero3") and found.optimizer == alone.trained * 12 / 4
    assert "a process: weights" in str(said)
