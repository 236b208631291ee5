"""HTTP engine for OpenAI-compatible servers, vLLM's first: token-id prompts to `/v1/completions`.

Several URLs share the work; all prompts of a problem go to the same server, for its prefix cache. Transient errors
(refused connections, 429, 5xx) are retried a bounded number of times with growing pauses; invalid responses are errors
at once. A failed request is its row's error; the server is dead when it refuses connections, or when several rows in a
row failed. Only `timeout` ends the wait for a response, since long generations take long. Responses are untrusted:
their size is bounded by the request, and `answers.py` checks their content.
The key comes from the environment. It, the headers' values and credentials in URLs are masked in all messages, even
where a server repeats them. Redirects are not followed: they would take prompts and headers to another host.

Samples are as reproducible as the engine behind the server makes them; see `vllm.py`, also for the option that a
server on a CPU needs for seeds (`--no-enable-chunked-prefill`).
"""

import asyncio
import base64
import hashlib
import os
from collections import Counter
from collections.abc import Awaitable
from typing import Any, TypeVar

from palign_hf.config.resolve import knows_old_names
from palign_hf.engines import answers
from palign_hf.engines.base import (
    UNKNOWN,
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    Generation,
    RequestFailed,
    Sampling,
    Score,
    side_by_side,
)
from palign_hf.errors import shown
from palign_hf.redact import redact, remember, remember_in, url_credentials, without_credentials


T = TypeVar("T")

API_KEY = "PALIGN_API_KEY"
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_PASSING = {408, 425, 429, 500, 502, 503, 504}
# Consecutive failed rows after which the server counts as dead.
FAILED_ROWS = 5
# A running server accepts connections at once, however long its responses take.
_CONNECT_S = 30.0
# Time limit of a request: tens of thousands of tokens on a busy server.
_TIMEOUT_S = 7200.0
# Number of a server's models that a message names.
_SHOWN_MODELS = 20
# Time limit of the requests for models and release.
_ABOUT_S = 60.0


class _Unanswered(RequestFailed):
    """All attempts of a request failed on a running server."""


