"""What is wished of thinking becomes what each family's template and marks allow."""

from collections.abc import Callable, Iterator

import pytest

from core.chat.parsers.family import ThinkingPhase
from core.chat.voice import ChatVoice
from core.engines.echo import EchoModel, EchoTokenizer
from core.requests import Conversation, ReasoningWish, Role, Scalar, Tool
from tests.fakes.support import said

NO_THOUGHT = ReasoningWish(think=False)
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
R1 = TURNS + "{# </think> #}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
EITHER = TURNS + "{# <think> </think> #}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
HARMONY = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>"
    "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}{# <|constrain|> to=functions. #}"
)
Speak = Callable[[str], ChatVoice]


@pytest.fixture
def speak() -> Iterator[Speak]:
    """Makes voices, which are closed with the test."""
    made: list[ChatVoice] = []

    def make_voice(source: str) -> ChatVoice:
        made.append(ChatVoice(source, EchoModel().spec, EchoTokenizer(), "m"))
        return made[-1]

    yield make_voice
    for voice in made:
        voice.close()


@pytest.mark.parametrize("source", [R1, EITHER], ids=["begun", "either"])
def test_an_empty_thought_keeps_a_model_from_thinking_that_has_no_switch(source: str, speak: Speak) -> None:
    voice = speak(source)
    written = voice.write(Conversation((said("x"),)), NO_THOUGHT).text
    assert written.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert voice.family is not None
    assert voice.family.find_phase(written) is ThinkingPhase.BEHIND
    assert voice.list_ignored(NO_THOUGHT) == ()
    assert voice.write_ending(ReasoningWish(), written, tools=False) is None


def test_variables_of_the_settings_hold_where_neither_the_request_nor_its_wish_sets_them() -> None:
    source = TURNS + "{{ date_string }} {{ 'thinks' if enable_thinking else 'answers' }}"
    variables: dict[str, Scalar] = {"date_string": "1 May 2031", "enable_thinking": False}
    voice = ChatVoice(source, EchoModel().spec, EchoTokenizer(), "m", variables=variables)
    try:
        assert voice.write(Conversation((said("x"),))).text.endswith("1 May 2031 answers")
        assert voice.write(Conversation((said("x"),)), ReasoningWish(think=True)).text.endswith("2031 thinks")
        said_so = Conversation((said("x"),), {"date_string": "today", "enable_thinking": True})
        assert voice.write(said_so).text.endswith("today thinks")
    finally:
        voice.close()


def test_a_thought_in_a_channel_ends_where_the_answers_channel_begins(speak: Speak) -> None:
    voice = speak(HARMONY)
    asked = Conversation((said("x"),))
    prompt = voice.write(asked).text
    final = "<|start|>assistant<|channel|>final<|message|>"
    assert voice.write_ending(ReasoningWish(message="so"), prompt, tools=False) == ("\n\nso", f"<|end|>{final}")
    # Calls go to channels of their own, so what follows the thought is left to the model.
    assert voice.write_ending(ReasoningWish(message="so"), prompt, tools=True) == ("\n\nso", "<|end|>")
    assert voice.write(asked, NO_THOUGHT).text == f"{prompt}<|channel|>analysis<|message|><|end|>{final}"


def test_what_a_client_tells_the_template_goes_before_its_wishes(speak: Speak) -> None:
    source = TURNS + "{% if enable_thinking == false %}<think></think>{% endif %}"
    voice = speak(source)
    asked = Conversation((said("x"),), {"enable_thinking": True})
    assert "<think>" not in voice.write(asked, NO_THOUGHT).text
    assert "<think>" in voice.write(Conversation((said("x"),)), NO_THOUGHT).text


def test_a_continued_answer_is_given_no_thought(speak: Speak) -> None:
    begun = Conversation((said("x"), said("so", Role.ASSISTANT)), continued=True)
    assert speak(EITHER).write(begun, NO_THOUGHT).text.endswith("<|im_start|>assistant\nso")


def test_of_a_word_that_is_no_effort_a_switch_makes_nothing(speak: Speak) -> None:
    switch = speak(TURNS + "{% if enable_thinking == false %}<think></think>{% endif %}")
    assert switch.list_ignored(ReasoningWish(effort="high")) == ()
    assert switch.list_ignored(ReasoningWish(effort="hihg")) == ("effort",)
    own_words = speak(TURNS + "{{ reasoning_effort or 'medium' }}")
    assert own_words.list_ignored(ReasoningWish(effort="own word")) == ()


def test_a_model_that_never_thinks_hears_nothing_of_it(speak: Speak) -> None:
    voice = speak(TURNS)
    tools = Conversation((said("x"),), tools=(Tool("look"),))
    assert voice.write(tools, NO_THOUGHT).text == voice.write(tools).text
    assert voice.list_ignored(ReasoningWish(think=True, effort="high", budget=3)) == ("think", "effort", "budget")
