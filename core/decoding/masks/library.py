"""The one place that calls llguidance: its limits, its grammars, its matchers."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from core.requests import AnswerForm, GbnfGrammar, JsonObject, JsonSchema, LarkGrammar, RegexPattern, TextChoice

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

MAIN: Final = "main"
"""What the grammar of an answer's form is called."""
FREE_TOKENS: Final = '%llguidance {"no_forcing": true}\n'
"""Of several ways to divide a text into tokens the model chooses one itself, as it does without a mask."""
ONLY_MAIN: Final = f"{FREE_TOKENS}start: @{MAIN}"
SPACES: Final = r"(?: |\r?\n[ \t]{0,40})"
"""Between two tokens of JSON: a space, or a new line with its indentation. A model that may write spaces without end
sometimes does."""
ESCAPES: Final = 'nrbtf\\"'
"""Letters behind a backslash. Without `u`: a member's name that can be written in two ways escapes its own schema."""


@cache
def build_limits() -> LLParserLimits:
    """What a grammar may cost, in the library's own units: a mask takes a few milliseconds at most."""
    from llguidance import LLParserLimits

    return LLParserLimits(step_lexer_fuel=50_000, step_max_items=20_000, max_lexer_states=20_000, verbose_errors=False)


def build_matcher(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    """A matcher at the beginning of its text. Its errors are told by `is_error`, and never raised."""
    from llguidance import LLMatcher

    return LLMatcher(tokenizer, grammar, log_level=0, limits=build_limits())


def is_refusal(said: str) -> bool:
    """Whether a matcher that took no token has `said` that its grammar does not allow it, rather than of a limit."""
    return "doesn't satisfy the grammar" in said


def join_grammar(start: str, *parts: str) -> str:
    """Grammars in JSON, as `write_main` makes them, below a Lark grammar that refers to them."""
    return f'{{"grammars":[{",".join((json.dumps({"lark_grammar": start}), *parts))}]}}'


def write_main(form: AnswerForm, name: str = MAIN) -> str:
    """The form as a grammar of the library's, in JSON.

    Raises SchemaRefused for a schema that cannot be enforced, ValueError for a GBNF grammar that cannot be read.
    """
    return json.dumps({"name": name, **_written(form)})


def _written(form: AnswerForm) -> dict[str, Any]:
    match form:
        case JsonObject():
            return {"json_schema": write_json_schema({"type": "object"})}
        case JsonSchema(schema=schema):
            from core.decoding.masks.schema import prepare_schema

            return {"json_schema": write_json_schema(prepare_schema(schema))}
        case RegexPattern(pattern=pattern):
            return {"lark_grammar": _whole(pattern)}
        case TextChoice(texts=texts):
            return {"lark_grammar": _whole("|".join(map(_literal, texts)))}
        case LarkGrammar(grammar=grammar):
            return {"lark_grammar": grammar}
        case GbnfGrammar(grammar=grammar):
            return {"lark_grammar": _from_gbnf(grammar)}


def write_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A prepared schema as the library is to follow it."""
    return {"x-guidance": {"whitespace_pattern": SPACES, "json_allowed_escapes": ESCAPES}, **schema}


def write_letters(text: str) -> str:
    """A text as a Lark grammar writes it."""
    return json.dumps(text)


def _whole(pattern: str) -> str:
    from llguidance import LLMatcher

    (written,) = json.loads(LLMatcher.grammar_from_regex(pattern))["grammars"]
    return str(written["lark_grammar"])


def _literal(text: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else f"\\x{{{ord(each):x}}}" for each in text)


def _from_gbnf(grammar: str) -> str:
    from llguidance.gbnf_to_lark import any_to_lark

    if "::=" not in grammar:
        raise ValueError("it has no rule of the form `name ::= ...`")
    try:
        return str(any_to_lark(grammar))
    except Exception as error:
        # Its reader raises a bare Exception for a rule that is missing or doubled, and runs in the process that tries
        # forms alone.
        raise ValueError(str(error)) from error
