"""Grammars in Lark as regular expressions, where no rule leads back to itself: so that a text may be held to them that
stands within something else, as a string of JSON."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

MOST_CHARACTERS: Final = 50_000
"""Of a grammar, and of the expression."""
COMMON: Final[Mapping[str, str]] = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[0-9a-fA-F]",
    "INT": "[0-9]+",
    "SIGNED_INT": "[+-]?[0-9]+",
    "DECIMAL": r"(?:[0-9]+\.[0-9]*|\.[0-9]+)",
    "FLOAT": r"(?:[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)",
    "NUMBER": r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    "SIGNED_NUMBER": r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[a-zA-Z]",
    "WORD": "[a-zA-Z]+",
    "CNAME": "[a-zA-Z_][a-zA-Z0-9_]*",
    "ESCAPED_STRING": r'"(?:[^"\\\n]|\\.)*"',
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(?:\r?\n)+",
}
"""What `%import common.NAME` means."""
_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t\r]+|//[^\n]*)
    |(?P<line>\n)
    |(?P<string>"(?:[^"\\\n]|\\.)*"i?)
    |(?P<pattern>/(?![*?/])(?:[^/\\\n]|\\.)+/[imslux]*)
    |(?P<repeat>~[ ]*[0-9]+(?:[ ]*\.\.[ ]*[0-9]+)?)
    |(?P<range>\.\.)
    |(?P<arrow>->[ ]*[A-Za-z_][A-Za-z0-9_]*)
    |(?P<name>[!?]*[A-Za-z_][A-Za-z0-9_]*(?:\.-?[0-9]+)?)
    |(?P<order>%[a-z]+)
    |(?P<sign>[:|()\[\]?*+,.])""",
    re.VERBOSE,
)


class LarkUnfit(Exception):
    """The grammar is no regular expression, or cannot be read; the words are a sentence."""


class _Token(Struct, frozen=True):
    kind: str
    text: str


def convert_lark(grammar: str) -> str:
    """A regular expression, in Rust's dialect and without anchors, of the grammar's texts. Raises LarkUnfit."""
    if len(grammar) > MOST_CHARACTERS:
        raise LarkUnfit(f"The grammar has more than {MOST_CHARACTERS:,} characters.")
    conversion = _Conversion(_read_rules(_split_tokens(grammar)))
    return conversion.resolve("start")


