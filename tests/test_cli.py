"""The command as a user meets it: help, figures, errors in one line, exit status."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from palign_hf.cli import commands, main


SAMPLES = Path(__file__).parent / "fixtures" / "traces"


def palign(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "palign_hf.cli", *arguments], capture_output=True, text=True)


@pytest.fixture
def traces(tmp_path) -> Path:
    path = tmp_path / "traces.jsonl"
    rows = [
        {"question": f"What is {n}+1?", "trace": f"Add one to {n}. We get {n + 1}. Done.", "answer": str(n + 1)}
        for n in range(12)
    ]
    rows.append({"question": "no trace", "trace": "", "answer": None})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_version_and_help():
    assert palign("--version").stdout.startswith("palign-hf 0.1.0")
    told = palign("--help").stdout
    assert all(name in told for name in commands())


def test_what_the_machine_refuses_is_said_in_one_line(monkeypatch, capsys):
    def full(*given, **settings):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/demo/figures.json")

    monkeypatch.setattr("palign_hf.cli.demo.demo", full)
    assert main(["demo"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "No space left on device: 'runs/demo/figures.json'" in told
    assert "run the same command again to go on" in told


def test_other_failures_of_the_system_keep_their_traceback(monkeypatch):
    def gone(*given, **settings):
        raise FileNotFoundError(errno.ENOENT, "No such file", "whatever")

    monkeypatch.setattr("palign_hf.cli.demo.demo", gone)
    with pytest.raises(FileNotFoundError):
        main(["demo"])


INTERRUPTED = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
signal.signal(signal.SIGINT, signal.default_int_handler)
from palign_hf.cli import main
sys.exit(main(["truncate", "--dry-run"]))
"""


@pytest.mark.parametrize("module", ["palign_hf.config", "palign_hf.truncation.stage", "numpy", "pyarrow.lib"])
def test_ctrl_c_while_imports_run_is_one_line_with_status_130(module):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130 and done.stdout == ""
    assert done.stderr.startswith("palign: interrupted. Nothing was ") and done.stderr.count("\n") == 1


def test_what_a_library_makes_of_an_interrupt_is_still_an_interrupt(monkeypatch, capsys):
    def broken(name):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("numpy can't be imported") from error

    monkeypatch.setattr("importlib.import_module", broken)
    assert main(["truncate"]) == 130
    assert capsys.readouterr().err.startswith("palign: interrupted. Nothing was written")


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    script = f'palign() {{ {sys.executable} -m palign_hf.cli "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "line",
    [
        "palign traces inspect traces.jsonl >&-",
        "palign recipes list >&- 2>&-",
        "set -o pipefail; palign traces inspect traces.jsonl | true",
        "set -o pipefail; palign --help | true",
        "set -o pipefail; palign recipes list 2>&1 | true",
    ],
)
def test_a_stream_that_nobody_reads_loses_words_and_no_work(line, traces):
    done = shell(line, traces.parent)
    assert (done.returncode, done.stdout) == (0, "") and "Error" not in done.stderr


def test_what_an_ascii_terminal_cannot_show_is_escaped(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"question": "Größe?", "trace": "Zwei.", "answer": "2"}) + "\n")
    done = shell("PYTHONIOENCODING=ascii palign traces inspect t.jsonl", tmp_path)
    assert done.returncode == 0 and "Gr\\xf6\\xdfe?" in done.stdout and done.stderr == ""


