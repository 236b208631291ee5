"""A setting with another name now is answered with the new name: in a recipe, as an option, and in Python."""

from dataclasses import fields

import pytest

from palign_hf import PAlignConfig, load_prefixes, load_traces, to_sft
from palign_hf.alignment.stage import AlignConfig, PrefixSettings
from palign_hf.cli import main
from palign_hf.config import ConfigError, load_config
from palign_hf.config.resolve import RENAMED, new_name
from palign_hf.data.pairs import load_pairs
from palign_hf.errors import UserError
from palign_hf.evaluation.grade import GradeConfig
from palign_hf.evaluation.stage import EvaluateConfig
from palign_hf.hub.publish import publish
from palign_hf.hub.settings import HubSettings
from palign_hf.training.settings import PairSettings, TrainConfig
from palign_hf.truncation.stage import TraceSettings, TruncateConfig


# A command with its settings, the key of a recipe with the old name, and the one that has taken its place.
KEYS = [
    ("truncate", TruncateConfig, "traces.limit", "traces.max_samples"),
    ("truncate", TruncateConfig, "traces.name", "traces.source_name"),
    ("truncate", TruncateConfig, "context", "max_model_len"),
    ("truncate", TruncateConfig, "in_flight", "max_concurrency"),
    ("align", AlignConfig, "tags", "tag_style"),
    ("align", AlignConfig, "prefixes.tags", "prefixes.tag_style"),
    ("train", TrainConfig, "pairs.limit", "pairs.max_samples"),
    ("train", TrainConfig, "hub.licence", "hub.license"),
    ("evaluate", EvaluateConfig, "limit", "max_samples"),
    ("evaluate", EvaluateConfig, "output", "output_dir"),
    ("evaluate", EvaluateConfig, "replace", "overwrite"),
]
CONSTRUCTORS = [
    (TraceSettings, "limit", "max_samples"),
    (TraceSettings, "name", "source_name"),
    (TruncateConfig, "context", "max_model_len"),
    (TruncateConfig, "in_flight", "max_concurrency"),
    (EvaluateConfig, "output", "output_dir"),
    (EvaluateConfig, "replace", "overwrite"),
    (AlignConfig, "tags", "tag_style"),
    (PrefixSettings, "tags", "tag_style"),
    (GradeConfig, "out", "output_file"),
    (HubSettings, "licence", "license"),
    (PAlignConfig, "tags", "tag_style"),
    (PAlignConfig, "check", "sanity_checks"),
    (load_traces, "limit", "max_samples"),
    (load_traces, "name", "source_name"),
    (load_prefixes, "tags", "tag_style"),
    (to_sft, "tags", "tag_style"),
]


@pytest.mark.parametrize(("command", "kind", "old", "new"), KEYS)
def test_recipe(command, kind, old, new, tmp_path):
    *sections, name = old.split(".")
    path = tmp_path / "recipe.yaml"
    path.write_text("".join(f"{section}:\n  " for section in sections) + f"{name}: 1\n")
    for given in ((path, []), (None, [f"{old}=1"])):
        with pytest.raises(ConfigError) as caught:
            load_config(kind, *given)
        assert str(caught.value).startswith(f"`{old}` is now `{new}`") and "\n" not in str(caught.value)


@pytest.mark.parametrize(("command", "kind", "old", "new"), KEYS)
def test_option(command, kind, old, new, capsys):
    old, new = (f"--{key.replace('_', '-')}" for key in (old, new))
    with pytest.raises(SystemExit):
        main([command, old, "1"])
    assert f"`{old}` is now `{new}`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("grade a --out b", "--output-file"),
        ("compare a b --out c", "--output-dir"),
        ("demo --output a", "--output-dir"),
    ],
)
def test_option_of_a_command_without_recipes(line, new, capsys):
    with pytest.raises(SystemExit):
        main(line.split())
    assert f" is now `{new}`" in capsys.readouterr().err


@pytest.mark.parametrize(("made", "old", "new"), CONSTRUCTORS)
def test_keyword_argument(made, old, new):
    with pytest.raises(UserError, match=f"^`{old}` is now `{new}`"):
        made(**{old: "1"})


def test_training_section():
    for old, new in (("tags", "tag_style"), ("check", "sanity_checks")):
        with pytest.raises(UserError, match=f"`training.{old}` is now `training.{new}`"):
            TrainConfig(student="palign-toy", pairs=PairSettings(source="x"), training={old: "none"})


def test_a_name_that_is_known_is_no_old_one():
    assert new_name("context", ["context", "max_model_len"]) is None
    assert new_name("context", ["seed"]) is None


def test_no_setting_has_an_old_name():
    for kind in (TruncateConfig, AlignConfig, EvaluateConfig, TrainConfig, TraceSettings, PrefixSettings, HubSettings):
        assert not {one.name for one in fields(kind)} & RENAMED.keys(), kind


def test_token_is_masked(tmp_path):
    from palign_hf.redact import redact

    token = "hf_" + "aB3dE5fG7h" * 3
    for ask in (load_traces, load_prefixes, load_pairs):
        with pytest.raises(UserError) as caught:
            ask(tmp_path / f"{token}.parquet", token=token)
        assert token not in redact(str(caught.value))
    with pytest.raises(UserError, match="`token` and `api`"):
        publish(tmp_path, "me/repo", token=token, api=object())
