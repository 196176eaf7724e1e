"""An embedder that counts letters, and computes a pass only when it is let; and hosts of it."""

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from core.contract.models import Embedder, ModelSpec, Reranker
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.errors import EngineFailed, Interrupted
from core.events import Event
from core.requests import Embedding, RawText
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.serving.stream import Stream
from core.settings.encoding import EncodingSettings
from core.tasks.embed import Embeddings, fold_embeddings, unpack_vector

BAD = "!"
"""An input that fails the pass it is computed in."""
AT_ONCE = EncodingSettings(window=0, cache_size=1)


class Letters(Embedder):
    """Counts: the vector of a text is (its length, 1).

    Computes one pass for each `allow`, all once the gate is open.
    """

    def __init__(self, slots: int = 8, batch: int = 16) -> None:
        echo = EchoModel(LoadOptions()).spec
        self._spec = replace(echo, architecture="letters", slots=slots, batch=batch, context=12, cells=0)
        self._gate = threading.Semaphore(0)
        self._wide_open = threading.Event()
        self._interrupted = threading.Event()
        self.passing = threading.Event()
        self.passes: list[list[str]] = []
        self.closed = threading.Event()

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def width(self) -> int:
        return 2

    @property
    def vocabulary(self) -> int:
        return 256

    @property
    def padded(self) -> bool:
        return True

    def encode(self, text: str, *, limit: int | None = None) -> list[int]:
        return list(text.encode())[:limit]

    def embed(self, inputs: Sequence[Sequence[int]]) -> Sequence[bytes]:
        self.passing.set()
        texts = [bytes(list(tokens)).decode() for tokens in inputs]
        self.passes.append(texts)
        while not self._wide_open.is_set() and not self._gate.acquire(timeout=0.005):
            if self._interrupted.is_set():
                raise Interrupted("The pass was interrupted.")
        if BAD in texts:
            raise EngineFailed("The pass failed.")
        from array import array

        return [array("f", (len(tokens), 1)).tobytes() for tokens in inputs]

    def interrupt(self, on: bool) -> None:
        if on:
            self._interrupted.set()
        else:
            self._interrupted.clear()

    def shutdown(self) -> None:
        self.closed.set()

    def allow(self, passes: int = 1) -> None:
        self._gate.release(passes)

    def open_gate(self) -> None:
        self._wide_open.set()
        self._gate.release()


def flowing(slots: int = 8, batch: int = 16) -> Letters:
    model = Letters(slots, batch)
    model.open_gate()
    return model


@asynccontextmanager
async def serving(
    model: Embedder | Reranker, *, max_queue: int = 32, timeout: float = 60.0, encoding: EncodingSettings = AT_ONCE
) -> AsyncIterator[Host]:
    host = Host(
        "letters",
        lambda *_: LoadedModel(model, "test"),
        max_queue=max_queue,
        queue_timeout=timeout,
        slots=None,
        encoding=encoding,
    )
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


def embeds(*texts: str, **fields: object) -> Embedding:
    return Embedding("letters", tuple(map(RawText, texts)), **fields)  # type: ignore[arg-type]


async def fold(stream: Stream) -> Embeddings:
    events: list[Event] = [event async for batch in stream for event in batch]
    return fold_embeddings(events)


def lengths(made: Embeddings) -> list[float]:
    return [unpack_vector(vector)[0] for vector in made.vectors]
