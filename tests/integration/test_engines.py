"""The three engines on one real student: the same margins, an audited prefix cache, their lives and deaths."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from palign_hf.asking.rendering import JudgePrompt
from palign_hf.engines.base import EngineDied, RequestFailed, Sampling
from palign_hf.engines.server import ServerEngine
from palign_hf.engines.transformers import TransformersEngine
from palign_hf.engines.vllm import VLLMEngine
from palign_hf.prompts import JUDGE, LABELS
from palign_hf.segmentation import cuts
from palign_hf.students import load_tokenizer, resolve_student


pytestmark = pytest.mark.integration

CONTEXT = 2048
BLOCK = 32
# bfloat16 keeps 8 bits: logits of this student are about 20, so a step is 1/8, and a margin is made of two of them.
TOLERANCE = 0.5
ENDLESS = Sampling(max_tokens=CONTEXT - 10, temperature=1.0)


@pytest.fixture(scope="module")
def prompts(smollm2, traces):
    """Judge prompts at a handful of ascending cuts of each problem, and the labels to read."""
    prompt = JudgePrompt(load_tokenizer(resolve_student(smollm2)), JUDGE, LABELS, "smollm2")
    asked = {}
    for row in traces:
        problem = prompt.problem(row["question"], row["trace"])
        ends = [0, *cuts(row["trace"])]
        asked[row["id"]] = [problem.ids(ends[k]) for k in range(0, len(ends), 4)]
    return asked, prompt.label_ids


async def ask_all(engine, prompts, label_ids):
    """Every problem's cuts in order, the problems side by side."""

    async def one(name, asked):
        return [await engine.score(ids, label_ids, name) for ids in asked]

    scores = await asyncio.gather(*(one(name, asked) for name, asked in prompts.items()))
    return dict(zip(prompts, scores, strict=True))


def margins(scores):
    return [score.logprobs[0] - score.logprobs[1] for row in scores.values() for score in row]


@pytest.fixture(scope="module")
def vllm_run(smollm2, prompts):
    """One vLLM engine's whole life: scores twice (cold, warm), text, an over-long prompt, its death, a second life."""
    import psutil

    asked, label_ids = prompts

    async def life():
        engine = VLLMEngine(smollm2, context=CONTEXT)
        await engine.start()
        seen = {"capacity": engine.capacity}
        seen["cold"] = await ask_all(engine, asked, label_ids)
        seen["warm"] = await ask_all(engine, asked, label_ids)
        seen["text"] = await engine.generate(next(iter(asked.values()))[0], Sampling(max_tokens=12), "a")
        with pytest.raises(RequestFailed) as refused:
            await engine.score([1] * (CONTEXT + 1), label_ids, "a")
        seen["refused"] = str(refused.value)
        children = psutil.Process().children(recursive=True)
        cores = [child for child in children if "EngineCore" in child.name()]
        assert cores, "no engine core among the child processes"
        cores[0].kill()
        with pytest.raises(EngineDied):
            while True:
                await engine.score([2, 3, 4], label_ids, "b")
        await engine.start()
        waiting = [asyncio.create_task(engine.generate([2, 3, 4 + k], ENDLESS, "c")) for k in range(3)]
        await engine.score([2, 3, 4], label_ids, "d")
        # Whoever hears of a death first closes the engine, perhaps before vLLM has told the others.
        engine._llm.output_handler.cancel()
        await engine.close()
        seen["told"] = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
        seen["left"] = [p for p in psutil.Process().children(recursive=True) if "VLLM" in p.name()]
        return seen

    return asyncio.run(life())


