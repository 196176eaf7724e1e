"""Hosts of one model that come and go, as after a swap or a restart."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count

from msgspec.structs import replace

from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.errors import Cancelled, EngineFailed
from core.events import Usage
from core.lanes import WorkLanes
from core.requests import Generation, RawTokens, Sampling
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.serving.pool.loader import identify_model

NEW_TOKENS = 12


class HostDesk:
    """One engine, one model, and hosts of it that come and go."""

    def __init__(self, engine: Engine, artifact: Artifact, options: LoadOptions) -> None:
        self._engine = engine
        self._artifact = artifact
        # One thread: threads that wait for each other are slow on a machine that has other things to do.
        self._options = replace(options, extra_buffers=False, threads=1, batch_threads=1)
        self._lanes = WorkLanes()
        self._before_step: Callable[[], None] = lambda: None
        self.drawn: list[int] = []
        """All tokens that were drawn so far, in order."""

    def encode(self, text: str) -> list[int]:
        """While a model is loaded."""
        return self._tokenizer.encode(text, special=True)

    def _load(self) -> LoadedModel:
        model = self._engine.load(self._artifact, self._options)
        assert isinstance(model, TokenModel)
        identity = identify_model(self._engine, self._artifact, self._options, model)
        self._tokenizer = model.tokenizer
        step = model.step

        def paced(work: Sequence[Work]) -> Sequence[Step]:
            self._before_step()
            steps = step(work)
            self.drawn += [token for each in steps for token in each.tokens]
            return steps

        model.step = paced  # type: ignore[method-assign]
        return LoadedModel(model, self._engine.name, identity=identity)

    @asynccontextmanager
    async def hosting(self, store: PrefixStore | None) -> AsyncIterator[Host]:
        host = Host(
            "guide",
            lambda *_: self._load(),
            max_queue=32,
            queue_timeout=60.0,
            slots=None,
            lanes=self._lanes,
            store=store,
            reuse=store is not None,
        )
        host.start()
        await host.ready()
        try:
            yield host
        finally:
            await host.stop()

    async def fail(self, host: Host, tokens: list[int], steps: int) -> None:
        """A client asks, and the engine fails after so many steps; returns when the model is loaded again."""
        done = count()

        def fail_in_time() -> None:
            if next(done) == steps:
                raise EngineFailed("It failed, as it was told to.")

        self._before_step = fail_in_time
        with suppress(EngineFailed):
            await answer(host, tokens)
            raise AssertionError("the answer ended before the engine failed")
        self._before_step = lambda: None

    def slow_down(self, seconds: float) -> None:
        """Each step of the models takes so much longer from now on: what is asked meanwhile finds them at work."""
        self._before_step = (lambda: time.sleep(seconds)) if seconds else (lambda: None)

    async def leave(self, host: Host, tokens: list[int], steps: int) -> None:
        """A client asks and leaves again: after so many steps, while the next one is computed."""
        done = count()

        def leave_in_time() -> None:
            if next(done) == steps:
                host.cancel("leaving")

        self._before_step = leave_in_time
        with suppress(Cancelled):
            await answer(host, tokens, request_id="leaving")
            raise AssertionError("the answer ended before its client left")
        self._before_step = lambda: None


def ask(tokens: list[int], *, max_tokens: int = NEW_TOKENS, **fields: object) -> Generation:
    """A request for greedy tokens."""
    return Generation(
        "guide",
        RawTokens(tuple(tokens)),
        sampling=Sampling(temperature=0.0),
        max_tokens=max_tokens,
        ignore_eos=True,
        **fields,  # type: ignore[arg-type]
    )


async def answer(host: Host, tokens: list[int], **fields: object) -> tuple[str, Usage]:
    reply = await (await host.submit(ask(tokens, **fields))).reply()  # type: ignore[arg-type]
    return reply.choices[0].text, reply.usage
