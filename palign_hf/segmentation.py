"""Lossless cut points of a reasoning trace: where a prefix of it may end, as character offsets.

A prefix is always `trace[:cut]`, so nothing is rewritten, and one pass over the text finds all cuts in linear time.
"""

import difflib
import re
from itertools import accumulate, pairwise
from typing import Literal, get_args


Granularity = Literal["sentence", "paragraph", "step", "legacy"]
GRANULARITIES: tuple[str, ...] = get_args(Granularity)
VERSION: int = 1  # part of fingerprints: raise it whenever any cut moves

# A formula longer than this is an opener whose closer was forgotten.
_LONGEST_FORMULA = 10_000

_STOPS = ".?!…。！？｡"
_CLOSERS = r""")\]}"'”’»›*_」』）】》〉"""
_OPENING_MARKS = "([{\"'“‘«*_~「『（【《"

# The tokens: one character of a class, by which the regex engine skips plain text at full speed, then alternatives
# that look back at it. Repetitions are possessive or end at once: no input makes the engine backtrack for long.
_SPAN_TOKENS = r"""
    (?<=\n)(?: \s*(?=\n(?P<blank>[^\S\n]*+))
             | [^\S\n]*+(?P<fence>`{3,}+|~{3,}+)(?P<info>[^`\n]*+)(?=\n|\Z) )
  | (?<=\\)(?: [\\$] | (?P<bracket>[()\[\]]) | (?P<side>begin|end)\{(?P<name>[^{}\\\n]{1,40}+)\} )
  | (?<=\$)(?P<dollars>\$*+)
  | (?<=`)(?P<ticks>`*+)
"""
_SENTENCE_TOKENS = rf"""
    (?<=[{_STOPS}])(?: [{_STOPS}]*+ (?: (?:(?<=[。！？｡])|(?<=[。！？｡].))(?=[{_CLOSERS}]*+(?P<wide_stop>\s*+))
                                      | (?=[{_CLOSERS}]*+(?P<stop>\s++)) )
                     | [{_STOPS}]++ )
  | (?<=\n)[^\S\n]*+(?= [-*]\s | • | \#{{1,6}}\s | (?:\d{{1,3}}(?:\.\d{{1,3}})?|[A-Ha-i]|[ivx]{{2,5}})[.)]\s
                      | \((?:\d{{1,3}}|[A-Ha-i]|[ivx]{{2,5}})\)\s )(?P<item>)
"""
_PARAGRAPH = re.compile(rf"[\n\\$`](?:{_SPAN_TOKENS})", re.VERBOSE)
_SENTENCE = re.compile(rf"[\n\\$`{_STOPS}](?:{_SPAN_TOKENS}|{_SENTENCE_TOKENS})", re.VERBOSE)
_OPENING_FENCE = re.compile(r"[^\S\n]*+(`{3,}+|~{3,}+)[^`\n]*+(?=\n|\Z)")

_FORMULA_STOP = re.compile(r"(?<!\.)[.?]\s*(?:\\end\{\w{1,20}\*?\}\s*)?\Z")
_AFTER_FORMULA = re.compile(rf"[{_CLOSERS}]*+\s++")

