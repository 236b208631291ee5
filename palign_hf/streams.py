"""Standard output and error of a command: masked, free of control sequences, and safe to lose.

A closed stream, a pipe that reads only the first lines, or an ASCII terminal loses text, never work: a command's exit
status is that of its work.
"""

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from palign_hf.errors import visible
from palign_hf.redact import redact


def prepare() -> None:
    """Make both streams writable: closed ones lead to /dev/null, unencodable characters are escaped."""
    _open_descriptors()
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream: Any = getattr(sys, name)
        if stream is None:
            # Kept open: the next opened file would otherwise get its number, and the output of libraries.
            setattr(sys, name, open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and not stream.closed:
            stream.reconfigure(errors="backslashreplace")
    for handler in (logging.lastResort, *logging.getLogger().handlers):
        if handler is not None and _VISIBLE not in handler.filters:
            handler.addFilter(_VISIBLE)


def print_out(text: str) -> None:
    """Print to stdout, unbuffered: bars go to stderr, and the order must hold where both share a terminal."""
    _write(sys.stdout, f"{text}\n")


def print_err(text: str) -> None:
    """The same to stderr."""
    _write(sys.stderr, f"{text}\n")


def settle() -> None:
    """Flush stdout; the interpreter would print a traceback if its reader is gone."""
    stream: TextIO | None = sys.stdout
    if stream is not None:
        with _unread(stream):
            stream.flush()


class _Visible(logging.Filter):
    """Removes control characters and secrets from log records, which quote data and servers."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = visible(redact(record.getMessage())), ()
        return True


_VISIBLE = _Visible()


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed, and nobody has prepared
        return
    with _unread(stream):
        stream.write(visible(redact(text)))
        stream.flush()


@contextlib.contextmanager
def _unread(stream: TextIO) -> Iterator[None]:
    """Redirect the stream to /dev/null once the other end of its pipe or terminal is gone."""
    try:
        yield
    except OSError as error:
        # A terminal that hung up is EIO.
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    except ValueError:
        if not stream.closed:
            raise


def _open_descriptors() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
