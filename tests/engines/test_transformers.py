"""The growing cache against plain forwards of a tiny random model, and what is said when something fails."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from palign_hf.engines.base import (
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    RequestFailed,
    Sampling,
    sample_seed,
)
from palign_hf.engines.transformers import TransformersEngine


VOCABULARY, CONTEXT, LABELS = 64, 64, (7, 11)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    # Random weights of the usual size hardly tell prompts apart; these do.
    "initializer_range": 0.5,
}


def save(folder, model_class, config, **generation):
    torch.manual_seed(0)
    model = model_class(config)
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def every_token_is_cached(monkeypatch):
    """Blocks of one token, for prompts as short as these."""
    monkeypatch.setattr("palign_hf.engines.transformers._BLOCKS", {"cpu": 1, "cuda": 1})


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    return save(tmp_path_factory.mktemp("llama"), LlamaForCausalLM, LlamaConfig(**SHAPE, eos_token_id=2))


@pytest.fixture(scope="session")
def mistral(tmp_path_factory):
    config = MistralConfig(**SHAPE, sliding_window=8)
    return save(tmp_path_factory.mktemp("mistral"), MistralForCausalLM, config)


@pytest.fixture(scope="session")
def gemma(tmp_path_factory):
    """Layers with a window and layers without one."""
    config = Gemma3TextConfig(
        **SHAPE, head_dim=8, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
    )
    return save(tmp_path_factory.mktemp("gemma"), Gemma3ForCausalLM, config)


@pytest.fixture(scope="session")
def mamba(tmp_path_factory):
    """No keys and values at all: a recurrent state."""
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=4, num_hidden_layers=2)
    return save(tmp_path_factory.mktemp("mamba"), MambaForCausalLM, config)


@pytest.fixture
def opened():
    """Starts engines and closes them after the test."""
    engines = []

    def start(folder, **options):
        engine = TransformersEngine(folder, **{"device": "cpu", "max_model_len": CONTEXT} | options)
        asyncio.run(engine.start())
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        asyncio.run(engine.close())


def score(engine, prompt, labels=LABELS):
    return asyncio.run(engine.score(prompt, labels, "p"))


def generate(engine, prompt, **sampling):
    return asyncio.run(engine.generate(prompt, Sampling(**sampling), "p")).samples


@cache
def reference(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def plain(model, prompt):
    """All log-probabilities after `prompt`, without any cache."""
    with torch.inference_mode():
        return torch.log_softmax(model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1].float(), -1)


def check(engine, model, prompt, cached):
    read, truth = score(engine, prompt), plain(model, prompt)
    assert read.logprobs == pytest.approx([float(truth[label]) for label in LABELS], abs=1e-4)
    assert read.top_is_label == (int(truth.argmax()) in LABELS)
    assert (read.prompt_tokens, read.cached_tokens) == (len(prompt), cached)


TEXT = [1, *(3 + (7 * place) % 60 for place in range(40))]
QUESTION = [60, 61]


def test_the_tiny_model_tells_prompts_apart(llama):
    """Else the comparisons below would pass with any cache."""
    model = reference(llama)
    margins = [float(plain(model, [*TEXT[:end], *QUESTION])[7]) for end in range(5, 40, 5)]
    assert max(margins) - min(margins) > 0.5


def test_ascending_probes_read_only_what_is_new(llama, opened):
    engine, model = opened(llama), reference(llama)
    seen = 0
    for end in (5, 12, 13, 30, 41):
        check(engine, model, [*TEXT[:end], *QUESTION], cached=seen)
        seen = end


def test_descending_probes_cut_the_cache_back(llama, opened):
    engine, model = opened(llama), reference(llama)
    check(engine, model, [*TEXT[:40], *QUESTION], cached=0)
    for end in (30, 13, 12, 5):
        check(engine, model, [*TEXT[:end], *QUESTION], cached=end)


def test_bisecting_probes(llama, opened):
    engine, model = opened(llama), reference(llama)
    before = 0
    for end in (20, 30, 25, 27, 26):
        check(engine, model, [*TEXT[:end], *QUESTION], cached=min(before, end))
        before = end


def test_a_repeated_prompt_computes_its_last_token_again(llama, opened):
    engine, model = opened(llama), reference(llama)
    check(engine, model, TEXT, cached=0)
    check(engine, model, TEXT, cached=len(TEXT) - 1)
    check(engine, model, TEXT[:-1], cached=len(TEXT) - 2)


def test_an_unrelated_prompt_starts_afresh(llama, opened):
    engine, model = opened(llama), reference(llama)
    check(engine, model, TEXT, cached=0)
    check(engine, model, [5, *TEXT], cached=0)
    check(engine, model, [9], cached=0)
    check(engine, model, [9, 10], cached=1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=12)),
        min_size=2,
        max_size=8,
    )
)
def test_any_order_of_prompts_reads_as_without_a_cache(llama, steps):
    """Each prompt keeps some of the one before and goes on its own way."""
    engine, model = TransformersEngine(llama, device="cpu"), reference(llama)
    asyncio.run(engine.start())
    prompt = []
    for kept, more in steps:
        before, prompt = prompt, [*prompt[:kept], *more]
        check(engine, model, prompt, cached=shared(before, prompt))
    asyncio.run(engine.close())


def shared(before, prompt):
    length = 0
    while length < min(len(before), len(prompt) - 1) and before[length] == prompt[length]:
        length += 1
    return length


@pytest.mark.parametrize("family", ["mistral", "gemma", "mamba"])
def test_layers_that_cannot_be_cut_back_are_computed_afresh(request, opened, family):
    folder = request.getfixturevalue(family)
    engine, model = opened(folder), reference(folder)
    for end in (5, 20, 35, 12, 12, 6, 40):
        check(engine, model, [*TEXT[:end], *QUESTION], cached=0)


def test_any_number_of_labels_in_their_order(llama, opened):
    engine, truth = opened(llama), plain(reference(llama), TEXT)
    order = torch.argsort(truth, descending=True).tolist()
    read = score(engine, TEXT, (order[3], order[0], order[1]))
    assert read.logprobs == pytest.approx([float(truth[order[place]]) for place in (3, 0, 1)], abs=1e-4)
    assert read.top_is_label
    assert not score(engine, TEXT, (order[1], order[2])).top_is_label
    assert score(engine, TEXT, tuple(range(VOCABULARY))).label_mass == pytest.approx(1.0, abs=1e-4)


def test_questions_at_once_are_answered_one_after_another(llama, opened):
    engine, model = opened(llama), reference(llama)
    prompts = [[*TEXT[:end], *QUESTION] for end in (30, 8, 22, 15, 40)] + [[9, 8, 7]]

    async def run():
        return await asyncio.gather(*(engine.score(prompt, LABELS, "p") for prompt in prompts))

    for prompt, read in zip(prompts, asyncio.run(run()), strict=True):
        assert read.logprobs == pytest.approx([float(plain(model, prompt)[label]) for label in LABELS], abs=1e-4)


def greedy(model, prompt, steps, stops):
    ids = list(prompt)
    for _ in range(steps):
        ids.append(int(plain(model, ids).argmax()))
        if ids[-1] in stops:
            break
    return tuple(ids[len(prompt) :])


def test_greedy_text_is_the_argmax_again_and_again(llama, opened):
    engine, model = opened(llama), reference(llama)
    (answer,) = generate(engine, TEXT[:9], max_tokens=12)
    expected = greedy(model, TEXT[:9], 12, {2})
    assert answer.token_ids == expected
    assert answer.finish_reason == ("stop" if expected[-1] == 2 else "length")


def test_a_text_that_stops_is_told_from_one_that_is_cut(llama, opened):
    """The model's stop token is set to one that it is known to say."""
    engine, model = opened(llama), reference(llama)
    said = greedy(model, TEXT[:9], 12, set())
    stop = next(token for token in said[1:] if token != said[0])
    engine._model.generation_config.eos_token_id = [stop, 2]
    whole = said.index(stop) + 1
    (answer,) = generate(engine, TEXT[:9], max_tokens=12)
    assert (answer.token_ids, answer.finish_reason) == (said[:whole], "stop")
    (answer,) = generate(engine, TEXT[:9], max_tokens=whole)
    assert (answer.token_ids, answer.finish_reason) == (said[:whole], "stop")
    (answer,) = generate(engine, TEXT[:9], max_tokens=whole - 1)
    assert (answer.token_ids, answer.finish_reason) == (said[: whole - 1], "length")


