"""Calls of tools as grammars: what a family of models writes around their arguments, and the schemas of these."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from core.decoding.masks.library import MAIN, SPACES, write_json_schema, write_letters, write_main
from core.decoding.masks.schema import SchemaRefused, prepare_schema
from core.requests import AnswerForm, CallForm, CallSchema, Tool

Schema = dict[str, Any]
_SLASHES = re.compile(r"(?<!\\)/")
ANYTHING = "ANY: /(?s:.*)/\n"
WriteMark = Callable[[str], str]
"""From the text of a mark to what a Lark grammar calls it."""


class CallUnfit(Exception):
    """A tool whose arguments no mask can hold to its schema; the words are a sentence about the schema."""

    def __init__(self, tool: str, words: str) -> None:
        super().__init__(f"In the tool `{tool}`: {words}")


class CallTerms:
    """What the grammar of one request's calls refers to, numbered as a CallForm has it."""

    def __init__(self, firm: frozenset[str], *, loose: bool = False) -> None:
        """`firm`: the names of the tools whose schemas must be enforced. `loose`: whether the model has begun calls by
        itself, and lays them out as it likes."""
        self._firm = firm
        self._loose = loose
        self._marks: dict[str, int] = {}
        self._ends: dict[tuple[str, str], int] = {}
        self._schemas: dict[CallSchema, int] = {}

    def mark(self, text: str) -> str:
        """A term for a text, its control tokens by number."""
        return f"@mark{self._marks.setdefault(text, len(self._marks))}"

    def blanks(self, usual: str = "") -> str:
        """A term for blanks between two tokens of JSON: `usual`, where a call is held from its beginning."""
        if self._loose:
            return f"/{SPACES}/?"
        return write_letters(usual) if usual else ""

    def closing(self, text: str, usual: str, ends: Sequence[str]) -> str:
        """A term for a text and what stands behind a call: `usual`, where a call is held from its beginning;
        else nothing or any of the ends. A model that must write a mark which it left out before tends to call again."""
        if not self._loose:
            return self.mark(text + usual)
        options = " | ".join(map(self.mark, ends))
        return f"{write_letters(text)} ({self.blanks()} ({options}))?" if options else write_letters(text)

    def until(self, text: str, pattern: str = "") -> str:
        """A rule for anything up to the first such text, or for what a regular expression matches, and the text."""
        return f"@end{self._ends.setdefault((text, pattern), len(self._ends))}"

    def arguments(self, tool: Tool) -> str:
        """A rule for the JSON object of a tool's arguments."""
        return self._schema(CallSchema(tool.name, tool.held_to, firm=tool.name in self._firm))

    def value(self, tool: Tool, schema: object) -> str:
        """A rule for the JSON of a value under a schema, which is a decoded part of the tool's parameters."""
        text = msgspec.json.encode(schema).decode()
        return self._schema(CallSchema(tool.name, text, whole=False, firm=tool.name in self._firm))

    def make_form(self, grammar: str, otherwise: AnswerForm | None = None) -> CallForm:
        """The form of a grammar that was written with these terms."""
        return CallForm(grammar, tuple(self._marks), tuple(self._schemas), tuple(self._ends), otherwise)

    def _schema(self, schema: CallSchema) -> str:
        return f"@schema{self._schemas.setdefault(schema, len(self._schemas))}"


def prepare_call_schema(schema: CallSchema) -> Schema:
    """As the library is to have it, or one that takes anything of its kind where it need not be enforced.

    Raises CallUnfit.
    """
    try:
        prepared: Schema = prepare_schema(schema.schema)
    except SchemaRefused as error:
        if schema.firm:
            raise CallUnfit(schema.tool, str(error)) from error
        return allow_any(schema)
    if schema.whole and prepared.get("type", "object") != "object":
        if schema.firm:
            raise CallUnfit(schema.tool, "Its arguments are one object, and the schema is not of type `object`.")
        return allow_any(schema)
    return {**prepared, "type": "object"} if schema.whole else prepared


def allow_any(schema: CallSchema) -> Schema:
    return {"type": "object"} if schema.whole else {}


def write_calls(form: CallForm, schemas: Sequence[Schema]) -> str:
    """All grammars of the form but those of its marks, in JSON, parted by commas.

    Raises SchemaRefused and ValueError as `write_main` does.
    """
    return ",".join(_write_parts(form, schemas))


def _write_parts(form: CallForm, schemas: Sequence[Schema]) -> Iterator[str]:
    otherwise = " | @otherwise" if form.otherwise is not None else ""
    yield json.dumps({"name": MAIN, "lark_grammar": f"start: @calls{otherwise}"})
    yield json.dumps({"name": "calls", "lark_grammar": f"start: calls\n{form.grammar}"})
    for number, schema in enumerate(schemas):
        yield json.dumps({"name": f"schema{number}", "json_schema": write_json_schema(schema)})
    if form.otherwise is not None:
        yield write_main(form.otherwise, "otherwise")


def write_call_marks(form: CallForm, write_mark: WriteMark) -> list[str]:
    """The grammars that `write_calls` leaves out, each in JSON."""
    marks = [
        json.dumps({"name": f"mark{number}", "lark_grammar": f"start: {write_mark(mark)}"})
        for number, mark in enumerate(form.marks)
    ]
    ends = [
        json.dumps({"name": f"end{number}", "lark_grammar": _write_end(write_mark(end), pattern)})
        for number, (end, pattern) in enumerate(form.ends)
    ]
    return [*marks, *ends]


def _write_end(end: str, pattern: str) -> str:
    """Anything before an end, or what a pattern matches; where that has a control token, nothing else can be taken for
    it."""
    before = f"ANY: /{re.sub(_SLASHES, chr(92) * 2 + '/', pattern)}/\n" if pattern else ANYTHING
    if "<[" in end:
        return f"start: ANY {end}\n{before}"
    return f"start: lazy\nlazy[lazy]: ANY {end}\n{before}"
