"""Reranking: from a query and documents to the pairs that a reranker takes, and from its events to scores."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from core.contract.models import TokenPair
from core.errors import ContextExceeded, RequestError
from core.events import Event, Failed, Finished, Scored, Usage
from core.tasks.bounds import PromptTooLarge, bound_bytes, count_text_bytes
from core.tasks.embed import SMALL_INPUTS, InputPortion

if TYPE_CHECKING:
    from core.contract.models import Reranker
    from core.requests import Reranking


class PairTooLong(ContextExceeded):
    """A document has, with the query, more tokens than the model takes."""

    def __init__(self, field: str, tokens: int, context: int) -> None:
        """`field`: the wire name of the document, or of the query where that alone has too many."""
        alone = "and" if field == "query" else "with the query, and"
        mend = "shorten it" if field == "query" else "shorten it, or ask for it to be cut with `truncate`"
        RequestError.__init__(
            self, f"The text of `{field}` has {tokens} tokens {alone} the model takes {context}; {mend}.", field
        )
        self.prompt_tokens = tokens
        self.context = context


class Ranking(Struct, frozen=True):
    """What a request came to: a score for each document, in the order of the documents."""

    scores: tuple[float, ...]
    """As the model gives them."""
    bounded: bool
    """Whether they are from 0 to 1 already."""
    usage: Usage = Usage()

    @property
    def shares(self) -> tuple[float, ...]:
        """The scores from 0 to 1."""
        return self.scores if self.bounded else tuple(map(convert_logit, self.scores))


class RankedDocument(Struct, frozen=True):
    """Where a document stands in its request, and how well it answers."""

    index: int
    score: float


def convert_logit(logit: float) -> float:
    """The logistic function."""
    return 0.5 * (1.0 + math.tanh(0.5 * logit))


def sort_scores(scores: Iterable[float], most: int | None = None) -> list[RankedDocument]:
    """The best first, and those that are alike in their order; `most` of them at most."""
    ranked = [RankedDocument(index, score) for index, score in enumerate(scores)]
    return sorted(ranked, key=lambda each: -each.score)[:most]


def check_reranking(request: Reranking) -> None:
    """What can be told before anything is read. Raises RequestError for what is empty."""
    if not request.query:
        raise RequestError("The query is empty; say what the documents are to answer.", "query")
    if not request.documents:
        raise RequestError("There is nothing to rank; give at least one document.", request.field)


def split_documents(request: Reranking, size: int) -> Iterator[InputPortion]:
    """The documents in order, up to `size` bytes at a time, the query counted with each; one that has more is alone."""
    query = count_text_bytes(request.query)
    start, held = 0, 0
    for index, document in enumerate(request.documents):
        weight = query + count_text_bytes(document)
        if index > start and held + weight > size:
            yield InputPortion(range(start, index), held <= size)
            start, held = index, 0
        held += weight
    small = held <= size and len(request.documents) <= SMALL_INPUTS
    yield InputPortion(range(start, len(request.documents)), small)


def tokenise_pairs(model: Reranker, request: Reranking, indices: Iterable[int]) -> list[TokenPair]:
    """The pairs of the documents at `indices`, of a request that passes `check_reranking`.

    Raises RequestError for what is empty; PairTooLong, PromptTooLarge.
    """
    limit = model.spec.context
    most = bound_bytes(limit)
    if (size := count_text_bytes(request.query)) > most:
        raise PromptTooLarge(size, most, limit, "query")
    return [_make_pair(model, request, index, limit, most) for index in indices]


def _make_pair(model: Reranker, request: Reranking, index: int, limit: int, most: int) -> TokenPair:
    document, field = request.documents[index], f"{request.field}[{index}]"
    if not document:
        raise RequestError(f"The document at index {index} is empty.", field)
    if (size := count_text_bytes(document)) > most:
        if not request.truncate:
            raise PromptTooLarge(size, most, limit, field)
        # What stands behind so much cannot be among the tokens that are kept.
        document = document[:most]
    pair = model.encode_pair(request.query, document, limit=limit if request.truncate else None)
    if len(pair) > limit:
        raise PairTooLong("query" if request.truncate else field, len(pair), limit)
    return TokenPair(array("i", pair.tokens), pair.second)


def fold_ranking(events: Iterable[Event]) -> Ranking:
    """The fold of a reranking's events; raises the error of a `Failed`."""
    made = Ranking((), True)
    for event in events:
        match event:
            case Scored(scores=scores, bounded=bounded):
                made = Ranking(scores, bounded, made.usage)
            case Finished(usage=usage):
                made = Ranking(made.scores, made.bounded, usage)
            case Failed(error=error):
                raise error
    return made
