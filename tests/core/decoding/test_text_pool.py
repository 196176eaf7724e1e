"""The pool of what requests have written: whose it is, how much of it is kept."""

from hypothesis import given
from hypothesis import strategies as st

from core.decoding.runs import RUN_TOKENS
from core.decoding.text_pool import LEAST_COST_TOKENS, TextPool

WHOLE_TOKENS = 1 << 20
"""More than any pool holds here."""
ADDED = st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 2), max_size=12)), max_size=30)
TAILS = st.lists(st.integers(0, 2), min_size=RUN_TOKENS, max_size=8)


def learned(pool: TextPool, owner: str, tokens: list[int]) -> None:
    """Add a text, and learn it."""
    pool.add(owner, tokens)
    pool.learn(WHOLE_TOKENS)


def test_an_owner_finds_its_own_texts_alone() -> None:
    pool = TextPool()
    learned(pool, "a", [1, 2, 3, 4])
    assert pool.find("b", [1, 2, 3]) is None
    found = pool.find("a", [9, 1, 2, 3])
    assert found is not None
    assert (found.length, pool.follow(found, 5)) == (3, [4])


def test_what_was_used_longest_ago_leaves_first_whoever_owns_it() -> None:
    pool = TextPool(3 * LEAST_COST_TOKENS)
    for owner, token in (("a", 1), ("b", 2), ("c", 3)):
        learned(pool, owner, [token] * 10)
    used = pool.find("a", [1, 1, 1])
    assert used is not None
    pool.touch(used)
    learned(pool, "d", [4] * 10)
    assert [owner for owner, token in (("a", 1), ("b", 2), ("c", 3), ("d", 4)) if pool.find(owner, [token] * 3)] == [
        "a",
        "c",
        "d",
    ]


def test_a_text_that_is_written_again_is_kept_once_and_longer() -> None:
    pool = TextPool(2 * LEAST_COST_TOKENS)
    learned(pool, "a", [1] * 10)
    learned(pool, "a", [2] * 10)
    learned(pool, "a", [1] * 10)
    assert pool.held == 2 * LEAST_COST_TOKENS
    learned(pool, "a", [3] * 10)
    assert pool.find("a", [1, 1, 1]) is not None
    assert pool.find("a", [2, 2, 2]) is None


def test_a_run_whose_text_left_is_followed_by_nothing() -> None:
    pool = TextPool(LEAST_COST_TOKENS)
    learned(pool, "a", [1, 2, 3, 4, 5])
    run = pool.find("a", [1, 2, 3])
    assert run is not None
    learned(pool, "a", [6] * 10)
    assert pool.follow(run, 3) == []


def test_of_a_text_larger_than_the_pool_the_end_is_kept() -> None:
    pool = TextPool(100)
    learned(pool, "a", list(range(300)))
    assert pool.find("a", [100, 101, 102]) is None
    assert pool.find("a", [210, 211, 212]) is not None
    assert pool.held == 100


@given(ADDED, TAILS, st.integers(0, 5))
def test_whatever_was_added_the_bound_holds_and_what_is_found_was_written_by_its_owner(
    added: list[tuple[str, list[int]]], tail: list[int], most: int
) -> None:
    pool = TextPool(5 * LEAST_COST_TOKENS)
    texts: dict[str, list[list[int]]] = {"a": [], "b": []}
    for owner, text in added:
        learned(pool, owner, text)
        texts[owner].append(text)
        assert pool.held <= 5 * LEAST_COST_TOKENS
        for asking in "ab":
            if (run := pool.find(asking, tail)) is None:
                continue
            known = [*tail[-run.length :], *pool.follow(run, most)]
            assert any(known == each[at : at + len(known)] for each in texts[asking] for at in range(len(each)))
            assert pool.follow(run, 1)


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=4), TAILS)
def test_the_longest_run_of_all_texts_is_found(texts: list[list[int]], tail: list[int]) -> None:
    pool = TextPool()
    for text in texts:
        learned(pool, "a", text)
    runs = [
        length
        for text in texts
        for length in range(RUN_TOKENS, len(tail) + 1)
        for end in range(length, len(text))
        if text[end - length : end] == tail[-length:]
    ]
    found = pool.find("a", tail)
    # Sixteen places are compared, and so few texts have no more.
    assert (found.length if found else 0) == max(runs, default=0) or len(runs) > 16


def test_texts_are_learned_in_parts_also_when_the_pool_is_put_in_order() -> None:
    pool = TextPool(1000)
    pool.add("a", list(range(600)))
    pool.add("a", list(range(600, 1000)))
    assert (pool.learn(700), pool.learn(700), pool.learn(700)) == (700, 302, 0)
    assert pool.find("a", [990, 991, 992]) is not None
    # The older text leaves: more than half of what the owner wrote.
    pool.add("a", list(range(1000, 1500)))
    assert pool.find("a", [990, 991, 992]) is None
    assert pool.learn(500) == 500
    assert pool.find("a", [990, 991, 992]) is not None
    assert pool.find("a", [1400, 1401, 1402]) is None
    assert (pool.learn(WHOLE_TOKENS), pool.learn(WHOLE_TOKENS)) == (402, 0)
    assert pool.find("a", [1400, 1401, 1402]) is not None


@given(ADDED, TAILS, st.lists(st.integers(0, 40), min_size=30, max_size=30))
def test_what_is_learned_in_parts_is_at_last_what_is_learned_at_once(
    added: list[tuple[str, list[int]]], tail: list[int], parts: list[int]
) -> None:
    at_once, in_parts = TextPool(5 * LEAST_COST_TOKENS), TextPool(5 * LEAST_COST_TOKENS)
    for (owner, text), part in zip(added, parts, strict=False):
        learned(at_once, owner, text)
        in_parts.add(owner, text)
        assert in_parts.learn(part) <= part
    in_parts.learn(WHOLE_TOKENS)
    for owner in "ab":
        assert in_parts.find(owner, tail) == at_once.find(owner, tail)
