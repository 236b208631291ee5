"""Pictures of a card: of what was measured, the same again, on any page."""

import io

import numpy as np
import pytest
from finished_runs import pairs_run, prefixes_run
from PIL import Image

from palign_hf.hub.dataset_card import dataset_pictures
from palign_hf.hub.facts import dataset_facts
from palign_hf.plotting import COLOURS


def facts(folder, config="c"):
    return dataset_facts(folder, repo_id="me/data", config=config)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def share_of(image: np.ndarray, colour: str) -> float:
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return float((image[..., :3] == wanted).all(axis=-1).mean())


@pytest.mark.parametrize("run", [prefixes_run, pairs_run])
def test_equal_facts_give_equal_bytes_and_others_do_not(tmp_path, run):
    one, same = (dataset_pictures(facts(run(tmp_path / name))) for name in ("one", "two"))
    assert one == same and list(one) == ["pictures/c/prefix_ratio.png", "pictures/c/lengths.png"]
    other = dataset_pictures(facts(prefixes_run(tmp_path / "other", prefix_tokens=[300, 400, 600, None])))
    assert other["pictures/c/lengths.png"] != one["pictures/c/lengths.png"]


def test_they_are_drawn_and_have_no_ground(tmp_path):
    drawn = dataset_pictures(facts(prefixes_run(tmp_path / "run")))
    ratio, lengths = (pixels(png) for png in drawn.values())
    for image in (ratio, lengths):
        assert image.shape[-1] == 4 and (image[..., 3] == 0).mean() > 0.5
    assert share_of(ratio, COLOURS[0]) > 0.01 and share_of(ratio, COLOURS[1]) == 0
    assert share_of(lengths, COLOURS[0]) > 0.01 and share_of(lengths, COLOURS[1]) > 0.01


def test_ink_stands_out_from_light_and_dark_pages(tmp_path):
    def light(rgb) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.asarray(rgb) / 255]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    image = pixels(dataset_pictures(facts(prefixes_run(tmp_path / "run")))["pictures/c/lengths.png"])
    inks = {tuple(map(int, pixel[:3])) for row in image for pixel in row if pixel[3] == 255}
    for ink in inks:
        for page in ((255, 255, 255), (13, 17, 23)):
            bright, dark = sorted((light(ink), light(page)), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) > 3, (ink, page)


def test_what_was_not_measured_is_not_drawn(tmp_path):
    nothing = prefixes_run(tmp_path / "run", status=["error"] * 4)
    assert dataset_pictures(facts(nothing)) == {}
