"""POST /v1/embeddings: texts or tokens in, their vectors out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import partial
from operator import setitem
from typing import Final, Literal

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import Struct
from msgspec.structs import replace

from api.http.answer import HttpAnswer, WholeDialect
from api.http.caching import read_cache_wish
from api.http.callers import find_caller
from api.http.contract import ANSWERING, READING, declare_contract, reply_with
from api.http.field_rules import Json, tell_ignored
from api.http.live import LiveStreams
from api.http.settle import JsonBody, Wire
from api.openai import fields
from api.openai.generation_fields import ModelName
from api.openai.wire import Natural
from core.errors import RequestError
from core.events import Event
from core.names import clean_name
from core.requests import Caller, Embedding, RawText, RawTokens
from core.snapshots import ModelKind
from core.tasks.embed import fold_embeddings, unpack_vector
from core.workbench import Workbench

PATHS: Final = ("/v1/embeddings", "/embeddings")
MOST_INPUTS: Final = 2048
"""OpenAI's own limit."""
FEW_VECTORS: Final = 4
"""Are written sooner than a thread would begin to."""
MOST_TOKENS: Final = 1 << 17
"""Token ids of one input; more than any embedder takes."""
_TOKENS: Final[Json] = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": MOST_TOKENS}
INPUTS: Final[Json] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MOST_INPUTS},
        _TOKENS,
        {"type": "array", "items": _TOKENS, "minItems": 1, "maxItems": MOST_INPUTS},
    ]
}
"""The schema of `input`: lists do not mix."""


class EmbeddingRequest(Wire, frozen=True):
    """The body of POST /v1/embeddings."""

    rules = fields.EMBEDDINGS
    field_schemas = {"input": INPUTS}
    extra_neutral = {"encoding_format": ("",)}

    input: str | list[str | int | list[int]]
    """A text, a list of texts, a text as tokens, or a list of those."""
    model: ModelName | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Natural | None = None
    truncate: bool | None = None
    """An extension: cut what is too long instead of refusing it."""
    truncate_prompt_tokens: Literal[-1] | None = None
    """The same by vLLM's name."""
    cache_prompt: bool | None = None
    """An extension: false computes anew what was computed before, and keeps nothing."""


class EmbeddingObject(Struct, frozen=True, kw_only=True):
    object: str = "embedding"
    index: int
    embedding: list[float] | str
    """In base64, little-endian float32."""


class EmbeddingUsage(Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, frozen=True, kw_only=True):
    object: str = "list"
    model: str
    data: list[EmbeddingObject]
    usage: EmbeddingUsage


BODY: Final = JsonBody(EmbeddingRequest)
ENCODER = msgspec.json.Encoder()


def build_embeddings_route(workbench: Workbench, live: LiveStreams, *, max_body: int) -> HTTPRouteHandler:
    contract = declare_contract(
        reply_with(EmbeddingList, "A vector for each input"), body=BODY, outcomes=(*READING, *ANSWERING)
    )

    @post(list(PATHS), status_code=200, summary="Make vectors of texts", opt=contract)
    async def create_embedding(request: Request[object, object, State]) -> ASGIApp:
        given = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        state = request.scope["state"]
        asked = translate_request(given.body, caller=find_caller(state), request_id=str(state["request_id"]))
        asked = replace(asked, cache=read_cache_wish(request, given.body.cache_prompt))
        if not asked.model:
            asked = replace(asked, model=workbench.requests.choose_model(ModelKind.EMBEDDING, asked.caller))
        begin = partial(workbench.requests.submit, asked, called=partial(setitem, state, "request_id"))
        dialect = EmbeddingDialect(given.body, asked.model)
        ignored = given.ignored
        off_loop = workbench.lanes.writing.run if len(asked.inputs) > FEW_VECTORS else None
        return HttpAnswer(
            begin, dialect, live, streamed=False, headers=lambda: tell_ignored(ignored), off_loop=off_loop
        )

    return create_embedding


def translate_request(body: EmbeddingRequest, *, caller: Caller = Caller(), request_id: str = "") -> Embedding:
    """The canonical request. Raises RequestError, which names the field.

    The model is empty where the request names none.
    """
    return Embedding(
        model=clean_name(body.model) if body.model else "",
        inputs=tuple(_inputs(body.input)),
        dimensions=body.dimensions,
        truncate=bool(body.truncate or body.truncate_prompt_tokens),
        caller=caller,
        request_id=request_id,
    )


def _inputs(given: str | list[str | int | list[int]]) -> Iterator[RawText | RawTokens]:
    if isinstance(given, str):
        if not given:
            raise RequestError("The field `input` is empty; give a text.", "input")
        yield RawText(given)
        return
    if not given:
        raise RequestError("The field `input` is empty; give at least one text.", "input")
    numbers = isinstance(given[0], int)
    if (most := MOST_TOKENS if numbers else MOST_INPUTS) < len(given):
        what = "tokens" if numbers else "inputs"
        raise RequestError(f"The field `input` has {len(given)} {what}; at most {most} are taken.", "input")
    if all(isinstance(each, int) for each in given):
        yield RawTokens(tuple(each for each in given if isinstance(each, int)))
        return
    for index, each in enumerate(given):
        if isinstance(each, int) or type(each) is not type(given[0]):
            raise RequestError(
                f"The field `input[{index}]` is wrong: give texts alone, tokens alone, or lists of tokens alone.",
                f"input[{index}]",
            )
        if not each:
            raise RequestError(f"The field `input[{index}]` is empty.", f"input[{index}]")
        yield RawText(each) if isinstance(each, str) else RawTokens(tuple(each))


class EmbeddingDialect(WholeDialect):
    """Writes the vectors in the form that was asked for."""

    def __init__(self, body: EmbeddingRequest, model: str) -> None:
        """`model`: what the reply calls it."""
        self._model = model
        self._body = body

    def reply(self, events: Sequence[Event]) -> bytes:
        made = fold_embeddings(events)
        packed = self._body.encoding_format == "base64"
        data = [
            EmbeddingObject(
                index=index, embedding=b64encode(vector).decode() if packed else unpack_vector(vector).tolist()
            )
            for index, vector in enumerate(made.vectors)
        ]
        tokens = made.usage.prompt_tokens
        return ENCODER.encode(EmbeddingList(model=self._model, data=data, usage=EmbeddingUsage(tokens, tokens)))