def test_a_model_without_stop_token_is_always_cut(llama, opened):
    engine = opened(llama)
    engine._model.generation_config.eos_token_id = None
    (answer,) = generate(engine, TEXT[:9], max_tokens=15)
    assert (len(answer.token_ids), answer.finish_reason) == (15, "length")


def test_seeded_samples_come_again_and_differ_from_each_other(llama, opened):
    engine = opened(llama)
    sampling = {"max_tokens": 10, "temperature": 1.0, "top_p": 0.95, "n": 4}
    first = generate(engine, TEXT[:9], seed=1, **sampling)
    assert generate(engine, TEXT[:9], seed=1, **sampling) == first
    assert generate(engine, TEXT[:9], seed=2, **sampling) != first
    assert [answer.seed for answer in first] == [sample_seed(1, sample) for sample in range(4)]
    assert len({answer.token_ids for answer in first}) > 1
    for answer in first:
        assert 1 <= len(answer.token_ids) <= 10
        assert (answer.finish_reason == "stop") == (answer.token_ids[-1] == 2)
        assert answer.token_ids.count(2) <= 1


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_a_sample_is_the_same_alone_and_among_others(request, opened, family):
    """With a cache that is shared by the rows and with one that can't be."""
    engine = opened(request.getfixturevalue(family))
    sampling = {"max_tokens": 12, "temperature": 0.8, "top_k": 30, "min_p": 0.01}
    for sample in generate(engine, TEXT[:20], seed=3, n=5, **sampling):
        assert generate(engine, TEXT[:20], seed=sample.seed, **sampling) == (sample,)


