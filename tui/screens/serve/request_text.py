"""What a request says, in words of bounded length: its prompt as it came, and what it asks of its answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from textual.content import Content

from core.requests import (
    Calling,
    CallOf,
    Conversation,
    Embedding,
    Generation,
    Infill,
    JsonObject,
    JsonSchema,
    Message,
    RawText,
    RawTokens,
    RegexPattern,
    Reranking,
    Sampling,
    Transcription,
)
from core.serving.ability import Request
from core.sizes import format_size
from tui import format as fmt

MOST_SHOWN_CHARACTERS: Final = 20_000
MOST_LISTED_TEXTS: Final = 200
"""Inputs of an embedder, documents of a reranker, tools."""
_USUAL: Final = Sampling()
_NEUTRAL: Final = ("typical_p", "repeat_penalty", "frequency_penalty", "presence_penalty", "logprobs", "seed")
"""Those that are told only where they do something."""


def clip_middle(text: str, most: int = MOST_SHOWN_CHARACTERS) -> str:
    """A long text without its middle, which is told."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {fmt.format_count(len(text) - 2 * half)} characters ...\n{text[-half:]}"


def clip_begin(text: str, most: int = MOST_SHOWN_CHARACTERS) -> str:
    """The end of a long text."""
    return text if len(text) <= most else f"... {fmt.format_count(len(text) - most)} characters ...\n{text[-most:]}"


def list_prompt(asked: Request) -> Iterator[Content]:
    """What a request says, in pieces that stand below each other."""
    match asked:
        case Generation(prompt=Conversation() as conversation):
            yield from _list_messages(conversation)
        case Generation(prompt=RawText(text=text)):
            yield Content(clip_middle(text))
        case Generation(prompt=RawTokens(tokens=tokens)):
            yield Content(f"{fmt.format_plural(len(tokens), 'token')}, named by their numbers.")
        case Generation(prompt=Infill() as gap):
            yield from (_titled("before", gap.before), _titled("behind", gap.after))
            yield from _list_texts("file", [f"{name}\n{text}" for name, text in gap.files])
        case Embedding(inputs=inputs):
            told = [each.text if isinstance(each, RawText) else f"{len(each.tokens)} tokens" for each in inputs]
            yield from _list_texts("text", told)
        case Reranking(query=query, documents=documents):
            yield _titled("query", query)
            yield from _list_texts("document", documents)
        case Transcription(audio=audio, prompt=prompt):
            yield Content(f"A recording of {format_size(len(audio))}." if audio else "A recording.")
            if prompt:
                yield _titled("text before", prompt)


def _list_messages(conversation: Conversation) -> Iterator[Content]:
    """The last ones, as many as there is room for."""
    room = MOST_SHOWN_CHARACTERS
    told: list[Content] = []
    for message in reversed(conversation.messages):
        if room <= 0:
            break
        text = clip_middle(_write_message(message), max(200, room))
        told.append(_titled(message.role.value, text))
        room -= len(text)
    if left := len(conversation.messages) - len(told):
        yield Content.styled(f"... {fmt.format_plural(left, 'earlier message')} ...", "$quiet")
    yield from reversed(told)
    if conversation.tools:
        names = [tool.name for tool in conversation.tools]
        yield _titled(fmt.format_plural(len(names), "tool"), ", ".join(names[:MOST_LISTED_TEXTS]))


def _write_message(message: Message) -> str:
    calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    thought = f"(thought) {message.reasoning}" if message.reasoning else ""
    return "\n".join(part for part in (thought, message.text, *calls) if part)


def _list_texts(title: str, texts: Sequence[str]) -> Iterator[Content]:
    for number, text in enumerate(texts[:MOST_LISTED_TEXTS], 1):
        yield _titled(f"{title} {number}", clip_middle(text, max(200, MOST_SHOWN_CHARACTERS // len(texts))))
    if len(texts) > MOST_LISTED_TEXTS:
        yield Content.styled(f"... {fmt.format_count(len(texts) - MOST_LISTED_TEXTS)} more ...", "$quiet")


def _titled(title: str, text: str) -> Content:
    return Content.assemble((title, "bold $secondary"), "\n", text)


def list_parameters(asked: Request) -> Iterator[str]:
    """What it asks of its answer, each in a few words."""
    match asked:
        case Generation():
            yield from _list_generation(asked)
        case Embedding(dimensions=dimensions, truncate=truncate, inputs=inputs):
            yield fmt.format_plural(len(inputs), "text")
            if dimensions is not None:
                yield f"{dimensions} dimensions"
            if truncate:
                yield "cut where too long"
        case Reranking(documents=documents, truncate=truncate):
            yield fmt.format_plural(len(documents), "document")
            if truncate:
                yield "cut where too long"
        case Transcription(language=language, translate=translate, temperature=temperature, words=words):
            yield f"language {language or 'found out'}"
            yield f"temperature {temperature:g}"
            if translate:
                yield "translated into English"
            if words:
                yield "times of words"


def _list_generation(asked: Generation) -> Iterator[str]:
    yield f"max tokens {fmt.format_count(asked.max_tokens)}" if asked.max_tokens is not None else "max tokens open"
    sampling = asked.sampling
    for name in ("temperature", "top_p", "top_k", "min_p"):
        if (value := getattr(sampling, name)) is not None:
            yield f"{name} {value:g}"
    for name in _NEUTRAL:
        if (value := getattr(sampling, name)) not in (None, getattr(_USUAL, name)):
            yield f"{name} {value:g}"
    if sampling.logit_bias:
        yield f"{fmt.format_plural(len(sampling.logit_bias), 'token')} biased"
    if asked.n > 1:
        yield f"{asked.n} choices"
    if asked.stop:
        yield f"stop {', '.join(map(repr, asked.stop[:4]))}"
    yield from _list_thinking(asked)
    yield from _list_form(asked)
    if not asked.cache:
        yield "without cache"
    if asked.reproducible:
        yield "reproducible"


def _list_thinking(asked: Generation) -> Iterator[str]:
    wish = asked.reasoning
    if wish.think is not None:
        yield "thinking" if wish.think else "no thinking"
    if wish.effort is not None:
        yield f"effort {wish.effort}"
    if wish.budget is not None:
        yield f"thinking budget {fmt.format_count(wish.budget)}"


def _list_form(asked: Generation) -> Iterator[str]:
    match asked.tool_choice:
        case CallOf(name=name):
            yield f"must call {name}"
        case Calling.REQUIRED:
            yield "must call a tool"
        case Calling.NONE if isinstance(asked.prompt, Conversation) and asked.prompt.tools:
            yield "may call no tool"
    if asked.constraint is None:
        return
    match asked.constraint.form:
        case JsonObject():
            yield "held to JSON"
        case JsonSchema():
            yield "held to a JSON Schema"
        case RegexPattern():
            yield "held to a regular expression"
        case _:
            yield "held to a form"
