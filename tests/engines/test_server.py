"""The client of a completions server, against a real HTTP server of this process that answers as told."""

import asyncio
import base64
import contextlib
import gzip
import json
import logging
import math
import socket

import pytest
from aiohttp import web

from palign_hf.engines import server as server_module
from palign_hf.engines.base import (
    Completion,
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    Generation,
    RequestFailed,
    Sampling,
    Score,
    sample_seed,
)
from palign_hf.engines.server import FAILED_ROWS, ServerEngine
from palign_hf.errors import UserError


STUDENT, LABELS, PROMPT = "owner/student", (7, 11), [1, 2, 3]
NO_PAUSE = (0.001, 0.001)
SAID = {"token_id:7": -0.25, "token_id:11": -1.75, "token_id:3": -9.0}
SAMPLING = Sampling(max_tokens=5)
VERSION = {"version": "0.32.0"}


async def drop(request):
    """Ends the connection before an answer."""
    request.transport.close()
    return web.Response()


def scored(table=SAID, said="token_id:7", **usage):
    read = {"tokens": [said], "top_logprobs": [table]}
    return {"choices": [{"index": 0, "logprobs": read}], "usage": {"prompt_tokens": 3} | usage}


def choice(index=0, ids=(4, 5, 2), reason="stop"):
    return {"index": index, "token_ids": list(ids), "finish_reason": reason, "text": "", "prompt_token_ids": [1]}


class Server:
    """Answers `/v1/models`, and `/v1/completions` by `plan`: one entry a request, the last one for ever."""

    def __init__(self, *plan, models=(STUDENT,), models_plan=(), version=VERSION):
        self.plan, self.models_plan = list(plan or [scored()]), list(models_plan)
        self.models = {"object": "list", "data": [{"id": name} for name in models]}
        self.version = version
        self.bodies, self.headers, self.asked_models = [], [], 0
        self.url = None

    @contextlib.asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        app.router.add_post("/v1/completions", self._completions)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _models(self, request):
        self.headers.append(dict(request.headers))
        self.asked_models += 1
        return await self._answer(request, self.models_plan.pop(0) if self.models_plan else self.models)

    async def _version(self, request):
        return await self._answer(request, self.version)

    async def _completions(self, request):
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.json())
        return await self._answer(request, self.plan.pop(0) if len(self.plan) > 1 else self.plan[0])

    async def _answer(self, request, entry):
        if callable(entry):
            return await entry(request)
        if isinstance(entry, int):
            return web.Response(status=entry, text=f"status {entry}")
        if isinstance(entry, (str, bytes)):
            return web.Response(body=entry, content_type="application/json")
        return web.json_response(entry)


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def with_server(ask, *plan, models=(STUDENT,), models_plan=(), version=VERSION, **options):
    """`ask(engine)` with one server that answers by `plan`; the server comes back with what came out."""

    async def run():
        async with Server(*plan, models=models, models_plan=models_plan, version=version).serving() as server:
            engine = ServerEngine(STUDENT, server.url, **{"pauses": NO_PAUSE} | options)
            try:
                await engine.start()
                return server, await ask(engine)
            finally:
                await engine.close()

    return asyncio.run(asyncio.wait_for(run(), timeout=20))


def ask_score(engine):
    return engine.score(PROMPT, LABELS, "p")


def ask_text(engine):
    return engine.generate(PROMPT, SAMPLING, "p")


def refusal(error, ask, *plan, **options):
    """The message of the expected `error`, and the server that caused it."""
    seen = []

    async def run(engine):
        with pytest.raises(error) as refused:
            await ask(engine)
        seen.append(str(refused.value))

    server, _ = with_server(run, *plan, **options)
    return seen[0], server


def start_refusal(urls, student=STUDENT, **options):
    """Why `start` refuses `urls`; nothing stays open."""

    async def run():
        engine = ServerEngine(student, urls, **{"pauses": NO_PAUSE} | options)
        with pytest.raises(EngineUnavailable) as refused:
            await engine.start()
        assert engine._http is None
        return str(refused.value)

    return asyncio.run(asyncio.wait_for(run(), timeout=20))


def test_a_score_is_read_by_token_id():
    server, read = with_server(ask_score)
    assert read.logprobs == (-0.25, -1.75)
    assert read.top_is_label
    assert read.label_mass == pytest.approx(math.exp(-0.25) + math.exp(-1.75))
    assert (read.prompt_tokens, read.cached_tokens) == (3, 0)
    (body,) = server.bodies
    assert body["model"] == STUDENT
    assert body["prompt"] == PROMPT
    assert body["max_tokens"] == 1
    assert body["temperature"] == 0.0
    assert body["logprob_token_ids"] == [7, 11]
    assert body["return_tokens_as_token_ids"] is True
    assert body["add_special_tokens"] is False


