"""Real engines for real students: SmolLM2-135M out of its wheel, exported once and kept beside the checkout."""

from pathlib import Path

import pytest
from worked_sums import worked_sums

from palign_hf.toy.smollm2 import export


@pytest.fixture(scope="session")
def smollm2() -> str:
    """The folder of SmolLM2-135M-Instruct (25 s the first time)."""
    return str(export(Path(__file__).parents[2] / ".palign" / "smollm2-135m"))


@pytest.fixture(scope="session")
def traces():
    """Six problems with a worked trace each, long enough that prefixes span many blocks of the cache."""
    return worked_sums(6)
