"""POST /completion and /infill, as llama.cpp's server has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from operator import setitem
from typing import Final

from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import Struct
from msgspec.structs import replace

from api.http.answer import PING_SECONDS, HttpAnswer
from api.http.callers import find_caller
from api.http.contract import ANSWERING, EVENTS, JSON, READING, RouteReply, declare_contract
from api.http.field_rules import tell_ignored
from api.http.joined import submit_all
from api.http.live import EventStream, LiveStreams
from api.http.replies import Headers
from api.http.routed import build_route_headers
from api.http.settle import JsonBody, SettledBody
from api.llama_cpp.errors import NATIVE_ERRORS
from api.llama_cpp.wire import (
    BoxedPrompt,
    InfillRequest,
    NativeChunk,
    NativeCompletion,
    NativeFields,
    NativePrompt,
    NativeRequest,
    Piece,
)
from api.llama_cpp.writer import NativeDialect
from api.openai.generation_fields import list_dropped_fields, list_vain_fields, translate_fields
from api.openai.prompts import check_number, read_text
from core.errors import RequestError
from core.requests import Caller, Generation, Infill, Prompt, RawText, RawTokens
from core.serving.ready import Traits
from core.serving.routing import estimate_tokens
from core.snapshots import ModelKind
from core.workbench import Workbench

COMPLETION_PATHS: Final = ("/completion", "/completions")
INFILL_PATHS: Final = ("/infill",)
BODY: Final = JsonBody(NativeRequest)
INFILL_BODY: Final = JsonBody(InfillRequest)
INFILL_NAMES: Final[Mapping[str, str]] = {"prompt": "input_prefix", "suffix": "input_suffix"}
CONTEXT_NAME: Final = "snippet"
"""Stands for the name of a file that has none."""


class MixedPrompt(Struct, frozen=True):
    """Texts and token ids that are one prompt; its model's tokenizer makes it tokens."""

    pieces: tuple[str | int, ...]


def build_native_routes(
    workbench: Workbench, live: LiveStreams, *, max_body: int, ping: float = PING_SECONDS
) -> list[HTTPRouteHandler]:
    outcomes = (*READING, *ANSWERING)
    replies = RouteReply(
        "One JSON document, or events where `stream` is true", {JSON: NativeCompletion, EVENTS: NativeChunk}
    )
    several = RouteReply("A list of them for several prompts", {JSON: NativeCompletion}, listed=True)

    def answer(
        asked: SettledBody[NativeFields],
        prompts: Sequence[Prompt | MixedPrompt],
        state: dict[str, object],
        names: Mapping[str, str] = {},
    ) -> ASGIApp:
        """`names`: what the request's own fields are called that hold what errors call otherwise."""
        body = asked.body
        generation = _translate(body, caller=find_caller(state), request_id=str(state["request_id"]))
        model = generation.model or workbench.requests.choose_model(ModelKind.CHAT, generation.caller)
        wanted = [replace(generation, model=model, prompt=_sketch(each)) for each in prompts]
        with _name_fields(names):
            # One model answers them all.
            routed = workbench.requests.route(max(wanted, key=estimate_tokens))
        texts = [""] * len(prompts)
        ignored = [*asked.ignored, *list_dropped_fields(body)]
        dialect = NativeDialect(body, routed, texts)

        def meet(traits: Traits) -> None:
            dialect.sampling = traits.sampling
            ignored.extend(list_vain_fields(body, traits))

        def headers() -> Headers:
            return *build_route_headers(routed), *tell_ignored(ignored)

        async def begin() -> EventStream:
            with _name_fields(names):
                read = [replace(routed, prompt=await _resolve(workbench, routed, each)) for each in prompts]
                texts[:] = [await read_text(workbench.requests, each) for each in read]
                called = partial(setitem, state, "request_id")
                return await submit_all(workbench.requests, read, called=called, meets=meet)

        return HttpAnswer(begin, dialect, live, streamed=bool(body.stream), ping=ping, headers=headers)

    @post(
        list(COMPLETION_PATHS),
        status_code=200,
        summary="Go on with a text, as llama.cpp's server does",
        opt=declare_contract(replies, several, body=BODY, outcomes=outcomes, errors=NATIVE_ERRORS),
    )
    async def create_native_completion(request: Request[object, object, State]) -> ASGIApp:
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        return answer(asked, list_native_prompts(asked.body.prompt), request.scope["state"])

    @post(
        list(INFILL_PATHS),
        status_code=200,
        summary="Fill a gap in a text, as llama.cpp's server does",
        opt=declare_contract(replies, several, body=INFILL_BODY, outcomes=outcomes, errors=NATIVE_ERRORS),
    )
    async def create_infill(request: Request[object, object, State]) -> ASGIApp:
        asked = await INFILL_BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        files = tuple((each.filename or CONTEXT_NAME, each.text) for each in body.input_extra or ())
        gap = Infill(body.input_prefix, body.input_suffix, files, body.prompt or "")
        return answer(asked, [gap], request.scope["state"], INFILL_NAMES)

    return [create_native_completion, create_infill]


