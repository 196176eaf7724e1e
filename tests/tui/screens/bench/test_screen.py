"""Engines side by side on the bench screen, over a suite that follows a script."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Button, Input

from core.bench.results import BenchRow, BenchRun, Setting
from core.bench.suite import CaseDone, CaseStarted, SuitePlan
from core.contract.options import KvType
from core.conversations.tree import Outcome
from core.engines.registry import Engines
from core.errors import EngineFailed
from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in
from tests.tui.conftest import chat_of, finished, notices, quiet, shown, until
from tests.tui.still import GUIDE, StillWorkbench
from tui.app import BenchtopApp
from tui.dialogs.confirm import Confirm
from tui.screens.bench.engines_pane import Contest
from tui.screens.bench.engines_table import Course, Lanes
from tui.screens.bench.run import shorten_names
from tui.screens.bench.screen import BenchScreen
from tui.screens.chat.composer import Composer
from tui.widgets.plot import Plot

WIDE = (120, 40)


async def enter(pilot: Pilot[None], app: BenchtopApp) -> None:
    await until(pilot, lambda: app.desk.ready)
    await pilot.press("f2")
    await until(pilot, lambda: isinstance(app.screen, BenchScreen))
    await pilot.press("e")
    await until(pilot, lambda: app.screen.query_one(Contest).display)


def rows(app: BenchtopApp) -> list[list[str]]:
    table = app.screen.query_one(Lanes)
    return [[str(cell).strip() for cell in table.get_row_at(row)] for row in range(table.row_count)]


def written(folder: Path) -> dict[str, str]:
    """Name to content."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def label(app: BenchtopApp) -> str:
    return str(app.screen.query_one("#suite-start", Button).label)


async def test_before_a_run_it_says_what_to_do_and_which_engines_run_here() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await until(pilot, lambda: "mlx-lm is not installed." in shown(app, "#runnable"))
        assert "Press s" in str(app.screen.query_one(Course).render())
        await pilot.press("w")
        assert notices(app) == ["There is nothing to export yet; press s to measure."]


async def test_every_engine_gets_a_row_with_its_figures() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: shown(app, "#suite-standing").startswith("Fastest: mlx, 2 threads, 88.1 tok/s"))
        assert rows(app) == [
            ["llamacpp", "2", "812", "76.3", "━━━━─  87%", "315", "212", "8%", "0.95x", "done"],
            ["✓ mlx", "2", "640", "88.1", "━━━━━ 100%", "315", "212", "8%", "1.10x", "fastest"],
            ["✗ mnn", "2", "500", "", "", "", "", "", "", "failed"],
            ["onnxruntime", "2", "455", "31.9", "━━───  36%", "315", "212", "8%", "0.40x", "done"],
        ]
        assert shown(app, "#reasons") == "✗ mnn: crashed with SIGSEGV"
        said = "mlx, guessing ahead while it copies 176 tok/s (2.0x); by position 98%, 91% came true."
        assert shown(app, "#guesses") == said
        assert still.suites == [(["guide"], SuitePlan())]
        assert label(app) == "Start"


async def test_the_fields_make_the_plan() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        await enter(pilot, app)
        fields = {"rounds": "2", "decoded": "8", "threads": "1, 2", "batch": "64", "kv": "f16,q8_0", "depth": ""}
        for name, value in fields.items():
            app.screen.query_one(f"#suite-{name}", Input).value = value
        await pilot.press("s")
        await until(pilot, lambda: "Fastest" in shown(app, "#suite-standing"))
        wanted = SuitePlan(rounds=2, decoded=8, threads=(1, 2), batches=(64,), kv_types=(KvType.F16, KvType.Q8_0))
        assert still.suites == [(["guide"], wanted)]
        assert [row[0] for row in rows(app)][:2] == ["llamacpp 1t", "llamacpp 2t"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("rounds", "0", "from 1 to 1,000"), ("threads", "two", "'threads=two'"), ("kv", "q9", "'kv=q9'")],
)
async def test_a_wrong_value_is_told_at_its_field(field: str, value: str, said: str) -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        await enter(pilot, app)
        wrong = app.screen.query_one(f"#suite-{field}", Input)
        before, wrong.value = wrong.value, value
        await pilot.press("s")
        await pilot.pause()
        assert said in shown(app, "#suite-wrong")
        assert app.focused is wrong
        assert still.suites == []
        wrong.value = before
        await pilot.press("enter")
        await until(pilot, lambda: "Fastest" in shown(app, "#suite-standing"))
        assert not app.screen.query_one("#suite-wrong").display


