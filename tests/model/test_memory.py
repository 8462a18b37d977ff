"""What ``auto`` becomes in settings that depend on the memory and the model's size."""

import copy
import dataclasses

import pytest
import torch

from thinwire.config.block_settings import BlocksConfig
from thinwire.errors import UsageError
from thinwire.experiment import scheduling
from thinwire.experiment.executors import worker_process
from thinwire.experiment.executors.worker_process import gpus_for_processes
from thinwire.experiment.scheduling import check_worker_processes, max_group_size, num_worker_processes
from thinwire.model import memory
from thinwire.model.language_model import LanguageModel
from thinwire.model.memory import decoding_batch_tokens, training_micro_batch_tokens
from thinwire.training.autotune import halved_until_it_fits, is_tried, uses_cuda_graphs
from tiny_models import tiny_lm


class OnGpu(LanguageModel):
    """The tiny model as if it were on a GPU; only its ``device`` is used here."""

    device = torch.device("cuda")


def on_gpu():
    """The tiny model on a made-up GPU."""
    return OnGpu(**{field.name: getattr(tiny_lm(), field.name) for field in dataclasses.fields(LanguageModel)})


def test_arms_train_together_on_a_gpu_with_a_small_model_and_one_by_one_elsewhere(monkeypatch):
    def size(lm, setting="auto", num_arms=99, num_workers=1):
        return max_group_size(lm, setting, num_arms=num_arms, num_workers=num_workers)

    assert size(tiny_lm()) == 1
    assert size(on_gpu()) == size(on_gpu(), num_workers=0) == 16
    assert size(on_gpu(), num_arms=14, num_workers=2) == 7
    assert size(on_gpu(), num_arms=14, num_workers=4) == 4, "three groups of 4, one of 2"
    assert size(on_gpu(), num_arms=0, num_workers=2) == 1, "untrained controls alone"
    monkeypatch.setattr(memory, "SMALL_MODEL_PARAMETERS", 1000)  # the tiny model has more
    assert size(on_gpu()) == 1
    assert size(tiny_lm(), 5) == size(on_gpu(), 5, num_workers=4) == 5


def test_worker_processes_are_limited_by_threads_memory_and_work(monkeypatch, set_threads):
    free = {"bytes": 1e12}
    monkeypatch.setattr(scheduling, "free_memory", lambda device: free["bytes"])
    set_threads(3)
    lm = tiny_lm()
    size = sum(parameter.numel() for parameter in lm.model.parameters())
    enough = 2.4e13 / 4 / size

    def number(setting="auto", groups=9, processes_worth=9.0):
        num_tokens = int(processes_worth * enough) + 1
        return num_worker_processes(lm, setting, num_groups=groups, num_tokens=num_tokens)

    assert number() == 3, "as many as threads"
    assert number(groups=2) == 2
    assert number(processes_worth=2.5) == 2
    assert number(processes_worth=0.5) == 1
    # The weights in float32, a GiB, and 2,048 tokens of a micro-batch, not compiled (17,024 bytes each, see below).
    each = 4 * size + 2**30 + 2048 * 17_024
    free["bytes"] = 2 * each / 0.6 + 10
    assert number() == 2
    free["bytes"] = 0
    assert number() == 1
    assert number(setting=5) == 5
    assert number(setting=5, groups=2) == 2


def test_worker_processes_that_share_the_cores_are_only_for_a_cpu():
    assert num_worker_processes(on_gpu(), "auto", num_groups=9, num_tokens=10**15) == 1


@pytest.mark.parametrize(
    ("device", "setting", "gpus"),
    [
        ("auto", "auto", ("4", "MIG-1", "GPU-2")),
        ("cuda", 2, ("4", "MIG-1")),
        ("cuda", 1, ("4",)),
        ("cuda:1", "auto", ()),
        ("cpu", "auto", ()),
    ],
)
def test_processes_get_the_visible_gpus_unless_a_setting_says_otherwise(device, setting, gpus, monkeypatch):
    monkeypatch.setattr(worker_process, "visible_gpus", lambda: ("4", "MIG-1", "GPU-2"))
    assert gpus_for_processes(device, setting) == gpus


def test_more_worker_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(scheduling, "visible_gpus", lambda: ("0", "1"))
    for device, setting in (("cuda", 2), ("cuda", "auto"), ("cuda:1", 1), ("cpu", 99)):
        check_worker_processes(torch.device(device), setting)
    with pytest.raises(UsageError, match=r"worker_processes=3, but on cuda 2 can run side by side.*leave it at auto"):
        check_worker_processes(torch.device("cuda"), 3)
    with pytest.raises(UsageError, match="worker_processes=2, but on cuda:1 1 can run side by side"):
        check_worker_processes(torch.device("cuda:1"), 2)


def test_a_worker_process_uses_only_its_share_of_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 512 * 4000 / 0.6 + 1)
    assert decoding_batch_tokens(tiny_lm(), "auto") == 4000
    assert decoding_batch_tokens(tiny_lm(), "auto", 0.25) == 1000
    assert decoding_batch_tokens(tiny_lm(), 7, 0.25) == 7
    monkeypatch.setattr(memory, "free_memory", lambda device: 17_024 * 4000 / 0.6 + 1)
    assert training_micro_batch_tokens(tiny_lm(), "auto", compiled=False) == 4000
    assert training_micro_batch_tokens(tiny_lm(), "auto", compiled=False, share=0.25) == 1000


def in_training(lm, setting):
    return training_micro_batch_tokens(lm, setting, compiled=False)


