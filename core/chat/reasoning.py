"""How a chat template lets its model think or not, and how long: found out by rendering, when the model is loaded.

Templates know of it by variables that each family named in its own way. A switch counts where the prompt differs with
it on and off. What stands around a thought is read from a conversation that holds one, so that a thought can be ended
for the model, or an empty one be written, just as the template itself would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from core.chat.plain import TemplateForm
from core.chat.wire import Compiled, Rendered, TemplateReply
from core.requests import Message, ReasoningWish, Role, Scalar, TextPart, Tool

SWITCHES: Final[Mapping[str, tuple[Scalar, Scalar]]] = {
    "enable_thinking": (True, False),
    "thinking": (True, False),
    "reasoning": (True, False),
    "thinking_mode": ("enabled", "disabled"),
    "thinking_option": ("on", "off"),
    "thinking_budget": (-1, 0),
}
"""Variables that switch thinking, with their values for on and off."""
EFFORT_VARIABLES: Final = ("reasoning_effort", "thinking_effort", "reasoning_strength")
BUDGET_VARIABLE: Final = "thinking_budget"
"""Tokens that the model is told it may think."""
EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
"""Words for how much to think, the least first."""
USUAL_EFFORTS: Final = ("low", "medium", "high")
"""Those that every template with such a variable may be taken to know."""
NO_EFFORTS: Final = ("none", "no_think", "off")
"""Words for not at all."""
WATCHED_WORDS: Final = frozenset({*EFFORTS, *NO_EFFORTS})
"""Of these it is told which ones a template names."""
OFF_WORD: Final = "/no_think"
"""What some templates look for in messages, Nemotron's above all."""
OWN_WORD: Final = "velvetharbor"
"""Which no template knows."""
QUESTION, THOUGHT, ANSWER = "copperlantern", "emberthicket", "marblefalcon"
LONGEST_BETWEEN_CHARACTERS: Final = 200
"""That may stand between a thought and the answer behind it."""


class Sample(Struct, frozen=True):
    """A small conversation to be rendered."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    arguments: Mapping[str, Scalar] = {}
    prompt: bool = True
    """Up to where the assistant is to speak; else up to the end of the last message."""


Try = Callable[[Sample, TemplateForm], TemplateReply]
"""Renders a sample in a form; may raise what the process raises."""


class ThinkingControl(Struct, frozen=True):
    """What a template lets one say of thinking."""

    on: Mapping[str, Scalar] = {}
    """Variables that have the model think; none where it has no switch."""
    off: Mapping[str, Scalar] = {}
    """Variables that keep it from thinking."""
    off_word: str = ""
    """A word in a message that keeps it from thinking, which the template takes out; empty where it knows none."""
    effort: str = ""
    """The variable for how much to think; empty where there is none."""
    efforts: tuple[str, ...] = ()
    """The words that the variable takes, the least first."""
    free: bool = False
    """Whether any word reaches the model by that variable."""
    budget: bool = False
    """Whether it reads BUDGET_VARIABLE."""
    begin: str = ""
    """What goes before a thought, behind a prompt that leaves it to the model whether to think; empty where prompts end
    in a thought already, and where nothing is known."""
    end: str = ""
    """What goes between a thought and the answer; empty where the template writes no thoughts."""

    def write_arguments(self, wish: ReasoningWish) -> dict[str, Scalar]:
        """The variables that say as much of the wish as the template reads."""
        wanted = choose_thinking(wish)
        arguments: dict[str, Scalar] = {}
        if wanted is not None:
            arguments |= self.on if wanted else self.off
        if wanted is not False and wish.effort is not None and (word := self.choose_effort(wish.effort)):
            arguments[self.effort] = word
        if wanted is not False and self.budget and wish.budget:
            arguments[BUDGET_VARIABLE] = wish.budget
        return arguments

    def choose_effort(self, word: str) -> str:
        """The word of the template's own that is nearest, the greater of two; empty where it has no such variable."""
        if word in self.efforts or not self.efforts or word not in EFFORTS:
            return word if self.effort else ""
        at = EFFORTS.index(word)
        above = [each for each in self.efforts if EFFORTS.index(each) > at]
        return above[0] if above else self.efforts[-1]


