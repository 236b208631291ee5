"""What is of this machine, or secret, is on no card."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.hub.facts import name_of, public, public_command, public_report


NAMES = st.text("abcdefgh0123_-.", min_size=1, max_size=12).filter(lambda name: name.strip("."))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("no such file: '/home/someone/data/x.jsonl'.", "no such file: 'x.jsonl'."),
        ("read /a/b and ~/c/d, not e/f or 1/2", "read b and d, not e/f or 1/2"),
        ("at C:\\Users\\someone\\x.txt", "at x.txt"),
        ("file:///srv/x", "x"),
        ("https://huggingface.co/me/data", "https://huggingface.co/me/data"),
        ("owner/name, a / b, and/or", "owner/name, a / b, and/or"),
        ("with hf_abcdefghijklmnop", "with [key]"),
    ],
)
def test_paths_lose_their_folders_and_keys_their_letters(given, told):
    assert public(given) == told
    assert public({"a": [given, 1, None, 0.5]}) == {"a": [told, 1, None, 0.5]}


@given(st.lists(NAMES, min_size=2, max_size=5), st.sampled_from(["", " ", "'", '"', "=", "(", ": "]))
def test_folders_of_absolute_paths_are_never_told(parts, before):
    path = "/" + "/".join(f"folder{part}" for part in parts)
    told = public(f"read{before if before else ' '}{path}")
    assert f"folder{parts[0]}/" not in told and told.endswith(f"folder{parts[-1]}")


@given(st.text("ABCdef0189", min_size=8, max_size=40))
def test_tokens_are_never_told(letters):
    token = f"hf_{letters}"
    assert token not in public(f"a {token} b") and token not in public_command(f"palign x --student {token}")
    assert token not in str(public({token: [token]}))


def test_a_command_may_have_paths_with_spaces():
    command = shlex.join(
        ["palign", "truncate", "--student", "/my data/students/x", "--output-dir=/my data/y", "runs/z"]
    )
    assert public_command(command) == "palign truncate --student x --output-dir=y runs/z"
    assert public_command("it's /a/b") == "it's b"


def test_names_are_the_last_of_paths():
    assert [name_of(path) for path in ("/a/b", "~/c", "me/name", "/", "D:\\e\\f")] == [
        "b",
        "c",
        "me/name",
        "[path]",
        "f",
    ]


def test_a_report_names_no_folder_of_the_machine():
    about = {"command": "palign align --output '/my data/x'", "student_name": "/srv/my student", "date": "today"}
    about |= {"input": {"source": "/my data/traces", "split": "train"}, "tasks": {"t": "/home/me/copy"}}
    report = {"rows": 3, "settings": about}
    assert public_report(report) == {
        "rows": 3,
        "settings": {
            "command": "palign align --output x",
            "student_name": "my student",
            "date": "today",
            "input": {"source": "traces", "split": "train"},
            "tasks": {"t": "copy"},
        },
    }
    assert report["settings"]["student_name"] == "/srv/my student" and public_report({"settings": {}}) == {
        "settings": {}
    }
