"""Batches of questions, the order of answers, their scores and their end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.config.settings import PromptConfig
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.evaluation import answering
from thinwire.evaluation.answering import answer_questions, decoding_batches, score_answer
from thinwire.tasks.extractive_qa import TASK as EXTRACTIVE_QA
from tiny_models import example, tiny_lm

LM = tiny_lm()


def question(paragraph, length, number):
    made = example(paragraph)
    return Encoded(example=made, prompt_ids=(paragraph,) * length + (number,), answer_ids=(), dropped=0)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60)), min_size=1, max_size=30), st.integers(1, 400))
def test_batches_hold_every_question_once_and_keep_to_the_limit(shapes, limit):
    questions = [question(paragraph, length, number) for number, (paragraph, length) in enumerate(shapes)]
    batches = decoding_batches(questions, 6, limit)
    assert sorted(i for batch in batches for i in batch) == list(range(len(questions)))
    for batch in batches:
        longest = max(len(questions[i].prompt_ids) + 6 for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= limit


def test_questions_of_a_paragraph_are_neighbours_and_long_paragraphs_come_first():
    shapes = [(1, 10), (2, 30), (1, 12), (3, 20), (2, 28)]
    questions = [question(paragraph, length, number) for number, (paragraph, length) in enumerate(shapes)]
    (batch,) = decoding_batches(questions, 6, 10_000)
    assert [questions[i].prompt_ids[0] for i in batch] == [2, 2, 3, 1, 1]


def test_answers_come_in_the_order_of_the_questions_whatever_the_batches():
    encoder = PromptEncoder(LM.tokenizer, PromptConfig())
    contexts = ["Ada wrote it in 1843.", "The mill has 12 wheels and stands by the river.", "Rain fell."]
    questions = [encoder.encode(example(n, context=contexts[n % 3], answer="Rain")) for n in range(7)]
    progress = []
    options = {"max_new_tokens": 5}
    together = answer_questions(
        LM,
        LM.embedding_matrix,
        encoder,
        questions,
        batch_tokens=100_000,
        on_progress=lambda done, total: progress.append((done, total)),
        **options,
    )
    alone = answer_questions(LM, LM.embedding_matrix, encoder, questions, batch_tokens=1, **options)
    assert [prediction.id for prediction in together] == [q.example.id for q in questions]
    assert together == alone
    assert progress == [(7, 7)]


@pytest.mark.parametrize(
    ("scored", "text", "exact_match", "score"),
    # Raw: precision 1/4 and recall 1, so 2 x 1/4 x 1 / (1/4 + 1) = 0.4.
    [("first_line", "1843", 1.0, 1.0), ("raw", "1843\nAda wrote it", 0.0, 0.4)],
)
def test_the_first_line_is_scored_or_all_of_the_answer(scored, text, exact_match, score):
    asked = Encoded(example=example(), prompt_ids=(), answer_ids=(), dropped=0)
    prediction = score_answer(asked, "1843\nAda wrote it", "end", EXTRACTIVE_QA, scored)
    assert (prediction.text, prediction.exact_match, prediction.score) == (text, exact_match, pytest.approx(score))
    assert (prediction.raw_text, prediction.raw_score) == ("1843\nAda wrote it", pytest.approx(0.4)), "both scores"


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_an_answer_that_stops_by_length_continues_after_its_end(style, monkeypatch):
    lm, continuations = tiny_lm(), []
    real = answering.greedy_batches

    def recorded(*args):
        for (continuation,) in real(*args):
            continuations.append(continuation)
            yield [continuation]

    monkeypatch.setattr(answering, "greedy_batches", recorded)
    encoder = PromptEncoder(lm.tokenizer, PromptConfig(style=style))
    questions = [encoder.encode(example())]

    def answered(stop):
        options = {"max_new_tokens": 6, "batch_tokens": 1000, "score": "raw"}
        return answer_questions(lm, lm.embedding_matrix, encoder, questions, stop=stop, **options)[0]

    whole = answered("length")
    ids = continuations[-1].ids
    assert len(ids) == 6
    lm.model.generation_config.eos_token_id = ids[3]  # the fourth token becomes the end of an answer
    first = ids.index(ids[3])
    assert answered("end").stop_reason == "end"
    assert continuations[-1].ids == ids[:first]
    assert answered("length") == whole
    assert whole.stop_reason == "length"
