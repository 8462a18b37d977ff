"""The trained decoder: from the features of a token's code back to its embedding."""

import torch

from thinwire.codecs import Codec
from thinwire.config import AdapterConfig
from thinwire.residual import LinearWithResidual


class Adapter(LinearWithResidual):
    """The codec's linear inverse plus a residual MLP: ``[N, F]`` features (``Codec.features``) to ``[N, D]`` rows.

    The MLP starts as that of the codec's own decoder, where it has one of this width; else at zero.
    """

    def __init__(self, codec: Codec, config: AdapterConfig, generator: torch.Generator) -> None:
        super().__init__(*codec.linear_decoder(), hidden=config.hidden, generator=generator)
        own = codec.residual_decoder()
        if own is not None and len(own[1]) == config.hidden:
            with torch.no_grad():
                for parameter, start in zip([*self.hidden.parameters(), *self.output.parameters()], own, strict=True):
                    parameter.copy_(start)