def test_the_prompt_of_many_samples_is_computed_once(llama, opened, monkeypatch):
    engine = opened(llama)
    model, read = engine._model, []
    forward = model.forward

    def counted(input_ids, **given):
        read.append(input_ids.numel())
        return forward(input_ids=input_ids, **given)

    monkeypatch.setattr(model, "forward", counted)
    sampling = Sampling(max_tokens=1, temperature=1.0, n=4, seed=0)
    answer = asyncio.run(engine.generate(TEXT, sampling, "p"))
    assert (answer.prompt_tokens, answer.cached_tokens) == (len(TEXT), 0)
    assert sum(read) == len(TEXT)


def test_without_a_seed_samples_differ_from_time_to_time(llama, opened):
    engine = opened(llama)
    sampling = {"max_tokens": 20, "temperature": 1.0}
    told = [generate(engine, TEXT[:9], **sampling) for _ in range(6)]
    assert {sample.seed for samples in told for sample in samples} == {None}
    assert len({samples[0].token_ids for samples in told}) > 1


def test_draws_follow_the_distribution(llama, opened):
    """The first tokens of many samples against the softmax they are drawn from."""
    engine, truth = opened(llama), plain(reference(llama), TEXT[:9]).exp()
    count = 2000
    drawn = generate(engine, TEXT[:9], max_tokens=1, temperature=1.0, n=count, seed=11)
    seen = torch.bincount(torch.tensor([sample.token_ids[0] for sample in drawn]), minlength=VOCABULARY) / count
    # Four standard deviations for each of the tokens.
    assert ((seen - truth).abs() <= 4 * (truth * (1 - truth) / count).sqrt() + 1e-3).all()


