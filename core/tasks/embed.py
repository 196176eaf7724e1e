"""Embedding: from texts to the tokens that an embedder takes, and from its events to vectors."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from sys import byteorder
from typing import TYPE_CHECKING

from msgspec import Struct

from core.errors import ContextExceeded, RequestError
from core.events import Embedded, Event, Failed, Finished, Usage
from core.requests import RawText
from core.tasks.bounds import PromptTooLarge, bound_bytes, count_text_bytes

if TYPE_CHECKING:
    from core.contract.models import Embedder
    from core.requests import Embedding, RawTokens


SMALL_INPUTS = 64
"""Inputs up to which a request is a small one."""


class InputTooLong(ContextExceeded):
    """A text has more tokens than the model takes."""

    def __init__(self, index: int, tokens: int, context: int, field: str = "input") -> None:
        """`field`: the wire name of the list that the text is in."""
        RequestError.__init__(
            self,
            f"The text at index {index} of `{field}` has {tokens} tokens and the model takes {context}; shorten it, "
            "or ask for it to be cut with `truncate`.",
            f"{field}[{index}]",
        )
        self.prompt_tokens = tokens
        self.context = context


class Embeddings(Struct, frozen=True):
    """What a request came to: a vector for each input, in order."""

    vectors: tuple[bytes, ...]
    """Little-endian float32."""
    usage: Usage = Usage()


class InputPortion(Struct, frozen=True):
    """Inputs of a request that are read in one go."""

    indices: range
    small: bool


def split_inputs(request: Embedding, size: int) -> Iterator[InputPortion]:
    """The inputs in order, up to `size` bytes at a time; one that has more is alone."""
    start, held = 0, 0
    for index, given in enumerate(request.inputs):
        weight = _weigh(given)
        if index > start and held + weight > size:
            yield InputPortion(range(start, index), held <= size)
            start, held = index, 0
        held += weight
    yield InputPortion(range(start, len(request.inputs)), held <= size and len(request.inputs) <= SMALL_INPUTS)


def count_input_bytes(request: Embedding, enough: int) -> int:
    """Bytes of the inputs, four for a token; of the first ones alone where those come to more than `enough`."""
    held = 0
    for given in request.inputs:
        held += _weigh(given)
        if held > enough:
            break
    return held


def check_embedding(model: Embedder, request: Embedding) -> None:
    """What can be told before anything is read. Raises RequestError for what is empty, and for dimensions that the
    model has not."""
    if not request.inputs:
        raise RequestError("There is nothing to embed; give at least one input.", request.field)
    if request.dimensions is not None and not 1 <= request.dimensions <= model.width:
        raise RequestError(
            f"The model's vectors have {model.width} numbers, so `dimensions` must be from 1 to {model.width}.",
            "dimensions",
        )


def tokenise_inputs(model: Embedder, request: Embedding, indices: Iterable[int] | None = None) -> list[Sequence[int]]:
    """The tokens of each input, or of those at `indices`, of a request that passes `check_embedding`.

    Raises RequestError for what is empty and for token ids that the model has not; InputTooLong.
    """
    chosen = range(len(request.inputs)) if indices is None else indices
    return [array("i", _tokens(model, request.inputs[index], index, request)) for index in chosen]


def unpack_vector(vector: bytes) -> array[float]:
    """The numbers of a vector."""
    numbers = array("f", vector)
    if byteorder == "big":
        numbers.byteswap()
    return numbers


def shorten_vector(vector: bytes, dimensions: int | None) -> bytes:
    """The first `dimensions` numbers of a vector, brought to length one; the vector itself for None."""
    if dimensions is None:
        return vector
    numbers = unpack_vector(vector[: 4 * dimensions])
    length = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
    made = array("f", (number / length for number in numbers))
    if byteorder == "big":
        made.byteswap()
    return made.tobytes()


def fold_embeddings(events: Iterable[Event]) -> Embeddings:
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


def _weigh(given: RawText | RawTokens) -> int:
    return count_text_bytes(given.text) if isinstance(given, RawText) else 4 * len(given.tokens)


def _tokens(model: Embedder, given: RawText | RawTokens, index: int, request: Embedding) -> list[int]:
    limit, field = model.spec.context, f"{request.field}[{index}]"
    if isinstance(given, RawText):
        if not given.text:
            raise RequestError(f"The input at index {index} is empty.", field)
        text, most = given.text, bound_bytes(limit)
        if count_text_bytes(text) > most:
            if not request.truncate:
                raise PromptTooLarge(count_text_bytes(text), most, limit, field)
            # What stands behind so much cannot be among the tokens that are kept.
            text = text[:most]
        tokens = model.encode(text, limit=limit if request.truncate else None)
    else:
        tokens = list(given.tokens[: limit if request.truncate else None])
        if len(tokens) > limit:
            raise InputTooLong(index, len(tokens), limit, request.field)
        if any(not 0 <= token < model.vocabulary for token in tokens):
            raise RequestError(f"Token ids must be between 0 and {model.vocabulary - 1}.", field)
    if not tokens:
        raise RequestError(f"The input at index {index} has no tokens.", field)
    if len(tokens) > limit:
        raise InputTooLong(index, len(tokens), limit, request.field)
    return tokens
