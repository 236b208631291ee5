"""Imports point one way, heavy packages stay in their homes, and the package is cheap until it is used."""

import ast
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "palign_hf"

# From the ground up: a module imports its own layer and those before it, never one after it.
LAYERS = [
    {"errors", "redact"},
    {"schema", "shipped", "located", "literals", "streams", "statistics", "tables"},
    {"segmentation", "prompts", "progress", "grading", "config", "loops", "plotting"},
    {"students", "weights"},
    {"engines"},
    {"asking", "runs"},
    {"traces"},
    {"pairs", "benchmarks"},
    {"hub"},
    {"truncation", "alignment", "training", "evaluation"},
    {"toy"},
    {"commands", "lighteval"},
    {"cli"},
]
# Only here may these be imported, at any depth of the code.
HOMES = {"vllm": "engines", "trl": "training", "lighteval": "evaluation", "math_verify": "grading"}
HOMES |= {"matplotlib": "plotting"}
HOMES |= {"latex2sympy2_extended": "grading", "sympy": "grading", "mpmath": "grading"}
# Pure modules: none of these, not even inside a function.
PURE = ["errors", "redact", "schema", "literals", "segmentation", "prompts", "config", "loops", "plotting"]
PURE += ["statistics", "tables"]
PURE += ["truncation.search"]
PURE += ["truncation.schedule", "truncation.ascend", "truncation.cost", "truncation.monotone", "truncation.walk"]
PURE += [
    f"alignment.{name}"
    for name in ("rules", "fallbacks", "decontamination", "matching", "quality", "restarts", "wording")
]
PURE += ["alignment.published_rows", "alignment.selection", "pairs.drawing", "pairs.targets", "pairs.conversation"]
PURE += [f"training.{name}" for name in ("features", "turns")]
PURE += [f"evaluation.{name}" for name in ("samples", "metrics", "intervals", "outputs", "partial", "seeds")]
PURE += ["toy.study.arms", "engines.base", "engines.answers"]
PURE += [
    f"hub.{name}"
    for name in ("names", "marks", "frontmatter", "private", "paper", "facts", "pictures", "dataset_card")
]
PURE += ["hub.student_files", "hub.model_card", "hub.eval_results", "hub.results_card"]
PURE += [f"grading.{name}" for name in ("extraction", "graders", "normalization", "answers", "relations", "parser")]
PURE += [f"grading.{name}" for name in ("compare", "formulas", "numerals", "units")]
HEAVY = {"torch", "vllm", "trl", "transformers", "lighteval", "math_verify", "sympy", "mpmath"}
# Loaded when it is used, as the heavy ones are.
LAZY = HEAVY | {"matplotlib"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name without the package's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


def imported(tree: ast.Module, outside_type_checking: bool = True) -> set[str]:
    """Dotted names of all imports, at any depth; `if TYPE_CHECKING` blocks cost nothing and don't count."""
    skipped: set[int] = set()
    if outside_type_checking:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped |= {id(inner) for inner in ast.walk(node)}
    names = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> int | None:
    """The layer of a module: that of its longest known prefix."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        for number, names in enumerate(LAYERS):
            if ".".join(parts[:length]) in names:
                return number
    return None


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__"])
def test_imports_point_one_way(module):
    own = layer(module)
    assert own is not None, f"{module} has no layer: give it one in LAYERS"
    for name in imported(modules()[module]):
        if name.startswith("palign_hf.") and not name.startswith("palign_hf.__"):
            theirs = layer(name.removeprefix("palign_hf."))
            assert theirs is not None and theirs <= own, f"{module} imports {name}, which stands above it"


def test_stages_do_not_import_each_other():
    stages = {"truncation", "alignment", "training", "evaluation"}
    for module, tree in modules().items():
        own = module.split(".")[0]
        if own in stages:
            used = {name.split(".")[1] for name in imported(tree) if name.startswith("palign_hf.")}
            assert not used & (stages - {own}), f"{module} imports another stage's insides"


@pytest.mark.parametrize(("package", "home"), HOMES.items())
def test_heavy_packages_stay_in_their_homes(package, home):
    users = {name for name, tree in modules().items() if any(i.split(".")[0] == package for i in imported(tree))}
    assert all(name.split(".")[0] == home for name in users), f"{package} is imported by {users}"


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_nothing_heavy(module):
    assert not {name.split(".")[0] for name in imported(modules()[module])} & HEAVY


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_costs_no_torch():
    loaded = run("import palign_hf, sys; print(' '.join(sys.modules))").split()
    assert not LAZY & set(loaded) and "datasets" not in loaded


@pytest.mark.parametrize("name", ["PREFIXES", "TRACES", "check", "load_traces"])
def test_light_exports_cost_no_torch(name):
    loaded = run(f"import palign_hf, sys; palign_hf.{name}; print(' '.join(sys.modules))").split()
    assert not LAZY & set(loaded)


def test_grading_numbers_costs_no_algebra():
    code = "from palign_hf.grading import MathGrader as M; import sys; print(M().grade('\\\\boxed{042}', '42').strict)"
    told, *loaded = run(f"{code}; print(' '.join(sys.modules))").split()
    assert told == "True" and not LAZY & set(loaded)


def test_every_export_resolves_and_is_listed():
    import palign_hf

    assert set(palign_hf.__all__) == set(palign_hf._HOMES) and len(palign_hf.__all__) <= 12
    assert all(getattr(palign_hf, name) is not None for name in palign_hf.__all__)
    assert set(palign_hf.__all__) <= set(dir(palign_hf))
    with pytest.raises(AttributeError, match="has no attribute 'PrefixTrunction'; it offers"):
        palign_hf.PrefixTrunction  # noqa: B018


def work_of(*arguments: str) -> float:
    """Processor time of a Python process, the best of five."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(5))


def test_import_and_help_answer_at_once():
    """Five times an empty interpreter's work was measured; one heavy import would make it a hundred times."""
    nothing = work_of("-c", "pass")
    assert work_of("-c", "import palign_hf") < 20 * nothing
    assert work_of("-m", "palign_hf.cli", "--help") < 20 * nothing
