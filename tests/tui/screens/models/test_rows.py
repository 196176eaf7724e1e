"""Which models are shown in which order: properties that hold for any list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contract.options import KvType
from core.guide import WEIGHTS
from core.models.catalog import Task, load_builtin_catalog
from core.models.fit.estimate import Verdict
from core.models.formats.registry import FORMATS
from core.models.library.scan import LibraryEntry, Location
from core.models.offers import adapt_header
from core.settings.profile import Profile
from core.settings.schema import Folders, Settings
from core.snapshots import DraftStats, ModelKind, ModelSnapshot, ModelState, PositionStats
from core.workbench import Workbench
from tests.tui.still_store import FOUND, QWEN, header, repository
from tui.screens.models.facts import format_item, shorten_path
from tui.screens.models.fit import QuantChoice, add_header, choose_to_read, list_steps, set_dial
from tui.screens.models.rows import (
    TASK_OF_KIND,
    Item,
    ListSection,
    Order,
    View,
    Where,
    build_found_item,
    guess_verdict,
    list_items,
    pick_items,
)
from tui.screens.models.table import Around, describe_state
from tui.session import Desk

GB = 1_000_000_000
NAMES = st.text("abcQ0-/.", min_size=1, max_size=8)
COUNTS = st.one_of(st.none(), st.integers(0, 10**9))


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    made = []
    for number in range(draw(st.integers(0, 20))):
        name = draw(NAMES)
        made.append(
            Item(
                f"{number}",
                name,
                draw(st.sampled_from(Where)),
                tuple(draw(st.lists(st.sampled_from([*FORMATS]), max_size=2))),
                draw(st.integers(0, 10**11)),
                draw(COUNTS),
                draw(st.one_of(st.none(), st.sampled_from(Task))),
                draw(st.sampled_from((None, "mit", "other"))),
                draw(COUNTS),
                draw(COUNTS),
                draw(st.one_of(st.none(), st.datetimes(timezones=st.just(UTC)).filter(lambda each: each.year > 1970))),
                draw(st.booleans()),
                hay=name.lower(),
            )
        )
    return made


VIEWS = st.builds(
    View,
    words=st.one_of(st.just(""), NAMES),
    section=st.sampled_from(ListSection),
    order=st.sampled_from(Order),
    task=st.one_of(st.none(), st.sampled_from(Task)),
    format=st.one_of(st.none(), st.sampled_from([*FORMATS])),
    licence=st.sampled_from((None, "mit")),
    most_parameters=st.one_of(st.none(), st.integers(1, 10**9)),
    open_only=st.booleans(),
)


@given(items(), VIEWS)
def test_what_is_shown_is_what_passes_each_filter_by_itself(made: list[Item], view: View) -> None:
    shown = pick_items(made, view)
    words = view.words.lower().split()
    wanted = [
        item
        for item in made
        if all(word in item.name.lower() for word in words)
        and (view.task is None or item.task is view.task)
        and (view.format is None or view.format in item.formats)
        and (view.licence is None or item.licence == view.licence)
        and (view.most_parameters is None or 0 < (item.parameters or 0) <= view.most_parameters)
        and not (view.open_only and item.gated)
        and item in pick_items(made, View(section=view.section))
    ]
    assert sorted(item.key for item in shown) == sorted(item.key for item in wanted)


@given(items(), VIEWS)
def test_an_order_keeps_what_is_equal_as_it_came_and_is_reached_in_one_go(made: list[Item], view: View) -> None:
    verdicts = {item.key: verdict for item in made if (verdict := guess_verdict(item, GB)) is not None}
    shown = pick_items(made, view, verdicts=verdicts)
    assert pick_items(shown, view, verdicts=verdicts) == shown
    numbers = [int(item.key) for item in shown]
    assert view.order is not Order.LISTED or numbers == sorted(numbers)


@given(items(), VIEWS, st.text("abcQ", max_size=2))
def test_a_longer_word_never_shows_more(made: list[Item], view: View, more: str) -> None:
    shown = {item.key for item in pick_items(made, view)}
    longer = View(f"{view.words}{more}", view.section, view.order, view.task)
    base = View(view.words, view.section, view.order, view.task)
    assert {item.key for item in pick_items(made, longer)} <= {item.key for item in pick_items(made, base)}
    assert shown <= {item.key for item in pick_items(made, View(view.words, view.section))}


@pytest.mark.parametrize(
    ("order", "of"),
    [
        (Order.DOWNLOADS, lambda item: -(item.downloads or 0)),
        (Order.LIKES, lambda item: -(item.likes or 0)),
        (Order.NAME, lambda item: item.name.lower()),
        (Order.SIZE, lambda item: item.bytes),
    ],
)
def test_the_orders_put_first_what_one_looks_for(order: Order, of: Callable[[Item], Any]) -> None:
    made = [build_found_item(each) for each in FOUND]
    assert pick_items(made, View(order=order)) == sorted(made, key=of)


def test_what_fits_comes_first_and_what_nobody_knows_last() -> None:
    made = [build_found_item(each) for each in FOUND]
    verdicts = {made[0].key: Verdict.DOES_NOT_FIT, made[2].key: Verdict.FITS, made[3].key: Verdict.TIGHT}
    assert pick_items(made, View(order=Order.FIT), verdicts=verdicts) == [made[2], made[3], made[0], made[1]]


def test_the_hubs_answer_to_the_very_words_is_not_doubted() -> None:
    made = [build_found_item(each) for each in FOUND]
    assert pick_items(made, View("no such words")) == []
    assert pick_items(made, View("no such words"), answered="No such  words") == made
    assert pick_items(made, View("no such word"), answered="no such words") == []


def test_a_loaded_model_stands_beside_its_file_or_its_alias_and_else_by_itself() -> None:
    entries = [
        LibraryEntry("/m/tiny.gguf", Path("/m/tiny.gguf"), "gguf", GB, True, location=Location.FOLDER),
        LibraryEntry(f"{QWEN}:Q8_0", Path("x"), "gguf", 4 * GB, False, location=Location.HUB),
    ]
    models = [ModelSnapshot(name, "llamacpp", ModelState.READY) for name in ("tiny", "llama-3.2-1b", "elsewhere")]
    made = list_items(entries, models, load_builtin_catalog(), FOUND)
    loaded = {item.key: item.where for item in made if item.model is not None}
    assert loaded == {
        "here:/m/tiny.gguf": Where.FOLDER,
        "catalog:llama-3.2-1b": Where.CATALOG,
        "loaded:elsewhere": Where.LOADED,
    }
    assert len({item.key for item in made}) == len(made)
    assert [item.name for item in pick_items(made, View(section=ListSection.HERE))][:2] == ["tiny", f"{QWEN}:Q8_0"]


@pytest.mark.parametrize("kind", [ModelKind.EMBEDDING, ModelKind.RERANKING, ModelKind.TRANSCRIPTION])
def test_a_loaded_model_is_for_what_its_kind_says(kind: ModelKind) -> None:
    loaded = [ModelSnapshot(name, "llamacpp", ModelState.READY, kind=kind) for name in ("elsewhere", "here")]
    entry = LibraryEntry("here", Path("here.gguf"), "gguf", GB, True)
    assert {item.task for item in list_items([entry], loaded, [])} == {TASK_OF_KIND[kind]}


def test_the_details_of_a_loaded_model_tell_the_type_of_its_kv_cache() -> None:
    model = ModelSnapshot("m", "llamacpp", ModelState.READY, kv_bytes_per_token=12_288, kv_type="q8_0/q4_0")
    (item,) = list_items([], [model], [])
    assert "12.3 kB a token, q8_0/q4_0" in format_item(item, "…", paired=False).plain


def test_a_model_that_is_here_in_part_is_judged_by_what_it_will_be() -> None:
    entry = LibraryEntry("o/m", Path("blobs"), None, 2 * GB, False, "partial", Location.HUB, share=0.1)
    (item,) = list_items([entry], [], [])
    assert guess_verdict(item, 8 * GB) is Verdict.DOES_NOT_FIT


SNAPSHOT = f"/hub/models--o--m/snapshots/0123456{33 * 'a'}/q.gguf"


@pytest.mark.parametrize(
    ("path", "width", "told"),
    [
        ("/models/a.gguf", 20, "/models/a.gguf"),
        (
            SNAPSHOT,
            60,
            "/hub/models--o--m/snapshots/0123456…/q.gguf",
        ),
        (SNAPSHOT, 20, "…/0123456…/q.gguf"),
        ("/models/a-long-name.gguf", 8, "a-long-name.gguf"),
        (str(Path.home() / "m" / "a.gguf"), 12, str(Path("~/m/a.gguf"))),
    ],
)
def test_of_a_long_path_the_end_is_shown(path: str, width: int, told: str) -> None:
    assert shorten_path(Path(path), width, "…") == told


@pytest.mark.parametrize(
    ("draft", "told"),
    [
        (DraftStats("small"), "small"),
        (DraftStats("small", 200, 130, seconds_lost=1.0, seconds_gained=3.5), "small, 65% true, 2.5 s gained"),
        (DraftStats("small", 200, 30, seconds_lost=2.0, seconds_gained=0.5), "small, 15% true, 1.5 s lost"),
        (DraftStats("small", 200, 130, problem="it failed: No."), "small, off: it failed: No."),
    ],
)
def test_what_guesses_ahead_is_told_with_how_often_it_is_right(draft: DraftStats, told: str) -> None:
    model = ModelSnapshot("m", "llamacpp", ModelState.READY, draft=draft)
    lines = format_item(Item("k", "m", Where.LOADED, model=model), "…", paired=False).plain.splitlines()
    assert [line.split(maxsplit=1) for line in lines if line.startswith("draft")] == [["draft", told]]


def test_a_fact_that_is_wider_than_half_a_line_stands_alone() -> None:
    stats = DraftStats("prompt-lookup", 10, 10, (PositionStats(10, 10),), seconds_gained=0.002)
    model = ModelSnapshot("m", "llamacpp", ModelState.READY, context=2048, resident=75_900_000, draft=stats)
    _, *lines = format_item(Item("k", "m", Where.LOADED, model=model), "…", paired=True).plain.splitlines()
    assert [line.split() for line in lines] == [
        ["engine", "llamacpp", "context", "2,048", "tokens"],
        ["memory", "75.9", "MB"],
        ["draft", "prompt-lookup,", "100%", "true,", "2", "ms", "gained"],
        ["guesses", "100%"],
    ]


def test_how_often_each_guess_of_a_step_is_right_is_told() -> None:
    stats = DraftStats("small", 30, 20, positions=(PositionStats(10, 9), PositionStats(10, 7), PositionStats(10, 4)))
    model = ModelSnapshot("m", "llamacpp", ModelState.READY, draft=stats)
    lines = format_item(Item("k", "m", Where.LOADED, model=model), "…", paired=False).plain.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("guesses")] == ["90% 70% 40%"]


def test_the_slider_goes_by_powers_of_two_to_what_the_model_was_trained_on() -> None:
    assert list_steps(2048) == (512, 1024, 2048)
    assert list_steps(40_960)[-3:] == (16_384, 32_768, 40_960)
    assert list_steps(300) == (300,)
    started = set_dial(40_960, 10_000, KvType.F16)
    assert started.context == 8192
    assert started.moved(100).context == 40_960
    assert started.moved(-100).context == 512
    turned = [started]
    for _ in range(4):
        turned.append(turned[-1].cycled())
    assert [dial.kv.value for dial in turned] == ["f16", "q8_0", "q8_0/q4_0", "q4_0", "f16"]


def test_one_header_tells_of_the_other_quants_until_their_own_is_read() -> None:
    quants = repository().quants
    choices = tuple(QuantChoice(quant) for quant in quants)
    read = header(quants[0].size)
    told = add_header(choices, quants[0], read)
    assert [each.own for each in told] == [True, False, False, False, False]
    assert told[2].header == adapt_header(read, quants[2])
    assert told[2].header is not None
    assert told[2].header.weight_bytes == quants[2].size
    own = header(5 * GB, "Q8_0")
    again = add_header(told, quants[2], own)
    assert again[2].header == own
    assert again[0].header == read


def test_only_one_header_of_a_format_is_read_and_the_preferred_first() -> None:
    quants = repository().quants
    choices = [*(QuantChoice(quant) for quant in quants), QuantChoice(quants[0], runs=False)]
    assert choose_to_read(choices, quants[1]) == (quants[1],)


def test_a_model_of_the_settings_is_the_file_it_is_made_of_and_says_what_is_the_matter_with_it(tmp_path: Path) -> None:
    whole = WEIGHTS.read_bytes()
    (tmp_path / "whole.gguf").write_bytes(whole)
    (tmp_path / "cut.gguf").write_bytes(whole[:500_000])
    sources = {"mine": "whole.gguf", "cut": "cut.gguf", "lost": "lost.gguf"}
    profiles = {name: Profile(source=str(tmp_path / file)) for name, file in sources.items()}
    where = Folders(config=tmp_path / "config", cache=tmp_path / "cache", state=tmp_path / "state")
    settings = Settings(models={**profiles, "guide": Profile()})
    desk = Desk(settings, "guide", lambda settings: Workbench(settings, where))
    library = (LibraryEntry("guide", WEIGHTS, "gguf", len(whole), True, location=Location.BUILT_IN),)
    mine, cut, lost, guide = desk.configured(library)
    assert (mine.name, mine.format, mine.size, mine.problem) == ("mine", "gguf", len(whole), None)
    assert (cut.size, cut.format) == (500_000, None)
    assert cut.problem is not None
    assert cut.problem.startswith("damaged")
    assert "lost.gguf" in str(lost.problem)
    assert not guide.loaded
    items = list_items(
        library, [ModelSnapshot("mine", "llamacpp", ModelState.READY)], [], configured=(mine, cut, lost, guide)
    )
    assert [(item.key, item.model is not None) for item in items] == [
        ("settings:mine", True),
        ("settings:cut", False),
        ("settings:lost", False),
        ("here:guide", False),
    ]
    assert [str(describe_state(item, Around())) for item in items] == ["ready", "damaged", "not here", "loaded"]
