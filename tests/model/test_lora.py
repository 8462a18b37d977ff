"""Stacked LoRA factors: agreement with peft's, and independence of the arms of a stack."""

import copy
import json

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from thinwire.config.lora_settings import LoraSettings
from thinwire.determinism import seeded
from thinwire.errors import ThinwireError, UsageError
from thinwire.model.lora import attached, factor_layout
from thinwire.model.lora_modules import depth_of
from thinwire.model.lora_peft import FACTORS_FILE, check_saved_lora, with_factors
from thinwire.results.tensor_file import read_tensors
from tiny_models import tiny_llama
from tiny_training import Setting as TrainSetting
from tiny_training import arm_config, job

IDS = torch.arange(5, 45)[None]
SEVERAL = [
    LoraSettings(rank=4, alpha=8),
    LoraSettings(rank=2, alpha=3, layers=1),
    LoraSettings(rank=0),
    LoraSettings(rank=3, alpha=16, targets=("q_proj", "down_proj")),
]
"""Arms that differ in all settings but dropout."""


def one(model, settings, seed=0):
    """Attach LoRA of a single arm."""
    return attached(model, [settings], [seed])


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


def disturb(lora, arms=1, amount=0.3):
    """Give every trained factor of each arm different values; padding stays zero, as in training."""
    for arm in range(arms):
        generator = torch.Generator().manual_seed(arm)
        for factor in lora.factors(arm).values():
            factor += amount * torch.randn(factor.shape, generator=generator)


def folded(model, settings, folder):
    """Merge the factors saved in ``folder`` into ``model``, through peft."""
    check_saved_lora(folder, settings, depth_of(model), folder)
    factors = read_tensors(folder / FACTORS_FILE, factor_layout(model, settings), folder)
    return with_factors(model, settings, factors, merge=True)


def stacked_modules(model):
    return {name: module for name, module in model.named_modules() if hasattr(module, "down")}


def test_a_fresh_lora_changes_nothing_and_detaching_restores_the_model_exactly():
    model = tiny_llama()
    before, modules = logits(model), dict(model.named_modules())
    with one(model, LoraSettings(rank=4)) as lora:
        assert torch.equal(logits(model), before)
        disturb(lora)
        assert not torch.allclose(logits(model), before)
    assert torch.equal(logits(model), before)
    after = dict(model.named_modules())
    assert after.keys() == modules.keys()
    assert all(after[name] is module for name, module in modules.items())
    assert not any(p.requires_grad for p in model.parameters())


def test_lora_is_detached_after_an_error():
    model = tiny_llama()
    before, modules = logits(model), dict(model.named_modules())
    with pytest.raises(RuntimeError), one(model, LoraSettings(rank=4)) as lora:  # noqa: PT012
        disturb(lora)
        raise RuntimeError
    assert torch.equal(logits(model), before)
    assert all(dict(model.named_modules())[name] is module for name, module in modules.items())


def test_the_number_of_factors_follows_rank_layers_and_targets():
    # One layer: q 32x32, k 32x16, v 32x16, o 32x32; rank 4 takes 4 x (in + out) each.
    per_layer = 4 * (64 + 48 + 48 + 64)
    for layers, expected in ((1, per_layer), (2, 2 * per_layer), ("all", 3 * per_layer)):
        with one(tiny_llama(layers=3), LoraSettings(rank=4, layers=layers)) as lora:
            assert lora.num_parameters(0) == expected
    with one(tiny_llama(layers=3), LoraSettings(rank=4, targets=("q_proj",))) as lora:
        assert lora.num_parameters(0) == 3 * 4 * 64


@pytest.mark.parametrize(
    ("depth", "num", "first", "middle", "last"),
    [
        (30, 10, range(10), range(10, 20), range(20, 30)),
        (7, 3, range(3), range(2, 5), range(4, 7)),
        (6, 4, range(4), range(1, 5), range(2, 6)),
        # Five others cannot be halved: two before, three after; and of one other, none before.
        (8, 3, range(3), range(2, 5), range(5, 8)),
        (5, 4, range(4), range(4), range(1, 5)),
        (5, 5, range(5), range(5), range(5)),
        (5, "all", range(5), range(5), range(5)),
    ],
)
def test_layers_lie_at_the_chosen_position(depth, num, first, middle, last):
    for position, expected in (("first", first), ("middle", middle), ("last", last)):
        settings = LoraSettings(rank=1, layers=num, position=position)
        assert settings.adapted_layers(depth) == expected


