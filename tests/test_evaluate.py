"""Questions in groups and answers in order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import example, tiny_lm
from thinwire import evaluate
from thinwire.config import PromptConfig
from thinwire.evaluate import _groups, answer_questions, score_answer
from thinwire.prompts import Encoded, PromptEncoder

LM = tiny_lm()


def question(paragraph, length, number):
    made = example(paragraph)
    return Encoded(example=made, prompt_ids=(paragraph,) * length + (number,), answer_ids=(), dropped=0)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60)), min_size=1, max_size=30), st.integers(1, 400))
def test_groups_hold_every_question_once_and_keep_to_the_limit(shapes, limit):
    questions = [question(paragraph, length, number) for number, (paragraph, length) in enumerate(shapes)]
    groups = _groups(questions, 6, limit)
    assert sorted(i for group in groups for i in group) == list(range(len(questions)))
    for group in groups:
        longest = max(len(questions[i].prompt_ids) + 6 for i in group)
        assert len(group) == 1 or len(group) * longest <= limit


def test_questions_of_a_paragraph_lie_side_by_side_and_long_paragraphs_come_first():
    shapes = [(1, 10), (2, 30), (1, 12), (3, 20), (2, 28)]
    questions = [question(paragraph, length, number) for number, (paragraph, length) in enumerate(shapes)]
    (group,) = _groups(questions, 6, 10_000)
    assert [questions[i].prompt_ids[0] for i in group] == [2, 2, 3, 1, 1]


def test_answers_come_in_the_order_of_the_questions_whatever_the_groups():
    encoder = PromptEncoder(LM.tokenizer, PromptConfig())
    contexts = ["Ada wrote it in 1843.", "The mill has 12 wheels and stands by the river.", "Rain fell."]
    questions = [encoder.encode(example(n, context=contexts[n % 3], answer="Rain")) for n in range(7)]
    progress = []
    options = {"max_new_tokens": 5}
    together = answer_questions(
        LM,
        LM.table,
        encoder,
        questions,
        pass_tokens=100_000,
        on_progress=lambda done, total: progress.append((done, total)),
        **options,
    )
    alone = answer_questions(LM, LM.table, encoder, questions, pass_tokens=1, **options)
    assert [prediction.id for prediction in together] == [q.example.id for q in questions]
    assert together == alone
    assert progress == [(7, 7)]


@pytest.mark.parametrize(
    ("score", "text", "exact_match", "f1"),
    # Raw, one of 4 words is right and all of the gold answer is said: 2 x 1/4 x 1 / (1/4 + 1) = 0.4.
    [("first_line", "1843", 1.0, 1.0), ("raw", "1843\nAda wrote it", 0.0, 0.4)],
)
def test_the_first_line_is_scored_or_all_of_the_answer(score, text, exact_match, f1):
    asked = Encoded(example=example(), prompt_ids=(), answer_ids=(), dropped=0)
    prediction = score_answer(asked, "1843\nAda wrote it", "end", score)
    assert (prediction.text, prediction.exact_match, prediction.f1) == (text, exact_match, pytest.approx(f1))
    assert (prediction.raw_text, prediction.raw_f1) == ("1843\nAda wrote it", pytest.approx(0.4)), "both ways"


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_an_answer_that_stops_by_length_goes_on_behind_its_end(style, monkeypatch):
    lm, said = tiny_lm(), []
    real = evaluate.greedy_batches

    def heard(*args):
        for (answer,) in real(*args):
            said.append(answer)
            yield [answer]

    monkeypatch.setattr(evaluate, "greedy_batches", heard)
    encoder = PromptEncoder(lm.tokenizer, PromptConfig(style=style))
    questions = [encoder.encode(example())]

    def answered(stop):
        options = {"max_new_tokens": 6, "pass_tokens": 1000, "score": "raw"}
        return answer_questions(lm, lm.table, encoder, questions, stop=stop, **options)[0]

    whole = answered("length")
    ids = said[-1].ids
    assert len(ids) == 6
    lm.model.generation_config.eos_token_id = ids[3]  # the fourth token becomes the end of an answer
    first = ids.index(ids[3])
    assert answered("end").stop_reason == "end"
    assert said[-1].ids == ids[:first]
    assert answered("length") == whole
    assert whole.stop_reason == "length"
