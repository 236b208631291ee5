"""Samples in slots: the same to the bit whatever runs beside them, and what happens when one fails or nobody waits."""

import asyncio
from concurrent.futures import CancelledError
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from palign_hf.engines.base import EngineDied, RequestFailed, Sampling
from palign_hf.engines.batching import Request, SlotBatch
from palign_hf.engines.transformers import TransformersEngine, _faster_in_float32
from palign_hf.students import load_tokenizer, resolve_student
from palign_hf.toy import student_folder


SLOTS = 6


class Watched(SlotBatch):
    """Keeps the logits that each sample was drawn from."""

    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.seen: dict[tuple, list[torch.Tensor]] = {}

    def _append(self, rows, logits):
        for row, own in zip(rows, logits, strict=True):
            self.seen.setdefault((row.request, row.sample), []).append(own.clone())
        super()._append(rows, logits)


@cache
def toy(dtype):
    return AutoModelForCausalLM.from_pretrained(student_folder(), dtype=dtype).eval()


@cache
def tokenizer():
    return load_tokenizer(resolve_student(str(student_folder())))


@cache
def prompts(count=12):
    source = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 150, (count,), generator=source).tolist()
    return [tuple(torch.randint(5, 1000, (length,), generator=source).tolist()) for length in lengths]


def run(batch: SlotBatch, requests: list[Request], later: list[Request] = ()) -> None:
    """All requests; those of `later` come when others are under way."""
    batch.waiting.extend(requests)
    later = list(later)
    with torch.inference_mode():
        while batch.busy or later:
            if later:
                batch.waiting.append(later.pop(0))
            batch.step(lambda error: RequestFailed(str(error)))


@cache
def alone(dtype, prompt, sampling):
    """The answer without company, and the logits of each token of each sample."""
    batch, request = Watched(toy(dtype), SLOTS, tokenizer), Request(prompt, sampling)
    run(batch, [request])
    return request.future.result(), [batch.seen[request, sample] for sample in range(sampling.n)]


@settings(max_examples=12)
@given(st.data(), st.sampled_from(["float32", "bfloat16"]))
def test_a_sample_is_the_same_to_the_bit_in_any_company(data, dtype):
    torch.set_num_threads(1)
    kinds = [
        Sampling(max_tokens=12, temperature=1.0, n=2, seed=7),
        Sampling(max_tokens=30, temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.2, seed=3),
        Sampling(max_tokens=5),
    ]
    chosen = data.draw(st.lists(st.sampled_from(prompts()), min_size=1, max_size=8))
    requests = [Request(prompt, data.draw(st.sampled_from(kinds))) for prompt in chosen]
    cut = data.draw(st.integers(0, len(requests)))
    batch = Watched(toy(getattr(torch, dtype)), SLOTS, tokenizer)
    run(batch, requests[:cut], requests[cut:])
    for request in requests:
        answer, logits = alone(getattr(torch, dtype), request.prompt_ids, request.sampling)
        assert request.future.result() == answer
        for sample, wanted in enumerate(logits):
            assert all(map(torch.equal, batch.seen[request, sample], wanted))


def test_its_greedy_text_is_that_of_generate():
    model = toy(torch.float32)
    ids = prompts()[3]
    requests = [Request(prompt, Sampling(max_tokens=20)) for prompt in prompts()]
    run(SlotBatch(model, SLOTS, tokenizer), requests)
    wanted = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=20, do_sample=False
    )
    assert list(requests[3].future.result().samples[0].token_ids) == wanted[0, len(ids) :].tolist()


def test_more_samples_than_slots_all_come_and_differ():
    request = Request(prompts()[0], Sampling(max_tokens=8, temperature=1.5, n=3 * SLOTS + 1, seed=1))
    run(SlotBatch(toy(torch.float32), SLOTS, tokenizer), [request])
    samples = request.future.result().samples
    assert len(samples) == 3 * SLOTS + 1 and len({sample.token_ids for sample in samples}) > SLOTS


