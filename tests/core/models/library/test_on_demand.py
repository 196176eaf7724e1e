"""What a request would load, looked up by one at a time."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from core.lanes import WorkLane
from core.models.library import on_demand as shelf
from core.models.library.on_demand import Shelf, list_loadable
from core.models.library.scan import LibraryEntry, Location


def entry(name: str, **fields: object) -> LibraryEntry:
    fields = {"format": "gguf", "size": 1, "loaded": False, "engines": ("llamacpp",)} | fields
    return LibraryEntry(name, Path("/models") / name, **fields)  # type: ignore[arg-type]


def names_of(*entries: LibraryEntry, names: tuple[str, ...] = ()) -> list[str]:
    return [each.name for each in list_loadable(entries, names, set())]


def test_only_what_a_client_can_name_and_an_engine_runs_is_loadable() -> None:
    assert names_of(entry("a"), entry("owner/repo:Q4_K_M")) == ["a", "owner/repo:Q4_K_M"]
    assert names_of(entry("a", problem="It is damaged."), entry("b", share=0.5), entry("c", engines=())) == []
    assert names_of(entry("./a.gguf"), entry("http://127.0.0.1:1"), entry("~/a")) == []
    assert names_of(entry("a"), names=("a",)) == []
    assert list(list_loadable([entry("a")], (), set(), engine="mlx")) == []


def test_of_a_name_that_two_have_neither_is_loadable_but_a_built_in_one_is() -> None:
    assert names_of(entry("a"), entry("a")) == []
    assert names_of(entry("guide", location=Location.BUILT_IN), entry("guide")) == ["guide"]


async def test_many_who_ask_at_once_cost_one_look() -> None:
    looks: list[int] = []
    lane = WorkLane("looking", 1, 4)

    def look() -> tuple[LibraryEntry, ...]:
        looks.append(1)
        return (entry("a"),)

    found = Shelf(look, lane)
    answers = await asyncio.gather(*(found.entries() for _ in range(20)))
    assert {len(each) for each in answers} == {1}
    assert looks == [1]
    found.close()
    lane.close()


async def test_a_look_that_takes_long_holds_nobody_up_and_is_used_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "PATIENCE_SECONDS", 0.0)
    go = threading.Event()

    def look() -> tuple[LibraryEntry, ...]:
        go.wait()
        return (entry("a"),)

    lane = WorkLane("looking", 1, 4)
    found = Shelf(look, lane)
    assert await found.entries() == ()
    go.set()
    async with asyncio.timeout(20):
        while not await found.entries():
            await asyncio.sleep(0.005)
    found.close()
    lane.close()


async def test_a_look_that_fails_leaves_what_was_known() -> None:
    def look() -> tuple[LibraryEntry, ...]:
        raise OSError("The disk is gone.")

    lane = WorkLane("looking", 1, 4)
    found = Shelf(look, lane)
    assert await found.entries() == ()
    found.close()
    lane.close()