async def test_a_run_is_stopped_at_once_and_what_was_measured_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = quiet(StillWorkbench(hold_suite="mlx"))
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: len(rows(app)) == 2 and rows(app)[1][-1] == "1/5")
        assert shown(app, "#suite-standing").startswith("2 of 4 · mlx · 2 threads · batch 512")
        assert label(app) == "Stop"
        await pilot.press("s")
        await until(pilot, lambda: shown(app, "#suite-standing") == "Stopped before its end.")
        assert [row[-1] for row in rows(app)] == ["fastest", "stopped"]
        assert notices(app) == []
        await pilot.press("w")
        kept = next(json.loads(text) for name, text in written(tmp_path).items() if name.endswith(".json"))
        assert [row["setting"]["engine"] for row in kept["rows"]] == ["llamacpp"]


async def test_results_are_written_in_three_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = quiet()
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: "Fastest" in shown(app, "#suite-standing"))
        await pilot.press("w")
        files = written(tmp_path)
        stem, *others = {name.partition(".")[0] for name in files}
        assert not others
        assert set(files) == {f"{stem}.csv", f"{stem}.json", f"{stem}.md"}
        assert notices(app) == [f"Exported to {tmp_path / stem}.json, .csv and .md"]
        table = csv.DictReader(files[f"{stem}.csv"].splitlines())
        assert [line["engine"] for line in table] == ["llamacpp", "mlx", "mnn", "onnxruntime"]
        assert "| guide | mlx |" in files[f"{stem}.md"]


async def test_rounds_of_the_model_as_it_serves_are_written_too(
    echo_app: BenchtopApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "written"
    folder.mkdir()
    monkeypatch.chdir(folder)
    app = echo_app
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, BenchScreen))
        await pilot.press("w")
        assert "There is nothing to export yet; press s to measure." in notices(app)
        for name, value in {"prompt": "8", "new": "4", "rounds": "2"}.items():
            app.screen.query_one(f"#{name}", Input).value = value
        await pilot.press("s")
        await until(pilot, lambda: "Median of 2 rounds" in shown(app, "#summary"))
        await pilot.press("w")
        files = written(folder)
        assert sorted(Path(name).suffix for name in files) == [".csv", ".json", ".md"]
        head, first, second = next(text for name, text in files.items() if name.endswith(".csv")).splitlines()
        assert head == "round,prefill tokens/s,decode tokens/s,first token s"
        assert (first[:2], second[:2]) == ("1,", "2,")


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (EngineFailed("No engine here runs it."), "No engine here runs it."),
        (
            FileNotFoundError(2, "No such file or directory", "it.gguf"),
            "A file it.gguf that measuring needs cannot be used: No such file or directory.",
        ),
    ],
)
async def test_a_run_that_fails_is_told_in_a_sentence(problem: Exception, sentence: str) -> None:
    app = quiet(StillWorkbench(suite_problem=problem))
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: notices(app))
        assert notices(app) == [sentence]
        assert shown(app, "#suite-standing") == "The run failed."
        assert shown(app, "#reasons") == f"✗ {sentence}"
        assert label(app) == "Start"


async def test_a_chat_goes_on_while_engines_are_measured() -> None:
    app = quiet(StillWorkbench(hold_suite="mlx"))
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: len(rows(app)) == 2)
        await pilot.press("f4", *"hello", "enter")
        await until(pilot, lambda: finished(chat_of(app)))
        await pilot.press("f2")
        await pilot.pause()
        assert app.screen.query_one(Contest).busy


