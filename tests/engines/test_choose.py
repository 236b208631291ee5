"""From a name to an engine, and what is refused before anything is loaded."""

import pytest

from palign_hf.engines import vllm
from palign_hf.engines.answers import Answer, text
from palign_hf.engines.base import RequestFailed, Sampling
from palign_hf.engines.options import altering, check_engine, make_engine, spawns
from palign_hf.engines.server import ServerEngine
from palign_hf.engines.transformers import TransformersEngine
from palign_hf.engines.vllm import VLLMEngine
from palign_hf.errors import UserError
from palign_hf.generation.runner import StudentRunner
from palign_hf.toy import student_folder


URLS = {"urls": ["http://localhost:8000/v1"]}


@pytest.mark.parametrize(
    ("given", "meant"), [("vlm", "vllm"), ("transformer", "transformers"), ("servers", "server"), ("Auto", "auto")]
)
def test_an_unknown_engine_names_the_nearest_and_all(given, meant):
    with pytest.raises(UserError) as refused:
        check_engine(given, {})
    message = str(refused.value)
    assert f"`engine={given!r}` is unknown (nearest match: `{meant}`)" in message
    assert "Choose one of `auto`, `vllm`, `server`, `transformers`." in message


@pytest.mark.parametrize("given", ["quantum", "", None, 3])
def test_an_engine_like_none_of_them_is_refused_without_a_guess(given):
    with pytest.raises(UserError, match="is unknown. Choose one of `auto`"):
        check_engine(given, {})


@pytest.mark.parametrize("options", [{}, {"urls": []}, {"urls": ""}, {"urls": None}, {"max_concurrency": 8}])
def test_a_server_needs_an_address(options):
    with pytest.raises(UserError, match="needs the address of a server: `engine_options={'urls'"):
        make_engine("server", "owner/student", options=options)


@pytest.mark.parametrize("name", ["auto", "vllm", "transformers"])
def test_known_engines_need_no_options(name):
    check_engine(name, {})


@pytest.mark.parametrize(
    ("name", "options", "made"),
    [
        ("server", URLS, ServerEngine),
        ("transformers", {"device": "cpu"}, TransformersEngine),
        ("vllm", {}, VLLMEngine),
    ],
)
def test_each_name_makes_its_engine_without_loading_it(name, options, made):
    engine = make_engine(name, "owner/student", revision="abc", max_model_len=512, options=options)
    assert type(engine) is made
    assert engine.name == name


def test_a_server_is_told_the_students_vocabulary():
    with StudentRunner("palign-toy", engine="server", engine_options=URLS) as runner:
        server = runner.engine._engine
        size = len(runner.tokenizer)
    answer = {"choices": [{"token_ids": [size], "finish_reason": "stop"}]}
    assert isinstance(server, ServerEngine)
    with pytest.raises(RequestFailed, match=f"ids are 0 to {size - 1}"):
        text(Answer(answer, ""), Sampling(max_tokens=1), None, server._vocabulary)


@pytest.mark.parametrize(("is_installed", "made"), [(True, VLLMEngine), (False, TransformersEngine)])
def test_auto_takes_vllm_where_it_is_installed(monkeypatch, is_installed, made):
    monkeypatch.setattr(vllm, "installed", lambda: is_installed)
    assert type(make_engine("auto", "owner/student")) is made


@pytest.mark.parametrize(
    ("student", "options", "accelerated", "made"),
    [
        ("toy", {}, False, TransformersEngine),
        ("toy", {"dtype": "float32"}, False, TransformersEngine),
        ("toy", {"gpu_memory_utilization": 0.5}, False, VLLMEngine),
        ("toy", {}, True, VLLMEngine),
        ("large", {}, False, VLLMEngine),
        ("empty", {}, False, VLLMEngine),
    ],
)
def test_auto_runs_tiny_students_in_transformers_on_a_cpu(tmp_path, monkeypatch, student, options, accelerated, made):
    monkeypatch.setattr(vllm, "installed", lambda: True)
    monkeypatch.setattr("palign_hf.engines.options._accelerated", lambda: accelerated)
    if student == "large":
        with (tmp_path / "model.safetensors").open("wb") as file:
            file.truncate(65 * 2**20)
    where = str(student_folder()) if student == "toy" else str(tmp_path)
    assert type(make_engine("auto", where, options=options)) is made
    assert spawns("auto", where, options) is (made is VLLMEngine)


def test_auto_without_vllm_refuses_what_vllm_would_take(monkeypatch):
    monkeypatch.setattr(vllm, "installed", lambda: False)
    with pytest.raises(UserError, match="`engine='transformers'` has no option `block_size`"):
        make_engine("auto", "owner/student", options={"block_size": 32})
    monkeypatch.setattr(vllm, "installed", lambda: True)
    make_engine("auto", "owner/student", options={"block_size": 32})


def test_the_options_of_the_caller_stay_as_they_are():
    options = dict(URLS)
    make_engine("server", "owner/student", options=options)
    assert options == URLS


def test_options_that_change_numbers_are_told_from_the_others():
    options = {"dtype": "float16", "gpu_memory_utilization": 0.5, "hf_overrides": {"rope_theta": 1e6}}
    assert altering(options) == {"dtype": "float16", "hf_overrides": {"rope_theta": 1e6}}
    with pytest.raises(UserError, match="`hf_overrides=<function.*Give plain data"):
        altering({"hf_overrides": lambda config: config})
