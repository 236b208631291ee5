"""The card says what is known, and is silent about the rest."""

import ast
import re

import pytest
from huggingface_hub import ModelCard

from palign_hf.hub.cards import PAPER
from palign_hf.prompts import SOLVE
from palign_hf.toy import student_folder
from palign_hf.training.config import PAlignConfig
from palign_hf.training.report import license_of, model_card


HISTORY = [
    {"loss": 2.0, "prefix/nll": 2.5, "prefix/token_accuracy": 0.4},
    {"loss": 1.0, "prefix/nll": 1.5, "prefix/token_accuracy": 0.5, "close_tag/probability": 0.875},
    {"eval_loss": 1.1, "eval_prefix/nll": 1.75, "eval_prefix/token_accuracy": 0.25},
]


@pytest.fixture
def card(tmp_path):
    def make(base=None, aligned=True, peft=False, dataset_name=None, **given) -> ModelCard:
        config = PAlignConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", **given)
        return model_card(
            config,
            model_name="me/student",
            base=base,
            dataset_name=dataset_name,
            hub_model_id=None,
            tags=["palign-hf", "trl"],
            accounts=["9 of 10 rows are used."],
            history=HISTORY,
            aligned=aligned,
            peft=peft,
        )

    return make


def test_it_tells_base_data_settings_and_figures(card):
    made = card(base="Qwen/Qwen3-0.6B", dataset_name="me/pairs", prefix_loss_weight=0.25, packing=True)
    data = made.data.to_dict()
    assert data["base_model"] == "Qwen/Qwen3-0.6B" and data["datasets"] == "me/pairs"
    assert data["library_name"] == "transformers" and {"palign-hf", "trl"} <= set(data["tags"])
    for said in ("[Qwen/Qwen3-0.6B](", "[me/pairs](", "`prefix_loss_weight` | `0.25`", "`packing` | `True`",
                 "9 of 10 rows are used.", "| prefix | 1.5000 | 50.0% | 1.7500 | 25.0% |", "probability\n0.875",
                 "begin with a draft between `<Begin_of_Prefix>`", PAPER["citation"], "arXiv:2601.10064"):  # fmt: skip
        assert said in made.text


def test_what_is_not_known_is_left_out(card, tmp_path):
    made = card(base=str(tmp_path))
    assert not {"base_model", "datasets", "license"} & made.data.to_dict().keys()
    assert "None" not in made.text and str(tmp_path) not in str(made)
    assert "A student, trained by prefix alignment" in made.text


def test_plain_training_is_not_called_alignment(card):
    made = card(aligned=False)
    assert "on data without prefixes" in made.text and "Begin_of_Prefix" not in made.text


def test_an_adapter_is_one(card):
    data = card(base="me/base", peft=True).data.to_dict()
    assert (data["library_name"], data["base_model_relation"]) == ("peft", "adapter")


def test_the_license_is_that_of_the_base_model(tmp_path):
    assert license_of(str(student_folder())) == "apache-2.0"
    assert license_of(str(tmp_path)) is None and license_of(None) is None and license_of("me/unknown") is None
    for number, text in enumerate(["---\nlicense: [mit]\n---\n", "---\nlicense: {\n---\n", "no metadata"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "README.md").write_text(text)
        assert license_of(str(tmp_path / str(number))) is None


def test_its_program_asks_as_evaluation_does(card):
    (code,) = re.findall(r"```python\n(.*?)```", card().text, re.DOTALL)
    tree = ast.parse(code)
    (content,) = (node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add))
    assert ast.literal_eval(content.left) + "Q" == SOLVE.message("Q")
