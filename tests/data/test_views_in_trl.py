"""The views in TRL's own hands: what is trained on is the target, its tags and the end token, and nothing else.

Slow because torch and TRL are loaded, two trainers are started, and one question is asked in a process of its own.
"""

import math
import subprocess
import sys

import pytest
from pair_tables import pair, table
from tiny import save_student

from palign_hf.data.views import to_dpo, to_sft
from palign_hf.prompts import SOLVE


pytestmark = pytest.mark.integration

PAIRS = table(
    *(pair(str(number), prefix=f"First, {number} + 1. ", continuation="So \\boxed{2}.") for number in range(3)),
    pair("none", prefix=None, continuation="\\boxed{3}"),
    pair("0", 1, "rejected", prefix="First, 0 + 1. ", continuation="So \\boxed{7}.", strict=False),
)
TARGETS = [f"<Begin_of_Prefix>First, {number} + 1. <End_of_Prefix>\nSo \\boxed{{2}}." for number in range(3)]
TARGETS += ["\\boxed{3}"]
END = "<|im_end|>"


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(save_student(tmp_path_factory.mktemp("student"), weights=True))


@pytest.fixture(scope="module")
def tokenizer(student):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(student, pad_token=END)


def settings(folder, **more):
    quiet = {"report_to": [], "use_cpu": True, "bf16": False, "save_strategy": "no", "disable_tqdm": True}
    return {"output_dir": str(folder), "max_steps": 2, "per_device_train_batch_size": 2, **quiet, **more}


def test_sft_learns_the_target_and_its_end(tmp_path, student, tokenizer):
    from trl import SFTConfig, SFTTrainer

    options = settings(tmp_path, eos_token=END, max_length=None)
    trainer = SFTTrainer(student, SFTConfig(**options), train_dataset=to_sft(PAIRS), processing_class=tokenizer)
    for row, wanted, question in zip(trainer.train_dataset, TARGETS, ["0", "1", "2", "none"], strict=True):
        learnt = [label for label in row["labels"] if label != -100]
        assert tokenizer.decode(learnt) == f"{wanted}{END}\n"  # the newline is the chat template's
        given = row["input_ids"][: -len(learnt)]
        prompt = f"<|im_start|>user\n{SOLVE.message(f'question {question}')}{END}\n<|im_start|>assistant\n"
        assert tokenizer.decode(given) == prompt and row["labels"] == [-100] * len(given) + learnt
    assert math.isfinite(trainer.train().training_loss)


def test_preferences_are_what_the_trainer_takes(tmp_path, student, tokenizer):
    from trl import DPOConfig, DPOTrainer, is_conversational

    view = to_dpo(PAIRS)
    assert is_conversational(view[0])
    options = settings(tmp_path, max_length=None)
    trainer = DPOTrainer(student, args=DPOConfig(**options), train_dataset=view, processing_class=tokenizer)
    (row,) = trainer.train_dataset
    begun = "<Begin_of_Prefix>First, 0 + 1. <End_of_Prefix>\nSo \\boxed{"
    assert tokenizer.decode(row["chosen_ids"]) == f"{begun}2}}.{END}\n"
    assert tokenizer.decode(row["rejected_ids"]) == f"{begun}7}}.{END}\n"
    assert math.isfinite(trainer.train().training_loss)


def test_the_cache_knows_a_view_again_in_another_process(tmp_path):
    PAIRS.save_to_disk(str(tmp_path))
    code = (
        "import sys; from datasets import load_from_disk; from palign_hf.data.views import to_sft;"
        "print(to_sft(load_from_disk(sys.argv[1]))._fingerprint)"
    )
    told = {
        subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(told) == 1
