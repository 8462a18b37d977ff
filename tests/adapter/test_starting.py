"""The cache of starting adapters."""

import torch

from thinwire.config.auto import resolved
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.model.loading import load
from thinwire.ops.device import fast_dtype
from thinwire.progress import Display
from tiny_models import save_sweep_inputs
from tiny_sweeps import experiment


def test_the_starting_adapter_is_cached_by_all_that_made_it(tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    folder = save_sweep_inputs(tmp_path)

    def cached_after(run, **changes):
        """Prepare an arm; return the adapters that are then in the cache."""
        made = experiment(folder, **changes)
        (tmp_path / run).mkdir()
        artifacts = ArtifactCache(made, load(made.model), tmp_path / run, Display())
        artifacts.arm_inputs(resolved(made.arm("baseline"), "cpu"))
        return set((tmp_path / "cache" / "adapters").glob("*.safetensors"))

    first = cached_after("first")
    assert len(first) == 1
    assert cached_after("again") == first, "the same content has the same entry"
    for number, changes in enumerate(
        [
            {"codec": {"ratio": 2}},
            {"seed": 1},
            {"reconstruction": {"steps": 31, "batch_rows": 64}},
            {"prompt": {"style": "plain"}},
        ],
        start=1,
    ):
        assert len(cached_after(f"changed{number}", **changes)) == 1 + number, changes
    is_fast = fast_dtype(torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not is_fast})
    assert len(cached_after("other_cpu")) == 6, "a CPU with other matrix products"
