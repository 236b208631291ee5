"""One module a command: arguments in, text out; the work is done elsewhere in the package."""
