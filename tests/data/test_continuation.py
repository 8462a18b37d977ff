"""The tokens of a text that continues a prompt, by hand and for tokenizers of several kinds."""

import pytest

from thinwire.config.settings import PromptConfig
from thinwire.data.continuation import Continuation
from thinwire.data.prompts import PromptEncoder
from tiny_models import example
from trained_tokenizers import trained_tokenizer

PARIS = example(context="The mill stands in Paris .", answer="Paris")


def longest_first(*vocabulary):
    """Return an encoder that takes the longest token of ``vocabulary`` at each place; ids are places in it."""

    def encode(text):
        ids = []
        while text:
            token = max(filter(text.startswith, vocabulary), key=len)
            ids.append(vocabulary.index(token))
            text = text[len(token) :]
        return ids

    return encode


def test_the_ids_after_the_prompts_end_are_the_texts():
    encode = longest_first("a", ":", "b", " b", "\n")
    assert Continuation(encode, "a:").ids("b") == [2]
    assert Continuation(encode, "a:").ids(" b") == [3]
    assert Continuation(encode, "a:").ids("ba") == [2, 0]


def test_a_token_across_the_prompts_end_is_not_taken_as_the_prompt_does_not_contain_it():
    # "a:b" is one token, 5, and the prompt "a:" is 0 and 1: "b" is tokenised after a line end instead.
    encode = longest_first("a", ":", "b", " b", "\n", "a:b")
    assert Continuation(encode, "a:").ids("b") == [2]
    assert Continuation(encode, "a:").ids(" b") == [3]


def test_where_a_line_end_is_merged_too_the_text_is_tokenised_alone():
    encode = longest_first("a", ":", "b", " b", "\n", "a:b", "\nb")
    assert Continuation(encode, "a:").ids("b") == [2]


def test_a_prompts_end_without_any_token_is_no_obstacle():
    encode = longest_first("a", "b", "\n")
    assert Continuation(lambda text: encode(text.strip()), " ").ids("b") == [1]


@pytest.mark.parametrize("style", ["chat", "plain"])
@pytest.mark.parametrize(("form", "text"), [("bare", "Paris"), ("space", " Paris")])
@pytest.mark.parametrize("kind", ["byte-level", "metaspace-first", "metaspace-always", "word-level"])
def test_prompt_and_answer_have_the_tokens_of_both_as_one_text(kind, style, form, text):
    tokenizer = trained_tokenizer(kind)
    encoder = PromptEncoder(tokenizer, PromptConfig(style=style, answer_form=form))
    coded = encoder.encode(PARIS)
    whole = tokenizer(encoder.render(PARIS) + text, add_special_tokens=False)["input_ids"]
    assert [*coded.prompt_ids, *coded.answer_ids] == [*whole, encoder.end_id]


@pytest.mark.parametrize(
    ("kind", "style", "bare", "space"),
    [
        ("byte-level", "chat", ["Paris"], ["ĠParis"]),
        ("byte-level", "plain", ["Paris"], ["ĠParis"]),
        # Alone, "Paris" would have the token with a space; it was never seen without, so its parts remain.
        ("metaspace-first", "chat", ["Pa", "ris"], ["▁Paris"]),
        ("metaspace-first", "plain", ["Pa", "ris"], ["▁Paris"]),
        # This kind writes a space after every special token, so a chat answer always has one.
        ("metaspace-always", "chat", ["▁Paris"], ["▁Paris"]),
        ("metaspace-always", "plain", ["Pa", "ris"], ["▁Paris"]),
        ("word-level", "chat", ["Paris"], ["Paris"]),
        ("word-level", "plain", ["Paris"], ["Paris"]),
    ],
)
def test_the_forms_of_an_answer_differ_where_the_tokenizer_tells_spaces_apart(kind, style, bare, space):
    tokenizer = trained_tokenizer(kind)
    for form, expected in (("bare", bare), ("space", space)):
        encoder = PromptEncoder(tokenizer, PromptConfig(style=style, answer_form=form))
        assert tokenizer.convert_ids_to_tokens(encoder.encode(PARIS).answer_ids[:-1]) == expected


def test_tokens_across_the_cue_do_not_hide_the_answers_beginning():
    # Without splitting, ": The" may be merged across the cue's end; the answer's ids still spell the answer alone.
    tokenizer = trained_tokenizer("unsplit")
    encoder = PromptEncoder(tokenizer, PromptConfig(style="plain", answer_form="space"))
    for answer in ("Paris", "The mill", "What is the capital", "Oslo"):
        coded = encoder.encode(example(context=f"x {answer} y", answer=answer))
        assert tokenizer.decode(coded.answer_ids[:-1]) == " " + answer
