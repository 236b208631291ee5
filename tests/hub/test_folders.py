"""What a finished run's folder is, what goes up of it and where to, and what is no such folder."""

import json

import pytest
from datasets import Dataset
from finished_runs import pairs_run, prefixes_run
from pushing import student_run, whole_evaluation

from palign_hf.data.views import to_sft
from palign_hf.errors import UserError
from palign_hf.hub.folders import read_folder
from palign_hf.prompts import tag_style
from palign_hf.schema import PAIRS


def paths(found, config="c"):
    return [item.path for item in found.files(config)]


def texts(found, config="c"):
    """All that goes up as text."""
    sources = {item.path: item.source for item in found.files(config)}
    kept = {path: source for path, source in sources.items() if not path.endswith((".parquet", ".safetensors"))}
    return {path: (of if isinstance(of, bytes) else of.read_bytes()).decode() for path, of in kept.items()}


def test_prefixes(tmp_path):
    found = read_folder(prefixes_run(tmp_path / "run"))
    assert (found.kind, found.repo_type, found.config, found.splits) == (
        "prefixes",
        "dataset",
        "small-student-ascend",
        ("train",),
    )
    assert paths(found) == ["c/train-00000-of-00001.parquet", "reports/c/report.json"]
    assert set(found.owned("c")) == {"c/", "reports/c/", "pictures/c/", "lighteval/c/", "sft/c/"}


def test_pairs_with_both_splits(tmp_path):
    found = read_folder(pairs_run(tmp_path / "run"))
    assert (found.kind, found.config, found.splits) == ("pairs", "small-student-pairs-prompt", ("train", "rejected"))
    assert paths(found)[:2] == ["c/train-00000-of-00001.parquet", "c/rejected-00000-of-00001.parquet"]
    assert paths(found)[2] == "sft/c/train-00000-of-00001.parquet"


@pytest.mark.parametrize("tags", [None, "prefix", "draft", "none"])
def test_kept_pairs_as_any_trainer_reads_them(tags, tmp_path):
    style = tag_style(tags or "prefix")
    folder = pairs_run(tmp_path / "run", settings={"tags": [style.open, style.close]} if tags else None)
    (view,) = (item for item in read_folder(folder).files("c") if item.path.startswith("sft/"))
    (tmp_path / "view.parquet").write_bytes(view.source)
    train = Dataset.from_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    assert Dataset.from_parquet(str(tmp_path / "view.parquet")).to_list() == to_sft(train, tags or "prefix").to_list()


def test_a_student_goes_up_as_it_is_loaded_and_nothing_else_of_its_training(tmp_path):
    found = read_folder(student_run(tmp_path / "run"))
    assert (found.kind, found.repo_type, found.config) == ("student", "model", "small-1b-p-align")
    assert paths(found) == [
        *("chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"),
        *("reports/c/report.json", "reports/c/report.md"),
    ]
    assert found.left_out() == ("checkpoint-2", "runs", "training_args.bin")
    told = texts(found)
    # A vocabulary is no report: what looks like a place in it is a word.
    assert "/usr/lib/x" in told.pop("tokenizer.json") and not any("/usr/lib" in text for text in told.values())
    assert json.loads(told["reports/c/report.json"])["settings"]["student"] == "Small-1B"


def test_an_adapter_names_its_base_as_others_know_it(tmp_path):
    folder = student_run(tmp_path / "run", adapter=True, student="me/small")
    found = read_folder(folder)
    assert "adapter_model.safetensors" in paths(found) and "merged" in found.left_out()
    assert json.loads(texts(found)["adapter_config.json"]) == {
        "base_model_name_or_path": "me/small",
        "peft_type": "LORA",
    }
    merged = read_folder(folder / "merged")
    assert merged.report == found.report and "adapter_model.safetensors" not in paths(merged)
    assert paths(merged)[:3] == ["chat_template.jinja", "config.json", "model.safetensors"]
    # One after the other in the same repository, no loader could tell them apart.
    owned = merged.owned("c")
    assert {"*.safetensors", "adapter_config.json", "config.json"} <= {*owned}


