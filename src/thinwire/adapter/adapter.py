"""The trained decoder from the features of a token's code to its embedding."""

import torch

from thinwire.codecs.base import Codec
from thinwire.codecs.residual_mlp import LinearWithResidual
from thinwire.config.settings import AdapterConfig


class Adapter(LinearWithResidual):
    """The codec's linear decoder plus a residual MLP: ``[N, F]`` features (``Codec.features``) to ``[N, D]``
    embeddings.

    The MLP starts as that of the codec's own decoder, if that has one of the same width; else at zero.
    """

    def __init__(self, codec: Codec, config: AdapterConfig, generator: torch.Generator) -> None:
        super().__init__(*codec.linear_decoder(), hidden=config.hidden, generator=generator)
        initial = codec.residual_decoder()
        if initial is not None and len(initial[1]) == config.hidden:
            parameters = [*self.hidden.parameters(), *self.output.parameters()]
            with torch.no_grad():
                for parameter, value in zip(parameters, initial, strict=True):
                    parameter.copy_(value)
