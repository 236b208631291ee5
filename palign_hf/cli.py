"""`palign`: the flow as commands. Dispatch only: each command is a module of `palign_hf.commands`.

Nothing heavy is imported here, so `palign --help` answers at once, and all that is imported is so under the guard of
`runs/launch.py`, so that Ctrl-C ends it in one line from the first moment on. Exit status: 0 done, 1 some rows failed,
2 wrong input or settings (said in one line, without a traceback), 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

import sys
from collections.abc import Sequence
from typing import Any


# Command -> the module of `palign_hf.commands` that runs it, and its line in `palign --help`.
COMMANDS = {
    "demo": ("demo", "see it work on small problems whose truth is known"),
    "traces": ("traces", "look at teacher traces before spending time on them"),
    "truncate": ("truncate", "find the shortest sufficient prefix of each trace"),
    "align": ("align", "let the student go on from each prefix, and keep what is right"),
    "train": ("train", "train the student on its pairs, or on a baseline of them"),
    "evaluate": ("evaluate", "let a student solve benchmarks, and count every sample"),
    "publish": ("publish", "push the folder of a finished run to the Hub, with its card"),
    "grade": ("grade", "grade and count outputs that are there already, without a model"),
    "compare": ("compare", "set graded outputs of several models side by side"),
    "recipes": ("recipes", "list the recipes that ship, and copy one to start from"),
    "ledger": ("ledger", "look at the answers that earlier runs have got"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; this is the `palign` script."""
    try:
        from palign_hf.config import Parser
        from palign_hf.runs.launch import ANEW, GO_ON, ended
    except KeyboardInterrupt:
        sys.stderr.write("palign: interrupted. Nothing was begun.\n")
        return 130
    parser = Parser(
        prog="palign",
        description="Prefix alignment for small reasoning students: cut teacher traces where the student says enough.",
        epilog="`palign COMMAND --help` tells more.",
    )
    options: Any = None

    def body() -> int:
        nonlocal options
        options = _read(parser, list(sys.argv[1:] if argv is None else argv))
        status: int = options.run(options)
        return status

    def left() -> str:
        return ANEW if options is None else getattr(options, "going_on", GO_ON)

    return ended("palign", body, parser, left)


def _read(parser: Any, arguments: list[str]) -> Any:
    """The options of the one command that is asked for; only its module is imported."""
    from importlib import import_module

    import palign_hf

    parser.add_argument("--version", action="version", version=f"palign-hf {palign_hf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, line) in COMMANDS.items():
        sub = commands.add_parser(name, help=line, description=line)
        if name == asked:
            import_module(f"palign_hf.commands.{module}").configure(sub)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
