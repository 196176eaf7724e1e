"""POST /v1/completions: prompts as they stand, no template around them; a pure translation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from operator import setitem
from typing import Final

from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec.structs import replace

from api.http.answer import PING_SECONDS, HttpAnswer
from api.http.contract import ANSWERING, EVENTS, JSON, READING, RouteReply, declare_contract
from api.http.field_rules import tell_ignored
from api.http.joined import submit_all
from api.http.live import EventStream, LiveStreams
from api.http.replies import Headers
from api.http.routed import build_route_headers
from api.http.settle import JsonBody
from api.openai.completions_wire import MOST_PROMPTS, Completion, CompletionRequest, PromptValue
from api.openai.completions_writer import CompletionDialect
from api.openai.constraints import read_constraint
from api.openai.generation_fields import (
    is_timed,
    list_dropped_common,
    list_vain_common,
    read_limit,
    read_priority,
    read_sampling,
    read_stop,
    refuse_unsupported_common,
)
from core.errors import RequestError
from core.names import clean_name
from core.requests import Generation, Infill, Prompt, RawText, RawTokens
from core.serving.host import Traits
from core.snapshots import ModelKind
from core.workbench import Workbench

PATHS: Final = ("/v1/completions",)
DEFAULT_TOKENS: Final = 16
"""New tokens where a request does not say how many, as OpenAI has it: most prompts here have no end of their own."""

BODY: Final = JsonBody(CompletionRequest)


def build_completion_route(
    workbench: Workbench, live: LiveStreams, *, max_body: int, fingerprint: str, ping: float = PING_SECONDS
) -> HTTPRouteHandler:
    contract = declare_contract(
        RouteReply("One JSON document, or events where `stream` is true", {JSON: Completion, EVENTS: Completion}),
        body=BODY,
        outcomes=(*READING, *ANSWERING),
    )

    @post(list(PATHS), status_code=200, summary="Go on with a text, or fill a gap in it", opt=contract)
    async def create_completion(request: Request[object, object, State]) -> ASGIApp:
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        state = request.scope["state"]
        generations = translate_prompts(body, tenant=str(state["tenant"]), request_id=str(state["request_id"]))
        model = generations[0].model or workbench.requests.choose_model(ModelKind.CHAT)
        generations = [workbench.requests.route(replace(each, model=model)) for each in generations]
        ignored = [*asked.ignored, *list_dropped_common(body)]
        echoes = [""] * len(generations)
        dialect = CompletionDialect(body, fingerprint, model, echoes)

        def meet(traits: Traits) -> None:
            ignored.extend(list_vain_common(body, traits))

        def headers() -> Headers:
            return *build_route_headers(generations[0]), *tell_ignored(ignored)

        async def begin() -> EventStream:
            if body.echo:
                echoes[:] = [await read_echo(workbench, each) for each in generations]
            return await submit_all(list(list_begins(workbench, generations, state, meet)), body.n or 1)

        return HttpAnswer(begin, dialect, live, streamed=bool(body.stream), ping=ping, headers=headers)

    return create_completion


def list_begins(
    workbench: Workbench, generations: Sequence[Generation], state: dict[str, object], meet: Callable[[Traits], None]
) -> Iterator[Callable[[], Coroutine[object, object, EventStream]]]:
    """Submissions of the prompts; the first one's id is the answer's."""
    for number, generation in enumerate(generations):
        called = partial(setitem, state, "request_id") if number == 0 else _ignore
        yield partial(workbench.requests.submit, generation, called=called, meets=meet)


def _ignore(_: str) -> None:
    pass


async def read_echo(workbench: Workbench, request: Generation) -> str:
    """A prompt's text, as its model writes it."""
    match request.prompt:
        case RawText(text=text) | Infill(before=text):
            return text
        case RawTokens(tokens=tokens):
            async with workbench.requests.reading(request.model) as reader:
                return b"".join(await reader.decode(tokens, "prompt")).decode("utf-8", "replace")
        case _:
            return ""


def translate_prompts(body: CompletionRequest, *, tenant: str = "", request_id: str = "") -> list[Generation]:
    """The canonical requests, one for each prompt. Raises RequestError, which names the field, for what cannot be done.

    The model is empty where the request names none. Raises ModelNotFound for a name of blanks alone.
    """
    refuse_unsupported_common(body)
    if body.echo and body.logprobs is not None:
        raise RequestError(
            "This server does not tell log-probabilities of a prompt's tokens, so it cannot give `logprobs` beside "
            "`echo`; leave out one of them.",
            "logprobs",
        )
    limit = DEFAULT_TOKENS if (said := read_limit(body)) is None else said
    generation = Generation(
        model=clean_name(body.model) if body.model else "",
        prompt=RawText(""),
        sampling=read_sampling(body, body.logprobs),
        max_tokens=None if limit == -1 else limit,
        stop=read_stop(body),
        n=body.n or 1,
        constraint=read_constraint(body),
        ignore_eos=bool(body.ignore_eos),
        cache=body.cache_prompt is not False,
        cache_salt=body.cache_salt or None,
        reproducible=bool(body.reproducible),
        tell_prefill=bool(body.stream and body.return_progress),
        tell_timings=is_timed(body),
        tenant=tenant,
        priority=read_priority(body),
        request_id=request_id,
    )
    prompts = list_prompts(body.prompt, "prompt")
    return [replace(generation, prompt=_with_suffix(prompt, body.suffix)) for prompt in prompts]


def list_prompts(given: PromptValue, field: str) -> list[Prompt]:
    """What each item stands for. Raises RequestError for an empty list, too long a one, and for texts beside ids."""
    if isinstance(given, str):
        return [RawText(given)]
    ids = [each for each in given if isinstance(each, int)]
    if ids:
        if len(ids) < len(given):
            raise RequestError(f"`{field}` mixes token ids with texts; send one or the other.", field)
        return [RawTokens(tuple(ids))]
    if not given:
        raise RequestError(f"`{field}` is an empty list; send a text, token ids, or a list of them.", field)
    if len(given) > MOST_PROMPTS:
        raise RequestError(f"`{field}` has {len(given)} prompts, and {MOST_PROMPTS} are the most at once.", field)
    return [RawTokens(tuple(each)) if isinstance(each, list) else RawText(str(each)) for each in given]


def _with_suffix(prompt: Prompt, suffix: str | None) -> Prompt:
    if not suffix:
        return prompt
    if not isinstance(prompt, RawText):
        raise RequestError("`suffix` needs a `prompt` of text, not of token ids.", "suffix")
    return Infill(prompt.text, suffix)
