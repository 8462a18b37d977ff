"""What ``auto`` becomes where it follows the memory and the model's size."""

import dataclasses

import pytest
import torch

from doubles import tiny_lm
from thinwire import memory
from thinwire.memory import decoding_pass_tokens, fused_arms, training_pass_tokens
from thinwire.model import LanguageModel


class OnGpu(LanguageModel):
    """The tiny model as if it were on a GPU: there is none here, and only its device is asked for."""

    device = torch.device("cuda")


def on_gpu():
    return OnGpu(**{field.name: getattr(tiny_lm(), field.name) for field in dataclasses.fields(LanguageModel)})


def test_arms_train_together_on_a_gpu_with_a_small_model_and_one_by_one_elsewhere(monkeypatch):
    assert fused_arms(tiny_lm(), "auto") == 1
    assert fused_arms(on_gpu(), "auto") == 16
    monkeypatch.setattr(memory, "_SMALL_PARAMETERS", 1000)  # the tiny model has more
    assert fused_arms(on_gpu(), "auto") == 1
    assert fused_arms(tiny_lm(), 5) == fused_arms(on_gpu(), 5) == 5


@pytest.mark.parametrize(("tokens", "most"), [(training_pass_tokens, 524_288), (decoding_pass_tokens, 1_048_576)])
def test_a_pass_takes_what_fits_its_share_of_the_free_memory_within_limits(tokens, most, monkeypatch):
    free = {"bytes": 1e12}
    monkeypatch.setattr(memory, "free_memory", lambda device: free["bytes"])
    assert tokens(tiny_lm(), "auto") == 8192
    assert tokens(on_gpu(), "auto") == most
    free["bytes"] = 0
    assert tokens(tiny_lm(), "auto") == 256
    # Two layers of width 32 and an MLP of 48: 2 x 2 x (14 x 32 + 3 x 48) bytes in training. In decoding, keys and
    # values of two heads of 8 numbers at 2 bytes, two layers, twice: 2 x 2 x 2 x 2 x 2 x 8.
    each = {training_pass_tokens: 2368, decoding_pass_tokens: 256}[tokens]
    free["bytes"] = each * 1000 / 0.6 + 1
    assert tokens(tiny_lm(), "auto") == 1000
    assert tokens(tiny_lm(), 7) == 7
