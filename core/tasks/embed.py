"""Embedding: from texts to the tokens that an embedder takes, and from its events to vectors."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from sys import byteorder
from typing import TYPE_CHECKING

from msgspec import Struct

from core.errors import ContextExceeded, RequestError
from core.events import Embedded, Event, Failed, Finished, Usage
from core.requests import RawText

if TYPE_CHECKING:
    from core.engines.base import Embedder
    from core.requests import Embedding, RawTokens


class InputTooLong(ContextExceeded):
    """A text has more tokens than the model takes."""

    def __init__(self, place: int, tokens: int, context: int) -> None:
        RequestError.__init__(
            self,
            f"The input at index {place} has {tokens} tokens and the model takes {context}; shorten it, or ask for "
            "it to be cut with `truncate`.",
            f"input[{place}]",
        )
        self.prompt_tokens = tokens
        self.context = context


class Embeddings(Struct, frozen=True):
    """What a request came to: a vector for each input, in order."""

    vectors: tuple[bytes, ...]
    """Little-endian float32."""
    usage: Usage = Usage()


def tokenised(model: Embedder, request: Embedding) -> list[list[int]]:
    """The tokens of each input.

    Raises RequestError for what is empty, for token ids and dimensions that the model has not; InputTooLong.
    """
    if not request.inputs:
        raise RequestError("There is nothing to embed; give at least one input.", "input")
    if request.dimensions is not None and not 1 <= request.dimensions <= model.width:
        raise RequestError(
            f"The model's vectors have {model.width} numbers, so `dimensions` must be from 1 to {model.width}.",
            "dimensions",
        )
    return [_tokens(model, each, place, request) for place, each in enumerate(request.inputs)]


def floats(vector: bytes) -> array[float]:
    """The numbers of a vector."""
    numbers = array("f", vector)
    if byteorder == "big":
        numbers.byteswap()
    return numbers


def shortened(vector: bytes, dimensions: int | None) -> bytes:
    """The first numbers of a vector, brought to length one; as it is for None."""
    if dimensions is None:
        return vector
    numbers = floats(vector[: 4 * dimensions])
    length = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
    made = array("f", (number / length for number in numbers))
    if byteorder == "big":
        made.byteswap()
    return made.tobytes()


def embeddings(events: Iterable[Event]) -> Embeddings:
    """The fold of an embedding's events; raises the error of a `Failed`."""
    vectors: tuple[bytes, ...] = ()
    usage = Usage()
    for event in events:
        match event:
            case Embedded():
                vectors = event.vectors
            case Finished():
                usage = event.usage
            case Failed(error=error):
                raise error
    return Embeddings(vectors, usage)


def fitting(pending: Sequence[Sequence[int]], budget: int) -> list[int]:
    """How many inputs of each request go into the next pass: pure.

    `pending` are the lengths of what each request still waits for, each longest first; the first request is the one
    that is due. A pass is a rectangle, as long as its longest input: it holds `budget` cells at most, and few of them
    may be padding. The first input is always taken, whatever its length.
    """
    taken = [0] * len(pending)
    rows = longest = held = 0
    for number, lengths in enumerate(pending):
        for length in lengths:
            cells = (rows + 1) * max(longest, length)
            if rows and cells > min(budget, max(FREE, WASTE * (held + length))):
                break
            rows, longest, held = rows + 1, max(longest, length), held + length
            taken[number] += 1
    return taken


WASTE = 1.5
"""Cells of a pass for each that holds a token, at most."""
FREE = 256
"""Cells up to which padding costs less than another pass."""


def _tokens(model: Embedder, given: RawText | RawTokens, place: int, request: Embedding) -> list[int]:
    limit = model.spec.context
    if isinstance(given, RawText):
        if not given.text:
            raise RequestError(f"The input at index {place} is empty.", f"input[{place}]")
        tokens = model.encode(given.text, limit=limit if request.truncate else None)
    else:
        tokens = list(given.tokens[: limit if request.truncate else None])
        if any(not 0 <= token < model.vocabulary for token in tokens):
            raise RequestError(f"Token ids must be between 0 and {model.vocabulary - 1}.", f"input[{place}]")
    if not tokens:
        raise RequestError(f"The input at index {place} has no tokens.", f"input[{place}]")
    if len(tokens) > limit:
        raise InputTooLong(place, len(tokens), limit)
    return tokens
