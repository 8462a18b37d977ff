"""Options chosen and texts rated by their likelihood, against transformers' own forward pass."""

import math

import pytest
import torch

from thinwire.config.settings import PromptConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.data.squad import Example
from thinwire.evaluation.answering import answer_questions
from thinwire.evaluation.prediction import summarize
from thinwire.tasks.table import TASKS
from tiny_models import tiny_lm

OPTIONS = ("Ada", "the countess of Lovelace", "nobody", "Ada wrote it")


def asked(number, answer, choices=()):
    return Example(
        id=f"q{number}",
        article="a",
        paragraph_id=f"p{number // 2}",
        context=f"Ada came in {1840 + number // 2}. ",
        question=f"Who came, and when did she write to number {number}?",
        answers=(answer,),
        answer_start=-1,
        choices=choices,
    )


def own_log_probabilities(lm, prompt, answer):
    """The log-probability of each of the answer's tokens, by the model's own forward pass on ids."""
    ids = torch.tensor([*prompt, *answer])
    with torch.no_grad():
        found = lm.model(ids[None]).logits[0].float().log_softmax(-1)
    return [float(found[place - 1, ids[place]]) for place in range(len(prompt), len(ids))]


def test_the_option_of_the_highest_probability_with_its_end_is_chosen():
    lm, task, done = tiny_lm(), TASKS["multiple_choice"], []
    encoder = PromptEncoder(lm.tokenizer, PromptConfig(), task)
    questions = [encoder.encode(asked(n, OPTIONS[n % 4], OPTIONS)) for n in range(6)]
    found = answer_questions(
        lm,
        lm.embedding_matrix,
        encoder,
        questions,
        task=task,
        max_new_tokens=4,
        batch_tokens=100,
        on_progress=lambda *counts: done.append(counts),
    )
    for question, one in zip(questions, found, strict=True):
        sums = {
            option: sum(
                own_log_probabilities(lm, question.prompt_ids, encoder.with_option(option, question).answer_ids)
            )
            for option in OPTIONS
        }
        assert one.text == one.raw_text == max(sums, key=sums.get)
        assert one.score == one.exact_match == float(one.text == question.example.answers[0])
        assert one.stop_reason == "choice"
    assert done[-1] == (6, 6)
    assert {one.score for one in found} == {0.0, 1.0}, "both occur, so that neither is a constant"
    scores = summarize(found)
    assert scores.score == sum(one.score for one in found) / 6
    assert scores.degeneration is None


def test_a_text_has_the_geometric_mean_of_the_probabilities_of_its_first_tokens():
    lm, task = tiny_lm(), TASKS["perplexity"]
    encoder = PromptEncoder(lm.tokenizer, PromptConfig(answer_form="space"), task)
    assert encoder.style == "plain"
    questions = [encoder.encode(asked(n, "and then she wrote a long letter about the engine")) for n in range(3)]
    found = answer_questions(lm, lm.embedding_matrix, encoder, questions, task=task, max_new_tokens=5, batch_tokens=100)
    for question, one in zip(questions, found, strict=True):
        values = own_log_probabilities(lm, question.prompt_ids, question.answer_ids[:5])
        assert one.score == pytest.approx(math.exp(sum(values) / 5), rel=1e-4)
        assert (one.text, one.exact_match, one.stop_reason) == ("", 0.0, "likelihood")
