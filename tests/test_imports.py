"""Imports point one way, heavy packages stay in their homes, and the package is cheap until it is used."""

import ast
import resource
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "palign_hf"

# From the ground up, a floor for each room and each module of the ground: a module imports its own room and the
# floors before it, never one after it. Imports for type checking count.
FLOORS = """
    redact errors schema terminal tables plotting repetition
    prompts config segmentation grading students weights
    engines generation runs data hub
    truncation alignment training evaluation
    pipeline
    toy lighteval cli
""".split()
# Stages stand beside each other: none imports another.
STAGES = ["truncation", "alignment", "training", "evaluation"]
# Only here may these be imported, at any depth of the code.
HOMES = {"vllm": "engines", "trl": "training", "lighteval": "evaluation", "math_verify": "grading"}
HOMES |= {"latex2sympy2_extended": "grading", "sympy": "grading", "mpmath": "grading", "matplotlib": "plotting"}
# Pure modules: none of these, not even inside a function.
HEAVY = {"torch", "vllm", "trl", "transformers", "lighteval", "math_verify", "sympy", "mpmath"}
PURE = """
    errors redact schema data.exact segmentation prompts config repetition plotting tables truncation.search
    truncation.schedule truncation.walk alignment.acceptance alignment.sampler data.decontamination data.views
    data.published_rows data.balance data.pairs training.features training.turns evaluation.samples
    evaluation.metrics evaluation.statistics evaluation.outputs engines.base engines.answers hub.settings
    hub.cards hub.facts hub.dataset_card hub.plan hub.model_card hub.eval_results grading.extraction
    grading.graders grading.normalization grading.answers grading.relations grading.parser grading.compare
    grading.formulas grading.numerals grading.units
""".split()
# Empty `__init__` files and the problem families of the toy world don't count.
MOST_MODULES = 160


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name without the package's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = parsed(path)
    return found


def imported(tree: ast.Module) -> set[str]:
    """Dotted names of all imports, at any depth, those for type checking included."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_runtime(tree: ast.Module) -> set[str]:
    """As `imported`, without `if TYPE_CHECKING` blocks, which cost nothing."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    kept = [
        node for node in ast.walk(tree) if id(node) not in skipped and isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return imported(ast.Module(body=kept, type_ignores=[]))


def own_imports(tree: ast.Module) -> set[str]:
    """The modules of the package that a module imports, without the package's name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("palign_hf."):
            home = str(node.module).removeprefix("palign_hf.")
            found |= {inner if (inner := f"{home}.{alias.name}") in modules() else home for alias in node.names}
    return found


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__"])
def test_imports_point_down(module):
    room = module.split(".")[0]
    assert room in FLOORS, f"`{room}` has no floor: give it one in FLOORS"
    for name in own_imports(modules()[module]) - {"__init__"}:
        theirs = name.split(".")[0]
        assert FLOORS.index(theirs) <= FLOORS.index(room), f"{module} imports {name}, which stands above it"
        assert theirs == room or not {theirs, room} <= set(STAGES), f"{module} imports {name} of another stage"


def test_no_imports_go_in_a_circle():
    graph = {name: own_imports(tree) - {name, "__init__"} for name, tree in modules().items() if name != "__init__"}
    # A package's `__init__` that collects names is a module like the others.
    left = {name: set(uses) for name, uses in graph.items()}
    while free := [name for name, uses in left.items() if not uses & set(left)]:
        for name in free:
            del left[name]
    assert not left, f"these import each other: {left}"


def test_no_class_name_exists_twice():
    homes = defaultdict(list)
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_no_modules_differ_by_a_plural():
    names = set(modules())
    assert not {name for name in names if f"{name}s" in names}


def test_the_package_stays_readable():
    filled = [name for name, tree in modules().items() if tree.body and not name.startswith("toy.world.families")]
    assert len(filled) <= MOST_MODULES


@pytest.mark.parametrize(("package", "home"), HOMES.items())
def test_heavy_packages_stay_in_their_homes(package, home):
    users = {name for name, tree in modules().items() if any(i.split(".")[0] == package for i in at_runtime(tree))}
    assert all(name.split(".")[0] == home for name in users), f"{package} is imported by {users}"


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_nothing_heavy(module):
    assert not {name.split(".")[0] for name in at_runtime(modules()[module])} & HEAVY


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_costs_no_torch():
    loaded = run("import palign_hf, sys; print(' '.join(sys.modules))").split()
    assert not HEAVY & set(loaded) and "datasets" not in loaded


@pytest.mark.parametrize("name", ["PREFIXES", "TRACES", "load_traces", "load_pairs"])
def test_light_exports_cost_no_torch(name):
    loaded = run(f"import palign_hf, sys; palign_hf.{name}; print(' '.join(sys.modules))").split()
    assert not HEAVY & set(loaded)


def test_grading_numbers_costs_no_algebra():
    code = "from palign_hf.grading import MathGrader as M; import sys; print(M().grade('\\\\boxed{042}', '42').strict)"
    told, *loaded = run(f"{code}; print(' '.join(sys.modules))").split()
    assert told == "True" and not HEAVY & set(loaded)


def test_every_export_resolves_and_is_listed():
    import palign_hf

    assert set(palign_hf.__all__) == set(palign_hf._HOMES)
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


def test_files_of_tests_have_names_of_their_own():
    """Test folders are no packages, so two files of one name can't be collected together."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
