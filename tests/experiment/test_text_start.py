"""What encoder and LoRA learn of texts before the questions: made once, cached, and kept or not."""

import pytest
import torch

from thinwire.config.auto import resolved
from thinwire.errors import UsageError
from thinwire.experiment import text_start
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.text_start import with_text_start
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.progress import Display
from tiny_sweeps import LORA, experiment

LEARNING = {"passages": 8, "batch_size": 4, "encoder_lr": 0.01, "lora_lr": 0.05}


@pytest.fixture
def start(folder, tmp_path, monkeypatch):
    """A function that prepares an arm with changes of its ``blocks.reconstruction``, and the list of its trainings."""
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    trained = []
    train = text_start.train_to_write
    monkeypatch.setattr(
        text_start, "train_to_write", lambda *args, **options: trained.append(args) or train(*args, **options)
    )

    def prepared(rank=LORA["rank"], **changes):
        made = experiment(
            folder,
            baseline="a",
            input="blocks",
            blocks={"hidden": 16, "reconstruction": {**LEARNING, **changes}},
            supervision={"ce_weight": 1.0},
            arms={"a": {"lora": {**LORA, "rank": rank}}},
        )
        lm = load(made.model)
        artifacts = ArtifactCache(made, lm, tmp_path / "codec", Display())
        inputs = artifacts.arm_inputs(resolved(made.arm("a"), "cpu"))
        return with_text_start(make_runtime(made, lm, Display()), artifacts, inputs)

    return prepared, trained


def weights(inputs):
    return {name: parameter.detach().clone() for name, parameter in inputs.embeddings.encoder.named_parameters()}


def test_equal_starts_are_trained_once_and_cached(start):
    prepared, trained = start
    first, again = prepared(), prepared()
    assert len(trained) == 1
    assert first.text_reconstruction == again.text_reconstruction
    assert first.text_reconstruction.tokens > 0
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(again)[name])
    assert any(factor.any() for name, factor in first.starting_lora.items() if "lora_B" in name)
    prepared(passages=9)
    prepared(modes=["recall"])
    prepared(rank=0)
    assert len(trained) == 4


def test_lora_is_kept_begins_anew_or_does_not_take_part(start):
    prepared, trained = start
    kept, restarted = prepared(), prepared(lora="restarted")
    assert len(trained) == 1, "the same training"
    assert restarted.starting_lora is None
    for name, tensor in weights(kept).items():
        assert torch.equal(tensor, weights(restarted)[name])
    absent, without = prepared(lora="absent"), prepared(rank=0, lora="absent")
    assert absent.starting_lora is None
    assert len(trained) == 2, "an arm without LoRA learns the same"
    assert absent.text_reconstruction == without.text_reconstruction != kept.text_reconstruction


def test_texts_beyond_the_models_positions_are_refused_before_they_are_trained_on(start, monkeypatch):
    prepared, trained = start
    prepared(passages=1)
    monkeypatch.setattr(LanguageModel, "most_positions", 200)
    with pytest.raises(UsageError, match=r"takes \d+ positions with its prompt, and .* has 200; shorten prompts"):
        prepared(passages=2)
    assert len(trained) == 1
