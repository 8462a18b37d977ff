"""Settings of blocks: several tokens of the context in one position."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from thinwire.schema import Section, Width


class BlocksConfig(Section):
    """How consecutive tokens of the context become one position (``input: blocks``). Instruction, question and answer
    stay tokens."""

    size: Annotated[int, Field(ge=1, le=64)] = 2
    """Tokens in a block; 1 changes nothing but what is trained."""
    encoder: Literal["mean", "weighted_mean", "mlp"] = "mlp"
    """What makes one embedding of those of a block: their ``mean``, which is not trained; a ``weighted_mean`` with a
    weight for each place and dimension; or an ``mlp`` of one hidden layer beside a linear map. Both begin as the mean.
    """
    hidden: Width = 2304
    """Width of the hidden layer of the ``mlp``."""

    @property
    def is_trained(self) -> bool:
        """Whether the encoder has parameters."""
        return self.encoder != "mean"
