"""What the package exports is documented: every argument, what comes back, and an example that runs as it stands."""

import doctest
import inspect
import re
from dataclasses import fields
from types import ModuleType
from typing import Any

import pytest
from finished_runs import prefixes_run
from hub_double import Double
from trl import SFTConfig

import palign_hf
from palign_hf.schema import Table


TABLES = [name for name in palign_hf.__all__ if isinstance(getattr(palign_hf, name), Table)]
CALLED = [name for name in palign_hf.__all__ if name not in TABLES]


def documented(name: str) -> str:
    found = getattr(palign_hf, name)
    return inspect.cleandoc((type(found) if name in TABLES else found).__doc__ or "")


def arguments(name: str) -> list[str]:
    """The arguments of an exported name; of settings that extend TRL's, those that are new."""
    found = getattr(palign_hf, name)
    if name in TABLES:
        return [one.name for one in fields(found)]
    if name == "PAlignConfig":
        return [one for one in found.__annotations__ if one not in SFTConfig.__annotations__]
    return [one for one in inspect.signature(found).parameters if one != "self"]


@pytest.fixture
def finished(hub: Double, online: None, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A finished run in the working folder, and a Hub whose user is `me`."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.state.new_token("me", "write"))
    monkeypatch.chdir(tmp_path)
    prefixes_run(tmp_path / "runs" / "palign-toy" / "prefixes")


def test_there_are_no_others():
    assert sorted(palign_hf.__all__) == sorted(palign_hf._HOMES)
    public = {name for name, value in vars(palign_hf).items() if not isinstance(value, ModuleType)}
    assert {name for name in public if not name.startswith("_")} <= {"Any", "TYPE_CHECKING", "import_module"}


@pytest.mark.parametrize("name", palign_hf.__all__)
def test_every_argument_is_documented_once_and_in_order(name):
    section = re.split(r"^(?:Attributes|Returns|Raises|Example):", documented(name).split("Args:\n")[1], flags=re.M)[0]
    assert re.findall(r"^    (\w+) \(", section, re.MULTILINE) == arguments(name)


@pytest.mark.parametrize("name", palign_hf.__all__)
def test_what_a_call_returns_is_documented(name):
    found: Any = getattr(palign_hf, name)
    called = getattr(found, "__call__", None) if isinstance(found, type) else found  # noqa: B004
    returns = name in CALLED and inspect.isfunction(called)
    assert ("Returns:\n" in documented(name)) == returns


@pytest.mark.parametrize("name", palign_hf.__all__)
def test_the_example_runs(name, finished, capsys):
    (block,) = re.findall(r"^Example:\n\n```python\n(.*?)^```", documented(name), re.MULTILINE | re.DOTALL)
    assert f"palign_hf import {name}" in block or re.search(rf"palign_hf import .*\b{name}\b", block)
    if ">>>" not in block:
        exec(compile(block, name, "exec"), {})
        assert capsys.readouterr().out.strip()
        return
    example = doctest.DocTestParser().get_doctest(block, {}, name, None, None)
    assert len(example.examples) > 1
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(example, out=said.append).failed == 0, "".join(said)
