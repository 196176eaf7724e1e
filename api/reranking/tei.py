"""POST /embed: vectors of texts, as text-embeddings-inference has it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import setitem
from typing import Final

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from api.http.answer import HttpAnswer, WholeDialect
from api.http.caching import read_cache_wish
from api.http.callers import find_caller
from api.http.contract import ANSWERING, JSON, READING, RouteReply, declare_contract
from api.http.field_rules import tell_ignored
from api.http.live import LiveStreams
from api.http.settle import JsonBody
from api.openai.embeddings import FEW_VECTORS, MOST_INPUTS
from api.reranking.errors import TEI_ERRORS, TEI_PATHS
from api.reranking.wire import TextsToEmbed
from core.errors import RequestError
from core.events import Event
from core.names import clean_name
from core.requests import Embedding, RawText
from core.snapshots import ModelKind
from core.tasks.embed import fold_embeddings, unpack_vector
from core.workbench import Workbench

BODY: Final = JsonBody(TextsToEmbed)
ENCODER: Final = msgspec.json.Encoder()


class BareVectors(WholeDialect):
    """Writes vectors as a list of lists of numbers."""

    def reply(self, events: Sequence[Event]) -> bytes:
        return ENCODER.encode([unpack_vector(vector).tolist() for vector in fold_embeddings(events).vectors])


def build_embed_route(workbench: Workbench, live: LiveStreams, *, max_body: int) -> HTTPRouteHandler:
    vectors = RouteReply("A vector for each text", {JSON: list[list[float]]})
    contract = declare_contract(vectors, body=BODY, outcomes=(*READING, *ANSWERING), errors=TEI_ERRORS)

    @post(TEI_PATHS[1], status_code=200, summary="Make vectors of texts, as TEI has it", opt=contract)
    async def embed_texts(request: Request[object, object, State]) -> ASGIApp:
        given = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body, state = given.body, request.scope["state"]
        caller = find_caller(state)
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        if len(texts) > MOST_INPUTS:
            raise RequestError(f"The field `inputs` has {len(texts)} texts; at most {MOST_INPUTS} are taken.", "inputs")
        named = clean_name(body.model) if body.model else ""
        asked = Embedding(
            model=named or workbench.requests.choose_model(ModelKind.EMBEDDING, caller),
            inputs=tuple(map(RawText, texts)),
            dimensions=body.dimensions,
            truncate=bool(body.truncate),
            field="inputs",
            cache=read_cache_wish(request, body.cache_prompt),
            caller=caller,
            request_id=str(state["request_id"]),
        )
        return HttpAnswer(
            partial(workbench.requests.submit, asked, called=partial(setitem, state, "request_id")),
            BareVectors(),
            live,
            streamed=False,
            headers=lambda: tell_ignored(given.ignored),
            off_loop=workbench.lanes.writing.run if len(texts) > FEW_VECTORS else None,
        )

    return embed_texts
