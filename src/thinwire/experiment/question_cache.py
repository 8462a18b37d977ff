"""Prepare the questions of arms: encoded as token ids or blocks, with the form of their answers and their counts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from thinwire.codecs.reconstruction_loss import matrix_mean_square
from thinwire.codecs.token_weights import token_counts
from thinwire.config.block_settings import BlockKind
from thinwire.config.experiment import ArmConfig
from thinwire.config.settings import PromptConfig
from thinwire.data.answer_form import decide_answer_form, describe_decision
from thinwire.data.blocks import describe_blocks
from thinwire.data.encoding import encode_questions
from thinwire.data.passages import Passages, passage_prompts, with_requests
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from thinwire.evaluation.answer_likelihood import log_likelihoods
from thinwire.experiment.arm_inputs import PreparedQuestions
from thinwire.model.language_model import LanguageModel
from thinwire.tasks.table import TASKS

logger = logging.getLogger(__name__)


class PromptKey(NamedTuple):
    """The settings that determine an arm's ids, besides the experiment's data and seed."""

    prompt: PromptConfig
    context: bool
    block_kind: BlockKind | None
    samples: object
    selection_samples: object


def prompt_key(arm: ArmConfig) -> PromptKey:
    """Return the settings that determine the ids of ``arm``."""
    evaluation = arm.evaluation
    return PromptKey(arm.prompt, arm.context, arm.block_kind, evaluation.samples, evaluation.selection_samples)


class QuestionCache:
    """Prepares the questions of arms, once for all arms with equal prompts; blocks are made of the prompts of text."""

    def __init__(self, lm: LanguageModel, splits: Splits) -> None:
        self._lm, self._splits = lm, splits
        self._prepared: dict[PromptKey, PreparedQuestions] = {}
        self._passages: dict[tuple[PromptKey, int], tuple[list[Encoded], list[Encoded]]] = {}
        """Prompts of the passages to learn from and to measure with; they do not depend on what is asked of them."""

    def questions(self, arm: ArmConfig) -> PreparedQuestions:
        """Return the questions of ``arm``, in which ``auto`` is already resolved.

        Raises:
            UsageError: they cannot be read, or a prompt does not fit the model.
        """
        key = prompt_key(arm)
        if key not in self._prepared:
            prepared = self._as_text(arm)
            if arm.block_kind is not None:
                encoded, blocks = prepared.encoded.in_blocks(arm.block_kind, len(self._lm.embedding_matrix))
                logger.info("%s", describe_blocks(encoded.test, blocks))
                prepared = replace(prepared, encoded=encoded, blocks=blocks, as_text=prepared.encoded)
            self._prepared[key] = prepared
        self._refuse_what_the_model_cannot_read(self._prepared[key], arm)
        return self._prepared[key]

    def passages(self, arm: ArmConfig) -> tuple[Passages, Passages]:
        """Return the passages that ``arm`` learns from before its questions, with the contexts of all questions of the
        training articles, drawn or not; and those of the selection articles, to be repeated, or continued where prompts
        have no question.

        Raises:
            UsageError: there are none, or prompts have no place for what is asked of them.
        """
        modes, distractors = arm.blocks.reconstruction.modes, arm.blocks.reconstruction.distractors
        key, encoder = (prompt_key(arm)._replace(block_kind=None), distractors), self._as_text(arm).encoded.encoder
        if key not in self._passages:
            train, held_out = self._splits.training_and_selection(distractors)
            self._passages[key] = passage_prompts(train, encoder), passage_prompts(held_out, encoder)
        prompts, held_out_prompts = self._passages[key]
        to_learn = with_requests(prompts, encoder, modes)
        to_measure = with_requests(held_out_prompts, encoder, ["autoencoding" if to_learn.slot else "continuation"])
        if not to_learn.prompts or not to_measure.prompts:
            raise UsageError(
                "training or selection questions have no contexts of 16 tokens or more to be written out of blocks; "
                "leave this training out: blocks.reconstruction.passages=0"
            )
        return to_learn, to_measure

    def _as_text(self, arm: ArmConfig) -> PreparedQuestions:
        """Return the questions of ``arm`` with each token at a position of its own, whatever the arm reads."""
        key = prompt_key(arm)._replace(block_kind=None)
        if key not in self._prepared:
            drawn = self._splits.drawn(arm.evaluation)
            undecided = PromptEncoder(self._lm.tokenizer, arm.prompt, TASKS[arm.task], with_context=arm.context)
            encoded = encode_questions(drawn, undecided)

            def asked(questions: Sequence[Encoded]) -> list[float]:
                longest_answer = max(len(question.answer_ids) for question in questions)
                what = "prompts as text, which prompt.answer_form=auto (not space, not bare) reads, and answers have"
                _check_fits(self._lm, questions, longest_answer, what)
                return log_likelihoods(self._lm, self._lm.embedding_matrix, questions)

            decision = decide_answer_form(undecided, encoded.train, asked)
            logger.info("%s", describe_decision(decision))
            encoded = encoded.with_answer_form(decision.form)
            counts = token_counts([question.prompt_ids for question in encoded.train], len(self._lm.embedding_matrix))
            self._prepared[key] = PreparedQuestions(
                encoded=encoded,
                counts=counts,
                counts_hash=hashlib.sha256(counts.numpy().tobytes()).hexdigest(),
                mean_square=matrix_mean_square(self._lm.embedding_matrix, counts),
                answer_form=decision,
                blocks=None,
            )
        return self._prepared[key]

    def _refuse_what_the_model_cannot_read(self, questions: PreparedQuestions, arm: ArmConfig) -> None:
        """Refuse before training what decoding, attention or a teacher would refuse later."""
        lm, num_answer = self._lm, arm.supervision.num_tokens
        room = max(arm.evaluation.max_new_tokens, num_answer)
        _check_fits(lm, questions.encoded.all(), room, "the longest prompt and its answer have")
        if questions.as_text is not None and arm.supervision.kd_weight > 0:
            what = "the longest training prompt as text, which a teacher reads, and its answer have"
            _check_fits(lm, questions.as_text.train, num_answer, what)
        if arm.copies_layers and (most := lm.most_positions) is not None:
            longest = arm.blocks.size * max(len(question.context) for question in questions.encoded.all())
            if longest > most:
                raise UsageError(
                    f"{lm.name} encodes {most} positions, and so do copies of its layers "
                    f"(blocks.encoder=first_layers), but contexts have up to {longest} tokens; shorten prompts: "
                    f"prompt.max_tokens={most - most % arm.blocks.size}"
                )


def _check_fits(lm: LanguageModel, questions: Iterable[Encoded], room: int, what: str) -> None:
    """Refuse prompts that leave no ``room`` for so many tokens within the model's attention window or positions.

    Args:
        what: which prompts these are, as the beginning of "have N tokens".
    """
    window, most, longest_sequence = lm.window, lm.most_positions, lm.longest_sequence
    longest = max(len(question.prompt_ids) for question in questions) + room
    if longest_sequence is None or longest <= longest_sequence:
        return
    reads = f"{lm.name} encodes {most} positions"
    if longest_sequence == window:
        reads = f"some layers of {lm.name} attend to the last {window} tokens alone"
    advice = f"shorten prompts: prompt.max_tokens={longest_sequence - room}"
    if room >= longest_sequence:  # no prompt is short enough
        advice = f"{room} of them are for the answer: lower evaluation.max_new_tokens (and supervision.k_tokens)"
    raise UsageError(f"{reads}, but {what} {longest}; {advice}")
