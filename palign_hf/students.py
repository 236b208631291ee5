"""Students: a name resolved to the commit or content that decides its answers, its context length, its tokenizer.

A Hub student is identified by its commit, a folder by its content. Both go into fingerprints, so a student trained
further under the same name never gets the answers of the one before.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import xxhash
from tokenizers import AddedToken, Tokenizer

from palign_hf.errors import UserError


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


# Repositories of the Hub have an owner before their name, so these names are unambiguous.
_HOMES = {"palign-toy": "palign_hf.toy"}


class Shipped(Protocol):
    """The interface of such a module."""

    NAME: str
    SPLITS: tuple[str, ...]

    def student_folder(self) -> Path:
        """The student's folder, in the layout that `from_pretrained` and vLLM load."""

    def traces(self, split: str) -> "Dataset":
        """One of its `SPLITS` as a table of TRACES."""

    def problems(self, split: str) -> "Dataset":
        """The same problems without traces: `id`, `question`, `answer`, and columns to group by."""


def shipped(name: str) -> Shipped | None:
    """The module of a name, or None for every other student and source."""
    home = _HOMES.get(name)
    return cast(Shipped, import_module(home)) if home else None


# Large weights are hashed by samples, at both ends and densely enough that no matrix of a thousandth of the file is
# missed: a student with only some retrained layers has another hash.
_PIECE, _PIECES = 16 * 1024, 1024
_READ_WHOLE = 16 * 1024 * 1024
_DECIDING = (".json", ".jinja", ".model", ".txt", ".safetensors", ".bin", ".py", ".tiktoken")


@dataclass(frozen=True)
class Student:
    """A student and the identity of its bytes: `commit` for the Hub, `content` for a folder.

    `name` is the given name, which goes into artifacts; `where` is what loaders take.
    """

    name: str
    commit: str | None
    content: str | None

    @property
    def where(self) -> str:
        """A folder, or a name on the Hub."""
        home = shipped(self.name)
        return str(home.student_folder()) if home else self.name

    @property
    def identity(self) -> dict[str, Any]:
        """The part of fingerprints: a folder's name may change, its content may not."""
        return {"content": self.content} if self.content else {"name": self.name, "commit": self.commit}


@dataclass(frozen=True, slots=True)
class StudentShape:
    """The sizes of a student that decide its costs.

    Args:
        parameters (`int`): Number of all weights.
        layers (`int`), hidden (`int`), intermediate (`int`), vocabulary (`int`): As in its config.
        key_values (`int`): Width of the keys of a layer, of all heads together.
        weight_bytes (`int`, *optional*, defaults to `2`): Bytes of a weight.
    """

    parameters: int
    layers: int
    hidden: int
    key_values: int
    intermediate: int
    vocabulary: int
    weight_bytes: int = 2

    @property
    def cache_bytes(self) -> int:
        """Bytes of the key-value cache for one token."""
        return 2 * self.layers * self.key_values * self.weight_bytes


def resolve_student(name: str, revision: str | None = None) -> Student:
    """Find the commit on the Hub (or in its local cache when offline), or hash the folder."""
    home = shipped(name)
    folder = home.student_folder() if home else Path(name)
    if os.path.isdir(folder):  # also of a text that can't be a path
        if revision is not None:
            raise UserError(
                f"`revision={revision!r}` was given, but the student `{name}` is a folder, which has no revisions. "
                f"Leave it out, or give the student's name on the Hub."
            )
        return Student(name, commit=None, content=_hash_folder(str(folder.resolve()), _stamp(folder)))
    if os.path.exists(name) or name.startswith((".", "/", "~")):
        raise UserError(
            f"The student `{name}` is no folder with a saved model. Give the folder that `save_pretrained` wrote, or "
            f"the name of a model on the Hub."
        )
    return Student(name, commit=_commit(name, revision), content=None)


