"""How likely a frozen model finds the answers to questions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thinwire.data.prompts import Encoded
from thinwire.model.language_model import LanguageModel
from thinwire.training.losses import cross_entropy
from thinwire.training.microbatch_loss import answer_logits
from thinwire.training.microbatches import MicroBatch, fill_micro_batches, make_micro_batch

_MICRO_BATCH_TOKENS = 2_048


@torch.no_grad()
def log_likelihoods(lm: LanguageModel, questions: Sequence[Encoded]) -> list[float]:
    """Return for each question the log-probability, in nats, of its whole answer and end token, given its prompt as
    text. A prompt that neighbours share is computed once."""
    lengths = [len(question.prompt_ids) + len(question.answer_ids) for question in questions]
    longest = max(len(question.answer_ids) for question in questions)
    groups = fill_micro_batches(lengths, _MICRO_BATCH_TOKENS)
    micro_batches = (make_micro_batch(questions[group.start : group.stop], longest) for group in groups)
    return torch.cat([_of_micro_batch(lm, micro_batch.to(lm.device)) for micro_batch in micro_batches]).tolist()


def _of_micro_batch(lm: LanguageModel, micro_batch: MicroBatch) -> Tensor:
    (logits,) = answer_logits(lm, lm.embedding_matrix[micro_batch.tokens][None], micro_batch)
    question = (micro_batch.answer_places == 0).cumsum(0) - 1
    sums = torch.zeros(int(question[-1]) + 1, device=logits.device)
    sums.index_add_(0, question, -cross_entropy(logits, micro_batch.answer_ids))
    return sums
