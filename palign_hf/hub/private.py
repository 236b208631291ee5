"""Removes keys and paths of this machine from what is published."""

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from palign_hf.redact import redact


# An absolute path in a text, up to what can't belong to it: it is known by what stands before it.
_PATH = re.compile(
    r"(?P<before>^|(?<=[\s'\"`=(\[{,;:<>|]))(?:file://)?(?:~[\w.-]*/|/(?=[\w.~-])|[A-Za-z]:[\\/]|\\\\)"
    r"[^\s'\"`,;()\[\]{}<>|:=]*"
)


def public(value: Any) -> Any:
    """Plain data, with its texts as others may read them: of a path its last name, and no keys."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(name)): public(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(one) for one in value]
    return value


def public_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a run as others may read it: its command, student and source without folders of the machine."""
    settings = dict(report["settings"])
    if isinstance(settings.get("command"), str):
        settings["command"] = public_command(settings["command"])
    if isinstance(settings.get("student_name"), str):
        settings["student_name"] = name_of(settings["student_name"])
    if isinstance(settings.get("input"), Mapping) and isinstance(settings["input"].get("source"), str):
        settings["input"] = {**settings["input"], "source": name_of(settings["input"]["source"])}
    found: dict[str, Any] = public({**report, "settings": settings})
    return found


def public_command(command: str) -> str:
    """A command line, whose words may hold spaces."""
    try:
        words = shlex.split(command)
    except ValueError:  # somebody's own words
        return _text(command)
    return _text(shlex.join(map(_word, words)))


def name_of(path: str) -> str:
    """The last name of an absolute path; anything else as it is."""
    bare = path.removeprefix("file://")
    if re.match(r"[A-Za-z]:[\\/]|\\\\", bare):
        return PureWindowsPath(bare).name or "[path]"
    if bare.startswith(("/", "~")):
        return PurePosixPath(bare).name or "[path]"
    return path


def _word(word: str) -> str:
    option, equals, value = word.partition("=")
    return option + equals + name_of(value) if equals and option.startswith("-") else name_of(word)


def _text(text: str) -> str:
    return _PATH.sub(lambda found: name_of(found[0]), redact(text))
