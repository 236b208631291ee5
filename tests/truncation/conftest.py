"""Sessions with an engine that needs no model."""

from pathlib import Path

import pytest
import tiny
from fake import FakeEngine


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine that every session of the test gets."""
    engine = FakeEngine()
    monkeypatch.setattr("palign_hf.generation.runner.make_engine", lambda *given, **options: engine)
    return engine


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder with a tokenizer and a config; the fake engine needs no weights."""
    return tiny.save_student(tmp_path_factory.mktemp("students") / "tiny")