@pytest.mark.parametrize(
    ("tokens", "most", "most_on_gpu"), [(in_training, 8_192, 524_288), (decoding_batch_tokens, 32_768, 1_048_576)]
)
def test_a_micro_batch_takes_its_share_of_the_free_memory_within_limits(tokens, most, most_on_gpu, monkeypatch):
    free = {"bytes": 1e12}
    monkeypatch.setattr(memory, "free_memory", lambda device: free["bytes"])
    assert tokens(tiny_lm(), "auto") == most
    assert tokens(on_gpu(), "auto") == most_on_gpu
    free["bytes"] = 0
    assert tokens(tiny_lm(), "auto") == 256
    # Two layers of width 32 and an MLP of 48, and 384 keys for each of four heads, 4 bytes each in training:
    # 2 x 4 x (14 x 32 + 3 x 48 + 384 x 4). In decoding, keys and values of two heads of width 8, twice: 2 x 2 x 4 x 2
    # x 2 x 8.
    each = {in_training: 17_024, decoding_batch_tokens: 512}[tokens]
    free["bytes"] = each * 1000 / 0.6 + 1
    assert tokens(tiny_lm(), "auto") == 1000
    assert tokens(tiny_lm(), 7) == 7
    # 2 bytes each, and flash attention keeps no attention weights: 2 x 2 x (14 x 32 + 3 x 48) in training.
    each = {in_training: 2368, decoding_batch_tokens: 256}[tokens]
    free["bytes"] = each * 1000 / 0.6 + 1
    assert tokens(in_bfloat16(on_gpu()), "auto") == 1000
    # Padded, attention keeps three times 384 weights for each head: 2 x 4 x (14 x 32 + 3 x 48 + 3 x 384 x 4) in
    # training; in decoding, a layer's share of that beside keys and values, 512 + 4 x (14 x 32 + 3 x 48 + 3 x 384 x 4).
    each = {in_training: 41_600, decoding_batch_tokens: 512 + 20_800}[tokens]
    free["bytes"] = each * 1000 / 0.6 + 1
    assert tokens(dataclasses.replace(tiny_lm(), batching="padded"), "auto") == 1000


@pytest.mark.parametrize(
    ("settings", "beside"),
    [
        ({"encoder": "mlp"}, 0),
        # Two layers of the model, whose bytes are half of the 17,024 each, for both tokens of a block.
        ({"encoder": "first_layers", "layers": 2}, 2 * 2 * 8512),
        # The same with an MLP 100 wide where the model's is 48.
        ({"encoder": "transformer", "layers": 1, "hidden": 100}, 2 * (8512 + 4 * 3 * 52)),
    ],
)
def test_a_trained_encoder_that_reads_contexts_takes_memory_for_each_token_of_a_block(settings, beside, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: (17_024 + beside) * 1000 / 0.6 + 1)
    blocks = BlocksConfig(size=2, **settings)
    assert training_micro_batch_tokens(tiny_lm(), "auto", compiled=False, blocks=blocks) == 1000


def test_compiled_layers_take_less_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 2368 * 1000 / 0.6 + 1)
    assert training_micro_batch_tokens(in_bfloat16(on_gpu()), "auto", compiled=True) == 1333


@pytest.mark.parametrize(("room", "taken"), [(5000, 5000), (4999, 2500), (700, 625), (300, 256)])
def test_a_micro_batch_is_halved_until_it_fits(room, taken):
    asked = []

    def attempt(tokens):
        asked.append(tokens)
        if tokens > room:
            raise torch.OutOfMemoryError
        return f"{tokens} fit"

    assert halved_until_it_fits(5000, attempt) == f"{taken} fit"
    assert asked == [5000, 2500, 1250, 625, 312, 256][: len(asked)]


def test_running_out_of_memory_with_the_smallest_micro_batch_is_an_error():
    def attempt(tokens):
        raise torch.OutOfMemoryError(f"{tokens} do not fit")

    with pytest.raises(torch.OutOfMemoryError, match="256 do not fit"):
        halved_until_it_fits(400, attempt)


def test_micro_batches_are_tried_on_a_gpu_if_their_size_is_auto():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [is_tried(gpu, "auto"), is_tried(gpu, 4096), is_tried(cpu, "auto")] == [True, False, False]


def in_bfloat16(lm):
    return dataclasses.replace(lm, model=copy.deepcopy(lm.model).bfloat16())


def test_auto_uses_cuda_graphs_on_a_gpu_with_a_small_model(monkeypatch):
    lm = in_bfloat16(on_gpu())
    assert uses_cuda_graphs(lm, "auto")
    assert not uses_cuda_graphs(lm, False)
    monkeypatch.setattr(memory, "SMALL_MODEL_PARAMETERS", 1000)
    assert not uses_cuda_graphs(lm, "auto")
    assert uses_cuda_graphs(lm, True)


@pytest.mark.parametrize(
    "lm",
    [
        in_bfloat16(tiny_lm()),
        on_gpu(),
        dataclasses.replace(in_bfloat16(on_gpu()), base_bits=8),
        dataclasses.replace(in_bfloat16(on_gpu()), batching="padded"),
    ],
    ids=["on a CPU", "in float32", "quantised", "padded"],
)
def test_cuda_graphs_that_cannot_be_captured_are_off_or_refused_if_asked_for(lm):
    assert not uses_cuda_graphs(lm, "auto")
    with pytest.raises(
        UsageError, match="needs a CUDA device, and a model in bfloat16 that packs prompts, is not quan"
    ):
        uses_cuda_graphs(lm, True)
