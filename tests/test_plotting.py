"""Pictures: equal data as equal bytes whatever style the user has, readable on any page, and any text in them."""

import builtins
import hashlib
import io
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from palign_hf.errors import UserError
from palign_hf.plotting import (
    COLOURS,
    INK,
    MID_INK,
    Bar,
    Panel,
    colour,
    draw_bar,
    interval_plot,
    needs_matplotlib,
    new_figure,
    plain_text,
    plot_style,
    png_bytes,
)


LIGHT, DARK = "#ffffff", "#0d1117"
HOSTILE = """
figure.dpi: 31
savefig.dpi: 33
savefig.bbox: tight
savefig.transparent: True
figure.facecolor: black
text.color: black
text.usetex: True
font.family: serif
font.size: 31
axes.grid: False
axes.formatter.use_locale: True
lines.linewidth: 9
path.sketch: 5, 50, 3
text.hinting: no_hinting
axes.prop_cycle: cycler('color', ['red'])
"""
PANELS = [Panel("pass@1", [Bar(0.3, 0.2, 0.4), None], 1.0), Panel("tokens", [Bar(31), Bar(40, 30, 45)], 45, ".0f")]
DRAW = "from test_plotting import picture; import hashlib; print(hashlib.sha256(picture()).hexdigest())"


def picture(rows=("base", "top"), **options) -> bytes:
    return interval_plot(rows, PANELS, [colour(0), colour(1)], columns=2, **options)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGBA"))


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(ink: str) -> float:
        parts = [int(ink[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_equal_data_give_equal_bytes_and_other_data_do_not():
    assert picture() == picture() != picture(note="partial")
    assert b"Software" not in picture()


def test_the_users_style_changes_nothing_and_is_left_as_it_is(tmp_path):
    (tmp_path / "matplotlibrc").write_text(HOSTILE)
    about = os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLBACKEND": "svg"}
    about["PYTHONPATH"] = os.pathsep.join(["tests", *sys.path])
    code = f"{DRAW}; import matplotlib; print(matplotlib.rcParams['font.size'])"
    done = subprocess.run([sys.executable, "-c", code], env=about, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [hashlib.sha256(picture()).hexdigest(), "31.0"]


def test_no_window_library_is_loaded():
    code = f"import sys; {DRAW}; print('matplotlib.pyplot' in sys.modules)"
    about = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=about, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


@pytest.mark.parametrize("ink", [*COLOURS, MID_INK])
def test_colours_stand_out_from_light_and_dark_pages(ink):
    assert min(contrast(ink, LIGHT), contrast(ink, DARK)) > 3


def test_text_stands_out_from_the_ground():
    image = pixels(picture())
    assert contrast(INK, LIGHT) > 7 and (image[..., 3] == 255).all()
    assert (image[..., :3] == 255).all(axis=-1).mean() > 0.5


def test_a_transparent_picture_has_no_ground():
    with plot_style(transparent=True):
        figure = new_figure(3, 2)
        axes = figure.add_subplot()
        draw_bar(axes, Bar(0.5, 0.2, 0.7), 0, colour(0))
        axes.set_title("tokens")
        image = pixels(png_bytes(figure))
    assert (image[..., 3] == 0).mean() > 0.5
    inks = {"#{:02x}{:02x}{:02x}".format(*pixel[:3]) for row in image for pixel in row if pixel[3] == 255}
    assert {MID_INK, colour(0)} <= inks and all(min(contrast(ink, LIGHT), contrast(ink, DARK)) > 3 for ink in inks)


@pytest.mark.parametrize(
    "text",
    [
        "$",
        "$x$",
        r"$\frac{1}$ \$",
        r"\alpha_{",
        "_hidden",
        "a\nb\x1b[31m\u202e\u200b",
        "\ud800",
        "\x00",
        "中文",
        "",
        "x" * 999,
    ],
)
def test_any_text_is_drawn_as_it_is(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = picture(rows=(text, "top"), note=text)
    assert len(set(map(tuple, pixels(png).reshape(-1, 4)))) > 10
    assert plain_text(text).replace(r"\$", "$").isprintable() and len(plain_text("x" * 999)) == 48


def test_text_is_no_mathematics():
    from matplotlib.text import Text

    for text in ("$x^2$", "a $ b", r"\$x$", "$$"):
        drawn, mathematics = Text()._preprocess_math(plain_text(text))
        assert drawn == text and mathematics is False


def test_an_interval_may_leave_its_value_out():
    bars = [Bar(0.5, 0.6, 0.7), Bar(0.5)]
    assert interval_plot(["a", "b"], [Panel("t", bars, 1.0)], COLOURS[:2], columns=3)[:4] == b"\x89PNG"


def test_colours_begin_again():
    assert colour(len(COLOURS)) == colour(0) and len(set(COLOURS)) == len(COLOURS)


@pytest.mark.parametrize("error", [ImportError("no matplotlib here"), ValueError("'x' is no backend")])
def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, error):
    load = builtins.__import__

    def refuse(name, *others, **options):
        if name.startswith("matplotlib"):
            raise error
        return load(name, *others, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"`out` can't be drawn: matplotlib .* `pip install 'matplotlib>=3.9,<4'`"):
        needs_matplotlib("out")
    with pytest.raises(UserError, match="can't be imported"), plot_style():
        pass
