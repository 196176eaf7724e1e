"""What a template lets one say of thinking is found out by rendering, whatever it calls it."""

import pytest

from core.chat.reasoning import ThinkingControl, choose_thinking
from core.requests import ReasoningWish, Scalar
from tests.core.chat.conftest import Open

THINKS = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>PROMPT{% endif %}"
)


def control(opened: Open, prompt: str) -> ThinkingControl:
    found = opened(THINKS.replace("PROMPT", prompt)).control
    assert isinstance(found, ThinkingControl)
    return found


@pytest.mark.parametrize(
    ("name", "on", "off"),
    [
        ("enable_thinking", True, False),
        ("thinking", True, False),
        ("thinking_mode", "enabled", "disabled"),
        ("thinking_option", "on", "off"),
        ("thinking_budget", -1, 0),
    ],
)
def test_a_switch_is_found_by_what_it_does(name: str, on: Scalar, off: Scalar, opened: Open) -> None:
    written = repr(off) if isinstance(off, str) else str(off).lower()
    found = control(opened, f"{{% if {name} == {written} %}}<think></think>{{% endif %}}")
    assert found.write_arguments(ReasoningWish(think=True)) == {name: on}
    assert found.write_arguments(ReasoningWish(think=False)) == {name: off}
    assert found.write_arguments(ReasoningWish(effort="none")) == {name: off}
    assert found.write_arguments(ReasoningWish()) == {}


def test_a_variable_that_changes_nothing_is_no_switch(opened: Open) -> None:
    found = control(opened, "{% if enable_thinking %}{% endif %}")
    assert (found.on, found.off) == ({}, {})


def test_efforts_are_those_that_the_template_takes(opened: Open) -> None:
    strict = control(
        opened,
        "{% if reasoning_effort is defined and reasoning_effort not in ['no_think', 'low', 'high'] %}"
        "{{ raise_exception('no') }}{% endif %}{{ reasoning_effort }}",
    )
    assert strict.efforts == ("low", "high")
    assert strict.off == {"reasoning_effort": "no_think"}
    chosen = {word: strict.choose_effort(word) for word in ("minimal", "low", "medium", "max")}
    assert chosen == {"minimal": "low", "low": "low", "medium": "high", "max": "high"}
    free = control(opened, "{{ reasoning_effort or 'medium' }}")
    assert free.efforts == ("low", "medium", "high")
    assert free.write_arguments(ReasoningWish(effort="xhigh")) == {"reasoning_effort": "high"}
    assert free.write_arguments(ReasoningWish(effort="own word")) == {"reasoning_effort": "own word"}
    assert free.off == {}


def test_an_effort_has_a_model_think_that_would_not(opened: Open) -> None:
    found = control(opened, "{% if thinking %}<think>{% endif %}")
    assert found.write_arguments(ReasoningWish(effort="low")) == {"thinking": True}


def test_a_budget_is_told_where_the_template_reads_it(opened: Open) -> None:
    found = control(opened, "{% if thinking_budget == 0 %}</think>{% else %}{{ thinking_budget }}{% endif %}")
    assert found.write_arguments(ReasoningWish(budget=512)) == {"thinking_budget": 512}
    assert found.write_arguments(ReasoningWish(budget=0)) == {"thinking_budget": 0}


def test_what_stands_around_a_thought_is_read_from_the_template(opened: Open) -> None:
    assert (control(opened, "").begin, control(opened, "").end) == ("<think>\n", "\n</think>\n\n")
    inside = control(opened, "<think>\n")
    assert (inside.begin, inside.end) == ("", "\n</think>\n\n")
    without = opened("{% for m in messages %}{{ m.content }}{% endfor %}").control
    assert (without.begin, without.end) == ("", "")


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (ReasoningWish(), None),
        (ReasoningWish(effort="none"), False),
        (ReasoningWish(effort="low"), True),
        (ReasoningWish(effort="high", think=False), False),
        (ReasoningWish(budget=0), False),
        (ReasoningWish(budget=9), True),
    ],
)
def test_a_wish_tells_whether_to_think(wish: ReasoningWish, wanted: bool | None) -> None:
    assert choose_thinking(wish) is wanted