@given(depth=st.integers(1, 40), num=st.integers(1, 40), position=st.sampled_from(["first", "middle", "last"]))
def test_as_many_layers_as_asked_for_within_the_model(depth, num, position):
    settings = LoraSettings(rank=1, layers=num, position=position)
    if num > depth:
        with pytest.raises(UsageError, match=rf"lora\.layers={num}, but the model has {depth} layers"):
            settings.adapted_layers(depth)
        return
    layers = settings.adapted_layers(depth)
    before, after = layers.start, depth - layers.stop
    assert (len(layers), before >= 0, after >= 0) == (num, True, True)
    if position == "middle":
        assert after - before in (0, 1)
    assert LoraSettings(rank=0, layers=num, position=position).adapted_layers(depth) == range(0)


@pytest.mark.parametrize(("position", "layers"), [("first", [0, 1]), ("middle", [1, 2]), ("last", [3, 4])])
def test_only_layers_at_the_position_are_adapted_counted_and_exported(position, layers, tmp_path):
    settings = LoraSettings(rank=2, alpha=8, layers=2, position=position)
    model = tiny_llama(layers=5)
    with one(model, settings) as lora:
        disturb(lora)
        found = sorted({int(name.split(".layers.")[1].split(".")[0]) for name in lora.factors(0)})
        assert found == layers
        assert lora.num_parameters(0) == 2 * 2 * 224
        ours = logits(model)
        lora.save(0, tmp_path / "lora")
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["layers_to_transform"] == layers
    with_peft = peft.PeftModel.from_pretrained(tiny_llama(layers=5), tmp_path / "lora")
    torch.testing.assert_close(logits(with_peft), ours, atol=1e-4, rtol=1e-4)
    merged = folded(tiny_llama(layers=5), settings, tmp_path / "lora")
    torch.testing.assert_close(logits(merged), ours, atol=1e-4, rtol=1e-4)
    weights = dict(tiny_llama(layers=5).named_parameters())
    changed = {int(n.split(".")[2]) for n, w in merged.named_parameters() if not torch.equal(w, weights[n])}
    assert sorted(changed) == layers


