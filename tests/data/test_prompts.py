from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from thinwire.config.settings import PromptConfig
from thinwire.data.prompts import PromptEncoder, end_of_turn_id
from thinwire.errors import UsageError
from tiny_models import END_ID, EOS_ID, example, tiny_tokenizer

TOKENIZERS = {"chat": tiny_tokenizer(), "plain": tiny_tokenizer(chat=False)}
BOTH = pytest.mark.parametrize("style", ["chat", "plain"])
START = "Answer the question with a short phrase from the text.\n\nText: "


def encoder(style="chat", max_tokens=1024, truncation="context", answer_form="auto", **options):
    config = PromptConfig(style=style, max_tokens=max_tokens, truncation=truncation, answer_form=answer_form)
    return PromptEncoder(TOKENIZERS[style], config, **options)


def text_of(ids, style="chat"):
    return TOKENIZERS[style].decode(ids)


def ends_of(style, question):
    """Return the text before and after the context in a prompt; one token per byte or special token."""
    before, after = START, f"\n\nQuestion: {question}"
    return ("<|user|>" + before, after + "<|end|><|assistant|>") if style == "chat" else (before, after + "\n\nAnswer:")


def num_tokens(text, style="chat"):
    return len(TOKENIZERS[style](text, add_special_tokens=False)["input_ids"])


@BOTH
def test_a_prompt_is_instruction_context_question_and_cue(style):
    x = example(3)
    head, tail = ends_of(style, "When was program 3 written?")
    assert text_of(encoder(style).encode(x).prompt_ids, style) == head + x.context + tail


@BOTH
def test_without_context_the_question_stands_alone(style):
    prompt = text_of(encoder(style, with_context=False).encode(example(3)).prompt_ids, style)
    assert "When was program 3 written?" in prompt
    assert "Ada" not in prompt
    assert "text" not in prompt.lower()


def test_braces_in_a_text_are_left_alone():
    x = example(context="{question} {0} 1843", answer="1843")
    assert "Text: {question} {0} 1843\n" in encoder().render(x)


def test_auto_is_chat_where_there_is_a_template_and_plain_elsewhere():
    assert PromptEncoder(TOKENIZERS["chat"], PromptConfig()).style == "chat"
    assert PromptEncoder(TOKENIZERS["plain"], PromptConfig()).style == "plain"
    assert PromptEncoder(TOKENIZERS["chat"], PromptConfig(style="plain")).style == "plain"


def test_chat_without_a_template_is_refused():
    with pytest.raises(UsageError, match=r"no chat template; set prompt\.style=plain"):
        PromptEncoder(TOKENIZERS["plain"], PromptConfig(style="chat"))


def test_the_end_of_a_turn_is_taken_from_the_template_and_not_from_eos_token():
    tokenizer = tiny_tokenizer()
    assert tokenizer.eos_token_id == EOS_ID != END_ID
    assert end_of_turn_id(tokenizer) == END_ID
    assert PromptEncoder(tokenizer, PromptConfig()).end_id == END_ID


def test_a_turn_that_the_template_does_not_end_ends_with_eos_token():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    assert end_of_turn_id(tokenizer) == EOS_ID


def test_white_space_before_the_end_of_a_turn_is_skipped():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "\n<|end|>\n")
    assert end_of_turn_id(tokenizer) == END_ID


def test_a_model_without_any_end_token_is_refused():
    tokenizer = tiny_tokenizer(chat=False)
    tokenizer.eos_token = None
    with pytest.raises(UsageError, match="names no end token"):
        PromptEncoder(tokenizer, PromptConfig())


@pytest.mark.parametrize(("style", "end"), [("chat", END_ID), ("plain", EOS_ID)])
@pytest.mark.parametrize(("form", "answer"), [("bare", "1843"), ("space", " 1843"), ("auto", " 1843")])
def test_an_answer_is_the_first_gold_in_its_form_and_ends_with_the_end_token(style, end, form, answer):
    x = replace(example(), answers=("1843 ", "in 1843"))
    *answer_ids, last = encoder(style, answer_form=form).encode(x).answer_ids
    assert text_of(answer_ids, style) == answer
    assert last == end


@BOTH
def test_an_encoder_with_a_form_differs_in_nothing_but_the_answers(style):
    first = encoder(style, answer_form="space", max_tokens=130, with_context=False)
    other = first.with_form("bare")
    asked = first.encode(example())
    assert other.encode(example()) == first.with_answer_in("bare", asked) != asked
    assert replace(other.encode(example()), answer_ids=()) == replace(asked, answer_ids=())
    assert (other.style, other.end_id) == (first.style, first.end_id)
    assert other.render(example()) == first.render(example())


