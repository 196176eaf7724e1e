"""What several suites stand on: small real parts, no mocks."""

import threading
from collections.abc import Sequence
from pathlib import Path

from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.engines.echo import EchoModel, Script, repeat_text
from core.errors import Interrupted
from core.requests import Conversation, Generation, Message, Role, TextPart
from core.serving.content import RequestContent
from core.settings.schema import Folders
from core.snapshots import RequestRow, RequestState


def folders_in(path: Path) -> Folders:
    return Folders(config=path / "config", cache=path / "cache", state=path / "state")


def said(text: str, role: Role = Role.USER) -> Message:
    return Message(role, (TextPart(text),))


def asks(text: str, model: str = "echo", **fields: object) -> Generation:
    """A chat request with one user message."""
    fields.setdefault("prompt", Conversation((said(text),)))
    return Generation(model=model, **fields)  # type: ignore[arg-type]


def show_row() -> RequestRow:
    """What a board would show of a stream that a test makes by itself."""
    return RequestRow("one", "echo", RequestState.DECODE)


def show_content() -> RequestContent:
    """What it would say."""
    return RequestContent(asks("hello"))


class GatedEcho(EchoModel):
    """An echo model that takes a step only when the test lets it: `allow(n)`, or `open_gate()` for all."""

    def __init__(self, options: LoadOptions = LoadOptions(), script: Script = repeat_text) -> None:
        super().__init__(options, script)
        self._gate = threading.Semaphore(0)
        self._wide_open = threading.Event()
        self.stepping = threading.Event()
        self.steps: list[list[int]] = []
        """How many tokens each sequence computed, for each step."""

    def allow(self, steps: int = 1) -> None:
        self._gate.release(steps)

    def open_gate(self) -> None:
        self._wide_open.set()
        self._gate.release()

    def close_gate(self) -> None:
        """Only while no step is under way or can begin."""
        self._wide_open.clear()
        while self._gate.acquire(blocking=False):
            pass

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        self.stepping.set()
        while not self._wide_open.is_set() and not self._gate.acquire(timeout=0.01):
            if self._interrupted.is_set():
                raise Interrupted("The step was interrupted.")
        self.steps.append([len(item.tokens) for item in work])
        return super().step(work)
