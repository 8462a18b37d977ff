"""Encode the questions of all splits as token ids."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from thinwire.config.block_settings import BlockKind
from thinwire.config.settings import AnswerForm
from thinwire.data.blocks import Blocks, in_blocks
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.splits import Questions
from thinwire.results.arm_record import QuestionHashes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EncodedQuestions:
    """The questions of each split, encoded in one prompt style."""

    encoder: PromptEncoder
    hashes: QuestionHashes
    train: list[Encoded]
    selection: list[Encoded]
    test: list[Encoded]

    def all(self) -> Iterator[Encoded]:
        """Yield the questions of all splits."""
        yield from self.train
        yield from self.selection
        yield from self.test

    def with_answer_form(self, form: AnswerForm) -> EncodedQuestions:
        """Return the same questions with all answers in this form."""
        encoder = self.encoder.with_form(form)
        if form == self.encoder.form:
            return replace(self, encoder=encoder)
        train, selection, test = (
            [encoder.with_answer_in(form, question) for question in split]
            for split in (self.train, self.selection, self.test)
        )
        return EncodedQuestions(encoder=encoder, hashes=self.hashes, train=train, selection=selection, test=test)

    def in_blocks(self, kind: BlockKind, vocabulary: int) -> tuple[EncodedQuestions, Blocks]:
        """Return the same questions with their contexts in blocks of this kind, and the blocks.

        Args:
            vocabulary: number of token ids; those of blocks follow.
        """
        (selection, test), train, blocks = in_blocks([self.selection, self.test], self.train, kind, vocabulary)
        return replace(self, train=train, selection=selection, test=test), blocks

    def text_bits_per_token(self) -> float:
        """Return the size of the training prompts as UTF-8, in bits per token."""
        num_bytes = sum(len(self.encoder.render(question.example).encode()) for question in self.train)
        whole = (question.num_tokens + question.dropped + question.left_out for question in self.train)
        return 8 * num_bytes / sum(whole)


def encode_questions(questions: Questions, encoder: PromptEncoder) -> EncodedQuestions:
    """Encode all splits.

    A training prompt that is too long keeps its answer; selection and test prompts must not depend on where it is.

    Raises:
        UsageError: a prompt is too long even without its context.
    """
    if encoder.style == "chat" and encoder.config.cue is not None:
        logger.warning("prompt.cue has no effect: prompts are in the chat style, which has none (prompt.style)")
    encoded = EncodedQuestions(
        encoder=encoder,
        hashes=questions.hashes,
        train=list(encoder.encode_all(questions.train, keep_answer=True)),
        selection=list(encoder.encode_all(questions.selection)),
        test=list(encoder.encode_all(questions.test)),
    )
    if encoder.config.context_share < 1 and encoder.with_context:
        logger.info("%s", describe_selection(list(encoded.all())))
    if num_shortened := sum(question.dropped > 0 for question in encoded.all()):
        logger.info("%d prompts were longer than prompt.max_tokens; they were shortened", num_shortened)
    return encoded


def describe_selection(questions: Sequence[Encoded]) -> str:
    """Say in a sentence how many tokens of a context ``prompt.context_share`` left out of ``questions`` (at least
    one)."""
    left_out = fmean(question.left_out for question in questions)
    whole = fmean(len(question.context) + question.dropped + question.left_out for question in questions)
    return f"prompt.context_share left out {left_out:,.0f} of {whole:,.0f} tokens of a context on average"
