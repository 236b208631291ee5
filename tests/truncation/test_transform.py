"""The map transform over an engine that answers by rule: rows, types, caches, resume, and how it ends."""

import asyncio
import contextlib
import importlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import tiny
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets.fingerprint import Hasher

from palign_hf import PrefixTruncation
from palign_hf.engines.base import EngineUnavailable
from palign_hf.errors import UserError
from palign_hf.generation import runner as sessions
from palign_hf.generation.jobs import MOST_CHARACTERS
from palign_hf.generation.runner import StudentRunner
from palign_hf.generation.runner import close_all as _close_all
from palign_hf.prompts import JUDGE, LABELS, Template
from palign_hf.schema import PREFIXES, TRACES, SchemaError, check_table
from palign_hf.segmentation import cuts
from palign_hf.truncation.criteria import ENOUGH, SelfJudge
from palign_hf.truncation.search import Ascend, Binary, Fixed, Prior, make_search


HERE = Path(__file__).parent
QUESTION = "How many?"
STEP = "Then the next number is one more than the last. "
FREE = {"name": "self-judge", "verdict": "generate"}
FORMATS = ("numpy", "arrow", "pandas")


def traces(rows: list[tuple], **extra) -> Dataset:
    columns = {
        "id": [f"row-{at}" for at in range(len(rows))],
        "question": [question for question, _ in rows],
        "trace": [trace for _, trace in rows],
        "answer": [None] * len(rows),
        "source": ["made"] * len(rows),
    }
    features = dict(TRACES.features) | {name: feature for name, (_, feature) in extra.items()}
    return Dataset.from_dict(columns | {name: values for name, (values, _) in extra.items()}, Features(features))


def saved(rows: Dataset, folder: Path) -> Dataset:
    """The same rows from a file: only those have a cache."""
    rows.to_parquet(folder / "traces.parquet")
    return Dataset.from_parquet(str(folder / "traces.parquet"), cache_dir=str(folder / "cache"))


def steps(count: int) -> str:
    return "".join(f"{STEP[:-2]} plus {at}. " for at in range(count))


@pytest.fixture
def make(student, tmp_path):
    """Transforms on the tiny student with a ledger of the test's own, closed at its end."""
    made = []

    def one(**settings) -> PrefixTruncation:
        given = {"engine": "transformers", "ledger": str(tmp_path / "ledgers"), "progress": False} | settings
        made.append(PrefixTruncation(given.pop("student", str(student)), **given))
        return made[-1]

    yield one
    for transform in made:
        transform.close()


@pytest.fixture(scope="module")
def judge(student):
    from palign_hf.students import load_tokenizer, resolve_student

    return SelfJudge().bind(load_tokenizer(resolve_student(str(student))), "tiny", 4096)


def needs(judge, trace: str, segments: int, question: str = QUESTION) -> int:
    """Tokens of the prompt at a cut."""
    ends = [0, *cuts(trace)]
    return len(judge.prompt.problem(question, trace).ids(ends[segments]))


@pytest.fixture
def enough_after(fake, judge):
    """From now on a prompt suffices if it is as long as that of the first so many steps, or longer."""

    def tell(segments: int) -> None:
        limit = needs(judge, steps(20), segments)
        fake.margin = lambda tokens: tokens - limit + 0.5

    tell(6)
    return tell


ROWS = [(QUESTION, steps(20)), (QUESTION, steps(12)), (QUESTION, steps(3)), (QUESTION, steps(30))]


# Rows and types


def test_a_map_yields_prefixes_with_exactly_their_types(make, enough_after):
    rows = traces(ROWS)
    found = rows.map(make(), batched=True, batch_size=2)
    assert found.features == PREFIXES.features
    check_table(found, PREFIXES)
    assert found["id"] == rows["id"]
    assert found["status"] == ["sufficient", "sufficient", "full_trace", "sufficient"]
    assert found["prefix_segments"] == [6, 6, 3, 6]


def test_a_first_batch_of_nulls_does_not_decide_the_types(make, enough_after):
    rows = traces([(QUESTION, steps(20)), (QUESTION, steps(12)), (QUESTION, ""), (QUESTION, steps(3))])
    found = rows.map(make(), batched=True, batch_size=2)
    assert found.features == PREFIXES.features
    assert found["reason"][:2] == [None, None] and None not in found["reason"][2:]
    assert found["answer"] == [None] * 4


@pytest.mark.parametrize("search", ["ascend", "binary", "linear", "fixed(ratio=0.3)", "full", "none"])
def test_a_prefix_is_the_beginning_of_its_trace_in_every_row(make, enough_after, search):
    rows = traces([*ROWS, (QUESTION, "caf\u00e9 \u4e2d\u6587\u3002\n\n" + steps(9)), (QUESTION, ""), (None, "x")])
    for row in rows.map(make(search=search), batched=True):
        assert row["prefix"] == (row["trace"] or "")[: row["prefix_end"]]
        if row["status"] == "skipped":
            assert (row["prefix"], row["prefix_segments"], row["prefix_ratio"], row["probes"]) == ("", None, None, [])
            continue
        ends = [0, *cuts(row["trace"])]
        assert (row["n_segments"], row["prefix_end"]) == (len(ends) - 1, ends[row["prefix_segments"]])
        assert row["prefix_ratio"] == row["prefix_tokens"] / row["trace_tokens"]