@pytest.mark.parametrize(("style", "end"), [("chat", "<|end|><|assistant|>"), ("plain", "\n\nAnswer:")])
def test_the_prompts_end_is_what_follows_the_question(style, end):
    assert encoder(style).end_of(example()) == end
    assert encoder(style).render(example()).endswith(example().question + end)


def test_prompt_and_answer_are_the_conversation_as_the_template_writes_it():
    coded = encoder(answer_form="bare").encode(example())
    head, tail = ends_of("chat", example().question)
    conversation = [
        {"role": "user", "content": (head + example().context + tail)[len("<|user|>") : -len("<|end|><|assistant|>")]},
        {"role": "assistant", "content": "1843"},
    ]
    whole = TOKENIZERS["chat"].apply_chat_template(conversation, tokenize=False)
    assert text_of([*coded.prompt_ids, *coded.answer_ids]) == whole


def test_a_plain_prompt_begins_as_the_tokenizer_begins_a_text_and_chat_as_its_template_does():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", 0)]
    )
    plain = PromptEncoder(tokenizer, PromptConfig(style="plain")).encode(example())
    chat = PromptEncoder(tokenizer, PromptConfig(style="chat")).encode(example())
    assert (plain.prompt_ids[0], plain.prompt_ids.count(0)) == (0, 1)
    assert 0 not in chat.prompt_ids
    assert 0 not in plain.answer_ids + chat.answer_ids


def test_a_prompt_does_not_change_with_the_day():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string }}" + tokenizer.chat_template
    )
    assert PromptEncoder(tokenizer, PromptConfig()).render(example()).startswith("26 Jul 2024<|user|>")


@BOTH
def test_training_and_evaluation_use_the_same_prompt(style):
    assert encoder(style).encode(example(), keep_answer=True) == encoder(style).encode(example())


@BOTH
def test_an_evaluation_prompt_is_the_same_whatever_the_gold_answer_is(style):
    context = "x" * 90 + " 1843"
    x = example(context=context, answer="1843")
    other = replace(x, answers=("x",), answer_start=0)
    unknown = replace(x, answers=("elsewhere",), answer_start=None)
    # 40 of the 95 context tokens fit: the answer at the end is cut, whatever it is.
    limit = num_tokens(encoder(style).render(x), style) - 55
    prompts = {encoder(style, limit).encode(y).prompt_ids for y in (x, other, unknown)}
    assert len(prompts) == 1
    assert "1843" not in text_of(*prompts, style)


@BOTH
def test_truncation_cuts_the_end_of_the_context_alone(style):
    x = example(context="abcdefghij", answer="a")
    head, tail = ends_of(style, x.question)
    full = num_tokens(head + x.context + tail, style)
    coded = encoder(style, full - 4).encode(x)
    assert text_of(coded.prompt_ids, style) == head + "abcdef" + tail
    assert coded.dropped == 4
    assert encoder(style, full).encode(x).dropped == 0


@BOTH
def test_the_whole_context_may_go_but_never_more(style):
    x = example(context="abcdefghij", answer="a")
    head, tail = ends_of(style, x.question)
    bare = num_tokens(head + tail, style)
    assert text_of(encoder(style, bare).encode(x).prompt_ids, style) == head + tail
    message = f"question q0: the prompt takes {bare} tokens without any context, .*prompt.max_tokens={bare - 1}"
    with pytest.raises(UsageError, match=message):
        encoder(style, bare - 1).encode(x)


@pytest.mark.parametrize(
    ("style", "cut", "left"),
    # Lost: "swer:"; the whole cue, 9, and "gram 0 written?", 15; two special tokens.
    [("plain", 5, "written?\n\nAn"), ("plain", 24, "\n\nQuestion: When was pro"), ("chat", 2, "program 0 written?")],
)
def test_truncation_from_the_right_takes_cue_and_question_and_keeps_the_context(style, cut, left):
    x = example(context="abcdefghij", answer="a")
    head, tail = ends_of(style, x.question)
    limit = num_tokens(head + x.context + tail, style) - cut
    coded = encoder(style, limit, "right").encode(x)
    assert text_of(coded.prompt_ids, style).endswith(left)
    assert text_of(coded.prompt_ids, style).startswith(head + x.context)
    assert (len(coded.prompt_ids), coded.dropped) == (limit, cut)
    assert encoder(style, limit, "right").encode(x, keep_answer=True) == coded, "in training too"


@BOTH
def test_a_prompt_that_fits_is_the_same_under_either_truncation(style):
    assert encoder(style, truncation="right").encode(example()) == encoder(style).encode(example())


def test_truncation_from_the_right_may_leave_no_question_at_all():
    coded = encoder("plain", 20, "right").encode(example())
    assert text_of(coded.prompt_ids, "plain") == START[:20]


def test_a_prompt_without_context_is_never_shortened():
    with pytest.raises(UsageError, match=r"prompt\.max_tokens=20"):
        encoder(max_tokens=20, with_context=False).encode(example())


