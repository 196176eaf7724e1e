"""GET /props and /slots: what llama.cpp's clients ask of a server before they use it."""

from __future__ import annotations

from typing import Final

from litestar import Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from api.http.callers import find_caller, is_shown
from api.http.contract import JSON, LOADING, RouteReply, declare_contract, reply_with
from api.llama_cpp.errors import NATIVE_ERRORS
from api.llama_cpp.wire import DefaultSettings, NextToken, Props, Slot
from api.llama_cpp.writer import build_settings
from core.names import clean_name
from core.requests import Caller, Generation, RawText
from core.snapshots import ModelKind, ModelSnapshot, RequestRow, RequestState
from core.workbench import Workbench

RUNNING: Final = (RequestState.PREFILL, RequestState.DECODE)


def build_state_routes(workbench: Workbench, *, build: str) -> list[HTTPRouteHandler]:
    """`build` names the program and its version."""

    @get(
        "/props",
        summary="What a model is and how it answers, as llama.cpp's server tells it",
        opt=declare_contract(
            reply_with(Props, "The model, which is loaded where it is not"), outcomes=LOADING, errors=NATIVE_ERRORS
        ),
    )
    async def show_props(request: Request[object, object, State], model: FromQuery[str | None] = None) -> Props:
        caller = find_caller(request.scope["state"])
        name = clean_name(model) if model else workbench.requests.choose_model(ModelKind.CHAT, caller)
        facts = await workbench.requests.describe(name, caller)
        spec, traits = facts.spec, facts.traits
        plain = Generation(model=facts.name, prompt=RawText(""))
        return Props(
            default_generation_settings=DefaultSettings(
                n_ctx=spec.context or None, params=build_settings(plain, traits.sampling, 0, stream=False)
            ),
            total_slots=spec.slots,
            model_alias=facts.name,
            model_path=facts.name,
            chat_template=traits.template or "",
            bos_token=spec.bos,
            eos_token=spec.eos,
            build_info=build,
        )

    @get(
        "/slots",
        summary="The places at which requests run, as llama.cpp's server tells them",
        opt=declare_contract(
            RouteReply("An item a slot, of the model or of all that are loaded", {JSON: Slot}, listed=True),
            errors=NATIVE_ERRORS,
        ),
    )
    async def list_slots(request: Request[object, object, State], model: FromQuery[str | None] = None) -> list[Slot]:
        caller = find_caller(request.scope["state"])
        wanted = clean_name(model) if model else None
        return [
            slot
            for each in workbench.snapshot().models
            if wanted in (None, each.name) and caller.may_use(each.name)
            for slot in list_model_slots(each, caller)
        ]

    return [show_props, list_slots]


def list_model_slots(model: ModelSnapshot, caller: Caller) -> list[Slot]:
    """A slot for each request that runs, and free ones up to the model's number. Of a request that is not the caller's
    to see, its slot is told to be taken, and no more."""
    running = [row for row in model.requests if row.state in RUNNING]
    return [
        _describe_slot(number, model, running[number] if number < len(running) else None, caller)
        for number in range(max(model.slots, len(running)))
    ]


def _describe_slot(number: int, model: ModelSnapshot, row: RequestRow | None, caller: Caller) -> Slot:
    speculative = model.draft is not None
    if row is None or not is_shown(row, caller):
        return Slot(id=number, n_ctx=model.context, speculative=speculative, is_processing=row is not None)
    return Slot(
        id=number,
        n_ctx=model.context,
        speculative=speculative,
        is_processing=True,
        id_task=row.id,
        n_prompt_tokens=row.prompt_tokens,
        n_prompt_tokens_processed=row.prefilled,
        n_prompt_tokens_cache=row.cached_tokens,
        next_token=[NextToken(row.completion_tokens)],
    )
