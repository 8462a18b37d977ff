"""Layers on several devices: the calls that go through accelerate's hooks, and two GPUs where there are any."""

import accelerate
import pytest
import torch
from torch import nn

from thinwire.config.lora_settings import LoraSettings
from thinwire.config.settings import AUTO_MAP, ModelConfig
from thinwire.errors import UsageError
from thinwire.evaluation.generation import StopRule, greedy
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import choose_device, load
from thinwire.model.lora import attached
from thinwire.model.memory import free_memory, free_memory_for_layers
from thinwire.model.placement import check_placement, placement
from thinwire.ops.packing import pack
from thinwire.schema import build
from tiny_models import save_tiny, tiny_llama, tiny_lm, tiny_tokenizer
from tiny_training import arm_config, train_together

PROMPTS = [list(range(5, 45)), [*range(5, 30), 9, 8], [7, 7, 7]]
SETTINGS = [LoraSettings(rank=2, dropout=0.1), LoraSettings(rank=3, dropout=0.1)]


def hooked(**options):
    """Make the tiny model with the hooks that accelerate sets where a model is divided; all its devices are the CPU."""
    model = tiny_llama(**options)
    names = ["model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.layers.1", "model.norm", "lm_head"]
    accelerate.dispatch_model(
        model, dict.fromkeys(names, "cpu"), force_hooks=True, skip_keys=model._skip_keys_device_placement
    )
    return LanguageModel(model=model, tokenizer=tiny_tokenizer(), name="tiny", revision="test")


def states(lm, arms=2):
    """Return the last hidden states of ``arms`` copies of the packed prompts."""
    packed = pack(PROMPTS)
    embeddings = lm.embedding_matrix[torch.from_numpy(packed.ids).to(lm.device)][None].expand(arms, -1, -1)
    return lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments)


def lora_gradients(lm):
    """Return the states of two arms with LoRA and dropout, and the gradients of their factors."""
    with attached(lm.model, SETTINGS, [0, 1]) as lora:
        torch.manual_seed(0)
        for arm in range(2):
            for factor in lora.factors(arm).values():
                factor += 0.1 * torch.randn(factor.shape).to(factor.device)
        lora.set_dropout(True)
        found = states(lm)
        lm.logits(found).square().mean().backward()
        return found.detach().cpu(), [lora.row(arm).grad.cpu().clone() for arm in range(2)]


def test_hooks_change_neither_states_nor_the_gradients_of_lora():
    (found, gradients), (expected, own) = lora_gradients(hooked()), lora_gradients(tiny_lm())
    assert torch.equal(found, expected)
    assert all(torch.equal(one, other) for one, other in zip(gradients, own, strict=True))
    assert all(gradient.any() for gradient in gradients)


def test_answers_through_hooks_are_those_of_the_model_without():
    rule = StopRule(max_new_tokens=12, end_ids=frozenset({3}), newline_ids=frozenset())
    lm, other = hooked(), tiny_lm()
    found = greedy(lm, lm.embedding_matrix, PROMPTS, rule)
    assert found == greedy(other, other.embedding_matrix, PROMPTS, rule)
    assert any(len(one.ids) > 1 for one in found)


def test_an_arm_trains_through_hooks_as_it_does_without():
    (through,), (without,) = (train_together(arm_config(), lm=lm) for lm in (hooked(), tiny_lm()))
    assert through.metrics == without.metrics
    assert through.state.keys() == without.state.keys()
    assert all(torch.equal(tensor, without.state[name]) for name, tensor in through.state.items())


def test_without_gpus_auto_map_is_the_cpu(tmp_path):
    assert choose_device(AUTO_MAP) == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert placement(AUTO_MAP, torch.device("cpu")) == {"device_map": {"": torch.device("cpu")}}


def test_several_gpus_share_a_model_and_neither_cpu_nor_disk_takes_a_part(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (100 + gpu, 200))
    gpu = torch.device("cuda")
    assert placement(AUTO_MAP, gpu) == {"device_map": "balanced", "max_memory": {0: 100, 1: 101}}
    assert placement("cuda", gpu) == {"device_map": {"": gpu}}


def test_a_model_that_was_left_on_the_disk_in_part_is_refused():
    model = tiny_llama()
    model.model.layers[1].mlp.up_proj.weight = nn.Parameter(torch.empty(48, 32, device="meta"), requires_grad=False)
    with pytest.raises(UsageError, match="does not fit the memory of the GPUs"):
        check_placement(LanguageModel(model=model, tokenizer=tiny_tokenizer(), name="tiny", revision="test"), AUTO_MAP)


@pytest.mark.parametrize(
    ("other", "named"),
    [({"base_bits": 8}, "base_bits"), ({"compile": True}, "compile"), ({"cuda_graphs": True}, "graphs")],
)
def test_what_needs_one_device_is_refused_with_auto_map(other, named):
    with pytest.raises(UsageError, match=f"{named}.* is for a model on one device"):
        build(ModelConfig, {"device": AUTO_MAP, **other}, where="model")


def test_the_memory_for_layers_is_that_of_the_device_that_is_full_first(monkeypatch):
    lm = tiny_lm(layers=3)
    lm.layers_by_device.clear()
    lm.layers_by_device.update({torch.device("cuda", 0): 1, torch.device("cuda", 1): 2})
    monkeypatch.setattr("thinwire.model.memory.free_memory", lambda device: {0: 900, 1: 1000}[device.index])
    # 3 * 900 would fill the first, 1.5 * 1000 the second.
    assert free_memory_for_layers(lm) == 1500


def test_a_model_whose_embeddings_alone_are_elsewhere_is_divided():
    lm = tiny_lm()
    assert not lm.is_divided
    lm.model.model.embed_tokens.weight = nn.Parameter(torch.empty(261, 32, device="meta"), requires_grad=False)
    assert lm.is_divided
    assert [device.type for device in lm.devices] == ["meta", "cpu"]
    assert lm.device_setting == AUTO_MAP
    assert not lm.has_fixed_steps


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_on_two_gpus_trains_and_answers_as_on_one(dtype, tmp_path):
    folder = str(save_tiny(tmp_path / "model", layers=4))
    one = load(ModelConfig(name=folder, dtype=dtype, device="cuda:0"))
    two = load(ModelConfig(name=folder, dtype=dtype, device=AUTO_MAP))
    assert len(two.layers_by_device) == 2
    assert two.device == one.device
    rule = StopRule(max_new_tokens=12, end_ids=frozenset({3}), newline_ids=frozenset())
    assert greedy(two, two.embedding_matrix, PROMPTS, rule) == greedy(one, one.embedding_matrix, PROMPTS, rule)
    tolerance = {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
    torch.testing.assert_close(states(two), states(one), atol=tolerance, rtol=tolerance)
    for settings in SETTINGS:  # without dropout, whose masks come from the generator of each device
        gradients = []
        for lm in (one, two):
            with attached(lm.model, [settings.model_copy(update={"dropout": 0.0})], [0]) as lora:
                lm.logits(states(lm, arms=1)).square().mean().backward()
                gradients.append(lora.row(0).grad.clone())
                with lora.alone(0):
                    states(lm, arms=1)
        torch.testing.assert_close(*gradients, atol=tolerance, rtol=10 * tolerance)
    assert free_memory_for_layers(two) > free_memory(two.device)
