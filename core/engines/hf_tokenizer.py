"""A tokenizer.json of the Hugging Face `tokenizers` library, as our loop wants it. Knows nothing of any engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ArtifactError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Native

ENDS: Final = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>"}
    | {"<end_of_turn>", "<turn|>", "</s>", "<|eot|>"}
)
"""Control tokens that end a turn by their name, as llama.cpp has it: configurations tend to name only one of them."""
BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class JsonTokenizer:
    """`begin` is the token that goes before a text where the vocabulary wants one; `ends` come beside `ENDS`.

    Raises ArtifactError, with `name` in it, for a file that cannot be read.
    """

    def __init__(self, name: str, path: Path, *, begin: str | None = None, ends: Collection[int] = ()) -> None:
        try:
            data = path.read_text(encoding="utf-8-sig")
            layout = json.loads(data)
        except (OSError, ValueError) as error:
            raise ArtifactError(name, f"The tokenizer of {name} cannot be read from {path}: {error}.") from error
        self._special = _native(name, path, data)
        self._plain = _native(name, path, data)
        self._plain.encode_special_tokens = True
        added = {int(entry["id"]): entry for entry in layout.get("added_tokens") or ()}
        self._added = {token: str(entry["content"]) for token, entry in added.items()}
        specials = {token for token, entry in added.items() if entry.get("special")}
        self.controls = frozenset(self._added[token] for token in specials) - {""}
        self._ends = frozenset(ends) | {token for token in specials if self._added[token] in ENDS}
        self._silent = specials | self._ends
        self._bytes = _reading(layout)
        self._pieces: dict[int, bytes] = {}
        self.size: int = max((*self._special.get_vocab(with_added_tokens=True).values(), -1)) + 1
        self._first = self._beginning(begin)

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        # A lone surrogate, which JSON can carry, is no text to the library.
        clean = text.encode("utf-8", "replace").decode()
        native = self._special if special else self._plain
        # By the batch, which lets other threads run meanwhile; one alone stops them all.
        tokens: list[int] = native.encode_batch([clean], add_special_tokens=False)[0].ids
        if begin and self._first is not None and tokens[:1] != [self._first]:
            return [self._first, *tokens]
        return tokens

    def framed(self, text: str, limit: int | None = None) -> list[int]:
        """The text with all that the post-processor puts around it; cut to `limit` tokens in all."""
        clean = text.encode("utf-8", "replace").decode()
        (made,) = self._special.encode_batch([clean], add_special_tokens=True)
        tokens: list[int] = made.ids
        if limit is None or len(tokens) <= limit:
            return tokens
        behind = next((index for index, added in enumerate(reversed(made.special_tokens_mask)) if not added), 0)
        end = tokens[len(tokens) - behind :]
        return [*tokens[: max(0, limit - behind)], *end][:limit]

    def framed_pair(self, first: str, second: str, limit: int | None = None) -> tuple[list[int], int]:
        """Two texts with all that the post-processor puts around them, and where the token type changes; the second
        text is cut so that there are `limit` tokens in all, if the rest has no more."""
        clean = [text.encode("utf-8", "replace").decode() for text in (first, second)]
        (made,) = self._special.encode_batch([(clean[0], clean[1])], add_special_tokens=True)
        tokens: list[int] = made.ids
        if limit is not None and (over := len(tokens) - limit) > 0:
            own = [index for index, text in enumerate(made.sequence_ids) if text == 1]
            cut = frozenset(own[max(0, len(own) - over) :])
            tokens = [token for index, token in enumerate(tokens) if index not in cut]
        changes = next((index for index, kind in enumerate(made.type_ids) if kind), len(tokens))
        return tokens, min(changes, len(tokens))

    def piece(self, token: int) -> bytes:
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(token)
        return found

    def is_end(self, token: int) -> bool:
        return token in self._ends

    def text(self, token: int | None) -> str:
        """How the vocabulary writes a token; empty where there is no such token."""
        return "" if token is None else self._special.id_to_token(token) or ""

    def id_of(self, text: str) -> int | None:
        """The token that is written so."""
        found: int | None = self._special.token_to_id(text)
        return found

    @cached_property
    def begins(self) -> bool:
        """Whether a beginning-of-sequence token goes before a text."""
        return self._first is not None

    def _beginning(self, begin: str | None) -> int | None:
        """What the post-processor puts first, else the token named."""
        first = self._special.encode("a", add_special_tokens=True).ids[:1]
        if first and first != self._special.encode("a", add_special_tokens=False).ids[:1]:
            return int(first[0])
        return self.id_of(begin) if begin else None

    def _read_piece(self, token: int) -> bytes:
        if token in self._silent:
            return b""
        if token in self._added:
            return self._added[token].encode()
        text = self._special.id_to_token(token) if 0 <= token < self.size else None
        return self._bytes(text) if text else b""


def _native(name: str, path: Path, data: str) -> Native:
    from tokenizers import Tokenizer

    try:
        made: Native = Tokenizer.from_str(data)
    except Exception as error:  # tokenizers raises bare Exceptions for all that is wrong with a file
        raise ArtifactError(name, f"The tokenizer of {name} in {path} is damaged or too new: {error}.") from error
    made.no_truncation()
    made.no_padding()
    return made


def _reading(layout: Mapping[str, Any]) -> Callable[[str], bytes]:
    """How the pieces of the vocabulary become bytes, told by the decoder of the file."""
    parts = list(_parts(layout.get("decoder"), "decoders"))
    kinds = {part.get("type") for part in parts}
    if "ByteLevel" in kinds or any(
        part.get("type") == "ByteLevel" for part in _parts(layout.get("pre_tokenizer"), "pretokenizers")
    ):
        return _byte_level
    spaces = [str(part["replacement"]) for part in parts if part.get("type") == "Metaspace"]
    spaces += [str(part["pattern"]["String"]) for part in parts if _makes_spaces(part)]
    fallback = "ByteFallback" in kinds

    def read(text: str) -> bytes:
        if fallback and (byte := BYTE.fullmatch(text)):
            return bytes((int(byte[1], 16),))
        for space in spaces:
            text = text.replace(space, " ")
        return text.encode()

    return read


def _makes_spaces(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "Replace" and part.get("content") == " " and "String" in (part.get("pattern") or {})


def _parts(component: Mapping[str, Any] | None, key: str) -> Iterator[Mapping[str, Any]]:
    """The component, or the members of a sequence."""
    if component:
        yield from component.get(key) or (component,)


def _printable() -> Iterable[int]:
    """Bytes that GPT-2's byte-level alphabet writes as themselves."""
    return [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]


def _alphabet() -> dict[str, int]:
    """GPT-2's characters for the 256 bytes: the printable ones as they are, the others from U+0100 on."""
    printable = list(_printable())
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(others)}


ALPHABET: Final = _alphabet()


def _byte_level(text: str) -> bytes:
    try:
        return bytes(ALPHABET[character] for character in text)
    except KeyError:
        return text.encode()