_NEVER, _UNLESS_CAPITAL, _BEFORE_NUMBER = 1, 2, 3
_ABBREVIATIONS = (
    dict.fromkeys(
        "e.g E.g eg i.e I.e ie cf Cf vs viz resp approx Approx eq eqs Eq Eqs eqn eqns Eqn Eqns fig figs Fig Figs Thm "
        "Thms Prop Props w.r.t W.r.t wrt a.k.a w.l.o.g W.l.o.g s.t i.i.d Dr Mr Mrs Ms Prof Profs Gov Gen Sen Lt Capt "
        "St Mt".split(),
        _NEVER,
    )
    | dict.fromkeys(
        "etc al a.m p.m A.M P.M Inc Ltd Co Corp Jr Sr Ph.D sq ft yd lb lbs oz hr hrs min mins max avg deg incl excl "
        "est ca dept misc".split(),
        _UNLESS_CAPITAL,
    )
    | dict.fromkeys(
        "No no Nos nos Sec Secs sec Ch ch Cor Def Ex Lem Ref Refs Rem Art Vol vol pp Jan Feb Mar Apr Jun Jul Aug Sep "
        "Sept Oct Nov Dec".split(),
        _BEFORE_NUMBER,
    )
)
_NUMBERED = frozenset(
    "Step Case Subcase Part Problem Question Example Exercise Theorem Lemma Claim Proposition Corollary Definition "
    "Section Chapter Approach Method Property Condition Equation Fact Rule".split()
)
# After a single capital ("the centre O."), these words begin a sentence rather than continue a name ("J. Smith").
_OPENING_WORDS = frozenset(
    "A Actually After Again All Also Alternatively Although Alright An And Another Any As Assume At Because Before "
    "But By Can Check Clearly Compute Consider Define Denote Did Do Does Draw Each Either Equivalently Every "
    "Finally Find First For From Given Good Great He Hence Here Hmm How However I If In Indeed Is It Its Just Last "
    "Let Like Likewise Look Maybe Moreover My Next No Not Note Notice Now Observe Oh Ok Okay On Once One Only Or "
    "Other Otherwise Our Per Perhaps Point Prove Recall Right Same Say Second She Show Similarly Since So Solve "
    "Some Specifically Still Such Suppose Sure Take That The Their Then There Therefore These They This Those "
    "Though Three Thus To Triangle Two Under Until Use Verify Wait We Well What When Whenever Where Whether Which "
    "While Who Why With Yes Yet You".split()
)
_SUBJECT_WORDS = frozenset(
    "angle answer are be case center centre choice circle class edge equals event group is letter line matrix node "
    "option plane point points segment set side variable vertex was".split()
)
_OPERATORS = frozenset(",+-*/=<>·×−≤≥")
_LIST_NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,3})?|[A-Ha-i]|[ivx]{2,5}")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")
_NUMBER = re.compile(r"[(\[#]?\d")
_NAME = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")

_STEP_START = re.compile(
    r"""[*_>\s]*+(?: \#{1,6}\s | \d{1,3}[.)]\s
      | (?i: wait | but | so | now | next | then | first(?:ly)? | second(?:ly)? | third(?:ly)? | finally | lastly
           | alternatively | another | hm+ | let(?:\ me|['’]s|\ us) | ok(?:ay)? | alright | actually | however
           | therefore | thus | hence | similarly
           | (?:step|case|part|method|approach)\ (?:\d+|[a-z]|[ivx]+|one|two|three) )\b
      | 等等 | 等一下 | 首先 | 其次 | 然后 | 接下来 | 接着 | 最后 | 因此 | 所以 | 但 | 不过 | 现在 | 另外
      | 嗯 | 让我 | 好的 )""",
    re.VERBOSE,
)


def cuts(trace: str, granularity: Granularity = "sentence") -> list[int]:
    r"""Strictly increasing end offsets of the segments of `trace`; the last is `len(trace)`, an empty trace has none.

    Segments own the whitespace that follows them, and only a blank trace has a blank segment (`legacy` excepted).

    - `sentence`: at sentence ends, blank lines, list items and headings. An ellipsis ends a sentence only before a
      capital letter, and a single newline only where one ended anyway.
    - `paragraph`: at blank lines.
    - `step`: at the blank lines before a paragraph that opens with a sign of a new step (Wait, But, So, Next, Let me,
      Step 2, `1.`, a heading, …); any other paragraph joins the one before it.
    - `legacy`: after every `". "`, as many segments as `trace.split(". ")` has pieces, except for the empty last piece
      of a trace that ends with `". "`.

    Formulas (`$…$`, `$$…$$`, `\(…\)`, `\[…\]`, `\begin{…}…\end{…}`) and code (inline or fenced) are never cut by the
    first three. A delimiter that is never closed is ordinary text: inline ones must close before the next blank line,
    `$$` too unless both stand on lines of their own, display formulas within 10,000 characters, and a fence by the
    next bare fence with the same marker, before another one is opened. `\(` and `\[` start again where they recur.
    """
    if not isinstance(trace, str):
        raise TypeError(
            f"`{trace!r:.80}` is a {type(trace).__name__}, and only text can be cut: pass the trace as a str."
        )
    if granularity not in GRANULARITIES:
        nearest = difflib.get_close_matches(str(granularity), GRANULARITIES, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"`{granularity}` is not a granularity: a trace is cut by {', '.join(GRANULARITIES)}. "
            f"Did you mean `{nearest}`?"
        )
    if not trace:
        return []
    if granularity == "legacy":
        return _legacy(trace)
    if granularity == "sentence":
        return _scan(trace, _SENTENCE)
    paragraphs = _scan(trace, _PARAGRAPH)
    if granularity == "paragraph":
        return paragraphs
    return [cut for cut in paragraphs if cut == len(trace) or _STEP_START.match(trace, cut)]


def segments(trace: str, granularity: Granularity = "sentence") -> list[str]:
    """The pieces of `trace` between its cuts; joined, they are the trace again."""
    return [trace[start:end] for start, end in pairwise([0, *cuts(trace, granularity)])]


