"""POST /api/embed and /api/embeddings: texts in, their vectors out."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from operator import setitem
from typing import Final

import msgspec
import numpy as np
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import Struct

from api.http.answer import HttpAnswer, WholeDialect
from api.http.callers import find_caller
from api.http.contract import ANSWERING, READING, declare_contract, reply_with
from api.http.field_rules import tell_ignored
from api.http.leaving import run_while_connected
from api.http.live import LiveStreams
from api.http.replies import JsonReply
from api.http.settle import JsonBody
from api.ollama.durations import count_nanoseconds, read_keep_alive
from api.ollama.errors import OLLAMA_ERRORS
from api.ollama.names import resolve_name
from api.ollama.replies import EmbeddingVector, EmbedReply
from api.ollama.wire import KeepAlive, OllamaEmbed, OllamaEmbedding
from api.openai.embeddings import FEW_VECTORS
from core.events import Event
from core.requests import Embedding, RawText
from core.serving.ready import Traits
from core.snapshots import ModelKind
from core.tasks.embed import fold_embeddings, unpack_vector
from core.workbench import Workbench

BODY: Final = JsonBody(OllamaEmbed)
OLD_BODY: Final = JsonBody(OllamaEmbedding)
ENCODER: Final = msgspec.json.Encoder()


class EmbedAsk(Struct, frozen=True):
    """What both routes ask for."""

    model: str | None
    texts: tuple[str, ...]
    dimensions: int | None
    truncate: bool
    keep_alive: KeepAlive | None


class VectorWriter(WholeDialect):
    """Writes the vectors of one request."""

    def __init__(self, model: str, began: float) -> None:
        """`model`: as the client named it; `began`: when its request came, as `time.perf_counter` has it."""
        self.model = model
        self.began = began
        self.met = began

    @abstractmethod
    def reply_without(self) -> bytes:
        """The reply to a request without a text, which has loaded its model."""


class UnitVectors(VectorWriter):
    """Of POST /api/embed: vectors of length one."""

    def reply(self, events: Sequence[Event]) -> bytes:
        made = fold_embeddings(events)
        return self._encode(_scale(made.vectors), made.usage.prompt_tokens)

    def reply_without(self) -> bytes:
        self.met = time.perf_counter()
        return self._encode([], 0)

    def _encode(self, vectors: list[list[float]], tokens: int) -> bytes:
        return ENCODER.encode(
            EmbedReply(
                model=self.model,
                embeddings=vectors,
                total_duration=count_nanoseconds(time.perf_counter() - self.began),
                load_duration=count_nanoseconds(self.met - self.began),
                prompt_eval_count=tokens,
            )
        )


class BareVector(VectorWriter):
    """Of POST /api/embeddings: one vector, as the model gives it."""

    def reply(self, events: Sequence[Event]) -> bytes:
        (vector,) = fold_embeddings(events).vectors
        return ENCODER.encode(EmbeddingVector(unpack_vector(vector).tolist()))

    def reply_without(self) -> bytes:
        return ENCODER.encode(EmbeddingVector([]))


def _scale(vectors: Sequence[bytes]) -> list[list[float]]:
    """Vectors at length one; one of length zero stays as it is."""
    rows = np.frombuffer(b"".join(vectors), "<f4").reshape(len(vectors), -1)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    scaled: list[list[float]] = (rows / lengths).tolist()
    return scaled


def build_vector_routes(workbench: Workbench, live: LiveStreams, *, max_body: int) -> list[HTTPRouteHandler]:
    outcomes = (*READING, *ANSWERING)
    models = workbench.models

    async def answer(
        request: Request[object, object, State], ask: EmbedAsk, writer: VectorWriter, dropped: tuple[str, ...]
    ) -> ASGIApp:
        state = request.scope["state"]
        caller, stay = find_caller(state), read_keep_alive(ask.keep_alive)
        if stay is not None and not caller.admin:
            stay, dropped = None, (*dropped, "keep_alive")
        model = workbench.requests.choose_model(ModelKind.EMBEDDING, caller) if not ask.model else ""
        name = model or await resolve_name(models, ask.model or "")
        workbench.requests.check_model(name, caller)
        writer.model = ask.model or name
        if not ask.texts:
            served = await run_while_connected(request.receive, models.prepare(name))
            if stay is not None:
                models.keep(served, stay)
            return JsonReply(writer.reply_without(), tell_ignored(dropped))
        wanted = Embedding(
            model=name,
            inputs=tuple(map(RawText, ask.texts)),
            dimensions=ask.dimensions,
            truncate=ask.truncate,
            caller=caller,
            request_id=str(state["request_id"]),
        )

        def meet(_: Traits) -> None:
            writer.met = time.perf_counter()
            if stay is not None:
                models.keep(name, stay)

        begin = partial(workbench.requests.submit, wanted, called=partial(setitem, state, "request_id"), meets=meet)
        return HttpAnswer(
            begin,
            writer,
            live,
            streamed=False,
            headers=lambda: tell_ignored(dropped),
            off_loop=workbench.lanes.writing.run if len(ask.texts) > FEW_VECTORS else None,
        )

    @post(
        "/api/embed",
        status_code=200,
        summary="Make vectors of texts, in Ollama's dialect",
        opt=declare_contract(
            reply_with(EmbedReply, "A vector for each text"), body=BODY, outcomes=outcomes, errors=OLLAMA_ERRORS
        ),
    )
    async def embed_texts(request: Request[object, object, State]) -> ASGIApp:
        began = time.perf_counter()
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        texts = (body.input,) if isinstance(body.input, str) else tuple(body.input or ())
        ask = EmbedAsk(body.model, texts, body.dimensions or None, body.truncate is not False, body.keep_alive)
        return await answer(request, ask, UnitVectors("", began), asked.ignored)

    @post(
        "/api/embeddings",
        status_code=200,
        summary="Make a vector of a text, in Ollama's older form",
        opt=declare_contract(
            reply_with(EmbeddingVector, "The vector"), body=OLD_BODY, outcomes=outcomes, errors=OLLAMA_ERRORS
        ),
    )
    async def embed_text(request: Request[object, object, State]) -> ASGIApp:
        began = time.perf_counter()
        asked = await OLD_BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        ask = EmbedAsk(body.model, (body.prompt,) if body.prompt else (), None, True, body.keep_alive)
        return await answer(request, ask, BareVector("", began), asked.ignored)

    return [embed_texts, embed_text]