def test_the_labels_keep_their_order_and_the_token_said_is_seen():
    _, read = with_server(lambda engine: engine.score(PROMPT, (11, 7), "p"), scored(said="token_id:3"))
    assert read.logprobs == (-1.75, -0.25)
    assert not read.top_is_label


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 2}}, 2),
        ({"prompt_tokens_details": {"cached_tokens": None}}, 0),
        ({"prompt_tokens_details": None}, 0),
        ({"prompt_tokens_details": "few"}, 0),
        ({}, 0),
    ],
)
def test_cached_tokens_are_read_where_the_server_tells_them(usage, cached):
    _, read = with_server(ask_score, scored(**usage))
    assert read.cached_tokens == cached
    _, text = with_server(ask_text, {"choices": [choice()], "usage": usage})
    assert text.cached_tokens == cached


@pytest.mark.parametrize("usage", [None, [], "none"])
def test_a_strange_usage_is_no_reason_to_fail(usage):
    _, read = with_server(ask_score, scored() | {"usage": usage})
    assert read.cached_tokens == 0


def test_a_text_comes_as_token_ids_and_nothing_is_left_to_the_students_defaults():
    answer = {"choices": [choice(0, (4, 5, 2))], "usage": {"prompt_tokens_details": {"cached_tokens": 1}}}
    sampling = Sampling(
        max_tokens=3,
        temperature=0.7,
        top_p=0.9,
        top_k=20,
        min_p=0.05,
        repetition_penalty=1.1,
        seed=5,
        stop_token_ids=(9, 8),
        stop=("so", "\n\n"),
    )
    server, read = with_server(lambda engine: engine.generate(PROMPT, sampling, "p"), answer)
    assert read == Generation((Completion((4, 5, 2), "stop", 5),), 3, 1)
    (body,) = server.bodies
    assert body == {
        "model": STUDENT,
        "prompt": PROMPT,
        "max_tokens": 3,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": 5,
        "stop_token_ids": [9, 8],
        "stop": ["so", "\n\n"],
        "skip_special_tokens": False,
        "include_stop_str_in_output": True,
        "return_token_ids": True,
        "add_special_tokens": False,
    }


def test_each_sample_is_asked_for_with_its_own_seed_and_the_prompt_counts_once():
    async def by_seed(request):
        seed = (await request.json())["seed"]
        # The first one finds less of the prompt in the cache than those that share it with it.
        usage = {"prompt_tokens_details": {"cached_tokens": 0 if seed == 5 else 2}}
        return web.json_response({"choices": [choice(0, (seed % 1000, 2))], "usage": usage})

    sampling = Sampling(max_tokens=3, temperature=1.0, n=3, seed=5)
    server, read = with_server(lambda engine: engine.generate(PROMPT, sampling, "p"), by_seed)
    seeds = [5, sample_seed(5, 1), sample_seed(5, 2)]
    assert [sample.seed for sample in read.samples] == seeds
    assert [sample.token_ids for sample in read.samples] == [(seed % 1000, 2) for seed in seeds]
    assert (read.prompt_tokens, read.cached_tokens) == (3, 0)
    assert sorted(body["seed"] for body in server.bodies) == sorted(seeds)


def test_one_failed_sample_fails_the_row():
    async def not_the_second(request):
        if (await request.json())["seed"] == sample_seed(5, 1):
            return web.Response(status=400, text="too hot")
        return web.json_response({"choices": [choice()]})

    sampling = Sampling(max_tokens=3, temperature=1.0, n=3, seed=5)
    message, _ = refusal(RequestFailed, lambda engine: engine.generate(PROMPT, sampling, "p"), not_the_second)
    assert "refused the request: 400 'too hot'" in message


def test_without_a_seed_none_is_sent():
    server, _ = with_server(ask_text, {"choices": [choice()]})
    assert "seed" not in server.bodies[0]


@pytest.mark.parametrize(
    ("ids", "told", "stop"),
    [((4, 9), 9, 9), ((4, 9), None, 9), ((4, 2), None, None), ((4, 5), "so", "so"), ((4, 9), "so", "so")],
)
def test_what_ended_a_text_is_told(ids, told, stop):
    sampling = Sampling(max_tokens=3, stop_token_ids=(9,), stop=("so",))
    answer = {"choices": [choice(0, ids) | {"stop_reason": told}]}
    _, read = with_server(lambda engine: engine.generate(PROMPT, sampling, "p"), answer)
    assert read.samples == (Completion(ids, "stop", None, stop),)


def test_the_server_says_which_release_it_is():
    async def identity(engine):
        return engine.identity

    assert with_server(identity)[1] == EngineIdentity("server", "0.32.0", "unknown")


@pytest.mark.parametrize("version", [404, "none", "{}", "[]", drop])
def test_a_server_that_says_no_release_is_used_all_the_same(version):
    async def identity(engine):
        await ask_score(engine)
        return engine.identity

    assert with_server(identity, version=version)[1] == EngineIdentity("server", "unknown", "unknown")


def test_the_server_may_know_the_student_by_another_name():
    server, _ = with_server(ask_score, model="judge", models=("other", "judge"))
    assert server.bodies[0]["model"] == "judge"


# Starting


