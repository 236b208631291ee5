"""Settings of every test: offline, quiet, one thread, and a cache of its own, set before any library is imported."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings


if TYPE_CHECKING:
    from hub_double import Double
    from speaker import Speaker


os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HOME=tempfile.mkdtemp(prefix="palign-test-home-"),
    # Two files are tested at a time: of more threads each would wait for those of the other. Engines of vLLM, left to
    # themselves, bind theirs to the same core, all of them.
    OMP_NUM_THREADS="1",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
)

# How long an example takes says more about what else the machine does; time has its benchmarks.
settings.register_profile("palign", deadline=None)
# CI draws the same examples each time: a change is judged by what it changes. Elsewhere each run draws new ones.
settings.register_profile("ci", settings.get_profile("palign"), derandomize=True)
settings.load_profile("palign")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take minutes go first, then those with many tests: no worker is left alone with one at the end."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("integration")}
        tests = Counter(item.path for item in items)
        items.sort(key=lambda item: (item.path not in slow, 0 if item.path in slow else -tests[item.path]))


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    """A process remembers the secrets of its run; those of one test are no secrets of the next."""
    monkeypatch.setattr("palign_hf.redact._remembered", {})


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory) -> Path:
    """A student folder without weights worth the name: enough for all that asks no judge."""
    from tiny import save_student

    return save_student(tmp_path_factory.mktemp("tiny-student"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real traces and benchmarks, where the checkout has them beside it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real traces) beside the repository")
    return SHARED


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> "Speaker":
    """An engine without a model, which every runner of the test gets."""
    import tiny
    from speaker import Speaker

    engine = Speaker(tiny.fast(tiny.byte_level()))
    monkeypatch.setattr("palign_hf.generation.runner.make_engine", lambda *given, **options: engine)
    return engine


@pytest.fixture(scope="session")
def pupil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder with a tokenizer and a config; the speaker needs no weights."""
    import tiny

    return tiny.save_student(tmp_path_factory.mktemp("students") / "tiny")


@pytest.fixture
def hub(tmp_path: Path) -> "Iterator[Double]":
    """An empty double of the Hub, with LFS; no client may have called what it doesn't have."""
    from hub_double import Double

    with Double(tmp_path / "hub") as double:
        yield double
    assert not double.unknown()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `HfApi` work in this process, although tests are offline; without Xet, which is for fresh processes."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture
def at_hub(hub: "Double", online: None, monkeypatch: pytest.MonkeyPatch) -> "Double":
    """The double is this process's Hub, and its user is logged in."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    address = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    return hub
