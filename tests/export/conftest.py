import pytest

from tiny_gguf import write_tiny_gguf
from tiny_sweeps import finished_run

EVALUATION = {"samples": 8, "selection_samples": 5, "max_new_tokens": 24}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished sweep on a checkpoint folder; the answers of its arm r2 end before the length limit."""
    return finished_run(tmp_path_factory.mktemp("exported"), evaluation=EVALUATION)


@pytest.fixture(scope="session")
def gguf_run(tmp_path_factory):
    """A finished sweep of one arm on a GGUF file."""
    folder = tmp_path_factory.mktemp("exported_gguf")
    file = write_tiny_gguf(folder / "tiny.gguf", general__license="mit")
    model = {"name": str(file), "device": "cpu", "dtype": "float32"}
    arms = {"baseline": {"lora": {"rank": 2, "dropout": 0.0}}}
    return finished_run(folder, model=model, evaluation=EVALUATION, arms=arms, controls={})


@pytest.fixture(scope="session")
def block_run(tmp_path_factory):
    """A finished sweep whose arms read blocks of tokens, one by each encoder, one of them with plain prompts."""
    return finished_run(
        tmp_path_factory.mktemp("exported_blocks"),
        evaluation=EVALUATION,
        input="blocks",
        blocks={"hidden": 16},
        baseline="k2_mlp",
        supervision={"ce_weight": 1.0},
        arms={
            "k2_mlp": {"lora": {"rank": 2, "dropout": 0.0}},
            "k3_weighted": {"blocks": {"size": 3, "encoder": "weighted_mean"}, "prompt": {"style": "plain"}},
            "k4_mean": {"blocks": {"size": 4, "encoder": "mean"}, "lora": {"rank": 2, "dropout": 0.0}},
            "k2_pca": {"blocks": {"encoder": "pca"}, "lora": {"rank": 2, "dropout": 0.0}},
        },
        controls={},
    )
