"""The process of a chain's steps, with a stage that only counts."""

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from palign_hf.config import setting
from palign_hf.pipeline import worker
from palign_hf.pipeline.plan import MISSING, ChainStep, State
from palign_hf.pipeline.recipe import read_chain
from palign_hf.pipeline.record import RunRecord, write_recipe
from palign_hf.pipeline.run import Wish, _keep
from palign_hf.runs.launch import Ending


@dataclass(frozen=True)
class Counted:
    """Settings of a stage of another package."""

    output_dir: str = setting(default="out", help="folder")


class Stage:
    """A stage of which some rows fail."""

    name, settings, together = "count", Counted, False

    def __init__(self, rows: int, failed: int) -> None:
        self.rows, self.failed = rows, failed

    def ready(self, settings):
        pass

    def forecast(self, settings):
        return "a text"

    def follow(self, settings, ending):
        return None

    @contextmanager
    def open(self, settings):
        ending = Ending(words="counted", failed=self.failed)
        yield SimpleNamespace(
            rows=range(self.rows), agree=lambda: None, work=lambda *given: None, finish=lambda processes: ending
        )


@pytest.mark.parametrize(("most", "failed", "status"), [(0, 0, 0), (0, 1, 1), (0.25, 1, 0), (0.25, 2, 1)])
def test_failed_rows_stop_the_chain_unless_the_recipe_allows_them(tmp_path, monkeypatch, capsys, most, failed, status):
    monkeypatch.setattr(worker, "find_stage", lambda name: Stage(4, failed))
    recipe = read_chain("toy/pipeline.yaml", [f"output_dir={tmp_path}", f"max_failed={most}"])
    step = ChainStep("count", "count", "counted", {"output_dir": "out"}, Counted())
    _keep(recipe, RunRecord(tmp_path), [step], "toy/pipeline.yaml", Wish())
    write_recipe(tmp_path, step)
    assert worker.work(tmp_path, [worker.hand_over(State(step, "0", MISSING))]) == status
    held, told = RunRecord(tmp_path).steps, capsys.readouterr().err
    if status:
        # The next command asks the failed rows again, so the step isn't done.
        assert held == {} and f"{failed / 4:.1%} of its rows failed, more than `max_failed={float(most)}`" in told
        assert told.endswith("Run the same command again: it asks those rows again.\n")
    else:
        assert held["count"]["failed"] == failed / 4 and "allows" not in told
