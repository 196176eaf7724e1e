"""The models screen under a pilot: finding, judging, downloading, loading, deleting; over a store that stands still."""

from __future__ import annotations

import threading

from msgspec.structs import replace
from textual.widgets import Input, Static
from textual.widgets._toast import Toast

from core.errors import DownloadError, GatedRepository, HubUnreachable
from core.models.catalog import Task
from core.models.library.scan import LibraryEntry, Location
from core.settings.profile import Profile
from core.settings.schema import LibrarySettings
from core.snapshots import ModelState
from tests.tui.conftest import notices, quiet, shown, until
from tests.tui.screens.models.on_models import HALF, On, models
from tests.tui.still import ECHO, GUIDE, StillWorkbench
from tests.tui.still_store import ENTRIES, FOUND, QWEN, found, repository
from tui.screens.base import WorkbenchScreen
from tui.screens.models.downloads import Transfers
from tui.screens.models.rows import ListSection, Order
from tui.screens.models.screen import ModelsScreen
from tui.screens.models.search import SearchField
from tui.screens.models.table import ShelfTable
from tui.widgets.gauge import Gauge

# Finding.


async def test_what_is_here_comes_first_and_the_catalog_behind_it() -> None:
    async with models() as on:
        assert on.names[:5] == ["guide", "echo", "Qwen3-0.6B-Q8_0", "half-a-download", "qwen3-4b"]
        for words in ("ready", "on disk", "damaged", "catalog", "~fits", "~does not fit"):
            assert words in on.text()


async def test_typing_filters_at_once_and_the_hub_answers_later() -> None:
    async with models() as on:
        await on.press("slash", *"qwen")
        assert on.names[:2] == ["Qwen3-0.6B-Q8_0", "qwen3-4b"]
        await until(on.pilot, lambda: len(on.names) == 6)
        assert on.names[2:] == [each.id for each in FOUND]
        assert [words for words, _ in on.store.searches] == ["qwen"]


async def test_a_single_letter_is_not_asked_of_the_hub() -> None:
    async with models() as on:
        await on.press("slash", "q", "s", "backspace", "down")
        await on.pilot.pause(0.5)
        assert on.store.searches == []


async def test_an_older_answer_never_takes_the_place_of_a_newer_one() -> None:
    async with models() as on:
        gate = on.store.gates["old"] = threading.Event()
        on.store.found = lambda words: (found(f"owner/{words}", 1, 1, 1),)
        await on.press("slash", *"old")
        await until(on.pilot, lambda: on.store.searches)
        await on.press("backspace", "backspace", "backspace", *"new")
        await until(on.pilot, lambda: on.names == ["owner/new"])
        gate.set()
        await on.pilot.pause(0.2)
        assert on.names == ["owner/new"]


async def test_without_a_network_there_is_one_quiet_line() -> None:
    async with models() as on:
        on.store.problem = HubUnreachable("HF_HUB_OFFLINE is set, so the Hub is not asked; unset it to search.")
        await on.press("slash", *"qwen")
        await until(on.pilot, lambda: "HF_HUB_OFFLINE" in on.said("#hub-state"))
        assert notices(on.app) == []
        assert "Qwen3-0.6B-Q8_0" in on.names
        await on.press("enter", "s", "s", "s")
        await until(on.pilot, lambda: "HF_HUB_OFFLINE" in on.said("#no-models"))


async def test_what_the_hub_does_not_have_is_told_as_such() -> None:
    async with models() as on:
        on.store.found = lambda _: ()
        await on.press("slash", *"zzz", "enter", "s", "s", "s")
        await until(on.pilot, lambda: on.said("#no-models") == "The Hub has nothing called 'zzz'.")


async def test_escape_clears_the_search_and_then_leaves_it() -> None:
    async with models() as on:
        await on.press("slash", *"whis")
        assert on.names == ["whisper-small"]
        await on.press("escape")
        assert on.screen.query_one(SearchField).has_focus
        assert len(on.names) == 7
        await on.press("escape")
        assert on.table.has_focus


async def test_the_selection_stays_on_its_model_while_the_list_changes() -> None:
    async with models() as on:
        await on.select("llama-3.3-70b")
        await on.press("slash", *"llama")
        assert on.table.selected == "catalog:llama-3.3-70b"
        await on.press(*["backspace"] * 5)
        assert on.table.selected == "catalog:llama-3.3-70b"
        on.still.shown = (GUIDE,)
        on.store.entries = ENTRIES[1:]
        await on.beat()
        await until(on.pilot, lambda: len(on.names) == 7 and on.names[0] == "echo")
        assert on.table.selected == "catalog:llama-3.3-70b"


