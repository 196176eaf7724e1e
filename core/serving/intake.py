"""The way of requests in: which model answers a request, its wait for that model, its seat in the model's queue."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec import Struct
from msgspec.structs import replace

from core.contract.models import ModelSpec
from core.errors import ContextExceeded, ModelNotAllowed, ModelNotFound, NotDownloaded, RequestError
from core.names import clean_name, shorten_name
from core.requests import Caller, Generation
from core.serving.ability import Request, find_ability
from core.serving.content import RequestContent
from core.serving.own_capture import OwnCapture
from core.serving.pending import Arrivals
from core.serving.pool.member import Lease
from core.serving.prompts import PromptReader
from core.serving.ready import Traits
from core.serving.report import Observer, RequestReports
from core.serving.routing import AUTO, Route, choose_route
from core.serving.served_models import ServedModels
from core.serving.stream import Stream
from core.settings.schema import RouteSettings
from core.snapshots import ModelKind, RequestRow, RequestState
from core.supervision import Witness
from core.tasks.bounds import PromptTooLarge
from core.telemetry.origin import NO_ORIGIN, request_origin


def _ignore(_: object) -> None:
    pass


class ModelFacts(Struct, frozen=True):
    """What a client may know of a model."""

    name: str
    spec: ModelSpec
    traits: Traits


class RequestIntake:
    """Belongs to the event loop of its models."""

    def __init__(self, models: ServedModels, routes: RouteSettings, witness: Witness) -> None:
        self._models = models
        self._routes = routes
        self._witness = witness
        self._arrivals = Arrivals()
        self._reports = RequestReports()
        self._own: OwnCapture | None = None
        self._routed = 0
        """Requests for `auto` so far."""

    def choose_model(self, kind: ModelKind, caller: Caller = Caller()) -> str:
        """The model that answers requests of a kind that name none: the one that the user named first, of those that
        can answer them and that the caller may use, or the only one there is.

        Raises RequestError, which names what there is; ModelNotFound where none of them can; ModelNotReady.
        """
        self._models.expect_names()
        members = [member for member in self._models.members if caller.may_use(member.name)]
        names = ", ".join(member.name for member in members)
        able = [member for member in members if member.kind is kind]
        if members and not able:
            wish = find_ability(kind).wish
            raise ModelNotFound("", f"No model that is served can {wish}; served are: {names}.")
        chosen = next((member for member in able if member.named), able[0] if len(able) == 1 else None)
        if chosen is None:
            mine = f"; this API key is for {', '.join(caller.models)}" if caller.models else ""
            there = f"name one of {names}" if members else f"none is served yet, so name one{mine}"
            raise RequestError(f"The field `model` is missing; {there}.", "model")
        return chosen.name

    def route(self, request: Generation) -> Generation:
        """A request for `auto` with the model that shall answer it, and why; any other as it is.

        Raises RequestError when no model is large enough, ModelNotFound when nothing is routed here.
        """
        members = self._models.members
        if clean_name(request.model) != AUTO or not self._routes.auto or any(each.name == AUTO for each in members):
            return request
        routes = [
            Route(member.name, member.artifact.size, member.host.context if member.host else None)
            for member in members
            if member.named and member.kind is ModelKind.CHAT and request.caller.may_use(member.name)
        ]
        if not routes:
            raise ModelNotFound(
                AUTO, f"There is no model that `auto` may stand for; served are: {self._models.names_in_words}."
            )
        decision = choose_route(request, routes, self._routes.strategy, self._routed)
        self._routed += 1
        return replace(request, model=decision.model, route=decision.reason)

    async def submit(
        self,
        request: Request,
        *,
        called: Callable[[str], None] = _ignore,
        meets: Callable[[Traits], None] = _ignore,
    ) -> Stream:
        """Queue a request; its model is loaded first where it is not. `called` is told at once which id the request
        goes by, since no two that are under way share one; `meets` what its model is like.

        `core.tasks` folds the events of transcriptions and embeddings. Raises ModelNotFound, RequestError, QueueFull,
        and as `ServedModels.load` does; Cancelled where `cancel` was told its id meanwhile. Audio that cannot be
        decoded fails the stream before it is admitted. ModelNotAllowed where its caller may not use the model, and a
        priority that the caller may not ask becomes the most urgent one that it may.
        """
        since = time.monotonic()
        request = replace(request, request_id=self._arrivals.unique(request.request_id, self._has_arrived))
        if isinstance(request, Generation):
            request = replace(request, priority=request.caller.bound_priority(request.priority))
        called(request.request_id)
        with self._reports.following(request) as follow, self._arrivals.bring(request) as arrival:
            lease = await self._lease(request.model, request.caller)
            arrival.state = RequestState.QUEUED
            self._witness.asked(request.model)
            try:
                meets(lease.traits)
            except BaseException:
                lease.release()
                raise
            stream = await lease.submit(request)
            follow(stream, lease.name)
            if self._own is not None and isinstance(request, Generation) and request_origin.get() is NO_ORIGIN:
                self._own.follow(request, stream, lease.name, since)
            return stream

    def capture_own(self, capture: OwnCapture) -> None:
        """From now on it is told of conversations that come over no connection."""
        self._own = capture

    def observe(self, observer: Observer) -> None:
        """From now on it is told of each request that has ended."""
        self._reports.add(observer)

    def leave_unobserved(self, observer: Observer) -> None:
        """From now on it is told of none."""
        self._reports.drop(observer)

    async def count_tokens(self, request: Generation) -> int:
        """Tokens of the request's prompt, also where they are more than the context holds. Raises as `submit` does
        otherwise, PromptTooLarge for a text that is not read at all."""
        async with self.reading(request.model, request.caller) as reader:
            try:
                return len((await reader.read(request, exact=True)).tokens)
            except PromptTooLarge:
                raise
            except ContextExceeded as error:
                return error.prompt_tokens

    async def describe(self, model: str, caller: Caller = Caller()) -> ModelFacts:
        """A model, which is loaded where it is not. Raises as `submit` does."""
        lease = await self._lease(model, caller)
        try:
            return ModelFacts(model, lease.spec, lease.traits)
        finally:
            lease.release()

    @asynccontextmanager
    async def reading(self, model: str, caller: Caller = Caller()) -> AsyncIterator[PromptReader]:
        """What reads a model's prompts; the model is loaded where it is not, and stays meanwhile. Raises as `submit`
        does, RequestError where the model's engine reads prompts by itself."""
        lease = await self._lease(model, caller)
        try:
            yield await lease.reader()
        finally:
            lease.release()

    def check_model(self, model: str, caller: Caller) -> None:
        """Raises ModelNotAllowed where the caller may not use the model."""
        if not caller.may_use(model):
            allowed = ", ".join(caller.models)
            raise ModelNotAllowed(model, f"This API key may not use {shorten_name(model)}; it is for {allowed}.")

    async def _lease(self, model: str, caller: Caller) -> Lease:
        """Nothing is looked up or loaded for a caller that may not use it."""
        self.check_model(model, caller)
        try:
            return await self._models.lease(model)
        except ModelNotFound as error:
            # Of one that is merely not downloaded yet, it is told how that is done.
            if self._routes.stand_in is None or isinstance(error, NotDownloaded):
                raise
        self.check_model(self._routes.stand_in, caller)
        return await self._models.lease(self._routes.stand_in)

    def cancel(self, request_id: str) -> bool:
        """False when no such request waits, for its model or for a slot, or runs."""
        return self._arrivals.cancel(request_id) or any(host.cancel(request_id) for host in self._models.hosts)

    def end_thinking(self, request_id: str) -> bool:
        """Have a request end its thoughts and answer. False where no such request waits or runs with a model that is
        loaded, or where its model has no thoughts."""
        return any(host.end_thinking(request_id) for host in self._models.hosts)

    def rows(self) -> tuple[RequestRow, ...]:
        """The requests that no model has yet."""
        return self._arrivals.rows()

    def row(self, request_id: str) -> RequestRow | None:
        """Of a request that waits or runs, or that a model which is still loaded has ended lately."""
        rows = [row for row in self.rows() if row.id == request_id]
        rows += [row for host in self._models.hosts if (row := host.row(request_id)) is not None]
        # One that ended may have gone by the same id.
        return next((row for row in rows if row.state is not RequestState.ENDED), rows[0] if rows else None)

    def content(self, request_id: str) -> RequestContent | None:
        """What a request says that waits or runs, and what came of it up to now."""
        # On its way into a queue it is known to both; there its sampling is known as well.
        found = (host.content(request_id) for host in self._models.hosts)
        return next((each for each in found if each is not None), None) or self._arrivals.content(request_id)

    def _has_arrived(self, request_id: str) -> bool:
        return any(host.knows(request_id) for host in self._models.hosts)