def test_no_server_there():
    url = f"http://127.0.0.1:{closed_port()}/v1"
    message = start_refusal(url)
    assert message.startswith(f"`{url}` can't be used as a server: no answer from `{url}/models` after 3 tries; ")
    assert "ClientConnectorError" in message
    assert f"Start one with `vllm serve {STUDENT}` (with the CPU package: " in message
    assert f"`python -m vllm.entrypoints.openai.api_server --model {STUDENT} --no-enable-chunked-prefill`" in message
    assert "with the `/v1` at the end; a key is read from PALIGN_API_KEY" in message


def test_one_of_two_servers_missing():
    async def run():
        async with Server().serving() as server:
            missing = f"http://127.0.0.1:{closed_port()}/v1"
            engine = ServerEngine(STUDENT, [server.url, missing], pauses=NO_PAUSE)
            with pytest.raises(EngineUnavailable, match=f"`{missing}` can't be used"):
                await engine.start()

    asyncio.run(run())


def test_an_address_without_v1():
    async def run():
        async with Server().serving() as server:
            engine = ServerEngine(STUDENT, server.url.removesuffix("/v1"), pauses=NO_PAUSE)
            with pytest.raises(EngineUnavailable, match="refused the request: 404 .*with the `/v1` at the end"):
                await engine.start()

    asyncio.run(run())


def test_a_slash_at_the_end_of_the_address_is_no_matter():
    async def run():
        async with Server().serving() as server:
            engine = ServerEngine(STUDENT, server.url + "/", pauses=NO_PAUSE)
            await engine.start()
            await engine.score(PROMPT, LABELS, "p")
            await engine.close()
            assert len(server.bodies) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("models", "served"), [(("owner/other",), "`owner/other`"), (("a", "b"), "`a`, `b`"), ((), "nothing")]
)
def test_a_server_of_another_model(models, served):
    with pytest.raises(EngineUnavailable, match=f"doesn't serve `{STUDENT}` but {served}. .*which name.*`model`"):
        with_server(ask_score, models=models)


@pytest.mark.parametrize(
    "answer", ["[]", "{}", '{"data": 3}', '{"data": [{}]}', '{"data": null}', "null", "hello", ""]
)
def test_a_list_of_models_that_is_none(answer):
    with pytest.raises(EngineUnavailable, match="can't be used as a server: .*Start one with `vllm serve"):
        with_server(ask_score, models_plan=[answer])


def test_a_server_that_is_still_starting_is_waited_for():
    server, read = with_server(ask_score, models_plan=[503, 502])
    assert read.logprobs == (-0.25, -1.75)
    assert server.asked_models == 3


def test_nothing_is_answered_before_start_or_after_close():
    async def run():
        engine = ServerEngine(STUDENT, "http://127.0.0.1:1/v1")
        with pytest.raises(EngineDied, match="not running"):
            await ask_score(engine)
        async with Server().serving() as server:
            engine = ServerEngine(STUDENT, server.url)
            await engine.start()
            await engine.close()
            await engine.close()
            with pytest.raises(EngineDied, match="not running"):
                await ask_text(engine)
            assert server.bodies == []

    asyncio.run(run())


# What may pass, and what can't


@pytest.mark.parametrize("passing", [[429], [503], [500], [429, 503], [408, 425]])
def test_what_may_pass_is_tried_again(passing):
    server, read = with_server(ask_score, *passing, scored())
    assert read.logprobs == (-0.25, -1.75)
    assert len(server.bodies) == len(passing) + 1
    assert all(body == server.bodies[0] for body in server.bodies)


@pytest.mark.parametrize("status", [500, 429])
def test_what_does_not_pass_is_an_error_of_the_row_that_names_the_tries(status):
    message, server = refusal(RequestFailed, ask_score, status)
    assert message == (
        f"no answer from `{server.url}/completions` after 3 tries; the last one: {status} 'status {status}'"
    )
    assert len(server.bodies) == 3


def test_the_pauses_are_the_tries():
    message, server = refusal(RequestFailed, ask_text, 503, pauses=())
    assert "after 1 try;" in message
    assert len(server.bodies) == 1
    _, server = refusal(RequestFailed, ask_text, 503, pauses=(0.001,) * 4)
    assert len(server.bodies) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
@pytest.mark.parametrize("ask", [ask_score, ask_text])
def test_a_refused_request_is_not_tried_again(status, ask):
    message, server = refusal(RequestFailed, ask, status)
    assert message == f"`{server.url}/completions` refused the request: {status} 'status {status}'"
    assert len(server.bodies) == 1


def test_a_long_refusal_is_cut():
    async def long(request):
        return web.Response(status=400, text="x" * 100_000)

    message, _ = refusal(RequestFailed, ask_score, long)
    assert len(message) < 400


async def half(request):
    """Promises more than it sends, then ends the connection."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    request.transport.close()
    return response


async def half_chunked(request):
    """Ends the connection between two chunks."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b'{"choices": [')
    request.transport.close()
    return response


@pytest.mark.parametrize("broken", [drop, half, half_chunked])
def test_a_connection_that_ends_midway_is_tried_again(broken):
    server, read = with_server(ask_score, broken, scored())
    assert read.logprobs == (-0.25, -1.75)
    assert len(server.bodies) == 2


