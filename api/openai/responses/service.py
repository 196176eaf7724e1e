"""What becomes of a request for a response, whether it came over HTTP or a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from api.http.live import LiveStreams
from api.http.long_work import run_by_length
from api.http.rates import Allowance
from api.http.settle import JsonBody
from api.openai.reasoning_fields import is_reasoning_hidden
from api.openai.responses.background import BackgroundRun, BackgroundRuns
from api.openai.responses.compaction import CompactionDialect, ask_for_summary
from api.openai.responses.frames import Framing
from api.openai.responses.kinds import KIND
from api.openai.responses.resource import ResponseResource
from api.openai.responses.store import ResponseStore, StoredResponse
from api.openai.responses.translation import (
    SEALED,
    ReadRequest,
    build_draft,
    find_summary,
    list_vain,
    read_logprobs,
    read_request,
    tell_sampling,
    translate_response,
)
from api.openai.responses.wire import InputItem, ReferenceItem, ResponseRequest, SocketRequest
from api.openai.responses.writer import ResponseWriter, WantedDetails
from core.errors import RequestError
from core.requests import Caller, Calling, Generation
from core.serving.ready import Traits
from core.serving.stream import Stream
from core.snapshots import ModelKind
from core.workbench import Workbench

BODY = JsonBody(ResponseRequest)
MESSAGE = JsonBody(SocketRequest)
NAMES: Final[Mapping[str, str]] = {"messages": "input", "reasoning_effort": "reasoning.effort"}
"""What fields are called here that errors call as chat does."""

Begin = Callable[[], Coroutine[object, object, Stream]]


class ResponseClient(Struct, frozen=True):
    """Whose request it is."""

    caller: Caller
    request_id: str
    called: Callable[[str], None] = lambda _: None
    """Told which id the request goes by."""
    allowance: Allowance = field(default_factory=Allowance)
    """What it may still ask."""
    connection: str = ""
    """The owner of what only this connection may go on from; empty where there is no such thing."""

    @property
    def owners(self) -> tuple[str, ...]:
        return (self.connection, self.caller.tenant) if self.connection else (self.caller.tenant,)


class SocketRead(Struct, frozen=True):
    read: ReadRequest
    generates: bool
    """Whether an answer is wanted; else the input is kept for the next request to go on from."""


class GatheredItems(Struct, frozen=True):
    """What a request is about."""

    previous: StoredResponse | None
    """That it goes on from."""
    before: tuple[InputItem, ...]
    """What that brings."""
    items: tuple[InputItem, ...]
    """What it brings itself."""

    @property
    def conversation(self) -> tuple[InputItem, ...]:
        return *self.before, *self.items


class PreparedCompaction(Struct, frozen=True):
    """A request for a compaction that is ready to be answered."""

    generation: Generation
    dialect: CompactionDialect
    begin: Begin
    ignored: Sequence[str]
    """Names of what was dropped of the request."""


class Prepared(Struct, frozen=True):
    """A request that is ready to be answered."""

    generation: Generation
    writer: ResponseWriter
    kept: StoredResponse
    begin: Begin
    ignored: list[str]
    """Names of what was dropped of the request; there may be more once its model is known."""


@contextmanager
def rename_fields() -> Iterator[None]:
    """Errors about fields leave it with the names that they have here."""
    try:
        yield
    except RequestError as error:
        error.field = NAMES.get(error.field or "", error.field)
        raise


class ResponseService:
    """Belongs to the event loop."""

    def __init__(self, workbench: Workbench, live: LiveStreams, store: ResponseStore | None = None) -> None:
        self.workbench = workbench
        self.store = ResponseStore() if store is None else store
        self.runs = BackgroundRuns(live)

    def read(self, raw: bytes) -> ReadRequest:
        """From any thread. Raises RequestError."""
        settled = BODY.decode(raw)
        return read_request(settled.body, settled.ignored)

    def read_message(self, raw: bytes) -> SocketRead:
        """The same for a message of a WebSocket, as whose part errors are told in the stream that it names."""
        kind = KIND.decode(raw).body.type
        if kind != "response.create":
            told = "none" if kind is None else repr(kind[:64])
            raise RequestError(
                f"The message's type is {told}; this server takes `response.create` and `response.steer`.", "type"
            )
        settled = MESSAGE.decode(raw)
        body = settled.body
        if body.background:
            raise RequestError("Over a WebSocket nothing is answered in the background; leave it out.", "background")
        return SocketRead(read_request(body, settled.ignored), generates=body.generate is not False)

    async def prepare(
        self, read: ReadRequest, client: ResponseClient, framing: Framing | None, *, generates: bool = True
    ) -> Prepared:
        """Raises RequestError, ModelNotFound, Busy; nothing is loaded yet. Where no answer is wanted, the model reads
        the prompt all the same, so that the next request finds it in the prefix cache."""
        body = read.body
        gathered = self._gather(read, client)
        generation = await self._translate(read, client, gathered)
        draft = build_draft(read, generation.model)
        generation = self.workbench.requests.route(generation)
        if not generates:
            # What is drawn is told to nobody, so it need not be of any form.
            generation = replace(generation, max_tokens=1, constraint=None, tool_choice=Calling.AUTO, stop=())
        kept = StoredResponse(draft, gathered.items, gathered.previous)
        details = WantedDetails(
            answer=generates,
            logprobs=read_logprobs(body) is not None,
            thoughts=not is_reasoning_hidden(body),
            summary=find_summary(body) is not None,
            sealed=SEALED in (body.include or ()),
        )
        writer = ResponseWriter(draft, read.tools.known, details, framing, partial(self._keep, client, kept))
        ignored = list(read.ignored)

        def meet(traits: Traits) -> None:
            ignored.extend(list_vain(body, traits))
            writer.amend(partial(tell_sampling, wish=generation.sampling, base=traits.sampling))
            if ignored and (client.connection or body.background):
                writer.amend(partial(replace, ignored=list(dict.fromkeys(ignored))))

        async def begin() -> Stream:
            with rename_fields():
                return await self.workbench.requests.submit(generation, called=client.called, meets=meet)

        return Prepared(generation, writer, kept, begin, ignored)

    async def prepare_compaction(self, read: ReadRequest, client: ResponseClient) -> PreparedCompaction:
        """Raises as `prepare` does."""
        if vain := next((name for name in ("stream", "background") if getattr(read.body, name)), None):
            raise RequestError(f"A compaction comes whole and at once; leave `{vain}` out.", vain)
        gathered = self._gather(read, client)
        generation = ask_for_summary(await self._translate(read, client, gathered))
        generation = self.workbench.requests.route(generation)

        async def begin() -> Stream:
            with rename_fields():
                return await self.workbench.requests.submit(generation, called=client.called)

        return PreparedCompaction(generation, CompactionDialect(gathered.conversation), begin, read.ignored)

    def _gather(self, read: ReadRequest, client: ResponseClient) -> GatheredItems:
        named = read.body.previous_response_id
        previous = self.store.find_previous(client.owners, named) if named else None
        before = () if previous is None else tuple(previous.list_conversation())
        return GatheredItems(previous, before, tuple(self._resolve(read, client)))

    async def _translate(self, read: ReadRequest, client: ResponseClient, gathered: GatheredItems) -> Generation:
        """The request for an answer to these items, with the name of its model."""
        conversation = gathered.conversation
        translate = partial(
            translate_response,
            read,
            conversation,
            caller=client.caller,
            request_id=client.request_id,
            before=len(gathered.before),
        )
        generation = await run_by_length(self.workbench.lanes.long_reading, len(conversation), translate)
        if generation.model:
            return generation
        return replace(generation, model=self.workbench.requests.choose_model(ModelKind.CHAT, client.caller))

    def start_background(self, prepared: Prepared, client: ResponseClient) -> BackgroundRun:
        """Raises Busy."""
        run = self.runs.start(prepared.writer, prepared.begin, client.allowance)
        kept = prepared.kept
        kept.resource = prepared.writer.resource
        kept.leaves = partial(self.runs.forget, kept.resource.id)
        self.store.keep(client.caller.tenant, kept)
        return run

    def _resolve(self, read: ReadRequest, client: ResponseClient) -> Iterator[InputItem]:
        for at, item in enumerate(read.items.items):
            if isinstance(item, ReferenceItem):
                yield self.store.find_item(client.owners, item.id, f"input[{at}].id")
            else:
                yield item

    def _keep(self, client: ResponseClient, kept: StoredResponse, resource: ResponseResource) -> None:
        """What has ended. A failed response that nobody asked to be kept in the background is of no use."""
        kept.resource = resource
        if resource.background:
            self.store.update(client.caller.tenant, kept)
        elif resource.status in ("completed", "incomplete"):
            if resource.store:
                self.store.keep(client.caller.tenant, kept)
            elif client.connection:
                self.store.keep(client.connection, kept)
