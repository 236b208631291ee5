"""`--dry-run`: what a run would do, said without an engine and without a trace on the disk, and near what it costs."""

import re

import pytest

from palign_hf.cli import main
from palign_hf.toy.demo.measure import computed_tokens
from palign_hf.toy.world.problems import toy_traces
from palign_hf.truncation.schedule import Prior
from palign_hf.truncation.search import Ascend
from palign_hf.truncation.stage import _ends, _mean, forecast
from palign_hf.truncation.transform import PrefixTruncation


TOY = ["--student", "palign-toy", "--traces.source", "palign-toy", "--traces.split", "test"]


@pytest.fixture
def dry(tmp_path, monkeypatch, capsys):
    """Says what a dry run says, where an engine can't be started and nothing may be written."""

    def make(*given, **options):
        raise AssertionError("an engine was made")

    monkeypatch.setattr("palign_hf.generation.runner.make_engine", make)

    def run(*options):
        places = ["--output-dir", str(tmp_path / "out"), "--ledger", str(tmp_path / "ledger")]
        assert main(["truncate", *TOY, *places, "--dry-run", *options]) == 0
        assert list(tmp_path.iterdir()) == []
        lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
        return dict(lines)

    return run


def figure(told: str) -> int:
    return int(re.search(r"about ([\d,]+)", told)[1].replace(",", ""))


def test_a_dry_run_says_rows_tokens_and_an_estimate_and_writes_nothing(dry):
    told = dry("--traces.max-samples", "50")
    assert list(told) == ["student", "search", "rows", "traces", "questions", "computed", "time", "ledger"]
    assert (told["student"], told["rows"]) == ("palign-toy", "50") and told["search"].startswith("ascend; result ")
    assert "if prefixes end at 32% of a trace on average, as in published data" in told["computed"]


def test_a_part_of_the_rows_stands_for_all(dry):
    some, more = dry("--traces.max-samples", "150"), dry("--traces.max-samples", "450")
    assert "from 150 of them" in more["traces"] and "from" not in some["traces"]
    assert figure(more["computed"]) == pytest.approx(3 * figure(some["computed"]), rel=0.1)


@pytest.mark.parametrize("search", ["fixed(ratio=0.25)", "full", "none"])
def test_a_rule_computes_nothing(dry, search):
    told = dry("--traces.max-samples", "20", "--search", search)
    assert told["computed"] == "nothing: this search asks no judge" and "questions" not in told


def test_every_cut_is_a_question(dry):
    told = dry("--traces.max-samples", "20", "--search", "every")
    cuts = toy_traces("test", 20)
    assert figure(told["questions"]) == sum(_segments(row) + 1 for row in cuts)
    audited = dry("--traces.max-samples", "20", "--audit", "1.0")
    assert figure(audited["questions"]) > 2 * figure(dry("--traces.max-samples", "20")["questions"])


def _segments(row) -> int:
    from palign_hf.segmentation import cuts

    return len(cuts(row["trace"]))


def test_rows_that_cannot_be_judged_are_counted(dry):
    told = dry("--traces.max-samples", "20", "--max-model-len", "200")
    assert re.fullmatch(r"20, \d+ of them empty or too long to be judged", told["rows"])


@pytest.mark.parametrize("search", ["ascend", "binary"])
def test_the_estimate_is_near_what_the_student_costs(search, tmp_path):
    """The toy student, asked for real; it wavers, which the estimate leaves out, as it says."""
    traces = toy_traces("test", 24)
    truncation = PrefixTruncation(
        "palign-toy", search=search, engine="transformers", ledger=str(tmp_path), progress=False
    )
    said = forecast(truncation, traces)
    with truncation:
        rows = traces.map(truncation, batched=True, load_from_cache_file=False)
        measured = computed_tokens(truncation.judge(), rows) * len(traces)
    assert f"about {said.prompt_tokens:,} prompt tokens" in str(said) and said.written_tokens == 0
    print(f"{search}: {said.prompt_tokens:,} tokens forecast, {measured:,.0f} measured")
    assert 0.75 * measured <= said.prompt_tokens <= 1.25 * measured


def test_a_prior_of_ones_own_is_named():
    search = Ascend(prior=Prior(((0, 0), (0.5, 1.0), (1.0, 1.0)), 0.0))
    truncation = PrefixTruncation("palign-toy", search=search, engine="transformers")
    said = str(forecast(truncation, toy_traces("test", 10)))
    assert "end at 25% of a trace on average, by the prior of this search" in said


def test_a_device_is_named_with_its_time_and_memory(dry):
    told = dry("--traces.max-samples", "20", "--device", "l4")
    assert told["time"].endswith("on one l4") and "of 24 GB on one l4" in told["memory"]
    assert "an estimate from peak rates, not measured" in " ".join(f"{name} {value}" for name, value in told.items())


def test_a_verdict_in_words_is_written(tmp_path):
    criterion = {"name": "self-judge", "verdict": "generate", "max_tokens": 64}
    truncation = PrefixTruncation("palign-toy", criterion=criterion, engine="transformers", ledger=str(tmp_path))
    said = forecast(truncation, toy_traces("test", 5))
    assert said.most_written == 64 * said.requests and said.written_tokens == 16 * said.requests


def test_the_ends_that_are_simulated_have_the_mean_of_the_prior():
    prior = Prior()
    ends = [_ends(prior, (at + 0.5) / 1000) for at in range(1000)]
    assert sum(end > 1 for end in ends) == 30 and ends == sorted(ends)
    found = [end for end in ends if end <= 1]
    assert sum(found) / len(found) == pytest.approx(_mean(prior), abs=0.002)
