"""What one optimiser step computes for all arms that train together: gradients, their norms, losses, and failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thinwire.config.experiment import ArmConfig
from thinwire.errors import ThinwireError, check_finite
from thinwire.model.lora import StackedLora
from thinwire.training.arm import ArmTraining
from thinwire.training.microbatch_loss import SUMS, GraphedMicroBatches, MicroBatchLoss
from thinwire.training.microbatches import Batch


class TrainingSteps:
    """The state that the steps of one training share. Values of all ``A`` arms are ``[A]``, in the arms' order."""

    def __init__(
        self,
        devices: Sequence[torch.device],
        arms: list[ArmTraining],
        lora: StackedLora | None,
        loss: MicroBatchLoss,
        micro_batches: GraphedMicroBatches,
    ) -> None:
        self.devices, self.arms, self._lora = devices, arms, lora
        self._loss, self._micro_batches = loss, micro_batches
        self.step = 0
        """The last step that is done."""

    def active(self) -> list[ArmTraining]:
        """Return the arms that have not failed."""
        return [arm for arm in self.arms if arm.failure is None]

    def backward(self, batch: Batch) -> Tensor:
        """Compute and clip the gradients of all arms.

        Returns:
            ``[8, A]``, on the device: ``SUMS``, added up over the micro-batches, and the gradient norms of adapter and
            LoRA before clipping.
        """
        sums = torch.stack([self._micro_batches.backward(part, batch.totals) for part in batch.micro_batches]).sum(0)
        norms = torch.stack([norm for arm in self.arms for norm in _norms(arm, self.devices[0])]).view(-1, 2)
        for arm, norm in zip(self.arms, norms.norm(dim=1), strict=True):
            nn.utils.clip_grads_with_norm_(arm.parameters(), arm.config.training.clip_norm, norm)
        return torch.cat([sums, norms.T])

    def settle(self, batch: Batch, sums: Tensor, step: int, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """End arms whose loss or gradient norm is no longer finite, before this step changes their weights.

        Returns:
            Each arm's losses and gradient norms.
        """
        metrics = []
        for arm, values in zip(self.arms, sums.T.tolist(), strict=True):  # waits for the device
            *values, adapter_norm, lora_norm = values
            metrics.append(
                {
                    **_means(arm.config, values, batch),
                    "grad_norm_adapter": adapter_norm if arm.adapter else None,
                    "grad_norm_lora": None if arm.row is None else lora_norm,
                }
            )
            if arm.failure is None:
                try:
                    check_finite(f"loss at step {step}", values[0])
                    check_finite(f"gradient norm at step {step}", adapter_norm + lora_norm)
                    if step == 1:
                        _check_wiring(arm, self._lora)
                except ThinwireError as error:
                    # The traceback would keep this frame's objects, CUDA graphs included, while other arms train.
                    arm.fail(error.with_traceback(None), optimizer)
                    self._loss.leave_out(arm.number)
        return metrics


def _means(config: ArmConfig, values: Sequence[float], batch: Batch) -> dict[str, float | None]:
    """Return an arm's mean losses of a step from its ``SUMS``; None for losses that it does not have."""
    sums = dict(zip(SUMS, values, strict=True))
    rebuilds, weights = config.input == "adapter", config.supervision
    return {
        "loss": sums["loss"],
        "cosine": sums["cosine"] / batch.num_prompt_tokens if rebuilds else None,
        "relative_mse": sums["relative_mse"] / batch.num_prompt_tokens if rebuilds else None,
        "ce": sums["ce"] if config.is_supervised else None,
        "first_token_ce": sums["first_token_ce"] if config.is_supervised else None,
        "kd": sums["kd"] if weights.kd_weight > 0 else None,
    }


def _norms(arm: ArmTraining, device: torch.device) -> Iterator[Tensor]:
    """Yield the gradient norms of the arm's adapter and of its LoRA factors; 0 for a part that it does not have."""
    for part in (arm.adapter, [] if arm.row is None else [arm.row]):
        gradients = [parameter.grad for parameter in part if parameter.grad is not None]
        yield nn.utils.get_total_norm(gradients).to(device) if gradients else torch.zeros((), device=device)


def _check_wiring(arm: ArmTraining, lora: StackedLora | None) -> None:
    """Raise ``ThinwireError`` if a trained tensor of the arm got no gradient."""
    unreached = [parameter for parameter in arm.adapter if parameter.grad is None]
    modules = lora.unreached(arm.number) if lora else []
    if unreached or modules:
        raise ThinwireError(
            f"{len(unreached)} of {len(arm.adapter)} tensors of the adapter and {len(modules)} LoRA modules "
            f"{modules[:3]} got no gradient; the arm is wired wrong"
        )
