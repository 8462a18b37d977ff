"""Choose the form in which answers are supervised: with a space before the first word, or bare.

A byte-level or SentencePiece tokenizer gives "Paris" and " Paris" different tokens. An answer that is a span of the
paragraph can be copied token by token if it has the tokens that the paragraph has, and those are usually the ones with
a space. ``prompt.answer_form=auto`` therefore takes the form whose tokens the prompts contain. Where the forms do not
differ in that, it takes the one that the untrained model finds more likely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import get_args

from thinwire.config.settings import AnswerForm
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.results.arm_record import AnswerFormDecision, AnswerFormMeasures

NUM_QUESTIONS = 256
"""Training questions over which the shares are computed, if there are as many."""
NUM_FOR_LIKELIHOOD = 32
"""Training questions over which the log-likelihoods are computed, if there are as many."""
DECIDING_DIFFERENCE = 0.1
"""Difference of the two shares from which on they decide."""

LogLikelihoods = Callable[[Sequence[Encoded]], Sequence[float]]
"""Returns for each question the log-probability, in nats, of all its answer tokens and the end token."""


def decide_answer_form(
    encoder: PromptEncoder, questions: Sequence[Encoded], log_likelihoods: LogLikelihoods
) -> AnswerFormDecision:
    """Measure both forms on training questions, and choose one as ``encoder.config.answer_form`` says.

    Args:
        questions: training questions in random order, whatever the form of their answers; the first ones are used.
        log_likelihoods: of the frozen model with text as input; called only where it decides.
    """
    drawn = questions[:NUM_QUESTIONS]
    bare, space = ([encoder.with_answer_in(form, one) for one in drawn] for form in get_args(AnswerForm))
    setting = encoder.config.answer_form
    decision = AnswerFormDecision(
        form="space" if setting == "auto" else setting,
        decided_by="setting",
        num_questions=len(drawn),
        bare=measure_copies(bare),
        space=measure_copies(space),
    )
    if setting != "auto":
        return decision
    difference = decision.space.in_prompt_share - decision.bare.in_prompt_share
    if abs(difference) >= DECIDING_DIFFERENCE:
        return decision.model_copy(update={"form": "space" if difference > 0 else "bare", "decided_by": "in_prompt"})
    end = encoder.end_of(drawn[0].example)
    # Both forms of a question are neighbours, because they share the prompt.
    pairs = list(zip(bare[:NUM_FOR_LIKELIHOOD], space[:NUM_FOR_LIKELIHOOD], strict=True))
    found = log_likelihoods([question for pair in pairs for question in pair])
    of_bare, of_space = fmean(found[::2]), fmean(found[1::2])
    return decision.model_copy(
        update={
            "form": more_likely(of_bare, of_space, prompt_ends_in_space=end[-1:].isspace()),
            "decided_by": "likelihood",
            "bare": decision.bare.model_copy(update={"log_likelihood": of_bare}),
            "space": decision.space.model_copy(update={"log_likelihood": of_space}),
        }
    )


def measure_copies(questions: Sequence[Encoded]) -> AnswerFormMeasures:
    """Return the shares of ``questions`` (at least one) whose answer tokens occur in their own prompt; the end token is
    no part of the answer."""
    runs = [(question.prompt_ids, question.answer_ids[:-1]) for question in questions]
    return AnswerFormMeasures(
        in_prompt_share=sum(_contains(prompt, answer) for prompt, answer in runs) / len(runs),
        first_token_in_prompt_share=sum(_contains(prompt, answer[:1]) for prompt, answer in runs) / len(runs),
        log_likelihood=None,
    )


def _contains(ids: Sequence[int], run: Sequence[int]) -> bool:
    """Return whether ``run`` occurs in ``ids`` as a contiguous run; an empty run does not count as occurring."""
    size = len(run)
    return size > 0 and any(ids[i : i + size] == run for i in range(len(ids) - size + 1))


def more_likely(bare: float, space: float, *, prompt_ends_in_space: bool) -> AnswerForm:
    """Return the form with the higher log-likelihood. If both are equal, as they are where a tokenizer makes no
    difference, it is ``space``, unless the prompt itself ends in white space."""
    if bare == space:
        return "bare" if prompt_ends_in_space else "space"
    return "bare" if bare > space else "space"


def describe_decision(decision: AnswerFormDecision) -> str:
    """Say in a sentence which form was chosen, and by what."""
    bare, space = decision.bare, decision.space
    form = {"bare": "without a space before them", "space": "with a space before them"}[decision.form]
    reason = "as prompt.answer_form says" if decision.decided_by == "setting" else "by prompt.answer_form=auto"
    found = (
        f"prompts contain the tokens of {space.in_prompt_share:.0%} of the answers with a space, of "
        f"{bare.in_prompt_share:.0%} without"
    )
    if space.log_likelihood is not None and bare.log_likelihood is not None:
        found += f"; mean log-likelihood {space.log_likelihood:.2f} with, {bare.log_likelihood:.2f} without"
    return f"answers are supervised {form}, {reason} ({found})"
