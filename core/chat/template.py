"""Chat templates: Jinja sources that models carry, and what a conversation becomes by them.

A template comes with a download and is not to be trusted: it may neither reach Python nor run for ever nor fill the
memory, so it is rendered in a process that can be ended. What it takes and does not take is found out when it is
made; one that is of no use is told of then, and ChatML is written instead.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.chat.chatml import SPELLINGS, write_chatml
from core.chat.plain import GUIDING, TemplateForm, Writing, fold_system, write_messages, write_tools
from core.chat.probing import LOOKED_FOR, study_template
from core.chat.process import ORDER_SECONDS, TemplateProcess
from core.chat.reasoning import Sample, ThinkingControl
from core.chat.wire import (
    Compiled,
    Render,
    Rendered,
    TemplateBroken,
    TemplateRefused,
    TemplateReply,
    pack_variable,
)
from core.confined.process import CLOCK_FACTOR, ProcessEnded
from core.errors import RequestError, TemplateFailed
from core.foreign_text import make_printable
from core.requests import Message, Role, Scalar, TextPart, Tool
from core.tasks.bounds import SHORT_BYTES
from core.telemetry.log import get_logger

RESERVED: Final = frozenset(
    {
        *("messages", "add_generation_prompt", "bos_token", "eos_token", "tools", "documents"),
        # what templates call, and would fail without
        *("raise_exception", "strftime_now", "namespace", "range", "dict", "lipsum", "cycler", "joiner"),
        *("loop", "self", "super", "caller", "varargs", "kwargs"),
    }
)
"""Variables that no client may set."""
MOST_TOLD_CHARACTERS: Final = 300
"""Characters of a template's own words that an error quotes."""
ABSENT: Final = (
    "It has no chat template: conversations are written in ChatML, which it may not know; "
    "a base model's answers may not end."
)
UNUSABLE: Final = "Its chat template cannot be used: {}. Conversations are written in ChatML, which it may not know."
NO_SYSTEM: Final = "Its chat template takes no system message: one goes before the user's first words."
LOSES: Final = "Its chat template leaves out what the user says."
MOVED: Final = "The chat template takes no system message; it stands before the user's words."
LOST: Final = "The chat template leaves out or rewrites some of the words that were sent."
STAND_IN: Final = "velvetorchard"
"""Stands for words that are put in later; letters alone, so that no template does anything with it."""
SENDERS: Final = frozenset({Role.USER.value, *(role.value for role in GUIDING)})
"""Roles whose words are all to be in the prompt."""
MOST_LOST_TEXTS: Final = 100
"""Texts that are counted where a template leaves out what was said."""

log = get_logger(__name__)


class Rendering(Struct, frozen=True):
    """A prompt's text, with notes on how the text came about for the user who watches the request."""

    text: str
    notes: tuple[str, ...] = ()
    thinking: bool = False
    """Whether it ends amid a thought that is to be continued."""


