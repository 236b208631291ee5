"""What can be said of the vLLM engine without vLLM: its settings on CPUs, and seeds that would end it."""

import asyncio
from types import SimpleNamespace

import pytest

from palign_hf.engines.base import EngineDied, EngineUnavailable, Sampling
from palign_hf.engines.vllm import VLLMEngine, _defaults
from palign_hf.weights import BrokenWeights


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
    with pytest.raises(EngineUnavailable, match="can't use a `seed` with chunked.*Leave out the engine options"):
        asyncio.run(engine.generate([1, 2], Sampling(max_tokens=4, temperature=1.0, seed=3), "p"))


def test_nothing_is_answered_before_start():
    engine = VLLMEngine("owner/student")
    for asked in (engine.generate([1], Sampling(max_tokens=1), "p"), engine.reset_cache()):
        with pytest.raises(EngineDied, match="not running"):
            asyncio.run(asked)
    with pytest.raises(EngineDied):
        _ = engine.identity
    asyncio.run(engine.close())


def answering(monkeypatch, logprob=None, error=None):
    """An engine whose core was started, and answers its first question so."""
    closed = []
    llm = SimpleNamespace(
        model_config=SimpleNamespace(get_vocab_size=lambda: 64, max_model_len=512),
        shutdown=lambda timeout: closed.append(timeout),
        output_processor=SimpleNamespace(propagate_error=lambda error: None),
    )

    async def load(work):
        return llm, None

    async def ask(prompt_ids, params):
        if error is not None:
            raise error
        read = {token: SimpleNamespace(logprob=logprob) for token in prompt_ids}
        return SimpleNamespace(outputs=[SimpleNamespace(logprobs=[read])])

    engine = VLLMEngine("owner/student")
    monkeypatch.setattr("palign_hf.engines.vllm.load", load)
    monkeypatch.setattr(engine, "_ask", ask)
    return engine, closed


def test_a_student_with_nan_weights_is_refused_at_vllms_first_forward(monkeypatch):
    engine, closed = answering(monkeypatch, logprob=float("nan"))
    with pytest.raises(BrokenWeights, match="`owner/student` gives no probabilities"):
        asyncio.run(engine.start())
    assert closed and engine._llm is None


def test_a_core_that_dies_of_its_first_question_is_unavailable(monkeypatch):
    engine, closed = answering(monkeypatch, error=EngineDied("vLLM's engine core ended"))
    with pytest.raises(EngineUnavailable, match="died of its first question to the student `owner/student`"):
        asyncio.run(engine.start())
    assert closed


def test_a_student_that_gives_probabilities_starts(monkeypatch):
    engine, closed = answering(monkeypatch, logprob=-1.5)
    asyncio.run(engine.start())
    assert not closed


def test_a_student_with_missing_weights_never_reaches_vllm(monkeypatch, tmp_path):
    from safetensors.torch import load_file, save_file
    from tiny import save_student

    folder = save_student(tmp_path, weights=True)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    engine, closed = answering(monkeypatch, logprob=-1.5)
    engine._arguments["model"] = str(folder)
    with pytest.raises(BrokenWeights, match=r"1 weights are missing \(`model.norm.weight`\)"):
        asyncio.run(engine.start())
    assert not closed
    engine._arguments["hf_overrides"] = {"num_hidden_layers": 1}
    asyncio.run(engine.start())
