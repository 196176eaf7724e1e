"""Which responses are kept, and what they take."""

from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from api.http.errors import PreviousResponseNotFound, ResponseNotFound
from api.openai.responses.resource import OutputTextPart, SaidItem
from api.openai.responses.service import BODY
from api.openai.responses.store import ResponseStore, StoredResponse
from api.openai.responses.translation import build_draft, read_request
from api.openai.responses.wire import MessageItem
from core.errors import RequestError


def stored(said: str, answer: str, previous: StoredResponse | None = None, status: str = "completed") -> StoredResponse:
    draft = build_draft(read_request(BODY.decode(json.dumps({"input": said}).encode()).body), "m")
    item = SaidItem(id=f"msg_{answer}", status="completed", content=[OutputTextPart(answer)])
    resource = replace(draft, status=status, output=[item])
    return StoredResponse(resource, (MessageItem(role="user", content=said, id=f"msg_{said}"),), previous)


def said_by(response: StoredResponse) -> list[object]:
    return [item.id for item in response.list_conversation()]


def test_a_conversation_is_all_its_turns_the_oldest_first() -> None:
    first = stored("a", "A")
    assert said_by(stored("b", "B", first)) == ["msg_a", "msg_A", "msg_b", "msg_B"]


def test_the_response_that_was_used_last_leaves_last() -> None:
    store = ResponseStore(most=2)
    one, two, three = stored("a", "A"), stored("b", "B"), stored("c", "C")
    store.keep("k", one)
    store.keep("k", two)
    store.find(("k",), one.resource.id)
    store.keep("k", three)
    assert store.find(("k",), one.resource.id) is one
    with pytest.raises(ResponseNotFound):
        store.find(("k",), two.resource.id)


def test_a_turn_that_was_deleted_counts_as_long_as_a_later_one_needs_it() -> None:
    store = ResponseStore()
    first = stored("a", "A")
    second = stored("b", "B", first)
    store.keep("k", first)
    store.keep("k", second)
    both = store.bytes
    store.delete("k", first.resource.id)
    assert store.bytes == both
    assert said_by(store.find(("k",), second.resource.id))[0] == "msg_a"
    store.delete("k", second.resource.id)
    assert store.bytes == 0


def test_what_was_let_go_while_its_next_turn_was_answered_counts_again() -> None:
    store = ResponseStore()
    first = stored("a", "A")
    store.keep("k", first)
    store.delete("k", first.resource.id)
    store.keep("k", stored("b", "B", first))
    assert store.bytes > first.size > 0


def test_what_is_larger_than_the_store_is_not_kept() -> None:
    store = ResponseStore(most_bytes=2000)
    large = stored("x" * 3000, "A")
    store.keep("k", large)
    assert (len(store), store.bytes) == (0, 0)


def test_an_item_that_was_sent_again_is_found_when_the_response_that_first_brought_it_has_left() -> None:
    store = ResponseStore()
    first, second = stored("a", "A"), stored("a", "B")
    store.keep("k", first)
    store.keep("k", second)
    store.delete("k", first.resource.id)
    assert store.find_item(("k",), "msg_a", "input[0].id") is second.items[0]
    store.delete("k", second.resource.id)
    with pytest.raises(RequestError):
        store.find_item(("k",), "msg_a", "input[0].id")


def test_only_its_owner_finds_a_response_or_its_items() -> None:
    store = ResponseStore()
    one = stored("a", "A")
    store.keep("k", one)
    with pytest.raises(PreviousResponseNotFound):
        store.find_previous(("other",), one.resource.id)
    with pytest.raises(RequestError):
        store.find_item(("other",), "msg_A", "input[0].id")
    assert store.find_item(("other", "k"), "msg_A", "input[0].id").id == "msg_A"


def test_nothing_goes_on_from_a_response_that_is_being_answered() -> None:
    store = ResponseStore()
    one = stored("a", "A", status="in_progress")
    store.keep("k", one)
    with pytest.raises(RequestError, match="still being answered"):
        store.find_previous(("k",), one.resource.id)


def test_an_owner_that_leaves_takes_all_of_its_own_along() -> None:
    store = ResponseStore()
    left: list[str] = []
    for owner in ("k", "k/1"):
        response = stored("a", "A")
        response.leaves = partial(left.append, owner)
        store.keep(owner, response)
    store.forget("k/1")
    assert (len(store), left) == (1, ["k/1"])


@given(st.lists(st.tuples(st.sampled_from("kdu"), st.integers(0, 7), st.integers(0, 400)), max_size=40))
def test_bytes_are_always_those_of_what_is_within_reach(acts: list[tuple[str, int, int]]) -> None:
    store = ResponseStore(most=5, most_bytes=20_000)
    made: list[StoredResponse] = []
    for act, which, size in acts:
        known = made[which % len(made)] if made else None
        if act == "k":
            made.append(stored("x" * size, "A", known))
            store.keep("k", made[-1])
        elif known is not None and act == "d":
            try:
                store.delete("k", known.resource.id)
            except ResponseNotFound:
                continue
        elif known is not None:
            item = SaidItem(id="msg_u", status="completed", content=[OutputTextPart("y" * size)])
            known.resource = replace(known.resource, output=[item])
            store.update("k", known)
        reachable: set[StoredResponse] = set()
        for response in made:
            try:
                turn: StoredResponse | None = store.find(("k",), response.resource.id)
            except ResponseNotFound:
                continue
            while turn is not None:
                reachable.add(turn)
                turn = turn.previous
        assert store.bytes == sum(turn.size for turn in reachable)
        assert len(store) <= 5
