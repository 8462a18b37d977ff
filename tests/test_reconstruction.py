import pytest
import torch

from doubles import example, tiny_lm
from thinwire import reconstruction
from thinwire.adapter import Adapter
from thinwire.batching import token_counts
from thinwire.codecs import PCACodec
from thinwire.codecs.table_training import drawn_rows, fast_products, resolve_steps
from thinwire.config import AdapterConfig, CodecConfig, PromptConfig, ReconstructionConfig
from thinwire.determinism import generator
from thinwire.objective import table_mean_square
from thinwire.prompts import PromptEncoder
from thinwire.reader import AdapterReader
from thinwire.reconstruction import train_reconstruction


def setting():
    lm = tiny_lm()
    encoder = PromptEncoder(lm.tokenizer, PromptConfig())
    questions = [encoder.encode(example(n)) for n in range(6)]
    counts = token_counts(questions, len(lm.table))
    codec = PCACodec.fit(lm.table, counts, CodecConfig(compress_dim=6), 0)
    adapter = Adapter(codec, AdapterConfig(hidden=32), generator("cpu", 0))
    reader = AdapterReader(codec.encode(lm.table), codec, adapter)
    return lm, questions, counts, reader, table_mean_square(lm.table, counts)


def measure(rebuilt, table, counts, mean_square):
    """Of a whole table."""
    return reconstruction.measure(rebuilt, torch.arange(len(table)), table, counts, mean_square)


def test_figures_by_hand():
    table = torch.tensor([[1.0, 0], [0, 2], [3, 3]])
    guess = torch.tensor([[1.0, 0], [2, 0], [9, 9]])
    # Row 1 has cosine 0, error (4 + 4) / 2 = 4, and row 0 is nearer than itself; row 2 was never seen.
    figures = measure(guess, table, torch.tensor([3.0, 1, 0]), mean_square=0.5)
    assert figures.as_dict() == {"cosine": 0.75, "relative_mse": 1 / 4 * 4 / 0.5, "nearest_row_accuracy": 0.75}


def test_figures_of_some_rows_are_those_of_all_where_the_others_do_not_count():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(40, 6, generator=generator)
    guess = table + torch.randn(40, 6, generator=generator)
    counts = torch.randint(0, 3, (40,), generator=generator).double()
    rows = counts.nonzero()[:, 0]
    some = reconstruction.measure(guess[rows], rows, table, counts[rows], 0.5)
    assert some.as_dict() == pytest.approx(measure(guess, table, counts, 0.5).as_dict())
    by_frequency = reconstruction.measure_by_frequency(guess[rows], rows, table, counts[rows])
    assert by_frequency == reconstruction.measure_by_frequency(guess, torch.arange(40), table, counts)


def test_a_perfect_table_has_perfect_figures_also_of_rows_with_one_direction():
    # Nearest by distance, not by angle: the second row is the first, twice as long.
    table = torch.tensor([[1.0, 1], [2, 2], [0, 1]])
    assert measure(table, table, torch.ones(3), 1.0).as_dict() == pytest.approx(
        {"cosine": 1.0, "relative_mse": 0.0, "nearest_row_accuracy": 1.0}
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.7, 1.2])
def test_the_nearest_rows_are_those_of_all_distances_written_out(noise, dtype):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(300, 24, generator=generator)
    table[150:] = table[:150] + 0.01 * torch.randn(150, 24, generator=generator)  # neighbours closer than bfloat16 sees
    table = table.to(dtype)
    guess = table.float() + noise * torch.randn(300, 24, generator=generator)
    nearest = torch.cdist(guess.double(), table.double()).argmin(-1)
    expected = float((nearest == torch.arange(300)).double().mean())
    assert (noise == 0) == (expected == 1)
    assert measure(guess, table, torch.ones(300), 1.0).nearest_row_accuracy == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("mode", ["table", "sequence"])
def test_both_ways_improve_on_the_linear_reconstruction(mode):
    lm, questions, counts, reader, mean_square = setting()
    config = ReconstructionConfig(mode=mode, steps=150, batch_rows=64, learning_rate=5e-3)
    before = measure(reader.table(torch.float32), lm.table, counts, mean_square)
    train_reconstruction(reader, lm.table, counts, mean_square, questions, config, seed=0)
    after = measure(reader.table(torch.float32), lm.table, counts, mean_square)
    assert after.cosine > before.cosine + 0.02
    assert after.relative_mse < 0.7 * before.relative_mse


def test_the_same_seed_trains_the_same_adapter_and_another_does_not():
    def trained(seed):
        lm, questions, counts, reader, mean_square = setting()
        config = ReconstructionConfig(steps=5, batch_rows=32)
        train_reconstruction(reader, lm.table, counts, mean_square, questions, config, seed)
        return reader.adapter.linear.weight.detach()

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_rows_that_no_prompt_holds_are_learned_through_the_uniform_share():
    def unseen_cosine(share):
        lm, questions, counts, reader, mean_square = setting()
        config = ReconstructionConfig(steps=200, batch_rows=128, uniform_share=share, learning_rate=5e-3)
        train_reconstruction(reader, lm.table, counts, mean_square, questions, config, seed=0)
        return measure(reader.table(torch.float32), lm.table, (counts == 0).double(), mean_square).cosine

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


def test_the_budget_follows_the_device():
    assert resolve_steps("auto", torch.device("cpu")) == 1_000
    assert resolve_steps("auto", torch.device("cuda")) == 10_000
    assert resolve_steps(7, torch.device("cuda")) == 7


@pytest.mark.parametrize(
    ("device", "able", "precision"), [("cuda", False, "high"), ("cpu", True, "medium"), ("cpu", False, "highest")]
)
def test_products_are_rounded_where_that_is_fast_and_only_while_a_table_is_rebuilt(
    device, able, precision, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": able})
    with fast_products(torch.device(device)):
        assert torch.get_float32_matmul_precision() == precision
    assert torch.get_float32_matmul_precision() == "highest"
