"""Downloads on the models screen: begun, watched, paused, cancelled, cleared; over a store that stands still."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core.errors import GatedRepository
from core.models.downloads.status import DownloadItem, DownloadState
from core.models.library.scan import LibraryEntry, Location
from tests.tui.conftest import notices, until
from tests.tui.screens.models.on_models import HALF, On, models
from tests.tui.still import StillWorkbench
from tests.tui.still_store import ENTRIES, MEGA, QWEN, repository
from tui import glyphs
from tui.screens.models.downloads import Transfers, summarize_downloads

FAILED = replace(HALF, id="dl-2", name="a/b:Q8_0", state=DownloadState.FAILED, done=0, rate=0.0, error="It broke.")


def panel(on: On) -> Transfers:
    return on.screen.query_one(Transfers)


def rows_of_models(on: On) -> int:
    """Lines of the screen that models have."""
    return on.table.size.height - 1


async def test_enter_on_a_quant_downloads_it_and_its_end_makes_it_loadable() -> None:
    async with models() as on:
        await on.quants_of("qwen3-4b")
        await on.press("enter")
        await until(on.pilot, lambda: on.store.downloads.asked == [("enqueue", f"{QWEN}:Q4_K_M")])
        await on.beat()
        assert on.screen.query_one(Transfers).display
        assert "fetching 0%" in on.text()
        on.store.downloads.finish("dl-1")
        here = LibraryEntry(f"{QWEN}:Q4_K_M", ENTRIES[0].path, "gguf", 9, False, location=Location.HUB)
        on.store.entries = (*ENTRIES, here)
        await on.beat()
        await until(on.pilot, lambda: on.details.choice and on.details.choice.here)
        assert f"{QWEN}:Q4_K_M is here" in notices(on.app)[0]
        assert not on.screen.query_one(Transfers).display
        await on.press("enter")
        await until(on.pilot, lambda: f"{QWEN}:Q4_K_M" in on.still.loaded)


async def test_a_quant_too_large_is_downloaded_only_after_a_question() -> None:
    async with models() as on:
        await on.quants_of("qwen3-4b")
        await on.press("down", "down", "down", "down", "enter")
        await on.until_shown("It does not fit")
        assert on.store.downloads.asked == []
        await on.press("escape")
        assert not on.app.screen.is_modal
        await on.press("enter")
        await on.until_shown("all the same")
        await on.press("y")
        await until(on.pilot, lambda: on.store.downloads.asked == [("enqueue", f"{QWEN}:F32")])


async def test_the_panel_tells_how_far_a_download_is_and_how_long_it_takes() -> None:
    async with models() as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        for words in ("49%", "41.0 MB/s", "30 s", "running", "2.5 GB"):
            assert words in on.text()
        await on.press("w")
        assert panel(on).lines.has_focus
        await on.press("w")
        assert on.table.has_focus
        assert not panel(on).listed
        assert f"{QWEN}:Q4_K_M 49%, 41.0 MB/s, 30 s left" in on.text()
        await on.press("w")
        assert panel(on).listed


async def test_space_pauses_and_goes_on_and_r_goes_on_with_all() -> None:
    async with models() as on:
        downloads = on.store.downloads
        downloads.rows = [
            HALF,
            replace(HALF, id="dl-2", name="a/b:Q8_0", state=DownloadState.FAILED, error="It broke."),
        ]
        await on.beat()
        await on.press("space")
        await until(on.pilot, lambda: downloads.asked == [("pause", "dl-1")])
        await on.beat()
        await on.press("space")
        await until(on.pilot, lambda: downloads.asked[-1] == ("resume", "dl-1"))
        downloads.rows[0] = replace(HALF, state=DownloadState.PAUSED)
        await on.beat()
        assert "2 stopped: r goes on" in on.text()
        await on.press("r")
        await until(on.pilot, lambda: len(downloads.asked) == 4)
        assert downloads.asked[2:] == [("resume", "dl-1"), ("resume", "dl-2")]
        # Once at the start, and now.
        assert downloads.resumptions == 2


async def test_cancelling_asks_whether_to_keep_what_is_here() -> None:
    async with models() as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        await on.press("x")
        await on.until_shown("1.2 GB of 2.5 GB are here")
        await on.press("d")
        await until(on.pilot, lambda: on.store.downloads.asked == [("discard", "dl-1")])
        await on.beat()
        assert not on.screen.query_one(Transfers).display


async def test_what_was_interrupted_before_is_shown_when_the_screen_opens() -> None:
    still = StillWorkbench()
    still.store.downloads.rows = [replace(HALF, state=DownloadState.PAUSED, rate=0.0)]
    async with models(still) as on:
        await until(on.pilot, lambda: on.screen.query_one(Transfers).display)
        assert "1 stopped: r goes on with all" in on.text()
        assert "paused 49%" in on.text()
        assert still.store.downloads.asked == []


# Where there is little room.


async def test_at_80x24_downloads_are_a_line_until_they_are_looked_at() -> None:
    async with models(size=(80, 24)) as on:
        before = rows_of_models(on)
        on.store.downloads.rows = [
            HALF,
            replace(FAILED, done=100 * MEGA),
            *(replace(HALF, id=f"dl-{number}", state=DownloadState.QUEUED, rate=0.0) for number in range(3, 9)),
        ]
        await on.beat()
        assert rows_of_models(on) == before - 1 >= 6
        assert "8 downloads 44%, 41.0 MB/s, 3:33 left, 1 failed, 6 queued" in on.text()
        assert "r goes on, w shows" in on.text()
        await on.press("w", "down")
        assert panel(on).lines.has_focus
        assert "It broke." in on.text()
        assert "space tries again" in on.text()
        await on.press("escape")
        assert on.table.has_focus
        assert rows_of_models(on) == before - 1


@pytest.mark.parametrize("key", ["space", "x"])
async def test_a_key_for_a_download_shows_first_which_it_is_for(key: str) -> None:
    async with models(size=(80, 24)) as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        await on.press(key)
        assert panel(on).lines.has_focus
        assert not on.app.screen.is_modal
        assert on.store.downloads.asked == []
        await on.press(key)
        await until(on.pilot, lambda: on.app.screen.is_modal or on.store.downloads.asked)


async def test_the_reason_of_the_selected_download_is_told_in_full() -> None:
    reason = "The owner wants to be asked first: accept the terms at the Hub, then set HF_TOKEN. " * 3
    async with models(size=(80, 24)) as on:
        on.store.downloads.rows = [FAILED, replace(FAILED, id="dl-3", name="c/d:Q8_0", error=reason)]
        await on.beat()
        await on.press("w")
        assert "It broke." in on.text()
        await on.press("down")
        said = "".join(line.strip("│ ") + " " for line in on.text().splitlines())
        assert reason in said


def test_a_single_download_is_summed_up_by_its_name_and_many_by_what_is_worst() -> None:
    waiting = replace(HALF, state=DownloadState.RETRYING, again=6.8, rate=0.0)
    assert summarize_downloads([waiting], glyphs.UNICODE).plain == f"{QWEN}:Q4_K_M 49%, again in 7 s"
    later = replace(waiting, again=75.0)
    told = summarize_downloads([later, waiting, FAILED], glyphs.UNICODE).plain
    assert told == "3 downloads 33%, 1 failed, 2 again in 7 s"
    assert summarize_downloads([later], glyphs.UNICODE).plain.endswith("again in 1:15")


async def test_another_downloads_error_is_not_told_of_the_selected_one() -> None:
    async with models() as on:
        on.store.downloads.rows = [HALF, FAILED]
        await on.beat()
        assert "It broke." not in on.text()
        await on.press("w", "down")
        assert "It broke." in on.text()


async def test_the_folded_line_tells_the_key_that_goes_on_with_all() -> None:
    async with models(size=(80, 24)) as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        assert on.said("#transfer-key") == "w shows them"
        on.store.downloads.rows = [replace(HALF, state=DownloadState.PAUSED)]
        await on.beat()
        assert "r goes on with all, w shows them" in on.text()
        await on.press("r")
        await until(on.pilot, lambda: ("resume", "dl-1") in on.store.downloads.asked)


# Whose keys they are.


async def test_among_the_downloads_no_key_acts_on_a_model() -> None:
    async with models(size=(80, 24)) as on:
        await on.select("Qwen3-0.6B-Q8_0")
        await until(on.pilot, lambda: on.details.leaf.dial is not None)
        before = on.details.leaf.dial, on.screen.view
        on.store.downloads.rows = [HALF, FAILED]
        await on.beat()
        await on.press("w", "down", "d")
        await until(on.pilot, lambda: on.store.downloads.asked == [("forget", "dl-2")])
        await on.beat()
        await on.press("d")
        await on.until_shown("1.2 GB of 2.5 GB are here")
        await on.press("escape", "delete", "escape", "l", "u", "p", "v", "minus", "s", "t", "f")
        assert not on.app.screen.is_modal
        assert on.still.loaded == ["guide"]
        assert (on.details.leaf.dial, on.screen.view) == before
        assert notices(on.app) == []
        await on.press("escape", "d")
        await on.until_shown("Delete Qwen3-0.6B-Q8_0")


async def test_the_footer_and_the_palette_offer_what_can_be_done_where_the_cursor_is() -> None:
    async with models(size=(80, 24)) as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        footer = on.text().splitlines()[-1]
        assert "l load" in footer
        assert "pause" not in footer
        await on.press("w")
        await on.until_shown("space pause x cancel r resume")
        assert "l load" not in on.text().splitlines()[-1]
        offered = {command.title for command in on.app.get_system_commands(on.app.screen)}
        assert "Cancel the download" in offered
        assert "Delete the model" not in offered
        await on.press("escape")
        await on.until_shown("l load")
        assert "Delete the model" in {command.title for command in on.app.get_system_commands(on.app.screen)}


async def test_enter_pauses_the_selected_download_and_the_border_says_so() -> None:
    async with models(size=(80, 24)) as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        await on.press("w")
        await on.until_shown("enter or space pauses, x cancels")
        await on.press("enter")
        await until(on.pilot, lambda: on.store.downloads.asked == [("pause", "dl-1")])
        await on.beat()
        assert "enter or space goes on, x cancels" in on.text()
        on.store.downloads.finish("dl-1")
        await on.beat()
        assert "enter" not in str(panel(on).border_subtitle)
        await on.press("enter")
        assert on.store.downloads.asked[2:] == []


async def test_to_delete_what_is_being_fetched_is_to_cancel_its_download() -> None:
    still = StillWorkbench()
    begun = LibraryEntry(QWEN, ENTRIES[0].path, None, 9, False, "partial: not finished", Location.HUB)
    still.store.entries = (*ENTRIES, begun)
    still.store.downloads.rows = [HALF]
    async with models(still) as on:
        await on.beat()
        await on.select(QWEN)
        await on.press("d")
        await on.until_shown("1.2 GB of 2.5 GB are here")
        await on.press("d")
        await until(on.pilot, lambda: on.store.downloads.asked == [("discard", "dl-1")])
        await on.beat()
        await on.press("d")
        await on.until_shown(f"Delete {QWEN}")


# What waits, and what is over.


async def test_a_download_that_waits_counts_down_to_its_next_try() -> None:
    async with models() as on:
        for seconds in (7.2, 6.1):
            on.store.downloads.rows = [replace(HALF, state=DownloadState.RETRYING, note="It broke.", again=seconds)]
            await on.beat()
            assert f"again in {seconds:.0f} s" in on.text()
        assert "retrying 49%" in on.text()


async def test_c_clears_what_is_over_and_keeps_what_can_go_on() -> None:
    async with models() as on:
        done = DownloadItem("dl-3", "c/d:Q8_0", DownloadState.DONE, MEGA, MEGA)
        half = replace(FAILED, id="dl-4", name="e/f:Q8_0", done=MEGA)
        given_up = replace(half, id="dl-5", name="g/h:Q8_0", state=DownloadState.CANCELLED)
        on.store.downloads.rows = [HALF, FAILED, done, half, given_up]
        await on.beat()
        assert "a/b:Q8_0" in on.text()
        await on.press("c")
        await until(on.pilot, lambda: len(on.store.downloads.asked) == 3)
        assert on.store.downloads.asked == [("forget", "dl-2"), ("forget", "dl-3"), ("cancel", "dl-4")]
        await on.beat()
        assert [item.id for item in panel(on).lines.rows] == ["dl-1"]
        await on.press("c")
        assert on.store.downloads.asked[3:] == []
        assert "No download is done or has failed." in notices(on.app)


async def test_x_takes_a_finished_or_failed_download_off_the_list_without_a_question() -> None:
    async with models() as on:
        on.store.downloads.rows = [HALF, replace(HALF, id="dl-3", name="c/d:Q8_0"), FAILED]
        await on.beat()
        on.store.downloads.finish("dl-3")
        await on.beat()
        await on.press("w", "down", "x")
        await until(on.pilot, lambda: on.store.downloads.asked[-1] == ("forget", "dl-3"))
        await on.beat()
        await on.press("x")
        await until(on.pilot, lambda: on.store.downloads.asked[-1] == ("forget", "dl-2"))
        await on.beat()
        assert [item.id for item in panel(on).lines.rows] == ["dl-1"]


async def test_once_the_list_of_downloads_is_empty_the_models_have_the_cursor() -> None:
    async with models(size=(80, 24)) as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        await on.press("w", "x", "d")
        await until(on.pilot, lambda: on.store.downloads.asked == [("discard", "dl-1")])
        await on.beat()
        await until(on.pilot, lambda: on.table.has_focus)
        assert not panel(on).display
        await on.press("w")
        await on.beat()
        assert "Nothing is being downloaded." in on.text()
        assert panel(on).lines.has_focus


async def test_a_click_on_the_line_shows_the_downloads() -> None:
    async with models(size=(80, 24)) as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        await on.pilot.click("#transfer-sum")
        await until(on.pilot, lambda: panel(on).lines.has_focus)


async def test_enter_on_a_model_that_is_here_in_part_goes_on_with_its_download() -> None:
    still = StillWorkbench()
    begun = LibraryEntry(QWEN, ENTRIES[0].path, None, 9, False, "partial: not finished", Location.HUB)
    lost = replace(begun, name="a/b")
    still.store.entries = (*ENTRIES, begun, lost)
    still.store.downloads.rows = [replace(HALF, state=DownloadState.PAUSED)]
    async with models(still) as on:
        await on.beat()
        await on.select(QWEN)
        assert "Enter goes on with its download" in on.text()
        await on.press("enter")
        await until(on.pilot, lambda: on.store.downloads.asked == [("resume", "dl-1")])
        await on.beat()
        await on.press("enter")
        await on.select("a/b")
        await on.press("enter")
        assert on.store.downloads.asked == [("resume", "dl-1")]
        assert [told.partition(" ")[0] for told in notices(on.app)] == ["Going", "Going", "a/b"]


# What came, and what cannot be had.


async def test_a_file_that_came_damaged_is_not_said_to_be_loadable() -> None:
    async with models() as on:
        on.store.downloads.rows = [HALF]
        await on.beat()
        on.store.downloads.finish("dl-1")
        said = "damaged: it does not begin as a GGUF file does"
        junk = LibraryEntry(HALF.name, ENTRIES[0].path, None, 9 * MEGA, False, said, Location.HUB)
        on.store.entries = (*ENTRIES, junk)
        await on.beat()
        await until(on.pilot, lambda: notices(on.app))
        assert notices(on.app) == [
            f"{HALF.name} was downloaded, but cannot be loaded: it does not begin as a GGUF file does."
        ]
        row = next(item for item in on.table.rows if item.name == HALF.name)
        assert [*map(str, on.table._row(row))][5:7] == ["", "damaged"]


async def test_what_the_hub_does_not_let_one_have_is_not_queued_until_it_does() -> None:
    still = StillWorkbench()
    still.store.repository = lambda repo, revision=None: replace(repository(), gated=True)  # type: ignore[method-assign]
    async with models(still) as on:
        await on.quants_of("qwen3-4b")
        on.store.problem = GatedRepository("The owner wants to be asked first: accept the terms.")
        await on.press("enter")
        await until(on.pilot, lambda: "accept the terms" in str(notices(on.app)))
        assert on.store.downloads.asked == []
        on.store.problem = None
        await on.press("enter")
        await until(on.pilot, lambda: on.store.downloads.asked == [("enqueue", f"{QWEN}:Q4_K_M")])
