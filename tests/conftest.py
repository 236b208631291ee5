"""Settings of every test: offline, quiet, and a cache of its own, set before any Hugging Face library is imported."""

import os
import tempfile
from pathlib import Path

import pytest


os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HOME=tempfile.mkdtemp(prefix="palign-test-home-"),
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real traces and benchmarks, where the checkout has them beside it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real traces) beside the repository")
    return SHARED