class ChatTemplate:
    """Renders conversations for one model. Safe to call from any thread; renders one at a time, and a long one
    beside it.

    Making one starts its process and tries it out, which takes a quarter of a second; `notes` are sentences about
    the model that came of it. Whoever made it closes it.
    """

    def __init__(
        self,
        source: str | None,
        bos: str = "",
        eos: str = "",
        *,
        model: str = "the model",
        seconds: float = ORDER_SECONDS,
    ) -> None:
        """`seconds` are those that a conversation may take."""
        self._model = model
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._form = TemplateForm()
        self._process: TemplateProcess | None = None
        """None where ChatML is written."""
        self._long_process: TemplateProcess | None = None
        """For long conversations, so that short ones wait for none of them; started with the first."""
        self._starting = threading.Lock()
        self._closed = False
        self._seconds = seconds
        self._source = (source or "").encode("utf-8", "replace").decode()
        """Half a surrogate in it is no reason to do without the rest."""
        self._compiled = Compiled()
        self.control = ThinkingControl()
        """What it lets one say of thinking."""
        self.notes: tuple[str, ...] = ()
        if not source or not source.strip():
            self.notes = (ABSENT,)
        elif source not in SPELLINGS:
            self._study()

    @property
    def replaced(self) -> Sequence[tuple[str, str]]:
        """Texts that it replaces or splits at, with what it puts there."""
        return self._compiled.replaced

    @property
    def folds(self) -> bool:
        """Whether it writes some text in other cases."""
        return self._compiled.folds

    def render(
        self,
        messages: Sequence[Message],
        arguments: Mapping[str, Scalar] | None = None,
        *,
        tools: Sequence[Tool] = (),
        add_generation_prompt: bool = True,
        continued: bool = False,
        writing: Writing = Writing(),
    ) -> Rendering:
        """The prompt's text, up to where the assistant is to speak; where the last message is `continued`, up to its
        last word.

        Raises RequestError where the template refuses the messages, cannot take an argument or leaves out what is to be
        continued, TemplateFailed where the fault is the template's own.
        """
        for name in arguments or {}:
            if name in RESERVED:
                raise RequestError(f"chat_template_kwargs may not set {name!r}.", "chat_template_kwargs")
        extra = {name: writing.text(it) if isinstance(it, str) else it for name, it in (arguments or {}).items()}
        asked = _RenderKey(messages, extra, tools, add_generation_prompt, writing)
        try:
            return self._continue_last(asked) if continued else self._rendered(asked)
        except RecursionError as error:
            raise RequestError(
                "A tool's parameters or a call's arguments are nested too deeply.", "messages"
            ) from error
        except UnicodeEncodeError as error:
            raise RequestError(
                "A message holds half a surrogate pair, which is no character; send text as UTF-8.", "messages"
            ) from error
        except ProcessEnded as error:
            if not self._closed:
                log.warning("a chat template was ended", model=self._model, why=str(error))
            raise TemplateFailed(
                self._model, f"The chat template of {self._model} {error}, so it cannot write this conversation."
            ) from error

    def close(self) -> None:
        """End its processes, and what they render; idempotent, from any thread."""
        with self._starting:
            self._closed = True
            for process in (self._process, self._long_process):
                if process is not None:
                    process.close()

    def _study(self) -> None:
        """Find out what it wants, or that it is of no use."""
        source = self._source
        try:
            self._process = TemplateProcess(source, self._seconds, LOOKED_FOR)
            compiled = self._process.compile()
            if isinstance(compiled, Compiled):
                self._compiled = compiled
                study = study_template(source, self._attempt, compiled)
                self._form, self.control, problem = study.form, study.control, study.problem
                self.notes = (*((LOSES,) if study.loses else ()), *(() if study.form.system else (NO_SYSTEM,)))
            else:
                problem = f"it is no Jinja that can be read: {compiled.words}"
                problem = study_template(source, lambda *_: compiled).problem or problem
        except ProcessEnded as error:
            problem = f"it {error}"
        if problem:
            self.close()
            self._process, self._form, self._compiled = None, TemplateForm(), Compiled()
            self.control = ThinkingControl()
            self.notes = (UNUSABLE.format(_quote_words(problem)),)

    def _attempt(self, sample: Sample, form: TemplateForm) -> TemplateReply:
        asked = _RenderKey(sample.messages, sample.arguments, sample.tools, sample.prompt, Writing())
        return self._tried(asked, form).reply

    def _continue_last(self, asked: _RenderKey) -> Rendering:
        """Render the last message with other words in place of its own, and cut there: a template may trim them, or end
        the turn behind them."""
        *before, last = asked.messages
        if last.role is not Role.ASSISTANT or last.tool_calls:
            raise RequestError(
                "Only a last message of the assistant's can be continued, and none that asks for tools.", "messages"
            )
        if not last.text and not last.reasoning:
            return self._rendered(replace(asked, messages=before, add_generation_prompt=True))
        stand_in = f"{STAND_IN}{token_hex(8)}"
        thinking = not last.text
        words = asked.writing.text(last.reasoning if thinking else last.text)
        other = (
            replace(last, parts=(TextPart(STAND_IN),), reasoning=stand_in)
            if thinking
            else replace(last, parts=(TextPart(stand_in),))
        )
        rendering = self._rendered(replace(asked, messages=(*before, other), add_generation_prompt=False))
        at = rendering.text.rfind(stand_in)
        if at < 0:
            what = "thinks" if thinking else "says"
            raise RequestError(
                f"The chat template of {self._model} leaves out what the assistant {what} last, so it cannot be "
                "continued.",
                "messages",
            )
        return replace(rendering, text=rendering.text[:at] + words, thinking=thinking)

    def _rendered(self, asked: _RenderKey) -> Rendering:
        guided = any(message.role in GUIDING for message in asked.messages)
        moved = guided and not self._form.system
        if moved:
            asked = replace(asked, messages=fold_system(asked.messages))
        tried = self._tried(asked, self._form)
        if guided and not moved and not isinstance(tried.reply, Rendered):
            # It may take a system message at other times, but not here, or not beside these.
            second = replace(asked, messages=fold_system(asked.messages))
            other = self._tried(second, self._form)
            if isinstance(other.reply, Rendered):
                asked, tried, moved = second, other, True
        if not isinstance(tried.reply, Rendered):
            raise self._error(asked, tried.reply)
        text, lost = self._with_all_words(asked, tried.written, tried.reply.text)
        return Rendering(text, (*((MOVED,) if moved else ()), *lost))

    def _with_all_words(self, asked: _RenderKey, written: _Written, text: str) -> tuple[str, tuple[str, ...]]:
        """The text, or one made with lists of parts where that keeps more of what the user said, and a note on words
        that no form keeps."""
        if self._process is None or not (lost := _count_lost(written, text)):
            return text, ()
        listed = replace(self._form, parts=frozenset(Role), lists=frozenset(Role))
        other = self._tried(asked, listed)
        if isinstance(other.reply, Rendered) and (left := _count_lost(other.written, other.reply.text)) < lost:
            text, lost = other.reply.text, left
        return text, (LOST,) if lost else ()

    def _error(self, asked: _RenderKey, reply: TemplateRefused | TemplateBroken) -> RequestError | TemplateFailed:
        """Whose fault it is that the template wrote nothing: an argument's, the messages', or its own."""
        if asked.extra and isinstance(self._tried(replace(asked, extra={}), self._form).reply, Rendered):
            field = "reasoning_effort" if set(asked.extra) == {"reasoning_effort"} else "chat_template_kwargs"
            return RequestError(
                f"The chat template of {self._model} does not take what {field} says: {_quote_words(reply.words)}.",
                field,
            )
        if isinstance(reply, TemplateRefused):
            return RequestError(
                f"The chat template of {self._model} refuses these messages: {_quote_words(reply.words)}.", "messages"
            )
        return TemplateFailed(
            self._model, f"The chat template of {self._model} fails at this conversation: {_quote_words(reply.words)}."
        )

    def _tried(self, asked: _RenderKey, form: TemplateForm) -> _Tried:
        messages = write_messages(asked.messages, form, asked.writing)
        if self._process is None:
            turns = ((str(message["role"]), str(message["content"])) for message in messages)
            return _Tried(messages, Rendered(write_chatml(turns, add_generation_prompt=asked.add_generation_prompt)))
        variables: dict[str, object] = {
            **write_tools(asked.tools, form, asked.writing, pack_variable),
            **asked.extra,
            **self._tokens,
            "messages": messages,
            "documents": None,
            "add_generation_prompt": asked.add_generation_prompt,
        }
        process = self._process if asked.characters <= SHORT_BYTES else self._start_long()
        return _Tried(messages, process.render(Render(variables)))

    def _start_long(self) -> TemplateProcess:
        with self._starting:
            if self._long_process is None:
                self._long_process = TemplateProcess(self._source, self._seconds, clock_factor=CLOCK_FACTOR)
                if self._closed:
                    self._long_process.close()
            return self._long_process


