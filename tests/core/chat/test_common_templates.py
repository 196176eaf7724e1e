"""Templates that go by llama.cpp's names write what llama.cpp writes."""

from __future__ import annotations

import ctypes

import pytest

from core.chat.common_templates import COMMON_TEMPLATES
from core.chat.template import ChatTemplate
from core.requests import Message, Role, TextPart

native = pytest.importorskip("llama_cpp")

TURNS = (
    ("system", "Be short."),
    ("user", "One?"),
    ("assistant", " 1 \n"),
    ("user", "<b>Two</b>?"),
)


def write_natively(name: str, turns: tuple[tuple[str, str], ...]) -> str:
    messages = (native.llama_chat_message * len(turns))(
        *(native.llama_chat_message(role.encode(), content.encode()) for role, content in turns)
    )
    buffer = ctypes.create_string_buffer(4096)
    length = native.llama_chat_apply_template(name.encode(), messages, len(turns), True, buffer, len(buffer))
    assert length > 0, f"llama.cpp knows no template {name}"
    return buffer.raw[:length].decode()


@pytest.mark.parametrize("name", COMMON_TEMPLATES)
def test_a_common_template_writes_what_llama_cpp_writes(name: str) -> None:
    template = ChatTemplate(COMMON_TEMPLATES[name])
    try:
        for turns in (TURNS, TURNS[1:2], TURNS[1:]):
            messages = [Message(Role(role), (TextPart(content),)) for role, content in turns]
            assert template.render(messages).text == write_natively(name, turns)
        assert not template.notes
    finally:
        template.close()
