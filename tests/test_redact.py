"""Secrets are masked by value and by shape, in any form that a text takes on its way; ordinary text survives."""

import base64
import html
import json
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from palign_hf import redact as redacting
from palign_hf.redact import MASK, is_secret_name, redact, redacted, remember, remember_url, without_credentials
from palign_hf.tables import escaped


LETTERS = st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFFF, exclude_categories=("Cs", "Z", "C")), min_size=8
)
VALUES = VALUES.filter(lambda value: sum(map(str.isalnum, value)) >= 6)
AROUND = st.text("abc xyz .,:\n", max_size=12)
# Of any alphabet, without what says that something secret comes.
PROSE = st.lists(
    st.sampled_from(
        "the token tokens key keys word next answer is 12 3.5 x=4 max_tokens=8 \\boxed{7} basic bearer password "
        "secret token_ids pad_token eos_token=<|im_end|> `id` prefix (a) [b] **c** /v1/models hf_hub_download".split()
    ),
    max_size=20,
).map(" ".join)


def only(*values):
    """Remember these alone: what another example has remembered says nothing here."""
    redacting._remembered.clear()
    remember(*values)


FORMS = {
    "raw": lambda value: value,
    "in Markdown": escaped,
    "in Markdown, twice": lambda value: escaped(escaped(value)),
    "in a URL": lambda value: quote(value, safe=""),
    "in a URL's path": quote,
    "in a URL's query": quote_plus,
    "in a URL, twice": lambda value: quote(quote(value, safe=""), safe=""),
    "in JSON": json.dumps,
    "in JSON, as it is": lambda value: json.dumps(value, ensure_ascii=False),
    "in JSON in JSON": lambda value: json.dumps(json.dumps(value)),
    "in a shell": shlex.quote,
    "in HTML": html.escape,
    "by repr": repr,
    "by ascii": ascii,
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60)
@given(value=VALUES, before=AROUND, after=AROUND)
@example(value="hf_secret_value*with|marks", before="", after="")
@example(value='it\'s "quoted" & <b> 100%', before="", after="")
def test_a_remembered_value_is_masked_in_every_form(form, value, before, after):
    only(value)
    told = redact(f"{before} {FORMS[form](value)} {after}")
    assert value not in told and FORMS[form](value).strip("'\"\\") not in told and MASK in told


@settings(max_examples=100)
@given(value=VALUES, before=st.text("abc:", max_size=5), after=st.text("abc", max_size=3))
def test_a_remembered_value_is_masked_in_base64_wherever_it_stands(value, before, after):
    assume(len(value.encode()) >= 9)
    only(value)
    for coded in (base64.b64encode, base64.urlsafe_b64encode):
        text = coded((before + value + after).encode()).decode()
        told = redact(f"x {text} y")
        assert MASK in told
        begin = -(-len(before.encode()) // 3) * 4
        assert text[begin : begin + 8] not in told


@given(PROSE)
@example("The next token: because it follows, and the key: value pairs of the secret: practice.")
@example("bearer /v1/models")
@example("{'token': 'token_id:1234', 'logprob': -0.5, 'bytes': [1]}")
@example("pad_token='<|endoftext|>' stop_token_ids=[1, 2] tokenizer: Qwen/Qwen2.5-7B-Instruct --max-tokens 8")
@example("Basic understanding of arithmetic; bearer certificates; me/tokenizer-8b; hf_transfer hf_overrides={}")
@example("https://huggingface.co/me/data hf://datasets/me/traces@0123456789abcdef/a http://host:8000/v1/models?x=1")
@example("The password: must have a digit. Set `HF_TOKEN` to a token that may write. key=lambda row: row")
def test_ordinary_text_survives(text):
    assert redact(text) == text
    assert redacted({"text": [text, 1, None]}) == {"text": [text, 1, None]}


SHAPES = [
    "hf_{}",
    "a (hf_{}) b",
    "hf\\_{}",
    "sk-{}",
    "sk-proj-{}-{}",
    "Authorization: Bearer {}",
    "'Authorization': 'Basic {}'",
    '{{"authorization": "{}"}}',
    "Authorization: Token {}",
    '"x-api-key": "{}"',
    "x-api-key: {}",
    "{{headers: {{x-api-key: {}}}}}",
    "api_key={}",
    "apiKey='{}'",
    "password={}",
    "db_password: '{}'",
    "--password {}",
    "--hub-token {}",
    "training.hub_token={}",
    "WANDB_API_KEY={}",
    '\\"api_key\\": \\"{}\\"',
    "http://user:{}@host:8000/v1",
    "https://{}@host/v1",
    "http://user:{}/{}@host",
    "Cookie: session={}",
    "https://host/x?key={}&y=1",
    "https://host/x?X-Amz-Signature={}",
    "client_secret = {}",
    "--engine-options 'headers={{X-Mine: {}}}'",
    "{{'urls': [], 'headers': {{'X-Mine': '{}'",
    "--set engine_options.headers.X-Mine={}",
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=40)
@given(value=st.text(LETTERS, min_size=10, max_size=40))
def test_what_has_the_shape_of_a_secret_is_masked(shape, value):
    assume(not value.islower() or not shape.startswith(("hf", "a (hf")))
    text = f"before {shape.format(value, value)} after"
    told = redact(text)
    assert value not in told and MASK in told
    assert told.startswith("before ") and (told.endswith(" after") or shape.startswith(("Cookie", "{{'urls")))
    assert redact(told) == told


@given(st.text("ab1:/@.=-_'\"\\ hf_sk-BearerBasictokenpasswordkey[]{}", max_size=60), st.text(LETTERS, min_size=4))
def test_masking_twice_changes_nothing(text, value):
    only(value)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("value", "text", "told"),
    [
        ("abc", "abc and abcd", "abc and abcd"),
        ("1", "1 of 10", "1 of 10"),
        ("----", "|----|", "|----|"),
        ("gold", "gold golden x_gold", "[key] golden x_gold"),
        ("pa$$w0", "pa$$w0!", "[key]!"),
        ("long-enough", "xlong-enoughx", "x[key]x"),
    ],
)
def test_short_values_are_masked_as_words_or_not_at_all(value, text, told):
    remember(value, "", None)
    assert redact(text) == told


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PALIGN_API_KEY", "OPENAI_API_KEY", "MY_SECRET"]
)
def test_keys_of_the_environment_are_masked_as_soon_as_they_are_set(name, monkeypatch):
    assert redact("it said own+secret1") == "it said own+secret1"
    monkeypatch.setenv(name, "own+secret1")
    assert redact("it said own+secret1") == "it said [key]"