async def test_s_goes_round_the_sections_and_t_round_the_orders() -> None:
    async with models() as on:
        await on.press("s")
        assert on.screen.view.section is ListSection.HERE
        assert on.names == ["guide", "echo", "Qwen3-0.6B-Q8_0", "half-a-download"]
        await on.press("s")
        assert on.names == ["qwen3-4b", "llama-3.3-70b", "whisper-small"]
        await on.press("t", "t")
        assert on.screen.view.order is Order.SIZE
        assert on.names == ["whisper-small", "qwen3-4b", "llama-3.3-70b"]
        assert "by size" in on.said("#view")
        await on.press("s")
        assert "at least two letters" in on.said("#no-models")
        await on.press("s")
        assert len(on.names) == 7


async def test_filters_are_set_in_a_dialog_and_told_in_words() -> None:
    async with models() as on:
        await on.press("f", "right", "down", "right")
        assert on.screen.view.task is Task.CHAT
        assert on.screen.view.format == "gguf"
        await on.press("escape")
        assert on.said("#view").startswith("chat · gguf")
        assert "whisper-small" not in on.names
        await on.press("slash", *"qwen", "enter")
        await until(on.pilot, lambda: on.store.searches)
        words, filters = on.store.searches[0]
        assert (words, filters.task, filters.format) == ("qwen", "text-generation", "gguf")
        await on.press("f", "backspace", "f")
        assert on.said("#view").startswith("everything")


async def test_no_match_is_a_sentence() -> None:
    async with models() as on:
        await on.press("slash", *"zzz")
        assert "Nothing here is called 'zzz'" in on.said("#no-models")


async def test_models_of_servers_are_listed_and_one_that_is_away_says_so() -> None:
    still = StillWorkbench()
    server = LibraryEntry("http://127.0.0.1:9", ENTRIES[0].path, None, 0, False, "it does not answer", Location.SERVER)
    still.store.entries = (*ENTRIES, server)
    async with models(still) as on:
        await on.select("http://127.0.0.1:9")
        assert "no answer" in on.text()
        assert "It does not answer." in on.said("#facts")


async def test_the_models_of_the_settings_are_listed_under_their_names_and_loaded_by_them() -> None:
    still = StillWorkbench((replace(GUIDE, name="g1"),))
    app = quiet(still, model="g1")
    profiles = {
        "g1": Profile(source="guide"),
        "mine": Profile(source="Qwen3-0.6B-Q8_0"),
        "guide": Profile(),
        "lost": Profile(source="owner/lost:Q8_0"),
    }
    app.desk.settings = replace(app.settings, models=profiles)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen._configured)
        await pilot.pause()
        on = On(pilot, app, still)
        assert on.names[:5] == ["g1", "mine", "lost", "guide", "echo"]
        assert [item.where.value for item in on.table.rows[:4]] == ["settings", "settings", "settings", "built in"]
        assert "not here" in on.text()
        await on.select("mine")
        await on.press("enter")
        await until(pilot, lambda: still.loaded[-1] == "mine")
        await on.press("d")
        assert "take [models.mine] out there" in notices(app)[-1]
        await on.select("lost")
        assert "owner/lost:Q8_0" in on.said("#facts")
        await on.press("enter")
        assert "lost cannot be loaded: There is no model called 'owner/lost:Q8_0'" in notices(app)[-1]
        assert still.loaded[-1] == "mine"


# Judging.


async def test_a_model_here_shows_the_largest_context_and_what_it_takes() -> None:
    async with models() as on:
        await on.select("Qwen3-0.6B-Q8_0")
        await until(on.pilot, lambda: "at most" in on.said("#verdict"))
        assert "8,192 of 40,960" in on.said("#dial")
        for words in ("weights", "KV cache", "overhead", "free now"):
            assert words in on.said("#verdict")


