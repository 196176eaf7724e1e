"""Usage on the serve screen, as the account has it."""

from __future__ import annotations

from datetime import date

from core.requests import Caller
from tests.fakes.support import asks
from tests.tui.conftest import quiet, until
from tests.tui.still import StillWorkbench
from tui.app import BenchtopApp
from tui.screens.serve.usage import Period, UsageDialog


def drawn(app: BenchtopApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def test_requests_are_summed_up_by_model_and_by_key(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        for name in ("alice", "alice", ""):
            request = asks("hello", caller=Caller(name))
            await (await app.desk.workbench.requests.submit(request)).reply()
        await pilot.press("f3", "u")
        await until(pilot, lambda: isinstance(app.screen, UsageDialog) and "in all 3 requests" in drawn(app))
        assert "by model, today" in drawn(app)
        assert any("echo" in line and " 3 " in line for line in drawn(app).splitlines())
        await pilot.press("tab")
        await until(pilot, lambda: "by key, today" in drawn(app) and "alice" in drawn(app))
        assert any("alice" in line and " 2 " in line for line in drawn(app).splitlines())
        assert any("(none)" in line and " 1 " in line for line in drawn(app).splitlines())
        await pilot.press("p")
        await until(pilot, lambda: "the last 7 days" in drawn(app))


async def test_where_no_account_is_kept_that_is_said() -> None:
    app = quiet(StillWorkbench())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3", "u")
        await until(pilot, lambda: "No account is kept" in drawn(app))


def test_a_period_has_as_many_days_as_it_says() -> None:
    today = date(2026, 3, 4)
    assert Period.TODAY.begin(today) == today
    assert Period.WEEK.begin(today) == date(2026, 2, 26)
    assert Period.EVER.begin(today) is None
