"""A linear map with a residual MLP beside it: what decodes codes, and what a learned codec encodes with."""

import torch
from torch import Tensor, nn


class LinearWithResidual(nn.Module):
    """A linear map that is known to be right, and what an MLP of one hidden layer learns to add.

        f(x) = W x + b + W_out gelu(W_in (x / s) + b_in) + b_out

    ``W`` and ``b`` start as they are given and ``W_out``, ``b_out`` at zero, so training starts *from* the linear map
    and can only be blamed for what it changes. ``s`` is the spread of each input: without it the leading ones would
    drown the others in the hidden layer. All parameters are float32.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, spread: Tensor, *, hidden: int, generator: torch.Generator
    ) -> None:
        """``weight`` ``[O, I]``, ``bias`` ``[O]``, ``spread`` ``[I]``; random numbers come from ``generator`` alone."""
        super().__init__()
        num_outputs, num_inputs = weight.shape
        self.linear = nn.Linear(num_inputs, num_outputs)
        self.hidden = nn.Linear(num_inputs, hidden)
        self.output = nn.Linear(hidden, num_outputs)
        self.inverse_spread: Tensor
        self.register_buffer("inverse_spread", 1 / spread.float().clamp_min(1e-12), persistent=False)
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
            # He et al. 2015 (arXiv:1502.01852), from a generator of its own: the global stream has no say.
            self.hidden.weight.normal_(0, (2 / num_inputs) ** 0.5, generator=generator)
            self.hidden.bias.zero_()
            self.output.weight.zero_()
            self.output.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """``[N, I]`` to ``[N, O]``, float32."""
        scaled = inputs * self.inverse_spread
        linear: Tensor = self.linear(inputs)
        return linear + mlp(scaled, self.hidden.weight, self.hidden.bias, self.output.weight, self.output.bias)


def mlp(inputs: Tensor, hidden_weight: Tensor, hidden_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One hidden layer of H: ``[N, I]`` to ``[N, O]``, by ``[H, I]``, ``[H]``, ``[O, H]`` and ``[O]``."""
    hidden = nn.functional.gelu(nn.functional.linear(inputs, hidden_weight, hidden_bias))
    return nn.functional.linear(hidden, weight, bias)