async def test_the_slider_and_the_kv_type_judge_all_quants_anew_without_reading_more() -> None:
    async with models() as on:
        await on.quants_of("qwen3-4b")
        await until(on.pilot, lambda: on.store.headers_read == [f"{QWEN}:Q4_K_M"])
        before = [verdict.fit.verdict.value for verdict in on.details.leaf.verdicts if verdict]
        assert before == ["fits", "fits", "fits", "does not fit", "does not fit"]
        await on.press("end")
        await until(on.pilot, lambda: "does not fit" in on.text() and "40,960 of 40,960" in on.said("#dial"))
        await until(on.pilot, lambda: all(v and v.fit.verdict.value != "fits" for v in on.details.leaf.verdicts))
        await on.press("v", "v")
        assert "q8_0/q4_0" in on.said("#dial")
        await on.press("v")
        await until(on.pilot, lambda: on.details.verdict and on.details.verdict.fit.verdict.value == "fits")
        assert "q4_0" in on.said("#dial")
        await on.press("home", "right", "plus", "minus")
        assert "1,024 of 40,960" in on.said("#dial")
        assert on.store.headers_read == [f"{QWEN}:Q4_K_M"]


async def test_another_machine_is_asked_about_and_then_this_one_again() -> None:
    async with models() as on:
        await on.select("Qwen3-0.6B-Q8_0")
        await until(on.pilot, lambda: "at most" in on.said("#verdict"))
        await on.press("M")
        await on.press(*"rtx 3061 12GB", "enter")
        await on.until_shown("these names are like it")
        await on.press("escape", "M")
        await on.press(*"rtx 3060 12GB, 8GB", "enter")
        await until(on.pilot, lambda: "All 37 layers on rtx 3060" in on.said("#verdict"))
        assert "On another machine, with rtx 3060 of 12.0 GB, 8.0 GB of main memory" in on.said("#verdict")
        assert "tokens/s, by the bandwidth of the data sheet" in on.said("#verdict")
        await on.press("M")
        await until(on.pilot, lambda: on.details.verdict is not None and not on.details.machine)
        assert "rtx 3060" not in on.said("#verdict")


async def test_a_quant_the_cursor_stays_on_is_judged_by_its_own_header() -> None:
    async with models() as on:
        await on.quants_of("qwen3-4b")
        await on.press("down")
        await until(on.pilot, lambda: on.details.choice and on.details.choice.own)
        assert on.store.headers_read == [f"{QWEN}:Q4_K_M", f"{QWEN}:Q6_K"]


async def test_what_keeps_the_quants_from_being_listed_is_a_sentence_in_the_details() -> None:
    async with models() as on:
        await on.select("llama-3.3-70b")
        await on.press("enter")
        await until(on.pilot, lambda: "has no repository" in on.said("#verdict"))
        on.store.problem = GatedRepository("The owner wants to be asked first: accept the terms.")
        await on.select("whisper-small")
        await on.press("enter")
        await until(on.pilot, lambda: "accept the terms" in on.said("#verdict"))


async def test_nothing_is_asked_of_the_hub_while_the_cursor_only_passes() -> None:
    async with models() as on:
        for _ in on.names:
            await on.press("down")
        await on.pilot.pause(0.5)
        assert on.store.searches == []
        assert all(QWEN not in name for name in on.store.headers_read)


# Loading, pinning, deleting.


async def test_enter_loads_what_is_on_disk_and_p_pins_it() -> None:
    async with models() as on:
        await on.select("Qwen3-0.6B-Q8_0")
        await on.press("enter")
        await until(on.pilot, lambda: "Qwen3-0.6B-Q8_0" in on.still.loaded)
        await on.select("echo")
        await on.press("p")
        await on.beat()
        assert [model.pinned for model in on.still.shown] == [False, True]
        assert "pinned" in on.text()


async def test_a_model_is_loaded_with_the_context_and_type_that_were_set() -> None:
    async with models() as on:
        await on.select("Qwen3-0.6B-Q8_0")
        await until(on.pilot, lambda: on.details.leaf.dial is not None)
        await on.press("minus", "v")
        dial = on.details.leaf.dial
        assert dial is not None
        await on.press("enter")
        await until(on.pilot, lambda: on.still.wishes[-1] == (dial.context, dial.kv))
        assert f"with a context of {dial.context:,} tokens in q8_0" in on.said("#verdict")


async def test_a_model_that_loads_says_so_in_its_row() -> None:
    async with models() as on:
        on.still.shown = (GUIDE, replace(ECHO, state=ModelState.LOADING))
        await on.beat()
        assert "loading" in on.text()


