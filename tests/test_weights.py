"""Students whose weights are missing, cut off, of another shape or no numbers, and those that only look like it."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import save_student
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from palign_hf.engines.transformers import TransformersEngine
from palign_hf.weights import (
    BrokenWeights,
    check_weights,
    first_ids,
    header,
    not_finite,
    refuse_no_numbers,
)


UP = "model.layers.0.mlp.up_proj.weight"
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A student with tied weights, in one file."""
    return save_student(tmp_path_factory.mktemp("whole"), weights=True)


@pytest.fixture
def changed(whole, tmp_path) -> Callable[..., Path]:
    """A copy of it whose weights were changed by a function."""

    def change(how: Callable[[dict[str, torch.Tensor]], object]) -> Path:
        folder = shutil.copytree(whole, tmp_path / "student")
        weights = load_file(folder / "model.safetensors")
        how(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return change


def started(folder: Path) -> TransformersEngine:
    engine = TransformersEngine(str(folder), device="cpu")
    asyncio.run(engine.start())
    return engine


def test_a_student_with_missing_weights_is_refused_by_its_headers(changed):
    folder = changed(lambda weights: weights.pop(UP))
    with pytest.raises(BrokenWeights, match=f"isn't whole: 1 weights are missing \\(`{UP}`\\).*random numbers"):
        check_weights(str(folder))


def test_a_student_with_missing_weights_does_not_start_in_transformers(changed):
    folder = changed(lambda weights: weights.pop(UP))
    with pytest.raises(BrokenWeights, match=f"1 weights are missing \\(`{UP}`\\)"):
        started(folder)


def test_a_student_with_another_shape_is_refused(changed):
    folder = changed(lambda weights: weights.update({UP: weights[UP][:3].contiguous()}))
    with pytest.raises(BrokenWeights, match=f"1 have another shape than its config says \\(`{UP}`: 3 x 32, not 64 x"):
        check_weights(str(folder))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_student_with_nan_weights_does_not_start_in_transformers(changed, value):
    folder = changed(lambda weights: weights[UP].fill_(float(value)))
    with pytest.raises(BrokenWeights, match=r"gives no probabilities.*NaN or infinite.*earlier checkpoint"):
        started(folder)


def test_a_whole_student_starts_and_is_not_refused(whole):
    assert check_weights(str(whole))
    asyncio.run(started(whole).close())


def test_a_file_that_was_cut_off_is_named(changed):
    folder = changed(lambda weights: None)
    path = folder / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BrokenWeights, match=f"`model.safetensors` of.*cut off: it has {size - 7:,} of {size:,} bytes"):
        check_weights(str(folder))


def test_a_missing_shard_is_named(whole, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(whole)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2 and check_weights(str(tmp_path))
    shards[1].unlink()
    with pytest.raises(BrokenWeights, match=f"names {len(shards)} files, and `{shards[1].name}` is missing"):
        check_weights(str(tmp_path))


@pytest.mark.parametrize("held", ["no json", "[]", '{"weight_map": 3}', "[" * 100_000])
def test_an_index_that_cannot_be_read_is_named(whole, tmp_path, held):
    folder = shutil.copytree(whole, tmp_path / "student")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(held)
    with pytest.raises(BrokenWeights, match=r"`model.safetensors.index.json` of the student .* can't be read"):
        check_weights(str(folder))


def test_weights_saved_by_torch_are_looked_at_without_unpickling_more(changed):
    folder = changed(lambda weights: None)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert check_weights(str(folder))
    del weights[UP]
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(BrokenWeights, match="1 weights are missing"):
        check_weights(str(folder))
    torch.save({"a": Path}, folder / "pytorch_model.bin")
    with pytest.raises(BrokenWeights, match=r"`pytorch_model.bin` of .* can't be loaded"):
        check_weights(str(folder))


def test_weights_that_are_stored_under_other_names_are_whole(tmp_path):
    """Experts are merged when they are loaded; untied heads are in the file."""
    experts = MixtralForCausalLM(MixtralConfig(**SHAPE, num_local_experts=2))
    experts.save_pretrained(tmp_path / "experts")
    assert any(".experts.0." in name for name in load_file(tmp_path / "experts" / "model.safetensors"))
    untied = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False))
    untied.save_pretrained(tmp_path / "untied")
    for folder in ("experts", "untied"):
        assert check_weights(str(tmp_path / folder))
    untied.model.save_pretrained(tmp_path / "headless")
    with pytest.raises(BrokenWeights, match=r"1 weights are missing \(`lm_head.weight`\)"):
        check_weights(str(tmp_path / "headless"))


def test_what_cannot_be_known_from_headers_is_left_to_its_loader(changed, tmp_path):
    assert not check_weights(str(save_student(tmp_path / "no-weights")))
    assert not check_weights("owner/never-downloaded", "0" * 40)
    folder = changed(lambda weights: weights.pop(UP))
    config = json.loads((folder / "config.json").read_text())
    quantised = config | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (folder / "config.json").write_text(json.dumps(quantised))
    assert check_weights(str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "of-tomorrow"}))
    assert check_weights(str(folder))


def test_a_header_for_seven_billion_weights_is_compared_without_reading_them(tmp_path):
    """The file is sparse: whoever read its weights would need 14 GB and the time."""
    config = LlamaConfig(num_hidden_layers=32, hidden_size=4096, intermediate_size=11008, vocab_size=32000)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    end, told = 0, {}
    for name, weight in model.state_dict().items():
        told[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [end, end + 2 * weight.numel()]}
        end += 2 * weight.numel()
    text = json.dumps(told).encode()
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    assert end > 13e9 and check_weights(str(tmp_path))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    try:
        assert isinstance(header(path), dict)
    except ValueError as error:
        assert str(error).startswith("it")


@given(st.integers(1, 300_000))
def test_first_ids_are_known_to_every_vocabulary(vocabulary):
    ids = first_ids(vocabulary)
    assert ids and all(0 <= token < vocabulary for token in ids)


def test_log_probabilities_of_a_first_forward_must_be_numbers():
    refuse_no_numbers("s", [-1.0, float("-inf")])
    for value in (float("nan"), float("inf")):
        with pytest.raises(BrokenWeights):
            refuse_no_numbers("s", [-1.0, value])


def test_weights_that_are_no_numbers_are_named():
    weights = {"a": torch.ones(3), "b": torch.tensor([1.0, float("inf")]), "c": torch.ones(2, dtype=torch.int8)}
    assert not_finite(weights.items()) == ["b"]
