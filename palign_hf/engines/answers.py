"""Validation of a completions server's responses: from JSON text to scores and completions.

Servers are foreign programs: types, ranges and counts of every response are checked, and an impossible response raises
`RequestFailed`, which is one row's error. Cost figures (cached tokens) and the release fail no row: an impossible
value counts as not given.
"""

import json
from dataclasses import dataclass
from typing import Any

from palign_hf.engines.base import UNKNOWN, Completion, RequestFailed, Sampling, Score, completion
from palign_hf.errors import shown


# What an answer may have in bytes: for its frame, a token of the prompt (its id), and a token that was written (its
# id and its text, escaped). A student in a loop can write the longest token of its vocabulary again and again.
_FRAME, _READ, _WRITTEN = 2**20, 16, 256
# The longest list of models, and the longest refusal or version, of which only the first words are shown.
MODELS_BYTES, WORDS_BYTES = 2**24, 2**16
# Tokenizers take no larger ids, and fail with errors of their own.
_LARGEST_ID = 2**31 - 1
# Only the beginning of a response is shown; masking and cutting needs no more of it.
_EXCERPT, _LOOKED_AT = 200, 4096
_VERSION_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed response and its beginning, for messages."""

    data: Any
    begin: str


def most_bytes(prompt_tokens: int, max_tokens: int, logprobs: int = 0) -> int:
    """Size limit of a response in bytes: generous, and bounded by the request."""
    return _FRAME + _READ * prompt_tokens + _WRITTEN * max_tokens * (1 + logprobs)


def excerpt(text: str) -> str:
    """The beginning of a server's text, for messages."""
    return shown(text[:_LOOKED_AT], _EXCERPT)


def parsed(body: bytes) -> Answer:
    """Parse JSON in UTF-8, whatever the headers declare."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        begin = excerpt(body[:_LOOKED_AT].decode(errors="replace"))
        raise RequestFailed(f"the server's answer is no JSON: {begin!r} is no UTF-8") from error
    try:
        return Answer(json.loads(text), excerpt(text))
    except ValueError as error:
        raise RequestFailed(f"the server's answer is no JSON: {excerpt(text)!r}") from error
    except RecursionError:  # without its thousand frames
        raise RequestFailed(f"the server's answer is nested too deeply to be read: {excerpt(text)!r}") from None


def models(answer: Answer) -> list[str]:
    """Names of the models that a server has."""
    try:
        names = [entry["id"] for entry in answer.data["data"]]
    except (KeyError, TypeError) as error:
        raise RequestFailed(f"the server's list of models is none: {answer.begin}") from error
    if not all(isinstance(name, str) for name in names):
        raise RequestFailed(f"the server's list of models has names that are no texts: {answer.begin}")
    return names


def version(answer: Answer) -> str:
    """The release that a server reports; unknown if it isn't plausible."""
    release = answer.data.get("version") if isinstance(answer.data, dict) else None
    fits = isinstance(release, str) and release.strip() and release.isprintable() and len(release) <= _VERSION_LENGTH
    return str(release) if fits else UNKNOWN


def score(answer: Answer, prompt_tokens: int, label_ids: tuple[int, ...]) -> Score:
    """Read the labels' log-probabilities from a response of one token."""
    lacking = "no readable log-probabilities"
    choices = _choices(answer, lacking)
    if len(choices) > 1:
        raise RequestFailed(f"the server gave {len(choices)} completions where 1 was asked for")
    try:
        read = choices[0]["logprobs"]
        tokens, tables = read["tokens"], read["top_logprobs"]
        token, table = tokens[0], tables[0]
    except (KeyError, IndexError, TypeError) as error:
        raise _unreadable(answer, lacking) from error
    if not (
        isinstance(tokens, list) and isinstance(tables, list) and isinstance(token, str) and isinstance(table, dict)
    ):
        raise _unreadable(answer, lacking)
    if (length := max(len(tokens), len(tables))) > 1:
        raise RequestFailed(f"the server gave {length} tokens where 1 was asked for")
    names = [f"token_id:{label}" for label in label_ids]
    if missing := [name for name in names if name not in table]:
        raise RequestFailed(
            f"the server gave no log-probability for {', '.join(missing)}: it must understand `logprob_token_ids` "
            f"and `return_tokens_as_token_ids`, as `vllm serve` does"
        )
    try:
        logprobs = tuple(_number(table[name]) for name in names)
    except (TypeError, OverflowError) as error:
        raise _unreadable(answer, lacking) from error
    return Score(
        logprobs=logprobs,
        top_is_label=token in names,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens(answer, prompt_tokens),
    )


def text(answer: Answer, sampling: Sampling, seed: int | None, vocabulary: int | None = None) -> Completion:
    """Read the single completion of a response; `vocabulary` is the student's number of token ids, if known."""
    lacking = "no token ids (it must understand `return_token_ids`)"
    choices = _choices(answer, lacking)
    if len(choices) != 1:
        raise RequestFailed(f"the server gave {len(choices)} completions where 1 was asked for")
    (choice,) = choices
    try:
        ids, reason = choice["token_ids"], choice["finish_reason"]
    except KeyError as error:
        raise _unreadable(answer, lacking) from error
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise _unreadable(answer, lacking)
    if reason not in ("stop", "length"):
        raise RequestFailed(
            f"the server ended a completion with the reason {_brief(reason)}, so whether it is complete is unknown"
        )
    if not ids:
        raise RequestFailed("the server gave a completion without a token, not even one that ends it")
    end = _LARGEST_ID + 1 if vocabulary is None else vocabulary
    if (strange := next((token for token in ids if not 0 <= token < end), None)) is not None:
        raise RequestFailed(
            f"the server gave the token id {_brief(strange)}, and the student's ids are 0 to {end - 1}: serve the "
            f"student of the run, with its own tokenizer"
        )
    stop = choice.get("stop_reason") if reason == "stop" else None
    return completion(sampling, ids, reason, seed, stop if isinstance(stop, str) else None)


def cached_tokens(answer: Answer, prompt_tokens: int) -> int:
    """Cached prompt tokens that the server reports; 0 if it reports none."""
    try:
        count = answer.data["usage"]["prompt_tokens_details"]["cached_tokens"]
    except (KeyError, TypeError):
        return 0
    return count if type(count) is int and 0 <= count <= prompt_tokens else 0


def _choices(answer: Answer, lacking: str) -> list[dict[str, Any]]:
    found = answer.data.get("choices") if isinstance(answer.data, dict) else None
    if not isinstance(found, list) or not all(isinstance(choice, dict) for choice in found):
        raise _unreadable(answer, lacking)
    return found


def _unreadable(answer: Answer, lacking: str) -> RequestFailed:
    return RequestFailed(f"the server's answer has {lacking}: {answer.begin}")


def _number(value: Any) -> float:
    """A JSON number; booleans are rejected."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{type(value).__name__} is no number")
    return float(value)


def _brief(value: Any) -> str:
    try:
        return shown(repr(value))
    except (RecursionError, ValueError):  # too deep, or with too many digits, to be written
        return f"of the type {type(value).__name__}"
