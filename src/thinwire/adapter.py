"""The trained decoder: from the features of a token's code back to its embedding."""

import torch
from torch import Tensor, nn

from thinwire.codecs import Codec
from thinwire.config import AdapterConfig


class Adapter(nn.Module):
    """The codec's linear inverse plus a residual MLP that starts at zero.

        adapter(z) = W z + b + W_out gelu(W_in (z / s) + b_in) + b_out

    ``W`` and ``b`` start as the codec's inverse and ``W_out``, ``b_out`` at zero, so training starts *from* the linear
    reconstruction and can only be blamed for what it changes. ``s`` is the spread of each feature: without it
    the leading components would drown the others in the hidden layer. All parameters are float32.
    """

    def __init__(self, codec: Codec, config: AdapterConfig, generator: torch.Generator) -> None:
        super().__init__()
        weight, bias, spread = codec.linear_decoder()
        embedding_width, num_features = weight.shape
        self.linear = nn.Linear(num_features, embedding_width)
        self.hidden = nn.Linear(num_features, config.hidden)
        self.output = nn.Linear(config.hidden, embedding_width)
        self.inverse_spread: Tensor
        self.register_buffer("inverse_spread", 1 / spread.float().clamp_min(1e-12), persistent=False)
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
            # He et al. 2015 (arXiv:1502.01852), from a generator of its own: the global stream stays untouched.
            self.hidden.weight.normal_(0, (2 / num_features) ** 0.5, generator=generator)
            self.hidden.bias.zero_()
            self.output.weight.zero_()
            self.output.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """``[N, F]`` features (``Codec.features``) to ``[N, D]`` embeddings, float32."""
        hidden = nn.functional.gelu(self.hidden(features * self.inverse_spread))
        out: Tensor = self.linear(features) + self.output(hidden)
        return out
