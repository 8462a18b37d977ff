"""What ``auto`` becomes where it follows the memory and the model's size."""

import copy
import dataclasses

import pytest
import torch

from doubles import tiny_lm
from thinwire import memory
from thinwire.errors import UsageError
from thinwire.memory import (
    arm_processes,
    decoding_pass_tokens,
    fused_arms,
    halved_until_it_fits,
    is_tried,
    replays_passes,
    training_pass_tokens,
)
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


def test_processes_are_as_many_as_have_a_core_memory_and_enough_to_do(monkeypatch, set_threads):
    free = {"bytes": 1e12}
    monkeypatch.setattr(memory, "free_memory", lambda device: free["bytes"])
    set_threads(3)
    lm = tiny_lm()
    size = sum(parameter.numel() for parameter in lm.model.parameters())
    enough = 2.4e13 / 4 / size

    def number(setting="auto", groups=9, processes_worth=9.0):
        return arm_processes(lm, setting, num_groups=groups, num_tokens=int(processes_worth * enough) + 1)

    assert number() == 3, "as many as threads"
    assert number(groups=2) == 2
    assert number(processes_worth=2.5) == 2
    assert number(processes_worth=0.5) == 1
    # The weights in float32, a GiB, and 2,048 tokens of a pass that is not compiled (17,024 bytes each, see below).
    each = 4 * size + 2**30 + 2048 * 17_024
    free["bytes"] = 2 * each / 0.6 + 10
    assert number() == 2
    free["bytes"] = 0
    assert number() == 1
    assert number(setting=5) == 5
    assert number(setting=5, groups=2) == 2


def test_processes_are_for_a_cpu():
    assert arm_processes(on_gpu(), "auto", num_groups=9, num_tokens=10**15) == 1
    assert arm_processes(on_gpu(), 1, num_groups=9, num_tokens=10**15) == 1
    with pytest.raises(UsageError, match=r"processes=2 is for arms on a CPU; on cuda .* leave it at auto"):
        arm_processes(on_gpu(), 2, num_groups=9, num_tokens=10**15)


def test_a_process_beside_others_takes_its_part_of_the_memory_alone(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 512 * 4000 / 0.6 + 1)
    assert decoding_pass_tokens(tiny_lm(), "auto") == 4000
    assert decoding_pass_tokens(tiny_lm(), "auto", 0.25) == 1000
    assert decoding_pass_tokens(tiny_lm(), 7, 0.25) == 7
    monkeypatch.setattr(memory, "free_memory", lambda device: 17_024 * 4000 / 0.6 + 1)
    assert training_pass_tokens(tiny_lm(), "auto", compiled=False) == 4000
    assert training_pass_tokens(tiny_lm(), "auto", compiled=False, share=0.25) == 1000


def in_training(lm, setting):
    return training_pass_tokens(lm, setting, compiled=False)


@pytest.mark.parametrize(
    ("tokens", "most", "most_on_gpu"), [(in_training, 8_192, 524_288), (decoding_pass_tokens, 32_768, 1_048_576)]
)
def test_a_pass_takes_what_fits_its_share_of_the_free_memory_within_limits(tokens, most, most_on_gpu, monkeypatch):
    free = {"bytes": 1e12}
    monkeypatch.setattr(memory, "free_memory", lambda device: free["bytes"])
    assert tokens(tiny_lm(), "auto") == most
    assert tokens(on_gpu(), "auto") == most_on_gpu
    free["bytes"] = 0
    assert tokens(tiny_lm(), "auto") == 256
    # Two layers of width 32 and an MLP of 48, and 384 keys for each of four heads, 4 bytes a number in training:
    # 2 x 4 x (14 x 32 + 3 x 48 + 384 x 4). In decoding, keys and values of two heads of 8 numbers, twice: 2 x 2 x 4 x 2
    # x 2 x 8.
    each = {in_training: 17_024, decoding_pass_tokens: 512}[tokens]
    free["bytes"] = each * 1000 / 0.6 + 1
    assert tokens(tiny_lm(), "auto") == 1000
    assert tokens(tiny_lm(), 7) == 7
    # Half the bytes a number, and flash attention keeps no shares: 2 x 2 x (14 x 32 + 3 x 48) in training.
    each = {in_training: 2368, decoding_pass_tokens: 256}[tokens]
    free["bytes"] = each * 1000 / 0.6 + 1
    assert tokens(in_bfloat16(on_gpu()), "auto") == 1000


def test_compiled_layers_keep_less(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 2368 * 1000 / 0.6 + 1)
    assert training_pass_tokens(in_bfloat16(on_gpu()), "auto", compiled=True) == 1333


@pytest.mark.parametrize(("room", "taken"), [(5000, 5000), (4999, 2500), (700, 625), (300, 256)])
def test_a_pass_is_halved_until_it_fits(room, taken):
    asked = []

    def attempt(tokens):
        asked.append(tokens)
        if tokens > room:
            raise torch.OutOfMemoryError
        return f"{tokens} fit"

    assert halved_until_it_fits(5000, attempt) == f"{taken} fit"
    assert asked == [5000, 2500, 1250, 625, 312, 256][: len(asked)]


def test_what_does_not_fit_at_all_is_an_error():
    def attempt(tokens):
        raise torch.OutOfMemoryError(f"{tokens} do not fit")

    with pytest.raises(torch.OutOfMemoryError, match="256 do not fit"):
        halved_until_it_fits(400, attempt)


def test_passes_are_tried_where_running_out_of_memory_can_be_caught_and_nobody_set_their_size():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [is_tried(gpu, "auto"), is_tried(gpu, 4096), is_tried(cpu, "auto")] == [True, False, False]


def in_bfloat16(lm):
    return dataclasses.replace(lm, model=copy.deepcopy(lm.model).bfloat16())


def test_passes_are_replayed_on_a_gpu_with_a_small_model(monkeypatch):
    lm = in_bfloat16(on_gpu())
    assert replays_passes(lm, "auto")
    assert not replays_passes(lm, False)
    monkeypatch.setattr(memory, "_SMALL_PARAMETERS", 1000)
    assert not replays_passes(lm, "auto")
    assert replays_passes(lm, True)


@pytest.mark.parametrize(
    "lm",
    [in_bfloat16(tiny_lm()), on_gpu(), dataclasses.replace(in_bfloat16(on_gpu()), base_bits=8)],
    ids=["on a CPU", "in float32", "quantised"],
)
def test_what_cannot_be_replayed_is_not_and_says_so_when_asked(lm):
    assert not replays_passes(lm, "auto")
    with pytest.raises(UsageError, match="needs a CUDA device, and a model in bfloat16 that is not quantised"):
        replays_passes(lm, True)
