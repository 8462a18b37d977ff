"""A linear map with a residual MLP: the adapter, and the encoder and decoder of learned codecs."""

import torch
from torch import Tensor, nn


class LinearWithResidual(nn.Module):
    """A given linear map plus an MLP of one hidden layer that learns a correction.

        f(x) = W x + b + u * (W_out gelu(W_in (x / s) + b_in) + b_out)

    ``W`` and ``b`` start at the given values and ``W_out``, ``b_out`` at zero, so training starts *from* the linear
    map. ``s`` is the std of each input (``floored``): without it, the inputs of largest variance would dominate the
    hidden layer. ``u`` is a unit of each output. AdamW moves a weight by about the learning rate whatever its scale
    is, so where outputs are small and have no target of their own, units of 1 would carry them off sooner. All
    parameters are float32.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        std: Tensor,
        *,
        hidden: int,
        generator: torch.Generator,
        unit: Tensor | None = None,
    ) -> None:
        """Initialise the map.

        Args:
            weight: ``[O, I]``.
            bias: ``[O]``.
            std: ``[I]``, standard deviation of each input.
            generator: the only source of randomness.
            unit: ``[O]``, ``u``; None is 1.
        """
        super().__init__()
        num_outputs, num_inputs = weight.shape
        self.linear = nn.Linear(num_inputs, num_outputs)
        self.hidden = nn.Linear(num_inputs, hidden)
        self.output = nn.Linear(hidden, num_outputs)
        self.inverse_std: Tensor
        self.register_buffer("inverse_std", 1 / floored(std.float()), persistent=False)
        self.unit: Tensor | None
        self.register_buffer("unit", unit, persistent=False)
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
            # He et al. 2015 (arXiv:1502.01852), independent of torch's global generator.
            self.hidden.weight.normal_(0, (2 / num_inputs) ** 0.5, generator=generator)
            self.hidden.bias.zero_()
            self.output.weight.zero_()
            self.output.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, I]`` to ``[N, O]``, float32."""
        scaled = inputs * self.inverse_std
        linear: Tensor = self.linear(inputs)
        residual = mlp(scaled, self.hidden.weight, self.hidden.bias, self.output.weight, self.output.bias)
        return linear + (residual if self.unit is None else self.unit * residual)


def floored(std: Tensor) -> Tensor:
    """Raise small standard deviations to 5 % of their root mean square, or to 1e-12 if all are zero.

    An input that hardly varies among the tokens seen, because these are few, does vary among others: divided by its
    own std, it would be millions there.
    """
    return std.clamp_min(max(1e-12, 0.05 * float(std.double().square().mean().sqrt())))


def column_std(matrix: Tensor) -> Tensor:
    """Return the standard deviations of the columns of ``matrix`` ``[V, D]``, ``floored``: ``[D]`` float32, on the
    CPU."""
    return floored(matrix.float().std(0).cpu())


def mlp(inputs: Tensor, hidden_weight: Tensor, hidden_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply one hidden layer of width H: ``[N, I]`` to ``[N, O]``.

    The parameters are ``[H, I]``, ``[H]``, ``[O, H]`` and ``[O]``.
    """
    hidden = nn.functional.gelu(nn.functional.linear(inputs, hidden_weight, hidden_bias))
    return nn.functional.linear(hidden, weight, bias)
