"""What training is given of an arm, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from thinwire.config import ArmConfig
from thinwire.reader import Reader
from thinwire.training_state import TrainingState


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """One optimiser step. Losses are means over the batch; null is "not part of this arm", never a number."""

    step: int
    epoch: int
    loss: float
    cosine: float | None
    relative_mse: float | None
    ce: float | None
    """Cross-entropy in nats a supervised token."""
    kd: float | None
    """KL divergence from the teacher in nats a supervised token."""
    lr_adapter: float | None
    lr_lora: float | None
    grad_norm_adapter: float | None
    """Before clipping."""
    grad_norm_lora: float | None
    """Before clipping."""
    tokens_per_second: float
    """Tokens of all arms that train together; padding does not count."""

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What training left: the weights of the best epoch are in place."""

    best_epoch: int
    best_score: float
    num_steps: int
    num_tokens: int
    """Of the arm's own questions, prompts and supervised answers, over all epochs."""
    seconds: float
    """Training alone, selection not counted: this arm's share of the time that its group took."""
    trained_together: int
    """Arms in the group, this one counted; the most that there were, if the group changed with an interruption."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """One arm in training: its settings, what it trains beside LoRA, and who hears of it."""

    config: ArmConfig
    reader: Reader
    on_step: Callable[[StepMetrics, int], None]
    """Called after every optimiser step with its metrics and the number of steps in all."""
    select: Callable[[int], float]
    """Called after every epoch (from 1) with its number; returns the score to choose by, higher is better."""
    keep: Callable[[TrainingState], None] = lambda _: None
    """Called after that with what training would need to go on from there. Its tensors are those that go on training:
    to be written or copied at once."""
    begun: TrainingState | None = None
    """Where to go on from, if not from the start."""
