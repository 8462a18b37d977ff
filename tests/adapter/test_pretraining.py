import pytest
import torch

from thinwire.adapter.adapter import Adapter
from thinwire.adapter.input_embeddings import AdapterEmbeddings
from thinwire.adapter.metrics import measure
from thinwire.adapter.pretraining import train_reconstruction
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.reconstruction_loss import matrix_mean_square
from thinwire.codecs.row_training import drawn_rows, fast_products
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.token_weights import token_counts
from thinwire.config.settings import AdapterConfig, PromptConfig, ReconstructionConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.determinism import generator
from tiny_models import example, tiny_lm


def measured(rebuilt, matrix, counts, mean_square):
    return measure(rebuilt, torch.arange(len(matrix)), matrix, counts, mean_square)


def setting():
    lm = tiny_lm()
    encoder = PromptEncoder(lm.tokenizer, PromptConfig())
    questions = [encoder.encode(example(n)) for n in range(6)]
    counts = token_counts([question.prompt_ids for question in questions], len(lm.embedding_matrix))
    codec = PCACodec.fit(lm.embedding_matrix, counts, CodecConfig(compress_dim=6), 0)
    adapter = Adapter(codec, AdapterConfig(hidden=32), generator("cpu", 0))
    inputs = AdapterEmbeddings(codec.encode(lm.embedding_matrix), codec, adapter)
    return lm, questions, counts, inputs, matrix_mean_square(lm.embedding_matrix, counts)


@pytest.mark.parametrize("mode", ["rows", "sequence"])
def test_both_modes_improve_on_the_linear_reconstruction(mode):
    lm, questions, counts, inputs, mean_square = setting()
    config = ReconstructionConfig(mode=mode, steps=150, batch_rows=64, learning_rate=5e-3)
    before = measured(inputs.matrix(torch.float32), lm.embedding_matrix, counts, mean_square)
    train_reconstruction(inputs, lm.embedding_matrix, counts, mean_square, questions, config, seed=0)
    after = measured(inputs.matrix(torch.float32), lm.embedding_matrix, counts, mean_square)
    assert after.cosine > before.cosine + 0.02
    assert after.relative_mse < 0.7 * before.relative_mse


def test_the_same_seed_trains_the_same_adapter_and_another_does_not():
    def trained(seed):
        lm, questions, counts, inputs, mean_square = setting()
        config = ReconstructionConfig(steps=5, batch_rows=32)
        train_reconstruction(inputs, lm.embedding_matrix, counts, mean_square, questions, config, seed)
        return inputs.adapter.linear.weight.detach()

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_rows_that_no_prompt_holds_are_learned_through_the_uniform_share():
    def unseen_cosine(share):
        lm, questions, counts, inputs, mean_square = setting()
        config = ReconstructionConfig(steps=200, batch_rows=128, uniform_share=share, learning_rate=5e-3)
        train_reconstruction(inputs, lm.embedding_matrix, counts, mean_square, questions, config, seed=0)
        return measured(inputs.matrix(torch.float32), lm.embedding_matrix, (counts == 0).double(), mean_square).cosine

    assert unseen_cosine(0.5) > unseen_cosine(0.0) + 0.05


@pytest.mark.parametrize(
    ("weighting", "shares"), [("counts", [16 / 17, 1 / 17, 0]), ("sqrt", [4 / 5, 1 / 5, 0]), ("uniform", [1 / 3] * 3)]
)
def test_rows_are_drawn_as_often_as_they_weigh(weighting, shares):
    config = ReconstructionConfig(weighting=weighting, uniform_share=0, batch_rows=20_000)
    draw = torch.Generator().manual_seed(0)
    tokens, times = next(drawn_rows(torch.tensor([16, 1, 0]), config, torch.device("cpu"), draw))
    drawn = torch.zeros(3).index_add(0, tokens, times / config.batch_rows)
    assert drawn.tolist() == pytest.approx(shares, abs=0.02)


@pytest.mark.parametrize(
    ("device", "able", "precision"), [("cuda", False, "high"), ("cpu", True, "medium"), ("cpu", False, "highest")]
)
def test_products_are_rounded_where_that_is_fast_and_only_while_a_matrix_is_rebuilt(
    device, able, precision, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": able})
    with fast_products(torch.device(device)):
        assert torch.get_float32_matmul_precision() == precision
    assert torch.get_float32_matmul_precision() == "highest"
