"""How a stage is started and ends: one line and a status for whatever a user or the machine has caused."""

import argparse
import errno
import os
import sys
from dataclasses import dataclass

import pytest

from palign_hf.config import Parser, add_options, check_settings, setting
from palign_hf.errors import UserError
from palign_hf.redact import remember
from palign_hf.runs.forecast import Forecast
from palign_hf.runs.launch import Ending, ended, launch, one_gpu, pin_gpu, print_out, run_here
from palign_hf.runs.shards import Shard
from palign_hf.runs.signals import Terminated
from palign_hf.tables import escaped


def raises(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (
            UserError("`max_samples=0` is\nno number.   Give one."),
            2,
            "palign: `max_samples=0` is no number. Give one.\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/d/x"),
            2,
            "on device: '/d/x'. Make room, or give the",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/d"), 2, "give the right to write there. What was answe"),
        (KeyboardInterrupt(), 130, "palign: interrupted. What was answered is kept: run the same command again"),
        (Terminated(), 143, "palign: ended by SIGTERM. What was answered is kept: run the same command again"),
    ],
)
def test_what_was_caused_from_outside_is_one_line_with_a_status(error, status, said, capsys):
    assert ended("palign", raises(error), argparse.ArgumentParser()) == status
    told = capsys.readouterr()
    assert told.out == "" and said in told.err and told.err.startswith("palign: ") and told.err.count("\n") == 1


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_that_ends_has_its_own_status(status, capsys):
    assert ended("palign", lambda: status, argparse.ArgumentParser()) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.EIO, "Input/output error"), AssertionError()])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        ended("palign", raises(error), argparse.ArgumentParser())


SECRET = "canary-7-of_the*header"


def test_no_stream_of_a_command_has_a_secret(capsys, monkeypatch):
    """Neither what it says nor how it ends; nor a fault of the program, whose errors may repeat a server's words."""
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    remember(SECRET)
    assert ended("palign", raises(UserError(f"It said {SECRET}.")), argparse.ArgumentParser()) == 2
    noted = KeyboardInterrupt()
    noted.add_note(f"Go on with {escaped(SECRET)}.")
    assert ended("palign", raises(noted), argparse.ArgumentParser()) == 130
    print_out(f"report of {SECRET}")
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise RuntimeError("It failed with Bearer s3cr3t-t0ken") from error
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    told = capsys.readouterr()
    assert "RuntimeError: It failed with Bearer [key]" in told.err and "ValueError: [key]" in told.err
    assert not any(form in told.out + told.err for form in (SECRET, escaped(SECRET), "s3cr3t"))
    assert told.out == "report of [key]\n" and told.err.startswith("palign: It said [key].\n")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a stage that only counts."""

    rows: int = setting(default=3, least=1, help="how many rows")
    failing: int = setting(default=0, help="how many of them fail")

    def __post_init__(self) -> None:
        check_settings(self)


class Counting:
    """A stage that writes down what it is told to do."""

    name, help, settings, together = "count", "count rows", Settings, False

    def __init__(self, said=None):
        self.done, self.said = [], said

    def open(self, settings, shown=True):
        self.done.append(("open", settings.rows, shown))
        self._settings = settings
        return self

    def ready(self, settings):
        self.done.append("ready")

    def forecast(self, settings):
        return Forecast(lines=(("rows", str(settings.rows)),), rows=settings.rows)

    def follow(self, settings, ending):
        self.done.append("followed")
        return self.said

    def agree(self):
        return "agreed"

    def work(self, shard, agreed):
        self.done.append((shard, agreed))

    def finish(self, count):
        return Ending(f"{count} of {count}", self._settings.failing)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.done.append("closed")


@pytest.fixture
def alone(monkeypatch):
    """One process, that no launcher has started; what this one is told of its parent stays as it is."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr("palign_hf.runs.launch.end_with_parent", lambda: None)


