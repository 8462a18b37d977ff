"""Estimate how many tokens fit the free memory in training and in decoding."""

from __future__ import annotations

import logging

import psutil
import torch

from thinwire.config.block_settings import BlocksConfig
from thinwire.model.language_model import LanguageModel
from thinwire.ops.block_attention import MOST_KEPT_KEYS
from thinwire.ops.segment_attention import is_flash

logger = logging.getLogger(__name__)

MEMORY_SHARE = 0.6
"""Part of the free memory that a micro-batch may take: estimates are rough, and the optimiser needs memory too."""

SMALL_MODEL_PARAMETERS = 1e9
"""Parameters below which one step's questions do not fill a GPU: arms train together, micro-batches are CUDA graphs."""

MIN_TOKENS = 256
"""Smallest micro-batch, and smallest batch in decoding, that ``auto`` becomes."""


def leaves_a_gpu_idle(lm: LanguageModel) -> bool:
    """Return whether ``lm`` is on a GPU and too small to fill it with one arm's training step."""
    small = sum(parameter.numel() for parameter in lm.model.parameters()) < SMALL_MODEL_PARAMETERS
    return small and lm.device.type == "cuda"


def training_micro_batch_tokens(
    lm: LanguageModel,
    setting: int | str,
    *,
    compiled: bool,
    share: float = 1.0,
    predicts_all: bool = False,
    blocks: BlocksConfig | None = None,
) -> int:
    """Resolve the size of a training micro-batch, in tokens of all arms that train together.

    Args:
        setting: ``training.micro_batch_tokens``.
        share: the part of the free memory that this process may take.
        blocks: those that the arms read, whose encoder is trained with them; None if they read tokens.
        predicts_all: count logits at every position, in float32, with their probabilities and gradient; without, those
            of a few tokens of each answer are not counted.
    """
    needed = training_bytes_per_token(lm, compiled=compiled)
    if blocks is not None and blocks.kind.reads_context:
        needed += _context_bytes_per_position(lm, blocks)
    if predicts_all:
        needed += 3 * torch.float32.itemsize * len(lm.embedding_matrix)
    return _resolve(lm, setting, needed, {"cuda": 524_288, "cpu": 8_192}, share)


def training_bytes_per_token(lm: LanguageModel, *, compiled: bool) -> float:
    """Estimate the memory that a training micro-batch takes for each token, in bytes.

    Per token, a decoder layer keeps for its backward pass 14 activations of the hidden width and 3 of the MLP's width.
    That is the measured peak of models 576 and 4,096 wide with LoRA on attention, in bfloat16, not compiled; compiled
    layers keep three quarters of it. Attention block by block keeps its attention weights beside them, here counted for
    ``MOST_KEPT_KEYS`` keys. A model that does not pack may compute attention without a fused kernel, which keeps three
    tensors of scores and weights, and a scan of recurrent states, which keeps four in float32. LoRA on more modules
    takes more: on a GPU the size is tried before training (``halved_until_it_fits``).
    """
    config = lm.model.config.get_text_config()
    mlp_width = _mlp_width(lm)
    numbers = (0.75 if compiled else 1.0) * (14 * config.hidden_size + 3 * mlp_width)
    if not lm.packs:
        scanned = mlp_width * getattr(config, "state_size", 0)
        numbers += 3 * lm.num_heads * MOST_KEPT_KEYS + 4 * scanned * torch.float32.itemsize / lm.dtype.itemsize
    elif not is_flash(lm.device, lm.dtype):
        numbers += lm.num_heads * MOST_KEPT_KEYS
    return float(lm.dtype.itemsize * lm.num_layers * numbers)


def _context_bytes_per_position(lm: LanguageModel, blocks: BlocksConfig) -> float:
    """Estimate what an encoder that reads contexts keeps for its backward pass for each position, which is a block.

    Each token of the block has the activations of the encoder's layers, in float32 and not compiled: the model's own
    first ones, or small ones, whose attention is counted like the model's.
    """
    layer = training_bytes_per_token(lm, compiled=False) / lm.num_layers
    if blocks.encoder == "transformer":
        layer += lm.dtype.itemsize * 3 * (blocks.hidden - _mlp_width(lm))
    return blocks.size * blocks.layers * layer * torch.float32.itemsize / lm.dtype.itemsize


def _mlp_width(lm: LanguageModel) -> int:
    config = lm.model.config.get_text_config()
    return getattr(config, "intermediate_size", None) or 4 * int(config.hidden_size)


def decoding_batch_tokens(lm: LanguageModel, setting: int | str, share: float = 1.0) -> int:
    """Resolve the size of a decoding batch, in padded tokens.

    A token takes the keys and values of all layers, twice: the cache is copied when finished rows are removed. A model
    that does not pack reads all prompts of a batch at once, which takes what a layer keeps in training.

    Args:
        setting: ``evaluation.batch_tokens``.
        share: the part of the free memory that this process may take.
    """
    bytes_per_token = 2.0 * 2 * lm.dtype.itemsize * lm.num_layers * lm.num_key_heads * lm.head_width
    if not lm.packs:
        bytes_per_token += training_bytes_per_token(lm, compiled=False) / lm.num_layers
    return _resolve(lm, setting, bytes_per_token, {"cuda": 1_048_576, "cpu": 32_768}, share)


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be allocated on ``device``."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # memory that torch holds in reserve from earlier micro-batches is free too
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)  # includes the page cache, which the system can drop


def free_memory_for_layers(lm: LanguageModel) -> float:
    """Return the bytes that all layers together may still take: where they are on several devices, as many as fill the
    device that is the first to be full."""
    by_device = lm.layers_by_device or {lm.device: 1}
    num_layers = sum(by_device.values())
    return min(free_memory(device) * num_layers / number for device, number in by_device.items())


def _resolve(lm: LanguageModel, setting: int | str, bytes_per_token: float, most: dict[str, int], share: float) -> int:
    """Return ``setting``, or for ``auto`` the tokens that fit the memory, ``most`` by kind of device at most."""
    if isinstance(setting, int):
        return setting
    kind = "cuda" if lm.device.type == "cuda" else "cpu"
    return max(MIN_TOKENS, min(most[kind], int(share * MEMORY_SHARE * free_memory_for_layers(lm) / bytes_per_token)))
