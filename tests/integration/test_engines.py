"""The three engines on one student: the same margins, samples that come again, their lives and deaths.

The student is the shipped toy one, whose answers cost next to nothing; real students are for the tests of stages.
"""

import asyncio
import inspect
import os
import random
import socket
import subprocess
import sys
import threading
import time
from itertools import pairwise

import psutil
import pytest

from palign_hf.engines import options
from palign_hf.engines.base import EngineDied, RequestFailed, Sampling, sample_seed
from palign_hf.engines.server import ServerEngine
from palign_hf.engines.transformers import TransformersEngine
from palign_hf.engines.vllm import VLLMEngine
from palign_hf.generation.rendering import JudgePrompt
from palign_hf.prompts import JUDGE, LABELS
from palign_hf.segmentation import cuts
from palign_hf.students import load_tokenizer, resolve_student
from palign_hf.toy import student_folder


pytestmark = pytest.mark.integration

STUDENT = str(student_folder())
CONTEXT = 2048
BLOCK = 32
# bfloat16 keeps 8 bits: a step of a logit of 16 to 32 is 1/8, and a margin is made of two of them.
TOLERANCE = 0.5
ENDLESS = Sampling(max_tokens=CONTEXT - 10, temperature=1.0)
MANY = Sampling(max_tokens=400, temperature=1.0, n=16)
ENGINES = ("transformers", "vllm", "server")


class Live:
    """An engine on the loop of a thread of its own, as a run has it."""

    def __init__(self, engine):
        self.engine = engine
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.do(engine.start())

    def do(self, work, timeout=300):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def generate(self, prompt, **sampling):
        return self.do(self.engine.generate(prompt, Sampling(**sampling), "p"))

    def said(self, prompt, **sampling):
        """Token ids of all samples."""
        return [sample.token_ids for sample in self.generate(prompt, **sampling).samples]

    def close(self):
        self.do(self.engine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(resolve_student(STUDENT))


@pytest.fixture(scope="module")
def prompts(tokenizer, traces):
    """Judge prompts at a handful of ascending cuts of each problem, and the labels to read."""
    prompt = JudgePrompt(tokenizer, JUDGE, LABELS, STUDENT)
    asked = {}
    for row in traces:
        problem = prompt.problem(row["question"], row["trace"])
        ends = [0, *cuts(row["trace"])]
        asked[row["id"]] = [problem.ids(ends[k]) for k in range(0, len(ends), 4)]
    return asked, prompt.label_ids


@pytest.fixture(scope="module")
def prompt():
    """Tokens by chance: what the student makes of them is anything, where it would be sure of a real problem."""
    return random.Random(5).choices(range(100, 900), k=100)


@pytest.fixture(scope="module")
def vllm_life():
    live = Live(VLLMEngine(STUDENT, max_model_len=CONTEXT))
    yield live
    live.close()


@pytest.fixture
def vllm(vllm_life):
    """Alive, whatever the test before did to it."""
    if vllm_life.engine._llm is None:
        vllm_life.do(vllm_life.engine.start())
    return vllm_life


@pytest.fixture(scope="module")
def transformers():
    live = Live(TransformersEngine(STUDENT, max_model_len=CONTEXT, dtype="bfloat16"))
    yield live
    live.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real server of vLLM, by its module: the CPU wheel goes by a name that the command line trips over."""
    port = free_port()
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", STUDENT, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--max-model-len", str(CONTEXT), "--block-size", str(BLOCK), "--enforce-eager"]
    # With a seed of its own a request whose prompt is read in pieces ends the server on a CPU; see engines/vllm.py.
    command += ["--no-enable-chunked-prefill"]
    command += ["--served-model-name", "student", "--enable-prompt-tokens-details"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 900
        while True:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        live = Live(ServerEngine(STUDENT, [f"http://127.0.0.1:{port}/v1"], model="student"))
        yield live
        live.close()
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(params=ENGINES)
def live(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def scores(prompts, vllm_life, transformers, server):
    """Every problem's cuts in order: the problems side by side where an engine takes several."""
    asked, label_ids = prompts

    async def ask(engine, names):
        async def one(name):
            return [await engine.score(ids, label_ids, name) for ids in asked[name]]

        return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))

    read = {"vllm": vllm_life.do(ask(vllm_life.engine, asked)), "server": server.do(ask(server.engine, asked))}
    read["warm"] = vllm_life.do(ask(vllm_life.engine, asked))
    read["transformers"] = {}
    for name in asked:
        read["transformers"] |= transformers.do(ask(transformers.engine, [name]))
    return read


def margins(scores):
    return [score.logprobs[0] - score.logprobs[1] for row in scores.values() for score in row]


def test_the_three_engines_read_the_same_margins(scores, record_property):
    reference = margins(scores["transformers"])
    for name in ("vllm", "server"):
        worst = max(abs(a - b) for a, b in zip(margins(scores[name]), reference, strict=True))
        record_property(f"{name}_worst_difference", worst)
        print(f"{name} against transformers: largest difference of {len(reference)} margins {worst:.3f}")
        assert worst <= TOLERANCE


