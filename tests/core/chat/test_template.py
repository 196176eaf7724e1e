"""What authors of templates meant is rendered, and what a template cannot take is told to whoever is at fault."""

from datetime import datetime

import pytest

from core.chat.chatml import CHATML, SPELLINGS, write_chatml
from core.chat.template import ABSENT, LOST, MOVED, NO_SYSTEM, ChatTemplate
from core.errors import RequestError, TemplateFailed
from core.guide.training.corpus import CHAT_TEMPLATE
from core.requests import Message, Role, Scalar, TextPart, Tool, ToolCall
from tests.core.chat.conftest import Open
from tests.fakes.support import said

LLAMA_3 = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
)
PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% for part in m.content if part.type == 'text' %}"
    "{{ part.text }}{% endfor %}{% endfor %}"
)
EITHER = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}"
)
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
TWO = Message(Role.USER, (TextPart("a"), TextPart("b")))


def test_a_model_without_a_template_speaks_chatml_and_says_so() -> None:
    template = ChatTemplate(None)
    text = template.render([said("be brief", Role.SYSTEM), said("hello")]).text
    assert text == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.notes == (ABSENT,)
    assert ChatTemplate(" \n").notes == (ABSENT,)


@pytest.mark.parametrize("source", [CHATML, CHAT_TEMPLATE])
def test_a_template_that_says_chatml_is_written_without_a_process_and_the_same(source: str, opened: Open) -> None:
    messages = [said("be brief", Role.SYSTEM), said(" {{ hello }} \n"), said("yes", Role.ASSISTANT), said("æ")]
    assert source in SPELLINGS
    template = ChatTemplate(source)
    assert template.notes == ()
    for prompt in (True, False):
        rendered = opened(source + "{# not ours #}").render(messages, add_generation_prompt=prompt)
        assert template.render(messages, add_generation_prompt=prompt) == rendered


def test_chatml_ends_where_the_assistant_is_to_speak_only_when_asked_to() -> None:
    assert write_chatml([("user", "x")], add_generation_prompt=False) == "<|im_start|>user\nx<|im_end|>\n"


def test_a_template_sees_the_special_tokens_and_trims_blocks_as_its_author_expects(opened: Open) -> None:
    text = opened(LLAMA_3, bos="<s>").render([said(" hi ")]).text
    assert text == (
        "<s><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_developer_messages_are_system_messages_to_a_template_that_does_not_know_them(opened: Open) -> None:
    messages = [said("x", Role.DEVELOPER), said("y")]
    assert opened(PLAIN).render(messages).text == "<system>x<user>y"
    assert opened(PLAIN + "{# 'developer' #}").render(messages).text == "<system>x<user>y"
    assert opened("{% set known = 'developer' %}" + PLAIN).render(messages).text == "<developer>x<user>y"


def test_extra_arguments_reach_the_template_under_their_names(opened: Open) -> None:
    template = opened("{% if enable_thinking %}<think>{% endif %}{{ reasoning_effort }}" + PLAIN)
    arguments: dict[str, Scalar] = {"enable_thinking": True, "reasoning_effort": "high"}
    assert template.render([said("x")], arguments).text == "<think>high<user>x"


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "bos_token", "tools", "raise_exception", "self"])
def test_reserved_arguments_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match=name) as error:
        ChatTemplate(None).render([said("x")], {name: "mine"})
    assert error.value.field == "chat_template_kwargs"


def test_a_template_may_refuse_a_conversation_in_its_own_words(opened: Open) -> None:
    template = opened(ALTERNATING, model="alternator")
    with pytest.raises(RequestError, match="alternator refuses these messages: roles must alternate") as error:
        template.render([said("x"), said("y")])
    assert error.value.field == "messages"
    assert template.notes == (NO_SYSTEM,)


def test_a_template_that_refuses_everything_in_its_own_words_is_kept(opened: Open) -> None:
    template = opened("{{ raise_exception('send \\x1b[2Jaudio ' + 'a' * 9999) }}")
    assert template.notes == ()
    with pytest.raises(RequestError, match=r"send \\x1b\[2Jaudio aaa") as error:
        template.render([said("x")])
    assert len(str(error.value)) < 500


def test_an_argument_that_a_template_cannot_take_is_named_and_not_the_messages(opened: Open) -> None:
    template = opened("{% if effort %}{{ effort.upper() }}{% endif %}{{ 'a' + reasoning_effort|default('') }}" + PLAIN)
    with pytest.raises(RequestError) as error:
        template.render([said("x")], {"effort": 3})
    assert error.value.field == "chat_template_kwargs"
    with pytest.raises(RequestError) as error:
        template.render([said("x")], {"reasoning_effort": 3})
    assert error.value.field == "reasoning_effort"


