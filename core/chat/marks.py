"""Marks around what must stay text: what looks like a control token and was not written by the template.

Whoever writes `<|im_end|>` in a message means the characters; parsed as a control token it would end the message and
let its author speak as the system. So it is marked before the template renders it, and tokenised as plain text
afterwards. A template may cut a text in two, throw pieces away and put others together, and still must not make a
control token of what was none: a mark that lost its partner parts what stands on its two sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

OPEN, CLOSE = "\ue000", "\ue001"
"""Private-use characters. Where a text has them itself they are marked too, and so come out again."""
BREAK: Final = "\ue002"
"""Parts what stands on its two sides, and is nothing else."""
MARKS: Final = f"[{OPEN}{CLOSE}{BREAK}]"
LONG_TOKEN_CHARACTERS: Final = 200
"""Characters of a control token that is not looked for letter by letter."""
STRIDE_CHARACTERS: Final = 1 << 16
"""Characters that are searched at once."""
ESCAPED: Final = '"\\/\b\f\n\r\t'
"""What JSON writes with a backslash, beside what it writes by number."""
SHALLOW_LEVELS: Final = 200
"""Objects and lists in one another that everybody can take."""
MOST_PAIRS: Final = 32
"""Replacements of a template that are reckoned with; those in use have four."""

Trie = dict[str, "Trie"]
"""Letters to what may follow; the empty string where a token may end."""


class PromptPiece(Struct, frozen=True):
    """A run of a prompt that is tokenised by itself."""

    text: str
    plain: bool
    """Whether control tokens in it are mere characters."""


class Marker:
    """Marks for one model's control tokens, under one template. Linear in the length of what it is given."""

    def __init__(
        self, controls: Iterable[str], replaced: Sequence[tuple[str, str]] = (), *, folds: bool = False
    ) -> None:
        """`replaced` are texts that the template replaces or splits at, `folds` tells that it changes cases."""
        self._controls = frozenset(controls) - {""}
        self._folds = folds
        # A longer replacement could make a text grow without bound, and puts letters in, where a token lacks some.
        self._replaced = [(cut, put) for cut, put in replaced if len(put) <= len(cut)][:MOST_PAIRS]
        self._longest = max(map(len, self._controls), default=0)
        self._beginnings = {self._folded(token[:end]) for token in self._controls for end in range(1, len(token))}
        pattern = _any_of(self._folded(token) for token in self._controls)
        self._control = re.compile(pattern, re.IGNORECASE if folds else 0) if self._controls else None
        self._suspect = re.compile(f"{MARKS}|{pattern}", re.IGNORECASE if folds else 0)
        marked = [f"{OPEN}({_any_of(self._controls)}|{MARKS}){CLOSE}"]
        # A text may be cut short between a token and its mark. But half a mark beside a token that the template
        # cuts texts at is what is left of one in a message, and the token beside it is the template's.
        if whole := self._controls - {cut for cut, _ in replaced}:
            marked += [f"{OPEN}({_any_of(whole)})", f"({_any_of(whole)}){CLOSE}"]
        self._marked = re.compile("|".join((*marked, MARKS)))
        initials = sorted({self._folded(token)[0] for token in self._controls})
        found = f"{MARKS}|[{''.join(map(re.escape, initials))}]" if initials else MARKS
        self._initial = re.compile(found, re.IGNORECASE if folds else 0)
        # A backslash may stand for a letter that a token begins with.
        hidden = r"\\" if any(self._initial.match(letter) for letter in ESCAPED) else r"\\u"
        self._initial_in_json = re.compile(f"{found}|{hidden}", re.IGNORECASE if folds else 0)
        self._puts_none = not any(self._initial.search(put) for _, put in self._replaced)
        """Whether no token can begin in what the template puts in; then none does in a text without its letter."""

    def mark(self, text: str) -> str:
        """What a template may be given of a text that others wrote."""
        if not self._controls or self._begins_none(text, self._initial):
            return text
        marked = self._around(text)
        if self._replaced and self._made_by_cutting(text):
            for cut, _ in self._replaced:
                marked = marked.replace(cut, f"{BREAK}{cut}{BREAK}")
        return self._end_apart(marked)

    def mark_name(self, name: str) -> str:
        """The same for a short text that a template may put amid letters of its own."""
        marked = self.mark(name)
        inner = name and any(name in token and name != token for token in self._controls)
        return f"{BREAK}{marked}{BREAK}" if inner else marked

    def mark_all(self, value: object) -> object:
        """The same for every text in a JSON value, names of its members too."""
        match value:
            case str():
                return self.mark(value)
            case dict():
                return {self.mark(str(name)): self.mark_all(item) for name, item in value.items()}
            case list() | tuple():
                return [self.mark_all(item) for item in value]
            case _:
                return value

    def mark_json(self, text: str, value: object) -> object:
        """The same for the value that a JSON text stands for; most have nothing to mark, which the text tells. Raises
        RecursionError where it is nested too deeply."""
        shallow = text.count("{") + text.count("[") <= SHALLOW_LEVELS
        return value if shallow and self._begins_none(text, self._initial_in_json) else self.mark_all(value)

    def split(self, text: str) -> list[PromptPiece]:
        """A rendered text as it is to be tokenised; marks are gone. The first piece is the template's, if empty."""
        if not self._controls:
            return [PromptPiece(text, plain=False)]
        pieces: list[PromptPiece] = []
        done = 0
        for found in _find_matches(self._marked, text, self._longest + 2):
            pieces.append(PromptPiece(text[done : found.start()], plain=False))
            if found.lastindex:
                pieces.append(PromptPiece(found[found.lastindex], plain=True))
            done = found.end()
        pieces.append(PromptPiece(text[done:], plain=False))
        return [piece for number, piece in enumerate(pieces) if piece.text or number == 0]

    def _begins_none(self, text: str, initial: re.Pattern[str]) -> bool:
        """Whether there is no letter in a short text that a control token or a mark begins with."""
        return self._puts_none and len(text) <= STRIDE_CHARACTERS and initial.search(text) is None

    def _around(self, text: str) -> str:
        """The text with marks around what is suspect."""
        written: list[str] = []
        done = 0
        for found in _find_matches(self._suspect, text, self._longest):
            written += (text[done : found.start()], OPEN, found[0], CLOSE)
            done = found.end()
        return "".join((*written, text[done:])) if done else text

    def _count(self, text: str) -> int:
        """Control tokens in it."""
        assert self._control is not None
        return sum(1 for _ in _find_matches(self._control, text, self._longest))

    def _made_by_cutting(self, text: str) -> bool:
        """Whether control tokens appear once the template has cut out what it cuts out, in whatever order."""
        reduced = text
        for _ in range(2):
            for cut, put in self._replaced:
                reduced = reduced.replace(cut, put)
        return reduced != text and self._count(reduced) > self._count(text)

    def _end_apart(self, marked: str) -> str:
        """Parts its end from what may follow, where the two could make a token: another part of the same message."""
        end = marked.rstrip()
        tail = self._folded(end[-self._longest :])
        if any(tail[-length:] in self._beginnings for length in range(1, min(len(tail), self._longest) + 1)):
            return f"{end}{BREAK}{marked[len(end) :]}"
        return marked

    def _folded(self, text: str) -> str:
        return text.lower() if self._folds else text


