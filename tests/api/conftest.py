import pytest

from thinwire.api import run
from tiny_models import save_sweep_inputs
from tiny_sweeps import LORA, experiment


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A tiny sweep that was run from Python."""
    folder = save_sweep_inputs(tmp_path_factory.mktemp("tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        arms = {"baseline": {}, "r2": {"lora": LORA}}
        return run(experiment(folder, arms=arms), folder / "runs" / "tiny", controls="all")