def half(truth):
    """The likeliest tokens, as many as are needed for half of the probability."""
    order = truth.sort(descending=True)
    return order.indices[order.values.cumsum(0) - order.values < 0.5]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"top_k": 3}, lambda truth: torch.topk(truth, 3).indices),
        ({"min_p": 0.2}, lambda truth: (truth >= 0.2 * truth.max()).nonzero()[:, 0]),
        ({"top_p": 0.5}, half),
    ],
)
def test_what_may_be_drawn_is_limited(llama, opened, limits, kept):
    allowed = set(kept(plain(reference(llama), TEXT[:9]).exp()).tolist())
    drawn = generate(opened(llama), TEXT[:9], max_tokens=1, temperature=1.0, n=400, seed=4, **limits)
    assert {sample.token_ids[0] for sample in drawn} == allowed
    assert 1 < len(allowed) < VOCABULARY / 2


def test_stop_ids_end_a_text_with_themselves(llama, opened):
    engine = opened(llama)
    said = greedy(reference(llama), TEXT[:9], 12, set())
    stop = next(token for token in said[1:] if token not in (said[0], 2))
    (answer,) = generate(engine, TEXT[:9], max_tokens=12, stop_token_ids=(stop, 2))
    assert answer.token_ids == said[: said.index(stop) + 1]
    assert (answer.finish_reason, answer.stop) == ("stop", stop)


def test_it_says_what_it_is(llama, opened):
    import transformers

    assert opened(llama).identity == EngineIdentity("transformers", transformers.__version__, "float32")
    assert opened(llama, dtype="bfloat16").identity.dtype == "bfloat16"


def of_a_new_thread():
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(torch.get_num_threads).result()


def test_it_computes_with_a_sensible_number_of_threads(llama, opened, monkeypatch):
    def threads(**options):
        engine = opened(llama, **options)
        return engine._worker.submit(torch.get_num_threads).result()

    before = of_a_new_thread()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("palign_hf.engines.transformers.sensible_threads", lambda: before + 3)
    assert threads() == 1  # so small a student
    monkeypatch.setattr("palign_hf.engines.transformers._TINY", 0)
    assert threads() == before + 3
    assert threads(threads=before + 5) == before + 5
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = opened(llama)
    assert engine._worker.submit(engine._set_threads).result() is None and engine._threads_before is None
    assert threads(threads=before + 1) == before + 1


def test_the_threads_are_as_before_once_it_is_closed(llama):
    before = of_a_new_thread()
    engine = TransformersEngine(llama, device="cpu", threads=before + 2)
    asyncio.run(engine.start())
    score(engine, TEXT)
    assert of_a_new_thread() == before + 2
    asyncio.run(engine.close())
    assert of_a_new_thread() == before


def test_the_temperature_counts(llama, opened):
    engine = opened(llama)
    (best,) = generate(engine, TEXT[:9], max_tokens=8)
    cold = generate(engine, TEXT[:9], max_tokens=8, temperature=1e-4, seed=3, n=3)
    assert [answer.token_ids for answer in cold] == [best.token_ids] * 3
    hot = generate(engine, TEXT[:9], max_tokens=8, temperature=2.0, seed=3, n=3)
    assert len({answer.token_ids for answer in hot}) == 3


def test_a_repetition_penalty_counts(llama, opened):
    engine = opened(llama)
    (answer,) = generate(engine, [5, 6], max_tokens=20, repetition_penalty=1e6)
    assert len({5, 6, *answer.token_ids}) == 2 + len(answer.token_ids)


