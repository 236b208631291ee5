"""YAML that stands for more than it says is refused, in recipes, options and cards alike."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.config import ConfigError
from palign_hf.config.recipes import YamlError, load_yaml, parse_yaml
from palign_hf.errors import UserError
from palign_hf.hub.cards import FrontMatter


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]\n" for at in range(1, 20)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{at}: &a{at}\n  <<: [{', '.join([f'*a{at - 1}'] * 10)}]\n  k{at}: 1\n" for at in range(1, 20)
)
ITSELF = "a: &a [1, *a]"


@pytest.mark.parametrize("text", [BOMB, MERGED])
def test_a_bomb_of_aliases_is_refused_in_words(text):
    for read in (load_yaml, parse_yaml, lambda bomb: FrontMatter(f"---\n{bomb}\n---\n")):
        with pytest.raises(UserError, match=r"aliases \(`\*name`\) add more than 10000 values") as error:
            read(text)
        assert len(str(error.value)) < 400


def test_a_value_that_holds_itself_is_refused():
    with pytest.raises(ConfigError, match="the value of line 1 holds itself, by an alias"):
        parse_yaml(ITSELF)


def test_a_few_aliases_are_what_they_stand_for():
    assert load_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "- " * 5_000 + "x", "a: [", "a: b: c", "\x00", "? [1]\n: 2", "!!python/name:os.x"]
)
def test_what_is_no_yaml_is_said_in_one_line(text):
    with pytest.raises(YamlError) as error:
        load_yaml(text)
    assert str(error.value) and "\n" not in str(error.value) and len(str(error.value)) <= 1000


def test_keys_given_twice_are_refused_but_in_cards():
    with pytest.raises(YamlError, match="the key `a` is given twice, again in line 2"):
        load_yaml("a: 1\na: 2")
    assert load_yaml("a: 1\na: 2", repeated_keys=True) == {"a": 2}


@given(
    st.recursive(
        st.text() | st.none() | st.booleans() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_all_else_is_read_as_yaml_reads_it(value):
    text = yaml.safe_dump(value)
    assert load_yaml(text) == yaml.safe_load(text) == value