def test_arms_of_different_positions_share_a_stack():
    model = tiny_llama(layers=3)
    arms = [LoraSettings(rank=2, alpha=4, layers=1, position=position) for position in ("first", "last", "middle")]
    with attached(model, arms, range(3)) as lora:
        disturb(lora, 3)
        together = logits(model, IDS.repeat(3, 1)).view(3, *IDS.shape, -1)
        values = [{name: factor.clone() for name, factor in lora.factors(arm).items()} for arm in range(3)]
        merged = []
        for arm in range(3):
            with lora.alone(arm):
                merged.append(logits(model))
    for arm, settings in enumerate(arms):
        with one(model, settings) as lora:
            assert lora.factors(0).keys() == values[arm].keys()
            for name, factor in lora.factors(0).items():
                factor.copy_(values[arm][name])
            torch.testing.assert_close(logits(model), together[arm], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(logits(model), merged[arm], atol=1e-4, rtol=1e-4)


def test_padding_is_not_counted_as_trained():
    with attached(tiny_llama(), SEVERAL, range(4)) as lora:
        # Two layers of rank 4; one of rank 2; nothing; q (64) and down (48 + 32) of two layers, rank 3.
        counts = [2 * 4 * 224, 2 * 224, 0, 2 * 3 * (64 + 80)]
        assert [lora.num_parameters(arm) for arm in range(4)] == counts


def test_factors_are_float32_on_a_bfloat16_model_and_every_one_gets_a_gradient():
    model = tiny_llama(dtype=torch.bfloat16)
    with one(model, LoraSettings(rank=2)) as lora:
        disturb(lora)
        model(input_ids=IDS).logits.float().square().mean().backward()
        factors = [factor for module in stacked_modules(model).values() for factor in (module.down, module.up)]
        assert len(factors) == 2 * 4 * 2
        assert all(p.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in factors)
        assert lora.unreached(0) == []
    assert all(p.grad is None for p in model.parameters())


def test_rank_zero_means_no_lora():
    with one(tiny_llama(), LoraSettings(rank=0)) as lora:
        assert lora is None
    with attached(tiny_llama(), [LoraSettings(rank=0), LoraSettings(rank=1)], [0, 0]) as lora:
        assert lora.row(0) is None
        assert lora.row(1) is not None
        assert lora.factors(0) == {}
        assert lora.unreached(0) == []


def test_more_layers_than_the_model_has_are_refused():
    with (
        pytest.raises(UsageError, match=r"lora\.layers=8, but the model has 2 layers"),
        one(tiny_llama(), LoraSettings(rank=4, layers=8)),
    ):
        pass


def test_a_target_that_matches_nothing_is_refused_even_beside_one_that_matches():
    settings = LoraSettings(rank=4, targets=("q_proj", "qproj"))
    with (
        pytest.raises(UsageError, match=r"'qproj' matches no linear module.*down_proj.*q_proj"),
        one(tiny_llama(), settings),
    ):
        pass


def test_set_dropout_switches_only_dropout():
    model = tiny_llama()
    with one(model, LoraSettings(rank=4, dropout=0.5)) as lora:
        disturb(lora)
        assert torch.equal(logits(model), logits(model))
        lora.set_dropout(True)
        assert not torch.equal(logits(model), logits(model))
        lora.set_dropout(False)
        assert torch.equal(logits(model), logits(model))
        # New modules are in training mode, which does not affect them; the model's own stay in evaluation mode.
        own = set(stacked_modules(model).values())
        assert not any(module.training for module in model.modules() if module not in own)


def test_disabled_gives_the_model_without_lora():
    model = tiny_llama()
    before = logits(model)
    with one(model, LoraSettings(rank=4)) as lora:
        disturb(lora)
        with lora.disabled():
            assert torch.equal(logits(model), before)
            assert logits(model, IDS.repeat(3, 1)).shape[0] == 3, "with any number of rows, as in decoding"
        assert not torch.allclose(logits(model), before)


@pytest.mark.parametrize("arm", [0, 1, 3])
def test_saved_factors_give_the_same_logits_in_peft(arm, tmp_path):
    model = tiny_llama()
    with attached(model, SEVERAL, range(4)) as lora:
        disturb(lora, 4)
        lora.save(arm, tmp_path / "lora")
        ours = logits(model, IDS.repeat(4, 1)).view(4, *IDS.shape, -1)[arm]
    with_peft = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path / "lora")
    assert not torch.allclose(ours, logits(model), atol=1e-2), "the factors change something"
    theirs = logits(with_peft)
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    # The same factors as peft would train with these settings.
    names = peft.get_peft_model_state_dict(with_peft)
    with attached(tiny_llama(), SEVERAL, range(4)) as lora:
        assert names.keys() == lora.factors(arm).keys()
        assert all(names[name].shape == factor.shape for name, factor in lora.factors(arm).items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arm", [0, 1, 3])
def test_merged_weights_are_those_that_peft_merges(arm, dtype, tmp_path):
    model = tiny_llama(dtype=dtype)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with attached(model, SEVERAL, range(4)) as lora:
        disturb(lora, 4)
        lora.save(arm, tmp_path / "lora")
        with lora.alone(arm):
            ours = {n.replace(".base.", "."): w.clone() for n, w in model.named_parameters() if "down." not in n}
            merged_logits = logits(model)
    theirs = folded(tiny_llama(dtype=dtype), SEVERAL[arm], tmp_path / "lora")
    changed = 0
    for name, weight in theirs.named_parameters():
        # Bitwise equal in bfloat16; in float32 padding the rank changes the order of sums.
        if dtype == torch.bfloat16:
            assert torch.equal(ours[name], weight), name
        torch.testing.assert_close(ours[name], weight, atol=1e-6, rtol=1e-6)
        changed += not torch.equal(weight, before[name])
    assert changed == {0: 8, 1: 4, 3: 4}[arm]
    torch.testing.assert_close(merged_logits, logits(theirs), atol=0.05 if dtype == torch.bfloat16 else 1e-4, rtol=0.01)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters()), "weights are restored"


