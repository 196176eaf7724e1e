"""The store of prefixes against a plain list of what was put; its files against its memory."""

import shutil
import threading
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.cache.disk import DiskTier, list_stored_files
from core.cache.identity import ModelIdentity, digest_owner
from core.cache.prefix import Tokens
from core.cache.store import PrefixStore
from core.decoding.common_prefix import count_common
from core.reuse import Tier
from tests.fakes.prefixes import IDENTITY, OWNER, header_of, state_of

OWNERS = [digest_owner("one", None), digest_owner("two", None), digest_owner("one", "salt")]
token_runs = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
WAIT = 20.0


def fetched(store: PrefixStore, owner: str, tokens: Tokens) -> tuple[int, bytes] | None:
    """What the store has for `tokens`, as a serving loop comes by it."""
    while (match := store.match(IDENTITY, owner, tokens)) is not None:
        state = store.take(match.entry)
        if state is not None:
            return match.length, state
        ready = threading.Event()
        store.fetch(match.entry, ready.set)
        assert ready.wait(WAIT)
    return None


class StoreMachine(RuleBasedStateMachine):
    """States of 100 bytes; some 5 of them in memory, some 8 files."""

    @initialize(kind=st.sampled_from(["anywhere", "whole", "marked"]))
    def begin(self, kind: str) -> None:
        self.kind = kind
        self.folder = Path(mkdtemp())
        self.store = self.made()
        self.put_so_far: dict[str, list[Tokens]] = {owner: [] for owner in OWNERS}

    def cuts(self, tokens: Tokens) -> tuple[int, ...] | None:
        """Whole states, or such as are cut at every third token and at their end."""
        whole = len(tokens)
        marks = range(3, whole, 3) if self.kind == "marked" else ()
        return None if self.kind == "anywhere" else (*marks, whole)

    def made(self) -> PrefixStore:
        store = PrefixStore(500, DiskTier(self.folder, 6_000), min_tokens=3, settle=0.0)
        store.load(IDENTITY)
        return store

    def teardown(self) -> None:
        self.store.close(WAIT)
        shutil.rmtree(self.folder)

    @rule(owner=st.sampled_from(OWNERS), tokens=token_runs)
    def put(self, owner: str, tokens: Tokens) -> None:
        self.store.put(header_of(owner, cuts=self.cuts(tokens)), tokens, state_of(tokens, owner=owner))
        self.put_so_far[owner].append(tokens)

    @rule(owner=st.sampled_from(OWNERS), tokens=token_runs)
    def get(self, owner: str, tokens: Tokens) -> None:
        found = fetched(self.store, owner, tokens)
        if found is None:
            return
        length, state = found
        whole = next(each for each in self.put_so_far[owner] if state_of(each, owner=owner) == state)
        cuts = self.cuts(whole)
        common = count_common(whole, tokens)
        assert length == common if cuts is None else length in cuts and length <= common

    @rule()
    def restart(self) -> None:
        self.store.close(WAIT)
        self.store = self.made()

    @rule()
    def write(self) -> None:
        assert self.store.wait_written(WAIT)

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "store"):
            assert self.store.memory_used <= 500 * 1.25 + 100
            memory, disk = self.store.stats()
            assert memory.entries * 100 == memory.bytes
            assert disk.bytes <= disk.max_bytes


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_a_longer_prefix_supersedes_its_own_in_memory_and_on_disk(tmp_path: Path) -> None:
    store = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1, settle=0.0)
    for length in range(1, 9):
        tokens = tuple(range(length))
        store.put(header_of(), tokens, state_of(tokens))
        assert store.wait_written(WAIT)
    memory, disk = store.stats()
    assert (memory.entries, disk.entries) == (1, 1)
    assert len(list(list_stored_files(tmp_path))) == 1
    assert fetched(store, OWNER, (0, 1, 2, 99)) == (3, state_of(tuple(range(8))))
    store.close(WAIT)


def test_what_is_superseded_soon_is_never_written(tmp_path: Path) -> None:
    store = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1, settle=3600.0)
    for length in range(1, 9):
        tokens = tuple(range(length))
        store.put(header_of(), tokens, state_of(tokens))
    assert list(list_stored_files(tmp_path)) == []
    store.close(WAIT)
    assert len(list(list_stored_files(tmp_path))) == 1


def test_a_restart_finds_what_was_closed_in_time(tmp_path: Path) -> None:
    first = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1, settle=3600.0)
    first.put(header_of(), (1, 2, 3), state_of((1, 2, 3)))
    first.close(WAIT)
    second = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1)
    second.load(IDENTITY)
    match = second.match(IDENTITY, OWNER, (1, 2, 3, 4))
    assert match is not None
    assert (match.length, match.entry.tier) == (3, Tier.DISK)
    assert fetched(second, OWNER, (1, 2, 3, 4)) == (3, state_of((1, 2, 3)))
    assert match.entry.tier is Tier.MEMORY
    second.close(WAIT)


