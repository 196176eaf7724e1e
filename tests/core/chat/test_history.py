"""Calls, results and thoughts of earlier turns reach each template in the form that it reads."""

import json

import pytest

from core.chat.marks import Marker
from core.chat.plain import SHORT_ID_CHARACTERS, TemplateForm, ThoughtPlace, Writing, pair_calls, shorten_id
from core.chat.plain import write_messages as write
from core.errors import RequestError
from core.requests import Message, Role, TextPart, Tool, ToolCall
from tests.core.chat.conftest import Open
from tests.fakes.support import said

TOOL = Tool("look", "Looks.", '{"type":"object","properties":{"at":{"type":"string"}}}')
LOOK = ToolCall("call_0123456789abcdef", "look", '{"at":"sea"}')
AGAIN = ToolCall("call_fedcba9876543210", "look", '{"at":"sky"}')
ASKED = Message(Role.ASSISTANT, (), tool_calls=(LOOK,))
SEEN = Message(Role.TOOL, (TextPart("blue"),), tool_call_id=LOOK.id)
HISTORY = (said("go"), ASKED, SEEN)

WORDS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments|tojson }}]{% endfor %}{% endfor %}"
)
TOLD = "{{ '(' ~ m.%s ~ ')' if m.%s }}"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking", "thought"])
def test_a_thought_goes_by_the_name_that_the_template_reads(name: str, opened: Open) -> None:
    template = opened(WORDS.replace("{{ m.content", TOLD.replace("%s", name) + "{{ m.content"))
    thinking = Message(Role.ASSISTANT, (), tool_calls=(LOOK,), reasoning="hm")
    assert template.render((said("go"), thinking, SEEN), tools=[TOOL]).text == (
        '<user>go<assistant>(hm)[look {"at": "sea"}]<tool>blue'
    )


def test_a_thought_is_a_part_of_the_content_where_the_template_takes_parts_alone(opened: Open) -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content or [] %}{% if p.type == 'thinking' %}({{ p.thinking }}){% else %}{{ p.text }}{% endif %}"
        "{% endfor %}{% endif %}{% for c in m.tool_calls or [] %}[{{ c.function.arguments.at or 'topic' }}"
        "{{ c.function.arguments.topic }}]{% endfor %}{% endfor %}"
    )
    answer = Message(Role.ASSISTANT, (TextPart("yes"),), reasoning="hm")
    assert opened(source).render((said("go"), answer, said("on"))).text == "<user>go<assistant>(hm)yes<user>on"


def test_a_thought_is_left_out_where_the_template_writes_none(opened: Open) -> None:
    answer = Message(Role.ASSISTANT, (TextPart("yes"),), reasoning="hm")
    text = opened(WORDS).render((said("go"), answer, said("on"))).text
    assert text == "<user>go<assistant>yes<user>on"


def test_the_content_beside_calls_is_null_where_the_template_tells_calls_from_words_by_it(opened: Open) -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{% if m.content is none %}"
        "{% for c in m.tool_calls %}[{{ c.function.arguments|tojson }}]{% endfor %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    template = opened(source)
    assert template.render(HISTORY, tools=[TOOL]).text == '<user>go<assistant>[{"at": "sea"}]<tool>blue'
    both = Message(Role.ASSISTANT, (TextPart("let me look"),), tool_calls=(LOOK,))
    assert template.render((said("go"), both, SEEN), tools=[TOOL]).text == (
        '<user>go<assistant>let me look<assistant>[{"at": "sea"}]<tool>blue'
    )


def test_ids_are_of_nine_letters_where_the_template_refuses_all_others(opened: Open) -> None:
    source = WORDS.replace(
        "[{{ c.function.name }}",
        "{% if c.id|length != 9 %}{{ raise_exception('nine') }}{% endif %}[{{ c.id }}",
    ).replace("<{{ m.role }}>", "<{{ m.role }} {{ m.tool_call_id }}>")
    text = opened(source).render(HISTORY, tools=[TOOL]).text
    short = shorten_id(LOOK.id)
    assert len(short) == SHORT_ID_CHARACTERS
    assert short.isalnum()
    assert text == f'<user >go<assistant >[{short} {{"at": "sea"}}]<tool {short}>blue'
    assert shorten_id("abcDEF123") == "abcDEF123"
    assert shorten_id(AGAIN.id) != short


