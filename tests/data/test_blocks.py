"""Contexts in blocks of tokens: which ids they have, what they hold, and where prompts are cut."""

import pytest

from thinwire.config.block_settings import BlockKind
from thinwire.config.settings import PromptConfig
from thinwire.data.blocks import MISSING, counted_blocks, describe_blocks, in_blocks
from thinwire.data.prompts import Encoded, PromptEncoder
from tiny_models import example, tiny_tokenizer


def encoded(ids, start, stop):
    return Encoded(example=example(0), prompt_ids=tuple(ids), answer_ids=(1,), dropped=0, context=range(start, stop))


def test_blocks_are_numbered_behind_the_vocabulary_those_of_scored_prompts_first():
    trained = [encoded([9, 1, 2, 5, 6, 9], 1, 5)]
    scored = [encoded([9, 1, 2, 3, 4, 5, 9, 9], 1, 6)]
    (found,), train, blocks = in_blocks([scored], trained, BlockKind(2, reads_context=False), 100)
    # [1 2], [3 4] and [5] in the scored prompt; the trained one has [1 2] too, and [5 6].
    assert found[0].prompt_ids == (9, 100, 101, 102, 9, 9)
    assert train[0].prompt_ids == (9, 100, 103, 9)
    assert blocks.members.tolist() == [[1, 2], [3, 4], [5, MISSING], [5, 6]]
    assert blocks.num_scored == 3
    assert (found[0].context, found[0].num_tokens, found[0].answer_ids) == (range(1, 4), 8, (1,))
    assert describe_blocks(found, blocks) == (
        "blocks of 2 tokens: test prompts of 8 tokens take 6 positions on average; 4 different blocks in all"
    )


def test_blocks_are_counted_in_the_order_of_their_tokens_whatever_else_there_is():
    kind = BlockKind(2, reads_context=False)
    trained = [encoded([9, 5, 6, 1, 2, 9], 1, 5), encoded([5, 6, 5, 6, 5], 0, 5), encoded([9, 5, 6], 1, 1)]
    for scored in ([], [encoded([9, 8, 8, 1, 2, 7], 1, 6)]):
        _, train, blocks = in_blocks([scored], trained, kind, 100)
        members, counts = counted_blocks(blocks, train, 100)
        assert members.tolist() == [[1, 2], [5, MISSING], [5, 6]]
        assert counts.tolist() == [1, 1, 3]
    members, counts = counted_blocks(blocks, train[2:], 100)
    assert (members.shape, counts.shape) == ((0, 2), (0,))


def test_blocks_of_one_token_change_no_length_and_a_prompt_without_a_context_nothing():
    prompts = [encoded([7, 8, 8], 1, 3), encoded([7, 8], 0, 0)]
    (found,), _, blocks = in_blocks([prompts], [], BlockKind(1, reads_context=False), 10)
    assert [one.prompt_ids for one in found] == [(7, 10, 10), (7, 8)]
    assert blocks.members.tolist() == [[8]]


def test_blocks_of_a_kind_that_reads_contexts_are_the_same_in_the_same_context_alone():
    prompts = [encoded([9, 1, 2, 3, 9], 1, 4), encoded([8, 1, 2, 3, 4], 1, 4), encoded([9, 1, 2, 1, 2], 1, 5)]
    (found,), _, blocks = in_blocks([prompts], [], BlockKind(2, reads_context=True), 100)
    assert [one.prompt_ids for one in found] == [(9, 100, 101, 9), (8, 100, 101, 4), (9, 102, 103)]
    assert blocks.members.tolist() == [[1, 2], [3, MISSING], [1, 2], [1, 2]]
    assert blocks.contexts.tolist() == [0, 0, 1, 1]
    assert blocks.places.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(("max_tokens", "truncation"), [(1024, "context"), (120, "context"), (90, "right")])
@pytest.mark.parametrize("style", ["chat", "plain"])
def test_the_contexts_place_holds_the_contexts_tokens_and_no_others(style, max_tokens, truncation):
    tokenizer = tiny_tokenizer()
    encoder = PromptEncoder(tokenizer, PromptConfig(style=style, max_tokens=max_tokens, truncation=truncation))
    question = example(0, context="  Ada came and wrote to the town. " * 3)
    found = encoder.encode(question)
    inside = tokenizer.decode([found.prompt_ids[place] for place in found.context]).strip()
    assert inside
    assert question.context.strip().startswith(inside)
    if not found.dropped:
        assert inside == question.context.strip()
    assert len(found.prompt_ids) <= max_tokens
    alone = PromptEncoder(tokenizer, PromptConfig(style=style), with_context=False).encode(question)
    assert alone.context == range(0)
