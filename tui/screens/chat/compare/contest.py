"""A comparison, apart from how it is drawn: who answers, whether at once or in turn, and how each gets its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from core.conversations.settings import ChatSettings
from core.conversations.tree import AnswerVersion, Outcome, make_id
from core.errors import BenchtopError, Cancelled
from core.events import Failed
from core.requests import Generation
from core.sizes import format_size
from core.snapshots import ModelSnapshot, ModelState, Snapshot
from tui import format as fmt
from tui.screens.chat.written_by import describe_writer
from tui.screens.models.rows import BESIDE_FACTOR

if TYPE_CHECKING:
    from core.serving.stream import Stream
    from core.workbench import Workbench

PROMPT_CHARACTERS: Final = 32
"""Of a system prompt, which tell it from another."""
LETTERS: Final = "ABCD"
"""What answers are called whose writers are hidden."""


class Contestant(Struct, frozen=True):
    """A model with settings."""

    model: str
    """What loads it."""
    label: str
    settings: ChatSettings = ChatSettings()
    size: int = 0
    """Bytes, of its file or in memory."""

    def describe(self, dot: str) -> str:
        """What tells it from the others, here and among the votes that are kept."""
        told = replace(self.settings, system="").list_differences()
        prompt = fmt.clip_text(" ".join(self.settings.system.split()), PROMPT_CHARACTERS)
        return f" {dot} ".join((self.label, *([f'"{prompt}"'] if prompt else []), *told))


class ContestLane(Struct):
    """One contestant's answer. Widgets read it while it is written."""

    contestant: Contestant
    version: AnswerVersion
    note: str = ""
    """What it waits for."""
    rate: float = 0.0
    """Tokens a second so far."""
    stream: Stream | None = None

    @property
    def ended(self) -> bool:
        return self.version.outcome is not Outcome.WRITING


class AnswerContest(Struct):
    """One question, with an answer of each contestant, in the order in which they are shown."""

    question: str
    lanes: list[ContestLane] = field(default_factory=list)
    in_turn: bool = False
    voted: bool = False

    @property
    def ended(self) -> bool:
        return all(lane.ended for lane in self.lanes)


def start_contest(question: str, contestants: Iterable[Contestant], *, in_turn: bool) -> AnswerContest:
    lanes = [ContestLane(contestant, AnswerVersion(make_id())) for contestant in contestants]
    return AnswerContest(question, lanes, in_turn)


def explain_no_room(contestants: Sequence[Contestant], snapshot: Snapshot | None) -> str:
    """Why the models cannot be in memory at once, by what they are likely to take; empty where they can."""
    if snapshot is None or snapshot.pool is None:
        return ""
    loaded = {model.name: model for model in snapshot.models}
    sizes = {each.model: _guess_bytes(each, loaded.get(each.model)) for each in contestants}
    whole, limit = sum(sizes.values()), snapshot.pool.limit
    if len(sizes) < 2 or whole <= limit:
        return ""
    return (
        f"Together they take about {format_size(whole)} of the {format_size(limit)} for models, so they answer one "
        "after another."
    )


def _guess_bytes(contestant: Contestant, model: ModelSnapshot | None) -> int:
    if model is not None:
        return model.resident or model.weight_bytes
    return round(contestant.size * BESIDE_FACTOR)


class ContestRunner:
    """Has all lanes of a contest answered. Belongs to the event loop."""

    def __init__(self, workbench: Workbench, request: Callable[[str], Generation]) -> None:
        """`request` makes what a model is asked, its settings still open."""
        self._workbench = workbench
        self._request = request
        self._preparing: ContestLane | None = None
        """The one whose model is being loaded."""

    async def run(self, contest: AnswerContest) -> None:
        """Until each answer has come to its end, whichever. Models that are loaded go first where they answer in
        turn."""
        if contest.in_turn:
            loaded = self._workbench.models.loaded_names()
            for lane in sorted(contest.lanes, key=lambda lane: lane.contestant.model not in loaded):
                await self._answer(lane, await self._prepare(lane))
            return
        # One after another: each load makes room for itself.
        names = [await self._prepare(lane) for lane in contest.lanes]
        await asyncio.gather(*(self._answer(lane, name) for lane, name in zip(contest.lanes, names, strict=True)))

    async def _prepare(self, lane: ContestLane) -> str:
        """Have its model loaded; the name that it is served by, or nothing where that failed."""
        if lane.ended:
            return ""
        lane.note, self._preparing = "loading the model", lane
        try:
            return await self._workbench.models.load(lane.contestant.model)
        except BenchtopError as error:
            _fail(lane, error)
            return ""
        finally:
            lane.note, self._preparing = "ready; waits for the others", None

    async def _answer(self, lane: ContestLane, served: str) -> None:
        if not served or lane.ended:
            return
        try:
            await self._gather(lane, served)
        except Cancelled:
            lane.version.outcome = Outcome.STOPPED
        except BenchtopError as error:
            _fail(lane, error)
        finally:
            lane.stream = None
            if not lane.ended:
                lane.version.outcome = Outcome.STOPPED

    async def _gather(self, lane: ContestLane, served: str) -> None:
        version, settings = lane.version, lane.contestant.settings
        version.writer = describe_writer(served, self._workbench.snapshot(), settings)
        lane.note = "waiting for a free slot"
        lane.stream = stream = await self._workbench.requests.submit(settings.apply(self._request(served)))
        await stream.admitted()
        lane.note = "reading the question"
        async for batch in stream:
            for event in batch:
                if isinstance(event, Failed):
                    raise event.error
                version.take(event)
        version.outcome = Outcome.DONE

    def count(self, contest: AnswerContest) -> None:
        """How fast each answer is written now, and how far the model is that is being loaded."""
        models = self._workbench.snapshot().models
        rows = {row.id: row for model in models for row in model.requests}
        doing = next((model.detail for model in models if model.state is ModelState.LOADING and model.detail), "")
        if self._preparing is not None and doing:
            self._preparing.note = f"loading: {doing}"
        for lane in contest.lanes:
            row = rows.get(lane.stream.request_id) if lane.stream is not None else None
            if row is not None:
                lane.rate, lane.version.tokens_so_far = row.rate, row.prompt_tokens + row.completion_tokens


def stop_contest(contest: AnswerContest) -> None:
    """End all answers; what was written stays."""
    for lane in contest.lanes:
        if lane.stream is not None:
            lane.stream.cancel()
        elif not lane.ended:
            lane.version.outcome = Outcome.STOPPED


def _fail(lane: ContestLane, error: BenchtopError) -> None:
    lane.version.outcome, lane.version.error = Outcome.FAILED, str(error)
