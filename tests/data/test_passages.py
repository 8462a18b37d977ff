"""Passages: paragraphs with themselves or their continuation as the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.config.block_settings import TextReconstructionConfig
from thinwire.config.settings import PromptConfig
from thinwire.data.passages import continued, draw_passages, encode_contexts, repeated
from thinwire.data.prompts import Encoded, PromptEncoder
from tiny_models import example, tiny_tokenizer

END = 1
PASSAGE = Encoded(
    example=example(0), prompt_ids=(9, 9, 11, 12, 13, 14, 15, 8), answer_ids=(), dropped=0, context=range(2, 7)
)


def test_a_passage_to_repeat_has_its_own_context_as_its_answer():
    found = repeated(PASSAGE, END)
    assert (found.prompt_ids, found.context) == (PASSAGE.prompt_ids, PASSAGE.context)
    assert found.answer_ids == (11, 12, 13, 14, 15, END)
    cut = repeated(PASSAGE, END, skip=2)
    assert cut.prompt_ids == (9, 9, 13, 14, 15, 8)
    assert (cut.context, cut.answer_ids) == (range(2, 5), (13, 14, 15, END))


def test_a_passage_to_continue_shows_a_part_and_its_answer_is_the_rest():
    found = continued(PASSAGE, END, skip=1, kept=2)
    assert found.prompt_ids == (9, 9, 12, 13, 8)
    assert (found.context, found.answer_ids) == (range(2, 4), (14, 15, END))


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_each_context_is_encoded_once_and_short_ones_are_left_out(style):
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig(style=style))
    long = "Ada wrote the first program in the mill by the river."
    examples = [example(0, context=long), example(1, context=long), example(2, context="A."), example(3, context=" ")]
    (found,) = encode_contexts(examples, encoder, "autoencoding")
    assert tiny_tokenizer().decode([found.prompt_ids[place] for place in found.context]).strip() == long
    text = tiny_tokenizer().decode(found.prompt_ids, skip_special_tokens=True)
    assert "Repeat the text word for word." in text
    assert examples[0].question not in text
    (other,) = encode_contexts(examples, encoder, "continuation")
    assert len(other.context) == len(found.context)


@given(st.integers(1, 8), st.integers(1, 40), st.sampled_from(["autoencoding", "continuation", "both"]), st.integers())
def test_all_contexts_are_drawn_before_any_is_again_and_no_token_is_lost_or_added(size, number, mode, seed):
    contexts = []
    for offset in range(4):
        ids = (99, *range(100 * offset + 100, 100 * offset + 110 + 10 * offset), 98)
        one = Encoded(example=example(offset), prompt_ids=ids, answer_ids=(), dropped=0, context=range(1, len(ids) - 1))
        contexts.append(one)
    config = TextReconstructionConfig(passages=number, mode=mode)
    by_request = {"autoencoding": contexts, "continuation": contexts}
    drawn = list(draw_passages(by_request, config, size, END, seed))
    assert len(drawn) == number
    by_id = {one.example.id: one.prompt_ids[1:-1] for one in contexts}
    counts = [sum(one.example.id == name for one in drawn) for name in by_id]
    assert max(counts) - min(counts) <= 1
    for one in drawn:
        whole = by_id[one.example.id]
        shown = tuple(one.prompt_ids[place] for place in one.context)
        *answer, end = one.answer_ids
        assert (one.prompt_ids[0], one.prompt_ids[-1], end) == (99, 98, END)
        skipped = whole.index(shown[0])
        assert skipped < size
        if shown == tuple(answer):
            assert mode != "continuation"
            assert shown == whole[skipped:]
        else:
            assert mode != "autoencoding"
            assert (*shown, *answer) == whole[skipped:]
            assert answer
    assert list(draw_passages(by_request, config, size, END, seed)) == drawn