def test_an_evaluation(tmp_path):
    found = read_folder(whole_evaluation(tmp_path / "run"))
    assert (found.kind, found.repo_type, found.config, found.splits) == (
        "evaluation",
        "dataset",
        "small-evaluation",
        ("samples",),
    )
    assert paths(found) == [
        *("c/samples-00000-of-00001.parquet", "lighteval/c/results/small/results_2026.json", "reports/c/report.json")
    ]
    assert not any("/usr/lib" in text or "/data/" in text for text in texts(found).values())


@pytest.mark.parametrize(
    ("student", "called"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct"),
        ("runs/small-1b/student", "small-1b-student"),
        ("/usr/lib/small-1b/student/merged", "small-1b-student-merged"),
        ("student", "student"),
        ("/student", "student"),
    ],
)
def test_configurations_of_trained_students_are_told_apart(student, called, tmp_path):
    found = read_folder(prefixes_run(tmp_path / "run", {"student_name": student}))
    assert found.config == f"{called}-ascend"


def broken(name):
    """A folder in which something isn't as a finished run leaves it."""

    def shard_missing(folder):
        (folder / "data" / "train-00000-of-00001.parquet").rename(folder / "data" / "train-00000-of-00002.parquet")

    def unfinished(folder):
        (folder / "report.json").unlink()
        (folder / ".run").mkdir()

    return {
        "unfinished": (unfinished, "hasn't ended: it has no `report.json` yet"),
        "no report": (lambda folder: (folder / "report.json").unlink(), "is no folder of a run of this package"),
        "another report": (lambda folder: (folder / "report.json").write_text("{}"), "is no report of a run"),
        "half a report": (lambda folder: (folder / "report.json").write_text('{"a'), "is no report of a run"),
        "no tables": (
            lambda folder: (folder / "data").rename(folder / "x"),
            "but not the files that it reports",
        ),
        "cut off": (
            lambda folder: (folder / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1"),
            "can't be read",
        ),
        "shard missing": (shard_missing, "1 shards of the split `train`, of `2`"),
        "strange file": (lambda folder: (folder / "data" / "z.parquet").write_bytes(b"x"), "is no shard"),
    }[name]


@pytest.mark.parametrize(
    "name",
    ["unfinished", "no report", "another report", "half a report", "no tables", "cut off", "shard missing"]
    + ["strange file"],
)
def test_what_is_no_finished_run_is_refused_in_words(name, tmp_path):
    folder = prefixes_run(tmp_path / "run")
    breaks, said = broken(name)
    breaks(folder)
    with pytest.raises(UserError, match=said):
        read_folder(folder).files("c")


def test_the_runs_in_a_folder_are_named(tmp_path):
    prefixes_run(tmp_path / "runs" / "prefixes")
    with pytest.raises(UserError, match="Give one of `prefixes` in it"):
        read_folder(tmp_path / "runs")
    with pytest.raises(UserError, match="is no folder"):
        read_folder(tmp_path / "nothing")


def test_another_kind_of_run_keeps_its_configuration(tmp_path):
    path, guard = read_folder(pairs_run(tmp_path / "run")).guard("c")
    assert path == "reports/c/report.json"
    guard(b'{"kind": "pairs"}')
    for there in (b'{"kind": "prefixes"}', b"{}", b"[]", b"\xff"):
        with pytest.raises(UserError, match="Give it another name with `--config-name`"):
            guard(there)


def test_pairs_with_tags_inside_their_text_stay_out_of_the_published_view(tmp_path, caplog):
    folder = pairs_run(tmp_path / "run")
    file = folder / "data" / "train-00000-of-00001.parquet"
    pairs = Dataset.from_parquet(str(file)).to_list()
    odd = [pairs[0] | {"id": "odd", "prefix": "We <End_of_Prefix> add. "}]
    Dataset.from_list(pairs + odd, features=PAIRS.features).to_parquet(str(file))
    (view,) = (item for item in read_folder(folder).files("c") if item.path.startswith("sft/"))
    (tmp_path / "view.parquet").write_bytes(view.source)
    assert Dataset.from_parquet(str(tmp_path / "view.parquet"))["id"][:] == [row["id"] for row in pairs]
    assert f"1 of {len(pairs) + 1} rows of `{file.name}` left out of the view for trainers" in caplog.text


STUDENTS_OWN = [
    *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"),
    *("generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "preprocessor_config.json"),
]
NOT_OF_A_STUDENT = [
    *("credentials.json", "secrets.txt", "notes.py", ".env", ".netrc", "token", "wandb.json", "private.safetensors"),
    *("all_results.json", "trainer_state.json", "config.json.bak", "model.safetensors.txt", "notes.jinja", "x.model"),
]


def test_a_student_is_published_by_what_students_are_made_of_and_never_by_suffix(tmp_path):
    folder = student_run(tmp_path / "run")
    for name in [*STUDENTS_OWN, *NOT_OF_A_STUDENT]:
        (folder / name).write_text("{}")
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling_own.Own", "x": "me/y--z.Z"}}))
    (folder / "modeling_own.py").write_text("from .helping import help\nfrom torch import nn\nimport notes\n")
    (folder / "helping.py").write_text("help = 1\n")
    found = read_folder(folder)
    sent = {path for path in paths(found) if "/" not in path}
    usual = {"chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"}
    assert sent == {*STUDENTS_OWN, *usual, "modeling_own.py", "helping.py"}
    assert {name for name in NOT_OF_A_STUDENT if not name.startswith(".")} < {*found.left_out()}


def test_code_that_the_configuration_does_not_name_stays_here(tmp_path):
    folder = student_run(tmp_path / "run")
    (folder / "modeling_own.py").write_text("")
    assert "modeling_own.py" not in paths(read_folder(folder))
    for told in ("[]", "{", '{"auto_map": {"AutoModel": "../notes.Own", "y": ["a b.C", null, 3]}}'):
        (folder / "config.json").write_text(told)
        assert "modeling_own.py" not in paths(read_folder(folder))


@pytest.mark.parametrize("name", ["secret.json", "x/y.json"])
def test_links_beside_a_student_stay_here(name, tmp_path):
    folder, outside = student_run(tmp_path / "run"), tmp_path / "outside"
    (outside / "x").mkdir(parents=True)
    (outside / name).write_text("s3cr3t")
    (folder / name.split("/")[0]).symlink_to(outside / name.split("/")[0])
    assert not any("s3cr3t" in text for text in texts(read_folder(folder)).values())


LINKED = {
    "student": (student_run, ["model.safetensors", "config.json", "tokenizer.json", "report.json", "report.md"]),
    "evaluation": (whole_evaluation, ["samples.parquet", "report.json"]),
    "prefixes": (prefixes_run, ["data", "data/train-00000-of-00001.parquet", "report.json"]),
    "pairs": (pairs_run, ["data", "data/rejected-00000-of-00001.parquet"]),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in LINKED.items() for name in names])
def test_links_in_the_folder_of_a_run_are_refused_and_never_followed(kind, name, tmp_path):
    folder = LINKED[kind][0](tmp_path / "run")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link, and links in the folder of a run are not followed"):
        read_folder(folder).files("c")


def test_files_beside_those_of_lighteval_that_the_report_does_not_name_stay_here(tmp_path):
    folder = whole_evaluation(tmp_path / "run")
    (folder / "lighteval" / "notes.json").write_text('{"mine": 1}')
    report = json.loads((folder / "report.json").read_text())
    report["written"] = ["samples.parquet", "lighteval/results/small/results_2026.json"]
    (folder / "report.json").write_text(json.dumps(report))
    assert [path for path in paths(read_folder(folder)) if path.startswith("lighteval/")] == [
        "lighteval/c/results/small/results_2026.json"
    ]


def test_links_among_the_files_of_lighteval_stay_here(tmp_path):
    folder = whole_evaluation(tmp_path / "run")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.json").write_text('{"a": "s3cr3t"}')
    (folder / "lighteval" / "more").symlink_to(tmp_path / "outside")
    (folder / "lighteval" / "a.json").symlink_to(tmp_path / "outside" / "a.json")
    assert [path for path in paths(read_folder(folder)) if path.startswith("lighteval/")] == [
        "lighteval/c/results/small/results_2026.json"
    ]