def test_other_columns_pass_through_with_their_types(make, enough_after):
    nested = {"name": Value("string"), "scores": List(Value("float32")), "kind": ClassLabel(names=["a", "b"])}
    extra = {
        "level": ([0, 2, 1, 0], ClassLabel(names=["easy", "medium", "hard"])),
        "tags": ([["a"], [], ["b", "c"], []], List(Value("string"))),
        "nested": ([{"name": "x", "scores": [1.5], "kind": 1}] * 4, nested),
        "pairs": ([[{"k": 1}], [], [{"k": 2}], []], List({"k": Value("int8")})),
        "blank": ([None] * 4, Value("int64")),
        "raw": ([b"\x00", b"", None, b"x"], Value("binary")),
        "when": ([0, 1, 2, 3], Value("timestamp[ms]")),
    }
    rows = traces(ROWS, **extra)
    found = rows.map(make(), batched=True, batch_size=3)
    assert found.column_names == [*PREFIXES.columns, *extra]
    assert found.features == Features(dict(PREFIXES.features) | {name: kind for name, (_, kind) in extra.items()})
    for name in extra:
        assert found[name] == rows[name]


def test_a_table_of_prefixes_can_be_searched_again(make, enough_after):
    first = traces(ROWS).map(make(search="full"), batched=True)
    again = first.map(make(), batched=True)
    assert again.features == PREFIXES.features
    assert again["prefix_segments"] == [6, 6, 3, 6]


def test_a_batch_without_arrow_behind_it_is_read_too(make, enough_after):
    batch = traces(ROWS, level=([1, 2, 3, 4], Value("int64")))[:]
    found = make()(batch)
    assert found["prefix_segments"] == [6, 6, 3, 6] and found["level"] == [1, 2, 3, 4]


def test_a_streaming_dataset_is_mapped_like_another(make, enough_after, tmp_path):
    rows = traces(ROWS, level=([1, 2, 3, 4], Value("int64")))
    whole = rows.map(make(), batched=True)
    streamed = list(rows.to_iterable_dataset().map(make(), batched=True, batch_size=3))
    assert [{name: row[name] for name in whole.column_names} for row in streamed] == whole.to_list()
    with pytest.raises(SchemaError, match="got a single row"):
        next(iter(rows.to_iterable_dataset().map(make())))


def test_a_stream_gives_rows_as_they_end_and_draws_no_more_than_it_needs(make, enough_after):
    drawn = []

    def endless() -> Iterator[dict]:
        for at in range(10**9):
            drawn.append(at)
            yield {"id": f"row-{at}", "question": f"{QUESTION} {at}", "trace": steps(9), "answer": None, "source": "s"}

    found = make().stream(endless())
    first = [next(found) for _ in range(3)]
    assert [row["id"] for row in first] == ["row-0", "row-1", "row-2"]
    assert set(first[0]) == set(PREFIXES.columns) and first[0]["prefix"] == steps(9)[: first[0]["prefix_end"]]
    found.close()
    assert len(drawn) < 10_000 and not asyncio.all_tasks(make().runner._open())


def test_a_searched_row_lets_go_of_its_tokens_before_it_waits_for_others(make, enough_after, monkeypatch):
    from palign_hf.truncation import transform as module

    seen, columns = [], module.prefix_columns

    def watched(row, *given):
        seen.append(row.case.prompt)
        return columns(row, *given)

    monkeypatch.setattr(module, "prefix_columns", watched)
    found = traces(ROWS).map(make(), batched=True)
    assert found["prefix_segments"] == [6, 6, 3, 6] and seen == [None] * 4


def test_a_text_that_is_no_utf_8_is_skipped_and_harms_no_other(make, enough_after):
    rows = [{"id": "a", "question": QUESTION, "trace": steps(9)}, {"id": "b", "question": "\ud800", "trace": steps(9)}]
    found = list(make().stream([row | {"answer": None, "source": "s"} for row in rows]))
    assert [row["status"] for row in found] == ["sufficient", "skipped"]
    assert "the text is broken: it holds U+D800" in found[1]["reason"]


@pytest.mark.parametrize("which", ["question", "trace"])
def test_a_row_too_large_for_any_context_is_skipped_before_it_is_cut_or_tokenised(
    make, enough_after, monkeypatch, which
):
    module = importlib.import_module("palign_hf.truncation.rows")
    monkeypatch.setattr(module, "cuts", lambda text, how: pytest.fail("cut") if len(text) > 10**6 else cuts(text, how))
    row = {"question": QUESTION, "trace": steps(9), "answer": None, "source": "s"}
    large = row | {"id": "b", which: "x" * (MOST_CHARACTERS + 1)}
    found = list(make().stream([row | {"id": "a"}, large]))
    assert [one["status"] for one in found] == ["sufficient", "skipped"]
    assert found[1]["reason"] == (
        f"the {which} has 4,000,001 characters, more than any context holds (4,000,000 are read at most)"
    )


# What a status means


def one_row(transform: PrefixTruncation, question, trace) -> dict:
    return traces([(question, trace)]).map(transform, batched=True)[0]