_Written = Sequence[Mapping[str, object]]


class _RenderKey(Struct, frozen=True):
    """All that a rendering is made of but the form."""

    messages: Sequence[Message]
    extra: Mapping[str, Scalar]
    tools: Sequence[Tool]
    add_generation_prompt: bool
    writing: Writing

    @property
    def characters(self) -> int:
        """Of what is long where anything is."""
        said = (part.text for message in self.messages for part in message.parts)
        called = (call.arguments for message in self.messages for call in message.tool_calls)
        return sum(map(len, (*said, *called, *(tool.parameters for tool in self.tools))))


class _Tried(Struct, frozen=True):
    """The messages as a template was given them, and what came of it."""

    written: _Written
    reply: TemplateReply


def _count_lost(written: _Written, text: str) -> int:
    """How many of the texts that users and systems wrote are not in the prompt as they were sent; counts no further
    than MOST_LOST_TEXTS.

    Each is looked for from where the one before it was found: a search of the whole for every message would take
    seconds for a long conversation.
    """
    lost = at = 0
    for said in (said.strip() for message in written if message["role"] in SENDERS for said in _texts(message)):
        found = text.find(said, at)
        if found >= 0:
            at = found
        elif said not in text:
            lost += 1
            if lost == MOST_LOST_TEXTS:
                break
    return lost


def _texts(message: Mapping[str, object]) -> Sequence[str]:
    match message["content"]:
        case str(text):
            return (text,)
        case list(parts):
            return [part["text"] for part in parts]
        case _:
            return ()


def _quote_words(words: str) -> str:
    shown = make_printable(words[:MOST_TOLD_CHARACTERS].strip()).rstrip(".")
    return f"{shown} ..." if len(words) > MOST_TOLD_CHARACTERS else shown
