"""How likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from thinwire.data.prompts import Encoded
from thinwire.model.language_model import LanguageModel
from thinwire.ops.packing import sort_key
from thinwire.training.losses import cross_entropy
from thinwire.training.microbatch_loss import answer_logits
from thinwire.training.microbatches import MicroBatch, fill_micro_batches, make_micro_batch

_MICRO_BATCH_TOKENS = 2_048
"""Few enough for the logits of all answer tokens, which take 4 bytes times the vocabulary each."""


def log_likelihoods(
    lm: LanguageModel,
    matrix: Tensor,
    questions: Sequence[Encoded],
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[float]:
    """Return for each question the log-probability, in nats, of all its ``answer_ids``, given its prompt.

    A prompt that several questions share is computed once.

    Args:
        matrix: ``[V, D]``, the input embedding of each token id, in the model's dtype.
        on_progress: called with the number of questions that are done.
    """
    order = sorted(range(len(questions)), key=lambda number: sort_key(questions[number].prompt_ids))
    found = [0.0] * len(questions)
    done = 0
    for values in _in_order(lm, matrix, [questions[number] for number in order]):
        for number, value in zip(order[done:], values, strict=False):
            found[number] = value
        done += len(values)
        on_progress(done)
    return found


@torch.no_grad()
def _in_order(lm: LanguageModel, matrix: Tensor, questions: Sequence[Encoded]) -> Iterator[list[float]]:
    # A prompt that is the one before is not computed again.
    before = [(), *(question.prompt_ids for question in questions)]
    lengths = [
        len(question.answer_ids) + (0 if question.prompt_ids == last else len(question.prompt_ids))
        for question, last in zip(questions, before, strict=False)
    ]
    longest = max(len(question.answer_ids) for question in questions)
    for group in fill_micro_batches(lengths, _MICRO_BATCH_TOKENS):
        micro_batch = make_micro_batch(questions[group.start : group.stop], longest)
        yield _of_micro_batch(lm, matrix, micro_batch.to(lm.device)).tolist()


def _of_micro_batch(lm: LanguageModel, matrix: Tensor, micro_batch: MicroBatch) -> Tensor:
    (logits,) = answer_logits(lm, matrix[micro_batch.tokens][None], micro_batch)
    question = (micro_batch.answer_places == 0).cumsum(0) - 1
    sums = torch.zeros(int(question[-1]) + 1, device=logits.device)
    sums.index_add_(0, question, -cross_entropy(logits, micro_batch.answer_ids))
    return sums