def test_a_shorter_prefix_that_suffices_is_sufficient(make, enough_after):
    row = one_row(make(), QUESTION, steps(20))
    assert (row["status"], row["reason"], row["prefix_segments"]) == ("sufficient", None, 6)
    assert 0 < row["prefix_ratio"] < 0.5
    assert {probe["segments"] for probe in row["probes"]} >= {5, 6}
    assert all((probe["margin"] > 0) == (probe["verdict"] == ENOUGH) for probe in row["probes"])


def test_no_prefix_at_all_may_suffice(make, fake):
    fake.margin = lambda tokens: 3.0
    row = one_row(make(), QUESTION, steps(20))
    assert (row["status"], row["reason"], row["prefix"], row["prefix_segments"]) == ("sufficient", None, "", 0)
    assert (row["prefix_ratio"], row["prefix_tokens"], row["n_segments"]) == (0.0, 0, 20)


def test_a_whole_trace_that_alone_suffices_is_a_full_trace(make, enough_after):
    row = one_row(make(), QUESTION, steps(6))
    assert (row["status"], row["reason"]) == ("full_trace", "only the whole trace was judged sufficient")
    assert (row["prefix"], row["prefix_ratio"], row["prefix_segments"]) == (steps(6), 1.0, 6)


def test_a_trace_of_which_nothing_suffices_is_a_full_trace(make, enough_after):
    row = one_row(make(), QUESTION, steps(5))
    assert row["status"] == "full_trace"
    assert row["reason"] == "nothing was judged sufficient, not even the whole trace"
    assert (row["prefix"], row["prefix_ratio"]) == (steps(5), 1.0)


@pytest.mark.parametrize(
    ("question", "trace", "reason"),
    [
        (QUESTION, "", "the trace is empty"),
        (QUESTION, None, "the trace is empty"),
        ("", steps(3), "the question is empty"),
        (None, None, "the question is empty"),
    ],
)
def test_an_empty_row_is_skipped_and_starts_nothing(make, fake, question, trace, reason):
    transform = make()
    row = one_row(transform, question, trace)
    assert (row["status"], row["reason"], row["prefix"], row["prefix_end"]) == ("skipped", reason, "", 0)
    assert fake.asked == [] and fake.starts == 0 and not Path(transform.ledger_path).exists()


def test_a_problem_of_which_no_cut_fits_is_skipped_with_both_numbers(make, judge, fake):
    needed = needs(judge, steps(4), 0) + 1
    row = one_row(make(max_model_len=needed - 1), QUESTION, steps(4))
    assert row["status"] == "skipped"
    assert re.findall(r"\d+", row["reason"]) == [str(needed), str(needed - 1)]
    assert fake.asked == []
    assert one_row(make(max_model_len=needed), QUESTION, steps(4))["status"] != "skipped" or fake.asked


def test_a_problem_that_fits_in_part_is_searched_as_far_as_it_fits(make, judge, fake, enough_after):
    max_model_len = needs(judge, steps(20), 10) + 1
    row = one_row(make(max_model_len=max_model_len), QUESTION, steps(20))
    assert (row["status"], row["prefix_segments"]) == ("sufficient", 6)
    assert max(tokens for _, tokens in fake.asked) < max_model_len


def test_nothing_sufficient_in_the_part_that_fits_is_skipped(make, judge, fake):
    fake.margin = lambda tokens: -1.0
    max_model_len = needs(judge, steps(20), 10) + 1
    row = one_row(make(max_model_len=max_model_len), QUESTION, steps(20))
    assert row["status"] == "skipped"
    assert re.findall(r"\d+", row["reason"]) == ["10", "20", str(row["trace_tokens"]), str(max_model_len)]
    assert row["probes"] and row["prefix"] == ""


def test_a_refused_request_is_an_error_of_its_row_alone(make, fake, judge):
    at_nothing = needs(judge, steps(1), 0)
    fake.margin = lambda tokens: float("nan") if tokens == at_nothing else 1.0
    rows = traces([(QUESTION, steps(9)), ("How many of them are there?", steps(9))])
    found = rows.map(make(search="linear"), batched=True)
    assert found["status"] == ["error", "sufficient"]
    assert found["reason"][0] == "no answer at 0 segments: the request was refused | by rule"
    assert found["prefix"][0] == "" and found["probes"][0] == []


def test_an_error_is_asked_again_and_an_answer_is_not(make, fake):
    fake.margin = lambda tokens: float("nan")
    assert one_row(make(), QUESTION, steps(9))["status"] == "error"
    fake.margin = lambda tokens: 1.0
    assert one_row(make(), QUESTION, steps(9))["status"] == "sufficient"
    asked = len(fake.asked)
    assert one_row(make(), QUESTION, steps(9))["status"] == "sufficient"
    assert len(fake.asked) == asked


def test_a_text_without_a_verdict_is_an_error(make, fake, student):
    from transformers import AutoTokenizer

    said = AutoTokenizer.from_pretrained(student)("I can't tell.").input_ids
    fake.text = lambda tokens: said
    row = one_row(make(criterion=FREE, search="linear"), QUESTION, steps(9))
    assert (row["status"], row["reason"]) == ("error", "no verdict in the judge's text at 0 segments")
    assert [(probe["margin"], probe["verdict"]) for probe in row["probes"]] == [(None, "unparsable")]
    asked = len(fake.asked)
    enough = AutoTokenizer.from_pretrained(student)(LABELS[0]).input_ids
    fake.text = lambda tokens: enough
    assert one_row(make(criterion=FREE, search="linear"), QUESTION, steps(9))["status"] == "sufficient"
    assert len(fake.asked) == asked + 1  # as the report says: it is asked again


