"""What every screen looks like, kept as SVG; `pytest --snapshot-update` accepts a change that was meant."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, Static

from core.capture.ring import CaptureRing
from core.conversations.store import ConversationStore
from core.conversations.tree import AnswerWriter, ConversationTree, Outcome, make_id
from core.events import CallArguments, CallBegun, CallEnded, Event, FinishReason, ReasoningDelta, Timings, Usage
from core.models.downloads.status import DownloadItem, DownloadState
from core.requests import Caller, SamplingWish
from core.reuse import Cause, Departure, Reuse, Tier
from core.serving.content import RequestContent
from core.serving.report import RequestReport
from core.settings.capture import CaptureSettings
from core.snapshots import DeviceGauge, ModelKind, RequestRow, RequestState
from core.telemetry.origin import RequestOrigin
from tests.fakes.captured import exchange_of
from tests.fakes.support import asks, folders_in
from tests.tui.conftest import quiet, until
from tests.tui.still import ANSWER, ECHO, GUIDE, MACHINE, MEGA, StillWorkbench, build_still_server, stretch
from tests.tui.still_store import ENTRIES, QWEN
from themes import PALETTES
from tui.app import BenchtopApp
from tui.screens.chat.answer import AnswerView
from tui.screens.chat.conversation_list import ConversationRows
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.transcript import Turn
from tui.screens.models.downloads import Transfers
from tui.screens.models.screen import ModelsScreen
from tui.screens.models.starters import StartersCard
from tui.widgets.plot import Trend
from tui.widgets.row_list import RowList

Compare = Callable[..., bool]
Step = Callable[[Pilot[None]], Awaitable[None]]
CARD = DeviceGauge("CUDA0", "a card", "CUDA", 24_000 * MEGA, 9_400 * MEGA, load=37.0)
SIZES = [(80, 24), (120, 40)]


def app_of(pilot: Pilot[None]) -> BenchtopApp:
    assert isinstance(pilot.app, BenchtopApp)
    return pilot.app


async def opened(pilot: Pilot[None]) -> None:
    app = app_of(pilot)
    await until(pilot, lambda: app.desk.ready)
    app.pulse()
    await pilot.pause()


async def answered(pilot: Pilot[None]) -> None:
    await opened(pilot)
    await pilot.press(*"What is a KV cache?", "enter")
    screen = app_of(pilot).screen
    assert isinstance(screen, ChatScreen)
    await until(pilot, lambda: screen._writing is None and screen.query_one(AnswerView).settled)


async def on_settings(pilot: Pilot[None]) -> None:
    await opened(pilot)
    await pilot.press("alt+s", *"Be brief.", "tab", *"0.2", "tab", *"7")
    await pilot.pause()


async def on_model_list(pilot: Pilot[None]) -> None:
    await opened(pilot)
    await pilot.press("alt+m")
    app = app_of(pilot)
    await until(pilot, lambda: len(app.screen.query_one("#choices", RowList).rows) == 3)
    await pilot.pause(0.3)


async def on_compare(pilot: Pilot[None]) -> None:
    await opened(pilot)
    still = cast("Any", app_of(pilot).desk.workbench)
    await pilot.press("alt+c", "alt+a")
    app = app_of(pilot)
    await until(pilot, lambda: len(app.screen.query("#choices")) and app.screen.query_one("#choices", RowList).rows)
    await pilot.press(*"echo", "enter")
    await until(pilot, lambda: len(app.screen.query(".lane")) == 2)
    still.answers = {"guide": "It keeps the **keys** of old tokens.", "echo": "It keeps the *values* of all tokens."}
    await pilot.press(*"What is a KV cache?", "enter")
    await until(pilot, lambda: "enter votes" in str(app.screen.query_one("#compare-note", Static).render()))
    await pilot.pause(0.3)


async def on_models(pilot: Pilot[None]) -> None:
    await opened(pilot)
    await pilot.press("f1")
    app = app_of(pilot)
    await until(pilot, lambda: app.current_mode == "models" and len(models_of(pilot).table.rows) == 7)


async def on_a_model_here(pilot: Pilot[None]) -> None:
    await on_models(pilot)
    await pilot.press("down", "down")
    await until(pilot, lambda: models_of(pilot).details.leaf.verdicts)


async def on_hub(pilot: Pilot[None]) -> None:
    await on_models(pilot)
    await pilot.press("slash", *"qwen", "enter", "s", "s", "s")
    await until(pilot, lambda: len(models_of(pilot).table.rows) == 4)


async def on_quants(pilot: Pilot[None]) -> None:
    await on_hub(pilot)
    await pilot.press("enter")
    details = models_of(pilot).details
    await until(pilot, lambda: details.leaf.verdicts and details.quants.has_focus)


async def on_downloads(pilot: Pilot[None]) -> None:
    await on_models(pilot)
    store = cast("Any", app_of(pilot).desk.workbench).store
    store.downloads.rows = [
        DownloadItem("1", f"{QWEN}:Q4_K_M", DownloadState.RUNNING, 2_497 * MEGA, 1_523 * MEGA, 41.0 * MEGA),
        DownloadItem("2", "owner/other-GGUF:Q8_0", DownloadState.PAUSED, 8_051 * MEGA, 4_100 * MEGA),
    ]
    app_of(pilot).pulse()
    await until(pilot, lambda: models_of(pilot).query_one(Transfers).display)


async def on_first_models(pilot: Pilot[None]) -> None:
    """Of somebody who has a card and no model yet."""
    still = cast("Any", app_of(pilot).desk.workbench)
    still.store.entries = ENTRIES[:2]
    still.machine = replace(MACHINE, devices=(CARD,))
    await opened(pilot)
    await pilot.press("f1")
    await until(pilot, lambda: bool(models_of(pilot).query(StartersCard)) and models_of(pilot)._scanned)
    app_of(pilot).pulse()
    await pilot.pause()


async def on_load_options(pilot: Pilot[None]) -> None:
    await on_a_model_here(pilot)
    await pilot.press("e", "3", "down", "down", "down")


def models_of(pilot: Pilot[None]) -> ModelsScreen:
    screen = app_of(pilot).screen
    assert isinstance(screen, ModelsScreen)
    return screen


async def on_bench(pilot: Pilot[None]) -> None:
    await opened(pilot)
    await pilot.press("f2")
    await pilot.pause()
    await pilot.press("s")
    app = app_of(pilot)
    await until(pilot, lambda: "Median" in str(app.screen.query_one("#summary").render()))


async def on_engines(pilot: Pilot[None]) -> None:
    await opened(pilot)
    await pilot.press("f2")
    await pilot.pause()
    await pilot.press("e")
    app = app_of(pilot)
    await until(pilot, lambda: "uv sync" in str(app.screen.query_one("#runnable").render()))


async def on_contest(pilot: Pilot[None]) -> None:
    await on_engines(pilot)
    await pilot.press("s")
    app = app_of(pilot)
    await until(pilot, lambda: "Fastest" in str(app.screen.query_one("#suite-standing").render()))


async def on_quality(pilot: Pilot[None]) -> None:
    await on_bench(pilot)
    await pilot.press("q", "s")
    screen = app_of(pilot).screen
    await until(pilot, lambda: "w writes files" in str(screen.query_one("#quality-standing").render()))


async def on_contest_under_way(pilot: Pilot[None]) -> None:
    await on_engines(pilot)
    app = app_of(pilot)
    cast("Any", app.desk.workbench).hold_suite = "onnxruntime"
    app.screen.query_one("#suite-threads", Input).value = "1,2"
    await pilot.press("s")
    await until(pilot, lambda: "7 of 8" in str(app.screen.query_one("#suite-standing").render()))


NOON = time.mktime((2026, 1, 2, 12, 0, 0, 0, 0, -1))
QUESTION = asks("How long is a KV cache kept?", "guide", sampling=SamplingWish(temperature=0.7), max_tokens=256)
ENDED = RequestReport(
    "req-5b0c9d11",
    "guide",
    ModelKind.CHAT,
    Caller("alice"),
    QUESTION,
    NOON,
    elapsed=3.2,
    waited=0.2,
    first=0.4,
    usage=Usage(prompt_tokens=420, cached_tokens=288, completion_tokens=97),
    timings=Timings(queued=0.2, prefill=0.2, decode=2.8),
    reasons=(FinishReason.STOP,),
    origin=RequestOrigin("/v1/chat/completions"),
    content=RequestContent(QUESTION, pieces=stretch(ANSWER)),
    row=RequestRow(
        "req-5b0c9d11",
        "guide",
        RequestState.DECODE,
        420,
        288,
        420,
        97,
        key="alice",
        reuse=Reuse(
            288,
            Tier.MEMORY,
            Cause.HISTORY_EDITED,
            lost=120,
            departure=Departure(288, "How long is a", "How long was the"),
        ),
    ),
)
"""A request that was answered."""


async def on_serve(pilot: Pilot[None]) -> None:
    await opened(pilot)
    app = app_of(pilot)
    app.desk.workbench.recent.note_end(ENDED)
    app.desk.server = build_still_server()
    await pilot.press("f3")
    await pilot.pause()
    past: dict[str, list[float]] = {"#decode": [0, 20, 38, 52, 70, 76.3], "#prefill": [900, 0, 0, 620, 0, 842]}
    for name, values in past.items():
        trend = app.screen.query_one(name, Trend)
        trend.values.clear()
        for value in values:
            trend.push(value)
    app.log_tail.lines.extend(
        ["12:00:01 info    model loaded model=guide", "12:00:04 info    server started port=8080"]
    )
    app.log_tail.version += 1
    cast("Any", app.screen)._draw_log()
    await pilot.pause()


async def on_request(pilot: Pilot[None]) -> None:
    await on_serve(pilot)
    app_of(pilot).pulse()
    await pilot.press("end", "enter")
    screen = app_of(pilot).screen
    await until(pilot, lambda: "KV cache" in str(screen.query_one("#said", Static).render()))


async def on_address(pilot: Pilot[None]) -> None:
    await on_serve(pilot)
    app = app_of(pilot)
    app.config_file = Path("/home/me/.config/benchtop/config.toml")
    await pilot.press("e")
    app.screen.query_one("#host", Input).value = "0.0.0.0"
    await pilot.pause()


async def on_help(pilot: Pilot[None]) -> None:
    await opened(pilot)
    await pilot.press("f5")
    await pilot.pause()


async def on_captured(pilot: Pilot[None]) -> None:
    await opened(pilot)
    app = app_of(pilot)
    with tempfile.TemporaryDirectory() as folder:
        ring = CaptureRing(folders_in(Path(folder)), CaptureSettings(requests=10))
        for number, text in enumerate(("You are brief.\nToday is Monday.", "You are brief.\nToday is Tuesday.")):
            body = {"model": "guide", "messages": [{"role": "system", "content": text}], "stream": False}
            reply = b'{"choices": [{"message": {"content": "Good morning."}}]}'
            ring.add(exchange_of(f"req-{number}", body, reply=reply, began=NOON + number, first=0.25))
        ring.list_lines()
        cast("Any", app.desk.workbench).captures = ring
        await pilot.press("f3", "i")
        await until(pilot, lambda: "Tuesday" in str(app.screen.query_one("#detail", Static).render()))
        await pilot.press("space", "down")
        await until(pilot, lambda: "+" in str(app.screen.query_one("#detail", Static).render()))
        ring.close()


TURN = """\
| quant | bytes | *good* for |
|:--|--:|:-:|
| Q4_K_M | 4.1 | `List<int>` |
| Q8_0 | 8.5 | all but <b>size</b> |

1. Take the **first**
   - where memory is short.
2. [Else](http://there) the second.

> Measure it.
"""


async def on_turn(pilot: Pilot[None]) -> None:
    await opened(pilot)
    app = app_of(pilot)
    still, screen = cast("Any", app.desk.workbench), app.screen
    assert isinstance(screen, ChatScreen)
    call: list[Event] = [CallBegun(0, 0, "c", "weigh"), CallArguments(0, 0, '{"quant": "Q4_K_M"}'), CallEnded(0, 0)]
    still.before, still.answer = [ReasoningDelta(0, "Both fit.\nOne is smaller."), *call], TURN
    await pilot.press(*"Which quant?", "enter")
    await until(pilot, lambda: screen._writing is None and screen.query_one(AnswerView).settled)
    await pilot.press("ctrl+r")
    await until(pilot, lambda: screen._writing is None and screen.query_one(AnswerView).settled)
    await pilot.press("alt+o")
    await pilot.pause()


def keep_conversations(folder: Path) -> ConversationStore:
    """Some, of which two have the words that are searched for."""
    store = ConversationStore(folder)
    for age, questions in ((90_000, ("A haiku on oaks",)), (7_300, ("Which quant should I take?", "And for 8 GB?")),
                           (50, ("What is a KV cache?",))):  # fmt: skip
        keeper = store.begin(ConversationTree(make_id()))
        for question in questions:
            answer = keeper.tree.ask(question, time.time() - age, AnswerWriter("guide")).answers[0]
            answer.pieces.append("Take **Q4_K_M**, which is small and all but as good; Q8_0 where there is memory.")
            answer.outcome = Outcome.DONE
        keeper.keep()
    store.flush()
    return store


async def on_conversations(pilot: Pilot[None]) -> None:
    app = app_of(pilot)
    with tempfile.TemporaryDirectory() as folder:
        store = keep_conversations(Path(folder))
        cast("Any", app.desk.workbench).conversations = store
        await opened(pilot)
        await until(pilot, lambda: len(app.screen.query(Turn)) == 1)
        await pilot.press("alt+l", *"quant")
        await until(pilot, lambda: len(app.screen.query_one(ConversationRows).rows) == 1)
        await until(pilot, lambda: "quant" in str(app.screen.query_one(".found", Static).render()))
        await pilot.pause()
        store.close()


SCREENS: dict[str, Step] = {
    "welcome": opened,
    "chat": answered,
    "chat-turn": on_turn,
    "chat-settings": on_settings,
    "chat-model-list": on_model_list,
    "compare": on_compare,
    "conversations": on_conversations,
    "models": on_models,
    "models-here": on_a_model_here,
    "models-first": on_first_models,
    "models-options": on_load_options,
    "models-hub": on_hub,
    "models-quants": on_quants,
    "models-downloads": on_downloads,
    "bench": on_bench,
    "bench-engines": on_engines,
    "bench-contest": on_contest,
    "bench-under-way": on_contest_under_way,
    "bench-quality": on_quality,
    "serve": on_serve,
    "request": on_request,
    "address": on_address,
    "captured": on_captured,
    "help": on_help,
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_looks_as_it_did(snap_compare: Compare, name: str, size: tuple[int, int]) -> None:
    app: App[None] = quiet(StillWorkbench((GUIDE, ECHO)))
    assert snap_compare(app, terminal_size=size, run_before=SCREENS[name])


async def on_jump(pilot: Pilot[None]) -> None:
    await on_serve(pilot)
    await pilot.press("ctrl+g")
    await pilot.pause()


async def on_themes(pilot: Pilot[None]) -> None:
    await on_serve(pilot)
    await pilot.press("ctrl+t", "down")
    await until(pilot, lambda: app_of(pilot).theme == "paper")


@pytest.mark.parametrize("step", [on_jump, on_themes], ids=["jump", "themes"])
def test_what_opens_everywhere_looks_as_it_did(snap_compare: Compare, step: Step) -> None:
    assert snap_compare(quiet(), terminal_size=(80, 24), run_before=step)


@pytest.mark.parametrize("theme", [*[*PALETTES][1:], "ansi-dark"])
def test_every_theme_looks_as_it_did(snap_compare: Compare, theme: str) -> None:
    assert snap_compare(quiet(theme=theme), terminal_size=(80, 24), run_before=on_serve)


def test_the_plain_ascii_drawing_looks_as_it_did(snap_compare: Compare) -> None:
    app = quiet()

    async def plain(pilot: Pilot[None]) -> None:
        app.action_toggle_ascii()
        await on_serve(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=plain)


def test_the_quants_in_plain_ascii_look_as_they_did(snap_compare: Compare) -> None:
    app = quiet(StillWorkbench((GUIDE, ECHO)))

    async def plain(pilot: Pilot[None]) -> None:
        app.action_toggle_ascii()
        await on_quants(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=plain)


def test_engines_side_by_side_in_plain_ascii_look_as_they_did(snap_compare: Compare) -> None:
    app = quiet()

    async def plain(pilot: Pilot[None]) -> None:
        app.action_toggle_ascii()
        await on_contest(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=plain)
