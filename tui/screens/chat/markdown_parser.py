"""Markdown as answers are read: whatever a model says is on the screen, and none of it is HTML.

CommonMark leaves out what a browser would not show. Here tags and entities are text, addresses stand behind the words
that link to them, and definitions of references stay where they are.
"""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_block.table import escapedSplit
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from core.foreign_text import make_printable

_SIGNS = '*_`#~<>|!-+."$'


def build_reader() -> MarkdownIt:
    """A parser whose tokens hold all the text."""
    made = MarkdownIt("gfm-like", {"html": False}).disable(["entity", "reference"])
    made.core.ruler.before("inline", "cells", _keep_cells)
    made.core.ruler.before("text_join", "formulas", _keep_backslashes)
    made.core.ruler.push("said", _tell_addresses)
    return made


def _keep_cells(state: StateCore) -> None:
    """A row with more cells than the table has columns keeps them, in its last cell."""
    lines = state.src.split("\n")
    columns = row = 0
    for index, token in enumerate(state.tokens):
        if token.type == "thead_open":
            columns = 0
        elif token.type == "th_open":
            columns += 1
        elif token.type == "tr_open":
            row = token.map[0] if token.map else 0
        elif token.type == "tr_close" and columns and state.tokens[index - 1].type == "td_close":
            cells = _cells(lines[row])
            if len(cells) > columns:
                state.tokens[index - 2].content = " | ".join(cells[columns - 1 :])


def _cells(line: str) -> list[str]:
    cells = [cell.strip() for cell in escapedSplit(line.strip())]
    if cells and not cells[0]:
        cells.pop(0)
    if cells and not cells[-1]:
        cells.pop()
    return cells


def _keep_backslashes(state: StateCore) -> None:
    r"""Those of formulas, `\(x\)` and `\{`; those before signs of Markdown have done their work."""
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "text_special" and child.info == "escape" and child.content not in _SIGNS:
                child.content = child.markup


def _tell_addresses(state: StateCore) -> None:
    for token in state.tokens:
        if token.children:
            token.children = _with_addresses(token.children)


def _with_addresses(children: list[Token]) -> list[Token]:
    """Links followed by where they lead, unless they say so; pictures as they were written."""
    out: list[Token] = []
    begun = 0
    for token in children:
        if token.type == "image":
            title = f' "{token.attrGet("title")}"' if token.attrGet("title") else ""
            out.append(_text(f"![{token.content}]({token.attrGet('src')}{title})", token.level))
            continue
        out.append(token)
        if token.type == "link_open":
            begun = len(out) - 1
        elif token.type == "link_close":
            told = _address(out[begun], "".join(each.content for each in out[begun:]))
            out += [_text(told, token.level)] if told else []
    return out


def _address(link: Token, words: str) -> str:
    """` (address "title")`, or nothing where the words are the address."""
    address, title = str(link.attrGet("href") or ""), link.attrGet("title")
    known = {address, address.removeprefix("mailto:"), address.removeprefix("http://")}
    if link.info == "auto" or link.markup == "linkify" or words in known:
        return f' ("{title}")' if title else ""
    return make_printable(f' ({address} "{title}")' if title else f" ({address})")


def _text(words: str, level: int) -> Token:
    return Token("text", "", 0, level=level, content=words)
