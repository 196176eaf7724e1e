"""Grammars of calls, in Lark as llguidance reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.chat.parsers.family import GrammarTerms
from core.requests import Tool


def write_json_calls(
    tools: Sequence[Tool],
    terms: GrammarTerms,
    *,
    begin: str,
    end: str,
    between: str | None,
    keys: tuple[str, str] = ("name", "arguments"),
) -> str:
    """Calls as JSON objects of a name and arguments, each between `begin` and `end`; one only where nothing may stand
    `between` two."""
    name, arguments = keys
    told = [
        f"{quote_text(f'{json.dumps(tool.name)}, {json.dumps(arguments)}: ')} {terms.arguments(tool)}" for tool in tools
    ]
    head = quote_text(f"{{{json.dumps(name)}: ")
    call = f"call: {terms.mark(begin)} {head} ({' | '.join(told)}) {terms.mark('}' + end)}\n"
    return f"calls: call{repeat_rule('call', between, terms)}\n{call}"


def repeat_rule(rule: str, between: str | None, terms: GrammarTerms) -> str:
    """What may follow the first of several."""
    return "" if between is None else f" ({terms.mark(between)} {rule})*" if between else f" {rule}*"


def quote_text(text: str) -> str:
    """A text as Lark writes it."""
    return json.dumps(text)