@pytest.mark.parametrize("broken", [drop, half, half_chunked])
def test_connections_that_always_end_midway_are_an_error_of_the_row(broken):
    message, server = refusal(RequestFailed, ask_text, broken)
    assert "after 3 tries; the last one: " in message
    assert not message.endswith(": ")
    assert len(server.bodies) == 3


async def slow(request):
    await asyncio.sleep(60)
    return web.json_response(scored())


def test_what_takes_too_long_is_an_error_of_the_row_at_once():
    async def twice(engine):
        with pytest.raises(RequestFailed) as refused:
            await ask_score(engine)
        assert "/completions` took longer than the 1 s that a request may take" in str(refused.value)
        assert "`timeout` allows more" in str(refused.value)
        return await ask_score(engine)

    server, read = with_server(twice, slow, scored(), timeout=1)
    assert read.logprobs == (-0.25, -1.75)
    assert len(server.bodies) == 2


def test_rows_that_take_too_long_never_end_the_run():
    async def many(engine):
        for _ in range(2 * FAILED_ROWS):
            with pytest.raises(RequestFailed, match="took longer than the 0.4 s"):
                await ask_score(engine)

    with_server(many, slow, timeout=0.4)


def test_an_answer_may_take_its_time():
    """Only the connection and the whole are limited, not how long nothing comes."""

    async def limits(engine):
        return engine._http.timeout

    _, timeout = with_server(limits)
    assert timeout.total >= 3600
    assert timeout.sock_read is None
    assert timeout.sock_connect <= 60


def test_rows_that_fail_one_after_another_end_the_run_and_one_answer_begins_the_count_anew():
    async def rows(engine):
        told = []
        for _ in range(2 * FAILED_ROWS):
            try:
                told.append(await ask_score(engine))
            except (RequestFailed, EngineDied) as error:
                told.append(error)
        return told

    plan = [500] * (FAILED_ROWS - 1) + [scored()] + [500]
    _, told = with_server(rows, *plan, pauses=())
    kinds = [Score if isinstance(one, Score) else EngineDied if isinstance(one, EngineDied) else None for one in told]
    assert kinds == [*[None] * (FAILED_ROWS - 1), Score, *[None] * (FAILED_ROWS - 1), EngineDied]
    assert str(told[-1]).startswith(f"{FAILED_ROWS} rows in a row failed, the last one so: no answer from `http")
    assert "500 'status 500'" in str(told[-1])


def test_a_refused_row_says_nothing_about_the_server():
    async def rows(engine):
        for _ in range(3 * FAILED_ROWS):
            with pytest.raises(RequestFailed, match="refused the request: 400"):
                await ask_text(engine)

    with_server(rows, 400, pauses=())


def test_the_samples_of_a_row_fail_as_one_row():
    sampling = Sampling(max_tokens=3, temperature=1.0, n=3 * FAILED_ROWS, seed=5)
    message, _ = refusal(RequestFailed, lambda engine: engine.generate(PROMPT, sampling, "p"), 500, pauses=())
    assert "after 1 try;" in message


def test_a_server_that_goes_away_is_a_death():
    async def run():
        async with Server().serving() as server:
            engine = ServerEngine(STUDENT, server.url, pauses=NO_PAUSE)
            await engine.start()
        with pytest.raises(EngineDied, match="after 3 tries; the last one: ClientConnectorError"):
            await ask_score(engine)
        await engine.close()

    asyncio.run(asyncio.wait_for(run(), timeout=20))


def test_something_else_than_http():
    async def talk(reader, writer):
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            engine = ServerEngine(STUDENT, f"http://127.0.0.1:{port}/v1", pauses=NO_PAUSE)
            with pytest.raises(EngineUnavailable, match="doesn't answer in HTTP: "):
                await engine.start()

    asyncio.run(asyncio.wait_for(run(), timeout=20))


def test_a_question_that_waits_for_its_next_try_hears_that_the_engine_is_closed():
    busy = asyncio.Event()

    async def overloaded(request):
        busy.set()
        return web.Response(status=503)

    async def close(engine):
        question = asyncio.create_task(ask_score(engine))
        await busy.wait()
        await engine.close()
        with pytest.raises(EngineDied, match="not running"):
            await question

    with_server(close, overloaded, pauses=(0.5, 0.5))


def test_labels_are_read_without_the_penalties_of_the_model():
    server, _ = with_server(ask_score, scored())
    (body,) = server.bodies
    assert [body[f"{name}_penalty"] for name in ("repetition", "presence", "frequency")] == [1.0, 0.0, 0.0]


def test_a_cancelled_question_is_no_death():
    asked = asyncio.Event()

    async def silent(request):
        asked.set()
        return await slow(request)

    async def cancel(engine):
        question = asyncio.create_task(ask_score(engine))
        await asked.wait()
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        return await ask_score(engine)

    _, read = with_server(cancel, silent, scored())
    assert read.logprobs == (-0.25, -1.75)


# Answers that are none


