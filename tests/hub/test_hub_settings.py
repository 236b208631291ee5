"""What can name a configuration, which is a folder of its repository, too."""

import pytest

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.hub.settings import check_config_name, config_name


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "readme.MD",
        "report.json",
        "train.parquet",
        "a.py",
        "x.gitattributes",
        "pictures",
        "LightEval",
        "a-sft",
    ]
    + ["", ".", "..", "a/b", "a b", "a\n", "-a", "a-", "a--b", "\u0430", "x" * 97],
)
def test_what_can_not_be_a_folder_of_the_repository_is_no_configuration(name):
    with pytest.raises(UserError, match="can't name a configuration"):
        check_config_name(name, f"config_name={name}")


@pytest.mark.parametrize("name", ["qwen2.5-7b-instruct-ascend", "default", "v1.0", "a", "mdx", "2024", "json"])
def test_ordinary_names_are_configurations(name):
    check_config_name(name, f"config_name={name}")


def test_a_name_that_is_made_is_one_that_may_be_given():
    for parts in (
        ("me/README.md",),
        ("model.json", "ascend"),
        ("weights.safetensors", ""),
        ("sft",),
        ("",),
        ("x.py", None),
    ):
        check_config_name(config_name(*parts), "made")


def test_the_command_refuses_it_in_one_line(tmp_path, capsys):
    assert main(["publish", str(tmp_path), "me/rows", "--config-name", "README.md", "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert (
        "`--config-name README.md`" in told and "`.md` is the end of a file's name" in told and told.count("\n") == 1
    )
