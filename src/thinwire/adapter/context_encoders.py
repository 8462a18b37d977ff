"""Encoders of blocks that read their contexts, in both directions: by a small transformer, or by a copy of the language
model's first layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from thinwire.adapter.block_encoders import BlockEncoder
from thinwire.codecs.residual_mlp import column_std
from thinwire.config.block_settings import BlocksConfig
from thinwire.errors import UsageError
from thinwire.ops.context_attention import Contexts, context_attention, reads_both_ways


class ContextEncoder(BlockEncoder):
    """A linear map of a block's concatenated embeddings, which begins as their mean, and one of the states that
    ``reader`` gives its tokens, which begins at zero. Places without a token have a learned embedding."""

    unit: Tensor

    def __init__(self, reader: nn.Module, size: int, matrix: Tensor) -> None:
        """Initialise the encoder.

        Args:
            reader: maps the embeddings ``[T, D]`` of contexts to states ``[T, D]``.
            matrix: ``[V, D]``; its standard deviations are the units of what is made of states, its dtype is that of
                the matrix products of ``reader``.
        """
        super().__init__()
        width = matrix.shape[1]
        self.padding = nn.Parameter(torch.zeros(width))
        self.linear, self.output = nn.Linear(size * width, width), nn.Linear(size * width, width)
        self.reader, self._dtype = reader, matrix.dtype
        self.register_buffer("unit", column_std(matrix), persistent=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(width).repeat(1, size) / size)
            for zero in (self.linear.bias, self.output.weight, self.output.bias):
                zero.zero_()

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Contexts | None = None) -> Tensor:
        assert contexts is not None, "blocks of this kind are numbered by their contexts"
        tokens = torch.where(is_there[..., None], rows, self.padding)
        # Without a cache, as weights are used once, and CUDA graphs must not keep what is cached outside of them.
        low = self._dtype != torch.float32
        with torch.autocast(rows.device.type, self._dtype if low else None, enabled=low, cache_enabled=False):
            states = self.reader(tokens.flatten(0, 1), contexts)
        learned = self.output(states.float().view(len(rows), -1))
        encoded: Tensor = self.linear(tokens.flatten(1)) + self.unit * learned
        return encoded


class Transformer(nn.Module):
    """Layers with a norm before each part (Xiong et al. 2020, arXiv:2002.04745), and a last norm. Positions are
    sinusoids (Vaswani et al. 2017, arXiv:1706.03762)."""

    inverse_std: Tensor

    def __init__(self, matrix: Tensor, config: BlocksConfig, generator: torch.Generator) -> None:
        """Initialise the layers; the standard deviations of ``matrix`` ``[V, D]`` scale the inputs."""
        super().__init__()
        width = matrix.shape[1]
        self.layers = nn.ModuleList(_Layer(width, config.hidden) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("inverse_std", 1 / column_std(matrix), persistent=False)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
                else:
                    parameter.fill_(float("norm" in name and name.endswith("weight")))

    def forward(self, tokens: Tensor, contexts: Contexts) -> Tensor:
        """Map embeddings ``[T, D]`` to states ``[T, D]``."""
        states = tokens * self.inverse_std + _sinusoids(contexts.places, tokens.shape[1])
        for layer in self.layers:
            states = layer(states, contexts)
        normed: Tensor = self.norm(states)
        return normed


class _Layer(nn.Module):
    """Attention of heads of about 64 dimensions, and an MLP."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(max(1, width // 64), 0, -1) if width % heads == 0)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, states: Tensor, contexts: Contexts) -> Tensor:
        q, k, v = self.inputs(self.attention_norm(states)).unflatten(-1, (3, self.heads, -1)).unbind(1)
        states = states + self.output(context_attention(q, k, v, contexts, q.shape[-1] ** -0.5).flatten(1))
        mlp: Tensor = self.down(nn.functional.gelu(self.up(self.mlp_norm(states))))
        return states + mlp


class FirstLayers(nn.Module):
    """The first layers of a language model, with attention in both directions."""

    def __init__(self, decoder: Any) -> None:
        """Take over ``decoder``, a copy without embeddings."""
        super().__init__()
        self.decoder = decoder
        reads_both_ways(decoder)

    def forward(self, tokens: Tensor, contexts: Contexts) -> Tensor:
        """Map embeddings ``[T, D]`` to states ``[T, D]``.

        Raises:
            UsageError: a context has more tokens than the model encodes positions.
        """
        most = getattr(self.decoder.config, "max_position_embeddings", None)
        if most is not None and contexts.longest > most:
            raise UsageError(
                f"the model's layers encode {most} positions, but a context in blocks has up to {contexts.longest} "
                "tokens; shorten it"
            )
        places = contexts.places[None]
        out = self.decoder(
            inputs_embeds=tokens[None], attention_mask=None, position_ids=places, use_cache=False, contexts=contexts
        )
        states: Tensor = out.last_hidden_state[0]
        return states


def _sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return the encodings ``[..., D]`` of positions."""
    rates = 10_000 ** (-torch.arange(0, width, 2, device=positions.device) / width)
    angles = positions[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[..., :width]
