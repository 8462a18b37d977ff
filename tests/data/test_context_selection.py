"""Which part of a context a prompt keeps: never by the answer, and always as many tokens as blocks would take."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.config.block_settings import BlockKind
from thinwire.config.settings import PromptConfig
from thinwire.data.blocks import in_blocks
from thinwire.data.context_selection import kept_tokens, num_kept, sentence_starts
from thinwire.data.encoding import describe_selection, encode_questions
from thinwire.data.prompts import PromptEncoder
from thinwire.data.splits import Questions
from thinwire.errors import UsageError
from thinwire.schema import build
from tiny_models import example, tiny_tokenizer

TOKENIZERS = {"chat": tiny_tokenizer(), "plain": tiny_tokenizer(chat=False)}  # one token per byte or special token
TOWNS = "Aldor has a mill. Bree lies on a river. Cale has 3 castles. Dorn is old."
#        18 characters     22                     20                 12: 72 in all


def encoder(style="plain", **prompt):
    return PromptEncoder(TOKENIZERS[style], PromptConfig(style=style, **prompt))


def asked(question, context=TOWNS):
    return replace(example(context=context, answer="3"), question=question)


def kept_text(encoded, style="plain"):
    return TOKENIZERS[style].decode([encoded.prompt_ids[place] for place in encoded.context])


@pytest.mark.parametrize(
    ("num_tokens", "share", "kept"),
    [(100, 0.07, 7), (7, 0.5, 4), (8, 0.25, 2), (9, 0.25, 3), (1, 0.01, 1), (5, 1.0, 5)],
)
def test_a_share_is_rounded_up_as_the_decimal_number_that_it_is(num_tokens, share, kept):
    assert num_kept(num_tokens, share) == kept


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (TOWNS, ["Aldor has a mill. ", "Bree lies on a river. ", "Cale has 3 castles. ", "Dorn is old."]),
        ('He said "No!" Then he left (twice.) 12 came?', ['He said "No!" ', "Then he left (twice.) ", "12 came?"]),
        ("It cost 3.5 pounds, e.g. much. ", ["It cost 3.5 pounds, e.g. much. "]),
        ("Dr. Lee came.", ["Dr. ", "Lee came."]),  # a limit that the function documents
        ("A title \n\n  and more\nlines", ["A title \n\n  ", "and more\n", "lines"]),
        ("\u201cNo.\u201d \u201cYes!\u201d", ["\u201cNo.\u201d ", "\u201cYes!\u201d"]),
        ("", [""]),
        ("...", ["..."]),
    ],
)
def test_sentences_end_at_marks_and_lines(text, sentences):
    starts = sentence_starts(text)
    assert [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)] == sentences


@given(st.text(st.sampled_from('aB .!?\n")'), max_size=40))
@settings(derandomize=True, deadline=None)
def test_sentences_are_never_empty_and_make_up_the_text(text):
    starts = sentence_starts(text)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] < max(1, len(text))


def test_a_token_belongs_to_the_sentence_of_its_last_character():
    # "A x." " B" " y." and " C." begin with the white space after the sentence before.
    text, places = "A x. B y. C.", [(0, 4), (4, 6), (6, 9), (9, 12)]
    assert kept_tokens(text, places, "b", 0.5, "bm25") == [1, 2]
    assert kept_tokens(text, places, "c", 0.5, "bm25") == [0, 3], "the rest is filled from the beginning"
    assert kept_tokens(text, places, "b", 0.5, "beginning") == [0, 1]


@pytest.mark.parametrize("style", ["chat", "plain"])
@pytest.mark.parametrize(
    ("share", "question", "kept"),
    [
        # 36 of 72 characters. "castles" and "cale" are in the third sentence alone, of 20; nothing else is in any
        # other, so the first one follows, of which 16 characters fit.
        (0.5, "How many castles in Cale?", "Aldor has a millCale has 3 castles. "),
        # Of 18, the third alone, whose end is cut.
        (0.25, "How many castles in Cale?", "Cale has 3 castles"),
        # The second has both words, the fourth one of them: 22 and 12 characters, and 2 of the first.
        (0.5, "river Dorn lies", "AlBree lies on a river. Dorn is old."),
        (0.5, "???", TOWNS[:36]),
    ],
)
def test_sentences_that_are_like_the_question_are_kept_in_their_order(style, share, question, kept):
    x = asked(question)
    found = encoder(style, context_share=share, context_choice="bm25").encode(x)
    assert kept_text(found, style) == kept
    assert TOKENIZERS[style].decode(found.prompt_ids) == encoder(style).render(x).replace(TOWNS, kept)
    assert (found.left_out, found.dropped) == (72 - len(kept), 0)


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_the_beginning_is_kept(style):
    x = asked("Which?", context="  abcdefghi\n")
    found = encoder(style, context_share=0.5).encode(x)
    assert (kept_text(found, style), found.left_out) == ("abcde", 4)
    assert encoder(style, context_share=1.0).encode(x) == encoder(style).encode(x)


CONTEXTS = st.text(st.sampled_from("abC .!?\né"), min_size=1, max_size=60).map(lambda text: f"[{text}]")


@given(CONTEXTS, st.sampled_from([2, 4, 5, 8]), st.sampled_from(["beginning", "bm25"]), st.sampled_from("abC?"))
@settings(derandomize=True, deadline=None)
def test_a_share_takes_as_many_positions_as_blocks(context, size, choice, question):
    x = asked(question, context=context)
    short = encoder(context_share=1 / size, context_choice=choice).encode(x)
    whole = encoder().encode(x)
    (blocks,), _, _ = in_blocks([[whole]], [], BlockKind(size, reads_context=False), 1000)
    assert len(short.prompt_ids) == len(blocks[0].prompt_ids)
    assert len(short.context) == len(blocks[0].context)
    assert short.num_tokens + short.left_out == whole.num_tokens
    # Nothing but tokens of the context went.
    assert short.prompt_ids[: short.context.start] == whole.prompt_ids[: whole.context.start]
    assert short.prompt_ids[short.context.stop :] == whole.prompt_ids[whole.context.stop :]
    rest = iter([whole.prompt_ids[place] for place in whole.context])
    assert all(short.prompt_ids[place] in rest for place in short.context), "in their order"


@given(CONTEXTS, st.sampled_from(["beginning", "bm25"]), st.integers(0, 30), st.booleans())
@settings(derandomize=True, deadline=None)
def test_the_answer_makes_no_difference(context, choice, start, keep_answer):
    encode = encoder(context_share=0.3, context_choice=choice).encode
    x = asked("a C", context=context)
    other = replace(x, answers=("elsewhere",), answer_start=min(start, len(context) - 1))
    assert encode(x, keep_answer=keep_answer).prompt_ids == encode(other, keep_answer=keep_answer).prompt_ids


def test_what_is_kept_may_still_be_truncated_and_training_then_keeps_its_answer():
    x = replace(asked("Cale castles"), answers=("castles",), answer_start=TOWNS.index("castles"))
    whole = len(encoder().encode(x, keep_answer=True).prompt_ids)
    # 36 are kept, "Aldor has a millCale has 3 castles. ", and 10 of them fit.
    short = encoder(context_share=0.5, context_choice="bm25", max_tokens=whole - 72 + 10)
    assert (kept_text(short.encode(x)), short.encode(x).dropped, short.encode(x).left_out) == ("Aldor has ", 26, 36)
    train = short.encode(x, keep_answer=True)
    assert TOKENIZERS["plain"].decode(train.prompt_ids).count("castles") == 2, "in the question and in the context"
    right = encoder(context_share=0.5, max_tokens=whole - 36 - 9, truncation="right").encode(x)
    assert (kept_text(right), right.dropped, right.left_out) == (TOWNS[:36], 9, 36)


def test_a_prompt_without_a_context_stays_as_it_is():
    x = asked("Which?", context="")
    assert encoder(context_share=0.5, context_choice="bm25").encode(x) == encoder().encode(x)


def test_sentences_cannot_be_compared_with_no_question():
    x = asked("")
    assert encoder(context_share=0.5).encode(x).left_out == 36
    with pytest.raises(UsageError, match=r"question q0: .*no question .* set prompt\.context_choice=beginning$"):
        encoder(context_share=0.5, context_choice="bm25").encode(x)


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_is_more_than_nothing_and_not_more_than_all(share):
    with pytest.raises(UsageError, match=r"^prompt\.context_share: "):
        build(PromptConfig, {"context_share": share}, where="prompt")


def test_a_sweep_says_what_was_left_out_and_counts_the_text_of_all_tokens(caplog):
    caplog.set_level("INFO")
    questions = Questions(train=[asked("a", "abcdefghij")], selection=[asked("b", "abcdef")], test=[asked("c", "ab")])
    encoded = encode_questions(questions, encoder(context_share=0.5))
    # 5, 3 and 1 of 10, 6 and 2 tokens.
    assert "prompt.context_share left out 3 of 6 tokens of a context on average" in caplog.messages
    assert describe_selection(encoded.train).startswith("prompt.context_share left out 5 of 10 tokens")
    assert encoded.text_bits_per_token() == 8  # a token is a byte
    caplog.clear()
    encode_questions(questions, encoder())
    assert not [message for message in caplog.messages if "context_share" in message]
