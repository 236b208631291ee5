"""Detection of scripts without a `__main__` guard, which vLLM's processes would run again.

Checked before any engine starts: such a script would start an engine in each of the engine's own processes, and end in
their tracebacks.
"""

import ast
import sys
from types import FrameType


def unguarded_script() -> str | None:
    """The file of a script that is running a top-level line outside a guard; None otherwise."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if main is None or path is None:
        return None  # a notebook, `python -c`, an interactive session: nothing is read again
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            return None if _guarded(path, frame.f_lineno) else str(path)
        frame = frame.f_back
    return None


def _guarded(path: str, line: int) -> bool:
    """Whether the top-level statement at this line runs only where the file is the program."""
    try:
        with open(path, encoding="utf-8") as file:
            statements = ast.parse(file.read()).body
    except (OSError, ValueError, SyntaxError):
        return True  # compiled or packed: unknown, so it is not refused
    for statement in statements:
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
    return True
