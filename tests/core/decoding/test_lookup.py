"""What prompt lookup guesses: by the sequence itself, and by what its owner's requests wrote before."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from core.decoding.lookup import LEAD_TOKENS, LEARNED_AT_ONCE_TOKENS, PromptLookup
from core.decoding.runs import RUN_TOKENS
from core.decoding.speculate import FIRM_TOKENS, GuessWish

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=60)
FILE = list(range(100, 140))


def guess(
    lookup: PromptLookup, tokens: Sequence[int], most: int = 6, key: str = "a", owner: str | None = "me"
) -> list[int]:
    wish = GuessWish(key, tokens, most, owner=owner)
    lookup.weigh([wish])
    (found,) = lookup.propose([wish])
    return found


def looked_up(tokens: Sequence[int], most: int = 6) -> list[int]:
    return guess(PromptLookup(), tokens, most)


def test_what_followed_the_same_tokens_before_is_guessed() -> None:
    assert looked_up([1, 2, 3, 4, 5, 9, 1, 2, 3], 2) == [4, 5]


def test_of_runs_alike_the_last_counts() -> None:
    assert looked_up([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1) == [8]


def test_the_longer_run_counts_though_a_shorter_one_stands_nearer() -> None:
    assert looked_up([5, 1, 2, 3, 7, 6, 1, 2, 3, 8, 5, 1, 2, 3], 1) == [7]


def test_what_repeats_is_guessed_to_go_on_beyond_its_end() -> None:
    assert looked_up([1, 2, 3, 1, 2, 3], 7) == [1, 2, 3, 1, 2, 3, 1]


def test_nothing_is_guessed_of_a_text_without_repetition() -> None:
    assert looked_up([1, 2, 3, 4, 5]) == []
    assert looked_up([1]) == []


def test_an_edited_copy_is_guessed_to_come_back_to_where_it_left() -> None:
    """Both lines of the text end alike; the copy changed what stands between them."""
    lookup = PromptLookup()
    text = [*range(20, 40), 1, 2, 3, 50, *range(60, 70), 1, 2, 3, 51]
    copy = [*text, 9, *range(20, 40)]
    assert guess(lookup, copy, 1) == [1]
    copy += [8, 8, 1, 2, 3]
    assert guess(lookup, copy, 1) == [50]


def best_lengths(tokens: list[int]) -> set[int]:
    """Where the longest run at the end occurred before, by its definition."""
    lengths = {}
    for end in range(RUN_TOKENS, len(tokens)):
        length = 0
        while length < end and tokens[end - 1 - length] == tokens[-1 - length]:
            length += 1
        if length >= RUN_TOKENS:
            lengths[end] = length
    return {end for end, length in lengths.items() if length == max(lengths.values())}


@given(TEXTS, st.integers(1, 8))
def test_the_longest_run_is_found_at_once(tokens: list[int], most: int) -> None:
    ends = best_lengths(tokens)
    copied = {tuple((tokens[end:] * most)[:most]) for end in ends}
    assert looked_up(tokens, most) == (
        [] if not ends else list(next(one for one in copied if list(one) == looked_up(tokens, most)))
    )


@given(TEXTS, st.integers(1, 59))
def test_a_lookup_that_follows_a_text_guesses_only_what_followed_its_last_tokens(tokens: list[int], step: int) -> None:
    lookup = PromptLookup()
    for end in (*range(1, len(tokens), step), len(tokens)):
        found = guess(lookup, tokens[:end], 1)
        tail = tokens[max(0, end - RUN_TOKENS) : end]
        followers = {tokens[at] for at in range(RUN_TOKENS, end) if tokens[at - RUN_TOKENS : at] == tail}
        assert (found[0] in followers) if found else not followers


def test_how_far_a_run_goes_back_is_told() -> None:
    lookup = PromptLookup()
    tokens = [*FILE, 1, *FILE[: FIRM_TOKENS + 2]]
    assert lookup.weigh([GuessWish("a", tokens, 3)]) == [FIRM_TOKENS + 2]
    tokens = [*tokens, *FILE[FIRM_TOKENS + 2 :][:4]]
    assert lookup.weigh([GuessWish("a", tokens, 3)]) == [FIRM_TOKENS + 6]
    assert lookup.weigh([GuessWish("b", [1, 2, 3], 3)]) == [0]


def test_what_an_ended_request_wrote_is_guessed_in_the_next_one_of_its_owner() -> None:
    lookup = PromptLookup()
    lookup.forget(GuessWish("a", [7, 8, 9, *FILE], 0, prompt=3, owner="me"))
    assert guess(lookup, [5, *FILE[10:13]], 4, key="b") == FILE[13:17]
    assert guess(lookup, [5, *FILE[10:13]], 4, key="c", owner="another") == []
    assert guess(lookup, [5, *FILE[10:13]], 4, key="d", owner=None) == []


def test_a_request_that_wants_no_cache_leaves_nothing_to_others() -> None:
    lookup = PromptLookup()
    lookup.forget(GuessWish("a", FILE, 0, prompt=0, owner=None))
    assert guess(lookup, [5, *FILE[10:13]], 4, key="b") == []


def test_of_a_prompt_only_its_end_is_kept() -> None:
    lookup = PromptLookup()
    lookup.forget(GuessWish("a", [*FILE, 1, 2, 3], 0, prompt=len(FILE), owner="me"))
    assert guess(lookup, FILE[-LEAD_TOKENS:], 3, key="b") == [1, 2, 3]
    assert guess(lookup, FILE[: -LEAD_TOKENS - 1], 3, key="c") == []


def test_the_sequence_itself_comes_before_the_pool_and_the_longer_run_before_both() -> None:
    lookup = PromptLookup()
    lookup.forget(GuessWish("a", [4, 1, 2, 3, 60], 0, owner="me"))
    assert guess(lookup, [5, 1, 2, 3, 70, 1, 2, 3], 1, key="b") == [70]
    assert guess(lookup, [5, 1, 2, 3, 70, 4, 1, 2, 3], 1, key="c") == [60]


def test_a_run_in_the_pool_is_followed_while_it_goes_on_and_left_when_it_does_not() -> None:
    lookup = PromptLookup()
    lookup.forget(GuessWish("a", FILE, 0, owner="me"))
    assert guess(lookup, FILE[:3], 2, key="b") == FILE[3:5]
    assert guess(lookup, FILE[:20], 2, key="b") == FILE[20:22]
    assert guess(lookup, [*FILE[:20], 1], 2, key="b") == []
    assert guess(lookup, [*FILE[:20], 1, *FILE[21:24]], 2, key="b") == FILE[24:26]
    assert guess(lookup, [*FILE[:20], 1, *FILE[21:]], 2, key="b") == []


def test_a_forgotten_sequence_leaves_nothing_of_itself_behind() -> None:
    lookup = PromptLookup()
    guess(lookup, [1, 2, 3, 1, 2], key="a", owner=None)
    lookup.forget(GuessWish("a", [1, 2, 3, 1, 2], 0))
    assert guess(lookup, [1, 2, 3], key="a", owner=None) == []


def test_a_shutdown_leaves_nothing_of_what_was_written() -> None:
    lookup = PromptLookup()
    lookup.forget(GuessWish("a", FILE, 0, owner="me"))
    assert guess(lookup, FILE[:3], 2, key="b") == FILE[3:5]
    lookup.shutdown()
    assert guess(lookup, FILE[:3], 2, key="b") == []


def test_long_prompts_share_what_is_read_in_one_step() -> None:
    lookup = PromptLookup()
    text = list(range(LEARNED_AT_ONCE_TOKENS * 3 // 4))
    lengths = []
    for copied in (3, 4, 5):
        wishes = [GuessWish(key, [*text, *text[-9:][:copied]], 1) for key in "ab"]
        lengths.append((lookup.weigh(wishes), lookup.reading))
    assert lengths == [([0, 0], True), ([4, 4], True), ([5, 5], False)]


def test_what_another_request_wrote_at_length_is_read_in_parts_too() -> None:
    lookup = PromptLookup()
    text = list(range(2 * LEARNED_AT_ONCE_TOKENS - 9))
    lookup.forget(GuessWish("a", text, 0, owner="me"))
    assert guess(lookup, text[-9:-6], 2, key="b") == []
    assert lookup.reading
    assert guess(lookup, text[-9:-5], 2, key="b") == text[-5:-3]
    guess(lookup, text[-9:-4], 2, key="b")
    assert not lookup.reading
