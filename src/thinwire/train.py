"""Training one arm: a little supervision through the frozen model, and reconstruction beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from thinwire.batching import Batch, Pass, epoch_batches, make_batch
from thinwire.config import ArmConfig, TrainingConfig
from thinwire.determinism import seeded
from thinwire.errors import ThinwireError, UsageError
from thinwire.lora import AttachedLora
from thinwire.memory import training_pass_tokens
from thinwire.model import LanguageModel
from thinwire.objective import check_finite, cross_entropy_sum, distillation_sum, reconstruction_terms
from thinwire.prompts import Encoded
from thinwire.reader import Reader


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
    """Real tokens through the model; padding not counted."""

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What training left: the weights of the best epoch are in place."""

    best_epoch: int
    best_score: float
    num_steps: int
    num_tokens: int
    """Real tokens through the model in training."""
    seconds: float
    """Training alone, selection not counted."""


def train(
    lm: LanguageModel,
    reader: Reader,
    lora: AttachedLora | None,
    questions: Sequence[Encoded],
    arm: ArmConfig,
    mean_square: float,
    *,
    on_step: Callable[[StepMetrics, int], None],
    select: Callable[[int], float],
) -> Outcome:
    """Train ``reader`` and ``lora`` in place, and leave them as they were after their best epoch.

    Args:
        mean_square: of the embedding table (``objective.table_mean_square``): the unit of the squared error.
        on_step: called after every optimiser step with its metrics and the number of steps in all.
        select: called after every epoch (from 1) with its number; returns the score to choose by, higher is better.

    Raises:
        UsageError: LoRA with no supervision that could reach it.
        ThinwireError: the loss is no longer finite; the weights are as before that step.
    """
    supervised = arm.supervision.ce_weight > 0 or arm.supervision.kd_weight > 0
    if lora is not None and not supervised:
        raise UsageError("lora.rank > 0, but supervision.ce_weight and kd_weight are 0: nothing would train LoRA")
    groups = {"adapter": list(reader.parameters()), "lora": lora.parameters() if lora else []}
    rates = {"adapter": arm.training.adapter_lr, "lora": arm.training.lora_lr}
    parameters = [parameter for group in groups.values() for parameter in group]
    if not parameters:
        raise UsageError("nothing to train: this arm has neither an adapter nor LoRA; set training.epochs=0")
    optimizer = torch.optim.AdamW(
        [{"params": group, "lr": rates[name], "name": name} for name, group in groups.items() if group],
        weight_decay=arm.training.weight_decay,
    )
    num_steps = arm.training.epochs * -(-len(questions) // arm.training.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, num_steps, arm.training))
    pass_tokens = training_pass_tokens(lm, arm.training.pass_tokens)

    best: tuple[float, int, _State] | None = None
    step = num_tokens = 0
    seconds = 0.0
    with seeded(arm.seed, "dropout"):
        for epoch in range(1, arm.training.epochs + 1):
            if lora:
                lora.set_dropout(True)
            for questions_of_step in epoch_batches(questions, arm.training.batch_size, arm.seed, epoch):
                started = time.perf_counter()
                step += 1
                batch = make_batch(questions_of_step, arm.supervision.k_tokens, pass_tokens)
                optimizer.zero_grad()
                sums = _Sums()
                for one in batch.passes:
                    _backward(lm, reader, lora, one.to(lm.device), batch, arm, mean_square, sums)
                loss = check_finite(f"loss at step {step}", float(sums.loss))
                _check_gradients(parameters, step)
                norms = {
                    name: float(nn.utils.get_total_norm([p.grad for p in group if p.grad is not None]))
                    if group
                    else None
                    for name, group in groups.items()
                }
                total_norm = check_finite(
                    f"gradient norm at step {step}", sum(n**2 for n in norms.values() if n) ** 0.5
                )
                nn.utils.clip_grads_with_norm_(parameters, arm.training.clip_norm, torch.tensor(total_norm))
                current = {group["name"]: group["lr"] for group in optimizer.param_groups}
                optimizer.step()
                schedule.step()
                elapsed = time.perf_counter() - started
                seconds += elapsed
                num_tokens += batch.num_tokens
                on_step(
                    StepMetrics(
                        step=step,
                        epoch=epoch,
                        loss=loss,
                        **sums.means(batch),
                        lr_adapter=current.get("adapter"),
                        lr_lora=current.get("lora"),
                        grad_norm_adapter=norms["adapter"],
                        grad_norm_lora=norms["lora"],
                        tokens_per_second=batch.num_tokens / elapsed,
                    ),
                    num_steps,
                )
            if lora:
                lora.set_dropout(False)
            score = select(epoch)
            if best is None or score > best[0]:
                best = (score, epoch, _State.of(reader, lora))
    assert best is not None, "an arm that trains has at least one epoch"
    best[2].restore(reader, lora)
    return Outcome(best_epoch=best[1], best_score=best[0], num_steps=step, num_tokens=num_tokens, seconds=seconds)


class _Sums:
    """Sums over the passes of a batch, kept on the device until the step is over."""

    def __init__(self) -> None:
        self.loss: Tensor | float = 0.0
        self.cosine: Tensor | None = None
        self.relative_mse: Tensor | None = None
        self.ce: Tensor | None = None
        self.kd: Tensor | None = None

    def add(self, name: str, value: Tensor) -> None:
        before = getattr(self, name)
        setattr(self, name, value.detach() if before is None else before + value.detach())

    def means(self, batch: Batch) -> dict[str, float | None]:
        totals = {
            "cosine": batch.num_prompt_tokens,
            "relative_mse": batch.num_prompt_tokens,
            "ce": batch.num_answer_tokens,
            "kd": batch.num_answer_tokens,
        }
        return {
            name: None if (value := getattr(self, name)) is None else float(value) / total
            for name, total in totals.items()
        }


def _backward(
    lm: LanguageModel,
    reader: Reader,
    lora: AttachedLora | None,
    one: Pass,
    batch: Batch,
    arm: ArmConfig,
    mean_square: float,
    sums: _Sums,
) -> None:
    """Add one pass's share of the batch's mean loss to the gradients."""
    rows = reader(one.tokens)
    loss = rows.new_zeros(())
    if arm.reads == "adapter":
        cosines, errors = reconstruction_terms(rows, lm.table[one.tokens], one.prompt_counts, mean_square)
        config = arm.reconstruction
        distance = config.cosine_weight * (one.prompt_counts.sum() - cosines) + config.mse_weight * errors
        loss = loss + distance / batch.num_prompt_tokens
        sums.add("cosine", cosines)
        sums.add("relative_mse", errors)
    weights = arm.supervision
    if weights.ce_weight > 0 or weights.kd_weight > 0:
        logits = answer_logits(lm, rows.to(lm.dtype), one)
        ce = cross_entropy_sum(logits, one.answer_ids)
        sums.add("ce", ce)
        loss = loss + weights.ce_weight * ce / batch.num_answer_tokens
        if weights.kd_weight > 0:
            kd = distillation_sum(logits, _teacher_logits(lm, lora, one))
            sums.add("kd", kd)
            loss = loss + weights.kd_weight * kd / batch.num_answer_tokens
    loss.backward()
    sums.loss = sums.loss + loss.detach()


def answer_logits(lm: LanguageModel, rows: Tensor, one: Pass) -> Tensor:
    """Logits ``[N, V]`` at the supervised positions alone, the model reading ``rows`` ``[U, D]`` for the tokens."""
    embeddings = nn.functional.embedding(one.indices, rows)
    hidden = lm.hidden_states(embeddings, one.attention_mask).last_hidden_state
    return lm.logits(hidden[one.answer_rows, one.answer_positions])


def _teacher_logits(lm: LanguageModel, lora: AttachedLora | None, one: Pass) -> Tensor:
    with torch.no_grad():
        if lora is None:
            return answer_logits(lm, lm.table[one.tokens], one)
        with lora.disabled():
            return answer_logits(lm, lm.table[one.tokens], one)


def _check_gradients(parameters: Sequence[nn.Parameter], step: int) -> None:
    if step == 1 and (unreached := sum(p.grad is None for p in parameters)):
        raise ThinwireError(f"{unreached} of {len(parameters)} trained tensors got no gradient; the arm is wired wrong")


@dataclass(frozen=True, kw_only=True)
class _State:
    """A copy of all trained weights, on the CPU."""

    reader: dict[str, Tensor]
    lora: dict[str, Tensor] | None

    @classmethod
    def of(cls, reader: Reader, lora: AttachedLora | None) -> _State:
        tensors = {name: p.detach().cpu().clone() for name, p in reader.named_parameters()}
        return cls(reader=tensors, lora=lora.state() if lora else None)

    def restore(self, reader: Reader, lora: AttachedLora | None) -> None:
        for name, parameter in reader.named_parameters():
            parameter.data.copy_(self.reader[name])
        if lora and self.lora is not None:
            lora.load_state(self.lora)


def _rate(step: int, total: int, config: TrainingConfig) -> float:
    """Linear warm-up, then linear decay to zero at the end of the run, as a factor of the peak rate."""
    warmup = min(20, total // 10) if config.warmup_steps == "auto" else config.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (total - step) / max(1, total - warmup)
