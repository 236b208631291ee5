"""What a command shows can't move a cursor, and what can't be shown ends no run."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import visible
from palign_hf.redact import remember
from palign_hf.runs.report import json_line
from palign_hf.tables import escaped
from palign_hf.terminal import Progress, prepare, print_err, print_out, quiet_bars


HOSTILE = "\x1b[2J\x9b\u202e\u200b\u2066\ufeff\x7f\x08\r\ud800"


@given(st.text())
def test_what_is_visible_is_printable_line_by_line_and_plain_text_stays(text):
    told = visible(text)
    assert not set(told) & set(map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E]))
    assert told == text or not text.isprintable()
    assert visible(told) == told


@given(st.recursive(st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)))
def test_a_line_of_json_is_printable_and_says_the_same(value):
    line = json_line(value)
    assert line.isprintable() and json.loads(line) == value


def test_other_spaces_and_emoji_are_plain():
    plain = "\u4f60\u3000\u597d\xa0\U0001f600\tx\ny"
    assert visible(plain) == plain


def test_every_way_out_is_neutralised(capsys):
    print_out(f"out {HOSTILE}")
    print_err(f"err {HOSTILE}")
    bar = Progress(3, f"bar {HOSTILE}", details=lambda seconds: {HOSTILE: HOSTILE})
    bar.status(f"asking {HOSTILE}")
    bar.close()
    prepare()
    logging.lastResort.handle(logging.LogRecord("x", logging.WARNING, "", 1, "log %s", (HOSTILE,), None))
    told = capsys.readouterr()
    assert all(line.isprintable() for line in (told.out + told.err).split("\n"))
    assert "out <U+001B>[2J" in told.out and "err <U+001B>" in told.err and "asking <U+001B>" in told.err
    assert "log <U+001B>" in told.err and escaped(HOSTILE).isprintable()


def test_a_secret_is_masked_on_every_way_out(capsys):
    remember("canary-of-a-header")
    print_out("x-api-key: canary-of-a-header")
    print_err("it said canary-of-a-header")
    prepare()
    logging.lastResort.handle(logging.LogRecord("x", logging.WARNING, "", 1, "%s", ("canary-of-a-header",), None))
    told = capsys.readouterr()
    assert "canary" not in told.out + told.err and (told.out + told.err).count("[key]") == 3


class Broken(io.StringIO):
    """A stream whose other end is gone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def fileno(self):
        raise OSError("no descriptor")


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")])
def test_a_pipe_that_nobody_reads_ends_nothing(monkeypatch, error):
    monkeypatch.setattr(sys, "stdout", Broken(error))
    print_out("words")


def test_a_full_disk_is_no_closed_stream(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        print_out("words")


def test_a_closed_stream_ends_nothing(monkeypatch):
    for gone in (None, io.StringIO()):
        if gone is not None:
            gone.close()
        monkeypatch.setattr(sys, "stdout", gone)
        print_out("words")


def test_a_pipe_leads_nowhere_once_it_was_broken(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print_out("lost")
        stream.write("and whatever a library prints later")
        stream.flush()


LOADING = """
import argparse, logging, sys, warnings
from palign_hf.runs.launch import ended
from palign_hf.terminal import Progress, quiet_bars

def body():
    from palign_hf.students import resolve_student
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(resolve_student("palign-toy").where)
    model.save_pretrained(sys.argv[1])
    from tqdm.auto import tqdm
    for _ in tqdm(range(3), desc="steps of a trainer"):
        pass
    warnings.warn("a warning of a library")
    logging.getLogger("transformers").error("an error of a library")
    return 0

sys.exit(ended("palign", body, argparse.ArgumentParser()))
"""


def test_on_a_pipe_other_libraries_show_no_bars_but_their_warnings_and_errors(tmp_path):
    environment = {name: value for name, value in os.environ.items() if "TQDM" not in name and "BARS" not in name}
    command = [sys.executable, "-c", LOADING, str(tmp_path / "student")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and (tmp_path / "student" / "model.safetensors").is_file(), done.stderr
    said = done.stdout + done.stderr
    assert not any(bar in said for bar in ("%|", "it/s", "Loading weights", "Writing model", "steps of a trainer"))
    assert "a warning of a library" in said and "an error of a library" in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("always", "quiet"), [(False, False), (True, True)])
def test_in_a_terminal_bars_of_others_show_unless_none_may(always, quiet, monkeypatch):
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging as bars

    for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.delenv(name, raising=False)
    bars.enable_progress_bar()
    monkeypatch.setattr(sys, "stderr", Terminal())
    with quiet_bars(always):
        assert bars.is_progress_bar_enabled() != quiet and are_progress_bars_disabled() == quiet
        assert ("TQDM_DISABLE" in os.environ) == quiet
    assert bars.is_progress_bar_enabled() and not are_progress_bars_disabled()
    assert "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ
