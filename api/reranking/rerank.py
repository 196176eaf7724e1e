"""POST /v1/rerank, /v2/rerank, /rerank and /reranking: a query and documents in, the best documents out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import setitem
from typing import Final

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Struct
from msgspec.structs import replace

from api.http.answer import HttpAnswer, WholeDialect
from api.http.caching import read_cache_wish
from api.http.callers import find_caller
from api.http.contract import ANSWERING, JSON, READING, RouteReply, declare_contract, reply_with
from api.http.errors import OPENAI_ERRORS, ErrorDialect
from api.http.field_rules import tell_ignored
from api.http.live import LiveStreams
from api.http.settle import JsonBody
from api.reranking.errors import COHERE_ERRORS, COHERE_PATH, RERANK_ERRORS, RERANK_PATH, TEI_ERRORS, TEI_PATHS
from api.reranking.wire import (
    MOST_DOCUMENTS,
    ApiVersion,
    InputTokens,
    RankedResult,
    RankedText,
    RerankMeta,
    RerankReply,
    RerankRequest,
    RerankUsage,
    TextRank,
)
from core.errors import RequestError
from core.events import Event
from core.names import clean_name
from core.requests import Caller, Reranking
from core.snapshots import ModelKind
from core.tasks.rerank import RankedDocument, Ranking, fold_ranking, sort_scores
from core.workbench import Workbench

BODY: Final = JsonBody(RerankRequest)
ENCODER: Final = msgspec.json.Encoder()
FEW_SCORES: Final = 64
"""Are sorted and written sooner than a thread would begin to."""


class RerankWays(Struct, frozen=True):
    """What a path does in a way of its own."""

    version: str = "1"
    """Of Cohere's API."""
    raw: bool = False
    """Scores are as the model gives them, unless a request says otherwise."""
    truncate: bool = False
    """What is too long is cut, unless a request says otherwise."""


def build_rerank_routes(workbench: Workbench, live: LiveStreams, *, max_body: int) -> list[HTTPRouteHandler]:
    async def answer(request: Request[object, object, State], ways: RerankWays) -> ASGIApp:
        given = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body, state = given.body, request.scope["state"]
        asked = translate_request(body, ways, caller=find_caller(state), request_id=str(state["request_id"]))
        asked = replace(asked, cache=read_cache_wish(request, body.cache_prompt))
        if not asked.model:
            asked = replace(asked, model=workbench.requests.choose_model(ModelKind.RERANKING, asked.caller))
        begin = partial(workbench.requests.submit, asked, called=partial(setitem, state, "request_id"))
        dialect = RerankDialect(body, asked, ways, lambda: str(state["request_id"]))
        short = len(asked.documents) <= FEW_SCORES and not (body.return_documents or body.return_text)
        return HttpAnswer(
            begin,
            dialect,
            live,
            streamed=False,
            headers=lambda: tell_ignored(given.ignored),
            off_loop=None if short else workbench.lanes.writing.run,
        )

    @post(RERANK_PATH, status_code=200, summary="Rank documents by how well they answer", opt=_declare(RERANK_ERRORS))
    async def rank_documents(request: Request[object, object, State]) -> ASGIApp:
        return await answer(request, RerankWays())

    @post(COHERE_PATH, status_code=200, summary="Rank documents, as Cohere has it", opt=_declare(COHERE_ERRORS))
    async def rank_for_cohere(request: Request[object, object, State]) -> ASGIApp:
        return await answer(request, RerankWays("2", truncate=True))

    @post(TEI_PATHS[0], status_code=200, summary="Rank texts, as TEI has it", opt=_declare(TEI_ERRORS))
    async def rank_texts(request: Request[object, object, State]) -> ASGIApp:
        return await answer(request, RerankWays())

    @post(
        ["/v1/reranking", "/reranking"],
        status_code=200,
        summary="Rank documents, as llama.cpp has it",
        opt=_declare(OPENAI_ERRORS),
    )
    async def rank_for_llama_cpp(request: Request[object, object, State]) -> ASGIApp:
        return await answer(request, RerankWays(raw=True))

    return [rank_documents, rank_for_cohere, rank_texts, rank_for_llama_cpp]


def _declare(errors: ErrorDialect) -> dict[str, object]:
    replies = (
        reply_with(RerankReply, "The documents, the best first"),
        RouteReply("The texts, the best first, where they came as `texts`", {JSON: TextRank}, listed=True),
    )
    return declare_contract(*replies, body=BODY, outcomes=(*READING, *ANSWERING), errors=errors)


def translate_request(
    body: RerankRequest, ways: RerankWays = RerankWays(), *, caller: Caller = Caller(), request_id: str = ""
) -> Reranking:
    """The canonical request. Raises RequestError, which names the field.

    The model is empty where the request names none.
    """
    if body.documents is not None and body.texts is not None:
        raise RequestError("Give the documents as `documents` or as `texts`, not as both.", "texts")
    field, given = ("texts", body.texts) if body.texts is not None else ("documents", body.documents)
    if given is None:
        raise RequestError("The field `documents` is missing; give a list of texts.", "documents")
    if len(given) > MOST_DOCUMENTS:
        raise RequestError(
            f"The field `{field}` has {len(given)} documents; at most {MOST_DOCUMENTS} are ranked at once.", field
        )
    told = body.truncate if body.truncate is not None else (True if body.truncate_prompt_tokens else None)
    return Reranking(
        model=clean_name(body.model) if body.model else "",
        query=body.query,
        documents=tuple(each if isinstance(each, str) else each.text for each in given),
        truncate=ways.truncate if told is None else told,
        field=field,
        caller=caller,
        request_id=request_id,
    )


class RerankDialect(WholeDialect):
    """Writes the scores in the shape that was asked for."""

    def __init__(self, body: RerankRequest, asked: Reranking, ways: RerankWays, call: Callable[[], str]) -> None:
        """`call` tells the request's id, once it is known."""
        self._body = body
        self._asked = asked
        self._ways = ways
        self._call = call

    def reply(self, events: Sequence[Event]) -> bytes:
        made, body = fold_ranking(events), self._body
        raw = self._ways.raw if body.raw_scores is None else body.raw_scores
        ranked = sort_scores(made.scores if raw else made.shares, body.top_n or body.top_k)
        if body.texts is not None:
            return ENCODER.encode([self._write_text(each) for each in ranked])
        return ENCODER.encode(self._write_documents(ranked, made))

    def _write_text(self, each: RankedDocument) -> TextRank:
        shown = self._body.return_text or self._body.return_documents
        return TextRank(each.index, each.score, self._asked.documents[each.index] if shown else UNSET)

    def _write_documents(self, ranked: Sequence[RankedDocument], made: Ranking) -> RerankReply:
        shown = self._body.return_documents or self._body.return_text
        documents, tokens = self._asked.documents, made.usage.prompt_tokens
        return RerankReply(
            id=self._call(),
            model=self._asked.model,
            results=[
                RankedResult(each.index, each.score, RankedText(documents[each.index]) if shown else UNSET)
                for each in ranked
            ],
            usage=RerankUsage(tokens, tokens),
            meta=RerankMeta(ApiVersion(self._ways.version), InputTokens(tokens)),
        )