def test_an_audit_asks_the_curve_without_changing_the_cut(make, enough_after):
    plain, audited = (one_row(make(audit=share), QUESTION, steps(20)) for share in (0.0, 1.0))
    assert plain["prefix"] == audited["prefix"]
    assert {probe["segments"] for probe in audited["probes"]} >= {0, 1, 3, 20}
    assert len(audited["probes"]) > len(plain["probes"])


@pytest.mark.parametrize(
    ("search", "status", "segments"),
    [("fixed(ratio=0.5)", "fixed", 5), ("full", "full_trace", 10), ("none", "fixed", 0)],
)
def test_a_rule_needs_no_engine_no_template_and_no_ledger(make, tmp_path, monkeypatch, search, status, segments):
    def no_engine(*given, **options):
        raise AssertionError("an engine was made")

    monkeypatch.setattr("palign_hf.generation.runner.make_engine", no_engine)
    base = tiny.save_student(tmp_path / "base", tiny.fast(tiny.byte_level(), template=None))
    transform = make(student=str(base), search=search)
    row = one_row(transform, QUESTION, steps(10))
    assert (row["status"], row["prefix_segments"], row["probes"]) == (status, segments, [])
    assert row["reason"] == f"search `{transform.describe()['search']['name']}` asks no judge"
    assert not Path(transform.ledger_path).exists()


def test_a_student_without_a_template_is_refused_as_judge(make, tmp_path, fake):
    base = tiny.save_student(tmp_path / "base", tiny.fast(tiny.byte_level(), template=None))
    with pytest.raises(UserError, match=r"has no chat template"):
        one_row(make(student=str(base)), QUESTION, steps(10))
    assert fake.starts == 0


# What is refused before any model loads


@pytest.fixture
def nothing_loads(monkeypatch):
    def load(*given, **options):
        raise AssertionError("a session was opened")

    monkeypatch.setattr("palign_hf.generation.runner.load_tokenizer", load)


def test_a_missing_column_names_its_nearest_match(make, nothing_loads):
    rows = traces(ROWS).rename_column("trace", "traces")
    with pytest.raises(SchemaError, match=r"Column `trace` \(nearest match: `traces`\) missing"):
        rows.map(make(), batched=True)


def test_a_single_row_gets_the_advice_to_batch(make, nothing_loads):
    with pytest.raises(SchemaError, match=r"got a single row.*batched=True, batch_size=1000"):
        traces(ROWS).map(make())


@pytest.mark.parametrize("kind", FORMATS)
def test_a_formatted_dataset_gets_the_advice_to_take_the_format_off(make, nothing_loads, kind):
    with pytest.raises(SchemaError, match=r"with_format\(None\)"):
        traces(ROWS).with_format(kind).map(make(), batched=True)


def test_repeated_ids_in_a_batch_are_refused(make, nothing_loads):
    batch = traces(ROWS)[:] | {"id": ["a", "b", "a", "b"]}
    with pytest.raises(SchemaError, match="2 ids are repeated: `a`, `b`"):
        make()(batch)


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("trace", 7, "int"),
        ("question", ["a"], "list"),
        ("answer", 42, "int"),
        ("id", None, "NoneType"),
        ("id", 1, "int"),
    ],
)
def test_a_value_that_is_no_text_is_refused(make, nothing_loads, column, value, kind):
    batch = traces(ROWS)[:]
    batch[column] = [*batch[column][:2], value, batch[column][3]]
    with pytest.raises(SchemaError, match=rf"Row 3 of the batch \(id `.*`\) has a `{column}` of type `{kind}`"):
        make()(batch)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "vlm"}, r"`engine='vlm'` is unknown \(nearest match: `vllm`\)"),
        ({"engine": "server"}, "needs the address of a server"),
        ({"search": "ascnd"}, "`ascnd` is no search"),
        ({"granularity": "sentences"}, r"`granularity='sentences'` is unknown \(nearest match: `sentence`\)"),
        ({"audit": 2.0}, r"`audit=2.0` must be at least 0.0 and at most 1.0"),
        ({"max_model_len": 0}, "`max_model_len=0` must be at least 1"),
        ({"student": "/nowhere/student"}, "`/nowhere/student` is no folder"),
    ],
)
def test_a_setting_that_can_not_work_is_refused_at_once(make, settings, said):
    with pytest.raises(UserError, match=said):
        make(**settings)


# Fingerprints and the cache of `map`


def test_a_fingerprint_does_not_depend_on_how_the_run_is_carried_out(make, student, fake, tmp_path):
    transform = make()
    before, hashed = transform.fingerprint, Hasher.hash(transform)
    one_row(transform, QUESTION, steps(5))
    assert fake.starts == 1
    assert (transform.fingerprint, Hasher.hash(transform)) == (before, hashed)
    other = make(
        engine="server",
        engine_options={"urls": ["http://localhost:1/v1"]},
        ledger=str(tmp_path / "elsewhere"),
        progress=True,
        max_concurrency=3,
    )
    assert (other.fingerprint, Hasher.hash(other)) == (before, hashed)


