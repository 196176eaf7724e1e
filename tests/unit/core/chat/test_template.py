"""Templates come with downloads: they must render what their authors meant, and can do no harm."""

import pytest

from core.chat.template import ChatTemplate
from core.errors import RequestError
from core.requests import Message, Role, TextPart
from tests.support import said

LLAMA_3 = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)


def test_a_model_without_a_template_speaks_chatml() -> None:
    text = ChatTemplate(None).render([said("be brief", Role.SYSTEM), said("hello")])
    assert text == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_sees_the_special_tokens_and_trims_blocks_as_its_author_expects() -> None:
    text = ChatTemplate(LLAMA_3, bos="<s>").render([said(" hi ")])
    assert text == (
        "<s><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_developer_messages_are_system_messages_to_a_template() -> None:
    assert "<|im_start|>system\nx" in ChatTemplate(None).render([said("x", Role.DEVELOPER)])


def test_extra_arguments_reach_the_template() -> None:
    template = ChatTemplate("{% if enable_thinking %}<think>{% endif %}")
    assert template.render([said("x")], {"enable_thinking": True}) == "<think>"


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "bos_token", "tools"])
def test_reserved_arguments_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match=name) as error:
        ChatTemplate(None).render([said("x")], {name: "mine"})
    assert error.value.field == "chat_template_kwargs"


def test_a_template_may_refuse_a_conversation_in_its_own_words() -> None:
    with pytest.raises(RequestError, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render([said("x")])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3,
        "{% for a in range(100000000) %}x{% endfor %}",
        "{{ 'x' * 100000000 }}{{ 'x' * 100000000 }}",
        "{% include 'other' %}",
        "{% for %}",
        "{{ 1 / 0 }}",
        "{{ messages[99].content.x }}",
    ],
    ids=[
        "classes",
        "mutation",
        "globals",
        "nested loops",
        "range",
        "size",
        "include",
        "syntax",
        "arithmetic",
        "lookup",
    ],
)
def test_a_hostile_or_broken_template_is_an_error_of_the_request(source: str) -> None:
    with pytest.raises(RequestError):
        ChatTemplate(source).render([said("x")])


def test_a_name_is_passed_on_and_parts_are_joined() -> None:
    message = Message(Role.USER, (TextPart("a"), TextPart("b")), name="ann")
    assert ChatTemplate("{{ messages[0].name }}: {{ messages[0].content }}").render([message]) == "ann: ab"
