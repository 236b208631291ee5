"""The public face of the trainer: TRL's arguments, documented, with examples that run, on the TRL that was tested."""

import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from trl import SFTTrainer

from palign_hf.training.config import PAlignConfig
from palign_hf.training.trainer import PAlignTrainer


ROOT = Path(__file__).parents[2]


def test_the_constructor_takes_the_arguments_of_sfttrainer():
    """Fails when a release of TRL adds, moves or drops an argument."""
    own, base = (inspect.signature(one.__init__).parameters for one in (PAlignTrainer, SFTTrainer))
    assert [(one.name, one.kind, one.default) for one in own.values()] == [
        (one.name, one.kind, one.default) for one in base.values()
    ]


def test_all_arguments_reach_sfttrainer(monkeypatch):
    taken = {}

    def constructor(self, *args, **named):
        taken.update(inspect.signature(original).bind(self, *args, **named).arguments)
        raise InterruptedError

    original = SFTTrainer.__init__
    names = [name for name in inspect.signature(original).parameters if name not in ("self", "model", "args")]
    given = {name: object() for name in names}
    monkeypatch.setattr(SFTTrainer, "__init__", constructor)
    model = type("Model", (), {"config": type("Config", (), {"_name_or_path": "tiny"})()})()
    with pytest.raises(InterruptedError):
        PAlignTrainer(model, PAlignConfig("x", use_cpu=True, bf16=False), **given)
    assert {name: taken[name] for name in names} == given and taken["model"] is model


def test_trl_is_bounded_to_the_minor_that_the_invariance_tests_run_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (bound,) = (Requirement(one) for one in project["dependencies"] if Requirement(one).name == "trl")
    major, minor = map(int, version("trl").split(".")[:2])
    assert {str(one) for one in bound.specifier} == {f">={major}.{minor}", f"<{major}.{minor + 1}"}
