"""The journal of downloads: whatever is left of it after a crash is a queue that makes sense."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.models.downloads.journal import (
    COMPACT_FROM_BYTES,
    Added,
    DownloadJournal,
    Fetched,
    JournalEntry,
    Moved,
    Record,
    replay_journal,
)
from core.models.downloads.status import DownloadState
from core.models.formats.registry import FORMATS
from core.models.hub.repository import Quant, RepoFile

QUANT = Quant("owner/model", "0" * 40, "Q4", "gguf", (RepoFile("model.gguf", 5, "f" * 64),))

keys = st.sampled_from(["a", "b", "c"])
quants = st.builds(
    Quant,
    repo=st.text(max_size=20),
    revision=st.just("0" * 40),
    label=st.text(max_size=5),
    format=st.sampled_from([*FORMATS]),
    files=st.lists(st.builds(RepoFile, path=st.text(max_size=20), size=st.integers(0, 1 << 50)), max_size=3).map(tuple),
)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Added, id=keys, quant=quants),
    st.builds(
        Moved,
        id=keys,
        state=st.sampled_from(DownloadState),
        error=st.none() | st.text(max_size=20),
    ),
    st.builds(Fetched, id=keys, path=st.text(max_size=20)),
)


def lines_of(written: list[Record]) -> list[bytes]:
    return [msgspec.json.encode(record) + b"\n" for record in written]


@given(st.lists(records, max_size=20), st.data())
def test_any_prefix_says_what_its_whole_lines_say(written: list[Record], data: st.DataObject) -> None:
    lines = lines_of(written)
    content = b"".join(lines)
    cut = data.draw(st.integers(0, len(content)))
    whole, size = [], 0
    for line in lines:
        size += len(line)
        # A line is whole without the byte that ends it.
        if size - 1 <= cut:
            whole.append(line)
    assert replay_journal(content[:cut]) == replay_journal(b"".join(whole))


@given(st.lists(records, max_size=10), st.binary(max_size=30).filter(lambda junk: b"{" not in junk))
def test_junk_between_lines_loses_no_line(written: list[Record], junk: bytes) -> None:
    lines = lines_of(written)
    assert replay_journal(b"\n".join([junk, *lines, junk])) == replay_journal(b"".join(lines))


def test_a_line_after_a_torn_one_is_read(tmp_path: Path) -> None:
    journal = DownloadJournal(tmp_path / "journal.jsonl")
    journal.append(Added("a", QUANT))
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"type":"moved","id":"a","sta')
    journal.append(Moved("a", DownloadState.PAUSED))
    assert journal.entries() == {"a": JournalEntry("a", QUANT, DownloadState.PAUSED)}


def test_a_long_journal_is_shortened_and_says_the_same(tmp_path: Path) -> None:
    journal = DownloadJournal(tmp_path / "journal.jsonl")
    journal.append(Added("a", QUANT), Moved("a", DownloadState.RUNNING), Fetched("a", "model.gguf"))
    journal.append(*[Moved("a", DownloadState.PAUSED, error="x" * 100)] * (COMPACT_FROM_BYTES // 100))
    journal.append(
        *[record for n in range(60) for record in (Added(f"d{n}", QUANT), Moved(f"d{n}", DownloadState.DONE))]
    )
    before = journal.entries()
    journal.compact()
    after = journal.entries()
    assert (tmp_path / "journal.jsonl").stat().st_size < COMPACT_FROM_BYTES / 4
    assert after["a"] == before["a"] == JournalEntry("a", QUANT, DownloadState.PAUSED, "x" * 100, ("model.gguf",))
    assert list(after) == ["a", *[f"d{n}" for n in range(10, 60)]]
