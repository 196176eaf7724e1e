"""POST /v1/completions: prompts as they stand, no template around them; a pure translation."""

from __future__ import annotations

from functools import partial
from operator import setitem
from typing import Final

from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec.structs import replace

from api.http.answer import PING_SECONDS, HttpAnswer
from api.http.callers import find_caller
from api.http.contract import ANSWERING, EVENTS, JSON, READING, RouteReply, declare_contract
from api.http.field_rules import tell_ignored
from api.http.joined import submit_all
from api.http.live import EventStream, LiveStreams
from api.http.replies import Headers
from api.http.routed import build_route_headers
from api.http.settle import JsonBody
from api.openai.completions_wire import Completion, CompletionRequest
from api.openai.completions_writer import CompletionDialect
from api.openai.generation_fields import list_dropped_fields, list_vain_fields, translate_fields
from api.openai.prompts import list_prompts, read_text
from api.openai.scored_prompts import is_prompt_scored
from core.errors import RequestError
from core.requests import Caller, Generation, Infill, Prompt, RawText
from core.serving.ready import Traits
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
        generations = translate_prompts(body, caller=find_caller(state), request_id=str(state["request_id"]))
        model = generations[0].model or workbench.requests.choose_model(ModelKind.CHAT, generations[0].caller)
        generations = [workbench.requests.route(replace(each, model=model)) for each in generations]
        ignored = [*asked.ignored, *list_dropped_fields(body)]
        echoes = [""] * len(generations)
        dialect = CompletionDialect(body, fingerprint, model, echoes)

        def meet(traits: Traits) -> None:
            ignored.extend(list_vain_fields(body, traits))

        def headers() -> Headers:
            return *build_route_headers(generations[0]), *tell_ignored(ignored)

        async def begin() -> EventStream:
            if body.echo:
                echoes[:] = [await read_text(workbench.requests, each) for each in generations]
            called = partial(setitem, state, "request_id")
            return await submit_all(workbench.requests, generations, called=called, meets=meet)

        return HttpAnswer(begin, dialect, live, streamed=bool(body.stream), ping=ping, headers=headers)

    return create_completion


def translate_prompts(body: CompletionRequest, *, caller: Caller = Caller(), request_id: str = "") -> list[Generation]:
    """The canonical requests, one for each prompt. Raises RequestError, which names the field, for what cannot be done.

    The model is empty where the request names none. Raises ModelNotFound for a name of blanks alone.
    """
    scored = is_prompt_scored(body)
    if scored and body.suffix:
        raise RequestError(
            "`echo` with `logprobs` tells how likely the prompt is as it stands, and with a `suffix` the model reads "
            "another one; leave out one of them.",
            "suffix",
        )
    generation = translate_fields(
        body, logprobs=body.logprobs, limit=DEFAULT_TOKENS, caller=caller, request_id=request_id
    )
    prompts = list_prompts(body.prompt, "prompt")
    return [replace(generation, prompt=_with_suffix(prompt, body.suffix), tell_prompt=scored) for prompt in prompts]


def _with_suffix(prompt: Prompt, suffix: str | None) -> Prompt:
    if not suffix:
        return prompt
    if not isinstance(prompt, RawText):
        raise RequestError("`suffix` needs a `prompt` of text, not of token ids.", "suffix")
    return Infill(prompt.text, suffix)
