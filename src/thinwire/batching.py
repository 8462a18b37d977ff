"""From encoded questions to packed tensors, split into passes that fit the memory without changing a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from thinwire.packing import Segments, pack
from thinwire.prompts import Encoded
from thinwire.seeding import stream
from thinwire.transfer import sent


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Questions that go through the model together, packed into one row of ``T`` tokens.

    Tokens are given as indices into the distinct tokens of the pass: what turns a token into an embedding runs once
    per distinct token, and the gradients of equal tokens add up by themselves.
    """

    tokens: Tensor
    """``[U]`` int64: the distinct token ids of this pass."""
    indices: Tensor
    """``[T]`` int64 into ``tokens``: the packed row."""
    positions: Tensor
    """``[T]`` int64: each token's position in its question."""
    segments: Segments
    """Who attends to whom."""
    prompt_counts: Tensor
    """``[U]`` float32: how often each token occurs in the prompts, which is what reconstruction weighs."""
    answer_rows: Tensor
    """``[N]`` int64: the row of the packed tokens whose output predicts each supervised token."""
    answer_ids: Tensor
    """``[N]`` int64: the tokens to predict."""
    answer_places: Tensor
    """``[N]`` int64: the place of each in its answer, the first is 0: arms may supervise fewer of them than others."""

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        own = [getattr(self, field.name) for field in fields(self) if field.name != "segments"]
        return [*own, *self.segments.tensors]

    def to(self, device: torch.device) -> Pass:
        """The same pass on ``device``."""
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
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The questions of one optimiser step, and the totals that make its passes add up to one mean."""

    passes: list[Pass]
    answer_counts: tuple[int, ...]
    """For each place up to ``k_tokens``, the answers that have a token there."""
    num_prompt_tokens: int
    totals: Tensor
    """``[1 + k_tokens]`` float32: the prompt tokens, and the tokens that an arm supervises which has 1, 2, ..., of
    ``k_tokens``: what the passes' sums are divided by."""

    def num_supervised(self, k_tokens: int) -> int:
        """Tokens that an arm of this ``k_tokens`` supervises."""
        return sum(self.answer_counts[:k_tokens])

    def num_tokens(self, k_tokens: int) -> int:
        """Tokens that such an arm reads: prompts, and the supervised tokens but the last of each question. A beginning
        that several questions share counts for each of them."""
        return self.num_prompt_tokens + self.num_supervised(k_tokens) - self.answer_counts[0]

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        passes = [one.to(device) for one in self.passes]
        return replace(self, passes=passes, totals=sent(self.totals, device))


def make_pass(questions: Sequence[Encoded], k_tokens: int, *, share: bool = True) -> Pass:
    """Pack questions. The model reads each prompt and all but the last of its supervised answer tokens: nothing after
    the k-th answer token is ever computed, and (``share``) a beginning that several questions have is computed once."""
    answers = [question.answer_ids[:k_tokens] for question in questions]
    packed = pack([(*q.prompt_ids, *answer[:-1]) for q, answer in zip(questions, answers, strict=True)], share=share)
    tokens, indices = np.unique(packed.ids, return_inverse=True)
    prompt_ids = np.concatenate([np.asarray(question.prompt_ids, dtype=np.int64) for question in questions])
    counts = np.bincount(np.searchsorted(tokens, prompt_ids), minlength=len(tokens)).astype(np.float32)
    predicting = [rows[len(question.prompt_ids) - 1 :] for question, rows in zip(questions, packed.rows, strict=True)]
    return Pass(
        tokens=torch.from_numpy(tokens),
        indices=torch.from_numpy(indices),
        positions=torch.from_numpy(packed.positions),
        segments=packed.segments,
        prompt_counts=torch.from_numpy(counts),
        answer_rows=torch.from_numpy(np.concatenate(predicting)),
        answer_ids=torch.tensor([token for answer in answers for token in answer]),
        answer_places=torch.tensor([place for answer in answers for place in range(len(answer))]),
    )


def make_batch(
    questions: Sequence[Encoded],
    k_tokens: int,
    pass_tokens: int,
    *,
    share: bool = True,
    fits: Callable[[Pass], bool] = lambda _: True,
) -> Batch:
    """Split the questions of a step into passes of at most ``pass_tokens`` tokens, like beginnings together. A pass of
    several questions that ``fits`` refuses is cut in halves."""
    ordered = sorted(questions, key=lambda question: question.prompt_ids)
    lengths = [len(question.prompt_ids) + k_tokens for question in ordered]

    def fitting(some: Sequence[Encoded]) -> Iterator[Pass]:
        one = make_pass(some, k_tokens, share=share)
        if len(some) == 1 or fits(one):
            yield one
        else:
            yield from fitting(some[: len(some) // 2])
            yield from fitting(some[len(some) // 2 :])

    groups = fill_passes(lengths, pass_tokens)
    passes = [one for group in groups for one in fitting(ordered[group.start : group.stop])]
    answer_counts = tuple(sum(len(q.answer_ids) > place for q in questions) for place in range(k_tokens))
    num_prompt_tokens = sum(len(question.prompt_ids) for question in questions)
    return Batch(
        passes=passes,
        answer_counts=answer_counts,
        num_prompt_tokens=num_prompt_tokens,
        totals=torch.tensor([num_prompt_tokens, *accumulate(answer_counts)], dtype=torch.float32),
    )


def fill_passes(lengths: Sequence[int], max_tokens: int) -> list[range]:
    """Cut items, in their order, into runs of at most ``max_tokens`` in all, about equally full.

    A single item longer than ``max_tokens`` still gets a run of its own.
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


def epoch_order(questions: Sequence[Encoded], seed: int, epoch: int, *, grouped: bool = False) -> list[int]:
    """The order in which an epoch visits its questions: the same for every arm of one seed, so arms are paired.

    ``grouped`` shuffles paragraphs instead, each with its questions in the order given.
    """
    if not grouped:
        order = list(range(len(questions)))
        stream(seed, "order", epoch).shuffle(order)
        return order
    paragraphs: dict[str, list[int]] = {}
    for index, question in enumerate(questions):
        paragraphs.setdefault(question.example.paragraph_id, []).append(index)
    groups = list(paragraphs.values())
    stream(seed, "order", epoch).shuffle(groups)
    return [index for group in groups for index in group]


def epoch_batches(
    questions: Sequence[Encoded], batch_size: int, seed: int, epoch: int, *, grouped: bool = False
) -> Iterator[list[Encoded]]:
    """The questions of each step of an epoch; the last step takes what is left."""
    order = epoch_order(questions, seed, epoch, grouped=grouped)
    for start in range(0, len(order), batch_size):
        yield [questions[i] for i in order[start : start + batch_size]]


def token_counts(questions: Sequence[Encoded], vocabulary: int) -> Tensor:
    """How often each token id occurs in the prompts: ``[V]`` float64. Real tokens alone: nothing is padded here."""
    ids = np.concatenate([np.asarray(question.prompt_ids, dtype=np.int64) for question in questions])
    return torch.from_numpy(np.bincount(ids, minlength=vocabulary).astype(np.float64))
