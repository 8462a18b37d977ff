"""The user's message: what is built in, and what a user's own Jinja template writes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.data import confined
from thinwire.data.prompt_template import PromptTemplate, prompt_templates, templates_of_jinja
from thinwire.errors import UsageError
from thinwire.tasks.table import TASKS

ALL = frozenset({"context", "question", "choices"})
BOTH = frozenset({"context", "question"})
BUILT_IN = prompt_templates(None, TASKS["extractive_qa"])
AS_BUILT_IN = """\
{% set phrase = "a short phrase from the text" if context else "a short phrase" %}
Answer the question with {{ phrase }}.

{% if context %}
Text: {{ context }}

{% endif %}
Question: {{ question }}
"""


def test_the_built_in_messages_are_these():
    filled = BUILT_IN[BOTH].fill(context="Ada, 1843.", question="When?")
    assert (
        filled.text == "Answer the question with a short phrase from the text.\n\nText: Ada, 1843.\n\nQuestion: When?"
    )
    assert filled.text[filled.context_at :].startswith("Ada, 1843.")
    alone = BUILT_IN[frozenset({"question"})].fill(question="When?")
    assert alone == ("Answer the question with a short phrase.\n\nQuestion: When?", None)
    assert BUILT_IN[frozenset({"context"})].fill(context="Once upon") == ("Once upon", 0)
    assert BUILT_IN[ALL].fill(context="Ada, 1843.", question="When?", choices="A. 1843") == filled


def test_each_task_has_messages_of_its_own():
    found = prompt_templates(None, TASKS["multiple_choice"])
    assert found[frozenset({"question", "choices"})].fill(question="When?", choices="A. 1843\nB. 1834").text == (
        "Answer the question with one of the options.\n\nQuestion: When?\n\nOptions:\nA. 1843\nB. 1834"
    )
    found = prompt_templates(None, TASKS["classification"])
    assert found[frozenset({"context", "choices"})].fill(context="1 : 0", choices="A. art\nB. sport") == (
        "Choose the label of the text.\n\nText: 1 : 0\n\nLabels:\nA. art\nB. sport",
        len("Choose the label of the text.\n\nText: "),
    )


def test_literals_and_slots_of_a_template_by_hand():
    found = prompt_templates(
        "{% if context %}\nText: {{ context }}\n{% endif %}\nQ: {{ question }}\nA:\n", TASKS["extractive_qa"]
    )
    assert found[BOTH] == PromptTemplate(literals=("Text: ", "\nQ: ", "\nA:"), slots=("context", "question"))
    assert found[frozenset({"question"})] == PromptTemplate(literals=("Q: ", "\nA:"), slots=("question",))
    assert found[ALL] == found[BOTH]
    filled = found[BOTH].fill(context="{{ question }}", question="Who?")
    assert filled == ("Text: {{ question }}\nQ: Who?\nA:", len("Text: "))


CONTENTS = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@given(CONTENTS, CONTENTS, st.sampled_from([BOTH, frozenset({"question"}), ALL]))
@settings(derandomize=True, deadline=None)
def test_a_template_of_the_same_words_writes_what_is_built_in(context, question, there):
    contents = {"context": context, "question": question, "choices": "A. a\nB. b"}
    contents = {slot: content for slot, content in contents.items() if slot in there}
    assert templates_of_jinja(AS_BUILT_IN)[there].fill(**contents) == BUILT_IN[there].fill(**contents)


@pytest.mark.parametrize("there", sorted(map(sorted, BUILT_IN)))
def test_the_question_may_stand_anywhere_and_repeatedly(there):
    found = templates_of_jinja("{{ question }}|{{ choices }}|{{ context }}|{{ question }}")[frozenset(there)]
    contents = dict(zip(there, ["x y", "z"] * 2, strict=False))
    own = {slot: contents.get(slot, "") for slot in sorted(ALL)}
    filled = found.fill(**contents)
    assert filled.text == f"{own['question']}|{own['choices']}|{own['context']}|{own['question']}"
    assert (filled.context_at is None) == ("context" not in there)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "{{ contxt }} {{ question }}",
            r"no value for 'contxt' \(did you mean 'context'\?\); it has context, question",
        ),
        ("Q:\n{{ question }", r"prompt\.template cannot be used \(TemplateSyntaxError, line 2: "),
        ("{{ question }}{% if context %}", r"TemplateSyntaxError, line 1: "),
        ("{{ question | shorten }}", r"line 1: No filter named 'shorten'"),
        ("{{ context | upper }} {{ question }}", r"not insert the context as it is.*write \{\{ context \}\} alone"),
        ("{{ context }} {{ question | truncate(500) }}", "not insert the question as it is"),
        ("{{ context }}{{ question }}{{ choices.split('. ') | last }}", "not insert the choices as it is"),
        ("{{ context }} {{ question }}{% if 'it' in context %}!{% endif %}", "not insert the context as it is"),
        ("{{ context | e }} {{ question }}", "not insert the context as it is"),
        ("{{ question }}{% if question.endswith('?') %}!{% endif %}", "not insert the question as it is"),
        ("{{ context[:5000] }} {{ question }}", "not insert the context as it is"),
        ("{{ context.split('\n')[0] }} {{ question }}", "not insert the context as it is"),
        ("{{ context }} {{ question }} {{ context }}", "inserts the context twice"),
        ("Write a poem.", "inserts neither context nor question"),
        ("{{ choices }}", "inserts neither context nor question"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ question }}",
            "more than 10 s",
        ),
        ("{{ 'a' * 2000000 }}{{ question }}", "it writes 2,0"),
        ("{{ question.__class__.__mro__ }}", "SecurityError"),
        ("{{ ['a', 'b'] | random }}{{ question }}", "No filter named 'random'"),
        ("{{ lipsum() }}{{ question }}", "no value for 'lipsum'"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_the_cause(source, message):
    with pytest.raises(UsageError, match=message):
        templates_of_jinja(source)


def test_a_template_runs_once_in_a_process(monkeypatch):
    templates_of_jinja("once: {{ question }}")
    monkeypatch.setattr(confined.subprocess, "run", None)
    assert templates_of_jinja("once: {{ question }}")[ALL].literals == ("once: ", "")