class ServerEngine:
    """Engine over HTTP, for servers on other machines or with a longer life than this process."""

    name = "server"

    @knows_old_names
    def __init__(
        self,
        student: str,
        urls: str | list[str],
        model: str | None = None,
        max_concurrency: int = 64,
        timeout: float = _TIMEOUT_S,
        pauses: tuple[float, ...] = _PAUSES,
        headers: dict[str, str] | None = None,
        vocabulary: int | None = None,
    ) -> None:
        """`urls` like `http://host:8000/v1`; `model` is the student's name on the server, if it differs.

        `timeout` is the time limit of one request, in seconds; `vocabulary` the student's number of token ids.
        """
        given = [urls] if isinstance(urls, str) else list(urls)
        remember_in({"urls": given, "headers": headers or {}})
        # Credentials go into a header of their own: so no message has them, and no log of the HTTP library.
        self._urls = [without_credentials(url).rstrip("/") for url in given]
        self._credentials = {
            url: basic for url, one in zip(self._urls, given, strict=True) if (basic := _basic(one)) is not None
        }
        self._model = model or student
        self._max_concurrency = max_concurrency
        self._timeout = timeout
        self._pauses = tuple(pauses)
        self._headers = dict(headers or {})
        self._vocabulary = vocabulary
        self._http: Any = None
        self._version = UNKNOWN
        # Rows that have failed since the last answer, by server.
        self._failed: Counter[str] = Counter()

    @property
    def identity(self) -> EngineIdentity:
        """The release that the servers report; the number format of the weights is unknown."""
        return EngineIdentity(self.name, self._version)

    @property
    def capacity(self) -> tuple[int, int]:
        """`in_flight` problems for each server; the size of its cache is unknown."""
        return self._max_concurrency * len(self._urls), 2**62

    async def start(self) -> None:
        """Open the connections, and check each server's list of models."""
        import aiohttp

        headers = dict(self._headers)
        if key := _key():
            headers["Authorization"] = f"Bearer {key}"
        self._http = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(_CONNECT_S, self._timeout)),
            connector=aiohttp.TCPConnector(limit=0),
        )
        try:
            for url in self._urls:
                await self._check_model(url)
            self._version = ", ".join(sorted({redact(await self._ask_version(url)) for url in self._urls}))
            self._failed.clear()
        except BaseException:
            await self.close()
            raise

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """One generated token and the labels' log-probabilities, asked for by token id."""
        body = {
            "prompt": prompt_ids,
            "max_tokens": 1,
            "temperature": 0.0,
            # Else the server takes these from the student's own defaults, and the labels stand in the prompt.
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": len(label_ids),
            "logprob_token_ids": list(label_ids),
            "return_tokens_as_token_ids": True,
            "add_special_tokens": False,
        }
        most = answers.most_bytes(len(prompt_ids), 1, len(label_ids))
        answer = await self._row(problem, self._post(problem, body, most))
        return answers.score(answer, len(prompt_ids), label_ids)

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        """Completions as token ids (`return_token_ids`): a request a sample, each with its own seed."""
        most = answers.most_bytes(len(prompt_ids), sampling.max_tokens)
        asked = (self._post(problem, _body(prompt_ids, sampling, seed), most) for seed in sampling.seeds)
        given = await self._row(problem, side_by_side(asked))
        return Generation(
            samples=tuple(
                answers.text(answer, sampling, seed, self._vocabulary)
                for answer, seed in zip(given, sampling.seeds, strict=True)
            ),
            prompt_tokens=len(prompt_ids),
            # The later samples find the prompt that the first one has just read.
            cached_tokens=min(answers.cached_tokens(answer, len(prompt_ids)) for answer in given),
        )

    async def close(self) -> None:
        """Close the connections; the servers continue."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    def url_of(self, problem: str) -> str:
        """The server of a problem, the same in all processes."""
        digest = hashlib.sha256(problem.encode("utf-8", "surrogatepass")).digest()
        return self._urls[int.from_bytes(digest[:8], "big") % len(self._urls)]

    async def _check_model(self, url: str) -> None:
        try:
            limit = min(_ABOUT_S, self._timeout)
            models = answers.models(await self._send("GET", url, "models", None, answers.MODELS_BYTES, limit))
        except (EngineDied, RequestFailed) as error:
            raise EngineUnavailable(
                f"`{url}` can't be used as a server: {error}. Start one with `vllm serve {self._model}` (with the "
                f"CPU package: `python -m vllm.entrypoints.openai.api_server --model {self._model} "
                f"--no-enable-chunked-prefill`) and give its address with the `/v1` at the end; a key is read from "
                f"{API_KEY} or OPENAI_API_KEY."
            ) from error
        if self._model not in models:
            served = ", ".join(f"`{shown(name)}`" for name in models[:_SHOWN_MODELS]) or "nothing"
            if (more := len(models) - _SHOWN_MODELS) > 0:
                served += f" and {more} more"
            raise EngineUnavailable(
                f"The server `{url}` doesn't serve `{self._model}` but {served}. "
                f"The student itself must answer: serve it, or say under which name it is served with the engine "
                f"option `model`."
            )

    async def _ask_version(self, url: str) -> str:
        """Read vLLM's release beside `/v1`; other servers may lack it."""
        try:
            place = f"{url.removesuffix('/v1')}/version"
            async with (
                asyncio.timeout(min(_ABOUT_S, self._timeout)),
                self._http.get(place, headers=self._own(url), allow_redirects=False) as response,
            ):
                return answers.version(answers.parsed(await _read(response, answers.WORDS_BYTES)))
        except Exception:  # of the network, of HTTP, of JSON or of its content
            return UNKNOWN

    async def _row(self, problem: str, work: Awaitable[T]) -> T:
        """Answer a row; its failure is its own, unless the rows before it failed too."""
        url = self.url_of(problem)
        try:
            answer = await work
        except _Unanswered as error:
            self._failed[url] += 1
            if self._failed[url] >= FAILED_ROWS:
                raise EngineDied(f"{self._failed[url]} rows in a row failed, the last one so: {error}") from error
            raise
        self._failed[url] = 0
        return answer

    async def _post(self, problem: str, body: dict[str, Any], most: int) -> answers.Answer:
        body = {"model": self._model} | body
        return await self._send("POST", self.url_of(problem), "completions", body, most, self._timeout)

    def _own(self, server: str) -> dict[str, str]:
        """The server's credentials header, from its URL."""
        basic = self._credentials.get(server)
        return {} if basic is None else {"Authorization": basic}

    async def _send(
        self, method: str, server: str, what: str, body: dict[str, Any] | None, most: int, limit: float
    ) -> answers.Answer:
        """Send a request with retries; the last attempt distinguishes a dead server from a failed row.

        Each attempt takes at most `limit` seconds, its response at most `most` bytes.
        """
        import aiohttp

        url = f"{server}/{what}"
        for pause in (*self._pauses, None):
            http = self._http  # may be closed during a pause
            if http is None:
                raise EngineDied("the server engine is not running")
            there = True
            try:
                async with (
                    asyncio.timeout(limit),
                    http.request(method, url, json=body, headers=self._own(server), allow_redirects=False) as response,
                ):
                    # Of a refusal only the first words are shown.
                    good = response.status == 200
                    content = await _read(response, most if good else answers.WORDS_BYTES)
                if good and len(content) <= most:
                    return answers.parsed(content)
                if good:
                    raise RequestFailed(
                        f"`{url}` gave more than the {most} bytes that an answer to this request can have"
                    )
                if 300 <= response.status < 400:
                    raise RequestFailed(_redirected(url, response.status, response.headers.get("Location")))
                reason = f"{response.status} {answers.excerpt(content.decode(errors='replace'))!r}"
                if response.status not in _PASSING:
                    raise RequestFailed(f"`{url}` refused the request: {reason}")
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                there, reason = False, f"{type(error).__name__}: {error}"
            except TimeoutError:
                longer = "; the engine option `timeout` allows more" if limit == self._timeout else ""
                raise RequestFailed(
                    f"`{url}` took longer than the {limit:g} s that a request may take{longer}"
                ) from None
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                reason = f"{type(error).__name__}: {error}"
            except aiohttp.ClientError as error:
                raise RequestFailed(f"`{url}` doesn't answer in HTTP: {type(error).__name__}: {error}") from error
            if pause is None:
                break
            await asyncio.sleep(pause)
        tries = len(self._pauses) + 1
        failure = f"no answer from `{url}` after {tries} {'tries' if tries > 1 else 'try'}; the last one: {reason}"
        raise _Unanswered(failure) if there else EngineDied(failure)