@pytest.mark.parametrize(("failing", "status"), [(0, 0), (2, 1)])
def test_a_run_in_this_process(failing, status, capsys):
    stage = Counting()
    assert run_here(stage, Settings(failing=failing)) == status
    assert stage.done == ["ready", ("open", 3, True), (Shard(0, 1), "agreed"), "closed", "followed"]
    assert capsys.readouterr().out == "1 of 1\n"


def test_what_follows_a_run_is_told_behind_it_and_may_fail(alone, capsys):
    assert launch(Counting("pushed"), []) == 0
    assert capsys.readouterr().out == "1 of 1\npushed\n"
    stage = Counting()
    stage.follow = lambda settings, ending: raises(UserError("not pushed"))()
    assert launch(stage, []) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("1 of 1\n", "count: not pushed\n") and stage.done[-1] == "closed"


def test_what_would_fail_after_a_run_is_refused_before_it(alone, capsys):
    stage = Counting()
    stage.ready = lambda settings: raises(UserError("no token"))()
    assert launch(stage, []) == 2
    with pytest.raises(UserError, match="no token"):
        run_here(stage, Settings())
    assert capsys.readouterr().err == "count: no token\n"
    assert not {"followed", (Shard(0, 1), "agreed")} & {*stage.done}


def test_an_engine_is_closed_whatever_happens():
    stage = Counting()
    stage.work = lambda *given: raises(KeyboardInterrupt())()
    with pytest.raises(KeyboardInterrupt):
        run_here(stage, Settings())
    assert stage.done[-1] == "closed"


@pytest.mark.parametrize(("failing", "status"), [("0", 0), ("2", 1)])
def test_launch_without_a_launcher_does_the_whole(alone, failing, status, capsys):
    stage = Counting()
    assert launch(stage, ["--rows", "5", "--failing", failing]) == status
    assert stage.done == [("open", 5, True), "ready", (Shard(0, 1), "agreed"), "closed", "followed"]
    assert capsys.readouterr().out == "1 of 1\n"


def test_a_dry_run_opens_nothing_that_it_does_not_need(alone, capsys):
    stage = Counting()
    assert launch(stage, ["--rows", "5", "--dry-run"]) == 0
    assert capsys.readouterr().out == "rows       5\n" and stage.done == ["ready"]


def test_a_device_without_a_dry_run_is_refused_before_anything_is_read(alone, capsys):
    stage = Counting()
    assert launch(stage, ["--device", "h100"]) == 2
    assert "`--device h100` is for a forecast" in capsys.readouterr().err and stage.done == []


def test_wrong_options_are_one_line_in_the_words_of_options(alone, capsys):
    stage = Counting()
    assert launch(stage, ["--rows", "0"]) == 2
    assert capsys.readouterr().err == "count: `--rows 0` must be at least 1.\n" and stage.done == []


def test_errors_of_the_library_speak_of_options(capsys):
    parser = Parser()
    add_options(parser, Settings)
    assert ended("count", raises(UserError("`rows=7` is too many. Leave `rows` out.")), parser) == 2
    assert capsys.readouterr().err == "count: `--rows 7` is too many. Leave `--rows` out.\n"


@pytest.mark.parametrize(
    ("rank", "world", "visible", "given"),
    [
        ("2", "4", None, "2"),
        ("1", "2", "5,7", "7"),
        ("1", "2", "", ""),
        (None, "1", "3,4", "3,4"),
        ("0", "1", "3,4", "3,4"),
    ],
)
def test_each_process_gets_a_gpu_of_its_own(monkeypatch, rank, world, visible, given):
    environment = {"LOCAL_RANK": rank, "WORLD_SIZE": world, "CUDA_VISIBLE_DEVICES": visible}
    monkeypatch.setattr(os, "environ", {name: value for name, value in environment.items() if value is not None})
    pin_gpu()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == given


def test_more_processes_than_visible_gpus_are_refused(monkeypatch):
    environment = {"LOCAL_RANK": "2", "WORLD_SIZE": "3", "CUDA_VISIBLE_DEVICES": "5,7"}
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(SystemExit, match="Process 2 has no GPU left of CUDA_VISIBLE_DEVICES=5,7"):
        pin_gpu()


