"""The choice between answers with and without a space before them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.config.settings import PromptConfig
from thinwire.data.answer_form import (
    NUM_FOR_LIKELIHOOD,
    NUM_QUESTIONS,
    decide_answer_form,
    describe_decision,
    measure_copies,
    more_likely,
)
from thinwire.data.prompts import Encoded, PromptEncoder
from tiny_models import example
from trained_tokenizers import trained_tokenizer

END = 9
IN_SENTENCES = [example(n, context="The mill stands in Paris and Oslo .", answer="Paris") for n in range(4)]
NOT_IN_PROMPT = [example(n, context="The mill stands.", answer="Oslo") for n in range(40)]


def asked(prompt, answer):
    return Encoded(example=example(), prompt_ids=tuple(prompt), answer_ids=(*answer, END), dropped=0)


def never(_questions):
    raise AssertionError("the model is not asked where the prompts decide")


def encoder(kind="byte-level", style="chat", answer_form="auto"):
    return PromptEncoder(trained_tokenizer(kind), PromptConfig(style=style, answer_form=answer_form))


def decided(made, examples, likelihoods):
    return decide_answer_form(made, [made.encode(one, keep_answer=True) for one in examples], likelihoods)


def test_an_answer_counts_as_contained_if_its_tokens_occur_in_a_row():
    found = measure_copies(
        [
            asked([1, 2, 3, 4], [2, 3]),  # contained
            asked([1, 2, 3, 4], [2, 4]),  # its first token alone
            asked([1, 2, 3, 4], [4, 5]),  # its first token, the prompt's last
            asked([1, 2, 3, 4], [7]),  # neither
            asked([END], []),  # no answer: the end token is none
        ]
    )
    assert found.in_prompt_share == pytest.approx(1 / 5)
    assert found.first_token_in_prompt_share == pytest.approx(3 / 5)
    assert found.log_likelihood is None


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_containment_is_that_of_strings(prompt, answer):
    contained = "".join(map(str, answer)) in "".join(map(str, prompt))
    assert measure_copies([asked(prompt, answer)]).in_prompt_share == contained


@pytest.mark.parametrize(
    ("kind", "style"),
    [
        ("byte-level", "chat"),
        ("byte-level", "plain"),
        ("metaspace-first", "chat"),
        ("metaspace-first", "plain"),
        ("metaspace-always", "plain"),
    ],
)
def test_answers_inside_sentences_get_a_space_without_asking_the_model(kind, style):
    decision = decided(encoder(kind, style), IN_SENTENCES, never)
    assert (decision.form, decision.decided_by, decision.num_questions) == ("space", "in_prompt", 4)
    assert (decision.bare.in_prompt_share, decision.space.in_prompt_share) == (0, 1)
    assert (decision.bare.log_likelihood, decision.space.log_likelihood) == (None, None)


@pytest.mark.parametrize("kind", ["byte-level", "metaspace-first"])
def test_answers_that_begin_a_text_are_bare(kind):
    # Each paragraph begins a line with its answer, so the tokens without a space are the ones that occur.
    begins = [example(n, context="x\nParis\ny", answer="Paris") for n in range(4)]
    decision = decided(encoder(kind), begins, never)
    assert (decision.form, decision.decided_by) == ("bare", "in_prompt")
    assert (decision.bare.in_prompt_share, decision.space.in_prompt_share) == (1, 0)


@pytest.mark.parametrize(("num_copied", "decided_by"), [(1, "in_prompt"), (0, "likelihood")])
def test_a_tenth_of_the_questions_decides(num_copied, decided_by):
    examples = [*IN_SENTENCES[:num_copied], *NOT_IN_PROMPT[: 10 - num_copied]]
    assert decided(encoder(), examples, lambda questions: [0.0] * len(questions)).decided_by == decided_by


@pytest.mark.parametrize(("bare", "space", "form"), [(-3.0, -2.0, "space"), (-2.0, -3.0, "bare")])
def test_where_no_answer_is_copied_the_likelier_form_is_taken(bare, space, form):
    given_to_the_model = []

    def likelihoods(questions):
        given_to_the_model.extend(questions)
        return [bare, space] * (len(questions) // 2)

    made = encoder()
    decision = decided(made, NOT_IN_PROMPT, likelihoods)
    assert (decision.form, decision.decided_by, decision.num_questions) == (form, "likelihood", 40)
    assert (decision.bare.log_likelihood, decision.space.log_likelihood) == (bare, space)
    expected = [
        made.with_form(form).encode(x, keep_answer=True)
        for x in NOT_IN_PROMPT[:NUM_FOR_LIKELIHOOD]
        for form in ("bare", "space")
    ]
    assert given_to_the_model == expected


def test_only_the_first_questions_are_measured():
    examples = [example(n, context="x", answer="Paris") for n in range(NUM_QUESTIONS)]
    decision = decided(encoder(), [*examples, *IN_SENTENCES], lambda questions: [0.0] * len(questions))
    assert decision.num_questions == NUM_QUESTIONS
    assert decision.space.in_prompt_share == 0


@pytest.mark.parametrize(
    ("bare", "space", "prompt_ends_in_space", "form"),
    [
        (-1.0, -1.0, False, "space"),
        (-1.0, -1.0, True, "bare"),
        (-1.0, -2.0, False, "bare"),
        (-2.0, -1.0, True, "space"),
    ],
)
def test_equal_likelihoods_give_a_space_unless_the_prompt_has_one(bare, space, prompt_ends_in_space, form):
    assert more_likely(bare, space, prompt_ends_in_space=prompt_ends_in_space) == form


@pytest.mark.parametrize("kind", ["word-level", "metaspace-always"])
def test_a_tokenizer_without_spaces_or_with_one_in_any_case_gives_both_forms_the_same_tokens_and_measures(kind):
    seen = []
    made = encoder(kind)  # after a chat header, "metaspace-always" adds the space itself

    def likelihoods(questions):
        seen.extend(question.answer_ids for question in questions)
        return [-1.0] * len(questions)

    decision = decided(made, IN_SENTENCES, likelihoods)
    assert (decision.form, decision.decided_by) == ("space", "likelihood")
    assert decision.bare == decision.space
    assert seen[::2] == seen[1::2]


@pytest.mark.parametrize("form", ["bare", "space"])
def test_a_form_that_is_set_is_taken_and_measured_all_the_same(form):
    decision = decided(encoder(answer_form=form), IN_SENTENCES, never)
    assert (decision.form, decision.decided_by) == (form, "setting")
    assert (decision.bare.in_prompt_share, decision.space.in_prompt_share) == (0, 1)


def test_a_decision_is_described_in_a_sentence():
    assert describe_decision(decided(encoder(), IN_SENTENCES, never)) == (
        "answers are supervised with a space before them, by prompt.answer_form=auto "
        "(prompts contain the tokens of 100% of the answers with a space, of 0% without)"
    )
    likely = decided(encoder(), NOT_IN_PROMPT, lambda questions: [-1.0, -2.5] * (len(questions) // 2))
    assert describe_decision(likely).endswith("; mean log-likelihood -2.50 with, -1.00 without)")
    assert "without a space before them" in describe_decision(likely)
    assert "as prompt.answer_form says" in describe_decision(decided(encoder(answer_form="bare"), IN_SENTENCES, never))
