"""`palign compare`: tables, groups, plot, and what can't be compared."""

import json

import numpy as np
import pytest
from made_samples import answered, sample, verdicts
from PIL import Image

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.evaluation.compare import compare, compare_files, compare_seeds
from palign_hf.evaluation.grade import writer


def model(shift, problems=40):
    """Of each problem three samples; a larger shift solves more, and writes more."""
    return [
        sample(
            f"{k:02d}",
            s,
            (7 * k + 3 * s) % 10 < shift,
            tokens=10 * shift + s,
            boxed=True,
            cut=s == 0,
            about={"level": str(k % 12)},
        )
        for k in range(problems)
        for s in range(3)
    ]


@pytest.fixture
def files(tmp_path):
    for name, shift in (("base", 3), ("mid", 5), ("top", 8)):
        writer(tmp_path / f"{name}.parquet")(model(shift))
    return [str(tmp_path / f"{name}.parquet") for name in ("base", "mid", "top")]


def test_every_model_is_set_against_the_first(files, capsys):
    assert main(["compare", *files]) == 0
    told = capsys.readouterr().out.splitlines()
    found = json.loads(told[-1])
    assert found["models"] == ["base", "mid", "top"] and found["problems"] == 40
    figures, apart = found["figures"]["strict pass@1"], found["differences"]["strict pass@1"]
    assert [round(figures[name]["value"], 3) for name in found["models"]] == [0.3, 0.5, 0.8]
    assert list(apart) == ["mid", "top"] and apart["top"]["value"] == pytest.approx(0.5) and apart["top"]["low"] > 0
    assert found["figures"]["tokens"]["top"]["value"] == 81
    assert told[0].split("  ")[0] == "all problems" and "top - base" in told[0]
    (line,) = [line for line in told if line.startswith("tokens  ")]
    assert line.split()[1:4] == ["31", "51", "81"]


def test_the_difference_is_that_of_the_problems_one_by_one():
    found = compare({"a": model(3), "b": model(6)}).overall
    each = []
    for k in range(40):
        a, b = ([s.strict for s in model(shift) if s.id == f"{k:02d}"] for shift in (3, 6))
        each.append(np.mean(b) - np.mean(a))
    assert found.differences["strict pass@1"]["b"].value == pytest.approx(np.mean(each))


def test_groups_are_compared_on_their_own_in_their_order():
    found = compare({"a": model(3), "b": model(6)}, by=["level"])
    assert [one.group for one in found.groups] == [f"level {level}" for level in range(12)]
    problems = [len(one.measures["a"].problems) for one in found.groups]
    assert sum(problems) == 40 and set(problems) == {3, 4}
    with pytest.raises(UserError, match=r"can't be grouped by `levle` \(nearest match: `level`\)"):
        compare({"a": model(3), "b": model(6)}, by=["levle"])


def test_benchmarks_are_told_apart_unasked():
    one = [*verdicts([[True]] * 3), *verdicts([[False]] * 2, benchmark="hard")]
    found = compare({"a": one, "b": one})
    problems = {group.group: len(group.measures["b"].problems) for group in found.groups}
    assert problems == {"benchmark b": 3, "benchmark hard": 2}


def test_table_figures_and_plot_are_written_and_the_same_again(files, tmp_path, capsys):
    out = tmp_path / "out"
    names = ["--names", "student | zero-shot", "5", "8"]
    arguments = ["compare", *files, "--by", "level", *names, "--output-dir", str(out)]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert f"wrote {out / 'comparison.png'}" in told
    page = (out / "comparison.md").read_text()
    assert page.startswith("# student \\| zero-shot and 5")
    assert "![" in page and "level 11" in page and "paired" in page
    assert json.loads((out / "comparison.json").read_text()) == json.loads(told.splitlines()[-1])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(arguments) == 0
    assert before == {path.name: path.read_bytes() for path in out.iterdir()} and len(before) == 3


def test_the_plot_shows_each_model_in_its_colour(files, tmp_path):
    compare_files(files).write(tmp_path / "out")
    with Image.open(tmp_path / "out" / "comparison.png") as image:
        colours = {colour for count, colour in image.convert("RGB").getcolors(1 << 20) if count > 200}
        assert image.width > 1000 and {(0, 114, 178), (213, 94, 0), (0, 158, 115)} <= colours


def test_models_with_other_numbers_of_samples_share_what_both_can_tell():
    few = [one for one in model(6) if one.sample < 2]
    found = compare({"a": model(3), "b": few}).overall
    assert "strict pass@2" in found.names and not {"strict pass@3", "strict maj@n"} & set(found.names)
    unknown = [sample(one.id, one.sample, one.strict) for one in model(6)]
    rows = {row[0]: row for row in compare({"a": model(3), "b": unknown}).overall.rows()}
    assert rows["tokens"][1].startswith("31") and rows["tokens"][2:] == ("not known", "not known")


def test_what_can_not_be_compared_is_refused(files, tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    writer(other)(model(5, problems=39))
    assert main(["compare", files[0], str(other)]) == 2
    assert "weren't given the same problems (only base has 1, as `b/39`)" in capsys.readouterr().err
    assert main(["compare", files[0]]) == 2
    assert "Give the samples of two models or more" in capsys.readouterr().err
    assert main(["compare", files[0], files[0]]) == 2
    assert "are the same file" in capsys.readouterr().err
    assert main(["compare", *files, "--names", "a", "b"]) == 2
    assert "`a`, `b` don't name 3 files" in capsys.readouterr().err
    assert main(["compare", *files, "--output-dir", files[0]]) == 2
    assert "is a file" in capsys.readouterr().err
    with pytest.raises(UserError, match="the gold answer of the problem `x` is `1` for one and `2` for the other"):
        compare({"a": answered({"x": ["1"]}), "b": [sample("x", 0, gold="2")]})


def test_models_are_called_as_their_files_with_as_much_of_the_path_as_it_takes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        writer(tmp_path / name / "samples.parquet")(model(3))
    folders = [str(tmp_path / name) for name in ("one", "two")]
    assert list(compare_files(folders).files) == ["one", "two"]
    files = [f"{folder}/samples.parquet" for folder in folders]
    assert list(compare_files(files).files) == ["one/samples", "two/samples"]


def test_several_seeds_are_compared_problem_by_problem_and_seed_by_seed(tmp_path):
    before, after = [model(0), model(3)], [model(6), model(11)]
    files = {"before": ["a", "b"], "after": ["c", "d"]}
    found = compare_seeds({"before": before, "after": after}, files)
    one = found.overall.intervals["strict pass@1"]
    values = [compare({"x": seeds, "y": seeds}).overall.intervals["strict pass@1"]["x"].value for seeds in after]
    assert one["after"].value == pytest.approx(np.mean(values)) and one["after"].low < one["after"].value
    apart = found.overall.differences["strict pass@1"]["after"]
    assert apart.value == pytest.approx(one["after"].value - one["before"].value)
    assert "2 seeds" in found.page() and found.write(tmp_path / "out")[2].read_bytes()[:4] == b"\x89PNG"
    single = compare_seeds({"before": before[:1], "after": after[:1]}, files)
    assert "seeds" not in single.page()
    assert single.overall.intervals == compare({"before": before[0], "after": after[0]}).overall.intervals


def test_models_with_different_numbers_of_seeds_are_refused():
    with pytest.raises(UserError, match="different numbers of seeds .*before: 1.*after: 2"):
        compare_seeds({"before": [model(0)], "after": [model(1), model(2)]}, {"before": ["a"], "after": ["b", "c"]})