@pytest.mark.parametrize("ask", [ask_score, ask_text])
@pytest.mark.parametrize("answer", ["<html>busy</html>", "", '{"choices": [', b"\xff\xfe\x00\x81"])
def test_an_answer_that_is_no_json(ask, answer):
    message, server = refusal(RequestFailed, ask, answer)
    assert message.startswith("the server's answer is no JSON: '")
    assert len(server.bodies) == 1


def entry(**changes):
    return {"choices": [{"index": 0, "logprobs": {"tokens": ["token_id:7"], "top_logprobs": [SAID]} | changes}]}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [scored()],
        "null",
        "3",
        '"text"',
        {},
        {"choices": []},
        {"choices": None},
        {"choices": {}},
        {"choices": [3]},
        {"choices": [{}]},
        {"choices": [{"index": 0, "text": "yes"}]},
        {"choices": [{"index": 0, "logprobs": None}]},
        {"choices": [{"index": 0, "logprobs": []}]},
        entry(top_logprobs=None),
        entry(top_logprobs=[]),
        entry(top_logprobs=[None]),
        entry(top_logprobs=[[-0.25, -1.75]]),
        entry(top_logprobs=[SAID | {"token_id:7": None}]),
        entry(top_logprobs=[SAID | {"token_id:7": "high"}]),
        entry(top_logprobs=[SAID | {"token_id:7": [-0.25]}]),
        entry(tokens=[]),
        entry(tokens=None),
        {"error": {"message": "busy"}},
        {"choices": [choice()]},
    ],
)
def test_an_answer_without_readable_log_probabilities(answer):
    message, server = refusal(RequestFailed, ask_score, answer)
    assert message.startswith("the server's answer has no readable log-probabilities: ")
    assert len(message) < 300
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("table", "missing"),
    [
        ({"token_id:7": -0.25}, "token_id:11"),
        ({"token_id:3": -0.25}, "token_id:7, token_id:11"),
        ({"7": -0.25, "11": -1.0}, "token_id:7, token_id:11"),
        ({"ENOUGH": -0.25, "NOT": -1.0}, "token_id:7, token_id:11"),
        ({}, "token_id:7, token_id:11"),
    ],
)
def test_log_probabilities_without_the_labels(table, missing):
    message, _ = refusal(RequestFailed, ask_score, scored(table))
    assert message.startswith(f"the server gave no log-probability for {missing}: it must understand ")
    assert "`logprob_token_ids` and `return_tokens_as_token_ids`, as `vllm serve` does" in message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_log_probabilities_that_are_no_numbers(number):
    answer = json.dumps(scored()).replace("-1.75", number)
    message, _ = refusal(RequestFailed, ask_score, answer)
    assert message.startswith("the labels' log-probabilities are no finite numbers: [-0.25, ")


@pytest.mark.parametrize(
    "answer",
    [
        [],
        "null",
        {},
        {"choices": None},
        {"choices": [3]},
        {"choices": [{"index": 0, "text": "so", "finish_reason": "stop"}]},
        {"choices": [choice() | {"token_ids": None}]},
        {"choices": [choice() | {"token_ids": ["a"]}]},
        {"choices": [{"index": 0, "token_ids": [1]}]},
    ],
)
def test_a_text_without_token_ids(answer):
    message, server = refusal(RequestFailed, ask_text, answer)
    assert message.startswith("the server's answer has no token ids (it must understand `return_token_ids`): ")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("given", [0, 2])
def test_more_or_fewer_texts_than_asked_for(given):
    message, _ = refusal(RequestFailed, ask_text, {"choices": [choice(index) for index in range(given)]})
    assert message == f"the server gave {given} completions where 1 was asked for"


@pytest.mark.parametrize("reason", [None, "abort", "error", ""])
def test_a_text_that_is_neither_whole_nor_cut(reason):
    message, _ = refusal(RequestFailed, ask_text, {"choices": [choice(reason=reason)]})
    assert message.startswith(f"the server ended a completion with the reason {reason!r}")


def test_one_bad_answer_leaves_the_next_alone():
    async def twice(engine):
        with pytest.raises(RequestFailed):
            await ask_score(engine)
        return await ask_score(engine)

    _, read = with_server(twice, {}, scored())
    assert read.logprobs == (-0.25, -1.75)


# Answers that can't be true


DEEP = "[" * 100_000 + "]" * 100_000


