"""Which files of a folder a student is made of: those, and no others, are published."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


_WEIGHTS = re.compile(r"(?:model|adapter_model)(?:\.\w+)?(?:-\d{5}-of-\d{5})?\.safetensors(?:\.index\.json)?")
_CONFIGS = ("config.json", "generation_config.json", "adapter_config.json")
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tekken.json", "tokenizer.tiktoken", "qwen.tiktoken"),
    *("tokenizer.model", "tiktoken.model", "spiece.model", "spm.model", "sentencepiece.model"),
    *("sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json"),
)
_PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_NAMES = frozenset((*_CONFIGS, *_TOKENIZER, *_PROCESSOR))
# Configurations that name the code which comes with a student.
_NAMING = ("config.json", "tokenizer_config.json")
_RELATIVE = re.compile(r"^\s*(?:from\s+\.(\w+)\s+import\b|from\s+\.\s+import\s+([\w ,]+))", re.MULTILINE)


def student_files(folder: Path) -> list[Path]:
    """The files that make up the student in `folder`, by name; links among them are listed, and never followed."""
    code = _code(folder)
    return sorted(
        path
        for path in folder.iterdir()
        if (path.is_symlink() or path.is_file())
        and (path.name in _NAMES or path.name in code or _WEIGHTS.fullmatch(path.name))
    )


def _code(folder: Path) -> set[str]:
    """Modules that `auto_map` names, and those beside them that they import."""
    waiting = {name for config in _NAMING for name in _named(folder / config)}
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        path = folder / f"{name}.py"
        if path.name in found or not (path.is_symlink() or path.is_file()):
            continue
        found.add(path.name)
        if not path.is_symlink():
            text = path.read_text(encoding="utf-8", errors="replace")
            waiting |= {word for match in _RELATIVE.findall(text) for word in re.findall(r"\w+", " ".join(match))}
    return found


def _named(config: Path) -> Iterator[str]:
    """The modules of `auto_map`; those of another repository (`owner/name--module.Class`) aren't here."""
    if config.is_symlink() or not config.is_file():
        return
    try:
        config_data = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return
    for text in _texts(config_data.get("auto_map") if isinstance(config_data, dict) else None):
        module, dot, _ = text.rpartition(".")
        if dot and re.fullmatch(r"\w+", module):
            yield module


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
