"""Trainings that go wrong: students that were never whole, losses that diverge, damaged checkpoints.

Slow because the toy student is really trained for some steps; the run that is broken off is shared by all its tests.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_pairs import toy_pairs

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.hub.folders import read_folder
from palign_hf.runs.parts import read_mapping
from palign_hf.students import resolve_student
from palign_hf.training.config import PAlignConfig
from palign_hf.training.folder import StudentFolder
from palign_hf.training.trainer import PAlignTrainer
from palign_hf.weights import BrokenWeights


pytestmark = pytest.mark.integration

TOY = Path(__file__).parents[2] / "palign_hf" / "toy" / "student" / "weights"
STEPS = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    pairs, _ = toy_pairs(16)
    pairs.to_parquet(str(folder / "pairs.parquet"))
    return folder / "pairs.parquet"


def command(source: Path, out: Path, student: str = "palign-toy", **training) -> list[str]:
    usual = {"max_steps": STEPS, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 1}
    usual |= {"max_length": 2048, "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "logging_steps": 1}
    usual |= {
        "report_to": "none",
        "learning_rate": 1e-3,
        "disable_tqdm": True,
        "model_init_kwargs": {"dtype": "float32"},
    }
    given = [f"training.{name}={json.dumps(value)}" for name, value in (usual | training).items()]
    given += [f"pairs.source={source}", f"student={student}", f"output_dir={out}", "stops=0"]
    return ["train", *(word for one in given for word in ("--set", one))]


@pytest.fixture(scope="module")
def broken_off(source, tmp_path_factory) -> Path:
    """A run that was ended in its last step: three checkpoints and no student."""
    out = tmp_path_factory.mktemp("begun") / "student"
    step = PAlignTrainer.training_step

    def stopped(self, *given, **options):
        if self.state.global_step == STEPS - 1:
            raise KeyboardInterrupt
        return step(self, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PAlignTrainer, "training_step", stopped)
        assert main(command(source, out)) == 130
    return out


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "student"
    assert main(command(source, out)) == 0
    return out


@pytest.fixture
def begun(broken_off, tmp_path) -> Path:
    return shutil.copytree(broken_off, tmp_path / "student")


def opened(out: Path) -> StudentFolder:
    """The folder as the same command finds it."""
    return StudentFolder(out, read_mapping(out / ".run" / "training" / "run.json"))


def test_a_training_that_diverged_ends_with_status_1_and_without_a_student(source, tmp_path, capsys):
    out = tmp_path / "student"
    options = command(source, out, learning_rate=1e10, max_grad_norm=0)
    assert main(options) == 1
    said = capsys.readouterr().out
    assert "none: the training diverged" in said and "Lower `training.learning_rate`" in said
    assert re.search(r"^  loss +\d\.\d+ -> nan$", said, re.MULTILINE)  # transformers logs 0
    assert not [*out.glob("*.safetensors"), *out.glob("config.json")]
    told = json.loads((out / "report.json").read_text(), parse_constant=pytest.fail)
    assert told["diverged"] and "trained weights hold NaN or infinite" in told["diverged"][0]
    for name in ("report.md", "README.md"):
        assert "The training diverged, and no student was saved" in (out / name).read_text()
    with pytest.raises(UserError):
        resolve_student(str(out))
    with pytest.raises(UserError, match="a report, but not the files that it reports"):
        read_folder(out)
    # The same command doesn't take it for done, and doesn't spend the time again.
    assert main(options) == 1
    assert "has run before: The training diverged" in capsys.readouterr().out
    assert main([*options, "--set", "training.learning_rate=1e-3"]) == 2
    assert main([*options, "--set", "training.learning_rate=1e-3", "--overwrite"]) == 0
    assert "diverged" not in (out / "README.md").read_text() and (out / "model.safetensors").exists()


@pytest.mark.parametrize(("how", "told"), [("missing", "1 weights are missing"), ("nan", "hold NaN or infinite")])
def test_a_student_that_was_never_whole_is_not_trained(source, tmp_path, capsys, how, told):
    student = shutil.copytree(TOY, tmp_path / "broken")
    weights = load_file(student / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    if how == "nan":
        weights[name][3, 4] = float("nan")
    else:
        del weights[name]
    save_file(weights, student / "model.safetensors", metadata={"format": "pt"})
    assert main(command(source, tmp_path / "out", str(student))) == 2
    said = capsys.readouterr().err
    assert told in said and f"`{name}`" in said and not [*tmp_path.glob("out/*.safetensors")]
    if how == "missing":
        assert main([*command(source, tmp_path / "out", str(student)), "--dry-run"]) == 2


def test_the_trainer_refuses_a_name_whose_weights_are_missing(tmp_path):
    student = shutil.copytree(TOY, tmp_path / "broken")
    weights = load_file(student / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, student / "model.safetensors", metadata={"format": "pt"})
    config = PAlignConfig(str(tmp_path / "out"), use_cpu=True, bf16=False, report_to="none")
    with pytest.raises(BrokenWeights, match=r"1 weights are missing \(`model.norm.weight`\)"):
        PAlignTrainer(str(student), config, train_dataset=toy_pairs(2)[0])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    """What torch reads without a word: states of something else."""
    torch.save({"state": {}, "param_groups": [{"lr": 0.5, "params": [0]}], "last_epoch": 77}, path)


def other_pickle(path: Path) -> None:
    import pickle

    path.write_bytes(pickle.dumps(pytest.fail))


@pytest.mark.parametrize(
    ("name", "how", "why"),
    [
        ("model.safetensors", cut, "isn't as it was saved"),
        ("trainer_state.json", lambda path: path.write_text(""), "isn't as it was saved"),
        ("optimizer.pt", foreign, "isn't as it was saved"),
        ("optimizer.pt", Path.unlink, "is missing"),
        ("scheduler.pt", foreign, "isn't as it was saved"),
        ("scheduler.pt", other_pickle, "isn't as it was saved"),
        ("rng_state.pth", foreign, "isn't as it was saved"),
        ("rng_state.pth", Path.unlink, "is missing"),
        ("scaler.pt", foreign, "wasn't saved with it"),
    ],
)
def test_a_damaged_last_checkpoint_is_passed_over(begun, name: str, how: Callable[[Path], object], why: str):
    how(begun / "checkpoint-3" / name)
    folder = opened(begun)
    assert folder.resume_point() == begun / "checkpoint-2"
    assert folder.damaged() == [f"`{begun / 'checkpoint-3'}` can't be resumed: `{name}` {why}."]


def test_where_all_checkpoints_are_damaged_the_file_and_what_to_do_are_said(begun):
    for number in (1, 2, 3):
        (begun / f"checkpoint-{number}" / "optimizer.pt").unlink()
    with pytest.raises(UserError, match=r"`checkpoint-3`: `optimizer.pt` is missing. Repair it.*`overwrite=True`"):
        opened(begun).resume_point()
    assert opened(begun).resume_point(overwrite=True) is None


def test_checkpoints_of_an_earlier_release_have_no_record_and_are_gone_on_from(begun):
    for number in (1, 2, 3):
        (begun / f"checkpoint-{number}" / "checkpoint.json").unlink()
    assert opened(begun).resume_point() == begun / "checkpoint-3"
    (begun / "checkpoint-3" / "optimizer.pt").unlink()
    cut(begun / "checkpoint-2" / "scheduler.pt")
    assert opened(begun).resume_point() == begun / "checkpoint-1"


def test_a_training_with_a_damaged_checkpoint_ends_as_if_nothing_had_been(begun, undisturbed, source, capsys):
    foreign(begun / "checkpoint-3" / "optimizer.pt")
    foreign(begun / "checkpoint-3" / "scaler.pt")
    assert main(command(source, begun)) == 0
    said = capsys.readouterr().err
    assert "`optimizer.pt` isn't as it was saved. The training resumes from checkpoint-2." in said
    assert read_mapping(begun / "report.json")["settings"]["resumed_from"] == "checkpoint-2"
    assert (begun / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    assert not (begun / "checkpoint-3" / "scaler.pt").exists()


def test_with_save_only_model_no_training_goes_on_in_silence(begun, source, capsys):
    """The setting isn't part of what makes two runs the same, so checkpoints of either kind may lie there."""
    for number in (1, 2, 3):
        record = begun / f"checkpoint-{number}" / "checkpoint.json"
        record.write_text(json.dumps(read_mapping(record) | {"resumes": False}))
    assert main(command(source, begun, save_only_model=True)) == 2
    said = capsys.readouterr().err
    assert "it holds only the weights (`training.save_only_model`)" in said and "overwrite=True" not in said
    assert "`--overwrite`" in said
