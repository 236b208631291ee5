"""A recipe's shards and what joins them: nothing is published before all of it is there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import load_dataset

from palign_hf.errors import UserError
from palign_hf.runs.shards import Shard
from palign_hf.truncation.stage import TRUNCATE, TraceSettings, TruncateConfig


@pytest.fixture
def config(student, fake, tmp_path) -> TruncateConfig:
    """Eight traces for the fake engine."""
    rows = [
        {
            "id": f"row-{at}",
            "question": f"What is {at}?",
            "trace": "One step. " * (at + 2),
            "answer": None,
            "source": "s",
        }
        for at in range(8)
    ]
    source = tmp_path / "traces.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TruncateConfig(
        traces=TraceSettings(source=str(source)),
        student=str(student),
        output_dir=str(tmp_path / "out"),
        engine="transformers",
        ledger=str(tmp_path / "ledger"),
    )


def published(config: TruncateConfig) -> list[str]:
    """The ids that anyone reads who loads the folder."""
    return load_dataset(config.output_dir, split="train")["id"]


def run_shard(config: TruncateConfig, shard: Shard) -> None:
    with TRUNCATE.open(config, shown=False) as run:
        run.work(shard, run.agree())


def finish(config: TruncateConfig, count: int) -> dict:
    with TRUNCATE.open(config, shown=False) as run:
        run.agree()
        run.finish(count)
    return json.loads((Path(config.output_dir) / "report.json").read_text())


def run(config: TruncateConfig, count: int) -> None:
    for index in range(count):
        run_shard(config, Shard(index, count))


def test_shards_come_back_in_order_and_leave_nothing_else(config, tmp_path):
    run(config, 3)
    assert finish(config, 3)["rows"] == 8
    assert list(published(config)) == [f"row-{at}" for at in range(8)]
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left == {"report.json", "report.md", *(Shard(index, 3).file_name for index in range(3))}


def test_an_interrupted_run_leaves_the_files_of_the_one_before(config, tmp_path):
    run(config, 1)
    finish(config, 1)
    before = (tmp_path / "out" / "data" / Shard().file_name).read_bytes()
    run_shard(config, Shard(0, 4))  # and then the machine goes down
    assert list(published(config)) == [f"row-{at}" for at in range(8)]
    assert (tmp_path / "out" / "data" / Shard().file_name).read_bytes() == before
    run(config, 2)
    finish(config, 2)
    assert list(published(config)) == [f"row-{at}" for at in range(8)]
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == [
        Shard(index, 2).file_name for index in range(2)
    ]


def test_a_folder_that_not_all_processes_share_is_named(config):
    run_shard(config, Shard(0, 2))
    with pytest.raises(UserError, match="rows of process 1 are not in `.*out`.*`output_dir` that all machines share"):
        finish(config, 2)


def test_a_foreign_result_is_refused_before_the_pilot_asks_and_replaced_when_told(config, fake, tmp_path):
    run(config, 1)
    finish(config, 1)
    fake.asked.clear()
    rows = Path(config.traces.source).read_text().splitlines(keepends=True)
    Path(config.traces.source).write_text("".join(rows[1:]))
    other = replace(config, pilot=4, ledger=str(tmp_path / "another"))
    with pytest.raises(UserError, match="holds the result of another run: rows `8` instead of `7`"):
        TRUNCATE.open(other, shown=False)
    assert fake.asked == []
    run(replace(other, overwrite=True, pilot=None), 1)
    assert finish(replace(other, overwrite=True, pilot=None), 1)["rows"] == 7


def test_a_misspelt_engine_option_is_refused_also_when_every_answer_is_known(config):
    run(config, 1)
    finish(config, 1)
    with pytest.raises(UserError, match="no option `thread`.*nearest match: `threads`"):
        replace(config, engine_options={"thread": 2})


def test_the_same_run_again_asks_nothing_and_gives_the_same(config, fake):
    run(config, 2)
    first = finish(config, 2)
    fake.asked.clear()
    run(config, 2)
    again = finish(config, 2)
    assert fake.asked == [] and again["asked"] == 0 and again["run"] == first["run"]
