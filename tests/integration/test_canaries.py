"""Secrets in every place where a run may be given one, through all stages, the Hub and the ways they fail.

Slow because it trains the toy student for a step and evaluates it with lighteval: both are imported for it.
"""

import asyncio
import base64
import html
import json
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from aiohttp import web
from hub_double import Double
from toy_pairs import toy_pairs
from transformers import AutoTokenizer

from palign_hf.cli import main
from palign_hf.students import resolve_student
from palign_hf.tables import escaped
from palign_hf.toy import traces


pytestmark = pytest.mark.integration

# One a place, each with a beginning of its own, so that half a canary is found, too.
CANARIES = {
    "environment": "Kq1-envir_onment*value",
    "password in the environment": "Kq2-pass_word&value",
    "header": 'Kq3-head_er|"value"*',
    "header with a key": "Kq4-x_api_key-value",
    "cookie": "Kq5cookie_value",
    "URL": "Kq6-url_p@ss word",
    "token among settings": "hf_Kq7SettingsToken99",
    "key among settings": "sk-Kq8-settings_value1",
    "Basic": "Kq9-basic_value",
    "wrong token of the Hub": "KqC-wrong_value",
    "file": "KqA-file_value",
    "source": "KqB-source_value",
}
BASIC = base64.b64encode(f"me:{CANARIES['Basic']}".encode()).decode()
# What the server does with a problem that has such a word in it.
WAYS = ("fine0", "status400", "fine1", "status401", "fine2", "status500", "fine3", "garbage", "fine4", "redirected")
WAYS += ("fine5", "nonsense", "fine6")


@dataclass
class Talkative:
    """A completions server that repeats whatever it was sent, in a thread of its own; `other` is another origin."""

    tokenizer: Any
    models: str = "fine"
    everything: str | None = None
    seen: list[dict[str, str]] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __enter__(self) -> "Talkative":
        self._loop, ready = asyncio.new_event_loop(), threading.Event()

        async def begin() -> None:
            self._runners = [
                await self._served(self._routes()),
                await self._served([web.route("*", "/{x:.*}", self._at_other)]),
            ]
            self.port, self.other = (runner.addresses[0][1] for runner in self._runners)
            ready.set()

        def work() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(begin())
            self._loop.run_forever()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        assert ready.wait(20)
        return self

    def __exit__(self, *raised: object) -> None:
        async def end() -> None:
            for runner in self._runners:
                await runner.cleanup()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    @property
    def url(self) -> str:
        """Its address with a user and a password."""
        return f"http://me:{quote(CANARIES['URL'], safe='')}@127.0.0.1:{self.port}/v1"

    @staticmethod
    async def _served(routes: list[web.RouteDef]) -> web.AppRunner:
        app = web.Application(client_max_size=2**24)
        app.add_routes(routes)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/models", self._models),
            web.get("/version", self._version),
            web.post("/v1/completions", self._completions),
        ]

    async def _at_other(self, request: web.Request) -> web.Response:
        self.elsewhere.append(f"{request.method} {request.path} {dict(request.headers)} {await request.text()}")
        return web.json_response({})

    async def _models(self, request: web.Request) -> web.Response:
        return await self._way(self.models, request) or web.json_response({"data": [{"id": "toy"}]})

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": f"1.0 {self._heard(request)}"})

    async def _completions(self, request: web.Request) -> web.Response:
        self.seen.append(dict(request.headers))
        body = await request.json()
        text = self.tokenizer.decode(body["prompt"])
        way = self.everything or next((way for way in WAYS if way in text), "fine")
        if (answer := await self._way(way, request)) is not None:
            return answer
        if "logprob_token_ids" in body:
            first, *rest = (f"token_id:{label}" for label in body["logprob_token_ids"])
            table = {first: -0.1} | dict.fromkeys(rest, -3.0)
            choice: dict[str, Any] = {"logprobs": {"tokens": [first], "top_logprobs": [table]}}
        else:
            ids = self.tokenizer.encode(r"So it is \boxed{4}.", add_special_tokens=False)[: body["max_tokens"]]
            choice = {"token_ids": ids, "finish_reason": "stop", "text": ""}
        return web.json_response({"choices": [{"index": 0} | choice], "model": self._heard(request)})

    async def _way(self, way: str, request: web.Request) -> web.Response | None:
        heard = self._heard(request)
        if way.startswith("status"):
            return web.Response(status=int(way.removeprefix("status")), text=f"{'x' * 150} {heard}")
        if way == "garbage":
            return web.Response(text=heard)
        if way == "nonsense":
            return web.json_response({"choices": [{"said": heard}]})
        if way == "redirected":
            to = f"http://127.0.0.1:{self.other}/v1?you={quote(heard)}"
            return web.Response(status=307, headers={"Location": to})
        return None

    @staticmethod
    def _heard(request: web.Request) -> str:
        coded = base64.b64encode(request.headers.get("X-Mine", "").encode()).decode()
        return f"{dict(request.headers)} {json.dumps(dict(request.headers))} {coded}"


def forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, cut, escaped, quoted or coded."""
    found = {
        secret,
        escaped(secret),
        quote(secret),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        html.escape(secret),
    }
    content = secret.encode()
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + content).decode()
        found.add(coded[4 : len(coded) - 4])
    return found | {form[:9] for form in (secret, escaped(secret), quote(secret, safe=""))}


def leaks(text: str, more: dict[str, str]) -> list[str]:
    """The places whose canaries are in a text."""
    return [name for name, secret in (CANARIES | more).items() if any(form in text for form in forms(secret))]


def content_of(file: Path) -> str:
    """What a file holds; of a table also what one reads in it."""
    told = file.read_bytes().decode("latin-1")
    return told + repr(pq.read_table(file).to_pylist()) if file.suffix == ".parquet" else told


class Watched:
    """A session of commands: each is given as it would be typed, and what it says is kept."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._capture = folder, monkeypatch, capfd
        self.said: dict[str, str] = {}

    def palign(self, *words: str, status: int | None = 0) -> str:
        """What the command said, on both streams."""
        self._patch.setattr(sys, "argv", ["palign", *words])
        self._capture.readouterr()
        try:
            ended = main(list(words))
        except SystemExit as left:
            ended = left.code
        told = self._capture.readouterr()
        self.said[f"{len(self.said)} {words[0]}"] = said = told.out + told.err
        assert status is None or ended == status, f"{words} ended with {ended}:\n{said[-3000:]}"
        return said


@pytest.fixture
def watched(tmp_path, monkeypatch, capfd, online) -> Watched:
    for name in ("HF_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PALIGN_API_KEY", CANARIES["environment"])
    monkeypatch.setenv("MY_SERVICE_PASSWORD", CANARIES["password in the environment"])
    return Watched(tmp_path, monkeypatch, capfd)


@pytest.fixture
def server() -> Iterator[Talkative]:
    student = resolve_student("palign-toy", None)
    with Talkative(AutoTokenizer.from_pretrained(student.where)) as talkative:
        yield talkative