def choose_thinking(wish: ReasoningWish) -> bool | None:
    """Whether the model is to think; None where the wish leaves that open."""
    if wish.think is not None:
        return wish.think
    if wish.effort is not None:
        return wish.effort not in NO_EFFORTS
    return None if wish.budget is None else wish.budget > 0


def study_thinking(attempt: Try, form: TemplateForm, compiled: Compiled) -> ThinkingControl:
    """Find out what the template lets one say of thinking; `form` is what it wants otherwise."""
    on, off = _find_switches(attempt, form, compiled)
    begin, end = find_surroundings(attempt, form, on)
    variable = next((name for name in EFFORT_VARIABLES if name in compiled.variables), "")
    efforts: tuple[str, ...] = ()
    free = False
    if variable:
        efforts, none = _find_efforts(attempt, form, compiled, variable, begin)
        off |= {variable: none} if none and not off else {}
        own = attempt(Sample(_ask(), arguments={variable: OWN_WORD}), form)
        free = isinstance(own, Rendered) and OWN_WORD in own.text
    word = OFF_WORD if not off and (OFF_WORD, "") in compiled.replaced else ""
    return ThinkingControl(on, off, word, variable, efforts, free, BUDGET_VARIABLE in compiled.variables, begin, end)


def find_switches_on(compiled: Compiled) -> dict[str, Scalar]:
    """All that might have the model think, before it is known what does."""
    return {name: on for name, (on, _) in SWITCHES.items() if name in compiled.variables and isinstance(on, bool)}


def _find_switches(attempt: Try, form: TemplateForm, compiled: Compiled) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    on: dict[str, Scalar] = {}
    off: dict[str, Scalar] = {}
    for name, (yes, no) in SWITCHES.items():
        if name not in compiled.variables or (name == BUDGET_VARIABLE and off):
            continue
        with_it, without = (attempt(Sample(_ask(), arguments={name: value}), form) for value in (yes, no))
        if isinstance(with_it, Rendered) and isinstance(without, Rendered) and with_it != without:
            on[name], off[name] = yes, no
    return on, off


def _find_efforts(
    attempt: Try, form: TemplateForm, compiled: Compiled, variable: str, begin: str
) -> tuple[tuple[str, ...], str]:
    """The words that the variable takes, and the one for not at all, which may also be one that has the template write
    a thought's beginning, and so an empty thought."""
    replies = {word: attempt(Sample(_ask(), arguments={variable: word}), form) for word in (*NO_EFFORTS, *EFFORTS)}
    texts = {word: reply.text for word, reply in replies.items() if isinstance(reply, Rendered)}
    fewest = min((text.count(begin) for text in texts.values()), default=0) if begin else 0
    nothing = (
        word
        for word, text in texts.items()
        if word in compiled.words and (word in NO_EFFORTS or (begin and text.count(begin) > fewest))
    )
    taken = tuple(word for word in EFFORTS if word in texts)
    if len(taken) == len(EFFORTS):
        taken = tuple(word for word in EFFORTS if word in compiled.words or word in USUAL_EFFORTS)
    return taken, next(nothing, "")


def find_surroundings(attempt: Try, form: TemplateForm, on: Mapping[str, Scalar]) -> tuple[str, str]:
    """What goes before a thought behind a prompt, and what goes between it and the answer; empty where there is
    nothing, or where it is not known."""
    said = Message(Role.ASSISTANT, (TextPart(ANSWER),), reasoning=THOUGHT)
    whole = attempt(Sample((*_ask(), said), arguments=on, prompt=False), form)
    asked = attempt(Sample(_ask(), arguments=on), form)
    if not isinstance(whole, Rendered) or not isinstance(asked, Rendered):
        return "", ""
    thought, answer = whole.text.find(THOUGHT), whole.text.rfind(ANSWER)
    between = whole.text[thought + len(THOUGHT) : answer]
    if not 0 <= thought < answer or not between.strip() or len(between) > LONGEST_BETWEEN_CHARACTERS:
        return "", ""
    head = whole.text[:thought]
    return (head.removeprefix(asked.text) if head.startswith(asked.text) else ""), between


def _ask() -> tuple[Message, ...]:
    return (Message(Role.USER, (TextPart(QUESTION),)),)
