"""Train arms: supervision of answer tokens through the frozen model, and reconstruction of the embeddings.

Arms that see the same questions in the same order train together, as a multi-LoRA group: the frozen model runs once
over the tokens of all arms, and no value of one arm reaches another. A single arm is a group of one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from thinwire import interruption
from thinwire.data.prompts import Encoded
from thinwire.determinism import generator_states, restore_generators, seeded
from thinwire.errors import ThinwireError
from thinwire.model.language_model import LanguageModel
from thinwire.model.lora import StackedLora
from thinwire.results.arm_record import TrainingResult
from thinwire.training.arm import ArmTraining
from thinwire.training.autotune import halved_until_it_fits, held_back
from thinwire.training.dataloader import MicroBatchLoader
from thinwire.training.job import StepMetrics, TrainingJob
from thinwire.training.microbatch_loss import GraphedMicroBatches, MicroBatchLoss, Teacher
from thinwire.training.microbatches import Batch
from thinwire.training.optimizer import learning_rate_factor, parameter_groups
from thinwire.training.state import Position, TrainingState
from thinwire.training.steps import TrainingSteps

SaveStates = Callable[[Iterable[tuple[int, TrainingState]]], None]
"""Saves the resume points of the arms that train together, by their number. The tensors go on training: write or copy
each before the next is taken."""


def train(
    lm: LanguageModel,
    jobs: Sequence[TrainingJob],
    lora: StackedLora | None,
    questions: Sequence[Encoded],
    mean_square: float,
    *,
    micro_batch_tokens: int,
    is_tried: bool = False,
    use_cuda_graphs: bool,
    save_states: SaveStates = lambda _: None,
    teacher: Teacher | None = None,
) -> list[TrainingResult | ThinwireError]:
    """Train input embeddings and LoRA in place, and restore each arm's weights of its best epoch.

    Args:
        jobs: arms that can train together (``can_train_together``), in the order of ``lora``. All of them start from
            the beginning, or all resume at the same position.
        lora: the arms' factors, attached to the model of ``lm``; None if no arm has LoRA.
        mean_square: mean square of the embedding matrix's entries (``matrix_mean_square``), the unit of the squared
            error.
        micro_batch_tokens: most tokens in a micro-batch, of all arms together. Resumed arms keep theirs.
        is_tried: run the largest micro-batches before training, and halve them while they do not fit the device's
            memory.
        use_cuda_graphs: pad micro-batches to shape buckets, planned from the first epoch, and on a CUDA device capture
            a CUDA graph for each bucket.
        save_states: called after each epoch has been scored, after a step when ``checkpoint_minutes`` have passed, and
            when a signal has asked for the end.
        teacher: teacher of the arms with distillation; by default the model itself with text as input.

    Returns:
        For each job its result, or the error that ended it: its loss is no longer finite, and its weights are those
        before that step. Other arms continue.

    Raises:
        UsageError: an arm has LoRA but no supervision, or nothing to train.
        Interrupted: a signal has asked for the end. Resumed from the states saved then, training goes on as if it had
            never stopped.
    """
    arms = [ArmTraining(job, lora, number) for number, job in enumerate(jobs)]
    training, seed = jobs[0].config.training, jobs[0].config.seed
    optimizer = torch.optim.AdamW(parameter_groups(arms), fused=True)
    steps_an_epoch = training.steps_per_epoch(len(questions))
    (done,) = {arm.resume(optimizer) for arm in arms}
    loss = MicroBatchLoss(lm, [arm.config for arm in arms], [arm.inputs for arm in arms], lora, mean_square, teacher)
    for arm in arms:
        if arm.failure is not None:
            loss.leave_out(arm.number)
    k_tokens = max(arm.config.supervision.num_tokens for arm in arms)

    def prepared(tokens: int) -> tuple[MicroBatchLoader, GraphedMicroBatches, int]:
        loader = MicroBatchLoader(
            questions, arms[0].config, k_tokens=k_tokens, micro_batch_tokens=tokens, use_buckets=use_cuda_graphs
        )
        micro_batches = GraphedMicroBatches(loss, loader.buckets, lm.device)
        if is_tried and done.epoch < training.epochs:
            with _dropout(lora, lm.devices, seed, epoch=0), _without_stride_warning():
                _warm_up(micro_batches, loader, arms, k_tokens, lm.device)
        return loader, micro_batches, tokens

    before = jobs[0].resume_from
    wanted = max(1, micro_batch_tokens // len(arms)) if before is None else before.micro_batch_tokens
    started = time.perf_counter()
    loader, micro_batches, tokens = halved_until_it_fits(wanted, prepared)
    share = (time.perf_counter() - started) / len(arms)
    for arm in arms:
        arm.seconds += share
    minutes = min(arm.config.training.checkpoint_minutes for arm in arms)
    keeper = _Keeper(arms, optimizer, save_states, tokens, done, seconds=60 * minutes)
    run = TrainingSteps(lm.devices, arms, lora, loss, micro_batches)
    for epoch in range(done.epoch + 1, training.epochs + 1):
        first = max(0, done.step - (epoch - 1) * steps_an_epoch)
        trained = Position(epoch=epoch - 1, step=epoch * steps_an_epoch)
        for arm in run.active():
            arm.trained_together = max(arm.trained_together, len(arms))
        try:
            with interruption.deferred(), _dropout(lora, lm.devices, seed, epoch), _without_stride_warning():
                if first and before is not None and before.random:
                    restore_generators(before.random, lm.devices)
                batches = (batch.to(lm.device) for batch in loader.batches(epoch, first))
                _train_epoch(run, optimizer, batches, epoch, steps_an_epoch, first, keeper)
            scores = [(arm, arm.job.select(epoch)) for arm in run.active()]
        except interruption.Interrupted:
            if keeper.kept.step < trained.step and run.step == trained.step:
                keeper.keep(trained)
            raise
        for arm, score in scores:
            arm.remember_if_best(epoch, score)
        if scores:  # after all are scored, so that arms interrupted here can resume together
            keeper.keep(Position(epoch=epoch, step=trained.step))
    return [arm.failure or arm.result(num_steps=training.epochs * steps_an_epoch) for arm in arms]


class _Keeper:
    """Saves the resume points of all arms: when asked to, and when enough time has passed since the last ones."""

    def __init__(
        self,
        arms: Sequence[ArmTraining],
        optimizer: torch.optim.Optimizer,
        save_states: SaveStates,
        micro_batch_tokens: int,
        kept: Position,
        *,
        seconds: float,
    ) -> None:
        self._arms, self._optimizer, self._save_states = arms, optimizer, save_states
        self._micro_batch_tokens, self._seconds = micro_batch_tokens, seconds
        self.kept = kept
        """The position of the last resume points."""
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next resume points."""
        return time.monotonic() - self._last > self._seconds

    def keep(self, position: Position, random: list[Tensor] | None = None) -> None:
        """Save the resume points at ``position``; within an epoch, with the states of the generators.

        A signal that comes meanwhile interrupts afterwards: else what was trained since the last ones would be lost.
        """
        tokens = self._micro_batch_tokens
        with interruption.deferred():
            self._save_states(
                (arm.number, arm.state(position, self._optimizer, micro_batch_tokens=tokens, random=random or []))
                for arm in self._arms
            )
            self.kept, self._last = position, time.monotonic()


