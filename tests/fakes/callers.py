"""An echo engine whose answers may hold thoughts and calls of tools."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from core.bench.tool_cases import TOOL_CASES, RightCall
from core.chat.chatml import CHATML_WITH_TOOLS
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel

RESULT = "<tool_response>\n"


def answer_results(said: str) -> str:
    """What the user says is said again; a tool's result is told."""
    if not said.startswith(RESULT):
        return said
    return f"It says: {said.removeprefix(RESULT).splitlines()[0]}"


class CallingEcho(EchoEngine):
    def __init__(self) -> None:
        super().__init__(answer_results, CHATML_WITH_TOOLS)


STEP_SECONDS: Final = 0.004


class UnhurriedModel(EchoModel):
    """Takes its time for each step, as a real model does, so that a client gets a word in."""

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(STEP_SECONDS)
        return super().step(work)


class UnhurriedCallingEcho(CallingEcho):
    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return UnhurriedModel(options, answer_results, CHATML_WITH_TOOLS)


class SkilledCaller(EchoEngine):
    """Answers each question about tools as it should."""

    def __init__(self) -> None:
        super().__init__(answer_rightly, CHATML_WITH_TOOLS)


def answer_rightly(said: str) -> str:
    if said.startswith(RESULT):
        return "It is 17 degrees."
    case = next(each for each in TOOL_CASES if each.question.strip() == said.strip())
    return "\n".join(write_call(call) for call in case.calls) or case.answer


def write_call(call: RightCall) -> str:
    told = json.dumps({"name": call.tool, "arguments": msgspec.to_builtins(call.arguments)})
    return f"<tool_call>\n{told}\n</tool_call>"
