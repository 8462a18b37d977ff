"""Inputs and callbacks of ``train()`` for one arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.config.experiment import ArmConfig
from thinwire.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """Metrics of one optimiser step. Losses are means over the batch; None if the arm has no such part."""

    step: int
    epoch: int
    loss: float
    cosine: float | None
    relative_mse: float | None
    ce: float | None
    """Cross-entropy in nats per supervised token."""
    first_token_ce: float | None
    """Cross-entropy in nats of the first answer token."""
    kd: float | None
    """KL divergence from the teacher in nats per supervised token."""
    lr_adapter: float | None
    lr_lora: float | None
    grad_norm_adapter: float | None
    """Before clipping."""
    grad_norm_lora: float | None
    """Before clipping."""
    tokens_per_second: float
    """Tokens of all arms that train together, padding not counted."""

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the metrics by name."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Inputs of the training of one arm, and its callbacks."""

    config: ArmConfig
    inputs: InputEmbeddings
    on_step: Callable[[StepMetrics, int], None]
    """Called after every optimiser step with its metrics and the total number of steps."""
    select: Callable[[int], float]
    """Called after every epoch with its number, from 1; returns the score that the best epoch is chosen by, higher is
    better."""
    resume_from: TrainingState | None = None
    """The resume point; None to start from the beginning."""