async def test_deleting_asks_and_names_the_size() -> None:
    async with models() as on:
        await on.select("guide")
        await on.press("d")
        assert "u unloads it first" in notices(on.app)[0]
        await on.select("Qwen3-0.6B-Q8_0")
        await on.press("d")
        await on.until_shown("639 MB in 1 file")
        await on.press("escape", "d", "enter")
        assert on.store.deleted == []
        await on.press("d", "y")
        await until(on.pilot, lambda: "Qwen3-0.6B-Q8_0" not in on.names)
        assert on.store.deleted == ["Qwen3-0.6B-Q8_0"]


async def test_the_memory_line_says_what_is_used_and_what_is_free() -> None:
    async with models() as on:
        assert on.screen.query_one("#pool", Gauge).text == "models 3.9 MB of 9.6 GB, 9.4 GB free"


async def test_what_belongs_to_the_program_is_not_asked_about() -> None:
    async with models(StillWorkbench()) as on:
        await on.select("echo")
        await on.press("d")
        assert not on.app.screen.is_modal
        assert "belongs to the program" in notices(on.app)[0]


# Sizes and drawing.


async def test_at_80x24_long_messages_are_in_sight_and_the_details_can_be_scrolled() -> None:
    still = StillWorkbench()
    entry = still.store.entries[2]
    problem = "the file ends before its tensors do; " * 5 + "download it again."
    still.store.entries = (replace(entry, problem=problem, format=None), *still.store.entries[3:])
    async with models(still, size=(80, 24)) as on:
        await on.select(entry.name)
        await on.until_shown("download it again.")
        on.store.problem = GatedRepository("The owner wants to be asked first. " * 8 + "Accept the terms.")
        await on.select("qwen3-4b")
        await on.press("enter")
        await on.until_shown("Accept the terms.")
        on.store.problem = GatedRepository("The owner wants to be asked first. " * 30 + "Accept the terms.")
        await on.select("whisper-small")
        await on.press("enter")
        await until(on.pilot, lambda: "asked first" in on.text())
        assert "Accept the terms." not in on.text()
        for _ in range(4):
            await on.press("shift+down")
        await on.until_shown("Accept the terms.")
        await on.select("qwen3-4b")
        assert on.details.scroll_y == 0


async def test_many_quants_leave_room_for_what_is_said_of_them_on_a_low_terminal() -> None:
    still = StillWorkbench()
    still.store.repository = lambda repo, revision=None: replace(  # type: ignore[method-assign]
        repository(),
        gated=True,
        quants=tuple(replace(repository().quants[0], label=f"Q{number}") for number in range(40)),
    )
    async with models(still, size=(80, 20)) as on:
        await on.quants_of("qwen3-4b")
        for words in ("free now", "wants to be asked"):
            assert words in on.text()
        await on.press(*["pagedown"] * 20)
        assert "Q39" in on.text()


async def test_what_the_hub_counts_is_not_called_a_download() -> None:
    async with models() as on:
        await on.press("slash", *"qwen", "enter", "s", "s", "s")
        await until(on.pilot, lambda: len(on.names) == 4)
        assert "pulls" in on.text()
        assert "loads" not in on.text().replace("downloads", "")


async def test_at_80_columns_the_quants_take_the_place_of_the_list_and_escape_gives_it_back() -> None:
    async with models(size=(80, 24)) as on:
        await on.quants_of("qwen3-4b")
        assert not on.screen.query_one("#listed").display
        assert "Q4_K_M" in on.text()
        assert "free now" in on.text()
        await on.press("escape")
        assert on.screen.query_one("#listed").display
        assert on.app.focused is on.table


async def test_in_ascii_nothing_else_is_drawn() -> None:
    async with models() as on:
        on.app.action_toggle_ascii()
        on.store.downloads.rows = [HALF]
        await on.beat()
        await on.quants_of("qwen3-4b")
        assert on.text().isascii()


async def test_ten_thousand_rows_draw_only_what_is_in_sight() -> None:
    still = StillWorkbench()
    still.store.entries = tuple(replace(ENTRIES[2], name=f"model-{number:05}") for number in range(10_000))
    async with models(still) as on:
        drawn: list[str] = []
        cells = on.table._cells

        def counting(item: object) -> object:
            drawn.append("row")
            return cells(item)  # type: ignore[arg-type]

        on.table._cells = counting  # type: ignore[assignment]
        await on.press("end")
        assert on.table.at == len(on.table.rows) - 1 >= 10_000
        await on.press("slash", *"model-09999")
        assert on.names == ["model-09999"]
        assert len(drawn) < 5_000


