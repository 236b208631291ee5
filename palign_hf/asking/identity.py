"""Names for what decides a result: a fingerprint of its description, and what a subclass does otherwise."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(description: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a JSON-able description; the order of keys doesn't matter."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def changed_by(kind: type, base: type, added: Mapping[str, Any]) -> dict[str, Any]:
    """What a subclass does otherwise than `base`: its code, and the attributes that it has added."""
    classes = kind.__mro__[: kind.__mro__.index(base)]
    if not classes:
        return {}
    from datasets.fingerprint import Hasher

    code = hashlib.sha256("".join(map(_code_of, classes)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return {"class": kind.__qualname__, "code": code, **({"added": Hasher.hash(dict(added))} if added else {})}


def _code_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made at a prompt, where no source is kept
        methods = ((name, getattr(value, "__code__", None)) for name, value in sorted(vars(kind).items()))
        return "".join(f"{name} {code.co_code.hex()} {code.co_consts}" for name, code in methods if code is not None)
