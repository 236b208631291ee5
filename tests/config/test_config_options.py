"""The command line: every setting is an option, read as YAML of its type, and errors are one line."""

import argparse

import pytest
from config_sample import Pilot, Sample

from palign_hf.config import ConfigError, Parser, add_options, describe, read_options, settings_table


NEEDED = ["--source.path", "a", "--student", "s"]


def parser() -> Parser:
    made = Parser(prog="palign sample")
    add_options(made, Sample)
    return made


def read(*arguments: str) -> Sample:
    return read_options(parser().parse_args([*NEEDED, *arguments]), Sample)


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--student", "123"], "student", "123"),
        (["--student", "null"], "student", "null"),
        (["--batch-size", "7"], "batch_size", 7),
        (["--batch_size=7"], "batch_size", 7),
        (["--cut", "step"], "cut", "step"),
        (["--mode", "3"], "mode", 3),
        (["--mode", "off"], "mode", "off"),
        (["--share", "5e-5"], "share", 5e-5),
        (["--heat", "null"], "heat", None),
        (["--weight", ".inf"], "weight", float("inf")),
        (["--search", "fixed(ratio=0.25)"], "search", "fixed(ratio=0.25)"),
        (["--search", "{name: ascend, confirm: 3}"], "search", {"name": "ascend", "confirm": 3}),
        (["--search", "12"], "search", "12"),
        (["--search", "a: b: c"], "search", "a: b: c"),
        (["--columns", "{question: ask}"], "columns", {"question": "ask"}),
        (["--sizes", "[1, 2]"], "sizes", [1, 2]),
        (["--sizes", "1", "2"], "sizes", [1, 2]),
        (["--sizes", "3"], "sizes", [3]),
        (["--stops", "['a', b]"], "stops", ("a", "b")),
        (["--stops", "a", "b c", "4"], "stops", ("a", "b c", "4")),
        (["--stops", "a"], "stops", ("a",)),
        (["--stops", "a=b", "c=d"], "stops", ("a=b", "c=d")),
        (["--parts", "a=b", "c=d=e"], "parts", {"a": "b", "c": "d=e"}),
        (["--parts", "a=b", "c"], "parts", ("a=b", "c")),
        (["--parts", "{a: b}"], "parts", {"a": "b"}),
        (["--trust"], "trust", True),
        (["--trust", "--no-trust"], "trust", False),
        (["--no-shown"], "shown", False),
        (["--engine", "null"], "engine", "null"),
        (["--pilot.rows", "3"], "pilot", Pilot(rows=3)),
        ([], "pilot", None),
    ],
)
def test_options_are_read_by_their_type(arguments, name, value):
    assert getattr(read(*arguments), name) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "`--batch-size 0` must be at least 1 and at most 100."),
        (["--batch-size", "x"], "`--batch-size x` must be a whole number."),
        (["--cut", "sentense"], "`--cut sentense` is unknown (nearest match: `sentence`). Choose one of `sentence`"),
        (["--columns", "{a: "], "`--columns {a: ` can't be read: while parsing a flow node"),
        (["--source.max-samples", "0"], "`--source.max-samples 0` must be at least 1."),
        (["--parts", "a=b", "a=c"], "`--parts a=b a=c` gives `a` twice. Leave one of them out."),
        (["--sizes", "1", "two"], "`--sizes 1 two` must be a list of whole numbers."),
        (["--sizes", "1", "{a: "], "`--sizes 1 {a: ` can't be read: while parsing a flow node"),
        (["--student", ""], "`--student ` must not be empty."),
        (["--set", "studnt=x"], "`--set studnt=x` has the unknown key `studnt` (nearest match: `student`)."),
    ],
)
def test_what_cannot_be_right_names_the_option(arguments, message):
    with pytest.raises(ConfigError) as refused:
        read(*arguments)
    assert str(refused.value).startswith(message) and "\n" not in str(refused.value)


def test_what_is_missing_is_said_at_once():
    with pytest.raises(ConfigError) as refused:
        read_options(parser().parse_args([]), Sample)
    assert str(refused.value) == (
        "This run lacks `source.path`, `student`: give `--source.path`, `--student` or add them to the recipe."
    )


def test_options_win_over_set_and_set_over_the_recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("source: {path: file}\nstudent: file\nbatch_size: 2\nsearch: file\n")
    given = ["--config", str(path), "--set", "student=set", "--set", "batch_size=3", "--batch-size", "4"]
    made = read_options(parser().parse_args(given), Sample)
    assert (made.search, made.student, made.batch_size) == ("file", "set", 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batchsize", "3"], "`--batchsize` is unknown here (nearest match: `--batch-size`)"),
        (["--batch", "3"], "`--batch` is unknown here (nearest match: `--batch-size`)"),
        (["--source-path=a"], "`--source-path` is unknown here (nearest match: `--source.path`)"),
        (["--student"], "argument --student: expected one argument"),
        (["more"], "`more` is unknown here"),
    ],
)
def test_a_misspelt_option_is_one_line_and_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        read(*arguments)
    told = capsys.readouterr().err
    assert left.value.code == 2 and told.startswith(f"palign: {message}") and told.count("\n") == 1


def test_help_shows_every_setting_with_default_choices_and_range():
    told = " ".join(parser().format_help().split())
    assert "--cut {sentence,paragraph,step}" in told and "how traces are cut (default: sentence)" in told
    assert "--batch-size N rows at once: 100% of them (at least 1 and at most 100; default: 10)" in told
    assert "--trust, --no-trust" in told and "--batch_size" not in told and "--engine ENGINE" in told
    assert "source: Where rows come from. --source.path TEXT file or folder (required)" in told
    assert (
        "--parts PART [PART ...]" in told
        and "--mode {auto,off}|N" in told
        and "--search TEXT|MAPPING" in told
        and "voice" not in told
    )


def test_the_table_of_the_docs_has_a_row_a_setting():
    lines = settings_table(Sample).splitlines()
    assert len(lines) == 2 + len(describe(Sample))
    assert "| `cut` | how traces are cut | one of `sentence`, `paragraph`, `step` | `sentence` |" in lines
    assert "| `source.max_samples` | at most so many rows | a whole number or null, at least 1 | `none` |" in lines
    assert "| `student` | who answers | text | required |" in lines
    assert not any("voice" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["--progress", "false"], "for `false` write `--no-progress`"),
        (["--progress=False"], "for `false` write `--no-progress`"),
        (["--no-progress", "true"], "for `true` write `--progress`"),
        (["--progress=maybe"], "for `maybe` write `--progress`, or write `--no-progress`"),
        (["--dry-run", "false"], "for `false` leave `--dry-run` out"),
    ],
)
def test_an_option_that_is_on_or_off_takes_no_value(words, instead, capsys):
    parser = Parser(prog="palign truncate")
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction)
    parser.add_argument("--dry-run", action="store_true")
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    flag = words[0].partition("=")[0]
    assert f"palign: `{flag}` takes no value: {instead}. See" in capsys.readouterr().err
