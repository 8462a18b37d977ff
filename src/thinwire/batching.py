"""From encoded questions to padded tensors, split into passes that fit the memory without changing a gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thinwire.prompts import Encoded
from thinwire.seeding import stream


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Questions that go through the model together, right-padded.

    Tokens are given as indices into the distinct tokens of the pass: what turns a token into an embedding runs once
    per distinct token, and the gradients of equal tokens add up by themselves.
    """

    tokens: Tensor
    """``[U]`` int64: the distinct token ids of this pass."""
    indices: Tensor
    """``[B, T]`` int64 into ``tokens``; padding points at row 0 and is masked."""
    attention_mask: Tensor
    """``[B, T]`` int64: 1 on real tokens."""
    prompt_counts: Tensor
    """``[U]`` float32: how often each token occurs in the prompts, which is what reconstruction weighs."""
    answer_rows: Tensor
    """``[N]`` int64: the question, 0 to B - 1, of each supervised position."""
    answer_positions: Tensor
    """``[N]`` int64: the position whose output predicts a supervised token."""
    answer_ids: Tensor
    """``[N]`` int64: the tokens to predict."""

    @property
    def num_tokens(self) -> int:
        """Real tokens, padding not counted."""
        return int(self.attention_mask.sum())

    def to(self, device: torch.device) -> Pass:
        """The same pass on ``device``."""
        return Pass(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The questions of one optimiser step, and the totals that make its passes add up to one mean."""

    passes: list[Pass]
    num_answer_tokens: int
    num_prompt_tokens: int
    num_tokens: int


def make_pass(questions: Sequence[Encoded], k_tokens: int) -> Pass:
    """Pad questions to one length. The model reads each prompt and all but the last of its supervised answer tokens:
    nothing after the k-th answer token is ever computed."""
    answers = [question.answer_ids[:k_tokens] for question in questions]
    rows = [[*question.prompt_ids, *answer[:-1]] for question, answer in zip(questions, answers, strict=True)]
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    tokens, inverse = np.unique(ids[mask], return_inverse=True)
    indices = np.zeros_like(ids)
    indices[mask] = inverse
    prompt_lengths = np.array([len(question.prompt_ids) for question in questions])
    in_prompt = np.arange(lengths.max()) < prompt_lengths[:, None]
    counts = np.bincount(indices[in_prompt], minlength=len(tokens)).astype(np.float32)
    predicted = [
        (row, int(prompt_lengths[row]) - 1 + offset, token)
        for row, answer in enumerate(answers)
        for offset, token in enumerate(answer)
    ]
    answer_rows, positions, answer_ids = (torch.tensor(column) for column in zip(*predicted, strict=True))
    return Pass(
        tokens=torch.from_numpy(tokens),
        indices=torch.from_numpy(indices),
        attention_mask=torch.from_numpy(mask.astype(np.int64)),
        prompt_counts=torch.from_numpy(counts),
        answer_rows=answer_rows,
        answer_positions=positions,
        answer_ids=answer_ids,
    )


def make_batch(questions: Sequence[Encoded], k_tokens: int, pass_tokens: int) -> Batch:
    """Split the questions of a step into passes of at most ``pass_tokens`` padded tokens, similar lengths together."""
    passes = [
        make_pass([questions[i] for i in group], k_tokens)
        for group in group_by_length([len(question.prompt_ids) + k_tokens for question in questions], pass_tokens)
    ]
    return Batch(
        passes=passes,
        num_answer_tokens=sum(len(one.answer_ids) for one in passes),
        num_prompt_tokens=sum(len(question.prompt_ids) for question in questions),
        num_tokens=sum(one.num_tokens for one in passes),
    )


def group_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices in groups of similar length, longest first, each at most ``max_tokens`` when padded.

    A single item longer than ``max_tokens`` still gets a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        # Longest first: the first of a group sets its padded length.
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def epoch_order(num: int, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits its questions: the same for every arm of one seed, so arms are paired."""
    order = list(range(num))
    stream(seed, "order", epoch).shuffle(order)
    return order


def epoch_batches(questions: Sequence[Encoded], batch_size: int, seed: int, epoch: int) -> Iterator[list[Encoded]]:
    """The questions of each step of an epoch; the last step takes what is left."""
    order = epoch_order(len(questions), seed, epoch)
    for start in range(0, len(order), batch_size):
        yield [questions[i] for i in order[start : start + batch_size]]


def token_counts(questions: Sequence[Encoded], vocabulary: int) -> Tensor:
    """How often each token id occurs in the prompts: ``[V]`` float64. Real tokens alone: nothing is padded here."""
    ids = np.concatenate([np.asarray(question.prompt_ids, dtype=np.int64) for question in questions])
    return torch.from_numpy(np.bincount(ids, minlength=vocabulary).astype(np.float64))
