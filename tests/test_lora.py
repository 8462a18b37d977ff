import pytest
import torch

from doubles import tiny_llama
from thinwire.config import LoraSettings
from thinwire.errors import UsageError
from thinwire.lora import attached, loaded, merge_into

IDS = torch.arange(5, 45).reshape(2, 20)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def disturb(lora, amount=0.5):
    for number, parameter in enumerate(lora.parameters()):
        generator = torch.Generator().manual_seed(number)
        parameter.data += amount * torch.randn(parameter.shape, generator=generator)


def test_a_fresh_lora_changes_nothing_and_detaching_restores_the_model_exactly():
    model = tiny_llama()
    before, names = logits(model), [name for name, _ in model.named_parameters()]
    with attached(model, LoraSettings(rank=4)) as lora:
        assert torch.equal(logits(model), before)
        disturb(lora)
        assert not torch.allclose(logits(model), before)
    assert torch.equal(logits(model), before)
    assert [name for name, _ in model.named_parameters()] == names
    assert not any(p.requires_grad for p in model.parameters())


def test_it_is_detached_after_an_error_too():
    model = tiny_llama()
    before = logits(model)
    with pytest.raises(RuntimeError), attached(model, LoraSettings(rank=4)) as lora:  # noqa: PT012
        disturb(lora)
        raise RuntimeError
    assert torch.equal(logits(model), before)


def test_the_number_of_factors_follows_rank_layers_and_targets():
    # One layer: q 32x32, k 32x16, v 32x16, o 32x32; rank 4 takes 4 x (in + out) each.
    per_layer = 4 * (64 + 48 + 48 + 64)
    for layers, expected in ((1, per_layer), (2, 2 * per_layer), ("all", 3 * per_layer)):
        with attached(tiny_llama(layers=3), LoraSettings(rank=4, layers=layers)) as lora:
            assert sum(p.numel() for p in lora.parameters()) == expected
    with attached(tiny_llama(layers=3), LoraSettings(rank=4, targets=("q_proj",))) as lora:
        assert sum(p.numel() for p in lora.parameters()) == 3 * 4 * 64


def test_factors_are_float32_on_a_bfloat16_model_and_every_one_gets_a_gradient():
    model = tiny_llama(dtype=torch.bfloat16)
    with attached(model, LoraSettings(rank=2)) as lora:
        disturb(lora)
        model(input_ids=IDS).logits.float().square().mean().backward()
        assert all(p.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in lora.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_rank_zero_is_no_lora():
    with attached(tiny_llama(), LoraSettings(rank=0)) as lora:
        assert lora is None


def test_more_layers_than_the_model_has_are_refused():
    with (
        pytest.raises(UsageError, match=r"lora\.layers=8, but the model has 2 layers"),
        attached(tiny_llama(), LoraSettings(rank=4, layers=8)),
    ):
        pass


def test_a_target_that_matches_nothing_is_refused_even_beside_one_that_matches():
    settings = LoraSettings(rank=4, targets=("q_proj", "qproj"))
    with (
        pytest.raises(UsageError, match=r"'qproj' matches no linear module.*down_proj.*q_proj"),
        attached(tiny_llama(), settings),
    ):
        pass


def test_dropout_is_switched_alone():
    model = tiny_llama()
    with attached(model, LoraSettings(rank=4, dropout=0.5)) as lora:
        disturb(lora)
        assert torch.equal(logits(model), logits(model))
        lora.set_dropout(True)
        assert not torch.equal(logits(model), logits(model))
        training = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module.training}
        assert training == {"lora_dropout", "default"}


def test_disabled_is_the_model_without_lora():
    model = tiny_llama()
    before = logits(model)
    with attached(model, LoraSettings(rank=4)) as lora:
        disturb(lora)
        with lora.disabled():
            assert torch.equal(logits(model), before)
        assert not torch.allclose(logits(model), before)


def test_factors_survive_saving_and_merge_into_the_same_model(tmp_path):
    model = tiny_llama()
    with attached(model, LoraSettings(rank=4, alpha=8, layers=1)) as lora:
        disturb(lora)
        lora.save(tmp_path / "lora")
        with_lora = logits(model)
        state = lora.state()
        disturb(lora)
        lora.load_state(state)
        assert torch.equal(logits(model), with_lora)
    with loaded(model, tmp_path / "lora"):
        torch.testing.assert_close(logits(model), with_lora)
    torch.testing.assert_close(logits(merge_into(tiny_llama(), tmp_path / "lora")), with_lora, atol=1e-4, rtol=1e-4)
