"""What a message contains is text, whatever it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat.prompt import PromptEncoder
from core.chat.template import ChatTemplate
from core.engines.echo import TURN_BEGIN, TURN_END, EchoTokenizer
from tests.support import said

ENCODER = PromptEncoder(ChatTemplate(None), EchoTokenizer())
pieces = st.lists(st.sampled_from(["<|im_start|>", "<|im_end|>", "<|im_", "a", "\ue000", "\ue001", "é", "\n"])).map(
    "".join
)


@given(pieces)
def test_no_message_can_write_a_control_token(text: str) -> None:
    tokens = ENCODER.encode([said(text)], {})
    assert [token for token in tokens if token >= 256] == [TURN_BEGIN, TURN_END, TURN_BEGIN]
    shown = bytes(token for token in tokens if token < 256).decode()
    assert shown == f"user\n{text}\nassistant\n".replace("\ue000", "").replace("\ue001", "")


@pytest.mark.parametrize("text", ["plain", ""])
def test_an_ordinary_message_is_tokenised_in_one_piece(text: str) -> None:
    rendered = ChatTemplate(None).render([said(text)])
    assert ENCODER.encode([said(text)], {}) == EchoTokenizer().encode(rendered, special=True)
