"""Messages in the words of the command line: what was typed as an option is spoken of as one."""

import argparse
import shlex

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.cli import main
from palign_hf.config import Parser, add_options
from palign_hf.config.options import as_typed
from palign_hf.truncation.stage import TruncateConfig


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()
    for verb in ("look", "inspect"):
        inner = verbs.add_parser(verb)
        inner.add_argument("source")
        inner.add_argument("--max-samples", "-l", type=int)
        inner.add_argument("--columns", nargs="+", metavar="TARGET=COLUMN")
        inner.add_argument("--content-ids", action="store_true")
    run = verbs.add_parser("run")
    run.add_argument("--batch_size", "--batch-size")
    run.add_argument("--overwrite", action=argparse.BooleanOptionalAction)
    run.add_argument("--traces.split")
    run.add_argument("--traces.revision")
    run.add_argument("--revision")
    run.add_argument("--engine_options", "--engine-options")
    return parser


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`max_samples=0` must be", "`--max-samples 0` must be"),
        ("pass `content_ids=True` to", "pass `--content-ids` to"),
        ("`split='test'`", "`--traces.split test`"),
        ("with `overwrite=True`.", "with `--overwrite`."),
        ("`split='a b'`", "`--traces.split 'a b'`"),
        ("`batch_size=-1`", "`--batch-size -1`"),
        ("`max_samples=N`", "`--max-samples N`"),
        ("`split=...`", "`--traces.split ...`"),
        ("`columns={'answer': ...}`", "`--columns answer=...`"),
        ("`columns={'question': 'q', 'trace': 'my cot', ...}`", "`--columns question=q trace='my cot'`"),
        ("`columns=['a', 'b c']`", "`--columns a 'b c'`"),
        ("`columns=[..., ...]`", "`--columns ... ...`"),
        ("`columns={...}`", "`--columns TARGET=COLUMN`"),
        ("`engine_options={'tokens': 5, 'a': None}`", "`--engine-options '{tokens: 5, a: null}'`"),
        (
            "Leave `max_samples` out. Or leave `content_ids` out",
            "Leave `--max-samples` out. Or leave `--content-ids` out",
        ),
        ("two: `max_samples=0`, `batch_size=0`.", "two: `--max-samples 0`, `--batch-size 0`."),
    ],
)
def test_arguments_become_options(parser, message, said):
    assert as_typed(message, parser) == said


@pytest.mark.parametrize(
    "message",
    [
        "the column `max_samples` is missing",  # a name of the data
        "`unknown=3`",
        "`content_ids=False`",  # can't be typed
        "`revision='main'`",  # the traces' or the student's: not clear
        "`--columns question=ask` has no column",
        "`dataset.map(f, max_samples=3)`",
        "`source='x'`",  # not an option
        "leave `help_me` out",
        "max_samples=0",
    ],
)
def test_all_else_stays_as_it_is(parser, message):
    assert as_typed(message, parser) == message


@given(value=st.one_of(st.text(st.characters(exclude_characters="`")), st.integers(), st.booleans()))
def test_the_shell_and_yaml_give_the_value_back(parser, value):
    said = as_typed(f"`split={value!r}`", parser)
    flag, typed = shlex.split(said.strip("`"))
    assert flag == "--traces.split"
    assert typed == value if isinstance(value, str) else yaml.safe_load(typed) == value


@given(st.text())
def test_never_fails(parser, text):
    as_typed(text, parser)
    as_typed(f"`max_samples={text}`", parser)


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "wrong.jsonl"
    path.write_text('{"question": "q?", "trace": "One. \\\\boxed{2}", "mine": "3"}\n')
    return str(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-samples", "0"], "palign: `--max-samples 0` must be at least 1. Leave `--max-samples` out"),
        (["--columns", "qestion=question"], "palign: `--columns qestion=...`: a trace has no `qestion`"),
        (["--columns", "question=qestion"], "palign: `--columns question=qestion`: the dataset has no `qestion`"),
        (["--known", "limo"], "palign: `--known limo` reads"),
        (["--revision", "main"], "palign: `--revision main` has no meaning for `wrong.jsonl`. Leave `--revision` out"),
    ],
)
def test_the_command_says_what_was_typed(file, options, said, capsys):
    assert main(["traces", "inspect", file, *options]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(said) and "={" not in told


def test_inspect_warns_of_the_teacher_as_gold(file, capsys):
    assert main(["traces", "inspect", file]) == 0
    told = capsys.readouterr().out
    assert "warning    1 of 1 rows have the teacher's own answer as gold" in told and "`--columns answer=...`" in told
    assert main(["traces", "inspect", file, "--columns", "answer=mine"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_an_option_that_is_only_named_has_no_empty_value(parser):
    said = "Give another file or folder with `revision=`, or `traces.split=`, or with `max_samples=`."
    assert as_typed(said, parser).startswith("Give another file or folder with `revision=`")
    assert as_typed("point `batch_size=` at it", parser) == "point `--batch-size ...` at it"
    assert "''" not in as_typed(said, parser) and "`--max-samples ...`" in as_typed(said, parser)


def test_messages_about_ledgers_name_an_option_that_can_be_given():
    said = "`/d/x.sqlite` holds probes of another. Give another file or folder with `ledger=`."
    whole = Parser(prog="palign")
    add_options(whole, TruncateConfig)
    assert as_typed(said, whole).endswith("Give another file or folder with `--ledger TEXT`.")
