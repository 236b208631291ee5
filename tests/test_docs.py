"""What the pages say is there: paths, commands and options, modules, Python; the settings are those of the code."""

import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_pairs import toy_pairs

import palign_hf
from palign_hf import cli
from palign_hf.config import Parser, read_options
from palign_hf.runs.launch import add_stage_options
from palign_hf.runs.stages import STAGES, find_stage


ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
STUDENT = ROOT / "palign_hf" / "toy" / "student" / "weights"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("recipes/**/*.md")),
]
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".toml", ".lock", ".txt", ".cff", ".jsonl", "/")
# Made by commands that the pages name.
MADE = ("runs/", ".venv", ".palign/", "YOUR_")
# Commands of others; what stands behind them is theirs.
OTHERS = ("pip", "vllm", "source", "docker")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """What stands in backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def commands(text: str) -> Iterator[list[str]]:
    """Every command of a page, split into words: lines of its bash blocks, and those in backticks.

    Within a sentence a command without options is only a name, and `palign STAGE` stands for any.
    """
    for block in blocks(text, "bash"):
        yield from (shlex.split(line, comments=True) for line in block.splitlines() if line.strip())
    for span in spans(text):
        if not re.match(r"(\.venv/bin/)?(palign|python|make|accelerate) ", span) or re.search(
            r"STAGE|palign \.", span
        ):
            continue
        words = shlex.split(span)
        named = words[0].endswith("palign") and not any(word.startswith("--") for word in words)
        yield [*words, "--help"] if named else words


def there(name: str, page: Path) -> bool:
    return any((base / name).exists() for base in (ROOT, ROOT / "palign_hf", page.parent))


@every_page
def test_paths_that_a_page_names_exist(page):
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    named = [span for span in spans(text) if span.endswith(SUFFIXES) and not re.search(r"[\s*{}:]", span)]
    missing += [
        name
        for name in named
        if not name.startswith((*MADE, ".", "../")) and not name.isupper() and not there(name, page)
    ]
    assert not missing


@every_page
def test_modules_that_a_page_names_import(page):
    for span in spans(page.read_text()):
        if match := re.fullmatch(r"(palign_hf(?:\.\w+)+)", span):
            module, _, name = match[1].rpartition(".")
            assert importlib.util.find_spec(match[1]) or hasattr(importlib.import_module(module), name), span


@every_page
def test_commands_of_a_page_can_be_given(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    given = list(commands(page.read_text()))
    for words in given:
        assert possible(words, monkeypatch), f"{shlex.join(words)}: {capsys.readouterr().err}"
    assert given or page.parent.name == "docs"


def possible(words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a command is known here with all its options and values; nothing is run."""
    program, *rest = words
    if program.removeprefix(".venv/bin/") == "palign":
        return parses(rest, monkeypatch)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return all(word in targets for word in rest)
    if program == "python" and rest[0] == "-m":
        return importlib.util.find_spec(rest[1]) is not None
    if program == "python":
        return (ROOT / rest[0]).is_file()
    if program == "accelerate":
        at = next((at for at, word in enumerate(rest) if word.endswith(".py")), None)
        if at is None:
            return rest == ["launch"]
        if "--config_file" in rest[:at]:
            launcher = rest[rest.index("--config_file") + 1]
            assert (ROOT / launcher).is_file(), launcher
        parser, stage = Parser(), find_stage(Path(rest[at]).stem)
        add_stage_options(parser, stage)
        return (ROOT / rest[at]).is_file() and bool(read_options(parser.parse_args(rest[at + 1 :]), stage.settings))
    return program in OTHERS


def parses(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    def read(name, body, parser, going_on):
        options = cli._read(parser, arguments)
        if options.command in STAGES:
            assert read_options(options, find_stage(options.command).settings)
        return 0

    monkeypatch.setattr("palign_hf.runs.launch.ended", read)
    try:
        return cli.main(arguments) == 0
    except SystemExit as left:  # `--help`
        return left.code == 0


def test_a_command_that_can_not_be_given_is_seen(monkeypatch, capsys):
    """The check itself."""
    for line in (
        "palign truncat",
        "palign demo --studnet toy",
        "make tests",
        "python -m palign_hf.toy.bild",
        "curl x",
    ):
        assert not possible(line.split(), monkeypatch), line


@every_page
def test_python_of_a_page_compiles(page):
    for block in blocks(page.read_text(), "python"):
        compile(block, str(page), "exec")


def test_the_project_structure_is_that_of_the_package():
    tree = re.search(r"^palign_hf/\n(.*?)^```$", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL)[1]
    inside = set(re.findall(r"^  ([\w.]+)", tree, re.MULTILINE))
    package = Path(palign_hf.__file__).parent
    own = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert inside == own - {"__init__.py"}
    assert all((ROOT / name).is_dir() for name in re.findall(r"^(\w+)/", tree, re.MULTILINE))


def test_the_readme_is_short_and_leads_to_every_page():
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert {name for name in pages if f"(docs/{name})" not in text} == set()


def test_the_journey_of_a_row_names_few_types():
    table = ARCHITECTURE.read_text().split("## The journey of a row")[1].split("## ")[0]
    named = [name for line in table.splitlines()[4:] if line for name in re.findall(r"`(\w+)`", line.split("|")[2])]
    assert 8 <= len(set(named)) <= 18
    package = "\n".join(path.read_text() for path in Path(palign_hf.__file__).parent.rglob("*.py"))
    classes = set(re.findall(r"^class (\w+)", package, re.MULTILINE))
    assert set(named) - {"dict"} <= classes


def test_the_settings_page_is_fresh():
    script = runpy.run_path(str(ROOT / "docs" / "settings.py"))
    assert script["PAGE"].read_text() == script["page"](), "docs/settings.md is stale: run `make docs`"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ('print(row["status"]', "sufficient"),
        ("train = to_sft(pairs)", "problems with a kept pair"),
        ('print(trainer.accounts["train"])', "6 of 6 rows"),
        ('for search in ("ascend", "binary"):', "sufficient"),
    ],
)
def test_the_python_of_the_pages_runs(line, printed, tmp_path):
    """As they stand, but for names that need no Hub and a smaller engine. Slow: each loads a student in a process."""
    (code,) = [block for page in PAGES for block in blocks(page.read_text(), "python") if line in block]
    for theirs, ours in (
        ('"simplescaling/s1K-1.1", split="train"', '"palign-toy", split="test", max_samples=12'),
        ('Runner("Qwen/Qwen2.5-7B-Instruct")', 'Runner("palign-toy", engine="transformers")'),
        ('Truncation("Qwen/Qwen2.5-7B-Instruct")', 'Truncation("palign-toy", engine="transformers")'),
        ('Trainer("Qwen/Qwen2.5-7B-Instruct"', f'Trainer("{STUDENT}"'),
        ("max_length=8192", "max_length=1024, max_steps=1, use_cpu=True, bf16=False"),
        ('"Qwen/Qwen2.5-7B-Instruct"', '"palign-toy"'),
    ):
        code = code.replace(theirs, ours)
    toy_pairs(6)[0].to_parquet(str(tmp_path / "runs" / "mine-pairs" / "train.parquet"))
    script = tmp_path / "ten_lines.py"
    script.write_text(code)
    environment = os.environ | {"PALIGN_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    if "row[" in line:
        assert re.fullmatch(r"sufficient \d+ of \d+ '.*'", done.stdout.splitlines()[-1])
    assert printed in done.stdout
