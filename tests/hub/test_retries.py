"""Which errors of which families are worth another try, how long is waited, and that no key is ever told."""

import email.utils
import json
import time
import traceback

import httpx2
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.hub.retries import Fault, GaveUp, Patience, Tries, fault_of, patiently, scrubbed


TOKEN = "hf_" + "Ab3" * 11


def refused(status: int, headers: dict[str, str] | None = None, words: str = "no") -> HfHubHTTPError:
    request = httpx2.Request("POST", "https://hub/api", headers={"Authorization": f"Bearer {TOKEN}"})
    return HfHubHTTPError(words, response=httpx2.Response(status, headers=headers, request=request))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "again", "status"),
    [
        *((refused(status), True, status) for status in (408, 409, 412, 425, 429, 500, 502, 503, 504)),
        *((refused(status), False, status) for status in (400, 401, 403, 404, 413, 422)),
        (httpx2.ReadError("reset"), True, None),
        (httpx2.RemoteProtocolError("cut"), True, None),
        (httpx2.ConnectTimeout("slow"), True, None),
        (caused(RuntimeError("Error while uploading 'x' to the Hub."), refused(503)), True, 503),
        (caused(RuntimeError("Error while uploading 'x' to the Hub."), refused(403)), False, 403),
        (ConnectionError("Network error: HTTP status server error (503 Service Unavailable)"), True, 503),
        (ConnectionError("Network error: HTTP status client error (401 Unauthorized)"), False, 401),
        (ConnectionError("connection reset"), True, None),
        (caused(LocalEntryNotFoundError("not there"), refused(503)), True, 503),
        (LocalEntryNotFoundError("not there"), True, None),
        (json.JSONDecodeError("cut off", "{", 1), True, None),
        (LocalTokenNotFoundError("Token is required"), False, 401),
        (OfflineModeIsEnabled("offline"), False, None),
    ],
)
def test_errors_of_the_hub_are_known_by_what_they_mean(error, again, status):
    fault = fault_of(error)
    assert fault is not None and (fault.again, fault.status) == (again, status)
    assert fault.denied == (status in (401, 403)) and fault.conflict == (status in (409, 412))


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("CUDA"), FileNotFoundError("x"), KeyError("x")])
def test_other_errors_are_no_matter_of_the_hub(error):
    assert fault_of(error) is None
    with pytest.raises(type(error)):
        patiently("doing", lambda: (_ for _ in ()).throw(error), Patience(sleep=lambda seconds: None))


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"retry-after": email.utils.formatdate(time.time() + 10**6, usegmt=True)}, 10**6 - 9000, 10**6),
        ({"ratelimit": '"api";r=0;t=42'}, 42, 42),
        ({"Retry-After": "soon"}, None, None),
        ({}, None, None),
    ],
)
def test_the_hub_says_how_long_to_wait(headers, least, most):
    wait = fault_of(refused(429, headers)).wait_s
    assert wait is None if least is None else least <= wait <= most


def test_waits_double_and_end():
    waited = []
    patience = Patience(tries=5, first_s=1, longest_s=4, sleep=waited.append)
    asked = []

    def call():
        asked.append(1)
        raise httpx2.ReadError("reset")

    with pytest.raises(GaveUp) as gave_up:
        patiently("doing", call, patience)
    assert waited == [1, 2, 4, 4] and len(asked) == 5 == gave_up.value.tries
    assert gave_up.value.__context__ is None, "its headers would hold the token"


def test_what_is_refused_is_asked_once():
    asked = []

    def call():
        asked.append(1)
        raise refused(403)

    with pytest.raises(GaveUp):
        patiently("doing", call, Patience(sleep=lambda seconds: pytest.fail("nothing to wait for")))
    assert asked == [1]


def test_a_call_that_comes_through_gives_its_result():
    left = [refused(503), httpx2.ReadError("reset")]

    def call():
        if left:
            raise left.pop()
        return "done"

    assert patiently("doing", call, Patience(sleep=lambda seconds: None)) == "done"


@given(st.lists(st.sampled_from([None, 0.0, 3.0, 50.0]), max_size=40), st.floats(1, 200))
def test_all_waits_together_are_bounded(asked, total):
    now = [0.0]
    patience = Patience(
        tries=1000, total_s=total, clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s)
    )
    tries = Tries("doing", patience)
    for wait in asked:
        try:
            tries.wait(Fault("busy", again=True, status=429, wait_s=wait))
        except GaveUp:
            break
    assert now[0] <= total


def test_conflicts_are_counted_apart():
    tries = Tries("doing", Patience(tries=2, conflicts=5, sleep=lambda seconds: None))
    for _ in range(4):
        tries.wait(Fault("412", again=True, status=412))
    tries.wait(Fault("503", again=True, status=503))
    with pytest.raises(GaveUp):
        tries.wait(Fault("503", again=True, status=503))


@pytest.mark.parametrize(
    "text",
    [
        f"401 for {TOKEN}",
        f"headers: {{'Authorization': 'Bearer {TOKEN}'}}",
        f"https://user:{TOKEN}@hub/me/rows failed",
        "PUT https://s3/x?X-Amz-Signature=0123secret failed",
        "token=0123secret456",
    ],
)
def test_no_key_is_told(text, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    told = scrubbed(text)
    assert TOKEN not in told and "secret" not in told
    error = caused(RuntimeError("Error while uploading 'x'"), refused(503, words=text))
    assert TOKEN not in fault_of(error).words


def test_a_token_of_no_known_form_is_not_told_either(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "my.own+token")
    assert scrubbed("it said my.own+token\nand more") == "it said [key] and more"


def test_a_traceback_of_giving_up_holds_no_key():
    try:
        patiently("doing", lambda: (_ for _ in ()).throw(refused(403, words=f"no, {TOKEN}")), Patience())
    except GaveUp as error:
        assert TOKEN not in "".join(traceback.format_exception(error))
