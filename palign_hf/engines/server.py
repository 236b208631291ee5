"""Any OpenAI-compatible server, `vllm serve` first: token-id prompts to `/v1/completions`.

Several URLs share the work; all prompts of a problem go to the same one, because its prefix cache lies there. What may
pass by itself (refused connections, 429, 5xx) is tried again with growing pauses, a bounded number of times; what
can't (an answer that isn't one) is an error at once. The key comes from the environment and reaches no message.
"""

import asyncio
import hashlib
import json
import os
from typing import Any

from palign_hf.engines.base import Completion, EngineDied, EngineUnavailable, RequestFailed, Sampling, Score


API_KEY = "PALIGN_API_KEY"
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class ServerEngine:
    """The same reads over HTTP: for engines that live elsewhere, or longer than this process."""

    name = "server"

    def __init__(
        self,
        student: str,
        urls: str | list[str],
        model: str | None = None,
        in_flight: int = 64,
        timeout: float = 600.0,
        pauses: tuple[float, ...] = _PAUSES,
        headers: dict[str, str] | None = None,
    ) -> None:
        """`urls` like `http://host:8000/v1`; `model` is the name the server knows the student by, if it differs."""
        self._urls = [url.rstrip("/") for url in ([urls] if isinstance(urls, str) else urls)]
        if not self._urls:
            raise EngineUnavailable("`engine='server'` needs at least one URL: `urls=['http://localhost:8000/v1']`.")
        for url in self._urls:
            if not url.startswith(("http://", "https://")):
                raise EngineUnavailable(
                    f"`{url}` is no address of a server: it must begin with `http://` or `https://`, as "
                    f"`http://localhost:8000/v1` does."
                )
        self._model = model or student
        self._in_flight = in_flight
        self._timeout = timeout
        self._pauses = tuple(pauses)
        self._headers = dict(headers or {})
        self._key: str | None = None
        self._http: Any = None

    @property
    def capacity(self) -> tuple[int, int]:
        """So many problems a server; how much its cache holds isn't known from here."""
        return self._in_flight * len(self._urls), 2**62

    async def start(self) -> None:
        """Open the connections and ask each server which models it has."""
        import aiohttp

        headers = dict(self._headers)
        self._key = os.environ.get(API_KEY) or os.environ.get("OPENAI_API_KEY")
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            connector=aiohttp.TCPConnector(limit=0),
        )
        try:
            for url in self._urls:
                await self._check_model(url)
        except BaseException:
            await self.close()
            raise

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """One generated token and the labels' log-probabilities, asked for by token id."""
        answer = await self._post(
            problem,
            {
                "prompt": prompt_ids,
                "max_tokens": 1,
                "temperature": 0.0,
                # Else the server takes these from the model's own defaults, and the labels stand in the prompt.
                "repetition_penalty": 1.0,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
                "logprobs": len(label_ids),
                "logprob_token_ids": list(label_ids),
                "return_tokens_as_token_ids": True,
                "add_special_tokens": False,
            },
        )
        try:
            read = answer["choices"][0]["logprobs"]
            table = {str(token): float(value) for token, value in read["top_logprobs"][0].items()}
            said = str(read["tokens"][0])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise RequestFailed(f"the server's answer has no readable log-probabilities: {_shown(answer)}") from error
        names = [f"token_id:{label}" for label in label_ids]
        if missing := [name for name in names if name not in table]:
            raise RequestFailed(
                f"the server gave no log-probability for {', '.join(missing)}: it must understand `logprob_token_ids` "
                f"and `return_tokens_as_token_ids`, as `vllm serve` does"
            )
        return Score(
            logprobs=tuple(table[name] for name in names),
            top_is_label=said in names,
            prompt_tokens=len(prompt_ids),
            cached_tokens=_cached_tokens(answer),
        )

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> list[Completion]:
        """Completions as token ids (`return_token_ids`)."""
        body: dict[str, Any] = {
            "prompt": prompt_ids,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "repetition_penalty": sampling.repetition_penalty,
            "n": sampling.n,
            "return_token_ids": True,
            "add_special_tokens": False,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        answer = await self._post(problem, body)
        try:
            read = [
                (tuple(int(token) for token in choice["token_ids"]), choice["finish_reason"])
                for choice in sorted(answer["choices"], key=lambda choice: choice["index"])
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise RequestFailed(
                f"the server's answer has no token ids (it must understand `return_token_ids`): {_shown(answer)}"
            ) from error
        if len(read) != sampling.n:
            raise RequestFailed(f"the server gave {len(read)} completions where {sampling.n} were asked for")
        if unfinished := [reason for _, reason in read if reason not in ("stop", "length")]:
            raise RequestFailed(
                f"the server ended a completion with the reason {unfinished[0]!r}, so it can't be told whole from cut"
            )
        return [Completion(ids, reason, len(prompt_ids), _cached_tokens(answer)) for ids, reason in read]

    async def close(self) -> None:
        """Close the connections; the servers go on."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    def url_of(self, problem: str) -> str:
        """The server of a problem: always the same one, however many processes ask."""
        digest = hashlib.sha256(problem.encode("utf-8", "surrogatepass")).digest()
        return self._urls[int.from_bytes(digest[:8], "big") % len(self._urls)]

    async def _check_model(self, url: str) -> None:
        try:
            answer = await self._send("GET", f"{url}/models", None)
            models = [str(entry["id"]) for entry in answer["data"]]
        except (EngineDied, RequestFailed, KeyError, TypeError) as error:
            raise EngineUnavailable(
                f"`{url}` can't be used as a server: {error}. Start one with `vllm serve {self._model}` and give its "
                f"address with the `/v1` at the end; a key is read from {API_KEY} or OPENAI_API_KEY."
            ) from error
        if self._model not in models:
            served = ", ".join(f"`{name}`" for name in models) or "nothing"
            raise EngineUnavailable(
                f"The server `{url}` doesn't serve `{self._model}` but {served}. "
                f"The judge must be the student: serve it, or say under which name it is served with `model=`."
            )

    async def _post(self, problem: str, body: dict[str, Any]) -> Any:
        return await self._send("POST", f"{self.url_of(problem)}/completions", {"model": self._model} | body)

    async def _send(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        """One request, with pauses between tries; `EngineDied` once the last try has failed."""
        import aiohttp

        for pause in (*self._pauses, None):
            http = self._http  # may be closed during a pause
            if http is None:
                raise EngineDied("the server engine is not running")
            try:
                async with http.request(method, url, json=body) as response:
                    text = self._without_key(await response.text(errors="replace"))
                if response.status == 200:
                    return _json(text)
                reason = f"{response.status} {text[:200]!r}"
                if response.status not in _PASSING:
                    raise RequestFailed(f"`{url}` refused the request: {reason}")
            except TimeoutError:
                reason = f"nothing within {self._timeout} s"
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                reason = f"{type(error).__name__}: {error}"
            except aiohttp.ClientError as error:
                raise RequestFailed(f"`{url}` doesn't answer in HTTP: {type(error).__name__}: {error}") from error
            if pause is None:
                break
            await asyncio.sleep(pause)
        raise EngineDied(f"no answer from `{url}` after {len(self._pauses) + 1} tries; the last one: {reason}")

    def _without_key(self, text: str) -> str:
        """A server may repeat the key that it refuses, and its words go into messages."""
        return text.replace(self._key, "[key]") if self._key else text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RequestFailed(f"the server's answer is no JSON: {text[:200]!r}") from error


def _cached_tokens(answer: Any) -> int:
    """What the server says it had cached; many say nothing, which counts as none."""
    try:
        return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"] or 0)
    except (KeyError, TypeError, ValueError):
        return 0


def _shown(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= 200 else text[:197] + "..."
