"""POST /v1/chat/completions/control, llama.cpp's: has a completion under way end its thought and answer."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Annotated, Final, Literal
from weakref import WeakValueDictionary

from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, Meta, Struct, UnsetType

from api.http.callers import find_caller, is_shown
from api.http.contract import READING, declare_contract, reply_with
from api.http.settle import JsonBody, Wire
from api.openai.generation_fields import ModelName
from core.snapshots import RequestState
from core.workbench import Workbench

CONTROL_PATHS: Final = ("/v1/chat/completions/control", "/chat/completions/control")
GONE: Final = "no active completion for this id"
NO_THOUGHT: Final = "the completion has no thought that could be ended"


class ControlRequest(Wire, frozen=True, kw_only=True):
    """Its body."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    """Of the completion, as its chunks tell it."""
    action: Literal["reasoning_end"]
    model: ModelName | None = None
    """The id alone says which one it is."""


class ControlReport(Struct, frozen=True, kw_only=True):
    success: bool
    message: str | UnsetType = UNSET
    """Why nothing came of it."""


class ControlledAnswer:
    """A completion that may be told to end its thought, as long as it is answered."""

    def __init__(self, state: MutableMapping[str, object]) -> None:
        """`state` is its HTTP request's, which holds the id that the workbench knows it by."""
        self._state = state

    @property
    def request_id(self) -> str:
        return str(self._state["request_id"])

    def name(self, request_id: str) -> None:
        """It has got its id."""
        self._state["request_id"] = request_id


ControlledAnswers = WeakValueDictionary[str, ControlledAnswer]
"""By the ids of completions. Whoever answers one holds it."""
BODY: Final = JsonBody(ControlRequest)


def build_control_route(workbench: Workbench, answers: ControlledAnswers, *, max_body: int) -> HTTPRouteHandler:
    @post(
        list(CONTROL_PATHS),
        status_code=200,
        summary="Have a completion that was sent with `reasoning_control` end its thought and answer",
        opt=declare_contract(reply_with(ControlReport, "Whether that is done"), body=BODY, outcomes=READING),
    )
    async def control_completion(request: Request[object, object, State]) -> ControlReport:
        asked = await BODY.read(request.receive, max_body)
        answer = answers.get(asked.body.id)
        row = workbench.requests.row(answer.request_id) if answer is not None else None
        shown = row is not None and is_shown(row, find_caller(request.scope["state"]))
        if answer is None or row is None or not shown or row.state is RequestState.ENDED:
            return ControlReport(success=False, message=GONE)
        if workbench.requests.end_thinking(answer.request_id):
            return ControlReport(success=True)
        return ControlReport(success=False, message=NO_THOUGHT)

    return control_completion