def test_a_template_that_fails_at_one_conversation_is_at_fault_itself(opened: Open) -> None:
    template = opened("{% if messages|length > 3 %}{{ 1 / 0 }}{% endif %}" + PLAIN, model="brittle")
    assert template.notes == ()
    with pytest.raises(TemplateFailed, match="brittle fails at this conversation: division by zero"):
        template.render([said(word) for word in "abcd"])
    assert template.render([said("still here")]).text == "<user>still here"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{% for %}", "line 1: Expected an expression"),
        ("{% break %}", "'break' outside loop"),
        ("{{ 5|dictsort }}", "no attribute 'items'"),
        ("{{ .Prompt }}", "Go's templates"),
        ("{{- range .Messages }}{{ .Role }}: {{ .Content }}{{ end }}", "Go's templates"),
        ("{{ if .System }}<|system|>{{ .System }}<|end|>{{ end }}", "Go's templates"),
        ("{% include 'other' %}", "no loader"),
        ("{% import 'other' as x %}", "no loader"),
        ("{{ " + "(" * 10_000 + "1" + ")" * 10_000 + " }}", "nested too deeply"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[99].content.x }}", "no element 99"),
        ("{{ messages[0].content|nosuchfilter }}", "nosuchfilter"),
        ("{{ range(10**9)|list }}", "Range too big"),
        ("x" * 1_000_001, "1,000,001 characters"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "nested too deeply"),
        ("{{ 10**5000 }}", "Exceeds the limit"),
        ("{{ messages[0].content.encode('utf-16').decode('utf-8') }}", "unsafe|codec"),
    ],
)
def test_a_template_of_no_use_is_told_of_once_and_chatml_stands_in(source: str, why: str, opened: Open) -> None:
    template = opened(source)
    (note,) = template.notes
    assert note.startswith("Its chat template cannot be used: ")
    assert "ChatML" in note
    assert any(word in note for word in why.split("|"))
    assert template.render([said("x")]) == ChatTemplate(None).render([said("x")])


def test_a_template_that_leaves_out_the_users_words_is_told_of(opened: Open) -> None:
    template = opened("{{ bos_token }}hello", bos="<s>")
    assert "leaves out" in template.notes[0]
    assert template.render([said("x")]).notes == (LOST,)


def test_no_words_count_as_left_out_where_a_template_writes_them_in_another_order(opened: Open) -> None:
    template = opened("{% for m in messages|reverse %}{{ m.content }}{% endfor %}")
    assert template.render([said("one"), said("two"), said("three")]).notes == ()


def test_generation_tags_render_what_is_inside(opened: Open) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        "{% generation %}[{{ m.content }}]{% endgeneration %}{% else %}({{ m.content }}){% endif %}{% endfor %}"
    )
    template = opened(source)
    assert template.render([said("a"), said("b", Role.ASSISTANT), said("c")]).text == "(a)[b](c)"
    assert template.notes == ()


def test_content_is_a_list_where_the_template_goes_through_one(opened: Open) -> None:
    template = opened(PARTS)
    assert template.render([said("s", Role.SYSTEM), said("hello")]).text == "<system>s<user>hello"
    assert template.notes == ()


def test_content_is_a_list_only_for_the_roles_that_want_one(opened: Open) -> None:
    source = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content[0].text }}{% else %}{{ m.content|trim }}"
    template = opened(source + ";{% endif %}{% endfor %}")
    messages = [said("s", Role.SYSTEM), said("u"), said("a", Role.ASSISTANT), said("v")]
    assert template.render(messages).text == "s;ua;v"
    assert template.render([TWO]).text == "a\nb"


def test_parts_are_lines_of_a_text_and_stay_parts_where_a_template_takes_them(opened: Open) -> None:
    assert opened(PLAIN).render([TWO]).text == "<user>a\nb"
    assert ChatTemplate(None).render([TWO], add_generation_prompt=False).text == "<|im_start|>user\na\nb<|im_end|>\n"
    assert opened(PARTS).render([TWO]).text == "<user>ab"
    assert opened(EITHER).render([TWO, said("c")]).text == "<user>ab<user>c"


def test_words_that_a_template_loses_as_text_are_kept_as_parts(opened: Open) -> None:
    source = (
        "{% for m in messages %}{% if loop.index > 1 and m.content is string %}?{% elif m.content is string %}"
        "{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}{% endfor %}"
    )
    rendering = opened(source).render([said("one"), said("two")])
    assert (rendering.text, rendering.notes) == ("onetwo", ())


def test_a_system_message_that_is_refused_goes_before_the_users_first_words(opened: Open) -> None:
    template = opened(ALTERNATING)
    rendering = template.render([said("be brief", Role.SYSTEM), said("hello"), said("yes", Role.ASSISTANT)])
    assert rendering.text == "[user]be brief\nhello[assistant]yes"
    assert rendering.notes == (MOVED,)
    assert template.render([said("hello")]).notes == ()


def test_a_system_message_that_is_left_out_goes_before_the_users_words_too(opened: Open) -> None:
    template = opened("{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}")
    assert template.notes == (NO_SYSTEM,)
    assert template.render([said("s", Role.SYSTEM), TWO]).text == "<user>s\na\nb"