def test_memory_is_given_back_when_nothing_is_in_progress():
    batch = SlotBatch(toy(torch.float32), SLOTS, tokenizer)
    run(batch, [Request(prompts()[0], Sampling(max_tokens=4))])
    assert not batch.busy and all(layer.keys is None for layer in batch._layers)


def test_a_request_that_nobody_waits_for_leaves_its_slots():
    batch = SlotBatch(toy(torch.float32), SLOTS, tokenizer)
    long = Request(prompts()[0], Sampling(max_tokens=500, temperature=1.0, n=SLOTS, seed=0))
    short, never = (Request(prompts()[at], Sampling(max_tokens=3)) for at in (1, 2))
    batch.waiting.extend([long, never, short])
    with torch.inference_mode():
        batch.step(RequestFailed)
        assert not short.future.done()
        assert long.future.cancel() and never.future.cancel()
        steps = 0
        while batch.busy:
            batch.step(RequestFailed)
            steps += 1
    assert steps <= 4 and len(short.future.result().samples) == 1
    with pytest.raises(CancelledError):
        long.future.result()


def test_a_prompt_that_cannot_be_read_fails_alone():
    broken, whole = Request((10**6,), Sampling(max_tokens=3)), Request(prompts()[0], Sampling(max_tokens=3))
    run(SlotBatch(toy(torch.float32), SLOTS, tokenizer), [broken, whole])
    with pytest.raises(RequestFailed, match="index out of range"):
        broken.future.result()
    assert whole.future.result() == alone(torch.float32, prompts()[0], Sampling(max_tokens=3))[0]


SHAPE = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def students():
    llama = LlamaConfig(**SHAPE, intermediate_size=64, max_position_embeddings=64)
    qwen = Qwen3Config(**SHAPE, intermediate_size=64, max_position_embeddings=64, num_key_value_heads=2, head_dim=8)
    gpt2 = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    opt = OPTConfig(**SHAPE, ffn_dim=64, max_position_embeddings=64, word_embed_proj_dim=32)
    bloom = BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)
    return [
        (LlamaForCausalLM, llama, True),
        (Qwen3ForCausalLM, qwen, True),
        (GPT2LMHeadModel, gpt2, True),
        (OPTForCausalLM, opt, True),
        # Its positions come from a mask of two dimensions.
        (BloomForCausalLM, bloom, False),
    ]


@pytest.mark.parametrize(("model_class", "config", "fits"), students())
def test_slots_are_for_models_that_answer_in_them_as_without(tmp_path, model_class, config, fits):
    torch.manual_seed(0)
    model_class(config).save_pretrained(tmp_path)
    engine = TransformersEngine(str(tmp_path), device="cpu", max_model_len=64)
    ids, sampling = [5, 9, 13], Sampling(max_tokens=9)

    async def answers():
        await engine.start()
        try:
            found = await asyncio.gather(*(engine.generate(ids[:end], sampling, "p") for end in (3, 2, 1)))
            return engine.capacity[0] > 1, [list(one.samples[0].token_ids) for one in found]
        finally:
            await engine.close()

    slots, found = asyncio.run(answers())
    assert slots is fits
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    plain.generation_config.eos_token_id = None
    for end, tokens in zip((3, 2, 1), found, strict=True):
        wanted = plain.generate(torch.tensor([ids[:end]]), max_new_tokens=9, do_sample=False)[0, end:].tolist()
        assert tokens == wanted[: len(tokens)]


@pytest.fixture
def engine():
    engine = TransformersEngine(str(student_folder()), device="cpu", max_num_seqs=SLOTS)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["p", "q"]), st.integers(1, 400)), min_size=1, max_size=8))