def test_a_context_that_also_occurs_in_the_instruction_is_cut_where_it_stands():
    x = example(context="short phrase", answer="short")
    head, tail = ends_of("plain", x.question)
    limit = num_tokens(head + tail, "plain") + 5
    assert text_of(encoder("plain", limit).encode(x).prompt_ids, "plain") == head + "short" + tail


LETTERS = st.text(st.sampled_from("abcdefgh é."), max_size=40)


@given(st.sampled_from(["chat", "plain"]), LETTERS, LETTERS, st.integers(0, 100), st.booleans())
@settings(derandomize=True, deadline=None)
def test_instruction_question_and_cue_survive_any_truncation(style, before, after, room, keep_answer):
    context = f"[{before}1843{after}]"  # brackets: neither stripped nor part of the instruction
    x = example(context=context, answer="1843")
    head, tail = (TOKENIZERS[style](part, add_special_tokens=False)["input_ids"] for part in ends_of(style, x.question))
    inside = TOKENIZERS[style](context, add_special_tokens=False)["input_ids"]
    coded = encoder(style, len(head) + len(tail) + room).encode(x, keep_answer=keep_answer)
    ids, kept = list(coded.prompt_ids), min(room, len(inside))
    assert len(ids) == len(head) + kept + len(tail)
    assert coded.dropped == len(inside) - kept
    assert (ids[: len(head)], ids[len(ids) - len(tail) :]) == (head, tail)
    window = ids[len(head) : len(head) + kept]
    assert any(inside[i : i + kept] == window for i in range(len(inside) - kept + 1))
    assert keep_answer or window == inside[:kept]


@given(st.sampled_from(["chat", "plain"]), LETTERS, LETTERS, st.sampled_from(["", " ", "\n\t "]), st.integers(0, 60))
@settings(derandomize=True, deadline=None)
def test_training_keeps_the_answer_wherever_it_stands_if_it_fits_at_all(style, before, after, indent, room):
    x = example(context=f"{indent}[{before}1843{after}]", answer="1843")
    fixed = num_tokens("".join(ends_of(style, x.question)), style)
    prompt = text_of(encoder(style, fixed + 4 + room).encode(x, keep_answer=True).prompt_ids, style)
    assert "1843" in prompt


def test_training_keeps_the_answer_at_the_place_that_is_marked():
    # "9" stands at 1 and at 18; the second is the answer. 5 of 20 tokens stay, with the answer in the middle.
    x = replace(example(context="[9aaaaaaaaaaaaaaab9c", answer="9"), answer_start=18)
    fixed = num_tokens("".join(ends_of("plain", x.question)), "plain")
    prompt = text_of(encoder("plain", fixed + 5).encode(x, keep_answer=True).prompt_ids, "plain")
    assert "aab9c" in prompt
    assert "[" not in prompt


def test_an_answer_that_fits_anyway_does_not_move_the_window():
    x = example(context="[1843 and more to be cut]", answer="1843")
    fixed = num_tokens("".join(ends_of("chat", x.question)))
    short = encoder(max_tokens=fixed + 10)
    assert short.encode(x, keep_answer=True) == short.encode(x)


def templated(template, style="plain", **settings):
    config = PromptConfig(style=style, template=template, **settings)
    return PromptEncoder(TOKENIZERS[style], config)


TEMPLATES = [
    "{{ context }}\n{{ question }}",
    "{{ question }}\n{{ context }}",
    "  {{ question }} [{{ context }}] {{ question }}  ",
    "\n\n{{ context }}",
]


@BOTH
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("keep_answer", [False, True])
def test_a_context_is_shortened_wherever_a_template_puts_it(style, template, keep_answer):
    x = replace(example(context="(before 1843 after)", answer="1843"), question="When?")
    whole = templated(template, style).encode(x)
    message = template.replace("{{ question }}", "When?")
    around = {"chat": ("<|user|>", "<|end|><|assistant|>"), "plain": ("", "\n\nAnswer:")}[style]
    assert text_of(whole.prompt_ids, style) == around[0] + message.replace("{{ context }}", x.context) + around[1]
    short = templated(template, style, max_tokens=len(whole.prompt_ids) - 12).encode(x, keep_answer=keep_answer)
    # 7 of 19 characters stay: the first ones, or 7 around the answer at 8 to 12, whose middle is 10: from 7.
    kept = "e 1843 a"[1:] if keep_answer else "(before"
    assert text_of(short.prompt_ids, style) == around[0] + message.replace("{{ context }}", kept) + around[1]
    assert short.dropped == 12