def test_label_mass_and_counts_agree(scores):
    for name, row in scores["transformers"].items():
        for mine, vllm, served in zip(row, scores["vllm"][name], scores["server"][name], strict=True):
            assert mine.label_mass == pytest.approx(vllm.label_mass, abs=0.1)
            assert mine.label_mass == pytest.approx(served.label_mass, abs=0.1)
            assert mine.prompt_tokens == vllm.prompt_tokens == served.prompt_tokens


def shared(a: list[int], b: list[int]) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@pytest.mark.parametrize("engine", ["vllm", "server"])
def test_the_prefix_cache_gives_what_theory_says(engine, prompts, scores):
    asked, _ = prompts
    expected = found = 0
    for name, ids in asked.items():
        for (before, prompt), score in zip(pairwise(ids), scores[engine][name][1:], strict=True):
            expected += min(shared(before, prompt), len(prompt) - 1) // BLOCK * BLOCK
            found += score.cached_tokens
    assert expected > 3000 and found >= 0.95 * expected


def test_a_warm_prompt_is_all_but_cached_and_reads_alike(prompts, scores):
    for name, ids in prompts[0].items():
        for prompt, cold, warm in zip(ids, scores["vllm"][name], scores["warm"][name], strict=True):
            assert warm.cached_tokens >= (len(prompt) - 1) // BLOCK * BLOCK
            assert warm.logprobs == pytest.approx(cold.logprobs, abs=TOLERANCE)


# Generating


def test_who_answers_is_told(vllm, transformers, server):
    import transformers as library
    import vllm as runtime

    told = [(one.engine.identity.name, one.engine.identity.version) for one in (vllm, transformers, server)]
    assert told == [
        ("vllm", runtime.__version__),
        ("transformers", library.__version__),
        ("server", runtime.__version__),
    ]
    assert [one.engine.identity.dtype for one in (vllm, transformers, server)] == ["bfloat16", "bfloat16", "unknown"]


def test_greedy_text_agrees(prompt, vllm, transformers, server):
    """The first tokens: later ones may part ways where two logits are within the engines' rounding."""
    answers = [one.generate(prompt, max_tokens=12) for one in (vllm, transformers, server)]
    assert len({answer.samples[0].token_ids[:3] for answer in answers}) == 1
    assert {answer.samples[0].finish_reason for answer in answers} <= {"stop", "length"}
    assert {answer.prompt_tokens for answer in answers} == {len(prompt)}


def test_samples_come_again_alone_and_among_others(live, prompt):
    """With the same seeds, on the same engine: for the toy student on CPUs to the token."""
    given = {"max_tokens": 40, "temperature": 1.0, "top_p": 0.95}
    answer = live.generate(prompt, n=4, seed=7, **given)
    assert [sample.seed for sample in answer.samples] == [sample_seed(7, place) for place in range(4)]
    assert live.generate(prompt, n=4, seed=7, **given).samples == answer.samples
    for sample in answer.samples:
        assert live.generate(prompt, seed=sample.seed, **given).samples == (sample,)
    said = [sample.token_ids for sample in answer.samples]
    assert len(set(said)) == 4
    assert not set(said) & set(live.said(prompt, n=4, seed=8, **given))


def test_what_samples_share_is_counted_once(live, tokenizer):
    """The prompt is a new one of several blocks: nothing of it was cached before the first sample."""
    fresh = random.Random(live.engine.name).choices(range(100, 900), k=10 * BLOCK)
    answer = live.generate(fresh, max_tokens=2, n=4, temperature=1.0, seed=1)
    assert (len(answer.samples), answer.prompt_tokens, answer.cached_tokens) == (4, len(fresh), 0)
    if live.engine.name != "transformers":
        assert live.generate(fresh, max_tokens=2, n=4, temperature=1.0).cached_tokens >= 9 * BLOCK


def test_without_a_seed_samples_differ_from_time_to_time(live, prompt):
    given = {"max_tokens": 40, "temperature": 1.0, "n": 3}
    first, second = live.generate(prompt, **given), live.generate(prompt, **given)
    assert {sample.seed for answer in (first, second) for sample in answer.samples} == {None}
    assert len({sample.token_ids for answer in (first, second) for sample in answer.samples}) > 3


