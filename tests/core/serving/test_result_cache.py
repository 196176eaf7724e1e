"""Results that are kept: never beyond the room there is, never those of another tenant or text."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from core.contract.models import TokenPair
from core.serving.result_cache import ENTRY_BYTES, ResultCache, name_text

KEYS = st.integers(0, 20).map(lambda number: b"%d" % number)
ROOM = 5 * (ENTRY_BYTES + 8)


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=60))
def test_what_was_used_last_is_there_and_no_more_than_fits(steps: list[tuple[bytes, bool]]) -> None:
    cache: ResultCache[bytes] = ResultCache(ROOM)
    used: list[bytes] = []
    for key, keeps in steps:
        if keeps:
            cache.keep(key, key.ljust(8))
        found = cache.find(key)
        assert found in (None, key.ljust(8))
        if found is not None:
            used = [key, *(each for each in used if each != key)][:5]
        assert cache.size == len(cache) * (ENTRY_BYTES + 8) <= ROOM
    assert all(cache.find(key) is not None for key in used)


def test_what_is_larger_than_the_room_is_not_kept() -> None:
    cache: ResultCache[bytes] = ResultCache(ENTRY_BYTES)
    cache.keep(b"a", b"x")
    assert (len(cache), cache.find(b"a")) == (0, None)


@given(st.text(), st.text(), st.lists(st.integers(0, 2**31 - 1)), st.lists(st.integers(0, 2**31 - 1)))
def test_a_key_is_of_one_tenant_and_one_text(one: str, other: str, tokens: list[int], others: list[int]) -> None:
    same = one == other and tokens == others
    assert (name_text(one, tokens) == name_text(other, array("i", others))) == same


def test_a_pair_is_known_by_where_its_document_begins() -> None:
    assert name_text("", TokenPair([1, 2, 3], 1)) != name_text("", TokenPair([1, 2, 3], 2))
    assert name_text("", TokenPair([1, 2, 3], 1)) != name_text("", [1, 2, 3])
