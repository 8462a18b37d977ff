"""Pack encoded questions into micro-batches that fit the memory; splitting a batch does not change its gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from thinwire.data.prompts import Encoded
from thinwire.ops.device import sent
from thinwire.ops.packing import Segments, pack


@dataclass(frozen=True, kw_only=True, eq=False)
class TaughtQuestion(Encoded):
    """A question with what its teacher computed of it (``thinwire.training.teaching``)."""

    teacher_states: Tensor
    """``[n, D]``, on the CPU: the teacher's last hidden states that predict the first ``n`` answer tokens."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Questions that are computed at once, packed into one row of ``T`` tokens.

    Tokens are indices into the micro-batch's distinct tokens: input embeddings are computed once for each distinct
    token, and the gradients of equal tokens add up.
    """

    tokens: Tensor
    """``[U]`` int64: the distinct token ids."""
    indices: Tensor
    """``[T]`` int64 into ``tokens``: the packed row."""
    positions: Tensor
    """``[T]`` int64: each token's position in its question."""
    segments: Segments
    """Which tokens attend to which."""
    prompt_counts: Tensor
    """``[U]`` float32: how often each token occurs in the prompts, its weight in the reconstruction loss."""
    answer_rows: Tensor
    """``[N]`` int64: the row of the packed tokens whose output predicts each supervised token."""
    answer_ids: Tensor
    """``[N]`` int64: the tokens to predict."""
    answer_places: Tensor
    """``[N]`` int64: the place of each in its answer, from 0, as arms may differ in the number that they supervise."""
    teacher_states: Tensor
    """``[N, D]``: a teacher's last hidden states that predict them, if the questions bring these; else ``[N, 0]``."""

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        own = [getattr(self, field.name) for field in fields(self) if field.name != "segments"]
        return [*own, *self.segments.tensors]

    def to(self, device: torch.device) -> MicroBatch:
        """Copy the micro-batch to ``device``."""
        return replace(
            self,
            tokens=sent(self.tokens, device),
            indices=sent(self.indices, device),
            positions=sent(self.positions, device),
            segments=self.segments.to(device),
            prompt_counts=sent(self.prompt_counts, device),
            answer_rows=sent(self.answer_rows, device),
            answer_ids=sent(self.answer_ids, device),
            answer_places=sent(self.answer_places, device),
            teacher_states=sent(self.teacher_states, device),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The micro-batches of one optimiser step, and the totals that their losses are divided by."""

    micro_batches: list[MicroBatch]
    answer_counts: tuple[int, ...]
    """For each place up to ``k_tokens``, the number of answers that have a token there."""
    num_prompt_tokens: int
    totals: Tensor
    """``[1 + k_tokens]`` float32: the number of prompt tokens, then the number of supervised tokens of an arm that
    supervises 1, 2, ... tokens of an answer. The micro-batches' sums are divided by them, so that they add up to a
    mean."""

    def num_supervised(self, k_tokens: int) -> int:
        """Return the number of tokens that an arm with this ``k_tokens`` supervises."""
        return sum(self.answer_counts[:k_tokens])

    def num_tokens(self, k_tokens: int) -> int:
        """Return the number of input tokens of such an arm: the prompts, and all but the last supervised token of each
        question. A prefix that several questions share counts for each of them."""
        return self.num_prompt_tokens + self.num_supervised(k_tokens) - self.answer_counts[0]

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to ``device``."""
        micro_batches = [micro_batch.to(device) for micro_batch in self.micro_batches]
        return replace(self, micro_batches=micro_batches, totals=sent(self.totals, device))


def make_micro_batch(questions: Sequence[Encoded], k_tokens: int, *, share: bool = True) -> MicroBatch:
    """Pack ``questions`` into one micro-batch.

    Its input is each prompt and all but the last of its supervised answer tokens: nothing after the ``k_tokens``-th
    answer token is computed. With ``share``, a prefix of several questions is computed once.
    """
    answers = [question.answer_ids[:k_tokens] for question in questions]
    packed = pack([(*q.prompt_ids, *answer[:-1]) for q, answer in zip(questions, answers, strict=True)], share=share)
    tokens, indices = np.unique(packed.ids, return_inverse=True)
    prompt_ids = np.concatenate([np.asarray(question.prompt_ids, dtype=np.int64) for question in questions])
    counts = np.bincount(np.searchsorted(tokens, prompt_ids), minlength=len(tokens)).astype(np.float32)
    states = [
        question.teacher_states[: len(answer)]
        for question, answer in zip(questions, answers, strict=True)
        if isinstance(question, TaughtQuestion)
    ]
    predicting = [rows[len(question.prompt_ids) - 1 :] for question, rows in zip(questions, packed.rows, strict=True)]
    return MicroBatch(
        tokens=torch.from_numpy(tokens),
        indices=torch.from_numpy(indices),
        positions=torch.from_numpy(packed.positions),
        segments=packed.segments,
        prompt_counts=torch.from_numpy(counts),
        answer_rows=torch.from_numpy(np.concatenate(predicting)),
        answer_ids=torch.tensor([token for answer in answers for token in answer]),
        answer_places=torch.tensor([place for answer in answers for place in range(len(answer))]),
        teacher_states=torch.cat(states) if states else torch.zeros(sum(map(len, answers)), 0),
    )


def make_batch(
    questions: Sequence[Encoded],
    k_tokens: int,
    micro_batch_tokens: int,
    *,
    share: bool = True,
    fits: Callable[[MicroBatch], bool] = lambda _: True,
) -> Batch:
    """Split the questions of a step into micro-batches, with common prefixes together.

    Args:
        micro_batch_tokens: most tokens in a micro-batch of several questions.
        share: compute common prefixes once.
        fits: a micro-batch of several questions that it refuses is halved.
    """
    ordered = sorted(questions, key=lambda question: question.prompt_ids)
    lengths = [len(question.prompt_ids) + min(k_tokens, len(question.answer_ids)) for question in ordered]

    def fitting(part: Sequence[Encoded]) -> Iterator[MicroBatch]:
        micro_batch = make_micro_batch(part, k_tokens, share=share)
        if len(part) == 1 or fits(micro_batch):
            yield micro_batch
        else:
            yield from fitting(part[: len(part) // 2])
            yield from fitting(part[len(part) // 2 :])

    groups = fill_micro_batches(lengths, micro_batch_tokens)
    micro_batches = [part for group in groups for part in fitting(ordered[group.start : group.stop])]
    ends = np.bincount([min(k_tokens, len(question.answer_ids)) for question in questions], minlength=k_tokens + 1)
    answer_counts = tuple((len(questions) - ends.cumsum()[:-1]).tolist())
    num_prompt_tokens = sum(len(question.prompt_ids) for question in questions)
    return Batch(
        micro_batches=micro_batches,
        answer_counts=answer_counts,
        num_prompt_tokens=num_prompt_tokens,
        totals=torch.tensor([num_prompt_tokens, *accumulate(answer_counts)], dtype=torch.float32),
    )


def fill_micro_batches(lengths: Sequence[int], max_tokens: int) -> list[range]:
    """Cut items of these ``lengths``, in their order, into runs of at most ``max_tokens`` each, about equally full.

    An item longer than ``max_tokens`` gets a run of its own.
    """
    num_runs = -(-sum(lengths) // max_tokens)
    even = min(max_tokens, -(-sum(lengths) // num_runs) + max(lengths) // 2)
    runs: list[range] = []
    start = filled = 0
    for number, length in enumerate(lengths):
        if number > start and filled + length > even:
            runs.append(range(start, number))
            start, filled = number, 0
        filled += length
    runs.append(range(start, len(lengths)))
    return runs
