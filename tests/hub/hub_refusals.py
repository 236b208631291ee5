"""What the Hub double refuses, as the clients can tell it apart: a status, words, and an error code."""


class Refusal(Exception):
    """An answer that says no; `more` goes into its JSON beside the words."""

    def __init__(self, status: int, words: str, code: str | None = None, **more: object) -> None:
        super().__init__(words)
        self.status, self.words, self.code, self.more = status, words, code, more
