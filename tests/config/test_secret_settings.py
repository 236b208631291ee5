"""Settings that would be secrets are refused in words, wherever they are said, and never repeated."""

from dataclasses import fields

import pytest

from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.cli import main
from palign_hf.config.settings import refuse_secrets
from palign_hf.engines.options import check_options
from palign_hf.errors import UserError
from palign_hf.generation.runner import StudentRunner
from palign_hf.redact import redact
from palign_hf.training.arguments import checked
from palign_hf.training.config import PAlignConfig


SECRET = "canary-6f1d9c-value"
TRAIN = ["train", "--student", "x", "--pairs.source", "y"]
TRUNCATE = ["truncate", "--student", "x", "--traces.source", "y"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([*TRAIN, "--set", f"training.hub_token={SECRET}"], "training.hub_token"),
        ([*TRAIN, "--set", f"training.push_to_hub_token={SECRET}"], "training.push_to_hub_token"),
        ([*TRAIN, "--set", f"training.model_init_kwargs.token={SECRET}"], "training.model_init_kwargs.token"),
        ([*TRAIN, "--training", f"{{hub_token: {SECRET}}}"], "training.hub_token"),
        (
            [*TRAIN, "--set", f"training.deepspeed={{comet: {{api_key: {SECRET}}}}}"],
            "training.deepspeed.comet.api_key",
        ),
        ([*TRAIN, "--set", f"hub_password={SECRET}"], "hub_password"),
        ([*TRUNCATE, "--engine-options", f"{{hf_token: {SECRET}}}"], "engine_options.hf_token"),
        ([*TRUNCATE, "--set", f"engine_options={{api_key: [{SECRET}]}}"], "engine_options.api_key"),
    ],
)
def test_a_secret_among_the_settings_is_refused_in_words_and_not_repeated(words, named, capsys):
    assert main(words) == 2
    told = capsys.readouterr()
    assert f"`{named}` would be a secret among the settings" in told.err and "`hf auth login`" in told.err
    assert SECRET not in told.err + told.out


def test_a_secret_in_a_recipe_is_refused(tmp_path, capsys):
    recipe = tmp_path / "train.yaml"
    recipe.write_text(f"student: x\npairs: {{source: y}}\ntraining:\n  hub_token: {SECRET}\n")
    assert main(["train", "--config", str(recipe)]) == 2
    told = capsys.readouterr().err
    assert "`training.hub_token` would be a secret" in told and SECRET not in told


def test_a_secret_given_in_python_is_refused():
    with pytest.raises(UserError, match="`training.hub_token` would be a secret"):
        checked({"hub_token": SECRET})
    with pytest.raises(UserError, match="`engine_options.hf_token` would be a secret"):
        AlignmentSettings("x", engine="transformers", engine_options={"hf_token": SECRET})
    with pytest.raises(UserError, match="`engine_options.hf_token` would be a secret"):
        StudentRunner("x", engine="vllm", engine_options={"hf_token": SECRET})
    check_options("vllm", {"hf_token": True})


def test_settings_that_only_sound_so_are_taken():
    refuse_secrets({"pad_token": "<pad>", "eos_token": "</s>", "max_tokens": 8, "hub_token": None, "hf_token": True})
    refuse_secrets({"headers": {"x-api-key": SECRET}, "tags": {"close_tag": "</x>"}, "stop_token_ids": [1]})
    assert checked({"include_num_input_tokens_seen": "no"})["include_num_input_tokens_seen"] == "no"


def test_the_only_secret_among_the_fields_of_the_trainer_is_the_token_of_the_hub():
    refused = []
    for one in fields(PAlignConfig):
        try:
            refuse_secrets({one.name: "x"})
        except UserError:
            refused.append(one.name)
    assert refused == ["hub_token"]


def test_a_header_is_masked_in_refusals_of_settings(capsys):
    words = [*TRUNCATE, "--engine", "server", "--engine-options"]
    assert main([*words, f"{{urls: 'http://me:{SECRET}@host/v1', headers: {{X-Mine: {SECRET}}}, bogus: 1}}"]) == 2
    assert main([*words, f"{{urls: 'http://me:{SECRET}@host/v1', headers: {{X-Mine: {SECRET}}}"]) == 2
    assert main([*words, f"{{urls: 'http://me:{SECRET}@host/v1', headers: {SECRET}}}"]) == 2
    told = capsys.readouterr()
    assert "bogus" in told.err and SECRET[:8] not in told.err + told.out
    assert redact(f"a {SECRET} b") == "a [key] b"
