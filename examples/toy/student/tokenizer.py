"""The toy student's tokenizer: a byte-level BPE learned from its problems and prompts, with a chat template.

Each number up to 99 is one token, so that a small student learns sums like words. The template marks the assistant's
tokens for `assistant_only_loss`.
"""

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from palign_hf.prompts import ALIGN, JUDGE, LABELS, SOLVE
from palign_hf.toy.world.puzzle import LARGEST


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PAD, _BEGIN, _END = "<|pad|>", "<|begin|>", "<|end|>"
CONTEXT = 2048
_WORDS = r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Repetitions of each number and prompt in the training texts: enough to make whole words of them.
_REPEATS = 600
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|begin|>' + message.role + '\n' }}"
    "{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}"
    "{{ message.content + '<|end|>' }}"
    "{% endif %}"
    "{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|begin|>assistant\n' }}{% endif %}"
)


def make_tokenizer(texts: Iterable[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """Learn `vocabulary` tokens from `texts`, the prompts and the numbers; any other text is encoded as bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, level])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_PAD, _BEGIN, _END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    fixed = [JUDGE.text, ALIGN.text, SOLVE.text, *LABELS, *(f"({n} {n})" for n in range(LARGEST + 1))]
    backend.train_from_iterator(chain(texts, fixed * _REPEATS), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=[_BEGIN],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer
