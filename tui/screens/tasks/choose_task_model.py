"""Which of the loaded models does a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import BenchtopError
from core.requests import Caller
from tui.session import find_model

if TYPE_CHECKING:
    from core.snapshots import ModelKind
    from tui.session import Desk


def choose_task_model(desk: Desk, kind: ModelKind) -> str:
    """The model in use where it is of that kind, else the one that there is. Raises BenchtopError, whose words say how
    to get one."""
    model = find_model(desk.snapshot(), desk.model)
    if model is not None and model.kind is kind:
        return model.name
    try:
        return desk.workbench.requests.choose_model(kind, Caller())
    except BenchtopError as error:
        raise BenchtopError(f"{error} Load one on the models screen (F1).") from error
