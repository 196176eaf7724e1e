"""What somebody is told who has no model yet: three of the catalog that fit this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from textual.content import Content

from core.contract.artifact import FormatName
from core.models.catalog import CatalogEntry
from core.models.fit.estimate import TIGHT_SHARE
from core.models.library.scan import LibraryEntry, Location
from core.sizes import format_size
from core.snapshots import MachineSnapshot
from tui.screens.models.rows import BESIDE_FACTOR, FOUR_BIT_BYTES
from tui.widgets.plain import Plain

SHOWN_MODELS: Final = 3
MOST_PROCESSOR_PARAMETERS: Final = 9_500_000_000
"""Larger models write slower on a processor than most people read."""
NAME_CELLS: Final = 18


class StartersCard(Plain):
    """Shown as long as nothing is here but what the program came with."""

    def __init__(self) -> None:
        super().__init__(id="starters", classes="panel")
        self.border_title = "first models"
        self.border_subtitle = "g gets one, / finds others, a adds those you have"
        self.display = False

    def show(self, starters: tuple[CatalogEntry, ...]) -> None:
        self.display = bool(starters)
        self.update(describe_starters(starters))


def choose_starters(
    catalog: Iterable[CatalogEntry], formats: Collection[FormatName], machine: MachineSnapshot
) -> tuple[CatalogEntry, ...]:
    """The largest SHOWN_MODELS starters that fit what is free now, in a format that runs here; of one accelerator where
    there is any, else of the machine and small enough for a processor."""
    rooms = [device.memory_free for device in machine.devices]
    room = max(rooms, default=machine.memory_available) * TIGHT_SHARE
    able = [
        entry
        for entry in catalog
        if entry.starter
        and {*entry.formats} & {*formats}
        and measure_starter(entry) * BESIDE_FACTOR <= room
        and (rooms or entry.parameters <= MOST_PROCESSOR_PARAMETERS)
    ]
    return tuple(sorted(able, key=lambda entry: -entry.parameters)[:SHOWN_MODELS])


def measure_starter(entry: CatalogEntry) -> int:
    """Bytes of its download, in the usual quant."""
    return round(entry.parameters * FOUR_BIT_BYTES)


def describe_starters(starters: Iterable[CatalogEntry]) -> Content:
    lines = [Content.styled("Nothing is here yet but the built-in guide. These fit this machine:", "$quiet")]
    lines += [
        Content.assemble(
            (f"{entry.alias:<{NAME_CELLS}} ", "bold"),
            f"{entry.title}, ",
            (f"about {format_size(measure_starter(entry))} to fetch", "$quiet"),
        )
        for entry in starters
    ]
    return Content("\n").join(lines)


def has_own_models(entries: Iterable[LibraryEntry]) -> bool:
    """Whether there is anything beside what the program came with; what is damaged or half here counts too."""
    return any(entry.location is not Location.BUILT_IN for entry in entries)
