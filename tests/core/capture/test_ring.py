"""Requests and replies that are kept: bounded, without keys, found by number and by id."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.capture.exchange import _AS_STRING, _SECRET, REDACTED, CapturedRequest, hide_secrets, keep_headers
from core.capture.ring import CaptureRing, CapturesUnreadable
from core.errors import UsageError
from core.settings.capture import CaptureSettings
from tests.fakes.captured import exchange_of
from tests.fakes.support import folders_in


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[CaptureRing]:
    made = CaptureRing(folders_in(tmp_path), CaptureSettings(requests=3, size=1))
    yield made
    made.close()


def test_an_exchange_comes_back_as_it_was(ring: CaptureRing) -> None:
    kept = exchange_of("one", {"model": "echo", "n": [1, {"ü": None}]}, reply=b'{"a": 1}', first=0.25)
    ring.add(kept)
    place, found = ring.find("one")
    assert (place, found) == (1, kept)
    (line,) = ring.list_lines()
    assert (line.place, line.model, line.first, line.body_bytes) == (1, "echo", 0.25, len(kept.body))


def test_the_oldest_leave_when_there_are_too_many(ring: CaptureRing) -> None:
    for number in range(5):
        ring.add(exchange_of(f"req-{number}"))
    assert [(line.place, line.request_id) for line in ring.list_lines()] == [(5, "req-4"), (4, "req-3"), (3, "req-2")]
    with pytest.raises(UsageError, match="left the ring"):
        ring.find("req-0")


def test_the_oldest_leave_when_they_take_too_many_bytes(ring: CaptureRing) -> None:
    for number in range(3):
        ring.add(exchange_of(f"req-{number}", {"text": "x" * 450_000}))
    assert [line.request_id for line in ring.list_lines()] == ["req-2", "req-1"]


def test_a_request_is_found_by_what_its_id_begins_or_ends_with_if_that_is_one_alone(ring: CaptureRing) -> None:
    ring.add(exchange_of("req_alpha"))
    ring.add(exchange_of("req_beta"))
    ring.add(exchange_of("7"))
    assert ring.find("alpha")[1].request_id == "req_alpha"
    assert ring.find("3")[1].request_id == "7"
    with pytest.raises(UsageError, match="Several"):
        ring.find("req_")
    with pytest.raises(UsageError, match="No request"):
        ring.find("9" * 30)


def test_several_of_one_id_are_told_apart_by_number(ring: CaptureRing) -> None:
    for _ in range(2):
        ring.add(exchange_of("twice"))
    with pytest.raises(UsageError, match="number"):
        ring.find("twice")
    assert ring.find("2")[0] == 2


def test_what_is_forgotten_is_gone_for_another_process(ring: CaptureRing, tmp_path: Path) -> None:
    for number in range(3):
        ring.add(exchange_of(f"req-{number}"))
    other = CaptureRing(folders_in(tmp_path), CaptureSettings())
    assert len(ring.list_lines()) == 3
    assert other.remove([2]) == 1
    assert [line.place for line in ring.list_lines()] == [3, 1]
    assert other.remove(None) == 2
    assert ring.list_lines() == []
    other.close()


def test_nothing_is_made_where_nothing_is_kept(tmp_path: Path) -> None:
    ring = CaptureRing(folders_in(tmp_path), CaptureSettings())
    assert not ring.is_on
    assert ring.list_lines() == []
    assert ring.remove(None) == 0
    ring.close()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_told_to_who_reads_it(ring: CaptureRing) -> None:
    ring.path.parent.mkdir(parents=True)
    ring.path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(CapturesUnreadable, match="delete the file"):
        ring.list_lines()


def test_keys_are_kept_nowhere(ring: CaptureRing) -> None:
    key = b"sk-very-secret"
    body = {"tools": [{"type": "mcp", "authorization": "Bearer abc"}], "user": "sk-very-secret", "api_key": 'q"u'}
    sent = replace(
        exchange_of("one", body, reply=b'{"echo": "sk-very-secret"}'),
        headers=keep_headers([(b"Authorization", b"Bearer " + key), (b"X-Api-Key", key), (b"User-Agent", b"tests")]),
    )
    ring.add(sent, (key,))
    _, found = ring.find("one")
    raw = b"".join(path.read_bytes() for path in ring.path.parent.iterdir())
    for secret in (key, b"Bearer abc", b'q\\"u'):
        assert secret not in raw
    assert found.headers == {"user-agent": "tests"}
    assert found.body.count(REDACTED.encode()) == 3
    assert found.is_whole
    assert found.reply_bytes == len(found.reply)


@pytest.mark.parametrize(
    "body",
    [
        b'{"X-Api-Key": "hush"}',
        b'{"env": {"OPENAI_API_KEY": "hush"}}',
        b'{"client_secret":"hush"}',
        b'{"refresh-token": "hush \\" hush"}',
        b'{"model": "echo", "password": "hush, and then it was cu',
        b'{"password": "hush\\',
    ],
)
def test_a_secret_is_known_by_the_end_of_its_name_and_also_where_it_was_cut(body: bytes) -> None:
    hidden = hide_secrets(body, ())
    assert b"hush" not in hidden
    assert REDACTED.encode() in hidden


def test_no_key_is_kept_of_an_address_or_a_header(ring: CaptureRing) -> None:
    path = "/v1/chat/completions?x=1&api_key=hush&monkey=2&key=hush&user=sk-1"
    ring.add(replace(exchange_of("one", path=path), headers={"user-agent": "agent sk-1"}), (b"sk-1",))
    _, found = ring.find("one")
    assert found.path == path.replace("hush", REDACTED).replace("sk-1", REDACTED)
    assert found.headers == {"user-agent": f"agent {REDACTED}"}


def test_a_name_that_cannot_be_written_takes_no_other_request_with_it(ring: CaptureRing) -> None:
    for name in ("before", "half a letter \ud800", "after"):
        ring.add(exchange_of("id", {"model": name}))
    assert [line.model for line in ring.list_lines()] == ["after", "", "before"]


@given(st.dictionaries(st.text(), st.text()))
def test_a_body_that_names_no_secret_is_kept_to_the_letter(body: dict[str, str]) -> None:
    text = exchange_of("one", {f"x{name}": value for name, value in body.items()}).body
    assert hide_secrets(text, ()) == text


def test_what_is_longer_than_a_quarter_of_the_ring_is_not_whole(ring: CaptureRing) -> None:
    assert ring.most_bytes == 250_000
    whole = exchange_of("one", {"text": "x"})
    assert whole.is_whole
    assert not CapturedRequest("a", 0, 0, "POST", "/", b"{", b"", 200, body_bytes=2).is_whole


SECRETS = [
    *('"api_key"', '"Token"', '"auth-TOKEN"', '"client_secret"', '"x_password"'),
    *('"Authorization"', '"authorization_token"'),
]
PIECES = st.sampled_from([*SECRETS, '"content"', ": ", '"value"', '"cut', ",", "\\"])


@given(st.lists(PIECES, max_size=8).map("".join))
def test_a_text_that_is_passed_over_holds_no_secret(text: str) -> None:
    assert hide_secrets(text.encode(), ()) == _SECRET.sub(_AS_STRING, text.encode())


def test_what_was_forgotten_leaves_room_for_others(ring: CaptureRing) -> None:
    for number in range(3):
        ring.add(exchange_of(f"req-{number}"))
    ring.remove([2])
    ring.add(exchange_of("req-3"))
    assert [line.place for line in ring.list_lines()] == [4, 3, 1]
    ring.add(exchange_of("req-4"))
    assert [line.place for line in ring.list_lines()] == [5, 4, 3]
