"""The radix index against a plain list of entries, searched from end to end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from core.cache.prefix import RadixIndex, Tokens
from core.cache.resident import Residents
from core.contract.step import SequenceId
from core.decoding.common_prefix import count_common

token_runs = st.lists(st.integers(0, 2), max_size=8).map(tuple)
"""Few different tokens, so that prefixes often coincide."""


def naive_prefix(a: Tokens, b: Tokens) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@given(st.lists(st.integers(0, 1), max_size=200).map(tuple), st.lists(st.integers(0, 1), max_size=200).map(tuple))
def test_common_prefix_counts_leading_tokens(a: Tokens, b: Tokens) -> None:
    assert count_common(a, b) == naive_prefix(a, b)
    assert count_common(a, a + b) == len(a)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(token_runs, st.booleans()), max_size=25), token_runs)
def test_the_index_finds_the_longest_common_prefix_of_what_is_in_it(
    changes: list[tuple[Tokens, bool]], wanted: Tokens
) -> None:
    index: RadixIndex[int] = RadixIndex()
    kept: dict[int, Tokens] = {}
    for number, (tokens, remove_one) in enumerate(changes):
        covered = any(other[: len(tokens)] == tokens for other in kept.values())
        assert index.insert(tokens, number) == (bool(tokens) and not covered)
        if tokens and not covered:
            kept[number] = tokens
            prefixes = {entry for entry, other in kept.items() if other != tokens and tokens[: len(other)] == other}
            assert set(index.superseded(number)) == prefixes
        if remove_one and kept:
            gone = next(iter(kept))
            del kept[gone]
            index.remove(gone)
        best = max((naive_prefix(other, wanted) for other in kept.values()), default=0)
        found = index.match(wanted)
        assert (found.length if found else 0) == best
        if found:
            assert naive_prefix(kept[found.entry], wanted) == best
        assert {entry: index.tokens(entry) for entry in index.entries()} == kept


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(token_runs, st.booleans()), max_size=25), token_runs)
def test_exact_entries_are_found_where_all_of_them_is_a_prefix(
    changes: list[tuple[Tokens, bool]], wanted: Tokens
) -> None:
    index: RadixIndex[int] = RadixIndex()
    kept: dict[int, Tokens] = {}
    for number, (tokens, remove_one) in enumerate(changes):
        fresh = bool(tokens) and tokens not in kept.values()
        assert index.insert_exact(tokens, number) == fresh
        if fresh:
            kept[number] = tokens
        if remove_one and kept:
            gone = next(iter(kept))
            del kept[gone]
            index.remove(gone)
        best = max((other for other in kept.values() if wanted[: len(other)] == other), key=len, default=None)
        found = index.longest_within(wanted)
        assert (None if found is None else kept[found]) == best
        assert {entry: index.tokens(entry) for entry in index.entries()} == kept


def test_tenants_do_not_see_each_others_residents() -> None:
    residents = Residents()
    residents.keep("one", (1, 2, 3), SequenceId(1))
    assert residents.match("two", (1, 2, 3)) is None
    found = residents.match("one", (1, 2, 9))
    assert found is not None
    assert (found.entry, found.length) == (SequenceId(1), 2)


def test_a_longer_resident_supersedes_its_own_prefixes() -> None:
    residents = Residents()
    assert residents.keep("", (1, 2), SequenceId(1)) == []
    assert residents.keep("", (1, 2, 3), SequenceId(2)) == [SequenceId(1)]
    assert len(residents) == 1


def test_a_sequence_that_adds_nothing_is_given_back() -> None:
    residents = Residents()
    residents.keep("", (1, 2, 3), SequenceId(1))
    assert residents.keep("", (1, 2), SequenceId(2)) == [SequenceId(2)]
    assert SequenceId(2) not in residents


def test_of_residents_as_long_as_each_other_the_one_not_used_for_longest_makes_room() -> None:
    residents = Residents()
    residents.keep("", (1, 1), SequenceId(1))
    residents.keep("", (2, 2), SequenceId(2))
    residents.age(1)
    residents.match("", (1, 1, 5))
    assert residents.choose_victim() == SequenceId(2)
    assert residents.choose_victim(spare=SequenceId(2)) == SequenceId(1)
    residents.drop(SequenceId(2))
    assert residents.choose_victim() == SequenceId(1)
    assert residents.choose_victim(spare=SequenceId(1)) is None
    residents.drop(SequenceId(1))
    assert residents.choose_victim() is None


def test_a_long_resident_stays_until_as_many_tokens_were_computed_as_it_holds_more() -> None:
    residents = Residents()
    residents.keep("", (1,) * 20, SequenceId(1))
    residents.age(17)
    residents.keep("", (2, 3), SequenceId(2))
    assert residents.choose_victim() == SequenceId(2)
    residents.age(2)
    residents.match("", (2, 3, 4))
    assert residents.choose_victim() == SequenceId(1)


def test_residents_are_idle_by_what_was_computed_since_they_were_of_use() -> None:
    residents = Residents()
    for number, tokens in enumerate([(1, 2, 3), (4, 5, 6), (7, 8, 9)]):
        residents.keep("", tokens, SequenceId(number))
        residents.age(10)
    residents.match("", (1, 2))
    residents.age(5)
    assert residents.idle(15) == [(SequenceId(1), 25), (SequenceId(2), 15)]
    residents.drop(SequenceId(1))
    assert residents.idle(0) == [(SequenceId(2), 15), (SequenceId(0), 5)]


def test_a_settled_resident_is_not_idle_until_it_is_of_use_and_makes_room_first() -> None:
    residents = Residents()
    for number, tokens in enumerate([(1, 2, 3), (4, 5, 6)]):
        residents.keep("", tokens, SequenceId(number))
    residents.settle(SequenceId(0))
    residents.age(10)
    assert residents.idle(10) == [(SequenceId(1), 10)]
    assert residents.choose_victim() == SequenceId(0)
    residents.match("", (1, 2))
    residents.age(10)
    assert residents.idle(10) == [(SequenceId(1), 20), (SequenceId(0), 10)]
