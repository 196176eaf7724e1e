"""Who asks: what the guard has found out from a request's key, for the routes that it lets pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core.requests import Caller

CALLER: Final = "caller"
"""Where a request's state holds its caller."""
NOBODY: Final = Caller(admin=False)
"""Who shows no key where one is asked for, or a wrong one."""


def find_caller(state: Mapping[str, object]) -> Caller:
    """Of a request that has passed the guard."""
    caller = state[CALLER]
    assert isinstance(caller, Caller)
    return caller
