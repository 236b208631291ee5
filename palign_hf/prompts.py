r"""Every prompt, and the tags around a prefix.

The same bytes must reach the student wherever a prompt is used (alignment, training, evaluation), so no other module
writes instructions. A template is text with `{question}` and `{prefix}`; no other braces have a meaning: `\\boxed{}`
needs no escape. A user replaces one with `Template.from_file`; its hash goes into fingerprints.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from palign_hf.errors import UserError, listed, nearest


ENOUGH = "[ENOUGH]"
NOT_ENOUGH = "[NOT_ENOUGH]"
LABELS = (ENOUGH, NOT_ENOUGH)

_SLOT = re.compile(r"\{(question|prefix)\}")


@dataclass(frozen=True)
class Template:
    """A prompt with slots. `version` is raised with every change of a shipped text; `hash` covers any text."""

    name: str
    text: str
    slots: tuple[str, ...]
    version: int = 1

    def __post_init__(self) -> None:
        found = _SLOT.findall(self.text)
        for slot in self.slots:
            if found.count(slot) != 1:
                raise UserError(
                    f"The `{self.name}` template has `{{{slot}}}` {found.count(slot)} times: it needs it once, "
                    f"at the place where the {slot} is put."
                )
        extra = set(found) - set(self.slots)
        if extra:
            raise UserError(
                f"The `{self.name}` template has `{{{extra.pop()}}}`, which nothing fills there. "
                f"Its slots are {', '.join(f'`{{{slot}}}`' for slot in self.slots)}."
            )
        if found != list(self.slots):
            raise UserError(
                f"The `{self.name}` template puts `{{{found[0]}}}` before `{{{found[1]}}}`. What changes with each "
                f"probe must come last, or the whole prompt is read again for each cut: put the question first."
            )

    @property
    def hash(self) -> str:
        """Twelve hex digits of the text: part of fingerprints and cards."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def render(self, **fields: str) -> str:
        """Fill the slots in one pass: braces inside a question or a prefix stay as they are."""
        if set(fields) != set(self.slots):
            raise TypeError(f"`{self.name}` is filled with {sorted(self.slots)}, not with {sorted(fields)}.")
        return _SLOT.sub(lambda match: fields[match.group(1)], self.text)

    def fields(self, question: str, prefix: str | None = None) -> dict[str, str]:
        """Values of the slots for a problem, without white space at the end, which only some chat templates trim; a
        missing prefix is expressed in words.
        """
        if (prefix is not None) != ("prefix" in self.slots):
            raise TypeError(f"`{self.name}` is filled with {sorted(self.slots)}.")
        if prefix is None:
            return {"question": question.rstrip()}
        return {"question": question, "prefix": prefix.rstrip() or NO_PREFIX}

    def message(self, question: str, prefix: str | None = None) -> str:
        """The user message about a problem: the same bytes in alignment, training and evaluation."""
        return self.render(**self.fields(question, prefix))

    def from_file(self, path: str | Path) -> "Template":
        """The same prompt with the text of a file (without its final newline), for custom wordings."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # no such file, no UTF-8, no name of a file at all
            raise UserError(
                f"`{path}` can't be read as the `{self.name}` template ({error}). Give a UTF-8 text file "
                f"with {' and '.join(f'`{{{slot}}}`' for slot in self.slots)} in it."
            ) from error
        return Template(name=self.name, text=text.removesuffix("\n"), slots=self.slots, version=self.version)


SOLVE = Template(
    name="solve",
    text="Please reason step by step, and put your final answer within \\boxed{}.\n\n{question}",
    slots=("question",),
)

JUDGE = Template(
    name="judge",
    text=(
        "You will have to solve the problem below by yourself. You are given the beginning of a worked solution. "
        "Decide whether, from the point where it stops, you could finish the solution correctly without seeing more.\n"
        "\n"
        f"{ENOUGH}: the way to the answer is settled; what remains is work that you can do.\n"
        f"{NOT_ENOUGH}: an idea, a case or a computation that you need is still missing.\n"
        "\n"
        "Reply with one of these two labels and nothing else.\n"
        "\n"
        "Problem:\n"
        "{question}\n"
        "\n"
        "Beginning of the solution:\n"
        "{prefix}"
    ),
    slots=("question", "prefix"),
)

ALIGN = Template(
    name="align",
    text=(
        "Finish the solution that is begun below. Go on from where the draft stops instead of starting over, mend it "
        "where it is wrong, and put your final answer within \\boxed{}.\n"
        "\n"
        "Problem:\n"
        "{question}\n"
        "\n"
        "Draft:\n"
        "{prefix}"
    ),
    slots=("question", "prefix"),
)

# Text in place of an empty prefix: an empty slot would read like a mistake.
NO_PREFIX = "(nothing yet)"


@dataclass(frozen=True)
class TagStyle:
    """How a training target marks where the teacher's prefix ends and the student's continuation begins."""

    name: str
    open: str
    close: str

    def wrap(self, prefix: str, continuation: str) -> str:
        """The target text: tagged prefix, then continuation."""
        return f"{self.open}{prefix}{self.close}{continuation}"

    def tag_in(self, text: str) -> str | None:
        """A tag of this style that occurs in a text itself, where it could be confused with the border."""
        tags = (self.open.strip(), self.close.strip())
        return next((tag for tag in tags if tag and tag in text), None)

    def split(self, text: str) -> tuple[str, str, bool]:
        """`(prefix, continuation, closed)` of an output: `closed` is False for a draft without end."""
        if not self.open or not text.startswith(self.open):
            return "", text, True
        prefix, mark, continuation = text[len(self.open) :].partition(self.close.rstrip("\n"))
        if not mark:
            return prefix, "", False
        newlines = len(self.close) - len(self.close.rstrip("\n"))
        for _ in range(newlines):
            continuation = continuation.removeprefix("\n")
        return prefix, continuation, True


TAG_STYLES = {
    style.name: style
    for style in (
        TagStyle("prefix", "<Begin_of_Prefix>", "<End_of_Prefix>\n"),
        TagStyle("draft", "<Begin_of_Draft>", "<End_of_Draft>\n"),
        TagStyle("none", "", ""),
        TagStyle("think", "<think>\n", "\n</think>\n\n"),
    )
}


def tag_style(name: str) -> TagStyle:
    """The tag style called `name`; the default of published prefix data is `prefix`."""
    if name not in TAG_STYLES:
        raise UserError(f"`{name}` is no tag style{nearest(name, TAG_STYLES)}. Choose one of {listed(TAG_STYLES)}.")
    return TAG_STYLES[name]
