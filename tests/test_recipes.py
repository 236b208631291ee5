"""Every recipe of the repository is read strictly, its README names files that exist, and the command hands it out."""

import re
from pathlib import Path

import pytest

from palign_hf.alignment.run import AlignConfig
from palign_hf.cli import main
from palign_hf.config import load_config
from palign_hf.evaluation.run import EvaluateConfig
from palign_hf.truncation.run import TruncateConfig
from palign_hf.truncation.search import make_search


RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/truncate.yaml")), ids=lambda path: path.parent.name)
def test_truncate_recipes_are_valid(path):
    config = load_config(TruncateConfig, path)
    assert config.output.startswith(f"runs/{path.parent.name}")
    assert make_search(config.search).judged


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/align.yaml")), ids=lambda path: path.parent.name)
def test_align_recipes_are_valid_and_go_on_from_their_truncation(path):
    config, before = load_config(AlignConfig, path), load_config(TruncateConfig, path.with_name("truncate.yaml"))
    assert config.output == f"runs/{path.parent.name}/pairs"
    assert (config.prefixes.source, config.prefixes.split) == (before.output, "train")
    assert (config.student, config.context, config.engine_options) == (
        before.student,
        before.context,
        before.engine_options,
    )


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/evaluate.yaml")), ids=lambda path: path.parent.name)
def test_evaluate_recipes_are_valid_and_ask_the_student_of_the_recipe(path):
    config, before = load_config(EvaluateConfig, path), load_config(AlignConfig, path.with_name("align.yaml"))
    assert config.output == f"runs/{path.parent.name}/evaluation" and config.student == before.student
    assert (config.n, config.temperature, config.top_p, config.repetition_penalty) == (3, 0.6, 0.9, 1.05)
    assert (config.context, config.engine_options) == (before.context, before.engine_options)


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("README.md")), ids=lambda path: path.parent.name)
def test_commands_in_recipe_readmes_name_existing_files(path):
    named = set(re.findall(r"recipes/[\w./-]+\.(?:yaml|py)", path.read_text()))
    assert named and all((RECIPES.parent / name).is_file() for name in named)


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("README.md")), ids=lambda path: path.parent.name)
def test_several_processes_are_started_by_what_starts_several(path):
    """accelerate takes `--cpu --num_processes 2` for one process, in silence."""
    for line in re.findall(r"^accelerate launch .*", path.read_text(), re.MULTILINE):
        processes = int(re.search(r"--num_processes (\d+)", line)[1])
        assert processes == 1 or "--cpu" not in line


def test_every_recipe_folder_has_a_readme_and_a_row_in_the_table():
    table = (RECIPES / "README.md").read_text()
    for folder in {path.parent for path in RECIPES.glob("*/*.yaml")}:
        assert (folder / "README.md").is_file() and f"({folder.name}/README.md)" in table


def test_list_shows_every_recipe_with_its_student_and_purpose(capsys):
    assert main(["recipes", "list"]) == 0
    table, how = capsys.readouterr().out.split("\n\n")
    rows = {line.split()[0]: line for line in table.splitlines()[1:]}
    assert set(rows) == {path.parent.name for path in RECIPES.glob("*/*.yaml")}
    assert re.match(
        r"qwen3-8b +truncate, align, evaluate +Qwen/Qwen3-8B +The second student of P-ALIGN, judged with",
        rows["qwen3-8b"],
    )
    assert "palign recipes copy RECIPE" in how


@pytest.mark.parametrize("name", ["qwen3-8b", "recipes/qwen3-8b", "qwen3-8b/truncate.yaml"])
def test_copy_puts_a_recipe_where_the_next_command_finds_it(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", name]) == 0
    commands = capsys.readouterr().out.splitlines()[-3:]
    assert commands == [
        f"  palign {stage} --config recipes/qwen3-8b/{stage}.yaml" for stage in ("truncate", "align", "evaluate")
    ]
    copied = tmp_path / "recipes" / "qwen3-8b"
    assert {path.name for path in copied.iterdir()} == {"README.md", "truncate.yaml", "align.yaml", "evaluate.yaml"}
    assert (copied / "truncate.yaml").read_bytes() == (RECIPES / "qwen3-8b" / "truncate.yaml").read_bytes()


def test_copy_replaces_nothing_unless_told(tmp_path, capsys):
    changed = tmp_path / "truncate.yaml"
    changed.write_text("mine")
    assert main(["recipes", "copy", "toy", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"`{changed}` would be replaced" in told and told.count("\n") == 1
    assert changed.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["truncate.yaml"]
    assert main(["recipes", "copy", "toy", str(tmp_path), "--force"]) == 0
    assert changed.read_bytes() == (RECIPES / "toy" / "truncate.yaml").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["qwen3"], "The recipe `qwen3` is not among those that ship (nearest match: `qwen3-8b`)"),
        (["toy", "{file}"], "is a file. Give a folder"),
        (["toy", "{file}/below"], "is a file. Give a folder"),
    ],
)
def test_what_cannot_be_copied_is_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["recipes", "copy", *[one.format(file=tmp_path / "file") for one in arguments]]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
