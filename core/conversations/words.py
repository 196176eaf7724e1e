"""Words of texts and of what is searched for: any input is words, none is an operator."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

from msgspec import Struct

MOST_WORDS: Final = 16
"""That are searched for."""
MOST_QUERY_CHARACTERS: Final = 400
SNIPPET_CHARACTERS: Final = 160
BEFORE_CHARACTERS: Final = 40
"""Of a snippet, that stand before the first word that was found."""
_UNSPACED: Final = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd]"
"""Ideographs and kana, which no blanks part into words: each counts as one."""


class Snippet(Struct, frozen=True):
    """A few words of a text, on one line."""

    text: str = ""
    marks: tuple[tuple[int, int], ...] = ()
    """Where what was searched for stands in it: beginnings and ends."""

    def behind(self, head: str) -> Snippet:
        """The same behind other words."""
        return Snippet(head + self.text, tuple((start + len(head), end + len(head)) for start, end in self.marks))


def separate_words(text: str) -> str:
    """The text with blanks around signs that are words by themselves, as it is indexed."""
    return text if text.isascii() else _compile(_UNSPACED).sub(r" \g<0> ", text)


def split_query(text: str) -> list[str]:
    """What is searched for, as expressions of FTS5 that must all be found: each a run of signs without a blank; the
    last one may go on, unless a blank follows it. Empty where there is no letter and no number."""
    text = text[:MOST_QUERY_CHARACTERS].replace("\0", " ").encode("utf-8", "replace").decode()
    runs = [run for run in text.split() if _compile(r"[^\W_]").search(run)][:MOST_WORDS]
    quoted = ['"' + separate_words(run).replace('"', '""') + '"' for run in runs]
    # Half of all words begin with a letter that is asked for alone.
    if quoted and text.split()[-1] == runs[-1] and not text[-1:].isspace() and (len(runs[-1]) > 1 or runs[-1] > "\x7f"):
        quoted[-1] += "*"
    return quoted


def count_words(text: str, query: str) -> int:
    """How many of the words of a query stand in a text."""
    folded = _fold_signs(text)
    return sum(word in folded and _find_word(folded, word) >= 0 for word in _list_words(query))


def _list_words(query: str) -> list[str]:
    return list(dict.fromkeys(_compile(r"[^\W_]+").findall(_fold_signs(query[:MOST_QUERY_CHARACTERS]))))[:MOST_WORDS]


def make_snippet(text: str, query: str) -> Snippet:
    """The part of a text where the first of the words of a query comes up."""
    words = _list_words(query)
    folded = _fold_signs(text)
    found = [at for word in words if (at := _find_word(folded, word)) >= 0]
    start = max(0, min(found, default=0) - BEFORE_CHARACTERS)
    if start and (blank := text.find(" ", start, start + BEFORE_CHARACTERS)) >= 0:
        start = blank + 1
    # As many signs as before, so that places stay the same.
    shown = "".join(" " if sign.isspace() else sign for sign in text[start : start + SNIPPET_CHARACTERS])
    part = folded[start : start + SNIPPET_CHARACTERS]
    marks = sorted({(each.start(), each.end()) for word in words for each in re.finditer(_pattern(word), part)})
    return Snippet(shown.rstrip(), tuple(_join_marks(marks)))


def _find_word(folded: str, word: str) -> int:
    found = re.search(_pattern(word), folded)
    return found.start() if found else -1


def _pattern(word: str) -> str:
    """Where a word begins; what is no word by itself may begin anywhere."""
    begins = "" if re.match(_UNSPACED, word) else r"(?<![^\W_])"
    return begins + re.escape(word)


def _join_marks(marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without overlaps."""
    joined: list[tuple[int, int]] = []
    for start, end in marks:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _fold_signs(text: str) -> str:
    """In small letters without accents, sign by sign, as the index has them; as long as the text."""
    lower = text.lower()
    if lower.isascii():
        return lower
    return "".join(_fold_sign(sign) for sign in text)


@cache
def _fold_sign(sign: str) -> str:
    if sign.isascii():
        return sign.lower()
    return unicodedata.normalize("NFD", sign)[0].lower()[:1]


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