def _legacy(trace: str) -> list[int]:
    pieces = trace.split(". ")
    ends = list(accumulate(len(piece) + 2 for piece in pieces[:-1]))
    return [*ends, len(trace)] if pieces[-1] else ends


def _scan(trace: str, tokens: re.Pattern[str]) -> list[int]:
    """Collect cuts from left to right; when a formula or a code block closes, take back the cuts inside it."""
    found: list[int] = []
    start = last = len(trace) - len(trace.lstrip())  # a cut here would leave a blank first segment
    spans = _OpenSpans(trace)
    for token in tokens.finditer(trace):
        kind = token.lastgroup
        if kind is None:
            continue
        if kind == "stop":
            cut = token.end(kind)
            if not _ends_sentence(trace, token.start(), token.end(), cut, last):
                continue
        elif kind in spans.closers:
            opened = spans.closers[kind](token)
            if opened is None:
                continue
            spans.forget_inside(opened)
            while found and found[-1] > opened:
                found.pop()
            last = found[-1] if found else start
            formula = tokens is _SENTENCE and kind != "ticks" and kind != "info"
            cut = _end_after_formula(trace, opened, token) if formula else 0
        else:
            cut = token.end(kind)
            if kind == "blank":
                spans.end_paragraph(token.start())
        if cut > last:
            found.append(cut)
            last = cut
    if last < len(trace) or not found:
        found.append(len(trace))
    return found


class _OpenSpans:
    """The delimiters that still wait for their closer; each method in `closers` takes a token and returns the start
    of the formula or code that it closes, or None after noting what it may open."""

    def __init__(self, trace: str) -> None:
        self.trace = trace
        self.last_blank_line = -1
        self.inline: dict[str, int] = {}
        self.display: dict[str, int] = {}
        self.environments: dict[str, list[int]] = {}
        self.fences: dict[str, int] = {}
        self.closers = {
            "dollars": self._dollars,
            "ticks": self._ticks,
            "bracket": self._bracket,
            "name": self._environment,
            "info": self._fence,
        }
        if fence := _OPENING_FENCE.match(trace):
            self.fences[fence[1]] = 0

    def end_paragraph(self, at: int) -> None:
        """Inline formulas and code end with their paragraph, closed or not."""
        self.last_blank_line = at
        if self.inline:
            self.inline.clear()

    def forget_inside(self, opened: int) -> None:
        """What was opened inside a closed span is part of it, and must not pair with something outside."""
        if self.inline:
            self.inline = {key: at for key, at in self.inline.items() if at < opened}
        if self.display:
            self.display = {key: at for key, at in self.display.items() if at < opened}

    def _dollars(self, token: re.Match[str]) -> int | None:
        start, end = token.span()
        if end - start == 1:
            return self._dollar(start)
        if end - start == 2:
            opened = self.display.pop("$$", None)
            if opened is not None and end - opened <= _LONGEST_FORMULA:
                own_lines = self.trace[start - 1] == "\n" and self.trace[opened + 2] in "\r\n"
                if own_lines or self.last_blank_line < opened:
                    return opened
            self.display["$$"] = start
        return None

    def _dollar(self, at: int) -> int | None:
        before, after = self.trace[at - 1 : at] or " ", self.trace[at + 1 : at + 2] or " "
        opened = self.inline.pop("$", None)
        if opened is not None:
            begins_another = before.isspace() and (after.isalnum() or after in "\\({[|-+")
            prices = after.isdigit() and self.trace[opened + 1].isdigit()
            if not begins_another and not prices:
                return opened
        ends_a_price = before.isalnum() and (after.isspace() or after in ".,;:!?)")
        if not ends_a_price:
            self.inline["$"] = at
        return None

    def _ticks(self, token: re.Match[str]) -> int | None:
        run = token[0]
        if len(run) > 3:
            return None
        opened = self.inline.pop(run, None)
        if opened is None:
            self.inline[run] = token.start()
        return opened

    def _bracket(self, token: re.Match[str]) -> int | None:
        bracket = token["bracket"]
        if bracket == "(":
            self.inline["("] = token.start()
        elif bracket == "[":
            self.display["["] = token.start()
        elif bracket == ")":
            return self.inline.pop("(", None)
        else:
            opened = self.display.pop("[", None)
            if opened is not None and token.end() - opened <= _LONGEST_FORMULA:
                return opened
        return None

    def _environment(self, token: re.Match[str]) -> int | None:
        waiting = self.environments.setdefault(token["name"], [])
        if token["side"] == "begin":
            waiting.append(token.start())
        elif waiting:
            opened = waiting.pop()
            if token.end() - opened <= _LONGEST_FORMULA:
                return opened
        return None

    def _fence(self, token: re.Match[str]) -> int | None:
        marker = token["fence"]
        opened = self.fences.pop(marker, None)
        if opened is not None and not token["info"].strip():
            return opened
        self.fences[marker] = token.start("fence")
        return None