def _key() -> str | None:
    """The key of the environment, without the line end that files of keys have."""
    name = next((name for name in (API_KEY, "OPENAI_API_KEY") if os.environ.get(name)), None)
    if name is None:
        return None
    key = os.environ[name].strip()
    remember(key)
    if not key.isprintable():
        raise EngineUnavailable(
            f"The key in `{name}` has a line break or another control character in it, so it can't be sent in a "
            f"header. Set the variable to the key alone."
        )
    return key or None


def _basic(url: str) -> str | None:
    """The value of the header that user and password of a URL are sent in."""
    found = url_credentials(url)
    if found is None:
        return None
    basic = f"Basic {base64.b64encode(':'.join(found).encode()).decode()}"
    remember(basic)
    return basic


def _redirected(url: str, status: int, to: str | None) -> str:
    where = f"to `{shown(to, 200)}`" if to else "without saying where to"
    return (
        f"`{url}` answers with a redirect ({status}) {where}, which is not followed: prompts and headers would go to "
        f"another place. Give the server's own address in `urls`"
    )


def _body(prompt_ids: list[int], sampling: Sampling, seed: int | None) -> dict[str, Any]:
    """A sample's request; what is left out the server would take from the student's own defaults."""
    body: dict[str, Any] = {
        "prompt": prompt_ids,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop_token_ids": list(sampling.stop_token_ids),
        "stop": list(sampling.stop),
        # A stop text may be a special token, and all generated tokens are returned.
        "skip_special_tokens": False,
        "include_stop_str_in_output": True,
        "return_token_ids": True,
        "add_special_tokens": False,
    }
    return body if seed is None else body | {"seed": seed}


async def _read(response: Any, most: int) -> bytes:
    """The body; of a longer one somewhat more than `most` bytes, and no more is received."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            # Else the connection would be kept for the next request, and the rest be read before it.
            response.close()
            break
    return b"".join(parts)
