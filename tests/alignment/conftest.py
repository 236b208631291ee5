"""Runs with an engine that needs no model."""

from pathlib import Path

import pytest
import tiny
from speaker import Speaker


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Speaker:
    """The engine that every runner of the test gets."""
    engine = Speaker(tiny.fast(tiny.byte_level()))
    monkeypatch.setattr("palign_hf.asking.runner.make_engine", lambda *given, **options: engine)
    return engine


@pytest.fixture(scope="session")
def pupil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder with a tokenizer and a config; the speaker needs no weights."""
    return tiny.save_student(tmp_path_factory.mktemp("students") / "tiny")
