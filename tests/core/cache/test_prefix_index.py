"""What is stored, found by its tokens: for whom, and up to where."""

from core.cache.identity import digest_owner
from core.cache.prefix import Tokens
from core.cache.prefix_index import PrefixIndex, StoredPrefix
from tests.fakes.prefixes import IDENTITY, OWNER, header_of

TOKENS = (1, 2, 3, 4, 5, 6)


def stored(tokens: Tokens, *cuts: int) -> StoredPrefix:
    return StoredPrefix(header_of(cuts=cuts or None), tokens, 100)


def test_what_is_stored_is_found_up_to_where_it_differs_and_by_its_owner_alone() -> None:
    index = PrefixIndex()
    entry = stored(TOKENS)
    assert index.enter(entry) == []
    match = index.match(IDENTITY, OWNER, (1, 2, 3, 9))
    assert match is not None
    assert (match.entry, match.length) == (entry, 3)
    assert index.match(IDENTITY, digest_owner("another", None), TOKENS) is None


def test_a_state_that_cannot_be_cut_anywhere_is_found_at_its_cuts_alone() -> None:
    index = PrefixIndex()
    index.enter(stored(TOKENS, 2, 6))
    found = [index.match(IDENTITY, OWNER, TOKENS[:length]) for length in range(1, 7)]
    assert [match and match.length for match in found] == [None, 2, 2, 2, 2, 6]


def test_a_longer_state_supersedes_its_beginning_and_says_so_once() -> None:
    index = PrefixIndex()
    short = stored(TOKENS[:4])
    index.enter(short)
    assert index.enter(stored(TOKENS)) == [short]
    assert index.enter(stored(TOKENS)) is None


def test_what_is_forgotten_is_not_found_and_forgetting_it_again_does_nothing() -> None:
    index = PrefixIndex()
    entry = stored(TOKENS)
    index.enter(entry)
    for _ in range(2):
        index.forget(entry)
    assert index.match(IDENTITY, OWNER, TOKENS) is None
