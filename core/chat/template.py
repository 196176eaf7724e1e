"""Chat templates: Jinja sources that models carry, rendered in an immutable sandbox with limits of time and size.

A template comes with a download and is not to be trusted: it may neither reach Python nor run for ever.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.errors import RequestError
from core.requests import Message, Role, Scalar

SECONDS = 2.0
CHARACTERS = 16_000_000
CALLS = 200_000
RANGE = 10_000
RESERVED = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token", "tools", "documents"})
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For models that carry no template."""


class _Refused(Exception):
    """The template itself said no (`raise_exception`), or went beyond a limit."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Counts calls, so that nested loops over small ranges end as well."""

    deadline = 0.0
    calls = 0

    def call(self, *arguments: object, **keywords: object) -> object:
        self.calls += 1
        if self.calls > CALLS or time.monotonic() > self.deadline:
            raise _Refused("it takes too long to render")
        return super().call(*arguments, **keywords)  # type: ignore[arg-type]


class ChatTemplate:
    """Renders conversations for one model. Raises RequestError where the template cannot take one."""

    def __init__(self, source: str | None, bos: str = "", eos: str = "") -> None:
        self._source = source or CHATML
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(self, messages: Sequence[Message], arguments: Mapping[str, Scalar] | None = None) -> str:
        """The prompt's text, up to where the assistant is to speak."""
        for name in arguments or {}:
            if name in RESERVED:
                raise RequestError(f"chat_template_kwargs may not set {name!r}.", "chat_template_kwargs")
        environment = _environment()
        variables = {
            **(arguments or {}),
            **self._tokens,
            "messages": [_plain(message) for message in messages],
            "add_generation_prompt": True,
        }
        try:
            return self._bounded(environment, variables)
        except (_Refused, jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise RequestError(f"The model's chat template refuses these messages: {error}.", "messages") from error
        except (RecursionError, MemoryError) as error:
            raise RequestError("The model's chat template goes beyond its limits.", "messages") from error

    def _bounded(self, environment: _Sandbox, variables: Mapping[str, object]) -> str:
        pieces: list[str] = []
        size = 0
        for piece in environment.from_string(self._source).generate(**variables):
            size += len(piece)
            if size > CHARACTERS or time.monotonic() > environment.deadline:
                raise _Refused("it renders too much, or takes too long")
            pieces.append(piece)
        return "".join(pieces)


def _environment() -> _Sandbox:
    """As the transformers library sets it up, which is what template authors write for."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.deadline = time.monotonic() + SECONDS
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    environment.globals["range"] = _range
    return environment


def _plain(message: Message) -> dict[str, str]:
    # Developer is a newer name for system, which templates do not know.
    role = Role.SYSTEM if message.role is Role.DEVELOPER else message.role
    plain = {"role": role.value, "content": message.text}
    return plain if message.name is None else {**plain, "name": message.name}


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise _Refused(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > RANGE:
        raise _Refused(f"it asks for a range of {len(numbers)}")
    return numbers
