"""Who asks: what the guard has found out from a request's key, for the routes that it lets pass, and what of others'
requests is shown to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from msgspec.structs import replace

from core.requests import Caller
from core.reuse import Cause
from core.snapshots import RequestRow

Row = TypeVar("Row", bound=RequestRow)

CALLER: Final = "caller"
"""Where a request's state holds its caller."""
NOBODY: Final = Caller(admin=False, metrics=False)
"""Who shows no key where one is asked for, or a wrong one."""


def find_caller(state: Mapping[str, object]) -> Caller:
    """Of a request that has passed the guard."""
    caller = state[CALLER]
    assert isinstance(caller, Caller)
    return caller


def is_shown(row: RequestRow, caller: Caller) -> bool:
    """Whether a request is the caller's own, or any may be seen; whoever may not see one may not touch it."""
    return caller.admin or row.key == caller.name


def hide_others(row: Row, caller: Caller) -> Row:
    """A row that is shown, without what it tells of other keys: that one of them has asked the same."""
    if caller.admin or row.reuse.cause is not Cause.OTHER_TENANT:
        return row
    return replace(row, reuse=replace(row.reuse, cause=Cause.FIRST_SEEN))
