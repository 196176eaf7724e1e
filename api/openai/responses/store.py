"""Responses that were answered, for requests that go on from them; in memory, and bounded.

Each response keeps what its own request brought and what was answered; what came before it is in the response that it
went on from. So a chat of many turns is kept once, and the earlier turns stay as long as a later one needs them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from api.http.errors import PreviousResponseNotFound, ResponseNotFound
from api.openai.responses.items import keep_output
from api.openai.responses.resource import ENCODER, ResponseResource
from api.openai.responses.wire import InputItem
from core.errors import RequestError

MOST_RESPONSES: Final = 4096
MOST_BYTES: Final = 256 * 1024 * 1024
TAKEN_BYTES: Final = 3
"""Bytes that an object's text takes in memory beside each byte of its JSON, about."""


class StoredResponse:
    """One response. What its request brought does not change; `resource` does while it is being answered."""

    def __init__(
        self, resource: ResponseResource, items: tuple[InputItem, ...], previous: StoredResponse | None
    ) -> None:
        self.resource = resource
        self.items = items
        self.previous = previous
        self.size = 0
        """Bytes, without those of what came before."""
        self.needed = 0
        """By how many places: the list of the store, and each response that goes on from it."""
        self.leaves: Callable[[], None] = lambda: None
        """Called when it leaves the list."""

    def list_input(self) -> list[InputItem]:
        """All that its answer was an answer to, the oldest first."""
        before = [] if self.previous is None else self.previous.list_conversation()
        return [*before, *self.items]

    def list_conversation(self) -> list[InputItem]:
        """The same with the answer, for the next request to go on from."""
        turns: list[StoredResponse] = []
        turn: StoredResponse | None = self
        while turn is not None:
            turns.append(turn)
            turn = turn.previous
        return [item for turn in reversed(turns) for item in (*turn.items, *map(keep_output, turn.resource.output))]


class ResponseStore:
    """Responses by whose they are: a key, or one connection of it. The one that was used last leaves last."""

    def __init__(self, most: int = MOST_RESPONSES, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._listed: OrderedDict[tuple[str, str], StoredResponse] = OrderedDict()
        self._items: dict[tuple[str, str], tuple[StoredResponse, InputItem]] = {}
        """Each with the response that brought it last: clients send items again under the ids that they have."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._listed)

    def keep(self, owner: str, response: StoredResponse) -> None:
        """Older ones make room; so does this one if it is too large."""
        response.size = _measure(response)
        self._listed[owner, response.resource.id] = response
        self._need(response)
        self._index(owner, response)
        self._make_room()

    def update(self, owner: str, response: StoredResponse) -> None:
        """Take account of what has become of it, if it is kept still."""
        if self._listed.get((owner, response.resource.id)) is response:
            size = _measure(response)
            self.bytes += size - response.size
            response.size = size
            self._index(owner, response)
            self._make_room()

    def _index(self, owner: str, response: StoredResponse) -> None:
        for item in _own_items(response):
            self._items[owner, item.id or ""] = response, item

    def _make_room(self) -> None:
        while self._listed and (len(self._listed) > self._most or self.bytes > self._most_bytes):
            self._unlist(next(iter(self._listed)))

    def find(self, owners: Iterable[str], response_id: str) -> StoredResponse:
        """Raises ResponseNotFound."""
        for owner in owners:
            if (found := self._listed.get((owner, response_id))) is not None:
                self._listed.move_to_end((owner, response_id))
                return found
        raise ResponseNotFound(response_id)

    def find_previous(self, owners: Iterable[str], response_id: str) -> StoredResponse:
        """One to go on from. Raises PreviousResponseNotFound, RequestError while it is still being answered."""
        try:
            found = self.find(owners, response_id)
        except ResponseNotFound:
            raise PreviousResponseNotFound(response_id) from None
        if found.resource.status in ("queued", "in_progress"):
            raise RequestError(
                f"The response {response_id[:128]!r} is still being answered; go on from it when it has ended.",
                "previous_response_id",
            )
        return found

    def find_item(self, owners: Iterable[str], item_id: str, path: str) -> InputItem:
        """Raises RequestError, which names `path`."""
        for owner in owners:
            if (found := self._items.get((owner, item_id))) is not None:
                return found[1]
        raise RequestError(f"There is no item {item_id[:128]!r} in the responses that are stored; send the item.", path)

    def delete(self, owner: str, response_id: str) -> StoredResponse:
        """Responses that go on from it keep what they need of it. Raises ResponseNotFound."""
        found = self.find((owner,), response_id)
        self._unlist((owner, response_id))
        return found

    def forget(self, owner: str) -> None:
        """All of one owner."""
        for place in [place for place in self._listed if place[0] == owner]:
            self._unlist(place)

    def _unlist(self, place: tuple[str, str]) -> None:
        response = self._listed.pop(place, None)
        if response is None:
            return
        for item in _own_items(response):
            named = place[0], item.id or ""
            if (found := self._items.get(named)) is not None and found[0] is response:
                del self._items[named]
        self._release(response)
        response.leaves()

    def _need(self, response: StoredResponse) -> None:
        turn: StoredResponse | None = response
        while turn is not None:
            turn.needed += 1
            if turn.needed > 1:
                return
            self.bytes += turn.size
            turn = turn.previous

    def _release(self, response: StoredResponse) -> None:
        turn: StoredResponse | None = response
        while turn is not None:
            turn.needed -= 1
            if turn.needed:
                return
            self.bytes -= turn.size
            turn = turn.previous


def _own_items(response: StoredResponse) -> Iterator[InputItem]:
    yield from response.items
    yield from map(keep_output, response.resource.output)


def _measure(response: StoredResponse) -> int:
    return TAKEN_BYTES * (len(ENCODER.encode(response.items)) + len(ENCODER.encode(response.resource)))