def test_a_merged_arm_gives_the_logits_of_its_factors_and_weights_are_restored_after_an_error():
    model = tiny_llama()
    before = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    with attached(model, SEVERAL[:2], [0, 1]) as lora:
        disturb(lora, 2)
        apart = logits(model, IDS.repeat(2, 1)).view(2, *IDS.shape, -1)
        for arm in range(2):
            with lora.alone(arm):
                torch.testing.assert_close(logits(model), apart[arm], atol=1e-4, rtol=1e-4)
        with pytest.raises(RuntimeError), lora.alone(0):
            raise RuntimeError
        assert torch.equal(logits(model, IDS.repeat(2, 1)).view(2, *IDS.shape, -1), apart)
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == before


def test_an_arms_initial_values_do_not_depend_on_other_arms():
    seeds = [5, 6, 7, 8]
    with attached(tiny_llama(), SEVERAL, seeds) as lora:
        together = [{n: f.clone() for n, f in lora.factors(arm).items()} for arm in range(4)]
    for settings, seed, expected in zip(SEVERAL, seeds, together, strict=True):
        with one(tiny_llama(), settings, seed) as lora:
            alone = lora.factors(0) if lora else {}
            assert alone.keys() == expected.keys()
            assert all(torch.equal(alone[name], expected[name]) for name in alone)
    # The first factor is as peft draws it, uniform within 1 / sqrt(in); the second is zero.
    downs = torch.cat([f.flatten() for n, f in together[0].items() if "lora_A" in n])
    assert 0.97 / 32**0.5 < downs.abs().max() <= 1 / 32**0.5
    assert not any(f.any() for n, f in together[0].items() if "lora_B" in n)


def test_arms_affect_only_their_own_rows():
    model = tiny_llama()
    with attached(model, SEVERAL, range(4)) as lora:
        disturb(lora, 4)
        before = logits(model, IDS.repeat(4, 1)).view(4, *IDS.shape, -1)
        lora.row(1).data.mul_(2)
        after = logits(model, IDS.repeat(4, 1)).view(4, *IDS.shape, -1)
        changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert changed == [False, True, False, False]
        # A loss of one arm has no gradient in another's row.
        out = model(input_ids=IDS.repeat(4, 1)).logits.view(4, -1)
        out[3].square().sum().backward()
        assert [bool(lora.row(arm).grad.any()) for arm in (0, 1, 3)] == [False, False, True]
    torch.testing.assert_close(before[2], logits(model))  # an arm without LoRA has the frozen model's logits


def test_a_row_and_the_modules_share_memory_of_values_and_gradients():
    model = tiny_llama()
    with attached(model, SEVERAL, range(4)) as lora:
        modules = stacked_modules(model)
        row = lora.row(0)
        assert row.numel() == 4 * sum(m.base.in_features + m.base.out_features for m in modules.values())
        row.data.copy_(torch.arange(row.numel()))
        parts = [part[0].flatten() for m in modules.values() for part in (m.down, m.up)]
        assert torch.equal(torch.cat(parts), torch.arange(row.numel(), dtype=torch.float32))
        next(iter(modules.values())).down.data[0] = -1
        assert (row[: 4 * 32] == -1).all()

        lora.row(1).data.zero_()
        for module in modules.values():
            module.up.grad[1] = 3.0
        assert (lora.row(1).grad == 3).sum() == 4 * sum(m.base.out_features for m in modules.values())
        lora.row(1).grad.fill_(2.0)
        assert all((m.down.grad[1] == 2).all() and (m.up.grad[1] == 2).all() for m in modules.values())
        assert not any(m.up.grad[0].any() for m in modules.values())


def test_a_backward_pass_adds_to_the_gradient_of_the_optimisers_row():
    model = tiny_llama()
    with attached(model, SEVERAL[:2], [0, 1]) as lora:
        disturb(lora, 2)
        rows = [lora.row(arm) for arm in range(2)]
        for times in (1, 2):
            model(input_ids=IDS.repeat(2, 1)).logits.square().mean().backward()
            if times == 1:
                first = [row.grad.clone() for row in rows]
        for row, gradient in zip(rows, first, strict=True):
            assert gradient.any()
            torch.testing.assert_close(row.grad, 2 * gradient)


