"""The app on a terminal of its own, with what the processor spends on its main thread: the child of `screen`.

`python -m tests.bench.screen_app WHAT FILE [MODEL THREADS]` measures and writes its figures to FILE.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final, cast

import msgspec
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import TURN_END, EchoEngine, EchoModel, EchoTokenizer, find_last_said
from core.engines.registry import Engines
from core.events import Failed, TextDelta
from core.requests import Conversation, Generation, Message, Role, TextPart
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, Folders, ProbeSettings, ServerSettings, Settings
from core.workbench import Workbench
from tui.actions.screens import SCREENS
from tui.app import BenchtopApp
from tui.screens.chat.composer import Composer
from tui.screens.chat.screen import ChatScreen

TOKENS: Final = 22_000
"""Of an answer, at least."""
TOKEN_CHARACTERS: Final = 4
RATE: Final = 50.0
"""Tokens a second."""
AT: Final = (0, 5_000, 20_000)
"""Tokens that stand when a window of measuring begins."""
WINDOW_SECONDS: Final = 4.0
SETTLE_SECONDS: Final = 1.2
MODEL_TOKENS: Final = 300
CODE: Final = '''\
```python
def find_{n}(path: Path, wanted: set[str]) -> dict[str, int]:
    """Count the lines of {n} files.

    Blank lines count too.
    """
    found = {{}}
    for line in path.read_text().splitlines():  # {n} of them
        if line.strip() in wanted and len(line) > {n}:
            found[line] = found.get(line, 0) + 1
    return found
'''
KINDS: Final = {
    "prose": "The {n}. sentence of a **long** answer says what a cache is *for*, and names `keys` and `values` of it. "
    "Nothing of what it holds is computed again, so a conversation goes on at once.\n\n",
    "lists": "- item {n} with some words that are **strong**, and more of them until it wraps somewhere\n"
    "  1. nested below it, with `code` in it\n  2. and one more\n",
    "tables": "Some words before table {n}.\n\n| name | bytes | share |\n|---|--:|:-:|\n"
    + "| a cell of it | {n} | 12% |\n| another one, a little longer | 123 | **88%** |\n" * 8
    + "\n",
    "code": CODE + "".join(f"    value_{number} = compute({number}, '{{n}}')\n" for number in range(40)) + "```\n\n",
    "one block of code": "    if value_{n} > limit:  # line {n}\n        print(f'{n} is too much', file=sys.stderr)\n",
}


class Figures(Struct):
    """Shares of one core, and seconds."""

    streaming: dict[str, list[float]] = {}
    idle: dict[str, float] = {}
    back: list[tuple[float, float]] = []
    """Seconds of the clock and of the processor, for each time."""
    rates: list[float] = []
    """Tokens a second of a model."""


@cache
def write_answer(kind: str) -> str:
    text = KINDS[kind]
    count = TOKENS * TOKEN_CHARACTERS // len(text) + 1
    head = "```python\n" if kind == "one block of code" else ""
    return head + "".join(text.format(n=number) for number in range(count))


class PacedTokenizer(EchoTokenizer):
    """A few letters of the answer are a token."""

    def __init__(self) -> None:
        self.answer = b""

    @property
    def size(self) -> int:  # type: ignore[override]
        return 258 + 2 * TOKENS

    def piece(self, token: int) -> bytes:
        if token < 258:
            return super().piece(token)
        at = (token - 258) * TOKEN_CHARACTERS
        return self.answer[at : at + TOKEN_CHARACTERS]


class PacedModel(EchoModel):
    """Writes the answer of the kind it is asked for, at the pace of its engine."""

    def __init__(self, options: LoadOptions, engine: PacedEngine) -> None:
        super().__init__(options)
        self.tokenizer: PacedTokenizer = PacedTokenizer()
        self._engine = engine
        self._due = 0.0

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        self._due = max(self._due + self._engine.pace, time.monotonic() - self._engine.pace)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return super().step(work)

    def _next(self, state: object) -> int:
        kept = cast("_Kept", state)
        if kept.reply is None:
            kept.prompt = list(kept.prompt or kept.tokens)
            kept.reply = []
            self.tokenizer.answer = write_answer(find_last_said(kept.prompt)).encode()
        index = len(kept.tokens) - len(kept.prompt)
        return 258 + index if index * TOKEN_CHARACTERS < len(self.tokenizer.answer) else TURN_END


class _Kept(Struct):
    tokens: list[int]
    prompt: list[int]
    reply: list[int] | None


class PacedEngine(EchoEngine):
    """`pace`: seconds a token."""

    pace = 1 / RATE

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return PacedModel(options, self)


async def spend(seconds: float) -> float:
    """The share of one core that this thread takes in so long."""
    began, before = time.monotonic(), time.thread_time()
    await asyncio.sleep(seconds)
    return (time.thread_time() - before) / (time.monotonic() - began)


class Script:
    """What is done to the app, as a user would."""

    def __init__(self, app: BenchtopApp, engine: EchoEngine | None) -> None:
        self.app = app
        self.engine = cast("PacedEngine", engine)
        self.figures = Figures()

    @property
    def screen(self) -> ChatScreen:
        return cast("ChatScreen", self.app.screen)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.02)

    async def press(self, *keys: str) -> None:
        for key in keys:
            self.app.simulate_key(key)
            await asyncio.sleep(0.05)

    async def ask(self, question: str) -> None:
        self.screen.query_one(Composer).text = question
        await self.press("enter")
        await self.until(lambda: self.screen.writing)

    async def stream(self) -> None:
        for kind in KINDS:
            self.engine.pace = 1 / RATE
            await self.ask(kind)
            exchange = self.screen.chat.exchanges[-1]
            shares = []
            for tokens in AT:
                self.engine.pace = 0.0
                while sum(map(len, exchange.pieces)) // TOKEN_CHARACTERS < tokens:
                    await asyncio.sleep(0.1)
                self.engine.pace = 1 / RATE
                await asyncio.sleep(SETTLE_SECONDS)
                shares.append(await spend(WINDOW_SECONDS))
            self.figures.streaming[kind] = shares
            await self.press("escape")
            await self.until(lambda: not self.screen.writing)
            await self.go_back()
            await self.press("ctrl+n")

    async def go_back(self) -> None:
        """From a new chat to the long one."""
        await self.press("ctrl+n")
        await asyncio.sleep(0.5)
        began, before = time.monotonic(), time.thread_time()
        drawn = asyncio.Event()
        self.app.simulate_key("alt+n")
        await self.until(lambda: self.screen.chat.exchanges)
        self.screen.call_after_refresh(drawn.set)
        await drawn.wait()
        self.figures.back.append((time.monotonic() - began, time.thread_time() - before))
        await asyncio.sleep(1.0)

    async def rest(self) -> None:
        for name in SCREENS:
            self.app.action_go(name)
            await asyncio.sleep(2 * SETTLE_SECONDS)
            self.figures.idle[name] = await spend(WINDOW_SECONDS)

    async def decode(self) -> None:
        await self.ask("Write a very long story about a lighthouse, with many chapters.")
        rate = 0.0
        while self.screen.writing:
            snapshot = self.app.desk.snapshot()
            for row in snapshot.requests if snapshot is not None else ():
                if row.completion_tokens >= MODEL_TOKENS:
                    rate = row.rate
            if rate:
                await self.press("escape")
                break
            await asyncio.sleep(0.1)
        self.figures.rates.append(rate)


def run_app(what: str, model: str, file: Path, home: Path) -> None:
    engines = None if what == "decode" else Engines({"echo": f"{__name__}:PacedEngine"})
    app = BenchtopApp(build_settings(), model, lambda settings: Workbench(settings, Folders(home, home, home), engines))
    engine = engines.get("echo") if engines is not None else None
    script = Script(app, cast("EchoEngine | None", engine))
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "stream": script.stream,
        "rest": script.rest,
        "decode": script.decode,
    }

    async def follow() -> None:
        await script.until(lambda: app.is_running and app.desk.started and app.desk.ready)
        await asyncio.sleep(SETTLE_SECONDS)
        await parts[what]()
        app.exit()

    app.run(auto_pilot=lambda _: follow())
    file.write_bytes(msgspec.json.encode(script.figures))


async def decode_headless(model: str, home: Path) -> Figures:
    workbench = Workbench(build_settings(), Folders(home, home, home))
    name = await workbench.models.load(model)
    said = (Message(Role.USER, (TextPart("Write a very long story about a lighthouse, with many chapters."),)),)
    began = tokens = 0.0
    stream = await workbench.requests.submit(Generation(model=name, prompt=Conversation(said), max_tokens=MODEL_TOKENS))
    async for batch in stream:
        for event in batch:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, TextDelta):
                began = began or time.monotonic()
                tokens += event.tokens
                ended = time.monotonic()
    await workbench.close()
    return Figures(rates=[(tokens - 1) / (ended - began)])


def build_settings() -> Settings:
    return Settings(
        server=ServerSettings(port=0),
        model=ModelSettings(
            ctx_size=65_536 if len(sys.argv) < 4 else 2048,
            slots=1,
            draft="none",
            extra_buffers=False,
            threads=int(sys.argv[4]) if len(sys.argv) > 4 else None,
        ),
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
    )


def main() -> None:
    what, file, *model = sys.argv[1:]
    with tempfile.TemporaryDirectory() as home:
        if what == "headless":
            Path(file).write_bytes(msgspec.json.encode(asyncio.run(decode_headless(model[0], Path(home)))))
        else:
            run_app(what, model[0] if model else "echo", Path(file), Path(home))


if __name__ == "__main__":
    main()
