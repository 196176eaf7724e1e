"""Answers to the same question side by side: who writes them is hidden until the vote, if that is wanted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, final

from msgspec import Struct
from msgspec.structs import replace
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import ModalScreen

from core.conversations.attachments import Attachment, MessageDraft, join_message
from core.conversations.differences import find_differences
from core.conversations.presets import PresetShelf
from core.conversations.tree import AnswerVersion, Outcome
from core.conversations.votes import MOST_CONTESTANTS, AnswerVote, VoteBox, count_votes
from core.requests import Generation
from core.snapshots import ModelState
from tui import format as fmt
from tui import glyphs
from tui.screens.chat.compare.contest import (
    LETTERS,
    AnswerContest,
    Contestant,
    ContestLane,
    ContestRunner,
    explain_no_room,
    start_contest,
    stop_contest,
)
from tui.screens.chat.compare.lane import LaneScroll, LaneView
from tui.screens.chat.composer import Composer
from tui.screens.chat.message_field import CountTokens, MessageField
from tui.screens.chat.model_picker import ModelChoice, ModelPicker
from tui.screens.chat.settings_dialog import ChatSettingsDialog, ModelDefaults
from tui.session import Desk
from tui.widgets.key_line import KeyLine
from tui.widgets.plain import Plain

TICK_SECONDS: Final = 0.1
COUNT_TICKS: Final = 5
"""Ticks from one look at the speeds to the next."""
LEAST_LANE_CELLS: Final = 36
"""Columns of one answer; where there is no room for all, some are in sight, and keys bring the others."""

AskModel = Callable[[str, str], Generation]
"""What a model is asked: the question as it sees it, and its name; the conversation so far is in it."""
TakeAnswers = Callable[[str, tuple[Attachment, ...], list[AnswerVersion]], Awaitable[None]]
"""The question, and its answers with the one that is gone on with last."""


class Unfinished(Struct, frozen=True):
    """What a comparison has that is not in the conversation."""

    draft: MessageDraft
    """What was written and not asked."""
    question: str = ""
    attachments: tuple[Attachment, ...] = ()
    answers: tuple[AnswerVersion, ...] = ()


@final
class CompareScreen(ModalScreen[None]):
    """Letters go to the question; what there is to do has keys with alt."""

    BINDINGS = [
        Binding("escape", "stop", "close", key_display="esc"),
        Binding("ctrl+c", "copy_or_stop", show=False),
        Binding("enter", "vote", "vote", key_display="enter"),
        Binding("alt+n", "vote_for_none", "none"),
        Binding("alt+k", "take", "go on"),
        Binding("alt+a", "add", "add"),
        Binding("alt+x", "drop", "drop"),
        Binding("alt+h", "blind", "hide names"),
        Binding("alt+o", "in_turn", "in turn"),
    ]  # fmt: skip
    AUTO_FOCUS = "#composer"

    def __init__(
        self,
        desk: Desk,
        contestants: tuple[Contestant, ...],
        *,
        ask: AskModel,
        take: TakeAnswers,
        count: CountTokens,
        shelf: PresetShelf,
        votes: VoteBox,
        remember: Callable[[str], None],
        shuffle: Callable[[list[Contestant]], None] = random.SystemRandom().shuffle,
    ) -> None:
        """`remember` is told what was asked, and what was written and not asked when this is closed."""
        super().__init__()
        self._desk = desk
        self.contestants = list(contestants)
        self._ask = ask
        self._take = take
        self._count = count
        self._shelf = shelf
        self._votes = votes
        self._remember = remember
        self._shuffle = shuffle
        self.contest: AnswerContest | None = None
        self._attachments: tuple[Attachment, ...] = ()
        self.blind = False
        self._in_turn = False
        """That is wanted, wherever there is room for all at once."""
        self._first = 0
        """The first lane in sight."""
        self._winner: int | None = None
        self._ticks = 0
        self._runner: ContestRunner | None = None

    def compose(self) -> ComposeResult:
        yield Plain(id="compare-head")
        yield Horizontal(id="lanes-row")
        yield Plain(id="compare-note")
        yield MessageField(self._count, Path.cwd())
        yield KeyLine()

    def on_mount(self) -> None:
        self.set_interval(TICK_SECONDS, self._tick)
        self.call_later(self._arrange)

    def on_unmount(self) -> None:
        if self.contest is not None:
            stop_contest(self.contest)

    def on_resize(self) -> None:
        self._show_lanes()

    # Who answers.

    @property
    def running(self) -> bool:
        """Whether answers are being written."""
        return self.contest is not None and not self.contest.ended

    @property
    def _hidden(self) -> bool:
        return self.blind and self.contest is not None and not self.contest.voted

    @property
    def _lanes(self) -> list[LaneView]:
        return [*self.query(LaneView)]

    async def _arrange(self) -> None:
        """A lane for each contestant."""
        row = self.query_one("#lanes-row", Horizontal)
        await self.query(LaneView).remove()
        await row.mount(*(LaneView(number) for number in range(len(self._order))))
        for view, lane in zip(self._lanes, self.contest.lanes if self.contest is not None else (), strict=False):
            view.lane = lane
        self._show_lanes()

    @property
    def _order(self) -> list[Contestant]:
        """The contestants as they stand there: those of the contest, once there is one."""
        return [lane.contestant for lane in self.contest.lanes] if self.contest is not None else self.contestants

    def _show_lanes(self) -> None:
        """Those that there is room for."""
        lanes = self._lanes
        room = max(1, self.size.width // LEAST_LANE_CELLS)
        self._first = max(0, min(self._first, len(lanes) - room))
        for number, view in enumerate(lanes):
            view.display = self._first <= number < self._first + room
        self._draw_head()

    def _draw_head(self) -> None:
        marks = glyphs.find_glyphs(self)
        order = self._order
        names = [f"{LETTERS[at]} {each.describe(marks.dot)}" for at, each in enumerate(order)]
        hidden = self._hidden
        for view, contestant in zip(self._lanes, order, strict=False):
            won = marks.yes if view.number == self._winner else ""
            view.head(f"{LETTERS[view.number]}  {contestant.describe(marks.dot)} {won}".rstrip(), hidden=hidden)
            view.set_class(view.number == self._winner, "-won")
        seen = [view.number for view in self._lanes if view.display]
        parts = ["the same question to several"]
        if self.blind:
            parts.append("blind: names come with the vote")
        if self._in_turn:
            parts.append("one at a time")
        if len(seen) < len(order):
            shown = " ".join(f"[{LETTERS[at]}]" if at in seen else LETTERS[at] for at in range(len(order)))
            parts.append(shown)
        self.query_one("#compare-head", Plain).update(Content.styled(f" {marks.dot} ".join(parts), "$quiet"))
        if not names[1:]:
            self._tell("alt+a adds a model, or the same one with other settings; then ask.")
        elif self.contest is None:
            self._tell(explain_no_room(order, self._desk.snapshot()) or "Ask something; all of them answer it.")

    def _tell(self, words: str) -> None:
        self.query_one("#compare-note", Plain).update(words)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        contest = self.contest
        ended = contest is not None and contest.ended
        match action:
            case "vote" | "vote_for_none":
                return contest is not None and ended and not contest.voted
            case "take":
                return ended
            case "add":
                return not self.running and len(self.contestants) < MOST_CONTESTANTS
            case "drop":
                return not self.running and len(self.contestants) > 1
            case "blind" | "in_turn":
                return not self.running
        return True

    def action_add(self) -> None:
        """One more model, or the same with other settings."""
        snapshot = self._desk.snapshot()
        models = tuple(each for each in snapshot.models if each.state is ModelState.READY) if snapshot else ()
        self.app.push_screen(ModelPicker(self._desk, models, "compare with", self._add))

    def _add(self, choice: ModelChoice) -> None:
        first = self.contestants[0]
        model, label = choice.served or choice.name, choice.label.rsplit("/", 1)[-1]
        added = Contestant(model, label, first.settings, choice.size)
        # Before it is loaded it may go by its path.
        if any(each.label == label for each in self.contestants):
            dialog = ChatSettingsDialog(
                first.settings,
                ModelDefaults(),
                self._shelf,
                lambda settings: self._join(replace(added, settings=settings)),
            )
            self.app.push_screen(dialog)
        else:
            self._join(added)

    def _join(self, contestant: Contestant) -> None:
        dot = glyphs.find_glyphs(self).dot
        if any(each.describe(dot) == contestant.describe(dot) for each in self.contestants):
            self.notify("This one is there already; give it other settings.", severity="warning")
            return
        self.contestants.append(contestant)
        self._begin_anew()

    def action_drop(self) -> None:
        """The last one that was added."""
        self.contestants.pop()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.contest, self._winner = None, None
        self.refresh_bindings()
        self.call_later(self._arrange)

    def action_blind(self) -> None:
        self.blind = not self.blind
        self._draw_head()

    def action_in_turn(self) -> None:
        """Speeds are those of each alone then."""
        self._in_turn = not self._in_turn
        self._draw_head()

    def action_go(self, by: int) -> None:
        """To the answer beside the one that has the focus, which may be out of sight."""
        lanes = self._lanes
        at = next((view.number for view in lanes if view.has_focus_within), None)
        if at is None or not 0 <= at + by < len(lanes):
            return
        room = sum(view.display for view in lanes)
        self._first = max(at + by - room + 1, min(self._first, at + by))
        self._show_lanes()
        lanes[at + by].query_one(LaneScroll).focus()

    # Asking.

    @on(MessageField.Sent)
    async def send(self, event: MessageField.Sent) -> None:
        if self.running:
            self.notify("Answers are still being written; escape stops them.", severity="warning")
            return
        if len(self.contestants) < 2:
            self.notify("There is nothing to compare with; alt+a adds a model.", severity="warning")
            return
        self._remember(event.text)
        await self.query_one(MessageField).clear()
        contestants = [*self.contestants]
        if self.blind:
            self._shuffle(contestants)
        no_room = explain_no_room(contestants, self._desk.snapshot())
        self._attachments, self._winner = event.attachments, None
        self.contest = start_contest(event.text, contestants, in_turn=self._in_turn or bool(no_room))
        await self._arrange()
        self._tell(no_room or ("They answer one at a time." if self._in_turn else ""))
        self.refresh_bindings()
        self.answer(self.contest)

    @work(group="contest", exclusive=True)
    async def answer(self, contest: AnswerContest) -> None:
        """Have all answers written, then mark where they differ."""
        asked = join_message(contest.question, self._attachments)
        self._runner = ContestRunner(self._desk.workbench, lambda model: self._ask(asked, model))
        await self._runner.run(contest)
        texts = [lane.version.text for lane in contest.lanes]
        differences = await asyncio.to_thread(find_differences, texts)
        if contest is not self.contest:
            return
        self._tick()
        if sum(bool(text.strip()) for text in texts) > 1:
            for view, spans in zip(self._lanes, differences, strict=True):
                view.mark(spans)
        self._tell("Which is better? Left and right choose, enter votes, alt+n: none is; alt+k goes on with one.")
        if not self.query_one(Composer).text:
            self._lanes[self._first].query_one(LaneScroll).focus()
        self.refresh_bindings()

    def _tick(self) -> None:
        contest = self.contest
        if contest is None:
            return
        self._ticks += 1
        if self._runner is not None and not contest.ended and self._ticks % COUNT_TICKS == 0:
            self._runner.count(contest)
        for view in self._lanes:
            if view.display or view.lane is None or view.lane.ended:
                view.draw(hidden=self._hidden)

    def action_stop(self) -> None:
        if self.contest is not None and self.running:
            stop_contest(self.contest)
            self.refresh_bindings()
        else:
            self._remember(self.query_one(Composer).text)
            self.dismiss()

    def action_copy_or_stop(self) -> None:
        """As in the chat. Whoever copies does not want to leave."""
        if chosen := self.get_selected_text():
            self.app.copy_to_clipboard(chosen)
            self.notify(f"Copied {fmt.format_count(len(chosen))} characters.")
            self.clear_selection()
        elif self.running:
            self.action_stop()

    # What comes of it.

    def action_vote(self) -> None:
        """The answer that has the focus is the best."""
        at = next((view.number for view in self._lanes if view.has_focus_within), None)
        if at is not None:
            self._vote(at)

    def action_vote_for_none(self) -> None:
        self._vote(None)

    def _vote(self, number: int | None) -> None:
        contest = self.contest
        if contest is None or not contest.ended or contest.voted:
            return
        contest.voted, self._winner = True, number
        names = tuple(lane.contestant.describe("·") for lane in contest.lanes)
        vote = AnswerVote(names, names[number] if number is not None else "", self.blind, time.time())
        self._draw_head()
        for view in self._lanes:
            view.draw(hidden=False)
        self.refresh_bindings()
        self.keep_vote(vote)

    @work(group="votes", exclusive=True)
    async def keep_vote(self, vote: AnswerVote) -> None:
        """Keep a vote, and tell how the contestants have done so far."""
        kept = await asyncio.to_thread(self._votes.add, vote)
        votes = await asyncio.to_thread(self._votes.load)
        standings = count_votes(votes if kept else (*votes, vote), vote.contestants)
        told = ", ".join(
            f"{each.contestant} {each.won} won {each.lost} lost" + (f" {each.tied} even" if each.tied else "")
            for each in standings
        )
        self._tell(f"{told}{'' if kept else ' (this vote could not be kept)'}. alt+k goes on with an answer.")

    def action_take(self) -> None:
        """Go on with the answer that won, or with the one that has the focus; the others stay beside it."""
        contest = self.contest
        if contest is None or not contest.ended:
            return
        focused = next((view.number for view in self._lanes if view.has_focus_within), None)
        number = focused if focused is not None else self._winner
        if number is None:
            self.notify("Vote first, or put the focus on an answer (tab).", severity="warning")
            return
        chosen = contest.lanes[number].version
        if not chosen.says_something:
            self.notify("That answer says nothing.", severity="warning")
            return
        self.dismiss()
        self.app.call_later(self._take, contest.question, self._attachments, _put_last(chosen, contest))

    def leave_off(self) -> Unfinished:
        """The app is about to end: what nobody went on with yet, the answer that won last, or else that of the model in
        use."""
        contest, attachments = self.contest, self._attachments
        draft = self.query_one(MessageField).draft
        if contest is None:
            return Unfinished(draft)
        stop_contest(contest)
        for lane in contest.lanes:
            if not lane.ended:
                lane.version.outcome = Outcome.STOPPED
        lanes = contest.lanes
        chosen = lanes[self._winner] if self._winner is not None else _find_lane(contest, self.contestants[0])
        return Unfinished(draft, contest.question, attachments, tuple(_put_last(chosen.version, contest)))

    # Keys.

    def on_key(self, event: events.Key) -> None:
        """What is typed goes to the question, also after a click on an answer."""
        composer = self.query_one(Composer)
        if event.character is not None and not composer.has_focus and composer.takes(event):
            event.stop()
            event.prevent_default()
            composer.write(event.character)

    def on_paste(self, event: events.Paste) -> None:
        composer = self.query_one(Composer)
        if not composer.has_focus:
            event.stop()
            composer.paste(event.text)


def _put_last(chosen: AnswerVersion, contest: AnswerContest) -> list[AnswerVersion]:
    """The answers that say something, in the order in which a conversation takes them."""
    answers = [lane.version for lane in contest.lanes if lane.version.says_something]
    return sorted(answers, key=lambda answer: answer is chosen)


def _find_lane(contest: AnswerContest, contestant: Contestant) -> ContestLane:
    return next((lane for lane in contest.lanes if lane.contestant == contestant), contest.lanes[0])
