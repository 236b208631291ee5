"""What the release before has written is read: its ledgers answer, its prefixes are a table like ours."""

import os
import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from palign_hf import PrefixTruncation
from palign_hf.schema import PREFIXES, check_table
from palign_hf.toy.world.problems import toy_traces
from palign_hf.truncation.report import Report


FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format-1"


@pytest.fixture
def prefixes(tmp_path) -> Dataset:
    return Dataset.from_parquet(str(FORMAT_1 / "prefixes.parquet"), cache_dir=str(tmp_path / "cache"))


def test_its_prefixes_are_a_table_like_ours(prefixes):
    check_table(prefixes.select_columns(list(PREFIXES.columns)), PREFIXES)
    report = Report.of(prefixes)
    assert report.rows == 6 and report.statuses["sufficient"] == 6 and report.asked is None
    assert prefixes["trace"] == toy_traces("test", 6)["trace"]


def test_its_ledger_answers_what_was_asked_before(prefixes, tmp_path, monkeypatch):
    (ledger,) = FORMAT_1.glob("*.sqlite")
    shutil.copy(ledger, tmp_path)
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    traces = toy_traces("test", 6)
    with PrefixTruncation("palign-toy", engine="transformers", ledger=str(tmp_path), progress=False) as truncation:
        assert Path(truncation.ledger_path).name == ledger.name
        found = truncation(traces[:])
        usage = truncation.usage
    assert found["prefix_segments"] == list(prefixes["prefix_segments"])
    known = {(row["id"], probe["segments"]): probe["margin"] for row in prefixes.to_list() for probe in row["probes"]}
    asked_before = [
        (name, probe["segments"], probe["margin"])
        for name, probes in zip(found["id"], found["probes"], strict=True)
        for probe in probes
        if (name, probe["segments"]) in known
    ]
    assert all(known[name, cut] == margin for name, cut, margin in asked_before)
    assert usage.asked == usage.probes - len(asked_before) < usage.probes / 2