@pytest.fixture
def calls(hub: Double, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that the double of the Hub was sent; a token belongs into one header and nowhere else."""
    places = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.endpoint}{places}")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    found: list[str] = []
    answer = hub._answer

    def kept(call, routes):
        headers = {name: value for name, value in call.headers.items() if name.lower() != "authorization"}
        body = call.body.decode("latin-1")
        decoded = "".join(
            base64.b64decode(json.loads(line)["value"]["content"]).decode("latin-1")
            for line in body.splitlines()
            if line.startswith('{"key": "file"') or line.startswith('{"key":"file"')
        )
        found.append(f"{call.method} {call.target} {headers} {body} {decoded}")
        return answer(call, routes)

    monkeypatch.setattr(hub, "_answer", kept)
    return found


def engine_options(server: Talkative, url: str | None = None) -> list[str]:
    """A server with credentials in its URL, or with a header for them, and headers with keys."""
    headers = {"X-Mine": CANARIES["header"], "x-api-key": CANARIES["header with a key"]}
    headers |= {"Cookie": f"session={CANARIES['cookie']}; theme=dark"}
    given = {"urls": url or server.url, "model": "toy", "pauses": [0.001], "headers": headers}
    return ["--engine", "server", "--engine-options", json.dumps(given)]


def test_no_secret_gets_into_artifacts_streams_ledgers_cards_or_requests(
    watched, server, hub, calls, caplog, monkeypatch
):
    folder = watched.folder
    caplog.set_level(logging.DEBUG)
    problems = traces("test").select(range(len(WAYS)))
    asked = [{**row, "question": f"{row['question']} {way}"} for row, way in zip(problems, WAYS, strict=True)]
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    runs = {name: folder / "runs" / name for name in ("truncate", "align", "train", "evaluate")}
    usual = ["--student", "palign-toy", "--ledger", str(folder / "ledger"), *engine_options(server)]

    # The stages, where a third of the rows fails, each in another way.
    source = ["--traces.source", str(folder / "traces.jsonl"), "--output-dir", str(runs["truncate"])]
    watched.palign("truncate", *source, *usual, status=1)
    source = ["--prefixes.source", str(runs["truncate"]), "--output-dir", str(runs["align"]), "--n", "2"]
    watched.palign("align", *source, *usual, status=None)
    assert json.loads((runs["align"] / "report.json").read_text())["reasons"]
    tasks = ["--tasks", "toy", "--max-samples", "2", "--n", "1", "--output-dir", str(runs["evaluate"])]
    watched.palign("evaluate", *tasks, *usual)

    # A training, of which more lies in the folder than a student; then all of it goes to the Hub.
    steps = ["use_cpu=true", "bf16=false", "max_steps=1", "per_device_train_batch_size=1", "max_length=2048"]
    steps += ["save_strategy='no'"]
    training = [word for one in steps for word in ("--set", f"training.{one}")]
    pairs, _ = toy_pairs(3)
    pairs.to_parquet(str(folder / "pairs.parquet"))
    source = ["--pairs.source", str(folder / "pairs.parquet"), "--output-dir", str(runs["train"])]
    watched.palign("train", "--student", "palign-toy", *source, *training, "--stops", "0")
    outside = folder / "outside"
    outside.mkdir()
    for name in ("credentials.json", "secrets.txt", "notes.py", "chat.jinja", "own.safetensors"):
        (runs["train"] / name).write_text(json.dumps({"key": CANARIES["file"]}))
        (outside / name).write_text(CANARIES["file"])
        (runs["train"] / f"linked-{name}").symlink_to(outside / name)
    (runs["evaluate"] / "lighteval" / "linked").symlink_to(outside)
    for name, repo_id in {"truncate": "rows", "align": "pairs", "train": "student", "evaluate": "results"}.items():
        watched.palign("publish", str(runs[name]), f"tester/{repo_id}")
    watched.palign("publish", str(runs["evaluate"]), "tester/results", "--model", "tester/student")
    more = ["--evaluation", str(runs["evaluate"])]
    watched.palign("publish", str(runs["train"]), "tester/student", *more)

    # What goes wrong: at the server, at the Hub, in settings and in sources.
    anew = ["--traces.source", str(folder / "traces.jsonl"), "--output-dir", str(folder / "failed"), *usual[:2]]
    for models in ("status400", "status401", "status500", "garbage", "nonsense", "redirected"):
        server.models = models
        told = watched.palign("truncate", *anew, *engine_options(server), status=2)
        assert "can't be used as a server" in told
    server.models = "fine"
    for everything in ("status401", "status503", "redirected"):
        server.everything = everything
        ledger = ["--ledger", str(folder / f"ledger-{everything}")]
        watched.palign("truncate", *anew, *ledger, "--overwrite", *engine_options(server), status=None)
    server.everything = None
    plain = f"http://127.0.0.1:{server.port}/v1"
    basic = {"urls": plain, "model": "toy", "headers": {"Authorization": f"Basic {BASIC}"}, "pauses": [0.001]}
    with_basic = ["--engine", "server", "--engine-options", json.dumps(basic)]
    watched.palign(
        "truncate", *anew, "--ledger", str(folder / "ledger-basic"), "--overwrite", *with_basic, status=None
    )
    hub.fault("POST", "/commit/", 403)
    watched.palign("publish", str(runs["truncate"]), "tester/again", status=2)
    monkeypatch.setenv("HF_TOKEN", CANARIES["wrong token of the Hub"])
    watched.palign("publish", str(runs["truncate"]), "tester/again", status=2)
    watched.palign("align", "--prefixes.source", "tester/rows", *usual, "--push-to-hub", "tester/again", status=2)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    token, key = CANARIES["token among settings"], CANARIES["key among settings"]
    refused = [
        ["train", *source, "--student", "palign-toy", "--set", f"training.hub_token={token}"],
        ["train", *source, "--student", "palign-toy", "--training", f"{{hub_token: {token}}}"],
        ["train", *source, "--student", "palign-toy", "--set", f"training.hub_model_id={token}", "--bogus"],
        ["truncate", *anew, "--engine-options", f"{{api_key: {key}}}"],
        ["truncate", *anew, "--engine-options", f"{{headers: {{X-Mine: {key}}}, bogus: 1}}"],
        ["truncate", *anew, "--engine-options", f"{{headers: {{X-Mine: {key}"],
        ["truncate", *anew, "--engine", "server", "--engine-options", f"{{urls: {server.url}, timeout: x}}"],
        ["truncate", *anew, f"--hub-token={token}"],
        ["publish", str(runs["train"]), token],
        ["publish", str(folder / token), "tester/x"],
        ["grade", str(folder / f"password={key}")],
    ]
    for words in refused:
        watched.palign(*words, status=2)
    url = f"https://me:{quote(CANARIES['source'])}@127.0.0.1:9/x.jsonl"
    watched.palign("truncate", "--traces.source", url, *usual, status=2)
    watched.palign("ledger", "show", str(folder / "ledger"))

    # Nothing of it is anywhere, and it was where it belongs.
    more = {"token of the Hub": hub.token}
    assert not server.elsewhere
    assert any(CANARIES["header with a key"] in heard.values() for heard in server.seen)
    found = {f"what `{name}` said": leaks(told, more) for name, told in watched.said.items()}
    found["the log"] = leaks(caplog.text, more)
    found |= {f"request {number}: {call[:80]}": leaks(call, more) for number, call in enumerate(calls)}
    written = [path for place in folder.iterdir() if place.name != "outside" for path in [place, *place.rglob("*")]]
    planted = {runs["train"] / name for name in ("credentials.json", "secrets.txt", "notes.py", "chat.jinja")}
    planted.add(runs["train"] / "own.safetensors")
    files = [path for path in written if path.is_file() and not path.is_symlink() and path not in planted]
    assert {"report.json", "report.md", "README.md", "samples.parquet"} <= {path.name for path in files}
    assert any(path.suffix == ".sqlite" for path in files)
    found |= {str(path.relative_to(folder)): leaks(content_of(path), more) for path in files}
    for kind, name in [("dataset", "rows"), ("dataset", "pairs"), ("dataset", "results"), ("model", "student")]:
        for path, content in hub.files(kind, f"tester/{name}").items():
            found[f"{name}/{path}"] = leaks(content.decode("latin-1"), more)
    assert not {place: names for place, names in found.items() if names}
    assert any("[key]" in told for told in watched.said.values())
    assert "[key]" in (runs["truncate"] / "report.json").read_text()