def test_a_chat_template_that_strips_messages_moves_the_context():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("m['content']", "m['content'] | trim")
    encode = PromptEncoder(
        tokenizer, PromptConfig(template="\n \n{{ context }}: {{ question }}  ", max_tokens=30)
    ).encode
    x = replace(example(context="abcdefghijklmnopqrstuvwxyz", answer="a"), question="Where?")
    # Special tokens 3, ": Where?" 8: 19 letters stay.
    assert text_of(encode(x).prompt_ids) == "<|user|>abcdefghijklmnopqrs: Where?<|end|><|assistant|>"


def test_a_template_without_the_context_is_never_shortened():
    with pytest.raises(UsageError, match=r"takes \d+ tokens without any context, more than prompt\.max_tokens=9"):
        templated("{{ question }}", max_tokens=9).encode(example())


def test_a_template_that_writes_nothing_of_a_question_is_refused():
    x = replace(example(), question="")
    with pytest.raises(UsageError, match=r"question q0: .* writes nothing of what there is \(context\), only 'Q: '"):
        templated("Q: {{ question }}").encode(x)


def test_a_question_without_its_context_that_asks_nothing_is_refused():
    with pytest.raises(UsageError, match=r"question q0: without its context \(context=false\) nothing is left to ask"):
        encoder("plain", with_context=False).encode(replace(example(), question=""))


@pytest.mark.parametrize(
    ("cue", "question", "end"),
    [
        (None, "When?", "When?\n\nAnswer:"),
        (None, "", "1843."),
        ("", "When?", "When?"),
        ("\nTL;DR:", "", "1843.\nTL;DR:"),
    ],
)
def test_a_plain_prompt_ends_with_its_cue_and_a_text_to_be_continued_with_itself(cue, question, end):
    x = replace(example(), question=question)
    made = PromptEncoder(TOKENIZERS["plain"], PromptConfig(style="plain", cue=cue))
    assert made.render(x).endswith(end)
    assert text_of(made.encode(x).answer_ids[:-1], "plain") == " 1843"
    assert PromptEncoder(TOKENIZERS["chat"], PromptConfig(cue=cue)).render(x).endswith("<|end|><|assistant|>")


@pytest.mark.parametrize(
    ("template", "style", "end"),
    [
        ("{{ question }}", "plain", "\n\nAnswer:"),
        ("{{ question }}\nIn a word: ", "plain", "\nIn a word: \n\nAnswer:"),
        ("{{ question }}\nIn a word: ", "chat", "\nIn a word: <|end|><|assistant|>"),
    ],
)
def test_the_end_of_a_prompt_holds_the_last_words_of_a_template(template, style, end):
    assert templated(template, style).end_of(example()) == end


def test_choices_are_listed_by_letters():
    x = replace(example(), question="Who?", choices=("Ada", "Bob"), context="")
    assert templated("{{ question }}\n{{ choices }}", cue="").render(x) == "Who?\nA. Ada\nB. Bob"


TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Q: Who?\n"},
    {"role": "assistant", "content": "Ada"},
)


@pytest.mark.parametrize(
    ("style", "cue", "begin"),
    [
        ("chat", None, "<|system|>Be brief.<|end|><|user|>Q: Who?\n<|end|><|assistant|>Ada<|end|><|user|>Q: When"),
        ("plain", None, "Be brief.\n\nQ: Who?\n\nAnswer: Ada\n\nQ: When"),
        ("plain", "", "Be brief.\n\nQ: Who? Ada\n\nQ: When"),
        ("plain", "\nA:\n", "Be brief.\n\nQ: Who?\nA:\nAda\n\nQ: When"),
    ],
)
def test_earlier_turns_stand_before_every_question(style, cue, begin):
    made = PromptEncoder(
        TOKENIZERS[style], PromptConfig(style=style, turns=TURNS, cue=cue, template="Q: {{ question }}\n{{ context }}")
    )
    coded = made.encode(example())
    assert text_of(coded.prompt_ids, style).startswith(begin)
    assert text_of(coded.prompt_ids, style) == made.render(example())
    limit = len(coded.prompt_ids) - 5
    short = PromptEncoder(TOKENIZERS[style], made.config.model_copy(update={"max_tokens": limit})).encode(example())
    assert text_of(short.prompt_ids, style) == made.render(example()).replace("1843.", "")


def test_turns_that_spell_control_tokens_are_refused():
    turns = ({"role": "system", "content": "Be <|end|> brief."},)
    with pytest.raises(UsageError, match=r"prompt\.turns\[0\] spells the control token '<\|end\|>'"):
        PromptEncoder(TOKENIZERS["chat"], PromptConfig(turns=turns))


def test_words_of_a_template_that_spell_a_control_token_are_text():
    ids = templated("{{ question }}<|end|>", "chat").encode(example()).prompt_ids
    assert ids.count(END_ID) == 1
    assert "written?<|end|><|end|>" in text_of(ids)
