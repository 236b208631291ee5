"""What `--dry-run` says of a training, which the training itself then does."""

import re

import pytest
import tiny
from pair_tables import pair, table

from palign_hf.config import build
from palign_hf.errors import UserError
from palign_hf.training.settings import TrainConfig
from palign_hf.training.stage import TRAIN


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base model: its tokenizer has no chat template."""
    return tiny.save_student(tmp_path_factory.mktemp("base"), tiny.fast(tiny.byte_level(), None))


@pytest.fixture
def forecast(base, tmp_path):
    table(*[pair(str(n), prefix="There are 50. " * (n + 1)) for n in range(6)]).to_parquet(tmp_path / "pairs.parquet")

    def say(**training) -> str:
        given = {"student": str(base), "pairs": {"source": str(tmp_path / "pairs.parquet")}, "training": training}
        return TRAIN.forecast(build(TrainConfig, given | {"output_dir": str(tmp_path / "out")}, "a recipe"))

    return say


@pytest.fixture
def template(tmp_path) -> str:
    (tmp_path / "chat.jinja").write_text(tiny.CHATML)
    return str(tmp_path / "chat.jinja")


def test_the_template_of_a_base_model_is_the_one_that_is_given(forecast, template, tiny_student):
    with pytest.raises(UserError, match="has no chat template"):
        forecast()
    found = forecast(chat_template_path=template)
    assert "6 of 6 rows" in found and found == forecast(chat_template_path=str(tiny_student))


def test_rows_too_long_are_left_out_or_cut_as_the_packing_has_it(forecast, template):
    given = {"chat_template_path": template, "max_length": 110, "packing": True}
    left_out, cut = forecast(**given), forecast(**given, packing_strategy="wrapped")
    assert "longer than 110 tokens, which would be left out" in left_out
    assert "longer than 110 tokens, which packing would cut" in cut
    tokens = [re.findall(r"tokens +([\d,]+) an epoch", said)[0] for said in (left_out, cut)]
    assert int(tokens[0].replace(",", "")) < int(tokens[1].replace(",", ""))