def _end_after_formula(trace: str, opened: int, closer: re.Match[str]) -> int:
    """The cut after a formula that carries the full stop of its sentence (`$x = 5.$ Then`), or 0."""
    at = closer.start()
    if trace[at - 1].isalnum():
        return 0
    if not _FORMULA_STOP.search(trace, max(opened, at - 30), at):
        return 0
    after = _AFTER_FORMULA.match(trace, closer.end())
    return after.end() if after and _capital(trace, after.end()) else 0


def _capital(trace: str, at: int) -> bool:
    first = trace[at : at + 1]
    return first.isupper() or (first in _OPENING_MARKS and trace[at : at + 6].lstrip(_OPENING_MARKS)[:1].isupper())


def _ends_sentence(trace: str, start: int, end: int, cut: int, segment: int) -> bool:
    """Is the run of stops `trace[start:end]`, with the text going on at `cut`, the end of a sentence?"""
    after = trace[cut : cut + 1]
    if after in ",;:)]}":  # includes "", the end of the trace
        return False
    if not trace[end].isspace() and after.islower():
        return False  # a closing mark stands between: `"Why?" he asked`
    before = trace[start - 1]
    if start == segment or before.isspace():
        return _ends_at_dots(trace, start, cut)  # standing alone: an operator, a blank to fill, spaced dots
    if end - start == 1 and trace[start] == ".":
        return _ends_at_dot(trace, start, cut, segment)
    run = trace[start:end]
    if "?" in run:
        return True
    if "!" in run:
        variable = before.isalpha() and not trace[start - 2 : start].isalpha()
        factorial = variable or before.isdigit() or before in ")}]"
        return not factorial or _capital(trace, cut)
    if run == ".." or len(run) > 3:
        return not after.islower()
    return _ends_at_dots(trace, start, cut)


def _ends_at_dots(trace: str, start: int, cut: int) -> bool:
    """Dots end a sentence before a capital letter, but stand for missing terms in `1, 2, ... N` and `1 + ... + N`."""
    if not _capital(trace, cut):
        return False
    return trace[cut + 1 : cut + 2].islower() or trace[max(0, start - 2) : start].rstrip()[-1:] not in _OPERATORS


def _ends_at_dot(trace: str, start: int, cut: int, segment: int) -> bool:
    """Is the single dot at `start` a full stop, and not part of an abbreviation, an initial or a list number?"""
    if start - 1 == segment or trace[start - 2].isspace():
        word = trace[start - 1]
    else:
        word = trace[max(segment, start - 16) : start].rsplit(None, 1)[-1].lstrip(_OPENING_MARKS)
        rule = _ABBREVIATIONS.get(word)
        if rule == _NEVER:
            return False
        if rule == _UNLESS_CAPITAL:
            return _capital(trace, cut)
        if rule == _BEFORE_NUMBER:
            return not _NUMBER.match(trace, cut)
        if len(word) > 8:
            return True
    before = trace[max(segment, start - 24) : start - len(word)].rstrip()
    if _LIST_NUMBER.fullmatch(word) and _begins_item(before, word):
        return False
    return not (word[:1].isupper() and _INITIALS.fullmatch(word) and _names_a_person(before, trace[cut : cut + 16]))


def _begins_item(before: str, number: str) -> bool:
    """Does the segment begin with this number (`1. `, `## 2.1. `, `Step 3. `), or does it open a list in the line?"""
    before = before.lstrip("#>(*_- ")
    return not before or before in _NUMBERED or (number == "1" and before[-1] == ":")


def _names_a_person(before: str, after: str) -> bool:
    """Is a capital letter with a dot an initial, going by the words around it?"""
    found = _NAME.match(after)
    name = found[0] if found else ""
    if not name[:1].isupper() or name in _OPENING_WORDS or name.endswith(("ing", "ly")):
        return False
    if name.isupper() and not (len(name) == 1 and after[1:2] == "."):
        return False  # a point or a triangle, unless it is the next initial
    words = before.split()
    return not words or words[-1].lstrip(_OPENING_MARKS) not in _SUBJECT_WORDS