def test_a_working_folder_that_was_deleted_is_said_in_one_line(tmp_path):
    done = shell("mkdir gone; cd gone; rmdir ../gone; palign recipes list", tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("palign: The working folder can't be used")
    assert done.stderr.count("\n") == 1


HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202ereversed\u2066 \u200bhidden\ufeff \x9b2J\x7f"


def test_control_characters_of_traces_reach_no_terminal(tmp_path, capsys):
    row = {"question": f"q {HOSTILE}?", "trace": f"One. {HOSTILE}", "answer": HOSTILE, HOSTILE: 1, "id": HOSTILE}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["traces", "inspect", str(tmp_path / "t.jsonl")]) == 0
    told = capsys.readouterr()
    assert "q <U+001B>[31mred" in told.out and "<U+202E>reversed<U+2066> <U+200B>hidden<U+FEFF>" in told.out
    assert "left out" in told.out
    assert all(line.isprintable() for line in (told.out + told.err).split("\n"))
    assert main(["traces", "inspect", str(tmp_path / "t.jsonl"), "--json"]) == 0
    told = capsys.readouterr()
    assert told.out.strip().isprintable() and json.loads(told.out)["first"]["question"] == row["question"]
    assert main(["traces", "inspect", HOSTILE]) == 2
    assert capsys.readouterr().err.strip().isprintable()


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help(command):
    done = palign(command, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: palign {command}")


def test_an_unknown_command_lists_the_known():
    done = palign("trunkate")
    assert done.returncode == 2 and "'truncate'" in done.stderr


def test_inspect_tells_what_is_there(traces, capsys):
    assert main(["traces", "inspect", str(traces)]) == 0
    told = capsys.readouterr().out
    assert "12 of 13 read, dropped: 1" in told
    assert "12 answer column" in told and "What is 0+1?" in told and "segments" in told


def test_inspect_json_is_one_line_with_the_same_figures(traces, capsys):
    assert main(["traces", "inspect", str(traces), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["rows"], found["rows_in"], found["segments"]["p50"]) == (12, 13, 3)
    assert sum(found["dropped"].values()) == 1 and found["first"]["answer"] == "1"


def test_inspect_takes_column_maps_and_granularity(tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"ask": "q?", "cot": "One. Two.\n\nThree."}) + "\n")
    assert main(["traces", "inspect", str(path), "--columns", "question=ask", "trace=cot", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["segments"]["p50"] == 3
    arguments = ["--columns", "question=ask", "trace=cot", "--granularity", "paragraph", "--json"]
    assert main(["traces", "inspect", str(path), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["segments"]["p50"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["traces", "inspect", "no/such/file.jsonl"], "no/such/file.jsonl"),
        (["traces", "inspect", "x.jsonl", "--columns", "question"], "has no column"),
        (["truncate", "--config", "absent.yaml"], "doesn't exist"),
        (["ledger", "show", "absent.sqlite"], "is no file"),
    ],
)
def test_errors_are_one_line_and_status_2(arguments, message):
    done = palign(*arguments)
    assert done.returncode == 2 and message in done.stderr
    assert done.stderr.startswith("palign: ") and "Traceback" not in done.stderr


def test_truncate_by_rule_from_a_recipe(traces, tmp_path, tiny_student, capsys):
    recipe = tmp_path / "truncate.yaml"
    output = tmp_path / "out"
    recipe.write_text(f"traces: {{source: {traces}}}\nstudent: {tiny_student}\noutput_dir: {output}\nsearch: full\n")
    assert main(["truncate", "--config", str(recipe)]) == 0
    told = capsys.readouterr().out
    assert "full_trace" in told and str(output) in told
    from datasets import load_dataset

    prefixes = load_dataset(str(output), split="train")
    assert len(prefixes) == 12 and prefixes[0]["prefix"] == prefixes[0]["trace"]
    report = json.loads((output / "report.json").read_text())
    assert report["rows"] == 12 and report["statuses"]["full_trace"] == 12 and report["settings"]["versions"]
    assert (output / "report.md").read_text().startswith("# 12 traces, cut where ")
    assert sorted(path.name for path in output.iterdir()) == ["data", "report.json", "report.md"]


def test_truncate_refuses_a_bad_student_before_any_work(traces, tmp_path):
    recipe = tmp_path / "truncate.yaml"
    recipe.write_text(f"traces: {{source: {traces}}}\nstudent: {tmp_path}\noutput_dir: {tmp_path / 'out'}\n")
    done = palign("truncate", "--config", str(recipe))
    assert done.returncode == 2 and "has no config.json" in done.stderr


OWN = """
from pathlib import Path
print("imported")
class Loud:
    name, version = "loud", 1
    def __init__(self, mark=""):
        Path("TOUCHED").touch()
    def describe(self):
        Path("TOUCHED").touch()
        return {"name": "loud"}
    def bind(self, tokenizer, student, context):
        Path("TOUCHED").touch()
    def grade(self, output, gold):
        Path("TOUCHED").touch()
def make():
    Path("TOUCHED").touch()
"""


@pytest.mark.parametrize(
    ("command", "setting", "what"),
    [("truncate", "criterion", "criterion"), ("align", "grader", "grader"), ("evaluate", "grader", "grader")],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_recipe_can_call_nothing_but_a_class_of_that_kind(
    command, setting, what, dry, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"student: palign-toy\n{setting}: {{name: 'subprocess:Popen', args: [touch, TOUCHED]}}\n")
    more = {"truncate": ["--traces.source", "palign-toy"], "align": ["--prefixes.source", "none"], "evaluate": []}
    assert main([command, "--config", str(recipe), *more[command], *dry]) == 2
    assert f"`subprocess:Popen` is no {what}: the class lacks" in capsys.readouterr().err
    assert not (tmp_path / "TOUCHED").exists()


def test_a_dry_run_calls_nothing_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = ["--student", "palign-toy", "--dry-run", "--output-dir", str(tmp_path / "out"), "--ledger", str(tmp_path)]
    traces = ["--traces.source", "palign-toy", "--traces.split", "test", "--traces.max-samples", "3"]
    assert main(["truncate", *asked, *traces, "--criterion", "own_parts:Loud"]) == 0
    told = capsys.readouterr().out
    assert (
        "not known: `own_parts:Loud` is your own, and `--dry-run` doesn't call it" in told and "rows       3" in told
    )
    assert main(["evaluate", *asked, "--tasks", "toy", "--max-samples", "2", "--grader", "own_parts:Loud"]) == 0
    assert "2 problems" in capsys.readouterr().out
    assert main(["truncate", *asked, *traces, "--criterion", "own_parts:make"]) == 2
    assert "is no criterion but a `function`, and was not called" in capsys.readouterr().err
    assert not (tmp_path / "TOUCHED").exists()


def test_without_any_ledger_it_is_said_where_they_come_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PALIGN_HOME", str(tmp_path / "nowhere"))
    assert main(["ledger", "show"]) == 2
    told = capsys.readouterr().err
    assert "holds no ledger. They are made by `palign truncate`" in told and "`palign ledger show FOLDER`" in told
    assert str(tmp_path / "nowhere" / "ledgers") in told and "is no file" not in told


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE about SET value = '{\"student_name\": ' WHERE key = 'about'", "Expecting value"),
        ("UPDATE about SET value = '[1]' WHERE key = 'about'", "no mapping but `[1]`"),
        ("UPDATE about SET value = 'two' WHERE key = 'format'", "invalid literal"),
        ("UPDATE about SET value = 'probes; --' WHERE key = 'answers'", "names no table"),
        ("UPDATE about SET value = x'ff' WHERE key = 'about'", "damaged"),
        ("DROP TABLE about", "no such table"),
    ],
)
def test_a_damaged_ledger_is_said_and_the_others_are_shown(sql, told, tmp_path, capsys):
    import sqlite3
    from contextlib import closing

    from palign_hf.generation.store import Store
    from palign_hf.truncation.rows import PROBES

    for name in ("a", "b"):
        Store(tmp_path / f"{name}.sqlite", name, {"student_name": f"me/{name}", "mode": "prompt"}, PROBES).close()
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as db:
        db.execute(sql)
        db.commit()
    assert main(["ledger", "show", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "me/b" in shown.out and "temperature ?" in shown.out
    assert told in shown.err and "a.sqlite` is damaged or no ledger" in shown.err and shown.err.count("\n") == 1


def test_control_characters_of_a_ledger_reach_no_terminal(tmp_path, capsys):
    from palign_hf.generation.store import Store
    from palign_hf.truncation.rows import PROBES

    about = {"student_name": HOSTILE, "criterion": {"name": HOSTILE, "verdict": HOSTILE}}
    Store(tmp_path / "a.sqlite", "a", about, PROBES).close()
    for more in ([], ["--json"]):
        assert main(["ledger", "show", str(tmp_path), *more]) == 0
        told = capsys.readouterr().out
        assert "red" in told and all(line.isprintable() for line in told.split("\n"))


def test_ledger_show(tmp_path, capsys):
    import asyncio

    from palign_hf.generation.store import Store
    from palign_hf.truncation.criteria import Probe
    from palign_hf.truncation.rows import PROBES

    about = {"student_name": "me/student", "criterion": {"name": "self-judge", "verdict": "margin", "prompt": "abc"}}
    ledger = Store(tmp_path / "f00.sqlite", "f00", about, PROBES)
    asyncio.run(ledger.record(b"p", Probe(3, "enough", 1.5, 0.9, True, 100, 60)))
    ledger.close()
    assert main(["ledger", "show", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "me/student" in told and "1 (1 enough)" in told and "60 from the cache (60.0%)" in told
    assert main(["ledger", "show", str(tmp_path / "f00.sqlite"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"] == {"enough": 1}
    (tmp_path / "f00.sqlite").unlink()
    for extra in tmp_path.glob("f00.sqlite-*"):
        extra.unlink()
    assert main(["ledger", "show", str(tmp_path)]) == 2
    assert "holds no ledger" in capsys.readouterr().err
