import shutil
import sys

import pytest
import torch

from fault_runs import KINDS, Runs, results, write_experiment
from tiny_models import save_sweep_inputs


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """A folder with a tiny model and its questions."""
    return save_sweep_inputs(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def runs(inputs):
    """Starts sweeps in processes whose changes of files can be made to fail."""
    if not sys.platform.startswith("linux") or shutil.which("gcc") is None:
        pytest.skip("faults of files are made by a library for Linux, which gcc compiles")
    with Runs(inputs) as runs:
        yield runs


@pytest.fixture(scope="session")
def undisturbed(runs, inputs):
    """Run a sweep in a ``way`` without any fault, once; returns its file, results, seconds and number of changes."""
    found = {}

    def run(way):
        if way == "on a GPU" and not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        if way not in found:
            file, folder = write_experiment(inputs, way), inputs / f"whole {way}"
            runs.run("sweep", file, "--output", inputs / f"first {way}")  # fills the cache
            ended = runs.run("sweep", file, "--output", folder, FAULT_FOLDER=str(folder), FAULT_KINDS=KINDS)
            assert ended.code == 0, ended.said
            calls = int(ended.last_line.removeprefix("calls: "))
            found[way] = file, results(folder), ended.seconds, calls
        return found[way]

    return run
