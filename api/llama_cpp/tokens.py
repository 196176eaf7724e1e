"""POST /tokenize, /detokenize and /apply-template: what a model's tokenizer and chat template make of texts."""

from __future__ import annotations

from typing import Final

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from api.http.callers import find_caller
from api.http.contract import ANSWERING, READING, declare_contract, reply_with
from api.http.field_rules import tell_ignored
from api.http.replies import add_headers
from api.http.routed import build_route_headers
from api.http.settle import JsonBody
from api.llama_cpp.errors import NATIVE_ERRORS
from api.llama_cpp.wire import (
    DetokenizeReply,
    DetokenizeRequest,
    TokenizeReply,
    TokenizeRequest,
    TokenPiece,
    WrittenPrompt,
)
from api.openai.chat import BODY as CHAT_BODY
from api.openai.chat import list_dropped, translate_by_length
from core.errors import RequestError
from core.names import clean_name
from core.requests import Caller
from core.snapshots import ModelKind
from core.workbench import Workbench

BODY: Final = JsonBody(TokenizeRequest)
BACK_BODY: Final = JsonBody(DetokenizeRequest)


def build_token_routes(workbench: Workbench, *, max_body: int) -> list[HTTPRouteHandler]:
    outcomes = (*READING, *ANSWERING)

    def choose(model: str | None, caller: Caller) -> str:
        return clean_name(model) if model else workbench.requests.choose_model(ModelKind.CHAT, caller)

    @post(
        "/tokenize",
        status_code=200,
        summary="The tokens of a text",
        opt=declare_contract(
            reply_with(TokenizeReply, "Token ids, with their texts on demand"),
            body=BODY,
            outcomes=outcomes,
            errors=NATIVE_ERRORS,
        ),
    )
    async def tokenise_text(request: Request[object, object, State]) -> Response[TokenizeReply]:
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        field, text = ("content", body.content) if body.content is not None else ("prompt", body.prompt)
        if text is None:
            raise RequestError("The field `content` is missing: the text to tokenise.", "content")
        begin = body.add_special if body.add_special is not None else bool(body.add_special_tokens)
        special = body.parse_special is not False
        caller = find_caller(request.scope["state"])
        async with workbench.requests.reading(choose(body.model, caller), caller) as reader:
            tokens = await reader.encode(text, field, special=special, begin=begin)
            pieces = await reader.decode(tokens) if body.with_pieces else []
            context = reader.context
        shown: list[int | TokenPiece] = [*tokens]
        if body.with_pieces:
            shown = [TokenPiece(token, show_piece(data)) for token, data in zip(tokens, pieces, strict=True)]
        reply = TokenizeReply(tokens=shown, count=len(tokens), max_model_len=context)
        return add_headers(reply, tell_ignored(asked.ignored))

    @post(
        "/detokenize",
        status_code=200,
        summary="The text of tokens",
        opt=declare_contract(
            reply_with(DetokenizeReply, "The text"), body=BACK_BODY, outcomes=outcomes, errors=NATIVE_ERRORS
        ),
    )
    async def detokenise_tokens(request: Request[object, object, State]) -> Response[DetokenizeReply]:
        asked = await BACK_BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        caller = find_caller(request.scope["state"])
        async with workbench.requests.reading(choose(asked.body.model, caller), caller) as reader:
            text = b"".join(await reader.decode(asked.body.tokens)).decode("utf-8", "replace")
        return add_headers(DetokenizeReply(content=text, prompt=text), tell_ignored(asked.ignored))

    @post(
        "/apply-template",
        status_code=200,
        summary="A conversation as the model's chat template writes it",
        opt=declare_contract(
            reply_with(WrittenPrompt, "The prompt's text"), body=CHAT_BODY, outcomes=outcomes, errors=NATIVE_ERRORS
        ),
    )
    async def apply_template(request: Request[object, object, State]) -> Response[WrittenPrompt]:
        asked = await CHAT_BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        caller = find_caller(request.scope["state"])
        generation = await translate_by_length(workbench, asked.body, caller=caller)
        generation = workbench.requests.route(replace(generation, model=generation.model or choose(None, caller)))
        async with workbench.requests.reading(generation.model, caller) as reader:
            text = await reader.write(generation)
        ignored = tell_ignored([*asked.ignored, *list_dropped(asked.body)])
        return add_headers(WrittenPrompt(text), (*build_route_headers(generation), *ignored))

    return [tokenise_text, detokenise_tokens, apply_template]


def show_piece(data: bytes) -> str | list[int]:
    """A token's text; its bytes where they are none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
