"""Options of engines: a misspelt one, or one that can't be what it is, is refused before anything is loaded."""

import inspect
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.engines import options
from palign_hf.engines.options import check_engine, check_options
from palign_hf.engines.server import ServerEngine
from palign_hf.engines.transformers import TransformersEngine
from palign_hf.errors import UserError


URLS = {"urls": ["http://localhost:8000/v1"]}


def refusal(engine, given):
    with pytest.raises(UserError) as refused:
        check_engine(engine, (URLS if engine == "server" else {}) | given)
    return str(refused.value)


@pytest.mark.parametrize(
    ("engine", "maker", "known"),
    [("server", ServerEngine, options._SERVER), ("transformers", TransformersEngine, options._TRANSFORMERS)],
)
def test_the_options_checked_are_those_that_the_engine_takes(engine, maker, known):
    of_the_run = {"student", "revision", "max_model_len", "trust_remote_code", "vocabulary"}
    assert set(known) == set(inspect.signature(maker).parameters) - of_the_run


def test_checking_imports_no_vllm_and_no_torch():
    code = (
        "import sys; from palign_hf.engines.options import check_engine; "
        "[check_engine(name, given) for name, given in (('vllm', {'max_num_seqs': 4}), ('transformers', {}), "
        "('server', {'urls': ['http://a/v1']}), ('auto', {}))]; "
        "print(sorted({'vllm', 'torch', 'transformers', 'aiohttp'} & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("engine", "given", "nearest"),
    [
        ("vllm", "gpu_memory_utilisation", "gpu_memory_utilization"),
        ("vllm", "max_num_seq", "max_num_seqs"),
        ("auto", "enforce_eagr", "enforce_eager"),
        ("server", "time_out", "timeout"),
        ("server", "max_concurency", "max_concurrency"),
        ("transformers", "dtyp", "dtype"),
        ("transformers", "thread", "threads"),
    ],
)
def test_a_misspelt_option_names_the_nearest(engine, given, nearest):
    message = refusal(engine, {given: 1})
    assert f"has no option `{given}` (nearest match: `{nearest}`). It takes " in message
    assert len(message) < 300


def test_an_option_of_another_engine_is_refused_with_those_that_fit():
    message = refusal("transformers", {"gpu_memory_utilization": 0.9})
    assert message.startswith("`engine='transformers'` has no option `gpu_memory_utilization`")
    assert message.endswith("It takes `dtype`, `device`, `attn_implementation`, `threads`, `max_num_seqs`.")


@pytest.mark.parametrize(
    ("engine", "wrong", "meant"),
    [
        ("server", {"urls": [3]}, "addresses that begin with `http://`"),
        ("server", {"urls": ["http://a/v1", "localhost:8000/v1"]}, "addresses that begin with"),
        ("server", {"urls": "localhost:8000/v1"}, "addresses that begin with"),
        ("server", {"urls": ["ftp://host/v1"]}, "addresses that begin with"),
        ("server", {"urls": {"a": "http://a/v1"}}, "addresses that begin with"),
        ("server", {"urls": 8000}, "addresses that begin with"),
        ("server", {"timeout": 0}, "a number of seconds, above 0"),
        ("server", {"timeout": -1}, "a number of seconds, above 0"),
        ("server", {"timeout": "600"}, "a number of seconds, above 0"),
        ("server", {"timeout": True}, "a number of seconds, above 0"),
        ("server", {"timeout": float("nan")}, "a number of seconds, above 0"),
        ("server", {"max_concurrency": 0}, "a whole number, at least 1"),
        ("server", {"max_concurrency": 2.5}, "a whole number, at least 1"),
        ("server", {"pauses": 3}, "a list of seconds, each above 0"),
        ("server", {"pauses": [1, -1]}, "a list of seconds, each above 0"),
        ("server", {"pauses": [0]}, "a list of seconds, each above 0"),
        ("server", {"headers": ["X-Team: blue"]}, "names with their texts, each on one line, or nothing"),
        ("server", {"headers": {"X-Team": 3}}, "names with their texts, each on one line, or nothing"),
        ("server", {"model": 3}, "a text, or nothing"),
        ("transformers", {"threads": 0}, "a whole number, at least 1, or nothing"),
        ("transformers", {"dtype": None}, "one of `auto`, `float32`"),
        ("transformers", {"device": 0}, "a text, or nothing"),
        ("vllm", {"gpu_memory_utilization": 1.2}, "a share above 0, at most 1"),
        ("vllm", {"gpu_memory_utilization": "0.9"}, "a share above 0, at most 1"),
        ("vllm", {"max_num_seqs": 0}, "a whole number, at least 1, or nothing"),
        ("vllm", {"enforce_eager": "yes"}, "true or false"),
        ("vllm", {"seed": "zero"}, "a whole number"),
        ("vllm", {"download_dir": 3}, "a text or nothing"),
        ("vllm", {"swap": 3}, None),
    ],
)
def test_what_an_option_cannot_be_is_refused(engine, wrong, meant):
    message = refusal(engine, wrong)
    if meant is not None:
        ((name, _),) = wrong.items()
        assert message.startswith(f"The engine option `{name}=")
        assert f"it must be {meant}" in message


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Team": "blue\nX-Other: red"},
        {"X-Team": "blue\r\n"},
        {"X-Team": "blue\0"},
        {"X-Team": "\x1b[2J"},
        {"X-Team": "\ud800"},
        {"X-Team\nX-Other": "blue"},
        {"X-Team: blue\r\nX-Other": "red"},
        {"X Team": "blue"},
        {"": "blue"},
        {3: "blue"},
    ],
)
def test_headers_with_line_breaks_are_refused_when_settings_are_read(headers):
    assert "it must be names with their texts, each on one line" in refusal("server", {"headers": headers})