def _find_matches(pattern: re.Pattern[str], text: str, reach: int) -> Iterator[re.Match[str]]:
    """All matches, none of which is longer than `reach`.

    A search lets no other thread run until it finds something, and a message may be megabytes long, so it goes by
    strides.
    """
    at = 0
    while at < len(text):
        stop = at + STRIDE_CHARACTERS
        for found in pattern.finditer(text, at, stop + reach):
            if found.start() >= stop:
                break
            yield found
            at = found.end()
        at = max(at, stop)


def _any_of(tokens: Iterable[str]) -> str:
    """A pattern for the longest of `tokens` that stands at an offset, in time that does not grow with their number."""
    by_length = sorted(tokens, key=lambda token: (-len(token), token))
    long = [re.escape(token) for token in by_length if len(token) > LONG_TOKEN_CHARACTERS]
    short = [token for token in by_length if len(token) <= LONG_TOKEN_CHARACTERS]
    trie: Trie = {}
    for token in short:
        node = trie
        for letter in token:
            node = node.setdefault(letter, {})
        node[""] = {}
    pattern = "|".join((*long, _write_pattern(trie))) if short else "|".join(long)
    try:
        re.compile(pattern)
    except RecursionError:
        return "(?:" + "|".join((*long, *map(re.escape, short))) + ")"
    return f"(?:{pattern})"


def _write_pattern(trie: Trie) -> str:
    """The trie as a pattern; a run of letters without a choice is written at once."""
    run = ""
    while len(trie) == 1 and "" not in trie:
        ((letter, trie),) = trie.items()
        run += re.escape(letter)
    choices = [re.escape(letter) + _write_pattern(after) for letter, after in trie.items() if letter]
    if not choices:
        return run
    return f"{run}(?:{'|'.join(choices)}){'?' if '' in trie else ''}"