@pytest.fixture(scope="module")
def transformers_scores(smollm2, prompts):
    asked, label_ids = prompts

    async def life():
        engine = TransformersEngine(smollm2, context=CONTEXT)
        await engine.start()
        # One problem after the other, as its capacity of one asks for.
        scores = {name: (await ask_all(engine, {name: ids}, label_ids))[name] for name, ids in asked.items()}
        text = await engine.generate(next(iter(asked.values()))[0], Sampling(max_tokens=12), "a")
        await engine.close()
        return scores, text

    return asyncio.run(life())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server_scores(smollm2, prompts, tmp_path_factory):
    """The same questions over HTTP to a real `vllm serve`."""
    asked, label_ids = prompts
    port = free_port()
    log = tmp_path_factory.mktemp("serve") / "log"
    # `vllm serve` by its module: the CPU wheel goes by another name, which the command line of vLLM trips over.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", smollm2, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--max-model-len", str(CONTEXT), "--block-size", str(BLOCK), "--enforce-eager"]
    command += ["--served-model-name", "student", "--enable-prompt-tokens-details"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with open(log, "w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 900
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(1)

        async def life():
            engine = ServerEngine(smollm2, [f"http://127.0.0.1:{port}/v1"], model="student")
            await engine.start()
            scores = await ask_all(engine, asked, label_ids)
            text = await engine.generate(next(iter(asked.values()))[0], Sampling(max_tokens=12), "a")
            await engine.close()
            return scores, text

        yield asyncio.run(life())
    finally:
        server.terminate()
        server.wait(60)


def test_the_three_engines_read_the_same_margins(vllm_run, transformers_scores, server_scores, record_property):
    reference = margins(transformers_scores[0])
    for name, scores in (("vllm", vllm_run["cold"]), ("server", server_scores[0])):
        worst = max(abs(a - b) for a, b in zip(margins(scores), reference, strict=True))
        record_property(f"{name}_worst_difference", worst)
        print(f"{name} against transformers: largest difference of {len(reference)} margins {worst:.3f}")
        assert worst <= TOLERANCE


def test_label_mass_and_top_token_agree(vllm_run, transformers_scores, server_scores):
    for name, row in transformers_scores[0].items():
        for mine, vllm, served in zip(row, vllm_run["cold"][name], server_scores[0][name], strict=True):
            assert mine.label_mass == pytest.approx(vllm.label_mass, abs=0.1)
            assert mine.label_mass == pytest.approx(served.label_mass, abs=0.1)
            assert mine.prompt_tokens == vllm.prompt_tokens == served.prompt_tokens


def test_greedy_text_agrees(vllm_run, transformers_scores, server_scores):
    """The first tokens: later ones may part ways where two logits are within the engines' rounding."""
    texts = [vllm_run["text"], transformers_scores[1], server_scores[1]]
    assert len({answer.token_ids[:3] for (answer,) in texts}) == 1
    assert {answer.finish_reason for (answer,) in texts} <= {"stop", "length"}


def shared(a: list[int], b: list[int]) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@pytest.mark.parametrize("engine", ["vllm", "server"])
def test_the_prefix_cache_gives_what_theory_says(engine, prompts, vllm_run, server_scores):
    asked, _ = prompts
    scores = vllm_run["cold"] if engine == "vllm" else server_scores[0]
    expected = found = 0
    for name, ids in asked.items():
        for (before, prompt), score in zip(pairwise(ids), scores[name][1:], strict=True):
            expected += min(shared(before, prompt), len(prompt) - 1) // BLOCK * BLOCK
            found += score.cached_tokens
    assert expected > 3000 and found >= 0.95 * expected


def test_a_warm_prompt_is_all_but_cached_and_reads_alike(prompts, vllm_run):
    for name, ids in prompts[0].items():
        for prompt, cold, warm in zip(ids, vllm_run["cold"][name], vllm_run["warm"][name], strict=True):
            assert warm.cached_tokens >= (len(prompt) - 1) // BLOCK * BLOCK
            assert warm.logprobs == pytest.approx(cold.logprobs, abs=TOLERANCE)


def test_who_waits_for_an_engine_that_is_closed_is_told(vllm_run):
    assert [type(answer) for answer in vllm_run["told"]] == [EngineDied] * 3


def test_vllm_refuses_what_does_not_fit_and_leaves_no_process(vllm_run):
    assert "maximum context length" in vllm_run["refused"]
    problems, tokens = vllm_run["capacity"]
    assert problems > 1 and tokens > 10 * CONTEXT
    assert vllm_run["left"] == []
