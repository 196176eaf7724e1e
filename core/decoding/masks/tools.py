"""Which masks a request's tools ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from core.chat.parsers.family import ChatFamily
from core.contract.models import Tokenizer
from core.decoding.masks.calls import CallTerms
from core.errors import RequestError
from core.requests import AnswerForm, CallForm, Calling, CallOf, Constraint, Conversation, Generation, Tool

MOST_FREE_TOOLS: Final = 128
"""Tools whose calls are held to their form though nothing asks for that; more take too long to compile."""
MOST_FREE_CHARACTERS: Final = 100_000
"""Of their schemas."""


class MaskPlan(Struct, frozen=True):
    """What the answer to a request is held to."""

    constraint: Constraint
    awaits: bool = False
    """Whether it begins where a call does, rather than with the answer."""
    firm: bool = True
    """Whether the request is refused where there can be no such mask; else the answer is free."""


def plan_mask(family: ChatFamily | None, request: Generation, model: str) -> MaskPlan | None:
    """None where the answer is free. Raises RequestError where a call is asked for that the model cannot write."""
    tools = request.callable_tools
    given = MaskPlan(request.constraint) if request.constraint is not None else None
    if not tools:
        return given
    if request.tool_choice is Calling.AUTO:
        return _plan_free(family, request, tools) or given
    if family is None or family.calls is None:
        raise RequestError(
            f"The chat template of {model} knows no calls of tools, so none can be asked for; choose another model, or "
            "leave `tool_choice` out.",
            "tool_choice",
        )
    named = request.tool_choice.name if isinstance(request.tool_choice, CallOf) else None
    chosen = [tool for tool in tools if named in (None, tool.name)]
    several = named is None and request.parallel_calls
    return MaskPlan(Constraint(_write(family, chosen, frozenset(tool.name for tool in chosen), several), "tool_choice"))


def find_call_tokens(family: ChatFamily | None, request: Generation, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that begin a call where none is to be written, although the prompt tells of tools."""
    conversation = request.prompt
    told = isinstance(conversation, Conversation) and conversation.tools
    if not told or request.callable_tools or family is None or family.calls is None:
        return ()
    read = [tokenizer.encode(begin, special=True) for begin in family.calls.begins]
    return tuple(tokens[0] for tokens in read if len(tokens) == 1)


def _plan_free(family: ChatFamily | None, request: Generation, tools: Sequence[Tool]) -> MaskPlan | None:
    """Where the model chooses: what it calls is held to its form, and to its schema as far as masks can."""
    if family is None or family.calls is None:
        return None
    strict = frozenset(tool.name for tool in tools if tool.strict)
    constraint = request.constraint
    if constraint is not None and not isinstance(constraint.form, CallForm):
        form = _write(family, tools, strict, request.parallel_calls, constraint.form)
        return MaskPlan(Constraint(form, constraint.field))
    if not (family.calls.begins or family.calls.openings):
        # Nothing tells calls from words before they are whole.
        return None
    firm = bool(strict) or request.allowed_tools is not None
    if not firm and (len(tools) > MOST_FREE_TOOLS or sum(len(tool.held_to) for tool in tools) > MOST_FREE_CHARACTERS):
        return None
    form = _write(family, tools, strict, request.parallel_calls, loose=True)
    return MaskPlan(Constraint(form, "tools"), awaits=True, firm=firm)


def _write(
    family: ChatFamily,
    tools: Sequence[Tool],
    firm: frozenset[str],
    several: bool,
    otherwise: AnswerForm | None = None,
    *,
    loose: bool = False,
) -> CallForm:
    assert family.calls is not None
    terms = CallTerms(firm, loose=loose)
    return terms.make_form(family.calls.write_grammar(tools, terms, several=several), otherwise)
