"""Whatever stands in a recipe: settings that satisfy their declaration, or one line that names the key."""

import json
import math

import yaml
from config_sample import Pilot, Sample, Source
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palign_hf.config import ConfigError, Parser, add_options, build, load_config, read_options


KEYS = ["source", "student", "batch_size", "cut", "mode", "share", "heat", "weight", "search", "columns", "options"]
NO_OPTION = ["voice", "counted", "studnt", "trust", "shown"]  # or one without a value
KEYS += ["sizes", "stops", "names", "trust", "shown", "engine", "voice", "pilot", "counted", "studnt"]

names = st.text(max_size=5)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
leaves |= st.sampled_from(["sentence", "auto", "5e-5", "nan", "null", "a", 1, 2, 0.5])
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.just("rows"), inner, max_size=3),
    max_leaves=6,
)
sections = st.fixed_dictionaries({}, optional={"path": json_values, "max_samples": json_values, "pth": json_values})
places = dict.fromkeys(KEYS, json_values) | {"source": sections | json_values}
places["pilot"] = st.fixed_dictionaries({}, optional={"rows": json_values}) | json_values
recipes = st.fixed_dictionaries({}, optional=places)
right = {"source": {"path": "a"}, "student": "s"}


def whole(value, least=-math.inf, most=math.inf) -> bool:
    return type(value) is int and least <= value <= most


def number(value, least=-math.inf, most=math.inf) -> bool:
    return type(value) is float and least <= value <= most


def texts(values, kind) -> bool:
    return type(values) is kind and all(type(value) is str for value in values)


def declared(made: Sample) -> bool:
    """The declaration of `Sample`, said a second time by hand."""
    return all(
        [
            type(made.source) is Source and type(made.source.path) is str,
            made.source.max_samples is None or whole(made.source.max_samples, 1),
            type(made.student) is str and made.student.strip(),
            whole(made.batch_size, 1, 100),
            made.cut in ("sentence", "paragraph", "step"),
            made.mode in ("auto", "off") or whole(made.mode, 0),
            number(made.share, 0, 1),
            made.heat is None or (number(made.heat) and 0 < made.heat < 2),
            number(made.weight),
            type(made.search) in (str, dict),
            made.columns is None or (type(made.columns) is dict and texts(list(made.columns.values()), list)),
            type(made.options) is dict,
            type(made.sizes) is list and all(whole(size, 1) for size in made.sizes),
            texts(made.stops, tuple),
            type(made.names) is tuple or texts(made.names, list),
            type(made.trust) is bool and made.shown in (None, True, False),
            type(made.engine) is str and made.voice is None and made.counted == 0,
            made.pilot is None or (type(made.pilot) is Pilot and whole(made.pilot.rows, 1)),
        ]
    )


def names_a_key(message: str) -> bool:
    return "\n" not in message and any(f"`{key}" in message for key in KEYS)


@settings(max_examples=600, deadline=None)
@given(recipes, st.booleans())
@example({"mode": True}, True)
@example({"columns": {"a": "b"}, "sizes": [1], "stops": ["x"], "pilot": {"rows": 1}, "weight": math.inf}, True)
@example({"share": 10**400}, True)
def test_any_recipe_builds_as_declared_or_is_refused_in_one_line(values, complete):
    values = right | values if complete else values
    try:
        made = build(Sample, values, "`r.yaml`")
    except ConfigError as error:
        assert names_a_key(str(error)), str(error)
    else:
        assert declared(made), made


@settings(max_examples=300, deadline=None)
@given(json_values | st.binary() | st.just(object()))
def test_what_is_no_recipe_at_all_is_refused_in_one_line(value):
    try:
        build(Sample, value, "`r.yaml`")
    except ConfigError as error:
        assert str(error).startswith("`r.yaml` ") and "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(KEYS) | st.text(), text=st.text())
def test_any_override_is_read_or_refused_in_one_line(key, text):
    base = [f"{name}={json.dumps(value)}" for name, value in right.items()]
    try:
        made = load_config(Sample, None, [*base, f"{key}={text}"])
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert declared(made)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from([key for key in KEYS if key not in NO_OPTION]), text=st.text(max_size=20))
def test_any_text_of_an_option_is_read_or_refused_in_one_line(key, text):
    parser = Parser()
    add_options(parser, Sample)
    name = {"source": "source.path", "pilot": "pilot.rows"}.get(key, key)
    options = parser.parse_args(["--source.path", "a", "--student", "s", f"--{name}={text}"])
    try:
        made = read_options(options, Sample)
    except ConfigError as error:
        assert "\n" not in str(error) and f"`--{name.replace('_', '-')} " in str(error)
    else:
        assert declared(made)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | recipes.map(lambda values: yaml.safe_dump(values).encode()))
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        made = load_config(Sample, path, ["student=s"], {"source": {"path": "a"}})
    except ConfigError as error:
        assert "\n" not in str(error) and str(error).startswith(
            (f"`{path}`", f"The recipe `{path}`", "`source.path: ")
        )
    else:
        assert declared(made)
