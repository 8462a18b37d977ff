"""The package as it is built: one version, every file that it needs, and the experiments beside them."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import thinwire
from tiny_models import save_sweep_inputs

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "thinwire"


def test_the_citation_has_the_packages_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == thinwire.__version__


def test_the_packages_experiments_are_those_of_the_repository():
    assert (PACKAGE / "experiments").resolve() == ROOT / "experiments"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("src", "experiments"):
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    result = subprocess.run(
        [sys.executable, "-c", build, str(source / "dist")], cwd=source, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    files = {path.relative_to(ROOT / "src").as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    files |= {f"thinwire/experiments/{path.relative_to(ROOT / 'experiments').as_posix()}" for path in EXPERIMENTS}
    left_out = {"thinwire/experiments/README.md"}  # its links lead into the repository
    wanted = {file for file in files if not fnmatch(file, "*.pyc")} - left_out
    assert wanted == {name for name in held if name.startswith("thinwire/")}


EXPERIMENTS = [path for path in (ROOT / "experiments").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_the_wheel_finds_experiments_by_name_without_a_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{tmp_path}/site/thinwire/__init__.py",
        "phase1a_lora_full 11",  # whose arms are those of phase1a_lora.yaml, which it extends
        f"# yaml-language-server: $schema={tmp_path}/site/thinwire/experiments/schema.json",
    ]


@pytest.mark.slow
def test_the_installed_wheel_runs_a_new_experiment_and_exports_an_arm_without_a_checkout(wheel, tmp_path):
    """As step 5 of docs/releasing.md, with the dependencies of this environment and a tiny model."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, str(wheel)], check=True)
    inputs = save_sweep_inputs(tmp_path / "inputs")
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "THINWIRE_CACHE": str(tmp_path / "cache")}

    def thinwire_command(*arguments):
        program = [str(tmp_path / "site/bin/thinwire"), *map(str, arguments)]
        done = subprocess.run(
            program, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert thinwire.__version__ in thinwire_command("--version")
    assert thinwire_command("init", "mine") == "mine.yaml\n"
    changes = [
        f"model.name={inputs / 'model'}",
        "model.device=cpu",
        f"data.train={inputs / 'train.json'}",
        f"data.test={inputs / 'test.json'}",
        "data.samples=12",
        "data.selection_articles=2",
        "adapter.hidden=8",
        "reconstruction.steps=5",
        "training.batch_size=4",
        "evaluation.samples=4",
        "evaluation.selection_samples=2",
        "evaluation.max_new_tokens=2",
    ]
    thinwire_command("sweep", "mine.yaml", "--output", "run", *(part for one in changes for part in ("--set", one)))
    table = csv.DictReader(thinwire_command("compare", "run", "--csv").splitlines())
    assert {row["name"] for row in table} == {"baseline", "r4", "r16", "text_zero_shot", "codec_only"}
    thinwire_command("export", "run/r4", "exported")
    made = tmp_path / "empty" / "exported"
    assert (made / "model.safetensors").is_file()
    assert f"thinwire {thinwire.__version__}" in (made / "README.md").read_text(encoding="utf-8")
    assert "<h1>" in (tmp_path / "empty/run/report.html").read_text(encoding="utf-8")
    record = json.loads((tmp_path / "empty/run/r4/record.json").read_text(encoding="utf-8"))
    assert record["environment"]["git_commit"] is None, "the package is not that of the checkout"


USE = """
from pathlib import Path
import thinwire
from thinwire.config.load import load_experiment
from thinwire.config.template import new_experiment

print(thinwire.__file__)
made = load_experiment(Path("full"))
print(made.name, len(made.arms))
print(new_experiment("mine", Path("mine.yaml")).partition("\\n")[0])
"""
