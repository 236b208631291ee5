"""The one base of errors that a user can act on: commands print them in one line, without a traceback."""


class UserError(ValueError):
    """What was given, why it can't work, what to do: all of it is in the message."""