def test_what_leaves_the_memory_is_on_disk(tmp_path: Path) -> None:
    store = PrefixStore(300, DiskTier(tmp_path, 100_000), min_tokens=1, settle=3600.0)
    for first in range(10):
        tokens = (first, 1, 2)
        store.put(header_of(), tokens, state_of(tokens))
        store.hurry()
        assert store.wait_written(WAIT)
    for first in range(10):
        assert fetched(store, OWNER, (first, 1, 2)) == (3, state_of((first, 1, 2)))
    store.close(WAIT)


def test_short_prefixes_stay_in_memory_alone(tmp_path: Path) -> None:
    store = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=4, settle=0.0)
    store.put(header_of(), (1, 2, 3), state_of((1, 2, 3)))
    store.put(header_of(), (4, 5, 6, 7), state_of((4, 5, 6, 7)))
    store.close(WAIT)
    assert len(list(list_stored_files(tmp_path))) == 1


def test_a_damaged_file_is_a_miss_and_the_others_are_hits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1, settle=0.0)
    for start in (1, 2):
        first.put(header_of(), (start, 9, 9), state_of((start, 9, 9)))
    first.close(WAIT)
    second = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1)
    second.load(IDENTITY)
    match = second.match(IDENTITY, OWNER, (1, 9, 9))
    assert match is not None
    assert match.entry.path is not None
    match.entry.path.write_bytes(match.entry.path.read_bytes()[:-1])
    assert fetched(second, OWNER, (1, 9, 9)) is None
    assert fetched(second, OWNER, (2, 9, 9)) == (3, state_of((2, 9, 9)))
    second.close(WAIT)
    assert len(caplog.records) == 1


def test_a_checkpoint_serves_only_what_begins_with_all_of_it() -> None:
    store = PrefixStore(10_000)
    store.put(header_of(cuts=(3,)), (1, 2, 3), state_of((1, 2, 3)))
    store.put(header_of(cuts=(5,)), (1, 2, 3, 4, 5), state_of((1, 2, 3, 4, 5)))
    assert fetched(store, OWNER, (1, 2, 9)) is None
    assert fetched(store, OWNER, (1, 2, 3, 4, 9)) == (3, state_of((1, 2, 3)))
    assert fetched(store, OWNER, (1, 2, 3, 4, 5, 6)) == (5, state_of((1, 2, 3, 4, 5)))


def test_a_marked_state_serves_at_its_marks_alone() -> None:
    store = PrefixStore(10_000)
    whole = tuple(range(10))
    store.put(header_of(cuts=(3, 7, 10)), whole, state_of(whole))
    assert fetched(store, OWNER, (0, 1, 9)) is None
    for common, length in ((3, 3), (6, 3), (7, 7), (9, 7), (10, 10)):
        assert fetched(store, OWNER, (*whole[:common], 99, 98)) == (length, state_of(whole))


def test_a_conversation_that_goes_on_from_a_mark_stands_in_for_its_last_turn() -> None:
    store = PrefixStore(10_000)
    first, other, second = (0, 1, 2, 3, 4, 5), (0, 1, 70, 71), (0, 1, 2, 3, 9, 9, 9)
    store.put(header_of(cuts=(2, 4, 6)), first, state_of(first))
    store.put(header_of(cuts=(2, 4)), other, state_of(other))
    assert store.stats()[0].entries == 2
    assert fetched(store, OWNER, (0, 1, 8)) == (2, state_of(other))
    # The answer was written otherwise in the next turn, which goes on from the end of the prompt.
    store.put(header_of(cuts=(4, 7)), second, state_of(second))
    assert store.stats()[0].entries == 2
    assert fetched(store, OWNER, (0, 1, 2, 3, 4, 5, 6)) == (4, state_of(second))
    assert fetched(store, OWNER, (*other, 1)) == (4, state_of(other))


def test_a_store_without_room_keeps_nothing() -> None:
    store = PrefixStore(0)
    store.put(header_of(), (1, 2, 3), state_of((1, 2, 3)))
    assert store.match(IDENTITY, OWNER, (1, 2, 3)) is None
    assert not store.keeps


def test_what_the_store_cannot_write_is_told_once_and_stays_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1, settle=0.0)
    # No vocabulary has ids of 33 bits, and the file's format has none either.
    strange = (2**32, 1, 2)
    for tokens in (strange, (3, 4, 5)):
        store.put(header_of(), tokens, state_of(tokens))
        assert store.wait_written(WAIT)
    assert str(tmp_path) in store.stats()[1].problem
    assert fetched(store, OWNER, strange) == (3, state_of(strange))
    assert fetched(store, OWNER, (3, 4, 5)) == (3, state_of((3, 4, 5)))
    store.close(WAIT)
    assert [record.message for record in caplog.records] == [
        "storing prefixes failed",
        "prefixes are no longer stored on disk",
    ]


