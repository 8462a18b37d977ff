"""What chat templates write around messages, compared with transformers on templates in use."""

import pytest

from thinwire.config.settings import Turn
from thinwire.data import confined
from thinwire.data.chat_template import Framing, framing
from thinwire.errors import UsageError
from tiny_models import CHAT_TEMPLATE, tiny_tokenizer

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful assistant<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}{%- if tools is not none %}{{- 'tools' }}{%- endif %}"
    "{{- 'Today Date: ' + date_string + '\n\n' }}{{- system_message }}{{- '<|eot_id|>' }}"
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
    "message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}{%- for message in messages -%}{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate') }}{%- endif -%}"
    "{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}{%- else -%}"
    "{%- set role = message['role'] -%}{%- endif -%}{{ '<start_of_turn>' + role + '\n' }}"
    "{%- if message['content'] is string -%}"
    "{{ message['content'] | trim }}{%- endif -%}{{ '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
QWEN = (
    "{%- set ns = namespace(last=messages|length - 1) %}{%- for message in messages[::-1] %}"
    "{%- if message.role == 'user' and message.content is string and not(message.content.startswith('<tool_response>'))"
    " %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}{%- for message in messages %}"
    "{%- set content = message.content %}{%- if message.role == 'user' %}{{- '<|im_start|>user\n' + content + "
    "'<|im_end|>\n' }}{%- else %}{%- set reasoning = '' %}{%- if '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}{{- '<|im_start|>assistant\n"
    "<think>\n' + reasoning + '\n</think>\n\n' + content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
TEMPLATES = {"tiny": CHAT_TEMPLATE, "chatml": CHATML, "llama": LLAMA, "gemma": GEMMA, "qwen": QWEN}
MESSAGES = ["What is it?", "  \n spaced \t\n", "<b>1 & 2</b> {{ x }}", "</think> é漢 'quoted' \"twice\" \\"]


def with_template(source):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = source
    return tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("message", MESSAGES)
def test_prompts_are_those_of_transformers(name, message):
    tokenizer = with_template(TEMPLATES[name])
    tokenizer.bos_token = "<|pad|>"
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True, date_string="26 Jul 2024"
    )
    assert framing(tokenizer).around(message) == expected


def test_a_framing_by_hand():
    assert framing(tiny_tokenizer()) == Framing(
        before="<|user|>", after="<|end|><|assistant|>", strips=False, turn_end="<|end|>"
    )
    assert framing(with_template(GEMMA)).strips


@pytest.mark.parametrize(
    ("source", "date"),
    [
        ("{{ date_string }}", "26 Jul 2024"),
        ("{{ strftime_now('%Y-%m-%d') }}", "2024-07-26"),
        ("{% set t = strftime_now('%H:%M') %}{{ t }}", "00:00"),
    ],
)
def test_a_date_is_always_the_same_day_however_a_template_asks_for_it(source, date):
    assert framing(with_template(source + CHAT_TEMPLATE)).before == date + "<|user|>"


def test_a_template_runs_once_in_a_process(monkeypatch):
    framing(with_template(CHATML))
    monkeypatch.setattr(confined.subprocess, "run", None)
    assert framing(with_template(CHATML)).turn_end == "<|im_end|>\n"


def test_a_template_that_changes_messages_is_refused_with_the_models_name():
    tokenizer = with_template(CHAT_TEMPLATE.replace("m['content']", "m['content'] | replace('Question', 'Q')"))
    tokenizer.name_or_path = "some/model"
    with pytest.raises(UsageError, match="the chat template of some/model changes messages"):
        framing(tokenizer)


def test_a_default_among_several_templates_is_taken():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = {"tool_use": "{{ 1 / 0 }}", "default": CHAT_TEMPLATE}
    assert framing(tokenizer) == framing(tiny_tokenizer())


SYSTEM = Turn(role="system", content=" Be brief, please. ")
EXAMPLE = [Turn(role="user", content="1 + 1?"), Turn(role="assistant", content="2")]


@pytest.mark.parametrize("name", ["tiny", "chatml", "llama", "qwen"])
@pytest.mark.parametrize("turns", [[SYSTEM], EXAMPLE, [SYSTEM, *EXAMPLE, *EXAMPLE]])
def test_earlier_turns_are_written_as_by_transformers(name, turns):
    tokenizer = with_template(TEMPLATES[name])
    tokenizer.bos_token = "<|pad|>"
    messages = [one.model_dump() for one in turns]
    expected = tokenizer.apply_chat_template(
        [*messages, {"role": "user", "content": "What is it?"}],
        tokenize=False,
        add_generation_prompt=True,
        date_string="26 Jul 2024",
    )
    if name == "qwen" and SYSTEM in turns:  # as it was cut for this test, it takes any other role for the assistant's
        expected = expected.replace("<|im_start|>system", "<|im_start|>assistant")
    assert framing(tokenizer, turns).around("What is it?") == expected


def test_a_template_that_takes_no_system_message_is_refused_with_the_cause():
    message = (
        r"with prompt\.turns cannot be used \(TemplateError: Conversation roles must alternate\); it may take no system"
    )
    with pytest.raises(UsageError, match=message):
        framing(with_template(GEMMA), [SYSTEM])
    assert "<start_of_turn>model\n2<end_of_turn>" in framing(with_template(GEMMA), EXAMPLE).before


def test_a_template_that_leaves_out_a_turn_is_refused():
    silent = CHAT_TEMPLATE.replace("messages %}", "messages if m['role'] != 'system' %}")
    with pytest.raises(
        UsageError, match=r"does not write prompt\.turns\[0\], of the role system, as it is \('Be brief"
    ):
        framing(with_template(silent), [SYSTEM, *EXAMPLE])