def test_padding_stays_zero_through_real_training():
    setting = TrainSetting()
    # 5 epochs of 2 steps, with weight decay; each arm is the larger one in some dimension.
    training = {"epochs": 5, "batch_size": 3, "weight_decay": 0.1, "lora_lr": 0.01}
    settings = [s.model_copy(update={"dropout": 0.1}) for s in SEVERAL]
    configs = [arm_config(training=training, lora=s.model_dump()) for s in settings]
    with attached(setting.lm.model, settings, range(4)) as lora:
        results = setting.train([job(config, setting.inputs(config)) for config in configs], lora)
        assert [result.num_steps for result in results] == [10] * 4
        for name, module in stacked_modules(setting.lm.model).items():
            for arm, s in enumerate(settings):
                own = ("q_proj", "k_proj", "v_proj", "o_proj") if s.targets == "attention" else s.targets
                adapted = name.rsplit(".", 1)[-1] in own and (s.layers == "all" or ".layers.0." in name)
                rank = s.rank if adapted else 0
                if arm >= len(module.down):  # a stack ends with the last arm that adapts the module
                    assert not rank
                    continue
                assert not module.down[arm, rank:].any(), (name, arm)
                assert not module.up[arm, :, rank:].any(), (name, arm)
                assert not rank or (module.down[arm, :rank].any() and module.up[arm, :, :rank].any()), (name, arm)


def test_unreached_names_modules_without_a_gradient():
    model = tiny_llama()
    with attached(model, SEVERAL[:2], [0, 1]) as lora:
        everything = lora.unreached(0)
        assert len(everything) == 8, "no backward pass yet"
        hidden = model(input_ids=IDS.repeat(2, 1), output_hidden_states=True).hidden_states[1]
        hidden.square().sum().backward()  # the first layer's output, which does not depend on the second layer
        names = [f"model.layers.1.self_attn.{kind}_proj" for kind in "qkvo"]
        assert lora.unreached(0) == names
        assert lora.unreached(1) == [], "this arm does not adapt the second layer"


def test_dropout_keeps_the_mean_and_scales_the_kept_entries():
    model = tiny_llama()
    with one(model, LoraSettings(rank=32, alpha=32, dropout=0.2, targets=("q_proj",))) as lora:
        module = model.model.layers[0].self_attn.q_proj
        for factor in (module.down, module.up):
            factor.data[0] = torch.eye(32)  # so that LoRA adds the input after dropout
        x = torch.ones(1, 4000, 32)
        lora.set_dropout(True)
        with torch.no_grad(), seeded(2, devices=[]):
            left = module(x) - module.base(x)
    assert torch.equal(left.round(decimals=4).unique(), torch.tensor([0.0, 1.25]))
    # 128,000 entries with a standard deviation of 1.25 sqrt(0.2 x 0.8) = 0.5; five times that of their mean.
    assert float(left.mean()) == pytest.approx(1, abs=5 * 0.5 / 128_000**0.5)


def test_every_module_and_call_drops_different_entries():
    model = tiny_llama()
    with one(model, LoraSettings(rank=4, dropout=0.5)) as lora:
        disturb(lora)
        lora.set_dropout(True)
        with seeded(3, devices=[]):
            first, second = logits(model), logits(model)
        with seeded(3, devices=[]):
            again = logits(model)
        assert torch.equal(first, again)
        assert not torch.equal(first, second)


def test_saved_factors_merge_into_the_same_model(tmp_path):
    model = tiny_llama()
    settings = LoraSettings(rank=4, alpha=8, layers=1)
    with one(model, settings) as lora:
        disturb(lora)
        lora.save(0, tmp_path / "lora")
        with_lora = logits(model)
    merged = folded(tiny_llama(), settings, tmp_path / "lora")
    torch.testing.assert_close(logits(merged), with_lora, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, peft.tuners.lora.LoraLayer) for module in merged.modules())
    assert {type(module) for module in merged.modules()} == {type(module) for module in tiny_llama().modules()}


