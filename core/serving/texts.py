"""From the texts of a request for vectors or scores to the tokens that its model reads: a portion at a time, so that a
large request does not hold up the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.contract.models import Embedder, Reranker, TokenPair
from core.errors import RequestError
from core.lanes import WorkLanes
from core.requests import Embedding, Reranking
from core.tasks.bounds import SHORT_BYTES
from core.tasks.embed import check_embedding, count_input_bytes, split_inputs, tokenise_inputs
from core.tasks.rerank import check_reranking, split_documents, tokenise_pairs

MOST_PAIR_TOKENS: Final = 1 << 22
"""Of all pairs of a request: the query is read with each document, so a small body can come to much."""


HANDFUL_BYTES: Final = 2_048
"""Of texts that are read sooner than a thread would begin to."""


async def read_inputs(model: Embedder, request: Embedding, lanes: WorkLanes) -> list[Sequence[int]]:
    """The tokens of each input. Raises RequestError for what the model cannot take."""
    check_embedding(model, request)
    if count_input_bytes(request, HANDFUL_BYTES) <= HANDFUL_BYTES:
        return tokenise_inputs(model, request)
    made: list[Sequence[int]] = []
    for portion in split_inputs(request, SHORT_BYTES):
        lane = lanes.reading if portion.small else lanes.long_reading
        made += await lane.run(tokenise_inputs, model, request, portion.indices)
    return made


async def read_pairs(model: Reranker, request: Reranking, lanes: WorkLanes) -> list[TokenPair]:
    """The tokens of each document with the query. Raises RequestError for what the model cannot take."""
    check_reranking(request)
    made: list[TokenPair] = []
    held = 0
    for portion in split_documents(request, SHORT_BYTES):
        lane = lanes.reading if portion.small else lanes.long_reading
        pairs = await lane.run(tokenise_pairs, model, request, portion.indices)
        held += sum(map(len, pairs))
        if held > MOST_PAIR_TOKENS:
            raise RequestError(
                f"The documents have with the query more than {MOST_PAIR_TOKENS:,} tokens in all; send fewer at once, "
                "or a shorter query.",
                request.field,
            )
        made += pairs
    return made