def test_every_word_of_the_system_is_kept_wherever_it_stands(opened: Open) -> None:
    template = opened(ALTERNATING)
    assert template.render([said("alone", Role.SYSTEM)]).text == "[user]alone"
    both = [said("one", Role.SYSTEM), said("two", Role.DEVELOPER), said("hello"), said("late", Role.SYSTEM)]
    assert template.render(both).text == "[user]one\ntwo\nhello\nlate"


def test_a_system_message_that_is_refused_only_here_is_moved_for_this_request(opened: Open) -> None:
    source = "{% if messages[0].role == 'system' and messages|length > 2 %}{{ raise_exception('no') }}{% endif %}"
    template = opened(source + PLAIN)
    assert template.notes == ()
    rendering = template.render([said("s", Role.SYSTEM), said("a"), said("b", Role.ASSISTANT)])
    assert (rendering.text, rendering.notes) == ("<user>s\na<assistant>b", (MOVED,))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("tojson", '{"b": "<é>", "a": [1, 2]}'),
        ("tojson(ensure_ascii=True)", '{"b": "<\\u00e9>", "a": [1, 2]}'),
        ("tojson(sort_keys=True)", '{"a": [1, 2], "b": "<é>"}'),
        ("tojson(separators=(',', ':'))", '{"b":"<é>","a":[1,2]}'),
        ("tojson(indent=1)", '{\n "b": "<é>",\n "a": [\n  1,\n  2\n ]\n}'),
        ("tojson(ensure_ascii=False, indent=none, sort_keys=False)", '{"b": "<é>", "a": [1, 2]}'),
    ],
)
def test_json_is_written_as_the_template_asks(call: str, text: str, opened: Open) -> None:
    template = opened("{{ {'b': '<é>', 'a': [1, 2]}|" + call + " }}|" + PLAIN)
    assert template.render([said("x")]).text.partition("|")[0] == text


def test_templates_have_what_the_library_gives_them(opened: Open) -> None:
    source = (
        "{% set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 5 %}{% break %}{% endif %}"
        "{% if i is odd %}{% continue %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}"
        "{{ dict(a=1)|tojson }}{{ tools is none }}{{ documents is none }}{{ strftime_now('%Y') }}{{ eos_token }}"
    )
    year = datetime.now().year
    text = opened(source + PLAIN, eos="</s>").render([said("x")]).text
    assert text == f'6{{"a": 1}}TrueTrue{year}</s><user>x'


def test_tools_and_their_calls_reach_the_template(opened: Open) -> None:
    source = (
        "{% if tools %}{{ tools|tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls %}{{ c.id }} {{ c.function.name }} {{ c.function.arguments.city }}{% endfor %}"
        "{% if m.tool_call_id %}({{ m.tool_call_id }} {{ m.name }}){% endif %}{% endfor %}"
    )
    call = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("1", "weather", '{"city": "Oslo"}'),))
    result = Message(Role.TOOL, (TextPart("cold"),), name="weather", tool_call_id="1")
    tool = Tool("weather", "How it is.", '{"type": "object"}')
    assert opened(source).render([said("x"), call, result], tools=[tool]).text == (
        '[{"type": "function", "function": {"name": "weather", "description": "How it is.", '
        '"parameters": {"type": "object"}}}]<user>x<assistant>1 weather Oslo<tool>cold(1 weather)'
    )


def test_arguments_of_a_call_are_json_where_the_template_adds_them_to_a_text(opened: Open) -> None:
    source = PLAIN[: -len("{% endfor %}")] + "{% for c in m.tool_calls %}{{ ' ' + c.function.arguments }}{% endfor %}"
    call = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("1", "weather", '{"city":"Oslo"}'),))
    assert opened(source + "{% endfor %}").render([said("x"), call]).text == '<user>x<assistant> {"city":"Oslo"}'


def test_arguments_of_a_call_that_are_no_json_are_the_clients_fault(opened: Open) -> None:
    call = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("1", "weather", "{"),))
    with pytest.raises(RequestError, match="no JSON object"):
        opened(PLAIN).render([said("x"), call])


def test_a_template_that_goes_through_tools_without_a_look_gets_an_empty_list(opened: Open) -> None:
    template = opened("{% for tool in tools %}{{ tool.function.name }}{% endfor %}" + PLAIN)
    assert template.notes == ()
    assert template.render([said("x")]).text == "<user>x"


def test_a_name_is_passed_on(opened: Open) -> None:
    message = Message(Role.USER, (TextPart("a"), TextPart("b")), name="ann")
    assert opened("{{ messages[0].name }}: {{ messages[0].content }}").render([message]).text == "ann: a\nb"


def test_half_a_surrogate_in_a_message_is_the_clients_fault_and_in_a_template_does_no_harm(opened: Open) -> None:
    template = opened("\ud800{{ '\\ud800' }}" + PLAIN)
    assert template.render([said("x")]).text == "??<user>x"
    with pytest.raises(RequestError, match="half a surrogate") as error:
        template.render([said("\udcff")])
    assert error.value.field == "messages"
    assert template.render([said("y")]).text == "??<user>y"
