"""Masking of secrets in all written, printed and sent text: by value, if this process knows them, and by shape.

Mask raw text, before it is escaped for Markdown, JSON or a shell; the usual escaped forms of known values are masked,
too. `remember` registers the values that a run is given (headers, credentials in URLs); those of the environment are
read at each call.
"""

import base64
import binascii
import html
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit


MASK = "[key]"
# A shorter value can't be distinguished from ordinary words and numbers, and protects nothing.
_SHORTEST = 4
# A shorter value is masked as a whole word only.
_ANYWHERE = 8
_ENVIRONMENT = re.compile(r"(?:^|_)(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_WORDS = re.compile(r"[a-z]+(?:[_-][a-z]+)*")
_SCHEMES = {"basic", "bearer", "digest", "token", "negotiate", "apikey", "key"}
_SENT = ("headers", "cookies")
_PARTS = re.compile(r"[\s;,=\"']+")

_remembered: dict[str, None] = {}


def remember(*values: str | None) -> None:
    """Mask these values from now on, wherever this process writes text.

    Parts of a header's value are masked too: the credential after `Bearer`, the user and the password of `Basic`, the
    value of a `name=`. Values of fewer than 4 characters are not masked, of fewer than 8 only as whole words.
    """
    for value in values:
        if value:
            for part in _parts(value):
                _keep(part)


def remember_url(url: str) -> None:
    """Mask the credentials in a URL, as they are written and decoded."""
    found = url_credentials(url)
    if found is None:
        return
    user, password = found
    # A user's name is no secret, but a token is often given in its place.
    alone = len(password) < _SHORTEST or password == "x-oauth-basic"
    raw = re.split(r"://", url, maxsplit=1)[-1].rpartition("@")[0]
    for value in (f"{user}:{password}", password, user if alone or _random(user) else "", raw if ":" in raw else ""):
        _keep(value)
    _keep(raw.partition(":")[2])


def remember_in(data: Any) -> None:
    """Mask the secrets in plain data: headers, credentials in URLs, texts under names such as `api_key`."""
    if isinstance(data, str):
        if "://" in data and "@" in data:
            remember_url(data)
    elif isinstance(data, Mapping):
        for name, value in data.items():
            if isinstance(name, str) and (name.lower() in _SENT or is_secret_name(name)):
                remember(*_texts(value))
            else:
                remember_in(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            remember_in(value)


def url_credentials(url: str) -> tuple[str, str] | None:
    """User and password of a URL, decoded; None if it has neither."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if "@" not in parts.netloc:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def without_credentials(url: str) -> str:
    """A URL without user and password, for requests and messages."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def redact(text: str) -> str:
    """A text with `[key]` in place of secrets: known values, and texts with the shape of one."""
    known = frozenset(_remembered) | frozenset(_of_environment())
    if known:
        text = _by_value(known).sub(MASK, text)
    for shape, masked in _SHAPES:
        text = shape.sub(masked, text)
    return text


def redacted(value: Any) -> Any:
    """Plain data with all texts masked, names included; the whole text under the name of a secret (`api_key`)."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {_name(name): _under(name, one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(redacted, value)) if type(value) in (list, tuple) else [redacted(one) for one in value]
    return value


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret if it holds text: `hub_token`, `api_key`, but not `pad_token`."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    if not words:
        return False
    if _ALWAYS & set(words):
        return True
    joined = "".join(words)
    if joined.endswith(("apikey", "accesskey", "secretkey", "privatekey", "accesskeyid", "authtoken", "accesstoken")):
        return True
    before, last = set(words[:-1]), words[-1]
    return (last == "token" and not before & _SPECIAL) or (last in ("key", "keys") and not before & _LOOKUP)


_ALWAYS = {"password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials"}
_ALWAYS |= {"authorization"}
# Tokens of a vocabulary, and keys of a table.
_SPECIAL = set("bos eos pad unk sep cls mask stop image video audio special additional extra decoder".split())
_SPECIAL |= set("boi eoi boa eoa begin start end first last next think thinking tool fake per new each one no".split())
_SPECIAL |= set("prefix suffix middle separator delimiter open close line row word text placeholder control".split())
_LOOKUP = set("sort primary foreign group cache answer label column row dict lookup join index map name".split())
_LOOKUP |= set("num head heads query value kv image text prompt completion messages metric".split())


def _under(name: Any, value: Any) -> Any:
    secret = isinstance(name, str) and (is_secret_name(name) or name.lower() in _SENT)
    return _masked(value) if secret else redacted(value)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)


def _masked(value: Any) -> Any:
    """The same data without its texts."""
    if isinstance(value, str):
        return MASK if value else value
    if isinstance(value, Mapping):
        return {_name(name): _masked(one) for name, one in value.items()}
    return [_masked(one) for one in value] if isinstance(value, (list, tuple)) else value


def _name(name: Any) -> Any:
    """A key of a mapping; field names stay unchanged, even if a header's value is the same text."""
    if not isinstance(name, str) or (_WORDS.fullmatch(name) and len(name) <= 40 and not _HUB.search(name)):
        return name
    return redact(name)


def _keep(value: str) -> None:
    value = value.strip()
    if sum(map(str.isalnum, value)) >= _SHORTEST and value != MASK:
        _remembered[value] = None


def _parts(value: str) -> Iterable[str]:
    yield value
    scheme, _, rest = value.strip().partition(" ")
    if rest and scheme.lower() in _SCHEMES:
        yield rest
        if (decoded := _basic(rest)) is not None:
            yield decoded
            yield decoded.partition(":")[2]
    for part in _PARTS.split(value):
        if len(part) >= 12 or _random(part):
            yield part


def _random(text: str) -> bool:
    """Whether a text resembles a key more than a word."""
    return len(text) >= _ANYWHERE and any(char.isdigit() for char in text) and any(char.isalpha() for char in text)


def _basic(text: str) -> str | None:
    """The `user:password` of HTTP's Basic scheme, if a text is one."""
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return decoded if ":" in decoded and decoded.isprintable() else None


def _of_environment() -> Iterable[str]:
    for name, value in os.environ.items():
        if not _ENVIRONMENT.search(name):
            continue
        value = value.strip()
        # Names of files and switches end so, too.
        if len(value) >= _ANYWHERE and value[0] not in "/~." and not _WORDS.fullmatch(value) and value != MASK:
            yield value


@lru_cache(maxsize=8)
def _by_value(known: frozenset[str]) -> re.Pattern[str]:
    """A pattern of the values in all forms that a text may have; the longest first."""
    longest = sorted(known, key=lambda value: (-len(value), value))
    forms = [_loosely(value) for value in longest]
    forms += [re.escape(form) for value in longest if len(value) >= _ANYWHERE for form in _base64(value)]
    return re.compile("|".join(forms))


def _loosely(value: str) -> str:
    """A value as a pattern: any character may be escaped, as Markdown, JSON, URLs, HTML and `repr` do it."""
    pattern = "".join(map(_char, value))
    return pattern if len(value) >= _ANYWHERE else rf"(?<!\w){pattern}(?!\w)"


@lru_cache(maxsize=1024)
def _char(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    number = ord(char)
    ways = {rf"\\{{0,7}}{re.escape(char)}"}
    percent = quote(char.encode("utf-8", "surrogatepass"), safe="")
    if not percent.startswith("%"):  # `-`, `.`, `_` and `~` may be quoted all the same
        percent = f"%{number:02X}"
    ways.add(_any_case(percent))
    ways.add(_any_case(percent.replace("%", "%25")))
    units = char.encode("utf-16-be", "surrogatepass")
    ways.add("".join(rf"\\{{1,4}}u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2)))
    if number < 256:
        ways.add(rf"\\{{1,4}}x(?i:{number:02x})")
    elif number > 0xFFFF:
        ways.add(rf"\\{{1,4}}U(?i:{number:08x})")
    ways |= {rf"&#0*{number};", rf"(?i:&\#x0*{number:x};)", re.escape(html.escape(char))}
    ways |= {r"\+"} if char == " " else set()
    ways |= {re.escape("'\"'\"'")} if char == "'" else set()
    if not char.isprintable():  # shown as one space, or by its number
        ways |= {r"\s+", rf"<U\+{number:04X}>"} | {
            {"\n": r"\\{1,4}n", "\t": r"\\{1,4}t", "\r": r"\\{1,4}r"}.get(char, r"\s")
        }
    return f"(?:{'|'.join(sorted(ways, key=lambda way: (-len(way), way)))})"


def _any_case(text: str) -> str:
    return f"(?i:{re.escape(text)})"


def _base64(value: str) -> set[str]:
    """The part of a value's base64 that doesn't depend on what stands around it, for each place it may stand at."""
    content, found = value.encode("utf-8", "surrogatepass"), set()
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + content)
        begin, spare = (0, 2, 3)[shift], (shift + len(content)) % 3
        whole = coded[begin : len(coded) - (0, 3, 2)[spare]].decode()
        if len(whole) >= _ANYWHERE:
            found |= {whole, whole.replace("+", "-").replace("/", "_")}
            found |= {quote(whole, safe="")}
    exact = base64.b64encode(content).decode().rstrip("=")
    return found | {exact}


def _last(found: "re.Match[str]") -> str:
    """The match without its value."""
    return f"{found['before']}{MASK}"


def _credential(found: "re.Match[str]") -> str:
    """The value, if it resembles a key: prose and special tokens occur after such names, too."""
    value = found["value"]
    if re.match(r"[/~.]+\w", value):  # a path
        return found[0]
    inner = any(char.isupper() for char in value[1:]) and any(char.islower() for char in value)
    likely = any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
    return _last(found) if likely or inner or len(value) >= 24 else found[0]


def _scheme(found: "re.Match[str]") -> str:
    return _last(found) if _basic(found["value"]) is not None else found[0]


# Tokens of the Hub begin so, and so do names as `hf_overrides` or `hf_hub_download`: words without capitals or digits.
_HUB = re.compile(
    r"(?<![A-Za-z0-9_])hf\\*_(?!(?=[a-f]*[g-z])[a-z]{1,15}(?![A-Za-z0-9]))"
    r"(?:(?:oauth|jwt)\\*_[\w.-]{8,}|[A-Za-z0-9]{8,}\w*|(?=[a-z\\_]*[A-Z0-9])(?:\\*\w){8,}|(?:\\*\w){20,})"
)
_ISSUED = re.compile(
    r"(?<![A-Za-z0-9_-])(?:sk-(?:(?:proj-|ant-)?\w{8,}[\w-]*|(?=[\w-]*[\dA-Z])[\w-]{8,})|gh[a-z]_\w{16,}|github_pat_\w{16,}"
    r"|gl[a-z]{2,4}-[\w-]{16,}|xox[a-z]-[\w-]{8,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?)"
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Up to the last `@` before a path begins; then a password that has a slash.
_USERINFO = re.compile(r"(?P<before>\b[A-Za-z][\w+.-]{0,20}://)[^\s/?#'\"<>`]+(?=@)")
_USERINFO_WITH_SLASH = re.compile(
    r"(?P<before>\b[A-Za-z][\w+.-]{0,20}://)[^\s/:@'\"<>`]{1,256}:(?!\d{1,5}(?:[/?#]|$))[^\s@'\"<>`]{1,256}(?=@)"
)
_EQUALS = r"\\*[\"'`]?[ \t]*(?::|=>?)[ \t]*"
_VALUE = r"(?:\\*\"[^\"\n]{1,4096}?(?=\\{0,7}\")|\\*'[^'\n]{1,4096}?(?=\\{0,7}')|[^\s\"'`,;&{}()<>\\]+)"
_AUTHORIZATION = re.compile(
    rf"(?P<before>(?i:\bauthorization){_EQUALS}\\*[\"'`]?(?:(?i:bearer|basic|token|digest|negotiate)\s+)?)"
    r"(?!(?i:bearer|basic|token|digest|negotiate)\b)[^\s\"'`,;{}()<>\\]{4,}"
)
_COOKIE = re.compile(
    rf"(?P<before>(?i:\b(?:set-)?cookie2?){_EQUALS}\\*[\"'`]?)[^\s\"'`{{}}()<>\\][^\"'`\n{{}}<>]{{0,4096}}=[^\"'`\n{{}}<>]+"
)
_HEADERS = re.compile(
    r"(?P<before>(?i:(?<![\w-])headers)(?:\\*[\"'`]?[ \t]*(?:=>?|:)[ \t]*\\*[\"'`]?(?=\{)|\.[\w-]+\s*=\s*))"
    r"(?:\{[^{}\n]{0,4096}\}?|[^\s{]\S*)"
)
_BEARER = re.compile(r"(?P<before>\b(?i:bearer)\s+)(?P<value>[\w.~+/-]{8,}=*)(?![\w=])")
_BASIC = re.compile(r"(?P<before>\b(?i:basic)\s+)(?P<value>[\w+/=-]{6,})")
_KEYS = "api|access|auth|private|secret|signing|encryption|account"
_TOKENS = "hub|hf|auth|access|api|refresh|session|bearer|id|bot|github|gitlab|wandb|private|secret|csrf|login|user"
_NAMED = (
    rf"[\w-]*(?:password|passwd|passphrase|secret|(?:{_KEYS})[-_]?key(?:[-_]id)?|(?<![a-z])(?:{_TOKENS})[-_]?token)"
)
# `name=value` and the forms of JSON and YAML; prose has a colon and a space, and no such names with `_` in them.
_ASSIGNED = re.compile(rf"(?P<before>(?i:(?<![\w-]){_NAMED})(?![\w-]){_EQUALS})(?P<value>{_VALUE})")
_FLAG = re.compile(rf"(?P<before>(?i:(?<![\w-])--?(?:{_NAMED}|token|pwd))\s+)(?!-)(?P<value>{_VALUE})")
_TOKEN = re.compile(
    rf"(?P<before>(?i:(?<![\w-])(?:token|pwd|key)){_EQUALS}\\*[\"'`]?)(?P<value>[\w.~+/=-]{{8,}})(?![\w:<>|])"
)
_QUERY = re.compile(
    r"(?P<before>[?&](?i:key|token|sig|signature|password|secret|x-amz-[\w-]+|x-goog-[\w-]+|[\w-]*(?:api|access)[-_]?(?:key|token))=)[^\s&#'\"<>`)]+"
)


def _assigned(found: "re.Match[str]") -> str:
    """Mask a value after its name, unless the text says that there is none, or describes one."""
    value = re.sub(r"^\\*[\"']", "", found["value"])
    opening = found["value"][: len(found["value"]) - len(value)]
    if value.lower() in _NOTHING or not value:
        return found[0]
    spoken = not opening and _SPOKEN.fullmatch(found["before"]) and re.fullmatch(r"[A-Za-z'-]+[.!?]?", value)
    return found[0] if spoken else f"{found['before']}{opening}{MASK}"


_SPOKEN = re.compile(r"(?i:password|passphrase|secret):[ \t]+")
_NOTHING = {"none", "null", "true", "false", "...", "''", '""', "~", "str", "text", "string", "optional", "bool"}
_Masked = str | Callable[["re.Match[str]"], str]
_SHAPES: list[tuple["re.Pattern[str]", _Masked]] = [
    (_PEM, MASK),
    (_USERINFO, _last),
    (_USERINFO_WITH_SLASH, _last),
    (_HUB, MASK),
    (_ISSUED, MASK),
    (_AUTHORIZATION, _last),
    (_COOKIE, _last),
    (_HEADERS, _last),
    (_BEARER, _credential),
    (_BASIC, _scheme),
    (_ASSIGNED, _assigned),
    (_FLAG, _assigned),
    (_TOKEN, _credential),
    (_QUERY, _last),
]
