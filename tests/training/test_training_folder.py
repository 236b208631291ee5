"""Whose folder it is: refused before anything is lost, one's own gone on with, another's cleared by `overwrite`."""

import json

import pytest

from palign_hf.errors import UserError
from palign_hf.training.folder import CheckpointFault, StudentFolder, fault, record


OWN = {"rows": 3, "learning_rate": 5e-5, "lora": {"r": 8, "layers": ("q", "k")}}
OTHER = OWN | {"learning_rate": 1e-4}


def saved(checkpoint) -> None:
    """A checkpoint, with its record."""
    checkpoint.mkdir()
    for name in ("model.safetensors", "optimizer.pt", "trainer_state.json"):
        (checkpoint / name).write_text(name)
    record(checkpoint, resumes=True)


def begun(path, identity=OWN, checkpoints=(), student=False) -> StudentFolder:
    folder = StudentFolder(path, identity)
    folder.begin()
    folder.release()
    for number in checkpoints:
        saved(path / f"checkpoint-{number}")
    if student:
        (path / "model.safetensors").write_text("weights")
        folder.end({})
    return folder


def test_a_folder_that_is_not_there_is_anyones(tmp_path):
    folder = StudentFolder(tmp_path / "new", OWN)
    folder.check(overwrite=False)
    assert folder.resume_point() is None and not folder.finished() and not (tmp_path / "new").exists()


def test_one_s_own_goes_on_from_the_last_checkpoint_that_is_whole(tmp_path):
    begun(tmp_path, checkpoints=(2, 10))
    (tmp_path / "checkpoint-12").mkdir()
    again = StudentFolder(tmp_path, OWN)
    again.check(overwrite=False)
    assert again.resume_point() == tmp_path / "checkpoint-10"
    again.begin()
    assert (tmp_path / "checkpoint-2").exists()


@pytest.mark.parametrize("student", [False, True])
def test_another_run_s_is_refused_and_named(tmp_path, student):
    begun(tmp_path, checkpoints=(2,), student=student)
    other = StudentFolder(tmp_path, OTHER)
    with pytest.raises(UserError, match="another run: learning_rate `5e-05` instead of `0.0001`. Give another folder"):
        other.check(overwrite=False)
    other.check(overwrite=True)
    assert (tmp_path / "checkpoint-2").exists()  # nothing is lost until it begins
    (tmp_path / "notes.txt").write_text("mine")
    other.begin()
    assert {path.name for path in tmp_path.iterdir()} == {".run", "notes.txt"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "checkpoint-3"])
def test_what_nobody_has_reported_is_refused_also_with_replace(tmp_path, name, overwrite):
    (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=f"holds `{name}`, which no run of this package has written. Give a new or"):
        StudentFolder(tmp_path, OWN).check(overwrite)
    assert (tmp_path / name).exists()


def test_a_finished_one_is_known_again_and_replaced_only_by_word(tmp_path):
    begun(tmp_path, checkpoints=(2,), student=True)
    assert json.loads((tmp_path / "report.json").read_text())["run"]["lora"]["layers"] == ["q", "k"]
    again = StudentFolder(tmp_path, OWN)
    again.check(overwrite=False)
    assert again.finished() and again.resume_point() is None
    again.begin()
    assert not again.finished() and not (tmp_path / "model.safetensors").exists()


def test_two_runs_at_once_are_refused(tmp_path):
    import subprocess
    import sys

    code = "import sys; from palign_hf.training.folder import StudentFolder as F; f = F(sys.argv[1], {'rows': 3})\n"
    code += "f.begin(); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="Another process writes to"):
            StudentFolder(tmp_path, {"rows": 3}).begin()
        other.stdin.close()


def test_one_that_diverged_is_known_again_and_is_not_finished(tmp_path):
    begun(tmp_path, checkpoints=(2,)).end({"diverged": ["weights are NaN"]})
    again = StudentFolder(tmp_path, OWN)
    again.check(overwrite=False)
    assert again.ended() and not again.finished() and again.diverged() == ["weights are NaN"]
    with pytest.raises(UserError, match="holds the result of another run"):
        StudentFolder(tmp_path, OTHER).check(overwrite=False)
    again.begin()
    assert not again.ended() and again.resume_point() is None


@pytest.mark.parametrize("held", ["[1", "{}", '{"resumes": true, "files": 3}', '{"files": {}}'])
def test_a_record_that_cannot_be_right_is_never_gone_on_from(tmp_path, held):
    saved(tmp_path / "checkpoint-3")
    (tmp_path / "checkpoint-3" / "checkpoint.json").write_text(held)
    assert isinstance(fault(tmp_path / "checkpoint-3"), CheckpointFault)
