"""Passages: contexts in prompts, and something of them to be written."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.config.settings import PromptConfig
from thinwire.data.passages import (
    Passages,
    draw_passages,
    longest_text,
    passage_prompts,
    repeated,
    to_be_measured,
    with_requests,
)
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.question_slot import QuestionSlot
from thinwire.errors import UsageError
from thinwire.tasks.table import TASKS
from tiny_models import example, tiny_tokenizer
from trained_tokenizers import trained_tokenizer

END = 1
MODES = ("autoencoding", "continuation", "recall", "cloze")
LONG = "Ada wrote the first program in the mill by the river."


def encoded_passages(examples, encoder, modes):
    return with_requests(passage_prompts(examples, encoder), encoder, modes)


def context_of(passage):
    return [passage.prompt_ids[place] for place in passage.context]


def made(prompts, slot=QuestionSlot(None, 1, 1)):  # noqa: B008 - immutable
    """Passages whose requests are the ids 50 to 53, the last two with the blank 60."""
    requests = {"autoencoding": ((50,), (), ()), "continuation": ((51,), (), ())}
    requests |= {"recall": ((52,), (60,), ()), "cloze": ((53,), (60,), (61,))}
    return Passages(prompts=prompts, slot=slot, requests=requests, end_id=END)


def prompt(number, length):
    """A prompt of a beginning 90, a context of ``length`` ids that no other prompt has, a question 91 and an end 92."""
    context = range(100 + 100 * number, 100 + 100 * number + length)
    return Encoded(
        example=example(number),
        prompt_ids=(90, *context, 91, 92),
        answer_ids=(),
        dropped=0,
        context=range(1, 1 + length),
    )


def test_a_passage_to_repeat_has_the_request_for_its_question_and_its_context_for_its_answer():
    passage = prompt(0, 4)
    found = repeated(made([passage]), passage, (101, 102))
    assert found.prompt_ids == (90, 101, 102, 50, 92)
    assert (found.context, found.answer_ids) == (range(1, 3), (101, 102, END))


def test_a_question_before_the_context_is_replaced_where_it_is():
    passage = Encoded(
        example=example(0), prompt_ids=(90, 91, 80, 100, 101, 92), answer_ids=(), dropped=0, context=range(3, 5)
    )
    found = made([passage], QuestionSlot(1, 4, 1)).asking(passage, (50, 51), (101,), (7,))
    assert found.prompt_ids == (90, 50, 51, 80, 101, 92)
    assert context_of(found) == [101]


@given(st.integers(1, 8), st.integers(1, 40), st.lists(st.sampled_from(MODES), min_size=1, unique=True), st.integers())
def test_what_is_asked_for_is_in_the_context_where_the_request_says(size, number, modes, seed):
    passages = made([prompt(n, 16 + 7 * n) for n in range(4)])
    drawn = list(draw_passages(passages, modes, number, size, seed))
    assert drawn == list(draw_passages(passages, modes, number, size, seed))
    counts = [sum(one.example.id == by.example.id for one in drawn) for by in passages.prompts]
    assert (sum(counts), max(counts) - min(counts) <= 1) == (number, True)
    for one in drawn:
        (whole,) = (context_of(by) for by in passages.prompts if by.example.id == one.example.id)
        context, answer, asked = context_of(one), list(one.answer_ids), list(one.prompt_ids[one.context.stop : -1])
        skipped = whole.index(context[0])
        assert skipped < size
        assert (one.prompt_ids[0], one.prompt_ids[-1]) == (90, 92)
        mode = MODES[asked[0] - 50]
        assert mode in modes
        if mode == "continuation":
            assert context + answer == [*whole[skipped:], END]
            assert len(answer) > 1
            continue
        assert context == whole[skipped:]
        if mode == "autoencoding":
            assert (asked, answer) == ([50], [*context, END])
        elif mode == "recall":
            quoted = asked[1:]
            first = context.index(quoted[0])
            rest = [*context[first + len(quoted) :], END]
            assert quoted == context[first : first + len(quoted)]
            assert answer == rest[:32]
        else:
            blank = asked.index(60)
            *filling, end = answer
            around = [*asked[1:blank], *filling, *asked[blank + 1 : -1]]
            first = context.index(around[0])
            assert around == context[first : first + len(around)]
            assert (end, asked[-1]) == (END, 61)


@given(st.integers(1, 12), st.lists(st.sampled_from(MODES), min_size=1, unique=True), st.integers())
def test_several_requests_are_of_the_same_blocks_and_ask_for_the_whole_text_once(requests, modes, seed):
    passages = made([prompt(n, 16 + 7 * n) for n in range(4)])
    drawn = list(draw_passages(passages, modes, 6, 2, seed, requests=requests))
    places = {"recall", "cloze"} & set(modes)
    each = requests if places else min(requests, len(modes))
    assert len(drawn) == 6 * each
    assert len({one.example.paragraph_id for one in drawn}) == 6, "a paragraph that is seen again is another"
    for first in range(0, len(drawn), each):
        asked = drawn[first : first + each]
        assert len({(one.example.id, one.example.paragraph_id) for one in asked}) == 1
        contexts = [context_of(one) for one in asked]
        longest = max(contexts, key=len)
        assert all(context == longest[: len(context)] for context in contexts), "one cut into blocks for all"
        found = [MODES[one.prompt_ids[one.context.stop] - 50] for one in asked]
        assert {mode for mode in found if found.count(mode) > 1} <= places


@given(seed=st.integers(0, 99), requests=st.integers(1, 5), modes=st.sets(st.sampled_from(MODES), min_size=1))
def test_which_passages_come_and_where_they_begin_does_not_depend_on_what_is_asked(seed, requests, modes):
    passages = made([prompt(number, 20) for number in range(5)])
    plain = [one.answer_ids[0] for one in draw_passages(passages, ["autoencoding"], 12, 4, seed)]
    asked = draw_passages(passages, sorted(modes), 12, 4, seed, requests=requests)
    begins = {one.example.paragraph_id: one.prompt_ids[one.context.start] for one in asked}
    assert list(begins.values()) == plain


@pytest.mark.parametrize("template", [None, "Q: {{ question }} T: {{ context }} Answer."])
@pytest.mark.parametrize("style", ["chat", "plain"])
def test_each_context_is_encoded_once_and_what_is_asked_reads_as_text(style, template):
    tokenizer = tiny_tokenizer()
    encoder = PromptEncoder(tokenizer, PromptConfig(style=style, template=template))
    examples = [example(0, context=LONG), example(1, context=LONG), example(2, context="A."), example(3, context=" ")]
    passages = encoded_passages(examples, encoder, MODES)
    (passage,) = passages.prompts
    context = tuple(context_of(passage))
    assert tokenizer.decode(context).strip() == LONG
    found = repeated(passages, passage, context)
    asked = encoder.encode_prompt(replace(example(0, context=LONG), question="Repeat the text word for word."))
    assert (found.prompt_ids, found.context) == (asked.prompt_ids, asked.context)
    (one,) = draw_passages(passages, ["cloze"], 1, 1, 0)
    text = tokenizer.decode(one.prompt_ids)
    filled = text.partition("fill the blank?")[2].replace("____", tokenizer.decode(one.answer_ids[:-1])).strip()
    quoted = filled.partition(" T: " if template else "<|end|>" if style == "chat" else "\n")[0].strip()
    assert quoted
    assert quoted in LONG


def test_prompts_without_a_question_can_only_ask_for_the_continuation():
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig(style="plain", template="{{ context }}"))
    examples = [replace(example(0, context=LONG), question="")]
    with pytest.raises(UsageError, match=r"set blocks.reconstruction.modes=\[continuation\]"):
        encoded_passages(examples, encoder, ("autoencoding",))
    passages = encoded_passages(examples, encoder, ("continuation",))
    (one,) = draw_passages(passages, ["continuation"], 1, 1, 0)
    text = tiny_tokenizer().decode((*one.prompt_ids, *one.answer_ids[:-1]))
    assert text.strip() == LONG


def read(passages, passage):
    """The prompt of ``passage`` with all of its context asked for, as text."""
    return tiny_tokenizer().decode(to_be_measured(passages, passage).prompt_ids)


def test_the_request_stands_for_the_question_whatever_options_follow_it():
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig(), TASKS["multiple_choice"])
    options = [("elm", "birch"), ("a much longer option", "another", "a third")]
    examples = [replace(example(n, context=f"{LONG} {n}"), choices=one) for n, one in enumerate(options)]
    passages = encoded_passages(examples, encoder, MODES)
    for number, passage in enumerate(passages.prompts):
        asked = encoder.encode_prompt(
            replace(passage.example, question="Repeat the text word for word.", choices=())
        ).prompt_ids
        assert to_be_measured(passages, passage).prompt_ids == asked
        assert options[number][1] not in read(passages, passage)


@pytest.mark.parametrize("changes", [{"truncation": "right"}, {}, {"context_share": 0.5, "context_choice": "bm25"}])
def test_contexts_and_never_requests_are_shortened(changes):
    """130 bytes would end in the question, of which ``right`` would leave nothing."""
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig(max_tokens=130, **changes))
    examples = [example(n, context=f"{LONG * (n + 1)} {n}") for n in range(2)]
    passages = encoded_passages(examples, encoder, MODES)
    assert len(passages.prompts) == 2
    for passage in passages.prompts:
        text = read(passages, passage)
        assert text.endswith("\n\nQuestion: Repeat the text word for word.<|end|><|assistant|>")
        assert text.count("Question") == 1
        kept = tiny_tokenizer().decode(context_of(passage))
        assert f"Text: {kept}\n\n" in text
    (recalled,) = draw_passages(passages, ["recall"], 1, 1, 0)
    assert tiny_tokenizer().decode(recalled.prompt_ids).endswith("<|end|><|assistant|>")


@pytest.mark.parametrize("kind", ["byte-level", "metaspace-first", "metaspace-always", "unsplit", "word-level"])
@pytest.mark.parametrize("template", [None, "{{ question }}\n\n{{ context }}", "{{ context }} {{ question }}"])
@pytest.mark.parametrize("style", ["chat", "plain"])
def test_requests_are_the_prompts_of_every_kind_of_tokenizer(kind, template, style):
    """To words of which the tokenizer knows none, too, and next to which tokens may be others."""
    encoder = PromptEncoder(trained_tokenizer(kind), PromptConfig(style=style, template=template))
    text = "Paris is the capital of France and Oslo is the capital of Norway. The mill has twelve wheels"
    passages = encoded_passages([example(n, context=f"{text} and stands in Paris" * n) for n in (1, 2)], encoder, MODES)
    for passage in passages.prompts:
        asked = encoder.encode_prompt(replace(passage.example, question="Repeat the text word for word."))
        assert to_be_measured(passages, passage).prompt_ids == asked.prompt_ids


def test_a_template_that_writes_the_question_twice_is_refused():
    """Else the context of the first passage, which stands between them, would be in the prompts of all, as tokens."""
    template = "{{ question }} T: {{ context }} Again: {{ question }}"
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig(template=template))
    with pytest.raises(UsageError, match=r"write the question once, .* blocks\.reconstruction\.passages=0"):
        encoded_passages([example(0, context=LONG)], encoder, MODES)


def test_a_template_without_the_question_can_only_ask_for_the_continuation():
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig(template="T: {{ context }} What?"))
    with pytest.raises(UsageError, match=r"set blocks.reconstruction.modes=\[continuation\]"):
        encoded_passages([example(0, context=LONG)], encoder, MODES)
    passages = encoded_passages([example(0, context=LONG)], encoder, ["continuation"])
    (passage,) = passages.prompts
    measured = to_be_measured(passages, passage)
    assert read(passages, passage) == f"<|user|>T: {LONG[: len(LONG) // 2]} What?<|end|><|assistant|>"
    assert tiny_tokenizer().decode(measured.answer_ids[:-1]) == LONG[len(LONG) // 2 :]


@given(
    st.integers(1, 8), st.integers(90, 400), st.lists(st.sampled_from(MODES), min_size=1, unique=True), st.integers()
)
def test_texts_are_cut_to_what_the_model_reads_at_once(size, positions, modes, seed):
    passages = made([prompt(n, 100 + 50 * n) for n in range(2)])
    longest = longest_text(passages, size, positions)
    for one in draw_passages(passages, modes, 10, size, seed, longest):
        saved = len(one.context) - -(-len(one.context) // size)
        assert len(one.prompt_ids) - saved + len(one.answer_ids) <= positions
    (most,) = (to_be_measured(passages, one, longest) for one in passages.prompts[1:])
    assert len(most.context) == min(150, longest)


def test_a_model_that_reads_too_little_for_any_text_is_refused():
    passages = made([prompt(0, 20)])
    assert longest_text(passages, 2, None) is None
    with pytest.raises(UsageError, match=r"reads 50 positions, .* blocks\.reconstruction\.passages=0"):
        longest_text(passages, 2, 50)