def test_where_a_stage_has_noted_how_it_goes_on_that_is_said(capsys):
    for error in (KeyboardInterrupt(), Terminated(), OSError(errno.ENOSPC, "No space left on device")):
        error.add_note("The same command goes on from checkpoint-2.")
        ended("palign", raises(error), argparse.ArgumentParser())
        said = capsys.readouterr().err
        assert said.endswith("The same command goes on from checkpoint-2.\n") and "answered" not in said


class Together(Counting):
    """Processes that share one piece of work."""

    together = True


def test_processes_that_work_together_keep_all_gpus(alone, monkeypatch, capsys):
    monkeypatch.setattr("palign_hf.runs.launch.pin_gpu", raises(AssertionError()))
    assert launch(Together(), ["--rows", "5"]) == 0
    assert capsys.readouterr().out == "1 of 1\n"


class TestTheSecondOfSeveral:
    @pytest.fixture(autouse=True)
    def second(self, alone, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        self.waited = []
        monkeypatch.setattr("palign_hf.runs.launch.time.sleep", self.waited.append)

    def test_leaves_the_word_to_the_first_and_says_what_only_it_knows(self, capsys):
        assert launch(Together(), ["--rows", "0"]) == 2
        assert self.waited == [10.0]
        assert capsys.readouterr().err == "count: Process 1: `--rows 0` must be at least 1.\n"

    def test_is_quiet_when_the_launcher_ends_it_while_it_waits(self, monkeypatch, capsys):
        monkeypatch.setattr("palign_hf.runs.launch.time.sleep", lambda seconds: raises(Terminated())())
        assert launch(Together(), ["--rows", "0"]) == 143
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
    def test_says_nothing_of_what_ends_all(self, error, status, capsys):
        stage = Together()
        stage.open = lambda settings, shown: raises(error)()
        assert launch(stage, []) == status
        assert capsys.readouterr().err == ""

    def test_a_fault_of_the_program_keeps_its_traceback(self):
        stage = Together()
        stage.open = lambda settings, shown: raises(ZeroDivisionError())()
        with pytest.raises(ZeroDivisionError):
            launch(stage, [])

    def test_options_are_refused_by_the_first_alone(self, capsys):
        with pytest.raises(SystemExit) as left:
            launch(Together(), ["--row", "5"])
        assert left.value.code == 2 and capsys.readouterr().err == ""

    def test_a_dry_run_is_told_by_the_first_alone(self, capsys):
        assert launch(Together(), ["--dry-run"]) == 0
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("count", "visible", "launched", "taken"),
    [(1, None, False, None), (4, None, False, "0"), (2, "5,7", False, "5"), (4, None, True, None)],
)
def test_a_process_by_itself_takes_one_gpu_and_says_so(monkeypatch, capsys, count, visible, launched, taken):
    environment = {"CUDA_VISIBLE_DEVICES": visible, "LOCAL_RANK": "0" if launched else None}
    monkeypatch.setattr(os, "environ", {name: value for name, value in environment.items() if value is not None})
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    one_gpu("a launcher takes all")
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == (taken or visible)
    said = capsys.readouterr().err
    assert said == (f"One process takes one GPU, here number {taken}; a launcher takes all.\n" if taken else "")


@pytest.mark.parametrize(("error", "status"), [(None, 0), (UserError("no"), 2), (ZeroDivisionError(), 1)])
def test_one_of_several_processes_leaves_without_the_end_of_the_interpreter(alone, monkeypatch, error, status, capsys):
    """There torch's gloo may hang for ever."""

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr("palign_hf.runs.launch.grouped", lambda: True)
    monkeypatch.setattr("palign_hf.runs.launch.leave", leave)
    monkeypatch.setattr("palign_hf.runs.launch._launch", lambda *given: raises(error)() if error else 0)
    with pytest.raises(SystemExit) as left:
        launch(Counting(), [])
    assert left.value.code == status and (status != 1 or "ZeroDivisionError" in capsys.readouterr().err)
