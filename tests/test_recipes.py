"""Every recipe of the repository is read strictly, its README names files that exist, and the command hands it out."""

import re
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

from palign_hf.alignment.stage import AlignConfig
from palign_hf.cli import main
from palign_hf.config import load_config, shipped_recipes
from palign_hf.evaluation.stage import EvaluateConfig
from palign_hf.training.settings import TrainConfig
from palign_hf.truncation.search import make_search
from palign_hf.truncation.stage import TruncateConfig


RECIPES = Path(__file__).parents[1] / "recipes"
FOLDERS = sorted({path.parent for path in shipped_recipes().values()})
LAUNCHERS = sorted((RECIPES / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/truncate.yaml")), ids=lambda path: path.parent.name)
def test_truncate_recipes_are_valid(path):
    config = load_config(TruncateConfig, path)
    assert config.output_dir.startswith(f"runs/{path.parent.name}")
    assert make_search(config.search).judged


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/align.yaml")), ids=lambda path: path.parent.name)
def test_align_recipes_are_valid_and_go_on_from_their_truncation(path):
    config, before = load_config(AlignConfig, path), load_config(TruncateConfig, path.with_name("truncate.yaml"))
    assert config.output_dir == f"runs/{path.parent.name}/pairs"
    assert (config.prefixes.source, config.prefixes.split) == (before.output_dir, "train")
    assert (config.student, config.max_model_len, config.engine_options) == (
        before.student,
        before.max_model_len,
        before.engine_options,
    )


@pytest.mark.parametrize(
    "path", sorted(RECIPES.glob("*/train_*.yaml")), ids=lambda path: f"{path.parent.name}, {path.stem}"
)
def test_train_recipes_are_valid_and_go_on_from_their_alignment(path):
    config, before = load_config(TrainConfig, path), load_config(AlignConfig, path.with_name("align.yaml"))
    assert config.output_dir == f"runs/{path.parent.name}/student-{path.stem.removeprefix('train_')}"
    assert (config.pairs.source, config.pairs.split, config.student) == (before.output_dir, "train", before.student)
    assert (config.prefixes.source, config.prefixes.split) == (before.prefixes.source, before.prefixes.split)
    assert (config.lora is not None) == (path.stem == "train_lora")
    # Every baseline of these pairs is one key away.
    assert load_config(TrainConfig, path, ["baseline=trace"]).kind.name == "trace"


@pytest.mark.parametrize("student", ["qwen2.5-7b-instruct", "qwen3-8b"])
def test_the_papers_students_are_trained_with_its_settings(student):
    config = load_config(TrainConfig, RECIPES / student / "train_lora.yaml")
    assert (config.lora.r, config.lora.alpha, config.lora.dropout) == (16, 16, 0.05)
    assert config.lora.target_modules == "all-linear"
    planned = config.planned
    assert (planned.num_train_epochs, planned.learning_rate, planned.warmup_steps) == (3, 5e-5, 0.1)
    assert planned.lr_scheduler_type == "cosine"
    assert planned.per_device_train_batch_size * planned.gradient_accumulation_steps == 32


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_accelerate_reads_the_launcher_configurations(path):
    """By its own loader, which refuses unknown keys; sections are plain mappings there, so theirs are checked here."""
    config = load_config_from_file(str(path))
    assert config.mixed_precision == ("no" if path.stem == "cpu" else "bf16")
    options = {action.dest for action in launch_command_parser()._actions}
    sections = {**config.fsdp_config, **config.deepspeed_config}
    assert set(sections) <= options
    kinds = {"single_gpu": "NO", "cpu": "MULTI_GPU", "ddp": "MULTI_GPU", "fsdp2": "FSDP"}
    assert config.distributed_type.value == kinds.get(path.stem, "DEEPSPEED")
    assert f"accelerate/{path.name}" in (RECIPES / "README.md").read_text()


def test_a_launcher_configuration_with_a_misspelt_key_would_be_seen(tmp_path):
    path = tmp_path / "ddp.yaml"
    path.write_text((RECIPES / "accelerate" / "ddp.yaml").read_text().replace("num_machines", "num_machine"))
    with pytest.raises(ValueError, match="num_machine"):
        load_config_from_file(str(path))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/evaluate.yaml")), ids=lambda path: path.parent.name)
def test_evaluate_recipes_are_valid_and_ask_the_student_of_the_recipe(path):
    config, before = load_config(EvaluateConfig, path), load_config(AlignConfig, path.with_name("align.yaml"))
    assert config.output_dir == f"runs/{path.parent.name}/evaluation" and config.student == before.student
    assert (config.n, config.temperature, config.top_p, config.repetition_penalty) == (3, 0.6, 0.9, 1.05)
    assert (config.max_model_len, config.engine_options) == (before.max_model_len, before.engine_options)


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
    for folder in FOLDERS:
        assert (folder / "README.md").is_file() and f"({folder.name}/README.md)" in table


def test_list_shows_every_recipe_with_its_student_and_purpose(capsys):
    assert main(["recipes", "list"]) == 0
    table, how = capsys.readouterr().out.split("\n\n")
    rows = {line.split()[0]: line for line in table.splitlines()[1:]}
    assert set(rows) == {folder.name for folder in FOLDERS}
    stages = "pipeline, truncate, align, train_lora, train_full, evaluate"
    assert re.match(
        rf"qwen3-8b +{stages} +Qwen/Qwen3-8B +The whole chain of P-ALIGN's second student", rows["qwen3-8b"]
    )
    assert "palign recipes copy RECIPE" in how


@pytest.mark.parametrize("name", ["qwen3-8b", "recipes/qwen3-8b", "qwen3-8b/truncate.yaml"])
def test_copy_puts_a_recipe_where_the_next_command_finds_it(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", name]) == 0
    commands = capsys.readouterr().out.splitlines()[-6:]
    stages = {"truncate": "truncate", "align": "align", "train_lora": "train", "train_full": "train"}
    stages |= {"evaluate": "evaluate"}
    each = [f"  palign {stage} --config recipes/qwen3-8b/{file}.yaml" for file, stage in stages.items()]
    assert commands == ["  palign run recipes/qwen3-8b/pipeline.yaml", *each]
    copied = tmp_path / "recipes" / "qwen3-8b"
    assert {path.name for path in copied.iterdir()} == {
        "README.md",
        "pipeline.yaml",
        *(f"{file}.yaml" for file in stages),
    }
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
