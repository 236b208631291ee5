"""The recipe of a training: its section `training` is `PAlignConfig`'s own, checked before anything is loaded."""

import os
from dataclasses import fields

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState

from palign_hf.config import ConfigError, build
from palign_hf.errors import UserError
from palign_hf.training.arguments import arguments, checked, deciding, planned
from palign_hf.training.config import PAlignConfig
from palign_hf.training.settings import PairSettings, TracedSettings, TrainConfig


def config(**given) -> TrainConfig:
    return TrainConfig(**{"pairs": PairSettings(source="me/pairs"), "student": "me/Student-1B"} | given)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"lerning_rate": 1e-4},
            "`training.lerning_rate` is no field of `PAlignConfig` .nearest match: `learning_rate`",
        ),
        ({"learning_rate": "fast"}, "`training.learning_rate='fast'` must be a number"),
        ({"learning_rate": -1}, "`training.learning_rate=-1` must be at least 0"),
        ({"packing": "yes"}, "`training.packing='yes'` must be true or false"),
        ({"max_length": 0}, "`training.max_length=0` must be at least 1"),
        ({"per_device_train_batch_size": 0}, "must be at least 1"),
        ({"save_strategy": False}, 'must be text.* YAML reads `no` as false: write "no" in quotes'),
        ({"lr_scheduler_type": "cosin"}, "`training` can't be carried out: .*cosin is not a valid SchedulerType"),
        ({"tag_style": "prefx"}, "`training`: .*nearest match: `prefix`"),
        ({"prefix_loss_weight": -1}, "`prefix_loss_weight=-1.0` must be at least 0"),
        ({"loss_type": "dft", "prefix_loss_weight": 0.5}, "`loss_type='dft'` isn't linear in the log-probabilities"),
        ({"overlong": "dorp"}, "`training.overlong='dorp'` is unknown .nearest match: `drop`"),
        ({"output_dir": "x"}, "`training.output_dir='x'` can't be set here: it is `output_dir` of the recipe"),
        ({"resume_from_checkpoint": "x"}, "resumes from its last checkpoint by itself"),
        ({"model_init_kwargs": "x"}, "`training.model_init_kwargs='x'` must be a mapping or null"),
        ({"model_init_kwargs": {"dtype": "bf16"}}, "dtype='bf16'` is unknown. Choose one of `auto`, `bfloat16`"),
        ({"model_init_kwargs": {"revision": "x"}}, "is set beside `training`"),
    ],
)
def test_what_a_training_can_not_be_told_is_refused_in_words(training, message):
    with pytest.raises(UserError, match=message):
        checked(training)


def test_every_field_can_be_given_and_is_taken_as_it_is():
    """The defaults of all fields that a recipe may say."""
    ours = {one.name: getattr(planned({}), one.name) for one in fields(PAlignConfig) if one.init}
    for name in (
        "learning_rate",
        "max_length",
        "packing",
        "tag_style",
        "seed",
        "max_grad_norm",
        "optim_target_modules",
    ):
        assert getattr(planned(checked({name: ours[name]})), name) == ours[name]
    assert checked({"learning_rate": "5e-5", "save_steps": 3}) == {"learning_rate": 5e-5, "save_steps": 3}


def test_a_recipe_for_gpus_can_be_looked_at_anywhere():
    given = {"bf16": True, "tf32": True, "deepspeed": {"zero_optimization": {"stage": 3}}, "fsdp": "full_shard"}
    looked_at = planned(checked(given))
    assert not looked_at.bf16 and looked_at.use_cpu and looked_at.deepspeed is None


@pytest.mark.parametrize("given", [{"bf16": True, "fp16": True, "use_cpu": True}, {}])
def test_what_this_machine_can_not_do_is_said_in_one_line(given, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: False)
    with pytest.raises(UserError, match="`training` can't be carried out: .*training.bf16: false") as refused:
        arguments({**given, "output_dir": str(tmp_path)}, None)
    assert "\n" not in str(refused.value)


