"""Jinja as the transformers library sets it up, which is what the authors of chat templates write for.

Runs in `core.chat.worker` alone: a sandbox keeps a template from Python's insides, but not from running for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from core.chat.marks import BREAK, CLOSE, OPEN
from core.chat.wire import MOST_CHARACTERS, MOST_VARIABLES, Compiled, Rendered, TemplateBroken, TemplateRefused

FOLDING: Final = frozenset({"lower", "upper", "capitalize", "title", "swapcase", "casefold"})
SPLITTING: Final = frozenset({"replace", "split", "rsplit", "partition", "rpartition"})
LONGEST_NAME_CHARACTERS: Final = 64
BEYOND_ASCII: Final = re.compile(f"[^\x00-\x7f{OPEN}{CLOSE}{BREAK}]")


class TemplateRefusal(Exception):
    """`raise_exception` was called."""


class GenerationTag(Extension):
    """`{% generation %}` tells a trainer which text is the assistant's; here it renders what is inside."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Macro) -> str:
        return caller()


class PlainNamespace(Namespace):
    """A namespace without names that begin with an underscore, as transformers has it."""

    def __init__(*arguments: object, **attributes: object) -> None:
        # The signature lets a template keep something under the name `self`.
        self, *rest = arguments
        assert isinstance(self, PlainNamespace)
        given: dict[str, object] = dict(*rest, **attributes)
        for name in given:
            _check_name(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: object) -> None:
        _check_name(name)
        super().__setitem__(name, value)


_APPENDED: Final = re.compile(r"\{%(-?)\s*set\s+\w+\s*=\s*(\w+\.\w+)\.append\(([^(){}%]{1,200})\)\s*(-?)%\}")
_POPPED: Final = re.compile(r"\{%(-?)\s*set\s+(\w+)\s*=\s*(\w+\.\w+)\.pop\(0\)\s*(-?)%\}")


class PlainDict:
    """`dict` for templates: it makes one, and there is no type to get hold of."""

    def __call__(self, *arguments: object, **items: object) -> dict[str, object]:
        return dict(*arguments, **items)

    def fromkeys(self, *arguments: object) -> dict[str, object]:
        return dict.fromkeys(*arguments)  # type: ignore[call-overload, no-any-return]


class Sandbox:
    """One template. None of what comes out of here is an exception: a template may raise any there is."""

    def __init__(self) -> None:
        self._environment = _environment()
        self._template: jinja2.Template | None = None

    def compile(self, source: str, words: Sequence[str] = ()) -> Compiled | TemplateBroken:
        """Of `words` it is told which ones stand in the source as texts."""
        source = mend_lists(source)
        try:
            tree = self._environment.parse(source)
            told = Compiled(
                tuple(dict.fromkeys(_find_replaced(tree))),
                _folds(tree),
                _find_words(tree, words),
                _find_variables(tree),
            )
            self._template = self._environment.from_string(source)
        except Exception as error:  # noqa: BLE001 -- the edge of code that is not ours: whatever it raises is told
            return TemplateBroken(_describe_error(error))
        return told

    def render(self, variables: Mapping[str, object]) -> Rendered | TemplateRefused | TemplateBroken:
        if self._template is None:
            return TemplateBroken("it was not compiled")
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(variables):
                size += len(piece)
                if size > MOST_CHARACTERS:
                    return TemplateBroken(f"it writes more than {MOST_CHARACTERS:,} characters")
                pieces.append(piece)
            # A template may write half a surrogate, which no tokenizer takes.
            return Rendered("".join(pieces).encode("utf-8", "replace").decode())
        except TemplateRefusal as refusal:
            return TemplateRefused(str(refusal))
        except Exception as error:  # noqa: BLE001 -- likewise
            pieces.clear()
            return TemplateBroken(_describe_error(error))


def mend_lists(source: str) -> str:
    """The template with new lists in place of those that it would change, which the sandbox forbids: Kimi K2's refuse
    each conversation with results of tools for that."""
    grown = _APPENDED.sub(r"{%\1 set \2 = \2 + [\3] \4%}", source)
    return _POPPED.sub(r"{%\1 set \2 = \3[0] -%}{%- set \3 = \3[1:] \4%}", grown)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, LoopControlExtension]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_refuse, strftime_now=_format_now, dict=PlainDict(), namespace=PlainNamespace
    )
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own would escape `<` and `>`."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    # The marks around what must stay text are no part of it, and must be found again.
    return BEYOND_ASCII.sub(_escape, text) if ensure_ascii else text


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def _refuse(message: object) -> NoReturn:
    raise TemplateRefusal(str(message))


def _format_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace holds no name like {name[:40]!r}")


def _describe_error(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 -- likewise: an error may hold a number too long to be written
        words = ""
    words = words or type(error).__name__
    line = getattr(error, "lineno", None)
    return f"line {line}: {words}" if isinstance(error, jinja2.TemplateSyntaxError | SyntaxError) and line else words


def _find_replaced(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    """Texts that the template cuts out of others, with what it puts there."""
    for call in tree.find_all((nodes.Call, nodes.Filter)):
        if isinstance(call, nodes.Call):
            name = call.node.attr if isinstance(call.node, nodes.Getattr) else ""
        else:
            assert isinstance(call, nodes.Filter)
            name = call.name
        constants = [each.value if isinstance(each, nodes.Const) else None for each in call.args]
        if name in SPLITTING and constants and isinstance(constants[0], str) and constants[0]:
            put = constants[1] if name == "replace" and len(constants) > 1 else ""
            yield constants[0], put if isinstance(put, str) else ""


def _folds(tree: nodes.Template) -> bool:
    called = {each.node.attr for each in tree.find_all(nodes.Call) if isinstance(each.node, nodes.Getattr)}
    return bool(FOLDING & (called | {each.name for each in tree.find_all(nodes.Filter)}))


def _find_words(tree: nodes.Template, words: Sequence[str]) -> tuple[str, ...]:
    texts = {each.value for each in tree.find_all(nodes.Const) if isinstance(each.value, str)}
    return tuple(word for word in words if word in texts)


def _find_variables(tree: nodes.Template) -> tuple[str, ...]:
    return tuple(sorted(name for name in meta.find_undeclared_variables(tree) if len(name) < LONGEST_NAME_CHARACTERS))[
        :MOST_VARIABLES
    ]
