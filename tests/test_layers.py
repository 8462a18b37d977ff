import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import thinwire

ROOT = Path(thinwire.__file__).parent
LAYERS = (
    "errors config experiment_file records seeding",
    "plan scoring squad prompts postprocess collapse pairing statistics ceiling verdict",
    "assets dequantize determinism precision codecs adapter reader transfer gathering packing workers "
    "plain_attention attention batching objective model memory dropout lora padding schedule compilation replay "
    "residual questions splits progress provenance training_state",
    "pass_loss reconstruction learner trainee train generate evaluate checkpoint finished export evaluation_run",
    "workbench arm fused processes sweep dry_run report tensorboard",
    "cli cli_results __main__",
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}
TORCH_FREE = [
    *LAYERS[0].split(),
    *LAYERS[1].split(),
    "assets",
    "questions",
    "splits",
    "report.compare",
    "report.publication",
    "report.published",
    "report.summary",
]


def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package; the package itself is the empty name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Modules of the package that ``name`` imports anywhere: in functions and under TYPE_CHECKING too."""
    found = set()
    is_package = MODULES[name].name == "__init__.py"
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["thinwire", *name.split(".")] if name else ["thinwire"]
                package = here[: len(here) + is_package - node.level]
                base = ".".join([*package, base]).rstrip(".")
            # "from thinwire import lora" imports a module, "from thinwire.lora import attached" a name of one.
            whole = [f"{base}.{alias.name}" for alias in node.names]
            names = [x if x.removeprefix("thinwire.") in MODULES else base for x in whole]
        else:
            continue
        found |= {x.removeprefix("thinwire").removeprefix(".") for x in names if x.split(".")[0] == "thinwire"}
    return found - {name}


def top(name: str) -> str:
    return name.split(".")[0]


def test_every_module_has_a_layer_and_every_name_in_the_table_a_module():
    assert {top(name) for name in MODULES if name} == set(LAYER)


def test_the_search_for_imports_finds_those_in_functions_and_aliased_modules():
    assert "sweep" in imports("cli")  # inside a function
    assert "lora" in imports("checkpoint")  # from thinwire import lora as ...
    assert "codecs.base" in imports("codecs.pca")


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name))
def test_imports_go_only_to_the_same_or_a_lower_layer(name):
    upward = [other for other in imports(name) if other and LAYER[top(other)] > LAYER[top(name)]]
    assert not upward, f"{name} (layer {LAYER[top(name)]}) imports {upward}"


def test_the_package_itself_imports_nothing():
    tree = ast.parse(MODULES[""].read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_no_modules_import_each_other_even_in_a_circle():
    graph = {name: imports(name) & set(MODULES) for name in MODULES}
    remaining = set(graph)
    while free := {name for name in remaining if not graph[name] & remaining}:
        remaining -= free
    assert not remaining, f"in or above a circle: {sorted(remaining)}"


def tree(readme: str) -> dict[str, str]:
    """What the README's tree says of each path; a folder ends in a slash."""
    block = readme.split("\n## The tree\n")[1].split("```\n")[1]
    found, folder, last = {}, "", ""
    for line in block.splitlines():
        indent, (name, _, words) = len(line) - len(line.lstrip()), line.strip().partition(" ")
        if indent > 2:
            if last and name != "--":  # a line goes on, or a heading between the modules
                found[last] += " " + line.strip()
            continue
        folder = folder if indent else name if name.endswith("/") and not words else ""
        last = "" if name == folder else folder + name
        if last:
            assert last not in found, f"the tree has {last} twice"
            found[last] = words.strip()
    return found


def in_tree(file: str, found: dict[str, str]) -> bool:
    """Whether a file has a line, lies in a folder that has one, or is named by a file beside it."""
    if file in found or any(file.startswith(path) for path in found if path.endswith("/")):
        return True
    folder, _, name = file.rpartition("/")
    return any(path.rpartition("/")[0] == folder and name in re.findall(r"[\w.]+\w", found[path]) for path in found)


def test_the_tree_is_read_line_by_line():
    text = """
## The tree

```
README.md         this page
.ci/run           runs all
docs/
  guide.md        using it, with
                  page.css
  performance/    what was measured
                  -- work
src/thinwire/
  html.py         the page; style.css and code.js are its parts
```
"""
    found = tree(text)
    assert list(found) == ["README.md", ".ci/run", "docs/guide.md", "docs/performance/", "src/thinwire/html.py"]
    assert found["docs/guide.md"] == "using it, with page.css"
    assert found["docs/performance/"] == "what was measured"
    there = [".ci/run", "docs/performance/pca.json", "src/thinwire/style.css", "src/thinwire/code.js", "docs/page.css"]
    assert [file for file in there if not in_tree(file, found)] == []
    absent = ["LICENSE", "docs/style.css", "src/thinwire/tml.py", "src/thinwire/report/html.py", "guide.md"]
    assert [file for file in absent if in_tree(file, found)] == []


def test_the_readmes_tree_names_every_file_of_the_repository_and_nothing_else():
    repository = Path(__file__).parents[1]
    if not (repository / ".git").exists():
        pytest.skip("a copy without git does not say which files are the repository's")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    files = [file for file in listed.stdout.split("\0") if file and (repository / file).exists()]
    found = tree((repository / "README.md").read_text(encoding="utf-8"))
    assert [file for file in files if not in_tree(file, found)] == []
    assert [path for path in found if not (repository / path).exists()] == []


def in_fresh_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_the_modules_that_need_no_torch_do_not_load_it():
    lines = [f"import thinwire.{name}" for name in TORCH_FREE]
    heavy = "{'torch', 'transformers', 'peft', 'datasets'}"
    code = "\n".join([*lines, "import sys, json", f"print(json.dumps(sorted({heavy} & set(sys.modules))))"])
    assert json.loads(in_fresh_python(code)) == []


def test_importing_the_package_prints_nothing_and_is_quick():
    code = "import sys, time; t = time.perf_counter(); import thinwire; d = time.perf_counter() - t; sys.exit(d > 0.5)"
    assert in_fresh_python(code) == ""


def test_importing_every_module_prints_nothing_and_sets_up_no_logging():
    names = [f"thinwire.{name}" for name in sorted(MODULES) if name and name != "__main__"]
    code = f"import {', '.join(names)}, logging\nassert not logging.getLogger('thinwire').handlers"
    assert in_fresh_python(code) == ""
