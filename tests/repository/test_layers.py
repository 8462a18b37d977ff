"""Imports between the layers of the package, and what importing it does."""

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import thinwire
from thinwire.tracking.table import TRACKERS

ROOT = Path(thinwire.__file__).parent
GROUND = [
    "errors",
    "strict_json",
    "regular_file",
    "inputs",
    "row_files",
    "output_path",
    "partial_files",
    "storage_errors",
    "hard_links",
    "files",
    "hashes",
    "reading",
    "interruption",
    "schema",
    "seeding",
    "determinism",
    "progress",
    "claim_owners",
    "claim_files",
    "claims",
    "cache",
    "assets",
]
LAYERS = (
    GROUND,
    ["ops", "results", "stats", "tasks"],
    ["codecs"],
    ["config", "data", "items"],
    ["adapter", "model"],
    ["training", "evaluation"],
    ["checkpoints", "report"],
    ["export", "tracking"],
    ["experiment"],
    ["api", "cli", "__main__"],
)
FLOOR = {name: number for number, names in enumerate(LAYERS) for name in names}
TORCH_FREE = [
    *[
        "errors",
        "strict_json",
        "regular_file",
        "inputs",
        "row_files",
        "partial_files",
        "storage_errors",
        "hard_links",
        "files",
        "hashes",
        "reading",
        "schema",
        "seeding",
        "progress",
        "cache",
    ],
    "assets",
    *["codecs.settings", "config.settings", "config.lora_settings", "data.sources", "data.splits", "data.prompts"],
    *["tasks.table", "tasks.squad_metric", "evaluation.extractors", "evaluation.answer_metrics"],
    "evaluation.degeneration",
    *[
        "stats.bootstrap",
        "stats.ceiling",
        "stats.contrasts",
        "stats.critical",
        "stats.inference",
        "stats.mean_score",
        "stats.pairing",
        "stats.power",
        "stats.pointwise",
        "stats.resampling",
        "stats.small_samples",
        "stats.verdict",
        "stats.tiers",
        "stats.words",
        "items.comparison",
        "results.layout",
        "results.read",
    ],
    *["report.compare", "report.summary", "report.rows", "report.analysis_record"],
    *["report.markdown.sweep_record", "report.markdown.results_section"],
]


def modules() -> dict[str, Path]:
    """Return every module by its dotted name below the package; the name of the package itself is empty."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Return the modules of the package that ``name`` imports, also in functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are written from the package's root"
            # "from thinwire.model import lora" imports a module, "from thinwire.model.lora import attached" a name.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [x if x.removeprefix("thinwire.") in MODULES else str(node.module) for x in whole]
        else:
            continue
        found |= {x.removeprefix("thinwire").removeprefix(".") for x in names if x.split(".")[0] == "thinwire"}
    return found - {name}


def folder(name: str) -> str:
    return name.split(".")[0]


def test_every_folder_and_every_module_of_the_ground_floor_has_its_layer():
    assert {folder(name) for name in MODULES if name} == set(FLOOR)


def test_the_search_for_imports_finds_those_in_functions_and_of_modules():
    assert "experiment.sweep" in imports("cli.runs")  # inside a function
    assert "codecs.base" in imports("codecs.pca")
    assert "report.compare" in imports("experiment.sweep_run")  # from thinwire.report import compare


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name))
def test_imports_go_only_to_the_same_or_a_lower_layer(name):
    upward = [other for other in imports(name) if other and FLOOR[folder(other)] > FLOOR[folder(name)]]
    assert not upward, f"{name} (layer {FLOOR[folder(name)]}) imports {upward}"


def test_the_package_itself_imports_nothing():
    tree = ast.parse(MODULES[""].read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def circle(graph: dict[str, set[str]]) -> set[str]:
    """Return the nodes that are in a circle of imports, or depend on one."""
    remaining = set(graph)
    while free := {name for name in remaining if not graph[name] & remaining}:
        remaining -= free
    return remaining


def test_no_modules_import_each_other_even_in_a_circle():
    assert circle({name: imports(name) & set(MODULES) for name in MODULES}) == set()


def test_no_folders_import_each_other_even_in_a_circle():
    graph: dict[str, set[str]] = {}
    for name in filter(None, MODULES):
        graph.setdefault(folder(name), set()).update(folder(other) for other in imports(name) if other)
    assert circle({name: others - {name} for name, others in graph.items()}) == set()


def in_fresh_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH_FREE)
def test_the_modules_that_need_no_torch_do_not_load_it(name):
    heavy = "{'torch', 'transformers', 'peft', 'datasets'}"
    code = f"import thinwire.{name}, sys, json\nprint(json.dumps(sorted({heavy} & set(sys.modules))))"
    assert json.loads(in_fresh_python(code)) == []


def test_importing_the_package_prints_nothing_and_is_quick():
    code = "import sys, time; t = time.perf_counter(); import thinwire; d = time.perf_counter() - t; sys.exit(d > 0.5)"
    assert in_fresh_python(code) == ""


@pytest.mark.slow
def test_importing_every_module_prints_nothing_and_sets_up_no_logging():
    # A tracker's module imports the package of that name, which may be missing; others import theirs in functions.
    lacking = {f"tracking.{name}" for name in TRACKERS if find_spec(name) is None}
    names = [f"thinwire.{name}" for name in sorted(MODULES) if name and name != "__main__" and name not in lacking]
    code = f"import {', '.join(names)}, logging\nassert not logging.getLogger('thinwire').handlers"
    assert in_fresh_python(code) == ""