def streamed(parts, pause=0.0, sent=None, encoding=None):
    """Answers 200 with the given parts, as far as anybody reads them; `sent` gets their sizes."""

    async def stream(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if encoding is not None:
            response.headers["Content-Encoding"] = encoding
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                await response.write(part)
                if sent is not None:
                    sent.append(len(part))
                await asyncio.sleep(pause)
        return response

    return stream


@pytest.mark.parametrize("ask", [ask_score, ask_text])
def test_a_body_is_read_no_further_than_an_answer_to_the_request_can_be_long(ask):
    sent = []
    flood = streamed((b" " * 2**20 for _ in range(200)), sent=sent)
    message, server = refusal(RequestFailed, ask, flood)
    assert (
        "/completions` gave more than the 10" in message and "bytes that an answer to this request can have" in message
    )
    assert sum(sent) < 50 * 2**20
    assert len(server.bodies) == 1


def test_a_compressed_flood_is_cut_too():
    bomb = gzip.compress(b" " * 200 * 2**20, 1)
    message, server = refusal(RequestFailed, ask_text, streamed([bomb], encoding="gzip"))
    assert "bytes that an answer to this request can have" in message
    assert len(server.bodies) == 1


def test_the_connection_after_a_flood_is_another_one():
    async def twice(engine):
        with pytest.raises(RequestFailed, match="gave more than"):
            await ask_score(engine)
        return await ask_score(engine)

    _, read = with_server(twice, streamed(b" " * 2**20 for _ in range(50)), scored())
    assert read.logprobs == (-0.25, -1.75)


def test_of_a_refusal_only_the_beginning_is_read():
    sent = []

    async def refuse(request):
        response = web.StreamResponse(status=400)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                await response.write(b"x" * 2**20)
                sent.append(2**20)
        return response

    message, _ = refusal(RequestFailed, ask_score, refuse)
    assert "refused the request: 400 'xxx" in message and len(message) < 400
    assert sum(sent) < 50 * 2**20


def test_a_list_of_models_has_a_largest_size():
    sent = []
    with pytest.raises(EngineUnavailable, match="gave more than the 16777216 bytes"):
        with_server(ask_score, models_plan=[streamed((b" " * 2**20 for _ in range(200)), sent=sent)])
    assert sum(sent) < 70 * 2**20


@pytest.mark.parametrize("ask", [ask_score, ask_text])
def test_an_answer_that_drips_ends_by_the_timeout(ask):
    drip = streamed((b" " for _ in range(10_000)), pause=0.01)
    message, server = refusal(RequestFailed, ask, drip, timeout=0.3)
    assert "/completions` took longer than the 0.3 s that a request may take" in message
    assert len(server.bodies) == 1


@pytest.mark.parametrize("version", [slow, streamed((b" " for _ in range(10_000)), pause=0.01)])
def test_a_release_that_never_comes_is_unknown_long_before_the_timeout(monkeypatch, version):
    monkeypatch.setattr(server_module, "_ABOUT_S", 0.2)

    async def identity(engine):
        await ask_score(engine)
        return engine.identity

    assert with_server(identity, version=version)[1] == EngineIdentity("server", "unknown", "unknown")


@pytest.mark.parametrize("version", [DEEP, b"\xff", '{"version": "\\u001b[2J"}', '{"version": {"a": 1}}', "x" * 10**6])
def test_a_release_that_can_not_be_one_is_unknown(version):
    async def identity(engine):
        return engine.identity

    assert with_server(identity, version=version)[1] == EngineIdentity("server", "unknown", "unknown")


def test_a_list_of_models_that_never_comes_is_an_error_long_before_the_timeout(monkeypatch):
    monkeypatch.setattr(server_module, "_ABOUT_S", 0.2)
    with pytest.raises(
        EngineUnavailable, match=r"/models` took longer than the 0.2 s that a request may take\. Start"
    ):
        with_server(ask_score, models_plan=[slow])


def test_names_of_models_are_shown_without_control_characters_and_not_all():
    with pytest.raises(EngineUnavailable) as refused:
        with_server(ask_score, models=["\x1b[2Jevil", *(f"model {number}" for number in range(50))])
    message = str(refused.value)
    assert message.isprintable()
    assert "but ` [2Jevil`, `model 0`," in message and "`model 18` and 31 more." in message


@pytest.mark.parametrize("charset", ["latin-1", "utf-7", "utf-16", "rot13", "no-such-charset", "idna"])
def test_the_charset_of_the_headers_is_no_matter(charset):
    async def marked(request):
        body = json.dumps({"choices": [choice() | {"text": "é"}]}, ensure_ascii=False).encode()
        return web.Response(body=body, headers={"Content-Type": f"application/json; charset={charset}"})

    _, read = with_server(ask_text, marked)
    assert read.samples[0].token_ids == (4, 5, 2)


@pytest.mark.parametrize(
    ("ask", "answer", "said"),
    [
        (ask_score, scored({"token_id:7": 5.0, "token_id:11": 4.0}), "they are at most 0"),
        (ask_score, scored({"token_id:7": 1e308, "token_id:11": -1.0}), "they are at most 0"),
        (ask_score, json.dumps(scored()).replace("-1.75", "Infinity"), "no finite numbers"),
        (ask_score, DEEP, "nested too deeply"),
        (ask_text, DEEP, "nested too deeply"),
        (ask_text, {"choices": [choice(ids=[4] * 40)]}, "gave 40 tokens where at most 5 were asked for"),
        (ask_text, {"choices": [choice(ids=[4, -5])]}, "gave the token id -5"),
        (ask_text, {"choices": [choice(ids=[4, 100])]}, "gave the token id 100, and the student's ids are 0 to 99"),
        (ask_text, {"choices": [choice(ids=[4, 2**64])]}, "gave the token id 18446744073709551616"),
        (ask_text, {"choices": [choice(ids=[])]}, "without a token"),
        (ask_text, {"choices": [choice() | {"stop_reason": "else"}]}, "not among its stop texts"),
    ],
)
def test_an_answer_that_can_not_be_true_is_an_error_of_its_row_alone(ask, answer, said):
    """However many there are, at once and without another try."""

    async def rows(engine):
        for _ in range(2 * FAILED_ROWS):
            with pytest.raises(RequestFailed, match=said):
                await ask(engine)

    server, _ = with_server(rows, answer, vocabulary=100)
    assert len(server.bodies) == 2 * FAILED_ROWS


@pytest.mark.parametrize("count", [-1, 4, 10**30, 1e308, True])
def test_a_count_that_can_not_be_true_is_no_count(count):
    usage = {"prompt_tokens_details": {"cached_tokens": count}}
    assert with_server(ask_score, scored(**usage))[1].cached_tokens == 0
    assert with_server(ask_text, {"choices": [choice()], "usage": usage})[1].cached_tokens == 0


# The key


KEY = "sk-very-secret-0123456789"


async def echo(request, status=401):
    return web.Response(status=status, text=f"wrong key: {request.headers['Authorization']}")


async def echo_garbage(request):
    return await echo(request, 200)


async def echo_busy(request):
    return await echo(request, 503)


async def echo_json(request):
    return web.json_response({"you": request.headers["Authorization"]})


@pytest.fixture
def keyed(monkeypatch):
    monkeypatch.setenv("PALIGN_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")


def test_the_key_of_the_environment_is_sent(keyed):
    server, _ = with_server(ask_score)
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {KEY}"] * 2


@pytest.mark.parametrize("around", ["{}\n", " {}\r\n", "\t{}"])
def test_the_line_end_of_a_key_is_left_out(monkeypatch, around):
    monkeypatch.setenv("PALIGN_API_KEY", around.format(KEY))
    server, _ = with_server(ask_score)
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("name", ["PALIGN_API_KEY", "OPENAI_API_KEY"])
def test_a_key_of_several_lines_is_refused_unseen(monkeypatch, name):
    monkeypatch.delenv("PALIGN_API_KEY", raising=False)
    monkeypatch.setenv(name, f"{KEY}\nX-Other: red")
    message = start_refusal("http://127.0.0.1:1/v1")
    assert message.startswith(f"The key in `{name}` has a line break") and KEY not in message


def test_the_usual_key_serves_too(monkeypatch):
    monkeypatch.delenv("PALIGN_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    server, _ = with_server(ask_score)
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-another"}


def test_without_a_key_none_is_sent_and_headers_are(monkeypatch):
    monkeypatch.delenv("PALIGN_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server, _ = with_server(ask_score, headers={"X-Team": "blue"})
    assert not any("Authorization" in headers for headers in server.headers)
    assert {headers["X-Team"] for headers in server.headers} == {"blue"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (echo, RequestFailed),
        (echo_busy, RequestFailed),
        (echo_garbage, RequestFailed),
        (echo_json, RequestFailed),
        (drop, RequestFailed),
    ],
)
@pytest.mark.parametrize("ask", [ask_score, ask_text])
def test_the_key_is_in_no_message_and_no_log(keyed, caplog, ask, answer, error):
    """Not even where the server itself repeats it."""
    with caplog.at_level(logging.DEBUG):
        message, server = refusal(error, ask, answer)
    assert f"Bearer {KEY}" in server.headers[-1].values()
    assert KEY not in message
    assert KEY not in caplog.text
    if answer in (echo, echo_busy, echo_garbage, echo_json):
        assert "Bearer [key]" in message


def test_the_key_is_in_no_message_of_a_start(keyed, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError) as refused:
        with_server(ask_score, models_plan=[echo])
    assert "401" in str(refused.value)
    assert KEY not in str(refused.value) + caplog.text
    assert KEY not in repr(refused.value.__cause__)
    assert KEY not in start_refusal(f"http://127.0.0.1:{closed_port()}/v1")


# Several servers


def test_a_problem_stays_with_its_server_and_all_servers_work():
    async def run():
        async with Server().serving() as first, Server().serving() as second, Server().serving() as third:
            servers = {server.url: server for server in (first, second, third)}
            engine = ServerEngine(STUDENT, list(servers), pauses=NO_PAUSE, max_concurrency=5)
            assert engine.capacity[0] == 15
            await engine.start()
            for number in range(30):
                for prompt in ([number, 1], [number, 1, 2], [number, 1, 2, 3]):
                    await engine.score(prompt, LABELS, f"problem {number}")
            await engine.close()
            return servers, [engine.url_of(f"problem {number}") for number in range(30)]

    servers, urls = asyncio.run(asyncio.wait_for(run(), timeout=20))
    assert set(urls) == set(servers)
    for url, server in servers.items():
        assert server.asked_models == 1
        expected = [number for number in range(30) if urls[number] == url]
        assert [body["prompt"][0] for body in server.bodies] == [number for number in expected for _ in range(3)]


def test_another_process_finds_the_same_server():
    urls = ["http://a/v1", "http://b/v1", "http://c/v1"]
    first, second = ServerEngine(STUDENT, urls), ServerEngine(STUDENT, tuple(urls))
    names = [f"problem {number}" for number in range(100)] + ["", "\ud800", "é"]
    assert [first.url_of(name) for name in names] == [second.url_of(name) for name in names]
    # Of all processes and days, not only of this one: the choice is part of what keeps caches warm.
    assert first.url_of("problem 0") == "http://a/v1"


def test_many_questions_at_once():
    async def many(engine):
        return await asyncio.gather(*(engine.score([number], LABELS, str(number)) for number in range(200)))

    server, read = with_server(many)
    assert len(read) == len(server.bodies) == 200
    assert sorted(body["prompt"][0] for body in server.bodies) == list(range(200))


# Redirects, and credentials


def redirect(status, to):
    async def answer(request):
        return web.Response(status=status, headers={"Location": to} if to else {})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("ask", [ask_score, ask_text])
def test_a_redirect_is_an_error_that_takes_neither_headers_nor_prompts_along(status, ask, keyed):
    async def run():
        async with Server().serving() as other, Server().serving() as server:
            server.plan = [redirect(status, other.url.replace("http://", "http://me:s3cr3t-word@") + "/completions")]
            engine = ServerEngine(STUDENT, server.url, pauses=NO_PAUSE, headers={"X-Mine": "my-own-header-value"})
            await engine.start()
            with pytest.raises(RequestFailed) as refused:
                await ask(engine)
            await engine.close()
            return other, server, str(refused.value)

    other, server, told = asyncio.run(asyncio.wait_for(run(), timeout=20))
    assert len(server.bodies) == 1 and not other.headers and not other.bodies
    assert f"redirect ({status})" in told and f"http://[key]@{other.url.split('/')[2]}" in told and "`urls`" in told
    assert "s3cr3t" not in told


@pytest.mark.parametrize("to", ["http://127.0.0.1:9/v1/models", "/v2/models", None])
def test_a_redirect_at_the_start_says_where_it_points(to):
    with pytest.raises(UserError) as refused:
        with_server(ask_score, models_plan=[redirect(307, to)])
    assert (f"to `{to}`" if to else "without saying where to") in str(refused.value)


def test_a_redirect_of_the_version_is_not_followed(keyed):
    async def run():
        async with Server().serving() as other:
            server = Server(version=redirect(302, other.url.replace("/v1", "/v1/models")))
            async with server.serving():
                engine = ServerEngine(STUDENT, server.url, pauses=NO_PAUSE)
                await engine.start()
                await engine.close()
                return other, engine.identity.version

    other, version = asyncio.run(asyncio.wait_for(run(), timeout=20))
    assert version == "unknown" and not other.headers


async def echo_version(request):
    return web.json_response(
        {"version": f"0.1 {request.headers.get('Authorization')} {request.headers.get('X-Mine')}"}
    )


def test_what_a_server_repeats_as_its_version_is_masked(keyed):
    async def identity(engine):
        return engine.identity.version

    _, version = with_server(identity, version=echo_version, headers={"X-Mine": "my-own-header-value"})
    assert version == "0.1 Bearer [key] [key]"


async def echo_all(request):
    return web.Response(status=400, text=json.dumps(dict(request.headers)))


@pytest.mark.parametrize("ask", [ask_score, ask_text])
def test_values_of_headers_are_in_no_message(ask):
    headers = {"X-Mine": 'it is "my" value', "x-api-key": "abc-def-ghi", "Cookie": "session=correcthorses"}
    message, server = refusal(RequestFailed, ask, echo_all, headers=headers)
    assert server.headers[-1]["X-Mine"] == headers["X-Mine"]
    assert not any(part in message for part in ("my", "abc-def", "horses")) and "[key]" in message


def test_credentials_of_a_url_are_sent_and_reach_no_message(monkeypatch, caplog):
    monkeypatch.setenv("PALIGN_API_KEY", KEY)

    async def run():
        async with Server(echo_all).serving() as server, Server().serving() as other:
            engine = ServerEngine(
                STUDENT, [server.url.replace("http://", "http://me:pa%40ss-w0rd@"), other.url], pauses=NO_PAUSE
            )
            await engine.start()
            problem = next(str(n) for n in range(99) if engine.url_of(str(n)) == server.url)
            with pytest.raises(RequestFailed) as refused:
                await engine.score(PROMPT, LABELS, problem)
            await engine.close()
            return server, other, str(refused.value)

    with caplog.at_level(logging.DEBUG):
        server, other, message = asyncio.run(asyncio.wait_for(run(), timeout=20))
    coded = base64.b64encode(b"me:pa@ss-w0rd").decode()
    assert {headers["Authorization"] for headers in server.headers} == {f"Basic {coded}"}
    assert {headers["Authorization"] for headers in other.headers} == {f"Bearer {KEY}"}
    for text in (message, caplog.text):
        assert not any(form in text for form in (coded, "pa@ss-w0rd", "pa%40ss-w0rd", KEY))
    assert "[key]" in message


def test_credentials_of_a_url_are_in_no_refusal_to_start():
    told = start_refusal(f"http://me:pa%40ss-w0rd@127.0.0.1:{closed_port()}/v1")
    assert "pa%40ss" not in told and "127.0.0.1" in told
