"""What can be said of the vLLM engine without vLLM: its settings on CPUs, and seeds that would end it."""

import asyncio
from types import SimpleNamespace

import pytest

from palign_hf.engines.base import EngineDied, EngineUnavailable, Sampling
from palign_hf.engines.vllm import VLLMEngine, _defaults


def test_on_a_cpu_prompts_are_read_whole():
    assert _defaults(True, {})["enable_chunked_prefill"] is False
    assert _defaults(True, {"max_num_seqs": 4})["enable_chunked_prefill"] is False
    assert _defaults(False, {}) == {}


@pytest.mark.parametrize(
    "given",
    [{"enable_chunked_prefill": True}, {"max_num_batched_tokens": 512}, {"long_prefill_token_threshold": 64}],
)
def test_unless_the_options_say_otherwise(given):
    assert "enable_chunked_prefill" not in _defaults(True, given)


@pytest.mark.parametrize(
    ("device", "pieces", "refused"), [("cpu", True, True), ("cpu", False, False), ("cuda", True, False)]
)
def test_a_seed_that_would_end_the_engine_is_refused(device, pieces, refused):
    engine = VLLMEngine("owner/student")
    engine._llm = SimpleNamespace(
        vllm_config=SimpleNamespace(
            device_config=SimpleNamespace(device_type=device),
            scheduler_config=SimpleNamespace(enable_chunked_prefill=pieces),
        )
    )
    if not refused:
        engine._check_seeds(Sampling(max_tokens=4, temperature=1.0, seed=3))
        return
    with pytest.raises(EngineUnavailable, match="can't draw with a `seed`.*Leave out the engine options"):
        asyncio.run(engine.generate([1, 2], Sampling(max_tokens=4, temperature=1.0, seed=3), "p"))


def test_nothing_is_answered_before_start():
    engine = VLLMEngine("owner/student")
    for asked in (engine.generate([1], Sampling(max_tokens=1), "p"), engine.reset_cache()):
        with pytest.raises(EngineDied, match="not running"):
            asyncio.run(asked)
    with pytest.raises(EngineDied):
        _ = engine.identity
    asyncio.run(engine.close())
