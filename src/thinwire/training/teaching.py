"""Distillation where teacher and student read the same question at other positions: the teacher's part comes first.

An arm that reads blocks cannot share its positions with a teacher that reads tokens. The teacher's last hidden states
at the answers do not change in training, so they are computed once, from the prompts as text, and travel with the
questions; its logits are made of them where the loss needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.data.prompts import Encoded
from thinwire.model.language_model import LanguageModel
from thinwire.ops.packing import sort_key
from thinwire.training.microbatch_loss import Teacher, answer_states
from thinwire.training.microbatches import TaughtQuestion, fill_micro_batches, make_micro_batch

_MICRO_BATCH_TOKENS = 16_384


def taught(
    questions: Sequence[Encoded], as_text: Sequence[Encoded], teacher: Teacher, k_tokens: int
) -> list[TaughtQuestion]:
    """Return ``questions`` with the teacher's states at their first ``k_tokens`` answer tokens.

    Args:
        questions: in the form that is trained on.
        as_text: the same questions, in the same order and with the same answers, as the teacher reads them.
    """
    order = sorted(range(len(as_text)), key=lambda number: sort_key(as_text[number].prompt_ids))
    states: list[Tensor] = [torch.empty(0)] * len(as_text)
    found = _states([as_text[number] for number in order], teacher, k_tokens)
    for number, state in zip(order, found, strict=True):
        states[number] = state
    return [
        TaughtQuestion(**{field.name: getattr(one, field.name) for field in fields(one)}, teacher_states=state)
        for one, state in zip(questions, states, strict=True)
    ]


def reads_text(lm: LanguageModel) -> Teacher:
    """Return the model itself as a teacher that reads text."""
    return lm, InputEmbeddings(lm.embedding_matrix)


@torch.no_grad()
def _states(questions: Sequence[Encoded], teacher: Teacher, k_tokens: int) -> Iterator[Tensor]:
    """Yield each question's states ``[n, D]``, on the CPU in the teacher's dtype."""
    lm, embed = teacher
    lengths = [len(question.prompt_ids) + min(k_tokens, len(question.answer_ids)) for question in questions]
    for group in fill_micro_batches(lengths, _MICRO_BATCH_TOKENS):
        part = questions[group.start : group.stop]
        micro_batch = make_micro_batch(part, k_tokens).to(lm.device)
        (states,) = answer_states(lm, embed(micro_batch.tokens)[None], micro_batch)
        yield from states.cpu().split([min(k_tokens, len(question.answer_ids)) for question in part])
