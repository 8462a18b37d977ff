"""What arms that read blocks start from: learned from texts, cached by all that determines it, kept or not, and left
out where nothing could learn."""

import json

import pytest
import torch
from safetensors.torch import load_file

from task_rows import columns_of, task_rows, write_rows
from thinwire.config.auto import resolved
from thinwire.config.experiment import ArmConfig
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from thinwire.experiment import text_start
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.sweep import run_sweep
from thinwire.experiment.text_start import with_text_start
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.schema import build
from tiny_models import save_sweep_inputs, tiny_gemma, tiny_llama
from tiny_sweeps import LORA, evaluate, experiment

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


def test_several_requests_of_a_passage_are_learned_from_in_one_step(start, monkeypatch):
    prepared, trained = start
    steps = []
    real = text_start.train_to_write
    monkeypatch.setattr(
        text_start,
        "train_to_write",
        lambda *args, **options: real(*args, **{**options, "on_step": lambda metrics, total: steps.append(total)}),
    )
    prepared(modes=["cloze"], requests=3)
    visits = trained[0][4]
    assert len(visits) == 8 * 3
    assert steps == [2, 2], "as many as with one request: 4 of 8 passages in each"
    shared = [one.prompt_ids[: one.context.stop] for one in visits]
    assert all(shared[first] == shared[first + 1] == shared[first + 2] for first in range(0, 24, 3))


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


SETTINGS = {
    "input": "blocks",
    "supervision": {"ce_weight": 1.0},
    "training": {"epochs": 1, "batch_size": 8},
    "arms": {"baseline": {}},
    "controls": {},
}


def blocks(**changes):
    return {"hidden": 16, "reconstruction": {"passages": 8, "batch_size": 4, **changes}}


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    return save_sweep_inputs(tmp_path)


def finished(folder, name="run", **changes):
    """Run a sweep with one arm; returns its record."""
    (record,) = run_sweep(experiment(folder, **{**SETTINGS, "blocks": blocks(), **changes}), folder / name)
    assert record.error is None
    return record


def starts(folder):
    return {path.name for path in (folder / "cache" / "adapters").glob("*.safetensors")}


def test_texts_to_be_written_are_cut_to_the_windows_of_the_model(inputs):
    """Questions fit into 200 tokens, but no prompt with half a paragraph in blocks and the paragraph behind it."""
    tiny_gemma(window=200).save_pretrained(inputs / "model")
    found = finished(inputs).done.text_reconstruction
    longest = max(len(context) for context in contexts_of(inputs / "train.json"))
    assert 0 < found.tokens < found.passages * longest


def contexts_of(file):
    articles = json.loads(file.read_text())["data"]
    return [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]


def test_texts_without_questions_are_continued_or_refused_before_anything_runs(inputs):
    data = write_rows(inputs / "rows.jsonl", task_rows("perplexity", range(18)))
    source = {"train": str(data), "test_articles": 2, "selection_articles": 1, "columns": columns_of("perplexity")}
    with pytest.raises(UsageError, match=r"baseline would fail: .* blocks.reconstruction.modes=\[continuation\]"):
        finished(inputs, task="perplexity", data=source)
    settings = blocks(modes=["continuation"])
    record = finished(inputs, task="perplexity", data=source, blocks=settings)
    # Three held-out texts of 45 or 46 bytes, of which the second half is written, and an end.
    assert record.done.text_reconstruction.passages == 3
    assert 3 * 23 <= record.done.text_reconstruction.tokens <= 3 * 27


def test_texts_without_other_paragraphs_to_stand_beside_them_are_refused_before_anything_runs(inputs):
    why = (
        r"blocks\.reconstruction\.distractors takes other paragraphs .* no article of the training questions .* has two"
    )
    with pytest.raises(UsageError, match=why):
        finished(inputs, blocks=blocks(distractors=1))
    assert not (inputs / "run").exists()
    unused = {"baseline": {"blocks": blocks(distractors=1, passages=0)}}
    assert finished(inputs, arms=unused).done.text_reconstruction is None


def test_where_nothing_learns_from_texts_arms_begin_untrained(inputs):
    arm = {"blocks": {"encoder": "mean", "reconstruction": {"lora": "absent"}}, "lora": LORA}
    record = finished(inputs, arms={"baseline": arm})
    assert record.done.text_reconstruction is None
    assert record.done.trainable_parameters.lora > 0


@pytest.mark.parametrize("encoder", ["mlp", "mean"])
def test_an_arm_without_epochs_learns_from_texts_alone_and_keeps_that(encoder, inputs):
    settings = {
        "blocks": {**blocks(encoder_lr=0.01, lora_lr=0.05), "encoder": encoder},
        "lora": LORA,
        "training": {"epochs": 0},
    }
    done = finished(inputs, **settings).done
    assert done.training is None
    assert done.text_reconstruction.tokens > 0
    assert (done.trainable_parameters.adapter > 0, done.trainable_parameters.lora > 0) == (encoder == "mlp", True)
    metrics, _ = evaluate(inputs / "run" / "baseline", inputs / "test.json")
    assert metrics == done.test
    (start,) = (inputs / "cache" / "adapters").glob("*.safetensors")
    learned = load_file(start)
    kept = load_file(inputs / "run" / "baseline" / "checkpoint" / "lora" / "adapter_model.safetensors")
    assert kept
    assert all(torch.equal(learned[f"lora.{name}"], factor) for name, factor in kept.items())


def test_an_arm_without_epochs_has_trained_no_lora_that_takes_no_part_in_texts(inputs):
    done = finished(inputs, blocks=blocks(lora="restarted"), lora=LORA, training={"epochs": 0}).done
    assert (done.trainable_parameters.adapter > 0, done.trainable_parameters.lora) == (True, 0)


def test_a_model_with_the_same_embeddings_and_other_layers_has_a_start_of_its_own(inputs):
    first = finished(inputs)
    assert finished(inputs, "again").done.text_reconstruction == first.done.text_reconstruction
    assert len(starts(inputs)) == 1
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(1.5)
    model.save_pretrained(inputs / "model")
    other = finished(inputs, "other")
    assert other.model == first.model
    assert len(starts(inputs)) == 2
    assert other.done.text_reconstruction != first.done.text_reconstruction


def test_other_held_out_texts_are_measured_with_the_same_start(inputs):
    selection = {"train": str(inputs / "train.json"), "test": str(inputs / "test.json"), "selection_articles": 2}
    first = finished(inputs, data=selection).done.text_reconstruction
    document = json.loads((inputs / "train.json").read_text())
    trained = {row for row in contexts_of(inputs / "train.json") if row not in held_out(inputs, selection)}
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            if paragraph["context"] not in trained:
                paragraph["context"] += " A mill is a place where grain is ground."
    (inputs / "train.json").write_text(json.dumps(document))
    second = finished(inputs, "again", data=selection).done.text_reconstruction
    assert len(starts(inputs)) == 1
    assert second.tokens == first.tokens + first.passages * len(" A mill is a place where grain is ground.")


def held_out(folder, data):
    made = experiment(folder, **SETTINGS, data=data)
    _, selection = Splits(made.data, made.seed).training_and_selection()
    return {example.context for example in selection}


def test_blocks_of_no_context_are_refused():
    with pytest.raises(UsageError, match="context is false, but blocks are made of contexts; set context to true"):
        build(ArmConfig, {"input": "blocks", "context": False}, where="arms.a")
