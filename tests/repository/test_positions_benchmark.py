"""The benchmark of fewer positions: its contexts, what is timed, and that no way of reading ends early."""

import argparse
import itertools

import pytest
import torch

from benchmark_programs import program
from thinwire.config.settings import PromptConfig
from thinwire.data.prompts import PromptEncoder
from tiny_models import example, tiny_lm

positions = program("positions")

PARAGRAPHS = [
    example(n, context=text) for n, text in enumerate(["Rain fell.", "Ada wrote the first program.", "A mill."] * 3)
]


@pytest.fixture(scope="module")
def lm():
    return tiny_lm()


@pytest.fixture(scope="module")
def encoder(lm):
    return PromptEncoder(lm.tokenizer, PromptConfig(max_tokens=2000))


@pytest.fixture
def questions(lm, encoder):
    return positions.long_questions(encoder, lm.tokenizer, PARAGRAPHS, 3, 50)


def test_contexts_have_exactly_as_many_tokens_and_the_question_stays(lm, questions):
    assert [len(question.context) for question in questions] == [50] * 3
    assert len({question.example.paragraph_id for question in questions}) == 3
    for question in questions:
        ids = question.prompt_ids
        context = lm.tokenizer.decode(ids[question.context.start : question.context.stop])
        assert context == question.example.context[:50]  # a byte is a token
        assert question.example.question in lm.tokenizer.decode(ids[question.context.stop :])


def test_blocks_are_encoded_when_the_matrix_is_made(lm, questions):
    text, pairs = positions.Reading(lm, 1), positions.Reading(lm, 2)
    assert text.matrix(text.prompts(questions)) is lm.embedding_matrix
    prompts = pairs.prompts(questions)
    assert [len(question.context) for question in prompts.questions] == [25] * 3
    matrix = pairs.matrix(prompts)
    assert len(matrix) == len(lm.embedding_matrix) + len(prompts.blocks.members)
    first = prompts.questions[0]
    block, members = first.prompt_ids[first.context.start], questions[0].prompt_ids[first.context.start :][:2]
    # The encoder begins as the mean.
    assert torch.allclose(matrix[block], lm.embedding_matrix[list(members)].mean(0), atol=1e-5)


def test_all_ways_take_turns_and_the_first_run_does_not_count():
    ran, ticks = [], itertools.count()
    works = {size: lambda size=size: ran.append((size, next(ticks))) for size in (1, 2)}
    seconds = positions.timed(works, torch.device("cpu"), 2)
    assert [size for size, _ in ran] == [2, 1, 1, 2, 2, 1]
    assert {size: len(found) for size, found in seconds.items()} == {1: 2, 2: 2}


def test_a_row_says_what_was_read_and_how_many_times_as_fast(lm, encoder, questions, monkeypatch):
    said = []
    original = positions.answer_questions

    def answer(*args, **options):
        said.append({one.stop_reason for one in original(*args, **options)})

    monkeypatch.setattr(positions, "answer_questions", answer)
    readings = [positions.Reading(lm, size) for size in (1, 2)]
    options = argparse.Namespace(max_new_tokens=3, repetitions=1, first_token_repetitions=2)
    text, pairs = positions.measure_context(lm, encoder, questions, readings, options, 50)
    assert said == [{"length"}] * 4
    assert (text["positions"], text["encoder_flops"], text["different_blocks"]) == (text["tokens"], 0, 0)
    assert (pairs["tokens"], pairs["positions"]) == (text["tokens"], text["tokens"] - 25)
    assert pairs["prefill_flops"] < text["prefill_flops"]
    assert pairs["encoder_flops"] > 0
    assert pairs["batch_speedup"] == text["batch_seconds"]["median"] / pairs["batch_seconds"]["median"]
    assert text["first_token_speedup"] == 1
    assert len(positions.format_rows([text, pairs]).splitlines()) == 3