def test_several_calls_are_told_one_by_one_where_the_template_takes_one_alone(opened: Open) -> None:
    single = "{% if m.tool_calls and m.tool_calls|length > 1 %}{{ raise_exception('one') }}{% endif %}"
    source = WORDS.replace("{% for c in", single + "{% for c in")
    both = Message(Role.ASSISTANT, (TextPart("two looks"),), tool_calls=(LOOK, AGAIN))
    sky = Message(Role.TOOL, (TextPart("grey"),), tool_call_id=AGAIN.id)
    text = opened(source).render((said("go"), both, sky, SEEN, said("so?")), tools=[TOOL]).text
    assert text == (
        '<user>go<assistant>two looks[look {"at": "sea"}]<tool>blue<assistant>[look {"at": "sky"}]<tool>grey<user>so?'
    )


def test_results_of_no_call_keep_their_place_behind_the_others() -> None:
    stray = Message(Role.TOOL, (TextPart("?"),), tool_call_id="else")
    both = Message(Role.ASSISTANT, (), tool_calls=(LOOK, AGAIN))
    paired = pair_calls((both, stray, SEEN))
    assert [each.tool_call_id or each.tool_calls[0].id for each in paired] == [LOOK.id, LOOK.id, AGAIN.id, "else"]


def test_results_have_the_name_of_the_tool_that_was_called() -> None:
    written = write((*HISTORY, Message(Role.TOOL, (TextPart("x"),), tool_call_id="unknown")), TemplateForm(), Writing())
    assert [message.get("name") for message in written] == [None, None, "look", None]
    own = Message(Role.TOOL, (TextPart("x"),), name="mine", tool_call_id=LOOK.id)
    assert write((ASKED, own), TemplateForm(), Writing())[1]["name"] == "mine"


def test_a_thought_stands_beside_the_parts_of_a_message() -> None:
    message = Message(Role.ASSISTANT, (TextPart("a"), TextPart("b")), reasoning="hm")
    (written,) = write((message,), TemplateForm(thought=ThoughtPlace.PART), Writing())
    assert [part["type"] for part in json.loads(json.dumps(written["content"]))] == ["thinking", "text", "text"]


def test_arguments_that_are_no_object_are_refused_by_name() -> None:
    call = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("a", "look", "[1]"),))
    with pytest.raises(RequestError, match="no JSON object"):
        write((call,), TemplateForm(), Writing())


@pytest.mark.parametrize("levels", [800, 100_000])
def test_what_is_nested_too_deeply_is_refused_by_name(levels: int, opened: Open) -> None:
    template = opened(WORDS)
    deep = '{"a":' * levels + "1" + "}" * levels
    mark = Marker(["<|end|>"])
    writing = Writing(mark.mark, mark.mark_name, mark.mark_json)
    asked = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c", "look", deep),))
    with pytest.raises(RequestError, match="arguments are nested too deeply") as refused:
        template.render((said("go"), asked), writing=writing)
    assert refused.value.field == "messages"
    with pytest.raises(RequestError, match="parameters are nested too deeply") as refused:
        template.render((said("go"),), tools=[Tool("look", "", deep)], writing=writing)
    assert refused.value.field == "tools"


def test_a_template_that_changes_lists_is_written_with_new_ones(opened: Open) -> None:
    source = (
        "{% set q = namespace(ids=[]) %}{% for m in messages %}<{{ m.role }}>{% for c in m.tool_calls or [] %}"
        "{%- set id = c.function.name ~ loop.index -%}{%- set _ = q.ids.append(id) -%}[{{ id }}]{% endfor %}"
        "{%- if m.role == 'tool' -%}{%- set id = q.ids.pop(0) -%}({{ id }}){%- endif -%}{{ m.content }}{% endfor %}"
    )
    assert opened(source).render(HISTORY, tools=[TOOL]).text.startswith("<user>go<assistant>[look1]<tool>(look1)blue")