async def test_j_and_k_go_down_and_up() -> None:
    async with models() as on:
        await on.press("j", "j", "k")
        assert on.table.at == 1
        on.store.downloads.rows = [HALF, replace(HALF, id="dl-2", name="a/b:Q8_0")]
        await on.beat()
        await on.press("w", "j")
        assert on.screen.query_one(Transfers).selected == on.store.downloads.rows[1]
        await on.press("k", "escape", "j")
        assert on.screen.query_one(Transfers).selected == on.store.downloads.rows[0]
        assert on.table.at == 2


async def test_what_is_told_in_passing_is_low_and_has_short_names() -> None:
    name = f"an-owner-with-a-rather-long-name/{'a-model-with-a-really-quite-long-name-' * 2}GGUF:Q4_K_M"
    app = quiet()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: app.desk.ready)
        room = app.screen
        assert isinstance(room, WorkbenchScreen)
        room.complain(DownloadError(f"{name} is being downloaded here; pause it before {name} is deleted."))
        await until(pilot, lambda: app.screen.query(Toast) and app.screen.query_one(Toast).region.height)
        assert app.screen.query_one(Toast).region.height == 2
        assert notices(app)[0].count("ng-name-GGUF:Q4_K_M") == 2


async def test_a_click_selects_a_row_and_a_second_one_acts() -> None:
    async with models() as on:
        await on.pilot.click(ShelfTable, offset=(5, 3))
        assert on.table.at == 2
        await on.pilot.click(ShelfTable, offset=(5, 3), times=2)
        await until(on.pilot, lambda: "Qwen3-0.6B-Q8_0" in on.still.loaded)


async def test_the_settings_servers_are_asked() -> None:
    still = StillWorkbench()
    app = quiet(still)
    still.store.servers = ("http://127.0.0.1:1",)
    app.desk.settings = replace(app.settings, library=LibrarySettings(servers=still.store.servers))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen.servers)
        assert "http://127.0.0.1:1" in str([item.name for item in app.screen.query_one(ShelfTable).rows])
        assert shown(app, "#facts")


async def test_an_unloaded_model_is_no_failure_and_its_details_come_without_a_key() -> None:
    async with models() as on:
        await on.select("guide")
        await on.press("u")
        await until(on.pilot, lambda: on.app.desk.model != "guide" or on.app.desk.unloaded)
        await on.beat()
        await until(on.pilot, lambda: on.details.leaf.header is not None)
        await on.until_shown("context")
        assert "guide is unloaded" in notices(on.app)[-1]
        await on.select("echo")
        await on.press("u")
        await until(on.pilot, lambda: on.app.desk.unloaded)
        await on.beat()
        assert "unloaded" in on.said("#model")
        assert "failed" not in on.text()


async def test_what_is_odd_about_talking_with_a_model_is_in_its_details_and_in_chat() -> None:
    note = "It has no chat template: conversations are written in ChatML."
    async with models(StillWorkbench((replace(GUIDE, notes=(note,)),))) as on:
        await on.select("guide")
        on.app.load("guide")
        await until(on.pilot, lambda: any(note in told for told in notices(on.app)))
        await on.until_shown("no chat template")
        await on.press("f4")
        await until(on.pilot, lambda: on.app.current_mode == "chat")
        on.app.pulse()
        await on.pilot.pause()
        assert note in str(on.app.screen.query_one("#talk-note", Static).render())


async def test_a_file_from_elsewhere_that_was_unloaded_is_a_key_away() -> None:
    still = StillWorkbench((replace(GUIDE, name="elsewhere"),))
    async with models(still) as on:
        on.app.desk._asked["elsewhere"] = "/far/away/elsewhere.gguf"
        await on.select("elsewhere")
        await on.press("u")
        await until(on.pilot, lambda: not still.shown)
        await until(on.pilot, lambda: "o and enter load it again" in notices(on.app)[-1])
        await on.press("o")
        await until(on.pilot, lambda: on.app.screen.is_modal)
        assert on.app.screen.query_one(Input).value == "/far/away/elsewhere.gguf"