async def test_only_one_measurement_runs_at_a_time() -> None:
    still = StillWorkbench((GUIDE,), hold_suite="llamacpp")
    app = quiet(still)
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: len(rows(app)) == 1)
        await pilot.press("e", "s")
        await pilot.pause()
        assert "Another measurement is under way" in notices(app)[0]
        await pilot.press("e", "s")
        await until(pilot, lambda: not app.screen.query_one(Contest).busy)


async def test_leaving_the_app_ends_the_run() -> None:
    app = quiet(StillWorkbench(hold_suite="llamacpp"))
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: len(rows(app)) == 1)
        stop = app.screen.query_one(Contest)._stop
    assert stop is not None
    assert stop.is_set()


async def test_a_click_on_its_name_shows_the_other_mode() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await enter(pilot, app)
        await pilot.click("#mode-served")
        assert app.screen.query_one("#served").display
        await pilot.click("#mode-contest")
        assert app.screen.query_one(Contest).display


async def test_it_runs_on_the_real_workbench(echo_app: BenchtopApp) -> None:
    async with echo_app.run_test() as pilot:
        await enter(pilot, echo_app)
        echo_app.screen.query_one("#suite-rounds", Input).value = "1"
        await pilot.press("s")
        await until(pilot, lambda: not echo_app.screen.query_one(Contest).busy)
        assert "Fastest: echo" in shown(echo_app, "#suite-standing")


async def test_an_engine_that_really_crashes_is_a_red_row_while_a_chat_goes_on_streaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    engines = Engines({"patient": "tests.fakes.crashing:Patient", "crashing": "tests.fakes.crashing:Crashing"})
    settings = Settings(server=ServerSettings(port=0))
    app = BenchtopApp(settings, "echo", lambda settings: Workbench(settings, folders_in(tmp_path), engines))
    app.animation_level = "none"
    text = "on and on " * 60
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f4")
        await pilot.pause()
        chat = chat_of(app)
        chat.query_one(Composer).text = text
        await pilot.press("enter")
        await until(pilot, lambda: bool(chat.chat.exchanges and chat.chat.exchanges[0].pieces))
        await enter(pilot, app)
        app.screen.query_one("#suite-rounds", Input).value = "1"
        exchange = chat.chat.exchanges[0]
        await pilot.press("s")
        await until(pilot, lambda: "crashed with SIGABRT" in shown(app, "#reasons"))
        assert [row[0] for row in rows(app)] == ["✓ patient", "✗ crashing"]
        assert exchange.outcome in (Outcome.WRITING, Outcome.DONE)
        await until(pilot, lambda: finished(chat))
        assert "".join(exchange.pieces).strip() == text.strip()


async def test_no_winner_is_named_within_the_noise_and_the_screen_says_what_to_do() -> None:
    app = quiet()
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app)
        contest = app.screen.query_one(Contest)
        setting = Setting("guide", "f", "llamacpp", "1", "gguf", 2, 512, KvType.F16, 0, 256, 48)
        for number, (engine, decode, spread) in enumerate((("llamacpp", 80.0, 0.57), ("mlx", 70.0, 0.02)), 1):
            row = BenchRow(replace(setting, engine=engine), 1.0, decode, spread, 0.1, 1, 5)
            contest._told.put(CaseStarted(number, 2, row.setting))
            contest._told.put(CaseDone(row))
        contest._model = "guide"
        contest.post_message(Contest.Ended(BenchRun(1.0, "m", "p", ()), []))
        await until(pilot, lambda: "No winner" in shown(app, "#suite-standing"))
        assert "57%" in shown(app, "#suite-standing")
        assert "More rounds" in shown(app, "#suite-standing")
        assert "fastest" not in {row[-1] for row in rows(app)}