def load_tokenizer(student: Student, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
    """The student's tokenizer, chat template included."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            student.where, revision=student.commit, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # from broken files, missing packages or the student's own code: anything
        raise _no_tokenizer(student, f"{type(error).__name__}: {error}") from error
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        # transformers makes an empty one where it finds no files, and every text would become nothing.
        raise _no_tokenizer(student, "it knows no tokens besides the special ones, so its files are missing")
    return tokenizer


def student_context(student: Student, trust_remote_code: bool = False) -> int:
    """The student's context length in tokens, by its config."""
    try:
        config = _text_config(student, trust_remote_code)
    except Exception as error:  # its fields are checked with errors of their own kinds
        raise UserError(
            f"The config of the student `{student.name}` can't be loaded: {error}. Check the name or the folder."
        ) from error
    max_model_len = getattr(config, "max_position_embeddings", None)
    if not max_model_len:
        raise UserError(f"The config of `{student.name}` states no context length: give it with `max_model_len=`.")
    return int(max_model_len)


def student_vocabulary(student: Student, tokenizer: "PreTrainedTokenizerBase", trust_remote_code: bool = False) -> int:
    """The student's number of token ids: those of its tokenizer, and the padding of its weights."""
    known = 1 + max(tokenizer.get_vocab().values())
    try:
        padded = _text_config(student, trust_remote_code).vocab_size
    except Exception:  # without a config that loads nothing is known of the padding
        return known
    return max(known, padded) if isinstance(padded, int) else known


def student_shape(student: Student, trust_remote_code: bool = False) -> StudentShape:
    """The sizes of a student, by its config alone: no weights are loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(student.where, revision=student.commit, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return shape_of(config, sum(one.numel() for one in model.parameters()))


def shape_of(config: Any, parameters: int) -> StudentShape:
    """The sizes by the config's fields; one that an architecture lacks is taken as usual for its width."""
    text = config.get_text_config()
    hidden = int(getattr(text, "hidden_size", None) or 1024)
    heads = int(getattr(text, "num_attention_heads", None) or 1)
    width = int(getattr(text, "head_dim", None) or hidden // heads)
    dtype = str(getattr(text, "dtype", None) or getattr(config, "dtype", None))
    return StudentShape(
        parameters,
        layers=int(getattr(text, "num_hidden_layers", None) or 1),
        hidden=hidden,
        key_values=int(getattr(text, "num_key_value_heads", None) or heads) * width,
        intermediate=int(getattr(text, "intermediate_size", None) or 4 * hidden),
        vocabulary=int(getattr(text, "vocab_size", None) or 1),
        weight_bytes=2 if "16" in dtype else 4,
    )


def _text_config(student: Student, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(
        student.where, revision=student.commit, trust_remote_code=trust_remote_code
    ).get_text_config()


def _no_tokenizer(student: Student, reason: str) -> UserError:
    return UserError(
        f"The tokenizer of the student `{student.name}` can't be loaded: {reason}. A folder needs the tokenizer's "
        f"files beside the weights: `tokenizer.save_pretrained(folder)`."
    )


def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HFValidationError

    try:
        return str(HfApi().model_info(name, revision=revision).sha)
    except HFValidationError as error:
        raise UserError(
            f"The student `{name}` is neither a folder nor the name of a model on the Hub (`owner/name`): {error}"
        ) from error
    except Exception as error:  # offline, refused or unreachable: the last with errors of the HTTP library's own
        if cached := _cached_commit(name, revision or "main"):
            return cached
        raise UserError(
            f"The student `{name}` can't be found: {type(error).__name__}: {error}. Give the name of a model on the "
            f"Hub, a local folder, or download it once while online (`hf download {name}`)."
        ) from error


def _cached_commit(name: str, revision: str) -> str | None:
    """The commit that the local Hub cache holds for a revision."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    # .../models--owner--name/snapshots/<commit>/config.json
    return Path(found).parent.name if isinstance(found, str) else None


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times: while these are unchanged, so is the hash (within one process only)."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _DECIDING)
    if not any(path.name == "config.json" for path in files):
        raise UserError(
            f"The student folder `{folder}` has no config.json. Give the folder that `save_pretrained` wrote; an "
            f"adapter alone is no student: `merge_and_unload()` it first."
        )
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=16)
def _hash_folder(folder: str, stamp: tuple[tuple[str, int, int], ...]) -> str:
    total = xxhash.xxh3_128()
    for name, size, _ in stamp:
        total.update(f"{name}\0{size}\0".encode())
        _hash_file(total, Path(folder) / name, size)
    return total.hexdigest()


def content_hash(path: Path, size: int) -> str:
    """The hash of a file of `size` bytes; of a large one, of its sampled pieces."""
    total = xxhash.xxh3_128()
    _hash_file(total, path, size)
    return total.hexdigest()


def _hash_file(total: Any, path: Path, size: int) -> None:
    with open(path, "rb") as file:
        if size <= _READ_WHOLE:
            total.update(file.read())
            return
        for piece in range(_PIECES + 1):
            file.seek(piece * (size - _PIECE) // _PIECES)
            total.update(file.read(_PIECE))


class TextTokenizer:
    """A student's tokens for plain text: special tokens are encoded as text, nothing is added, trimmed or padded.

    It works on a copy of the backend: the settings are not the student's, and without the wrapper the same ids take a
    fifth of the time, at every probe.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", student: str) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"The tokenizer of `{student}` gives no offsets, so cuts can't be placed in its tokens. "
                f"Save a fast tokenizer (tokenizer.json) beside the weights."
            )
        whole: Any = tokenizer
        self._backend: Any = Tokenizer.from_str(whole.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.post_processor = None
        self._backend.encode_special_tokens = True
        # Some tokenizers put a space before the text that comes first. Text inside a prompt is encoded behind this
        # token, which is then dropped; it is random so that no trace can hold it.
        self._before = f"<{secrets.token_hex(16)}>"
        self._backend.add_tokens([AddedToken(self._before, special=False, normalized=False)])

    def encode(self, text: str, inside: bool = False) -> list[int]:
        """Token ids; `inside` says that something stands before the text."""
        if not inside:
            ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
            return ids
        rest: list[int] = self._backend.encode(self._before + text, add_special_tokens=False).ids[1:]
        return rest

    def encode_with_starts(self, text: str, inside: bool = False) -> tuple[list[int], np.ndarray]:
        """Token ids, and the offset at which each token starts."""
        before = self._before if inside else ""
        encoded = self._backend.encode(before + text, add_special_tokens=False)
        starts = np.array([start for start, _ in encoded.offsets], dtype=np.int64)
        # What a tokenizer puts before a text has no place in it; counting needs starts that never fall.
        starts = np.maximum.accumulate(starts - len(before)).clip(min=0)
        return (encoded.ids[1:], starts[1:]) if inside else (encoded.ids, starts)

    def parts_words(self, text: str) -> bool:
        """Whether no token of `text` can reach over the beginning of a word."""
        if self._backend.pre_tokenizer is None:
            return False
        if self._backend.normalizer is not None:
            text = self._backend.normalizer.normalize_str(text)
        parts = {start for _, (start, _) in self._backend.pre_tokenizer.pre_tokenize_str(text)}
        words = {at for at in range(len(text)) if begins_word(text, at)}
        return bool(words) and words <= parts

    def count_before(self, text: str, ends: Sequence[int]) -> list[int]:
        """For each offset in `text`, how many of its tokens start before it; no prompt around it."""
        _, starts = self.encode_with_starts(text)
        counts: list[int] = np.searchsorted(starts, np.asarray(ends, dtype=np.int64)).tolist()
        return counts


def begins_word(text: str, at: int) -> bool:
    """Whether one space and a letter stand here after a non-space: word tokenizers part the text there."""
    if not 0 < at < len(text) - 1 or text[at] != " " or text[at - 1].isspace():
        return False
    return text[at + 1].isascii() and text[at + 1].isalpha()
