"""Compiled decoder layers: the same losses, and layers restored afterwards."""

import shutil
import subprocess

import pytest
import torch

from thinwire.model.compile import compiled_layers, uncompiled
from tiny_models import tiny_lm
from tiny_training import arm_config, train_together

CONFIGS = [
    arm_config(lora={"rank": 3, "dropout": 0.3}, supervision={"ce_weight": 0.1, "kd_weight": 0.1}),
    arm_config(lora={"rank": 2, "dropout": 0.3}),
    arm_config(lora={"rank": 2, "dropout": 0.3, "layers": 1}),
    arm_config(lora={"rank": 0}),
]
"""Layers run with LoRA of three arms and of two, and without it as the teacher. Dropout draws the same masks in
compiled code."""


def works(compiler):
    """Whether ``compiler`` exists and can compile C++."""
    if shutil.which(compiler) is None:
        return False
    command = [compiler, "-x", "c++", "-fsyntax-only", "-"]
    return subprocess.run(command, input="#include <vector>\n", text=True, capture_output=True).returncode == 0


def is_compiled(lm):
    # Torch has no public way to ask.
    return [layer._compiled_call_impl is not None for layer in lm.model.model.layers]


@pytest.mark.slow
@pytest.mark.skipif(not works("g++") and not works("clang++"), reason="no C++ compiler to compile layers with")
def test_compiled_layers_give_the_same_losses_and_are_restored_after_the_block():
    plain = train_together(*CONFIGS)
    lm = tiny_lm()
    statistics = torch._dynamo.utils.counters["stats"]  # torch has no public counter of compilations
    before = statistics["unique_graphs"]
    with compiled_layers(lm, True, 0):
        assert is_compiled(lm) == [True, True]
        compiled = train_together(*CONFIGS, lm=lm)
        with uncompiled():
            ids = torch.arange(5, 25)[None]
            torch.testing.assert_close(lm.model(input_ids=ids).logits, tiny_lm().model(input_ids=ids).logits)
    assert is_compiled(lm) == [False, False]
    # Compiled at least once, and once for all layers, arms and lengths, with LoRA and without.
    assert 1 <= statistics["unique_graphs"] - before <= 2
    for one, other in zip(plain, compiled, strict=True):
        assert [step.loss for step in other.steps] == pytest.approx([step.loss for step in one.steps], rel=1e-4)
        for step, expected in zip(other.steps, one.steps, strict=True):
            norms = step.grad_norm_adapter, step.grad_norm_lora or 0.0
            assert norms == pytest.approx((expected.grad_norm_adapter, expected.grad_norm_lora or 0.0), rel=1e-3)
        for name, tensor in one.state.items():
            torch.testing.assert_close(other.state[name], tensor, atol=1e-4, rtol=1e-3)


def test_layers_are_restored_after_an_error():
    lm = tiny_lm()
    with pytest.raises(RuntimeError), compiled_layers(lm, True, 0):
        raise RuntimeError
    assert is_compiled(lm) == [False, False]


def test_auto_compiles_only_long_trainings_and_false_never_compiles(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")  # as if there were a compiler
    lm = tiny_lm()
    # Two layers of 32 x (32 + 16 + 16 + 32) + 3 x 32 x 48 + 2 x 32 parameters, four operations each for a token.
    parameters = 2 * (32 * 96 + 3 * 32 * 48 + 64)
    least = 1.2e13 / (4 * parameters)
    for setting, num_tokens, expected in (
        ("auto", 1_000_000, False),
        ("auto", round(0.99 * least), False),
        ("auto", round(1.01 * least), True),
        (False, round(1.01 * least), False),
    ):
        with compiled_layers(lm, setting, num_tokens):
            assert is_compiled(lm) == [expected, expected]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with compiled_layers(lm, "auto", round(1.01 * least)):
        assert is_compiled(lm) == [False, False], "there is no compiler"