def test_an_arm_gives_the_same_logits_in_a_stack_and_alone():
    model = tiny_llama()
    with attached(model, SEVERAL, range(4)) as lora:
        disturb(lora, 4)
        values = [copy.deepcopy(lora.factors(arm)) for arm in range(4)]
        together = logits(model, IDS.repeat(4, 1)).view(4, *IDS.shape, -1)
    for arm, settings in enumerate(SEVERAL):
        with one(model, settings) as lora:
            for name, factor in (lora.factors(0) if lora else {}).items():
                factor.copy_(values[arm][name])
            torch.testing.assert_close(logits(model), together[arm], atol=1e-5, rtol=1e-5)


def test_a_bias_of_the_adapted_module_is_kept():
    model = tiny_llama()
    base = model.model.layers[0].self_attn
    base.q_proj.bias = nn.Parameter(torch.randn(32, generator=torch.Generator().manual_seed(0)), requires_grad=False)
    before = logits(model)
    with one(model, LoraSettings(rank=2, targets=("q_proj",))) as lora:
        assert torch.equal(logits(model), before)
        with lora.alone(0):
            assert torch.equal(logits(model), before)


def test_a_model_without_linear_modules_is_refused_with_the_cause():
    model = tiny_llama()
    for layer in model.model.layers:
        layer.self_attn, layer.mlp = nn.Identity(), nn.Identity()
    with (
        pytest.raises(UsageError, match=r"LlamaForCausalLM has none; .*lora\.rank=0"),
        one(model, LoraSettings(rank=1)),
    ):
        pass


@pytest.fixture
def saved(tmp_path):
    """A folder with saved LoRA."""
    with one(tiny_llama(), LoraSettings(rank=2)) as lora:
        disturb(lora)
        lora.save(0, tmp_path)
    return tmp_path


def read_back(folder):
    """Read saved LoRA as a finished arm's is read."""
    settings, model = LoraSettings(rank=2), tiny_llama()
    check_saved_lora(folder, settings, depth_of(model), folder)
    return read_tensors(folder / FACTORS_FILE, factor_layout(model, settings))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("use_rslora", True),
        ("rank_pattern", {"q_proj": 1}),
        ("alpha_pattern", {"q_proj": 99}),
        ("modules_to_save", ["lm_head"]),
        ("fan_in_fan_out", True),
        ("auto_mapping", {"base_model_class": "Evil", "parent_library": "evil"}),
        ("auto_map", {"AutoModel": "evil.Model"}),
        ("unknown", 1),
        ("r", 3),
        ("r", "two"),
        ("layers_to_transform", [0]),
    ],
)
def test_saved_lora_of_other_settings_is_refused(name, value, saved):
    file = saved / "adapter_config.json"
    assert read_back(saved)
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    with pytest.raises(ThinwireError, match=rf"adapter_config\.json: {name} is "):
        read_back(saved)


@pytest.mark.parametrize(
    ("value", "message"),
    [(3, "target_modules names no modules"), ([], "names no modules"), (["q_proj"], "of k_proj, which the record")],
)
def test_modules_that_saved_lora_does_not_have_are_refused(value, message, saved):
    file = saved / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "target_modules": value}))
    with pytest.raises(ThinwireError, match=message):
        read_back(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda factors: dict(list(factors.items())[1:]), "is missing"),
        (lambda factors: {name.replace("q_proj", "query"): one for name, one in factors.items()}, "of query, which"),
        (lambda factors: {name: one[:1] for name, one in factors.items()}, "expected rank 2"),
        (lambda factors: {name: one * torch.nan for name, one in factors.items()}, "are not finite"),
        (lambda factors: {name: one.to(torch.int8) for name, one in factors.items()}, "expected a matrix of F32"),
    ],
    ids=["missing", "renamed", "smaller", "NaN", "integers"],
)
def test_saved_factors_of_another_shape_are_refused(change, message, saved):
    file = saved / "adapter_model.safetensors"
    save_file({name: one.contiguous() for name, one in change(load_file(file)).items()}, file)
    with pytest.raises(ThinwireError, match=message):
        read_back(saved)


def test_a_pickle_in_the_place_of_saved_factors_is_not_read(saved):
    (saved / "adapter_model.safetensors").rename(saved / "adapter_model.bin")
    with pytest.raises(ThinwireError, match=r"adapter_model\.safetensors is missing"):
        read_back(saved)
