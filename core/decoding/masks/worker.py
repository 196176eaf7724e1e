"""The process that tries forms: see `core.confined`. A grammar that takes for ever, or faults the library, ends it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Final

import msgspec
from llguidance import LLMatcher, LLTokenizer

from core.confined.worker import serve_orders
from core.decoding.masks.calls import (
    CallUnfit,
    Schema,
    allow_any,
    prepare_call_schema,
    write_call_marks,
    write_calls,
)
from core.decoding.masks.library import (
    MAIN,
    ONLY_MAIN,
    build_matcher,
    join_grammar,
    write_json_schema,
    write_letters,
    write_main,
)
from core.decoding.masks.schema import SchemaRefused
from core.decoding.masks.wire import FORM_CHARACTERS, FormFits, FormReport, FormUnfit, TryForm
from core.foreign_text import make_printable
from core.requests import (
    AnswerForm,
    CallForm,
    CallSchema,
    GbnfGrammar,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    MaskForm,
    RegexPattern,
    TextChoice,
)

ORDER_BYTES: Final = 1 << 25
STACK_BYTES: Final = 4 << 20
"""Half of what threads of the workbench have: what does not fill it here will not fill theirs."""
MOST_WORDS_CHARACTERS: Final = 300
"""Characters of the library's own words that are passed on."""
BY_KEYWORD: Final = (
    ("Unknown format", "`format`: {}"),
    ("oneOf", "`oneOf` can only be enforced where a type, a constant or a required member tells its schemas apart"),
    ("min/maxProperties", "`minProperties` and `maxProperties` need all `properties` to be `required`"),
    ("patternProperty", "`patternProperties`: {}"),
    ("Failed to generate regex", "`minimum` or `maximum`: {}"),
    ("circular references", "`$ref`: {}"),
    ("regex parse error", "`pattern`: {}"),
    ("lookarounds", "`pattern`: {}"),
    ("Invalid type", "`type`: {}"),
)
"""What the library says of a schema, and the keyword that it means."""
TOO_LARGE: Final = (
    *("too large", "too big", "too complex", "too many", "is too deep", "stack level", "max is", "panic"),
    *("Unable to determine if regex is empty", "can't determine if", "fuel", "maximum number of nested"),
)
"""What it says of whatever goes beyond a limit."""


def main() -> None:
    threading.stack_size(STACK_BYTES)
    tokenizer = LLTokenizer("byte")
    unable = FormUnfit("it needs too much memory")
    serve_orders(lambda data: _tried(tokenizer, data), ORDER_BYTES, unable)


def _tried(tokenizer: LLTokenizer, data: bytes) -> FormReport:
    form = msgspec.msgpack.decode(data, type=TryForm).form
    if _characters(form) > FORM_CHARACTERS:
        return FormUnfit(f"The {_called(form)} is too large: {FORM_CHARACTERS:,} characters are the most.")
    if isinstance(form, CallForm):
        return _try_calls(tokenizer, form)
    return _try_form(tokenizer, form)


def _try_form(tokenizer: LLTokenizer, form: AnswerForm) -> FormReport:
    try:
        grammar = write_main(form)
    except SchemaRefused as error:
        return FormUnfit(make_printable(str(error)))
    except ValueError as error:
        return FormUnfit(f"The {_called(form)} cannot be read: {_short(str(error))}.")
    matcher = build_matcher(tokenizer, join_grammar(ONLY_MAIN, grammar))
    return _report(matcher, form, grammar)


def _try_calls(tokenizer: LLTokenizer, form: CallForm) -> FormReport:
    try:
        schemas = [prepare_call_schema(schema) for schema in form.schemas]
        grammar, matcher = _build_calls(tokenizer, form, schemas)
        if matcher.is_error():
            # The library does not say which of the tools is at fault.
            schemas = [_settle_schema(tokenizer, *each) for each in zip(form.schemas, schemas, strict=True)]
            grammar, matcher = _build_calls(tokenizer, form, schemas)
    except (CallUnfit, SchemaRefused) as error:
        return FormUnfit(make_printable(str(error)))
    except ValueError as error:
        return FormUnfit(f"The {_called(form)} cannot be read: {_short(str(error))}.")
    return _report(matcher, form, grammar)


def _build_calls(tokenizer: LLTokenizer, form: CallForm, schemas: Sequence[Schema]) -> tuple[str, LLMatcher]:
    grammar = write_calls(form, schemas)
    return grammar, build_matcher(tokenizer, join_grammar(ONLY_MAIN, grammar, *write_call_marks(form, write_letters)))


def _settle_schema(tokenizer: LLTokenizer, schema: CallSchema, prepared: Schema) -> Schema:
    """The schema of one tool, or a looser one. Raises CallUnfit."""
    alone = json.dumps({"name": MAIN, "json_schema": write_json_schema(prepared)})
    matcher = build_matcher(tokenizer, join_grammar(ONLY_MAIN, alone))
    if not matcher.is_error():
        return prepared
    if schema.firm:
        raise CallUnfit(schema.tool, _explained(JsonSchema(schema.schema), matcher.get_error()))
    return allow_any(schema)


def _report(matcher: LLMatcher, form: MaskForm, grammar: str) -> FormReport:
    """What came of the form. Goes on with the matcher."""
    if not matcher.is_error():
        first = matcher.compute_bitmask()
        if matcher.is_stopped() and not matcher.is_accepting() and not _went_wrong(matcher.get_error()):
            return FormUnfit(f"No text is of the {_called(form)}.")
        if not matcher.is_stopped():
            # How much may come next shows behind the first character as a rule, and is better told before an answer.
            matcher.consume_token(_find_first(first))
            if not matcher.is_stopped():
                matcher.compute_bitmask()
    if matcher.is_error():
        return FormUnfit(_explained(form, matcher.get_error()))
    return FormFits(grammar)


def _find_first(mask: bytes) -> int:
    """The lowest token that a mask allows."""
    bits = int.from_bytes(mask, "little")
    return (bits & -bits).bit_length() - 1


def _went_wrong(said: str) -> bool:
    """Whether a matcher's words tell of a limit; one that merely found no way on has its own."""
    return bool(said) and not said.startswith("NoExtension")


def _explained(form: MaskForm, said: str) -> str:
    if any(words in said for words in TOO_LARGE):
        return f"The {_called(form)} is too complex to be enforced; make it smaller."
    if isinstance(form, JsonSchema):
        for words, told in BY_KEYWORD:
            if words in said:
                return f"The schema cannot be enforced: {told.format(_short(said))}."
        if "nsatisfiable" in said:
            return f"Nothing is of the schema: {_short(said)}."
    return f"The {_called(form)} cannot be enforced: {_short(said)}."


def _short(said: str) -> str:
    """The library's words as the end of a sentence."""
    lines = [line.strip() for line in said.strip().splitlines() if line.strip().strip("^")]
    words = " ".join(lines[:4]).replace("Expected f64", "Expected a number")
    return make_printable(words)[:MOST_WORDS_CHARACTERS].rstrip(". ")


def _called(form: MaskForm) -> str:
    match form:
        case JsonObject() | JsonSchema():
            return "schema"
        case RegexPattern():
            return "regular expression"
        case TextChoice():
            return "list of texts"
        case LarkGrammar() | GbnfGrammar():
            return "grammar"
        case CallForm():
            return "list of tools"


def _characters(form: MaskForm) -> int:
    match form:
        case JsonObject():
            return 0
        case (
            JsonSchema(schema=text) | RegexPattern(pattern=text) | LarkGrammar(grammar=text) | GbnfGrammar(grammar=text)
        ):
            return len(text)
        case TextChoice(texts=texts):
            return sum(map(len, texts))
        case CallForm(grammar=grammar, schemas=schemas, otherwise=otherwise):
            rest = 0 if otherwise is None else _characters(otherwise)
            return len(grammar) + sum(len(each.schema) for each in schemas) + rest


if __name__ == "__main__":
    main()