@pytest.mark.parametrize("pane", ["served", "contest"])
async def test_escape_leaves_every_field(pane: str) -> None:
    app = quiet()
    async with app.run_test(size=WIDE) as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, BenchScreen))
        if pane == "contest":
            await pilot.press("e")
            await until(pilot, lambda: app.screen.query_one(Contest).display)
        fields = list(app.screen.query(f"#{pane} Input").results(Input))
        assert fields
        for field in fields:
            field.focus()
            await pilot.press("escape")
            await pilot.pause()
            assert isinstance(app.focused, Button), field.id


async def test_enter_loads_the_model_with_the_engine_under_the_cursor_and_keeps_it_on_wish() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: "Fastest: mlx" in shown(app, "#suite-standing"))
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.pause()
        assert shown(app, ".question-text") == "Load guide with mlx, 2 threads, batch 512, KV f16?"
        await pilot.press("y")
        await until(pilot, lambda: any("guide runs with mlx" in each for each in notices(app)))
        assert still.engine_asked == "mlx"
        assert still.said is not None
        assert (still.said[0].threads, still.said[0].batch) == (2, 512)
        assert not app.kept_settings
        await pilot.press("down", "enter")
        assert "mnn cannot be used: crashed with SIGSEGV" in notices(app)
        await pilot.press("up", "up", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.pause()
        await pilot.press("k")
        await until(pilot, lambda: still.kept_profiles == ["guide"])
        assert app.kept_settings["models", "guide", "engine"] == "llamacpp"


async def test_the_real_workbench_loads_the_model_anew_with_the_engine(echo_app: BenchtopApp) -> None:
    async with echo_app.run_test() as pilot:
        await enter(pilot, echo_app)
        echo_app.screen.query_one("#suite-rounds", Input).value = "1"
        await pilot.press("enter")
        await until(pilot, lambda: "Fastest: echo" in shown(echo_app, "#suite-standing"))
        await pilot.pause()
        await pilot.press("u")
        await until(pilot, lambda: isinstance(echo_app.screen, Confirm))
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: any("echo runs with echo" in each for each in notices(echo_app)))
        member = next(each for each in echo_app.desk.workbench.models.members if each.name == "echo")
        assert member.profile.engine == "echo"
        assert member.own.engine is None


async def test_h_shows_the_runs_of_the_setting_under_the_cursor() -> None:
    app = quiet()
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: "Fastest" in shown(app, "#suite-standing"))
        await pilot.press("h")
        await pilot.pause()
        past, panel = app.screen.query_one("#past", Plot), app.screen.query_one("#course-panel")
        assert past.values == [80.0, 72.0, 88.1]
        assert str(panel.border_title) == "decode tok/s of mlx, run by run"
        await pilot.press("up")
        await pilot.pause()
        assert past.values == [80.0, 72.0, 76.3]
        await pilot.press("h")
        await pilot.pause()
        assert str(panel.border_title) == "decode tok/s, round by round"


async def test_several_models_stand_in_one_table_and_are_not_compared_by_their_speed() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app)
        app.screen.query_one("#suite-models", Input).value = "tale-0.5b-q4, tale-1.5b-q4"
        await pilot.press("s")
        await until(pilot, lambda: "tok/s with" in shown(app, "#suite-standing"))
        assert [row[0] for row in rows(app)][:2] == ["llamacpp 0.5b", "mlx 0.5b"]
        assert "✗ mnn 1.5b" in [row[0] for row in rows(app)]
        assert shown(app, "#suite-standing") == "0.5b 88.1 tok/s with mlx, 1.5b 88.1 tok/s with mlx"
        assert "fastest" not in {row[-1] for row in rows(app)}


def test_names_are_short_by_what_all_of_them_say() -> None:
    assert shorten_names(["a-0.5b-q4", "a-1.5b-q4"]) == {"a-0.5b-q4": "0.5b", "a-1.5b-q4": "1.5b"}
    assert shorten_names(["m-q4_k_m", "m-q8_0"]) == {"m-q4_k_m": "q4_k_m", "m-q8_0": "q8_0"}
    assert shorten_names(["x-a", "x-y-a"]) == {"x-a": "x-a", "x-y-a": "y"}
    assert shorten_names(["guide", "guide"]) == {"guide": ""}