def test_a_score_is_the_same_to_the_bit_whatever_was_asked_before(engine, asked):
    source = torch.Generator().manual_seed(4)
    texts = {name: torch.randint(5, 1000, (400,), generator=source).tolist() for name in ("p", "q")}

    async def ask(one, name, end):
        return await one.score(texts[name][:end], (7, 11), name)

    for name, end in asked:
        found = asyncio.run(ask(engine, name, end))
        assert found.cached_tokens % 64 == 0 and found.cached_tokens < end
        engine._caches.clear() if end % 3 == 0 else None
        key = name, end
        if key not in SCORES:
            held = dict(engine._caches)
            engine._caches.clear()
            SCORES[key] = asyncio.run(ask(engine, name, end)).logprobs
            engine._caches.clear()
            engine._caches.update(held)
        assert found.logprobs == SCORES[key]


# What each prompt has without anything cached.
SCORES: dict[tuple[str, int], tuple[float, ...]] = {}


def test_scores_come_between_the_tokens_of_long_samples(engine):
    async def both():
        long = asyncio.create_task(
            engine.generate(list(prompts()[0]), Sampling(max_tokens=400, temperature=1.0, seed=0), "p")
        )
        for _ in range(5):
            score = await engine.score(list(prompts()[1]), (7, 11), "q")
        early = not long.done()
        long.cancel()
        return score, early

    score, early = asyncio.run(both())
    assert early and score.prompt_tokens == len(prompts()[1])


def test_a_failed_pass_fails_what_is_in_progress_and_nothing_after_it(engine, monkeypatch):
    asked = [list(prompt) for prompt in prompts()[:3]]
    sampling = Sampling(max_tokens=6, temperature=1.0, seed=2)

    async def ask():
        return await asyncio.gather(*(engine.generate(ids, sampling, "p") for ids in asked), return_exceptions=True)

    whole = asyncio.run(ask())
    forward = engine._batch._forward
    with monkeypatch.context() as patched:
        patched.setattr(engine._batch, "_forward", lambda rows: forward(rows) / torch.zeros(0))
        failed = asyncio.run(ask())
    assert all(isinstance(one, RequestFailed) and "could not compute" in str(one) for one in failed)
    assert asyncio.run(ask()) == whole


def test_a_device_that_failed_is_gone_for_all(engine, monkeypatch):
    def fail(rows):
        raise torch.AcceleratorError("device-side assert")

    monkeypatch.setattr(engine._batch, "_forward", fail)
    with pytest.raises(EngineDied, match="device failed: AcceleratorError: device-side assert"):
        asyncio.run(engine.generate(list(prompts()[0]), Sampling(max_tokens=4), "p"))


def test_closing_ends_what_is_in_progress(engine):
    async def close():
        long = asyncio.create_task(
            engine.generate(list(prompts()[0]), Sampling(max_tokens=1500, temperature=1.0, seed=0), "p")
        )
        await engine.score(list(prompts()[1]), (7, 11), "q")
        await engine.close()
        with pytest.raises(EngineDied, match="not running"):
            await long

    asyncio.run(close())


def test_the_number_of_slots_is_bounded_by_memory(monkeypatch):
    monkeypatch.setattr("palign_hf.engines.transformers._SLOTS", {"cpu": (32, 40 * 2**20), "cuda": (1, 0)})
    engine = TransformersEngine(str(student_folder()), device="cpu", max_model_len=1024)
    asyncio.run(engine.start())
    slots, tokens = engine.capacity
    held = 40 * 2**20 / tokens
    asyncio.run(engine.close())
    assert 1 < slots < 32 and slots * 1024 * held <= 40 * 2**20 < 2 * slots * 1024 * held


@pytest.mark.parametrize(
    ("parameters", "units", "dtype", "chosen"),
    [
        (3e6, True, torch.bfloat16, True),
        (135e6, True, torch.bfloat16, False),
        (135e6, False, torch.bfloat16, True),
        (7e9, False, torch.bfloat16, False),
        (3e6, False, torch.float32, False),
    ],
)
def test_a_cpu_computes_small_students_in_float32(monkeypatch, parameters, units, dtype, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": units})

    class Model:
        def num_parameters(self):
            return parameters

    Model.dtype = dtype
    assert _faster_in_float32(Model()) is chosen