def _split_tokens(grammar: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(grammar):
        found = _TOKEN.match(grammar, at)
        if found is None:
            raise LarkUnfit(f"The grammar cannot be read at {grammar[at : at + 20]!r}.")
        if found.lastgroup != "blank":
            tokens.append(_Token(str(found.lastgroup), found[0]))
        at = found.end()
    return tokens


def _read_rules(tokens: Sequence[_Token]) -> dict[str, list[_Token] | str]:
    """What stands behind each name: tokens, or an expression for what was imported."""
    rules: dict[str, list[_Token] | str] = {}
    lines: list[list[_Token]] = [[]]
    for token in tokens:
        if token.kind == "line":
            lines.append([])
        else:
            lines[-1].append(token)
    last: list[_Token] | None = None
    for line in filter(None, lines):
        if line[0].kind == "order":
            rules |= _read_order(line)
            last = None
        elif line[0].kind == "name" and len(line) > 1 and line[1].text == ":":
            last = line[2:]
            rules[line[0].text.lstrip("!?").split(".")[0]] = last
        elif last is not None:
            last += line
        else:
            raise LarkUnfit(f"The grammar cannot be read at {line[0].text!r}.")
    return rules


def _read_order(line: Sequence[_Token]) -> dict[str, str]:
    words = [token.text for token in line[1:]]
    if line[0].text != "%import" or words[:2] != ["common", "."]:
        raise LarkUnfit(f"The grammar's `{line[0].text}` cannot be held to here.")
    name = words[2] if len(words) > 2 else ""
    if name not in COMMON:
        raise LarkUnfit(f"The grammar imports {name!r}, which is not known here.")
    told = line[-1].text.removeprefix("->").strip() if line[-1].kind == "arrow" else name
    return {told: COMMON[name]}


class _Conversion:
    """Writes one expression from the rules."""

    def __init__(self, rules: Mapping[str, list[_Token] | str]) -> None:
        self._rules = rules
        self._done: dict[str, str] = {}
        self._open: list[str] = []
        self._written = 0

    def resolve(self, name: str) -> str:
        """The expression of a rule."""
        if name in self._done:
            return self._count(self._done[name])
        rule = self._rules.get(name)
        if rule is None:
            raise LarkUnfit(f"The grammar has no rule {name!r}.")
        if isinstance(rule, str):
            return self._count(f"(?:{rule})")
        if name in self._open:
            raise LarkUnfit(f"The grammar's rule {name!r} leads back to itself, which no regular expression does.")
        self._open.append(name)
        reader = _RuleReader(rule, self)
        self._done[name] = reader.read_all()
        self._open.pop()
        return self._count(self._done[name])

    def _count(self, expression: str) -> str:
        self._written += len(expression)
        if self._written > MOST_CHARACTERS:
            raise LarkUnfit("The grammar is too large to be one regular expression.")
        return expression


class _RuleReader:
    """Reads what stands behind one name."""

    def __init__(self, tokens: Sequence[_Token], conversion: _Conversion) -> None:
        self._tokens = tokens
        self._conversion = conversion
        self._at = 0

    def read_all(self) -> str:
        read = self._read_choices("")
        if self._at < len(self._tokens):
            raise LarkUnfit(f"The grammar cannot be read at {self._tokens[self._at].text!r}.")
        return read

    def _peek(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _Token("", "")

    def _take(self) -> _Token:
        token = self._peek()
        self._at += 1
        return token

    def _read_choices(self, closing: str) -> str:
        """Up to the bracket that closes them, which is read."""
        choices: list[str] = []
        items: list[str] = []
        while self._peek().kind and self._peek().text != closing:
            token = self._take()
            if token.text == "|":
                choices.append("".join(items))
                items = []
            elif token.kind != "arrow":
                items.append(self._repeat(self._read_item(token)))
        if closing and self._take().text != closing:
            raise LarkUnfit(f"The grammar lacks a {closing!r}.")
        choices.append("".join(items))
        return f"(?:{'|'.join(choices)})"

    def _read_item(self, token: _Token) -> str:
        match token:
            case _Token(kind="string", text=text):
                if self._peek().kind == "range":
                    self._take()
                    return f"[{_escape(_read_string(text))}-{_escape(_read_string(self._take().text))}]"
                told = _escape(_read_string(text))
                return f"(?i:{told})" if text.endswith("i") else f"(?:{told})"
            case _Token(kind="pattern", text=text):
                body, _, flags = text[1:].rpartition("/")
                kept = "".join(flag for flag in flags if flag in "imsx")
                return f"(?{kept}:{body.replace(chr(92) + '/', '/')})" if kept else f"(?:{body})"
            case _Token(kind="name", text=text):
                return self._conversion.resolve(text)
            case _Token(text="("):
                return self._read_choices(")")
            case _Token(text="["):
                return f"{self._read_choices(']')}?"
        raise LarkUnfit(f"The grammar cannot be read at {token.text!r}.")

    def _repeat(self, item: str) -> str:
        token = self._peek()
        if token.text in ("?", "*", "+") and token.kind == "sign":
            return f"(?:{item}){self._take().text}"
        if token.kind == "repeat":
            least, _, most = self._take().text[1:].partition("..")
            count = least.strip() if not most else f"{least.strip()},{most.strip()}"
            return f"(?:{item}){{{count}}}"
        return item


def _read_string(text: str) -> str:
    if not text.startswith('"'):
        raise LarkUnfit(f"The grammar cannot be read at {text!r}.")
    try:
        return str(ast.literal_eval(text.rstrip("i") if text.endswith("i") else text))
    except (ValueError, SyntaxError) as error:
        raise LarkUnfit(f"The grammar's text {text[:40]} cannot be read.") from error


def _escape(text: str) -> str:
    return "".join(each if each.isalnum() or not each.isascii() else f"\\x{ord(each):02x}" for each in text)