def test_what_is_put_while_the_disk_is_full_is_written_when_it_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "prefixes"
    store = PrefixStore(10_000, DiskTier(folder, 100_000, retry=0.0), min_tokens=1, settle=0.0)
    folder.write_text("in the way")
    first, second, third = (1, 2, 3), (4, 5, 6), (7, 8, 9)
    for tokens in (first, second):
        store.put(header_of(), tokens, state_of(tokens))
        assert store.wait_written(WAIT)
        assert fetched(store, OWNER, tokens) == (3, state_of(tokens))
    assert str(folder) in store.stats()[1].problem
    folder.unlink()
    store.put(header_of(), third, state_of(third))
    assert store.wait_written(WAIT)
    assert store.stats()[1].problem == ""
    store.close(WAIT)
    again = PrefixStore(0, DiskTier(folder, 100_000), min_tokens=1)
    again.load(IDENTITY)
    for tokens in (first, second, third):
        assert fetched(again, OWNER, tokens) == (3, state_of(tokens))
    again.close(WAIT)


def test_a_file_that_vanishes_between_index_and_read_is_a_miss_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1, settle=0.0)
    first.put(header_of(), (1, 2, 3), state_of((1, 2, 3)))
    first.close(WAIT)
    second = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1)
    second.load(IDENTITY)
    (file,) = list_stored_files(tmp_path)
    file.path.unlink()
    assert fetched(second, OWNER, (1, 2, 3)) is None
    assert second.match(IDENTITY, OWNER, (1, 2, 3)) is None
    second.close(WAIT)
    assert caplog.records == []


def test_a_file_of_another_model_in_the_folder_of_this_one_is_told_and_a_miss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = ModelIdentity("other weights", "llamacpp", "1.2", "context 4096, f16")
    first = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1, settle=0.0)
    first.put(header_of(identity=other), (1, 2, 3), state_of((1, 2, 3)))
    first.close(WAIT)
    (file,) = list_stored_files(tmp_path)
    (tmp_path / IDENTITY.digest).mkdir()
    file.path.rename(tmp_path / IDENTITY.digest / file.path.name)
    second = PrefixStore(10_000, DiskTier(tmp_path, 100_000), min_tokens=1)
    second.load(IDENTITY)
    assert second.match(IDENTITY, OWNER, (1, 2, 3)) is None
    second.close(WAIT)
    assert [record.message for record in caplog.records] == ["a stored prefix cannot be used, and is computed again"]


def test_files_that_another_process_deleted_are_forgotten_with_the_next_that_is_written(tmp_path: Path) -> None:
    mine, others = (PrefixStore(0, DiskTier(tmp_path, 5_000), min_tokens=1, settle=0.0) for _ in range(2))
    for first in range(3):
        mine.put(header_of(), (first, 1, 2), state_of((first, 1, 2), 1_000))
        assert mine.wait_written(WAIT)
    for first in range(3, 6):
        others.put(header_of(), (first, 1, 2), state_of((first, 1, 2), 1_000))
        assert others.wait_written(WAIT)
    assert mine.stats()[1].entries == 3
    mine.put(header_of(), (9, 1, 2), state_of((9, 1, 2), 1_000))
    assert mine.wait_written(WAIT)
    files = {each.path for each in list_stored_files(tmp_path)}
    there = [first for first in (0, 1, 2, 9) if mine.match(IDENTITY, OWNER, (first, 1, 2)) is not None]
    assert mine.stats()[1].entries == len(there) < 4
    for first in there:
        match = mine.match(IDENTITY, OWNER, (first, 1, 2))
        assert match is not None
        assert match.entry.path in files
    mine.close(WAIT)
    others.close(WAIT)


def test_what_is_too_large_for_the_disk_leaves_its_shorter_beginning_to_the_next_start(tmp_path: Path) -> None:
    store = PrefixStore(300, DiskTier(tmp_path, 5_000), min_tokens=1, settle=0.0)
    for tokens, size in (((1, 2), 100), ((1, 2, 3), 6_000), ((4, 5), 100)):
        store.put(header_of(), tokens, state_of(tokens, size))
        assert store.wait_written(WAIT)
    store.close(WAIT)
    again = PrefixStore(300, DiskTier(tmp_path, 5_000), min_tokens=1)
    again.load(IDENTITY)
    assert fetched(again, OWNER, (1, 2, 3)) == (2, state_of((1, 2)))
    again.close(WAIT)