def test_looking_at_settings_joins_no_other_processes(monkeypatch):
    """Under a launcher a look would otherwise make the group of processes, on the wrong device."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    before = dict(PartialState._shared_state)
    assert planned({"packing": True}).packing and not torch.distributed.is_initialized()
    assert os.environ["WORLD_SIZE"] == "2" and PartialState._shared_state == before
    assert AcceleratorState._shared_state == {}


def test_what_decides_is_told_from_what_is_only_shown(tmp_path):
    def of(**given):
        return deciding(arguments({"use_cpu": True, "bf16": False, "output_dir": str(tmp_path), **given}, "c0ffee"))

    plain = of()
    assert plain["rows_a_step"] == 8 and plain["model_init_kwargs"] == {"revision": "c0ffee"}
    shown = {"logging_steps": 1, "save_strategy": "no", "report_to": "none", "run_name": "x", "dataset_num_proc": 2}
    assert of(**shown) == plain
    assert of(per_device_train_batch_size=2, gradient_accumulation_steps=4) == plain
    for name, value in {
        "learning_rate": 0.1,
        "seed": 3,
        "packing": True,
        "max_length": 9,
        "tag_style": "draft",
    }.items():
        other = of(**{name: value})
        # As the identities of the last release call it: their trainings go on.
        recorded = "tags" if name == "tag_style" else name
        assert {key for key in plain if plain[key] != other[key]} == {recorded}
    assert of(per_device_train_batch_size=2)["rows_a_step"] == 2


@pytest.mark.parametrize(
    ("given", "parted"),
    [({}, "not at all"), ({"ACCELERATE_USE_FSDP": "true"}, "FSDP")]
    + [({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed, 1 processes")],
)
def test_checkpoints_that_are_parted_otherwise_are_another_run_s(given, parted, tmp_path, monkeypatch):
    config = arguments({"use_cpu": True, "bf16": False, "output_dir": str(tmp_path)}, None)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert deciding(config)["parted"] == parted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"baseline": "trace"}, "`baseline=trace` is made from the teacher's traces.*`prefixes.source`"),
        ({"baseline": {"name": "fixed", "ratio": 0.2}}, r"`baseline=fixed\(ratio=0.2\)` is made from"),
        ({"baseline": "lable"}, "`lable` is no baseline .nearest match: `label`"),
        ({"baseline": "label", "per_problem": None}, "`per_problem=None`: only `p-align`"),
        ({"eval": 1.0}, "`eval=1.0` must be above 0 and below 1"),
        ({"eval": "train"}, "`eval='train'` is the split to train on"),
        ({"training": {"sed": 1}}, "nearest match: `seed`"),
        ({"push_to_hub": "me"}, "`push_to_hub=me` names no repository of the Hub"),
        (
            {"push_to_hub": "me/student", "training": {"push_to_hub": True}},
            "they would overwrite each other. Leave one of them out",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        config(**given)


def test_left_alone_it_trains_all_weights_on_the_pairs():
    plain = config()
    assert (plain.lora, plain.kind.name, plain.pairs.split) == (None, "p-align", "train")
    assert str(plain.folder) == "runs/student-1b/student"
    traced = config(baseline="trace", prefixes=TracedSettings(source="x"))
    assert traced.kind.text == "trace"


def test_a_section_that_is_null_is_none_and_one_that_is_empty_has_its_defaults():
    base = {"pairs": {"source": "me/pairs"}, "student": "me/student"}
    assert build(TrainConfig, base | {"lora": None}, "r.yaml").lora is None
    assert build(TrainConfig, base | {"lora": {}}, "r.yaml").lora.r == 16
    with pytest.raises(ConfigError, match="`lora.rank`|the unknown key `lora.rnk`"):
        build(TrainConfig, base | {"lora": {"rnk": 8}}, "r.yaml")