def test_the_defaults_of_the_model_change_nothing(tmp_path, llama, opened):
    biased = save(
        tmp_path / "biased",
        LlamaForCausalLM,
        LlamaConfig(**SHAPE, eos_token_id=2),
        do_sample=True,
        temperature=9.0,
        top_k=1,
        min_p=0.9,
        repetition_penalty=1e6,
        no_repeat_ngram_size=1,
        suppress_tokens=list(range(3, 40)),
        min_new_tokens=9,
        max_length=11,
    )
    here, there = opened(llama), opened(biased)
    assert generate(there, TEXT[:9], max_tokens=12) == generate(here, TEXT[:9], max_tokens=12)
    sampling = {"max_tokens": 12, "temperature": 1.5, "n": 3, "seed": 5}
    assert generate(there, TEXT[:9], **sampling) == generate(here, TEXT[:9], **sampling)


def test_generating_between_probes_leaves_the_cache_as_it_was(llama, opened):
    engine, model = opened(llama), reference(llama)
    check(engine, model, TEXT[:20], cached=0)
    generate(engine, [9, 8, 7], max_tokens=5)
    check(engine, model, TEXT[:25], cached=20)


def test_what_does_not_fit_the_context_is_refused_before_it_is_computed(llama, opened):
    engine = opened(llama, max_model_len=20)
    assert score(engine, TEXT[:19]).prompt_tokens == 19
    with pytest.raises(RequestFailed, match="needs 21 tokens, but the context holds 20"):
        score(engine, TEXT[:20])
    assert len(generate(engine, TEXT[:10], max_tokens=10, temperature=1.0, seed=0)) == 1
    with pytest.raises(RequestFailed, match="needs 21 tokens, but the context holds 20"):
        generate(engine, TEXT[:10], max_tokens=11)


