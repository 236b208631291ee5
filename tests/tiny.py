"""Tiny students: tokenizers of every kind trained on a page of text, chat templates, and random weights."""

from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaConfig, PreTrainedTokenizerFast


PAGE = (
    "We are asked for the sum of all odd numbers from 1 to 99. There are 50 of them, and their mean is 50. "
    "So the sum is 50 * 50 = 2500.\n\nWait, let me check that again. The first odd number is 1, the last one is 99. "
    "The mean of 1 and 99 is (1 + 99) / 2 = 50. Yes.\n\nThe beginning of the solution is given. Decide whether "
    "you can finish the problem from there: the way to the answer, a case, a computation, an idea. Reply with one of "
    "the labels and nothing else.\n\n1. First, let \\(x = 2y + 3\\). Then \\[x^2 = 4y^2 + 12y + 9.\\]\n2. Hence "
    "$y > 0$, i.e. y is positive... don't stop here, it's simple. user assistant system think nothing yet enough not\n"
    "Caf\u00e9, \u4e2d\u6587\u3002 \u2192 \u03c0 \u2248 3.14159; 12,345 items at 0.5 each.   \n\tHmm. OK! Now? "
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
INSTRUCT = (
    "<s>{% for message in messages %}[INST]{{ message.content | trim }}[/INST]"
    "{% if message.role == 'assistant' %}</s>{% endif %}{% endfor %}"
)
INSTRUCT_SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
# The word pattern of Qwen, Llama 3 and their kin: digits one by one, a mark may lead a word.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Every space is kept, also one that was put first.
_SPELLED = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])


def byte_level(kind: str = "words", page: str = PAGE, vocabulary: int = 600) -> Tokenizer:
    """Byte-level BPE: `words` as Qwen's, `gpt2` with GPT-2's pattern and trimmed offsets, `digits` as SmolLM2's."""
    tokenizer = Tokenizer(models.BPE())
    if kind == "words":
        tokenizer.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    elif kind == "digits":
        digits, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([page], trainer)
    tokenizer.add_tokens([AddedToken(name, special=False) for name in ("<think>", "</think>")])
    return tokenizer


def metaspace(prepend: str, kind: str = "bpe", split: bool = True, page: str = PAGE) -> Tokenizer:
    """Words marked by a leading `\u2581`, as sentencepiece does; `prepend` is `first`, `always` or `never`."""
    word_mark = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=split)
    tokenizer = Tokenizer(models.Unigram() if kind == "unigram" else _bpe(page))
    tokenizer.pre_tokenizer = word_mark
    tokenizer.decoder = _SPELLED
    if kind == "unigram":
        trainer = trainers.UnigramTrainer(
            vocab_size=250, special_tokens=list(INSTRUCT_SPECIAL), unk_token="<unk>", show_progress=False
        )
        tokenizer.train_from_iterator([page], trainer)
    tokenizer.add_special_tokens(list(INSTRUCT_SPECIAL))
    return tokenizer


def sentencepiece(page: str = PAGE) -> Tokenizer:
    """As Llama 2 was converted: no words at all, spaces replaced and one put first by the normalizer."""
    tokenizer = Tokenizer(_bpe(page))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = _SPELLED
    tokenizer.add_special_tokens(list(INSTRUCT_SPECIAL))
    return tokenizer


def _bpe(page: str) -> models.BPE:
    """Merges of marked words, and bytes for what they don't cover."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    known = [*INSTRUCT_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        [page], trainers.BpeTrainer(vocab_size=800, special_tokens=known, show_progress=False)
    )
    return tokenizer.model


def word_level() -> Tokenizer:
    """Knows a handful of words and calls everything else unknown."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "of": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[UNK]"])
    return tokenizer


def fast(tokenizer: Tokenizer, template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers has it, with a chat template."""
    unknown = next((name for name in ("<unk>", "[UNK]") if tokenizer.token_to_id(name) is not None), None)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown)
    if template:
        wrapped.chat_template = template
    return wrapped


def save_student(
    folder: Path, tokenizer: PreTrainedTokenizerFast | None = None, max_model_len: int = 4096, weights: bool = False
) -> Path:
    """A folder as `save_pretrained` writes it: tokenizer and config, with random weights on request."""
    tokenizer = tokenizer or fast(byte_level())
    tokenizer.save_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_model_len,
        eos_token_id=end,
        pad_token_id=end,
        tie_word_embeddings=True,
    )
    config.save_pretrained(folder)
    if weights:
        import torch
        from transformers import LlamaForCausalLM

        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder
