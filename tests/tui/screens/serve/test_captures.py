"""Captured requests on the serve screen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from core.capture.ring import CaptureRing
from core.settings.capture import CaptureSettings
from tests.fakes.captured import exchange_of
from tests.fakes.support import folders_in
from tests.tui.conftest import quiet, until
from tests.tui.still import GUIDE, StillWorkbench
from tui.app import BenchtopApp
from tui.screens.serve.captures import CapturesScreen

HOSTILE = "[bold]\x1b[31m$error"


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[CaptureRing]:
    made = CaptureRing(folders_in(tmp_path), CaptureSettings(requests=10))
    for name, text in (("one", "first"), ("two", f"second\n{HOSTILE}")):
        body = {"model": "guide", "messages": [{"role": "user", "content": text}]}
        reply = json.dumps({"choices": [{"message": {"content": f"said {text}"}}]}).encode()
        made.add(exchange_of(name, body, reply=reply, began=time.time()))
    made.list_lines()
    yield made
    made.close()


async def open_captures(pilot: Pilot[None], app: BenchtopApp) -> Callable[[], str]:
    def text() -> str:
        return "\n".join(strip.text for strip in app.screen._compositor.render_strips())

    await until(pilot, lambda: app.desk.ready)
    await pilot.press("f3", "i")
    await until(pilot, lambda: isinstance(app.screen, CapturesScreen))
    return text


async def test_the_newest_is_shown_with_its_answer_as_plain_text(ring: CaptureRing) -> None:
    app = quiet(StillWorkbench((GUIDE,), captures=ring))
    async with app.run_test(size=(120, 40)) as pilot:
        text = await open_captures(pilot, app)
        await until(pilot, lambda: "said second" in text())
        assert "[bold]" in text()
        assert "\x1b" not in text()
        await pilot.press("down")
        await until(pilot, lambda: "said first" in text())
        await pilot.press("c")
        await until(pilot, lambda: app.clipboard.startswith("curl http://"))
        assert "first" in app.clipboard
        await pilot.press("escape")
        assert not isinstance(app.screen, CapturesScreen)


async def test_two_are_compared_by_marking_one(ring: CaptureRing) -> None:
    app = quiet(StillWorkbench((GUIDE,), captures=ring))
    async with app.run_test(size=(80, 24)) as pilot:
        text = await open_captures(pilot, app)
        await until(pilot, lambda: "2" in text())
        await pilot.press("space", "down")
        await until(pilot, lambda: "+messages[0].content: first" in text())
        await pilot.press("up", "space")
        await until(pilot, lambda: "What differs" not in text())


async def test_where_nothing_is_kept_it_says_how_to_keep_some(tmp_path: Path) -> None:
    app = quiet(StillWorkbench((GUIDE,), captures=CaptureRing(folders_in(tmp_path), CaptureSettings())))
    async with app.run_test(size=(80, 24)) as pilot:
        text = await open_captures(pilot, app)
        await until(pilot, lambda: "--capture 100" in text())
        await pilot.press("c", "space", "r")
        await until(pilot, lambda: "--capture 100" in text())


async def test_a_file_that_cannot_be_read_is_told(ring: CaptureRing) -> None:
    ring.close()
    for path in ring.path.parent.iterdir():
        path.unlink()
    ring.path.write_bytes(b"nonsense" * 1000)
    app = quiet(StillWorkbench((GUIDE,), captures=ring))
    async with app.run_test(size=(80, 24)) as pilot:
        text = await open_captures(pilot, app)
        await until(pilot, lambda: "cannot be read" in text())