def test_a_fingerprint_is_the_same_in_another_process(make, student):
    code = (
        "import sys\nfrom palign_hf import PrefixTruncation\nfrom datasets.fingerprint import Hasher\n"
        "one = PrefixTruncation(sys.argv[1], engine='transformers')\nprint(one.fingerprint, Hasher.hash(one))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(student)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    transform = make()
    assert run.stdout.split() == [transform.fingerprint, Hasher.hash(transform)]


def test_a_fingerprint_changes_with_everything_that_changes_a_row(make, tmp_path):
    wording = Template("judge", JUDGE.text + "!", JUDGE.slots)
    variants = [
        {},
        {"search": "binary"},
        {"search": "ascend(confirm=3)"},
        {"search": Ascend(prior=Prior(never=0.1))},
        {"search": "fixed(ratio=0.25)"},
        {"search": "fixed(tokens=25)"},
        {"criterion": FREE},
        {"criterion": SelfJudge(template=wording)},
        {"criterion": SelfJudge(labels=("yes", "no"))},
        {"granularity": "paragraph"},
        {"max_model_len": 1000},
        {"audit": 0.5},
        {"engine_options": {"dtype": "float16"}},
        {"engine_options": {"dtype": "bfloat16"}},
    ]
    made = [make(**settings) for settings in variants]
    assert len({one.fingerprint for one in made}) == len(made)
    assert len({Hasher.hash(one) for one in made}) == len(made)


def test_a_fingerprint_is_of_the_student_s_content_wherever_it_lies(make, student, tmp_path):
    copy = shutil.copytree(student, tmp_path / "copy")
    assert make(student=str(copy)).fingerprint == make().fingerprint
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rope_theta": 7.0}))
    assert make(student=str(copy)).fingerprint != make().fingerprint


def test_settings_that_mean_the_same_have_one_fingerprint(make):
    assert make(search="ascend").fingerprint == make(search=Ascend()).fingerprint
    assert make(search=Ascend().describe()).fingerprint == make().fingerprint
    assert make(search="fixed(ratio=0.25)").fingerprint == make(search=Fixed(ratio=0.25)).fingerprint
    assert make(criterion=SelfJudge()).fingerprint == make().fingerprint


def test_a_second_map_is_taken_from_the_cache(make, fake, enough_after, tmp_path):
    rows = saved(traces(ROWS), tmp_path)
    first = rows.map(make(), batched=True, batch_size=2)
    asked = len(fake.asked)
    transform = make(ledger=str(tmp_path / "another ledger"), max_concurrency=1)
    again = rows.map(transform, batched=True, batch_size=2)
    assert len(fake.asked) == asked and fake.starts == 1
    assert again.cache_files == first.cache_files and again[:] == first[:]
    assert transform.usage.probes == 0
    other = rows.map(make(search="binary"), batched=True, batch_size=2)
    assert other.cache_files != first.cache_files


def test_a_copy_keeps_the_settings_and_leaves_the_engine(make, fake, enough_after):
    transform = make(max_concurrency=3, engine_options={"dtype": "float32"})
    one_row(transform, QUESTION, steps(9))
    copy = pickle.loads(pickle.dumps(transform))
    try:
        assert copy.__getstate__() == transform.__getstate__()
        assert copy.settings == transform.settings and copy.settings.engine_options == {"dtype": "float32"}
        assert (copy.fingerprint, copy.usage.probes, copy.runner.started) == (transform.fingerprint, 0, False)
        assert one_row(copy, QUESTION, steps(9)) == one_row(transform, QUESTION, steps(9))
    finally:
        copy.close()


def test_a_rule_runs_in_several_processes(make, tmp_path):
    rows = traces([(QUESTION, steps(count)) for count in range(2, 10)])
    alone = rows.map(make(search="fixed(ratio=0.5)"), batched=True)
    spread = rows.map(make(search="fixed(ratio=0.5)"), batched=True, batch_size=2, num_proc=2)
    assert spread[:] == alone[:] and spread.features == alone.features


# The ledger


def test_a_run_again_asks_nothing_and_gives_the_same_bytes(make, fake, enough_after, tmp_path):
    rows = traces([*ROWS, (QUESTION, "")])
    files = []
    for attempt in ("first", "second"):
        transform = make()
        found = rows.map(transform, batched=True, batch_size=3)
        transform.close()
        found.to_parquet(tmp_path / f"{attempt}.parquet")
        found.to_json(tmp_path / f"{attempt}.jsonl")
        files.append([(tmp_path / f"{attempt}.{kind}").read_bytes() for kind in ("parquet", "jsonl")])
        asked, starts = len(fake.asked), fake.starts
        if attempt == "first":
            first, usage = (asked, starts), transform.usage
    assert files[0] == files[1]
    assert (asked, starts) == first
    assert transform.usage.asked == 0
    assert transform.usage.probes == usage.probes == usage.asked


def test_a_run_that_broke_goes_on_where_it_stopped(make, fake, enough_after):
    rows, rule = traces(ROWS), fake.margin

    def breaks(tokens: int) -> float:
        if len(fake.asked) > 12:
            raise RuntimeError("the machine went down")
        return rule(tokens)

    fake.margin = breaks
    with pytest.raises(RuntimeError, match="went down"):
        rows.map(make(max_concurrency=1), batched=True)
    broken, fake.margin = list(fake.asked[:12]), rule
    fake.asked.clear()
    found = rows.map(make(max_concurrency=1), batched=True)
    assert found["prefix_segments"] == [6, 6, 3, 6]
    assert not set(broken) & set(fake.asked)


def test_two_searches_share_a_ledger(make, fake, enough_after):
    rows = traces(ROWS)
    ascend, linear = make(), make(search="linear")
    assert ascend.ledger_path == linear.ledger_path and ascend.fingerprint != linear.fingerprint
    rows.map(ascend, batched=True)
    asked = set(fake.asked)
    fake.asked.clear()
    found = rows.map(linear, batched=True)
    assert found["prefix_segments"] == [6, 6, 3, 6]
    assert not asked & set(fake.asked)
    assert linear.usage.asked == len(fake.asked) < linear.usage.probes


def test_the_same_problem_twice_is_asked_once(make, fake, enough_after):
    found = traces([(QUESTION, steps(20))] * 3).map(make(), batched=True)
    assert len(set(map(repr, ({k: v for k, v in row.items() if k != "id"} for row in found)))) == 1
    assert len(fake.asked) == len(set(fake.asked)) == len(found[0]["probes"])


# How it ends


def test_closing_twice_is_fine_and_a_later_call_opens_again(make, fake, enough_after):
    transform = make()
    first = one_row(transform, QUESTION, steps(20))
    transform.close()
    transform.close()
    assert fake.closes == 1
    assert one_row(transform, QUESTION, steps(20)) == first
    assert fake.starts == 1  # all of it was in the ledger
    one_row(transform, QUESTION, steps(25))
    assert fake.starts == 2


@pytest.fixture(autouse=True)
def threads_before() -> Iterator[None]:
    """Threads that other tests have left in this process are not of the transforms of this one."""
    BEFORE.clear()
    BEFORE.update(threading.enumerate())
    yield
    BEFORE.clear()


BEFORE: set[threading.Thread] = set()


def loops() -> int:
    """How many transforms of this test have a thread of their own just now."""
    return sum(thread.name == "palign-student" for thread in set(threading.enumerate()) - BEFORE)


def test_a_with_block_closes(make, fake, enough_after):
    with make() as transform:
        one_row(transform, QUESTION, steps(20))
        assert loops() == 1
    assert fake.closes == 1 and loops() == 0
    with pytest.raises(ZeroDivisionError), transform:
        one_row(transform, QUESTION, steps(20))
        raise ZeroDivisionError
    assert loops() == 0


def test_a_loop_and_a_ledger_are_closed_even_if_the_engine_fails_to(make, fake, enough_after):
    async def fails() -> None:
        raise OSError("no such process")

    fake.close = fails
    transform = make()
    one_row(transform, QUESTION, steps(20))
    with pytest.raises(OSError, match="no such process"):
        transform.close()
    assert loops() == 0
    transform.close()


def test_an_engine_that_can_not_start_says_so(make, fake):
    async def fails() -> None:
        raise EngineUnavailable("no weights here")

    fake.start = fails
    with pytest.raises(EngineUnavailable, match="no weights here"):
        one_row(make(), QUESTION, steps(5))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A job in the background of a shell is started with SIGINT ignored, and so are its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupted_once(begun: threading.Event) -> Iterator[None]:
    """Ctrl-C as soon as the engine is asked and the main thread waits for it; both must be over soon after."""
    main = threading.main_thread().ident
    sent = []

    def waits(frame: FrameType | None) -> bool:
        if frame is None or frame.f_back is None:
            return False
        within = frame.f_back.f_code is StudentRunner.run.__code__
        return (within and frame.f_code is threading.Event.wait.__code__) or waits(frame.f_back)

    def interrupt() -> None:
        begun.wait(60)
        while not waits(sys._current_frames()[main]):
            time.sleep(0.01)
        sent.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        yield
    assert time.monotonic() - sent[0] < 30


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_run_and_leaves_nothing_behind(make, fake, enough_after):
    begun = threading.Event()

    async def hangs(prompt_ids, label_ids, problem):
        begun.set()
        await asyncio.Event().wait()

    transform, rows, score = make(), traces(ROWS), fake.score
    fake.score = hangs
    with interrupted_once(begun):
        rows.map(transform, batched=True)
    assert not asyncio.all_tasks(transform.runner._loop)
    fake.score = score
    assert one_row(transform, QUESTION, steps(20))["prefix_segments"] == 6


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_does_not_wait_for_ever_for_what_will_not_let_go(make, fake, monkeypatch):
    begun, release = threading.Event(), threading.Event()

    async def stubborn(prompt_ids, label_ids, problem):
        begun.set()
        while not release.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        raise asyncio.CancelledError

    monkeypatch.setattr(sessions, "_CLEANUP_S", 0.3)
    fake.score = stubborn
    transform = make()
    with interrupted_once(begun):
        one_row(transform, QUESTION, steps(20))
    left = asyncio.all_tasks(transform.runner._loop)
    assert left
    release.set()
    transform.close()
    assert all(task.done() for task in left)


def test_it_runs_inside_a_running_loop(make, enough_after):
    async def notebook() -> Dataset:
        return traces(ROWS).map(make(), batched=True)

    assert asyncio.run(notebook())["prefix_segments"] == [6, 6, 3, 6]


def test_what_was_left_open_is_closed_at_the_end(make, fake, enough_after):
    transform = make()
    one_row(transform, QUESTION, steps(20))
    _close_all()
    assert fake.closes == 1 and not transform.runner.started


def test_a_process_that_closes_nothing_ends_by_itself(student, tmp_path):
    code = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
from fake import FakeEngine
from palign_hf import PrefixTruncation
from palign_hf.generation import runner
class Engine(FakeEngine):
    async def close(self):
        print("engine closed")
runner.make_engine = lambda *given, **options: Engine()
one = PrefixTruncation({str(student)!r}, engine="transformers", ledger=sys.argv[1], progress=False)
one({{"id": ["a"], "question": ["Q?"], "trace": ["One. Two. Three."], "answer": [None], "source": ["s"]}})
print("done", flush=True)
if len(sys.argv) > 2:
    raise RuntimeError("lost")
"""
    calls = {0: [str(tmp_path / "well")], 1: [str(tmp_path / "ill"), "fail"]}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    running = {
        status: subprocess.Popen([sys.executable, "-c", code, *given], **pipes) for status, given in calls.items()
    }
    for status, process in running.items():
        with process:
            assert process.stdout.readline() == "done\n"
            assert process.wait(timeout=20) == status
            assert process.stdout.read() == "engine closed\n"


# The pilot


def test_a_pilot_puts_its_prior_into_the_search(make, fake, enough_after):
    rows = traces([(f"{QUESTION} {at}", steps(12 + at)) for at in range(8)])
    plain = make()
    with plain.with_pilot(rows, rows=4, seed=1) as tuned:
        assert tuned.fingerprint != plain.fingerprint and tuned.ledger_path == plain.ledger_path
        assert tuned.describe()["search"]["prior"] != plain.describe()["search"]["prior"]
        piloted = set(fake.asked)
        fake.asked.clear()
        found = rows.map(tuned, batched=True)
        assert not piloted & set(fake.asked)
        assert fake.starts == 1  # one engine served both
        assert {row["prefix_segments"] for row in found} <= {5, 6}
        again = make().with_pilot(rows, rows=4, seed=1)
        assert again.fingerprint == tuned.fingerprint
        again.close()
    assert make().with_pilot(rows, rows=4, seed=2).describe()["search"] != tuned.describe()["search"]


def test_after_a_pilot_the_tuned_search_is_walked(make, enough_after, tmp_path):
    enough_after(15)
    rows = traces([(f"{QUESTION} {at}", steps(120 + at)) for at in range(6)])
    tuned = make().with_pilot(rows, rows=3)
    search = make_search(tuned.describe()["search"])
    fresh = rows.map(make(search=search, ledger=str(tmp_path / "fresh")), batched=True)
    plain = rows.map(make(ledger=str(tmp_path / "plain")), batched=True)
    assert plain["probes"] != fresh["probes"]
    assert rows.map(tuned, batched=True)["probes"] == fresh["probes"]
    tuned.close()


def test_a_pilot_is_refused_where_it_means_nothing(make, fake, enough_after):
    rows = traces(ROWS)
    with pytest.raises(UserError, match="`binary` has no prior"):
        make(search=Binary()).with_pilot(rows)
    with pytest.raises(UserError, match="`fixed` has no prior"):
        make(search="fixed(ratio=0.2)").with_pilot(rows)
    fake.margin = lambda tokens: -1.0
    with pytest.raises(UserError, match="None of the 4 pilot rows has a sufficient prefix"):
        make(max_model_len=1000).with_pilot(rows)
    with pytest.raises(SchemaError, match="missing"):
        make().with_pilot(rows.remove_columns("trace"))


def test_another_search_takes_over_engine_and_ledger(make, fake, enough_after):
    rows = traces(ROWS)
    first = make()
    rows.map(first, batched=True)
    asked = list(fake.asked)
    second = first.with_search("binary")
    found = rows.map(second, batched=True)
    assert fake.starts == 1 and second.ledger_path == first.ledger_path
    assert len(set(fake.asked)) == len(fake.asked) and fake.asked[: len(asked)] == asked
    assert found["probes"] == rows.map(make(search="binary"), batched=True)["probes"]
    assert second.describe()["search"]["name"] == "binary" and first.describe()["search"]["name"] == "ascend"
    assert second.usage.probes > 0 and second.usage.asked < second.usage.probes
    second.close()
    assert fake.closes == 1
    first.close()
    assert fake.closes == 1


def test_copies_share_one_engine_whoever_is_closed(make, fake, enough_after):
    rows = traces(ROWS)
    with make() as judged:
        ruled = judged.with_search("full")
        assert set(rows.map(ruled, batched=True)["status"]) == {"full_trace"}
        assert fake.starts == 0  # a rule asks nobody
        rows.map(judged.with_search("linear"), batched=True)
        rows.map(ruled.with_search("ascend"), batched=True)
        assert judged.runner is ruled.runner and fake.starts == 1
    assert fake.closes == 1 and loops() == 0
    assert one_row(judged, QUESTION, steps(40))["prefix_segments"] == 6
    assert fake.starts == 2
    ruled.close()
    assert fake.closes == 2 and loops() == 0
    with pytest.raises(UserError, match="`ascent` is no search"):
        judged.with_search("ascent")


def test_a_borrowed_runner_serves_several_stages_and_is_closed_by_who_made_it(make, fake, student, enough_after):
    with StudentRunner(str(student), engine="transformers", max_model_len=2000) as runner:
        first, second = make(engine=runner), make(engine=runner, search="binary")
        for one in (first, second):
            assert one_row(one, QUESTION, steps(20))["prefix_segments"] == 6
            one.close()
        assert (fake.starts, fake.closes, runner.started) == (1, 0, True)
        assert first.fingerprint == make(max_model_len=2000).fingerprint
        assert make(engine=runner, max_model_len=1500).fingerprint == make(max_model_len=1500).fingerprint
    assert (fake.closes, loops()) == (1, 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_model_len": 3000}, "`max_model_len=3000` is more than the 2000 tokens of the `StudentRunner`"),
        ({"engine_options": {"dtype": "float32"}}, "`engine_options` belong to the `StudentRunner`"),
        ({"student": "palign-toy"}, "`engine` runs the student `.*`, not `palign-toy`"),
    ],
)
def test_a_runner_that_does_not_fit_is_refused(make, fake, student, given, said):
    with StudentRunner(str(student), engine="transformers", max_model_len=2000) as runner:
        with pytest.raises(UserError, match=said):
            make(engine=runner, **given)


def test_a_context_beyond_the_students_own_is_refused_before_an_engine_is_made(make, fake):
    with pytest.raises(
        UserError, match="`max_model_len=32768` is more than the student `.*` can read, which is 4096 tokens"
    ):
        one_row(make(max_model_len=32768), QUESTION, steps(5))
    assert fake.starts == 0


UNGUARDED = """
import sys
from palign_hf import PrefixTruncation
{guard}
{indent}one = PrefixTruncation(sys.argv[1], engine="vllm", ledger=sys.argv[2], progress=False)
{indent}row = {{"id": ["a"], "question": ["Q?"], "trace": ["One. Two."], "answer": [None], "source": ["s"]}}
{indent}try:
{indent}    one(row)
{indent}except Exception as error:
{indent}    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("guarded", [False, True])
def test_a_script_without_a_guard_is_told_so_before_an_engine_starts(student, tmp_path, guarded):
    script = tmp_path / "script.py"
    guard = ('if __name__ == "__main__":', "    ") if guarded else ("", "")
    script.write_text(UNGUARDED.format(guard=guard[0], indent=guard[1]))
    stopped = "import palign_hf.generation.runner as r\ndef no(*a, **k): raise RuntimeError('an engine was made')\n"
    script.write_text(stopped + "r.make_engine = no\n" + script.read_text())
    done = subprocess.run([sys.executable, script, student, tmp_path / "l"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = "RuntimeError an engine was made" if guarded else "UserError `"
    assert done.stdout.startswith(told)
    assert guarded or "script.py` uses an engine without a `__main__` guard" in done.stdout


def test_its_judge_can_be_had_without_an_engine(make, fake, judge):
    case, same = (one.open("x", QUESTION, steps(5), [0, 10, 40]) for one in (make().judge(), judge))
    assert case.tokens == same.tokens and case.prompt.ids(40) == same.prompt.ids(40)
    assert fake.starts == 0


# What it says of itself


def test_usage_and_report_tell_what_the_run_did(make, fake, enough_after):
    transform = make()
    found = traces([*ROWS, (QUESTION, "")]).map(transform, batched=True, batch_size=2)
    report = transform.report(found)
    assert (report.rows, report.failed) == (5, 0)
    assert report.statuses == {"sufficient": 3, "full_trace": 1, "fixed": 0, "skipped": 1, "error": 0}
    assert report.asked == transform.usage.asked == len(fake.asked) == sum(len(row["probes"]) for row in found)
    assert report.settings["fingerprint"] == transform.fingerprint
    assert report.settings["student_name"] == transform.describe()["student_name"]
    assert report.label_mass == pytest.approx(0.9)
    json.dumps(transform.describe())


def test_one_bar_counts_every_row_however_they_are_batched(make, enough_after, monkeypatch):
    counted, named = [], []

    class Watched:
        def __init__(self, total, what, shown, details, leave=True):
            named.append(what)
            counted.append([total, 0])

        def advance(self, rows=1, fresh=True):
            counted[-1][1] += rows

        def status(self, doing):
            pass

        def answered(self):
            pass

        def close(self):
            counted[-1].append("closed")

    monkeypatch.setattr("palign_hf.generation.transform.Progress", Watched)
    rows = traces([*ROWS, (QUESTION, "")])
    with make() as transform:
        transform.expect(len(rows))
        rows.map(transform, batched=True, batch_size=2)
    assert counted == [[5, 5, "closed"]]
    rows.map(make(), batched=True, batch_size=2)
    assert counted[1:] == [[2, 2, "closed"], [2, 2, "closed"], [1, 1, "closed"]]
    with make() as transform:
        transform.expect(len(rows), "search ascend")
    assert named == ["truncating"] * 4 + ["search ascend"]


def test_its_folder_of_ledgers_may_come_from_the_environment(make, monkeypatch, tmp_path):
    monkeypatch.setenv("PALIGN_HOME", str(tmp_path / "home"))
    assert make(ledger=None).ledger_path.startswith(str(tmp_path / "home" / "ledgers") + os.sep)
    monkeypatch.delenv("PALIGN_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert make(ledger=None).ledger_path.startswith(str(tmp_path / "user" / ".cache" / "palign" / "ledgers"))