@contextmanager
def _name_fields(names: Mapping[str, str]) -> Iterator[None]:
    """An error inside names the request's own field."""
    try:
        yield
    except RequestError as error:
        error.field = names.get(error.field or "", error.field)
        raise


def _sketch(prompt: Prompt | MixedPrompt) -> Prompt:
    """What a model is chosen by before there is one whose tokenizer could say more."""
    if not isinstance(prompt, MixedPrompt):
        return prompt
    return RawText("".join(each for each in prompt.pieces if isinstance(each, str)))


async def _resolve(workbench: Workbench, routed: Generation, prompt: Prompt | MixedPrompt) -> Prompt:
    if not isinstance(prompt, MixedPrompt):
        return prompt
    tokens: list[int] = []
    async with workbench.requests.reading(routed.model, routed.caller) as reader:
        for number, piece in enumerate(prompt.pieces):
            if isinstance(piece, int):
                tokens.append(piece)
            else:
                tokens += await reader.encode(piece, "prompt", special=True, begin=number == 0)
    return RawTokens(tuple(tokens))


def _translate(body: NativeFields, *, caller: Caller, request_id: str) -> Generation:
    """All but the prompt. Raises RequestError, which names the field."""
    generation = translate_fields(body, logprobs=body.n_probs or None, caller=caller, request_id=request_id)
    # Each event of a stream tells the prompt's tokens.
    return replace(
        generation,
        n=body.n or body.n_cmpl or 1,
        sampling=replace(generation.sampling, weighed=bool(body.n_probs and body.post_sampling_probs)),
        tell_tokens=bool(body.stream or body.return_tokens),
        tell_timings=bool(body.stream),
    )


def list_native_prompts(given: NativePrompt) -> list[Prompt | MixedPrompt]:
    """One prompt or several: a list is several where it holds a list or a box, or texts alone.

    Raises RequestError for an empty list, and too long a one.
    """
    if isinstance(given, str):
        return [RawText(given)]
    if isinstance(given, BoxedPrompt):
        return [RawText(given.prompt_string)]
    plain = [each for each in given if isinstance(each, str | int)]
    if len(plain) == len(given) and any(isinstance(each, int) for each in plain):
        ids = [each for each in plain if isinstance(each, int)]
        return [RawTokens(tuple(ids)) if len(ids) == len(plain) else MixedPrompt(tuple(plain))]
    check_number(len(given), "prompt")
    return list(_each_prompt(given))


def _each_prompt(given: Sequence[Piece]) -> Iterator[Prompt]:
    for each in given:
        match each:
            case str():
                yield RawText(each)
            case BoxedPrompt(prompt_string=text):
                yield RawText(text)
            case list():
                yield RawTokens(tuple(each))
            case _:
                raise RequestError("`prompt` mixes prompts with token ids; put these into lists.", "prompt")