@pytest.mark.parametrize(
    ("student", "options"),
    [
        ("/no/such/folder", {}),
        ("owner/never-downloaded", {}),
        ("no name at all", {}),
        ("empty", {}),
        ("broken", {}),
        ("llama", {"dtype": "float17"}),
        ("llama", {"attn_implementation": "telepathy"}),
        ("llama", {"device": "abacus"}),
    ],
)
def test_a_student_that_cannot_be_loaded(tmp_path, llama, student, options):
    if student == "llama":
        student = llama
    if student in ("empty", "broken"):
        student = tmp_path / student
        LlamaConfig(**SHAPE).save_pretrained(student)
        if student.name == "broken":
            (student / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    engine = TransformersEngine(str(student), **options)
    with pytest.raises(EngineUnavailable) as refused:
        asyncio.run(engine.start())
    message = str(refused.value)
    assert message.startswith(f"transformers could not load the student `{student}`: ")
    assert message.endswith("`trust_remote_code=True`.")
    with pytest.raises(EngineDied):
        score(engine, TEXT)


def test_nothing_is_answered_before_start(llama):
    engine = TransformersEngine(llama)
    assert engine.capacity[0] == 1
    with pytest.raises(EngineDied, match="not running"):
        score(engine, TEXT)
    with pytest.raises(EngineDied, match="not running"):
        generate(engine, TEXT, max_tokens=1)


def test_closing_frees_the_weights_and_it_can_start_again(llama, opened):
    engine, model = opened(llama), reference(llama)
    check(engine, model, TEXT, cached=0)
    asyncio.run(engine.close())
    asyncio.run(engine.close())
    assert (engine._model, engine._batch, len(engine._caches)) == (None, None, 0)
    with pytest.raises(EngineDied, match="not running"):
        score(engine, TEXT)
    asyncio.run(engine.start())
    check(engine, model, TEXT, cached=0)


def fail_in_the_second_layer(engine, monkeypatch, error):
    """The first layer has already lengthened its cache by then."""

    def forward(*args, **kwargs):
        raise error

    monkeypatch.setattr(engine._model.model.layers[1], "forward", forward)


@pytest.mark.parametrize("next_end", [15, 20, 25, 36])
def test_a_failed_forward_leaves_nothing_in_the_cache(llama, opened, monkeypatch, next_end):
    engine, model = opened(llama), reference(llama)
    check(engine, model, TEXT[:20], cached=0)
    with monkeypatch.context() as patched:
        fail_in_the_second_layer(engine, patched, torch.OutOfMemoryError("no room"))
        with pytest.raises(RequestFailed, match="could not compute the answer: OutOfMemoryError: no room"):
            score(engine, TEXT[:30])
    check(engine, model, TEXT[:next_end], cached=0)
    check(engine, model, TEXT[: next_end + 1], cached=next_end)


def test_a_device_that_failed_for_good_is_a_death(llama, opened, monkeypatch):
    engine = opened(llama)
    fail_in_the_second_layer(engine, monkeypatch, torch.AcceleratorError("device-side assert"))
    with pytest.raises(EngineDied, match="device failed: AcceleratorError: device-side assert"):
        score(engine, TEXT)


@pytest.mark.parametrize(("prompt", "labels"), [([], LABELS), ([VOCABULARY], LABELS), (TEXT, (7, VOCABULARY))])
def test_ids_that_cannot_be_read_fail_alone(llama, opened, prompt, labels):
    engine, model = opened(llama), reference(llama)
    with pytest.raises(RequestFailed, match="could not compute the answer"):
        score(engine, prompt, labels)
    check(engine, model, TEXT, cached=0)


def test_numbers_that_overflowed_are_no_verdict(llama, opened, monkeypatch):
    engine = opened(llama)
    nowhere = torch.full((1, 1, VOCABULARY), float("nan"))
    monkeypatch.setattr(engine._model, "forward", lambda *args, **kwargs: SimpleNamespace(logits=nowhere))
    with pytest.raises(RequestFailed, match="no finite numbers: .nan, nan."):
        score(engine, TEXT)


def test_a_cancelled_question_is_over_before_the_next_begins(llama, opened, monkeypatch):
    """Two forwards at once would write into the same cache."""
    monkeypatch.setattr("palign_hf.engines.transformers._BLOCKS", {"cpu": 64, "cuda": 64})
    engine, model = opened(llama), reference(llama)
    layer, inside, most = engine._model.model.layers[1], [], []
    begun, cancelled, forward = threading.Event(), threading.Event(), layer.forward

    def slow(*args, **kwargs):
        inside.append(1)
        most.append(len(inside))
        begun.set()
        assert cancelled.wait(60)
        inside.pop()
        return forward(*args, **kwargs)

    monkeypatch.setattr(layer, "forward", slow)

    async def run():
        first = asyncio.create_task(engine.score(TEXT[:20], LABELS, "p"))
        assert await asyncio.to_thread(begun.wait, 60)
        first.cancel()
        second = asyncio.create_task(engine.score(TEXT[:30], LABELS, "p"))
        for _ in range(100):  # time enough to begin beside the first, if it could
            await asyncio.sleep(0.001)
        cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    truth = plain(model, TEXT[:30])
    assert asyncio.run(run()).logprobs == pytest.approx([float(truth[label]) for label in LABELS], abs=1e-4)
    assert most == [1, 1]


def test_closing_waits_for_what_is_being_computed(llama, opened, monkeypatch):
    monkeypatch.setattr("palign_hf.engines.transformers._BLOCKS", {"cpu": 64, "cuda": 64})
    engine = opened(llama)
    layer, begun = engine._model.model.layers[1], threading.Event()
    forward = layer.forward

    def slow(*args, **kwargs):
        begun.set()
        while engine._model is not None:  # until it is being closed
            time.sleep(0.001)
        return forward(*args, **kwargs)

    monkeypatch.setattr(layer, "forward", slow)

    async def run():
        running, waiting = (asyncio.create_task(engine.score(TEXT, LABELS, "p")) for _ in range(2))
        assert await asyncio.to_thread(begun.wait, 60)
        await engine.close()
        assert not engine._caches
        assert (await running).prompt_tokens == len(TEXT)
        with pytest.raises(EngineDied):
            await waiting

    asyncio.run(run())