def test_a_refused_header_is_not_shown():
    message = refusal("server", {"headers": {"X-Api-Key": "canary-1234567890\n"}})
    assert message.startswith("The engine option `headers=") and "canary" not in message


@given(st.text("aX-_: \n\r\0é", max_size=4), st.text("a 1\n\r\0\u2028é\ud800", max_size=4))
def test_headers_that_are_taken_can_be_sent(name, value):
    sendable = not set("\n\r\0\u2028\ud800") & set(f"{name}{value}") and not set(": é") & set(name)
    assert options._SERVER["headers"].fits({name: value}) == (sendable and name != "" and value.strip() != "")


@pytest.mark.parametrize(
    ("engine", "given"),
    [
        ("server", URLS),
        ("server", {"urls": "https://host/v1", "timeout": 0.5, "pauses": (), "headers": {"X": "y"}, "model": None}),
        ("server", URLS | {"model": "student", "max_concurrency": 3, "pauses": [0.5, 1]}),
        ("transformers", {"dtype": "bfloat16", "device": "cuda:1", "threads": 4, "attn_implementation": None}),
        ("vllm", {"gpu_memory_utilization": 1, "max_num_seqs": None, "hf_overrides": {"rope_theta": 1e6}}),
        ("vllm", {"dtype": "float32", "quantization": None, "speculative_config": {"method": "ngram"}}),
        ("auto", {"dtype": "bfloat16"}),
    ],
)
def test_what_fits_passes(engine, given):
    check_engine(engine, given)


@pytest.mark.parametrize(
    ("engine", "option", "beside"),
    [
        ("vllm", "model", "student"),
        ("vllm", "tokenizer", "student"),
        ("vllm", "max_model_len", "max_model_len"),
        ("vllm", "trust_remote_code", "trust_remote_code"),
        ("transformers", "revision", "revision"),
        ("transformers", "student", "student"),
        ("server", "student", "student"),
        ("server", "context", "max_model_len"),
    ],
)
def test_no_option_puts_another_in_the_students_place(engine, option, beside):
    message = refusal(engine, {option: "another"})
    assert f"can't set `{option}`: the engine loads the student of the run. Give `{beside}` beside" in message


@given(
    st.sampled_from(["server", "transformers", "vllm"]),
    st.dictionaries(st.text(max_size=20), st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text())),
)
def test_whatever_is_given_passes_or_is_refused_in_words(engine, given):
    try:
        check_options(engine, given)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert given.keys() <= set(options._vllm()) | set(options._SERVER) | set(options._TRANSFORMERS)


def test_a_source_that_cannot_be_read_is_imported_instead(monkeypatch, tmp_path):
    (tmp_path / "other.py").write_text("class EngineArgs:\n    model: str\n")
    (tmp_path / "broken.py").write_text("class EngineArgs(:\n")
    for name in ("missing.py", "other.py", "broken.py"):
        assert options._types_in_source(tmp_path / name) == {}
    monkeypatch.setattr(options, "_types_in_source", lambda path: {})
    monkeypatch.setattr("palign_hf.engines.vllm.argument_types", lambda: {"max_num_seqs": "", "dtype": ""})
    options._vllm.cache_clear()
    try:
        check_options("vllm", {"max_num_seqs": 3, "dtype": "float32"})
        with pytest.raises(UserError, match="has no option `seed`"):
            check_options("vllm", {"seed": 3})
        with pytest.raises(UserError, match="at least 1"):
            check_options("vllm", {"max_num_seqs": 0})
    finally:
        options._vllm.cache_clear()


def test_without_vllm_its_options_cannot_be_known(monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    options._vllm.cache_clear()
    try:
        check_options("vllm", {"anything": 3})
    finally:
        options._vllm.cache_clear()
