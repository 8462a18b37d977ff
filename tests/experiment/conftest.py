import pytest

from thinwire.experiment.sweep import run_sweep
from tiny_models import save_sweep_inputs
from tiny_sweeps import experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the inputs of a tiny sweep: a model and questions."""
    return save_sweep_inputs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", autouse=True)
def _own_cache(folder):
    """Give the tests of a file a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        yield


@pytest.fixture(scope="module")
def swept(folder):
    """Run the tiny sweep; return its folder and its records."""
    target = folder / "work" / "runs" / "phase1a_lora_sweep"
    return target, run_sweep(experiment(folder), target, controls="all")
