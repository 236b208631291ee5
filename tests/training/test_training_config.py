"""What can be set for training, and what is refused before anything is loaded."""

import math
from dataclasses import dataclass, fields

import pytest
from accelerate.parallelism_config import ParallelismConfig
from transformers import HfArgumentParser, TrainingArguments
from trl import SFTConfig

from palign_hf.errors import UserError
from palign_hf.training.config import PAlignConfig, as_config, as_given


OWN = {field.name for field in fields(PAlignConfig)} - {field.name for field in fields(SFTConfig)}


def config(tmp_path, **given) -> PAlignConfig:
    return PAlignConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", **given)


def test_left_alone_it_is_plain_training(tmp_path):
    plain = config(tmp_path)
    assert isinstance(plain, SFTConfig) and not plain.weighted
    assert plain.segment_weights == (1, 1, 1, 1) and plain.masked_segments == ()
    assert (plain.tag_style, plain.overlong, plain.sanity_checks) == ("prefix", "drop", True)


def test_weights_are_those_of_the_segments_by_number(tmp_path):
    weighted = config(tmp_path, prefix_loss_weight=0, close_tag_loss_weight=3, continuation_loss_weight=0.5)
    assert weighted.segment_weights == (1, 0, 3, 0.5) and weighted.masked_segments == (1,) and weighted.weighted


def test_every_own_setting_says_what_it_is_for():
    assert len(OWN) == 6
    for field in fields(PAlignConfig):
        if field.name in OWN:
            assert field.metadata["help"].endswith(".")


def test_settings_are_options_of_a_command(tmp_path):
    parser = HfArgumentParser(PAlignConfig)
    given = ["--output_dir", str(tmp_path), "--use_cpu", "--bf16", "False", "--prefix_loss_weight", "0.25"]
    (read,) = parser.parse_args_into_dataclasses([*given, "--tag-style", "draft", "--overlong", "truncate_prefix"])
    assert (read.prefix_loss_weight, read.tag_style, read.overlong) == (0.25, "draft", "truncate_prefix")
    assert "closing tag" in parser.format_help()


def test_settings_of_trl_are_taken_attribute_by_attribute(tmp_path):
    """`to_dict` makes `parallelism_config` None and hides tokens; what it drops would pass every refusal."""
    given = {"use_cpu": True, "report_to": "none", "hub_token": "hf_x", "accelerator_config": {"split_batches": True}}
    for kind in (SFTConfig, TrainingArguments):
        split = kind(str(tmp_path), bf16=False, parallelism_config=ParallelismConfig(cp_size=2), **given)
        with pytest.raises(UserError, match="`cp_size=2` splits each sequence"):
            as_config(split)
        rows = ParallelismConfig(dp_replicate_size=1)
        plain = kind(str(tmp_path), bf16=False, seed=5, parallelism_config=rows, **given)
        found = as_config(plain)
        assert found.parallelism_config is rows and (found.seed, found.hub_token) == (5, "hf_x")
        assert found.accelerator_config.split_batches and not found.weighted
        # Each value is what `SFTTrainer` would work with.
        stock = plain if kind is SFTConfig else SFTConfig(**plain.to_dict() | {"hub_token": "hf_x"})
        assert found.to_dict().items() >= stock.to_dict().items()
    ours = config(tmp_path)
    assert as_config(ours) is ours


@dataclass
class Own(SFTConfig):
    """A user's settings."""

    flavour: str = "plain"


@dataclass
class Others(TrainingArguments):
    """Those of another trainer."""

    beta: float = 0.1


def test_a_subclass_of_sftconfig_is_kept_as_sfttrainer_keeps_it(tmp_path):
    args = Own(str(tmp_path), use_cpu=True, bf16=False, report_to="none", flavour="sweet", max_length=77)
    assert as_given("student", args) is args
    found = as_config(args)
    assert (found.max_length, found.flavour, found.weighted, found.tag_style) == (77, "sweet", False, "prefix")
    with pytest.raises(UserError, match="`args=Others.* has `beta`.* Derive `Others` from `PAlignConfig`"):
        as_given("student", Others(str(tmp_path), use_cpu=True, report_to="none"))


def test_dft_without_weights_is_the_affair_of_trl(tmp_path):
    assert config(tmp_path, loss_type="dft").loss_type == "dft"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prefix_loss_weight": -1}, "`prefix_loss_weight=-1` must be at least 0"),
        ({"continuation_loss_weight": math.inf}, "`continuation_loss_weight=inf` must be a finite number"),
        ({"close_tag_loss_weight": math.nan}, "`close_tag_loss_weight=nan` must be a finite number"),
        ({"close_tag_loss_weight": "much"}, "`close_tag_loss_weight='much'` must be a number"),
        (
            {"prefix_loss_weight": 0, "continuation_loss_weight": 0, "close_tag_loss_weight": 0},
            "leave nothing to learn. Set one of them",
        ),
        ({"tag_style": "prefx"}, "`prefx` is no tag style (nearest match: `prefix`)"),
        ({"overlong": "truncate"}, "`overlong='truncate'` is unknown (nearest match: `truncate_prefix`)"),
        ({"loss_type": "dft", "prefix_loss_weight": 0.5}, "`loss_type='dft'` isn't linear in the log-probabilities"),
        ({"loss_type": "dtf"}, "`loss_type='dtf'` is unknown (nearest match: `dft`)"),
        (
            {"label_smoothing_factor": 0.1, "prefix_loss_weight": 0.5},
            "`label_smoothing_factor=0.1` computes the loss without the weights",
        ),
        ({"parallelism_config": ParallelismConfig(cp_size=2)}, "`cp_size=2` splits each sequence"),
        ({"parallelism_config": ParallelismConfig(sp_size=2)}, "`sp_size=2` splits each sequence"),
        ({"sanity_checks": "yes"}, "`sanity_checks='yes'` must be true or false"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path, given, said):
    with pytest.raises(UserError) as refused:
        config(tmp_path, **given)
    assert said in str(refused.value)
