"""An echo engine whose answers may hold thoughts and calls of tools."""

from __future__ import annotations

from core.chat.chatml import CHATML_WITH_TOOLS
from core.engines.echo import EchoEngine

RESULT = "<tool_response>\n"


def answer_results(said: str) -> str:
    """What the user says is said again; a tool's result is told."""
    if not said.startswith(RESULT):
        return said
    return f"It says: {said.removeprefix(RESULT).splitlines()[0]}"


class CallingEcho(EchoEngine):
    def __init__(self) -> None:
        super().__init__(answer_results, CHATML_WITH_TOOLS)