def _warm_up(
    micro_batches: GraphedMicroBatches,
    loader: MicroBatchLoader,
    arms: Sequence[ArmTraining],
    k_tokens: int,
    device: torch.device,
) -> None:
    """Run a micro-batch of every shape bucket, the largest first, so that later graphs reuse its memory. The gradients
    are undefined afterwards; every step clears them first."""
    trained = sum(parameter.numel() * parameter.element_size() for arm in arms for parameter in arm.parameters())
    totals = torch.ones(1 + k_tokens, device=device)
    warm_up_batches = loader.warm_up_batches()
    with held_back(device, trained):
        # The very first micro-batch runs uncaptured (``GraphPool``), so with graphs it runs again to be captured.
        for micro_batch in (*(warm_up_batches[:1] if loader.buckets else []), *warm_up_batches):
            micro_batches.warm_up(micro_batch.to(device), totals)


def _train_epoch(
    run: TrainingSteps,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    epoch: int,
    num_steps: int,
    first: int,
    keeper: _Keeper,
) -> None:
    """Take the steps of an epoch from number ``first``, one for each batch; stop early if no arm is left.

    Raises:
        Interrupted: a signal has asked for the end, and the resume points are saved.
    """
    total = run.arms[0].config.training.epochs * num_steps
    batch = next(batches, None)
    step = (epoch - 1) * num_steps + first
    while batch is not None and run.active():
        started = time.perf_counter()
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * learning_rate_factor(step - 1, total, group["training"])
        optimizer.zero_grad(set_to_none=False)  # a captured step adds to the tensors that it was captured with
        sums = run.backward(batch)
        upcoming = next(batches, None)  # prepared while a GPU computes this one
        metrics = run.settle(batch, sums, step, optimizer)
        optimizer.step()
        rates = {(group["part"], group["training"]): group["lr"] for group in optimizer.param_groups}
        elapsed = time.perf_counter() - started
        num_tokens = [batch.num_tokens(arm.config.supervision.num_tokens) for arm in run.arms]
        for arm in run.active():
            arm.seconds += elapsed / len(run.arms)
            arm.num_tokens += num_tokens[arm.number]
            arm.job.on_step(
                StepMetrics(
                    step=step,
                    epoch=epoch,
                    **metrics[arm.number],
                    lr_adapter=rates["adapter", arm.config.training] if arm.adapter else None,
                    lr_lora=None if arm.row is None else rates["lora", arm.config.training],
                    tokens_per_second=sum(num_tokens) / elapsed,
                ),
                total,
            )
        run.step = step
        if run.active() and (keeper.is_due or interruption.received() is not None):
            within = step < epoch * num_steps
            keeper.keep(Position(epoch=epoch - 1, step=step), generator_states(run.devices) if within else None)
        interruption.check()
        batch = upcoming


@contextmanager
def _dropout(lora: StackedLora | None, devices: Sequence[torch.device], seed: int, epoch: int) -> Iterator[None]:
    """Switch LoRA dropout on within the block, seeded by the epoch, so that masks do not depend on earlier epochs."""
    with seeded(seed, "dropout", epoch, devices=devices):
        if lora:
            lora.set_dropout(True)
        yield
        if lora:
            lora.set_dropout(False)


@contextmanager
def _without_stride_warning() -> Iterator[None]:
    """Suppress torch's warning about the strides of the stacked factors' gradients, which lie in a row for each arm."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")
        yield
