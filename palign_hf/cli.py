"""`palign`: the flow as commands. Dispatch only: each command is a module of `palign_hf.commands`.

Nothing heavy is imported here, so `palign --help` answers at once. Exit status: 0 done, 1 some rows failed,
2 wrong input or settings (said in one line, without a traceback).
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import palign_hf
from palign_hf.commands.wording import as_typed
from palign_hf.errors import UserError


# Command -> the module of `palign_hf.commands` that runs it, and its line in `palign --help`.
COMMANDS = {
    "demo": ("demo", "see it work on small problems whose truth is known"),
    "traces": ("traces", "look at teacher traces before spending time on them"),
    "truncate": ("truncate", "find the shortest sufficient prefix of each trace"),
    "ledger": ("ledger", "look at the probes that earlier runs have answered"),
}


# What the machine refuses rather than this program: said in one line, too.
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; this is the `palign` script."""
    parser = argparse.ArgumentParser(
        prog="palign",
        description="Prefix alignment for small reasoning students: cut teacher traces where the student says enough.",
        epilog="`palign COMMAND --help` tells more.",
    )
    parser.add_argument("--version", action="version", version=f"palign-hf {palign_hf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, line) in COMMANDS.items():
        sub = commands.add_parser(name, help=line, description=line)
        if name == asked:
            import_module(f"palign_hf.commands.{module}").configure(sub)
    options = parser.parse_args(arguments)
    # Reading and writing tables is quick here; the one bar is that of the work itself.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        return options.run(options)
    except UserError as error:
        print(f"palign: {as_typed(str(error), parser)}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        print(
            f"palign: {error}. What was answered is kept: make room or give the right to write there, and run the "
            f"same command again to go on.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("palign: interrupted. What was answered is kept: run the same command again to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
