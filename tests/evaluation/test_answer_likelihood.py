"""The likelihood of answers, against transformers' own forward pass."""

import pytest
import torch

from thinwire.config.settings import PromptConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.evaluation.answer_likelihood import log_likelihoods
from tiny_models import example, tiny_lm


def test_log_likelihoods_are_those_of_one_question_at_a_time():
    lm = tiny_lm()
    encoder = PromptEncoder(lm.tokenizer, PromptConfig())
    examples = [example(n, context="Ada came. " * (3 + 20 * n), answer="Ada" * (1 + n % 3)) for n in range(6)]
    prompts = [encoder.encode(x) for x in examples]
    questions = [encoder.with_answer_in(form, prompt) for prompt in prompts for form in ("bare", "space")]
    assert sum(len(question.prompt_ids) for question in questions) > 2_048, "more than one micro-batch"
    expected = []
    for question in questions:
        ids = torch.tensor([*question.prompt_ids, *question.answer_ids])
        with torch.no_grad():
            log_probabilities = lm.model(ids[None, :-1]).logits[0].float().log_softmax(-1)
        places = range(len(question.prompt_ids) - 1, len(ids) - 1)
        expected.append(sum(float(log_probabilities[place, ids[place + 1]]) for place in places))
    assert log_likelihoods(lm, lm.embedding_matrix, questions) == pytest.approx(expected, rel=1e-4)