def test_temperature_and_limits_count(live, prompt):
    (best,) = live.said(prompt, max_tokens=10)
    for limit in ({"temperature": 0.01}, {"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}):
        assert live.said(prompt, max_tokens=10, **{"temperature": 1.0, "seed": 3} | limit) == [best]
    hot = live.said(prompt, max_tokens=10, temperature=2.0, seed=3, n=3)
    assert len({best, *hot}) == 4


def test_a_repetition_penalty_counts(live):
    prompt = list(range(100, 110))
    (said,) = live.said(prompt, max_tokens=30, repetition_penalty=50.0)
    assert len({*prompt, *said}) == len(prompt) + len(said)


def test_stops_end_a_text_with_what_stopped_it(live, prompt, tokenizer):
    samples = live.generate(prompt, max_tokens=30, temperature=1.0, seed=2, n=8).samples
    sample = max(samples, key=lambda sample: len(sample.token_ids))
    said, seed = sample.token_ids, sample.seed
    token = said[6]
    first = said.index(token) + 1
    (stopped,) = live.generate(prompt, max_tokens=30, temperature=1.0, seed=seed, stop_token_ids=(token,)).samples
    assert (stopped.token_ids, stopped.finish_reason, stopped.stop) == (said[:first], "stop", token)
    # A text over three tokens, the last of which may say more than is needed.
    text = tokenizer.decode(said[8:11]).strip()
    end = next(end for end in range(1, len(said) + 1) if text in tokenizer.decode(said[:end]))
    stops = ("never said", text)
    (stopped,) = live.generate(prompt, max_tokens=30, temperature=1.0, seed=seed, stop=stops).samples
    assert (stopped.token_ids, stopped.finish_reason, stopped.stop) == (said[:end], "stop", text)


def test_the_students_own_end_and_the_length_are_told_apart(live, prompt, tokenizer):
    answers = live.generate(prompt, max_tokens=400, temperature=0.7, n=8, seed=1).samples
    whole = [sample for sample in answers if sample.finish_reason == "stop"]
    assert whole
    assert all(sample.token_ids[-1] == tokenizer.eos_token_id and sample.stop is None for sample in whole)
    (cut,) = live.generate(prompt, max_tokens=3).samples
    assert (len(cut.token_ids), cut.finish_reason, cut.stop) == (3, "length", None)


def test_a_special_token_can_be_a_stop_text(live, prompt, tokenizer):
    (sample,) = live.generate(
        prompt, max_tokens=400, temperature=0.7, seed=sample_seed(1, 1), stop=(tokenizer.eos_token,)
    ).samples
    if sample.finish_reason == "stop":
        assert (sample.token_ids[-1], sample.stop) == (tokenizer.eos_token_id, tokenizer.eos_token)


def test_hundreds_of_long_prompts_at_once_with_seeds(vllm):
    """More than the batch and the cache of the first moment hold; all are answered, and answered alike again."""
    chance = random.Random(0)
    asked = [chance.choices(range(100, 900), k=chance.randrange(200, CONTEXT - 100)) for _ in range(200)]

    async def ask():
        return await asyncio.gather(
            *(
                vllm.engine.generate(prompt, Sampling(max_tokens=16, temperature=1.0, seed=place), str(place))
                for place, prompt in enumerate(asked)
            )
        )

    first = vllm.do(ask())
    vllm.do(vllm.engine.reset_cache())
    assert [answer.samples for answer in vllm.do(ask())] == [answer.samples for answer in first]


# Lives and deaths


def test_a_cancelled_question_leaves_the_engine_as_it_was(live, prompt):
    async def cancel():
        asked = asyncio.create_task(live.engine.generate(prompt, MANY, "p"))
        # Time enough for the request to be on its way, and not for its answer.
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    live.do(cancel())
    assert live.said(prompt, max_tokens=3)


def test_vllm_refuses_what_does_not_fit(vllm):
    with pytest.raises(RequestFailed, match="maximum context length"):
        vllm.do(vllm.engine.score([1] * (CONTEXT + 1), (5, 6), "a"))
    problems, tokens = vllm.engine.capacity
    assert problems > 1 and tokens > 10 * CONTEXT


def test_vllms_options_are_read_from_its_source_as_they_are():
    from vllm.engine.arg_utils import AsyncEngineArgs

    from palign_hf.engines.vllm import argument_types

    assert set(options._vllm()) == set(inspect.signature(AsyncEngineArgs).parameters) == set(argument_types())


def test_deaths_are_told_and_no_process_is_left(vllm):
    """The core is killed; in the next life, who waits for an engine that is closed hears of it."""
    before = psutil.Process().children(recursive=True)
    core = next(child for child in before if "EngineCore" in child.name() and child.ppid() == os.getpid())
    gone = {core, *core.children(recursive=True)}

    async def life():
        engine = vllm.engine
        core.kill()
        with pytest.raises(EngineDied):
            while True:
                await engine.score([2, 3, 4], (5, 6), "b")
        await engine.close()
        await engine.start()
        waiting = [asyncio.create_task(engine.generate([2, 3, 4 + k], ENDLESS, "c")) for k in range(3)]
        await engine.score([2, 3, 4], (5, 6), "d")
        # Whoever hears of a death first closes the engine, perhaps before vLLM has told the others.
        engine._llm.output_handler.cancel()
        await engine.close()
        return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)

    assert [type(answer) for answer in vllm.do(life())] == [EngineDied] * 3
    # The server's own, if it runs, go on.
    left = set(psutil.Process().children(recursive=True)) - (set(before) - gone)
    assert [process for process in left if "VLLM" in process.name()] == []
