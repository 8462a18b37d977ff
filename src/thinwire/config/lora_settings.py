"""Settings of LoRA: which modules of which layers, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from thinwire.errors import UsageError, shown
from thinwire.schema import Rate, Section


class LoraSettings(Section):
    """Low-rank adaptation of the frozen model (Hu et al. 2021, arXiv:2106.09685)."""

    rank: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Rank of the update; 0 means no LoRA."""
    alpha: Rate = 16.0
    """The update is scaled by ``alpha / rank``."""
    layers: Annotated[int, Field(gt=0, le=10_000)] | Literal["all"] = "all"
    """Number of adapted layers."""
    position: Literal["first", "middle", "last"] = "first"
    """Which layers they are, if not all: the first from the input, the middle ones, or the last. If the others cannot
    be halved, one more lies after the middle ones than before them."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Dropout probability of the inputs of each adapted module, for the LoRA update."""
    targets: Literal["attention", "all-linear"] | tuple[str, ...] = "attention"
    """The adapted linear modules in each layer: all of its attention (``q_proj``, ``k_proj``, ``v_proj`` and ``o_proj``
    in Llama), all that it has, or a list of their names. The experts of a mixture (Mixtral) are never adapted: their
    weights are fused."""
    start_from: str | None = None
    """Folder of the arm whose factors LoRA starts from: a finished one, or one of the same sweep, which is run first.
    Its rank, alpha, layers, position and targets must be the same. By default LoRA starts without effect."""
    trained: bool = True
    """Whether LoRA is trained; ``false`` leaves the factors of ``start_from`` as they are, and only the adapter is
    trained. Dropout applies all the same."""

    @field_validator("targets")
    @classmethod
    def _each_target_once(cls, targets: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(targets, str):
            return targets
        if not targets or not all(one.strip() for one in targets) or len(set(targets)) < len(targets):
            raise ValueError(
                f"takes the names of linear modules, at least one and each once, got {shown(list(targets))}"
            )
        return targets

    @model_validator(mode="after")
    def _untrained_needs_a_start(self) -> LoraSettings:
        if self.rank > 0 and not self.trained and self.start_from is None:
            raise ValueError("trained is false and start_from is null, so LoRA would have no effect; set start_from")
        return self

    @property
    def is_trained(self) -> bool:
        """Whether there is LoRA, and it is trained."""
        return self.rank > 0 and self.trained

    @property
    def most_targets(self) -> int:
        """How many modules of a layer are adapted; of a kind of modules, as many as Llama has."""
        many = {"attention": 4, "all-linear": 7}
        return many[self.targets] if isinstance(self.targets, str) else len(self.targets)

    def adapted_layers(self, depth: int) -> range:
        """Return the numbers of the adapted layers, from 0, in a model of ``depth`` layers; none if ``rank`` is 0.

        Raises:
            UsageError: more layers than the model has.
        """
        if self.rank == 0:
            return range(0)
        num = depth if self.layers == "all" else self.layers
        if num > depth:
            raise UsageError(f"lora.layers={num}, but the model has {depth} layers; use 1 to {depth}, or all")
        start = {"first": 0, "middle": (depth - num) // 2, "last": depth - num}[self.position]
        return range(start, start + num)
