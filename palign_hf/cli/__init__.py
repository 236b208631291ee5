"""The `palign` command: one subcommand for each stage of the list, and the commands around them.

Nothing heavy is imported here, so `palign --help` answers at once; the module of a command is imported under the guard
of `ended`, so that Ctrl-C ends it in one line from the start. Exit status: 0 done, 1 some rows failed, 2 wrong input
or settings (one line, no traceback), 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

import sys
from collections.abc import Sequence
from typing import Any


# Commands that share a module, which has a `configure_NAME` for each.
_SHARED = {"traces": "inspection", "ledger": "inspection", "grade": "outputs", "compare": "outputs", "jobs": "run"}


def commands() -> dict[str, str]:
    """Every command with its line in `palign --help`; those of the stages come from their list."""
    from palign_hf.runs.stages import AFTER, BEFORE, known_stages

    return BEFORE | {name: entry.help for name, entry in known_stages().items()} | AFTER


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; this is the `palign` script."""
    try:
        from palign_hf.config import Parser
        from palign_hf.runs.launch import ANEW, GO_ON, ended
    except KeyboardInterrupt:
        sys.stderr.write("palign: interrupted. Nothing was started.\n")
        return 130
    parser = Parser(
        prog="palign",
        description="Prefix alignment for small reasoning students: cut teacher traces where the student says enough.",
        epilog="`palign COMMAND --help` lists the options of a command.",
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
    """Parse the options; only the module of the given command is imported."""
    import palign_hf

    parser.add_argument("--version", action="version", version=f"palign-hf {palign_hf.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    given = next((word for word in arguments if not word.startswith("-")), None)
    for name, line in commands().items():
        sub = subparsers.add_parser(name, help=line, description=line)
        if name == given:
            _configure(name, sub)
    return parser.parse_args(arguments)


def _configure(name: str, parser: Any) -> None:
    """Add the options of a command, and the function that runs it."""
    from palign_hf.runs.stages import AFTER, BEFORE, find_stage

    if name in BEFORE or name in AFTER:
        from importlib import import_module

        module = import_module(f"palign_hf.cli.{_SHARED.get(name, name)}")
        getattr(module, f"configure_{name}" if name in _SHARED else "configure")(parser)
        return
    from functools import partial

    from palign_hf.runs.launch import add_stage_options, run_command

    stage = find_stage(name)
    add_stage_options(parser, stage)
    parser.set_defaults(run=partial(run_command, stage))