def test_switches_and_files_of_the_environment_are_no_keys(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "parallel9")
    monkeypatch.setenv("SSH_KEY", "/home/me/key9.pem")
    monkeypatch.setenv("SORT_KEY", "alphabetical")
    assert redact("parallel9 /home/me/key9.pem alphabetical") == "parallel9 /home/me/key9.pem alphabetical"


def test_the_parts_of_a_header_are_masked_alone():
    remember(
        "Basic " + base64.b64encode(b"me:my-pass-word").decode(), "Bearer own.secret", "session=correcthorses; v=1"
    )
    assert redact("my-pass-word own.secret correcthorses v=1") == "[key] [key] [key] v=1"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://me:pass%40word1@host:8000/v1", ["pass@word1", "pass%40word1", "me:pass@word1"]),
        ("http://me:pass@word1@host", ["pass@word1"]),
        ("https://tokentokentoken@host/v1", ["tokentokentoken"]),
        ("https://abc123def456:x-oauth-basic@host/v1", ["abc123def456"]),
    ],
)
def test_the_credentials_of_a_url_are_masked_alone(url, seen):
    remember_url(url)
    for value in seen:
        assert redact(f"it said {value}.") == "it said [key]."
        assert MASK in redact(base64.b64encode(f"me:{value}".encode()).decode())
    assert redact("me and host") == "me and host"
    assert without_credentials(url) == url.split("//")[0] + "//" + url.rpartition("@")[2]
    assert without_credentials("http://host:1/v1/@me") == "http://host:1/v1/@me"


def test_plain_data_is_masked_deeply_and_names_of_fields_stay():
    remember("evaluation", "s3cr3t-value")
    data = {
        "evaluation": ("evaluation", {"s3cr3t-value": ["x s3cr3t-value"]}),
        "headers": {"x-mine": "abc", "n": 1},
        "api_key": ["abc", None, True],
        "hub_token": "x",
        "pad_token": "<pad>",
        "rows": 3,
    }
    assert redacted(data) == {
        "evaluation": ("[key]", {"[key]": ["x [key]"]}),
        "headers": {"x-mine": "[key]", "n": 1},
        "api_key": ["[key]", None, True],
        "hub_token": "[key]",
        "pad_token": "<pad>",
        "rows": 3,
    }


def test_names_of_secrets_are_told_from_names_of_tokens():
    secret = (
        "hub_token push_to_hub_token hf_token token api_key apiKey key wandb_api_key s3_secret_access_key password"
    )
    assert all(map(is_secret_name, [*secret.split(), "access_key_id", "X-Api-Key", "client-secret", "accessToken"]))
    usual = "max_tokens pad_token eos_token stop_token_ids close_tag tokenizer answer_key keyword monkey hub_strategy"
    assert not any(map(is_secret_name, [*usual.split(), "", "dbo_decode_token_threshold", "token_ids", "tokens_only"]))
