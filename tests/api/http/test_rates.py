"""How much a key may ask, and what its clients are told of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import openai
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from api.http.errors import RateLimited
from api.http.rate_headers import write_seconds
from api.http.rates import Allowance, Bucket
from core.settings.guards import LimitSettings
from core.settings.keys import KeyLimits
from core.settings.schema import ServerSettings, Settings
from tests.api.conftest import ENDLESS, Served, chat_body, serving, settings_of, user
from tests.api.openai.responses.test_socket import fault, opened, turn

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
served_together = pytest.mark.asyncio(loop_scope="session")


class WoundClock:
    """A clock that the test winds."""

    def __init__(self) -> None:
        self.passed = 0.0

    def count(self) -> float:
        return self.passed

    def local(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)


def allowance(times: WoundClock, everybody: Bucket | None = None, **limits: int) -> Allowance:
    return Allowance(KeyLimits(**limits), everybody, clock=times.count, local=times.local)


def ask(allowed: Allowance) -> float | None:
    """Ask for one request; None where it was let in, else the seconds that its client is told to wait."""
    try:
        with allowed.admit():
            return None
    except RateLimited as error:
        return error.retry_after


def test_the_requests_of_a_minute_come_back_one_after_the_other() -> None:
    times = WoundClock()
    allowed = allowance(times, requests_per_minute=3)
    assert [ask(allowed) for _ in range(4)] == [None, None, None, 20]
    times.passed += 19
    assert ask(allowed) == 1
    times.passed += 1
    assert ask(allowed) is None
    assert allowed.describe()["requests"].remaining == 0
    times.passed += 3600
    assert allowed.describe()["requests"].remaining == 3


@given(st.integers(1, 50), st.lists(st.floats(0, 30), min_size=1, max_size=150))
def test_never_are_more_requests_let_in_than_a_full_bucket_and_what_came_back(limit: int, pauses: list[float]) -> None:
    times = WoundClock()
    allowed = allowance(times, requests_per_minute=limit)
    let_in = 0
    for pause in pauses:
        times.passed += pause
        let_in += ask(allowed) is None
    assert let_in <= limit + times.passed * limit / 60 + 1e-6


@given(st.integers(1, 1000), st.integers(0, 5000))
def test_who_waits_as_long_as_it_is_told_is_let_in(limit: int, spent: int) -> None:
    times = WoundClock()
    allowed = allowance(times, tokens_per_minute=limit)
    allowed.charge(spent)
    if (wait := ask(allowed)) is not None:
        times.passed += wait
        assert ask(allowed) is None


def test_a_request_that_overdraws_the_tokens_of_a_minute_is_paid_by_the_next_ones() -> None:
    times = WoundClock()
    allowed = allowance(times, tokens_per_minute=60)
    allowed.charge(180)
    assert ask(allowed) == 121
    assert allowed.describe()["tokens"].remaining == 0


def test_the_tokens_of_a_day_come_back_at_midnight() -> None:
    times = WoundClock()
    allowed = allowance(times, tokens_per_day=100)
    allowed.charge(99)
    assert ask(allowed) is None
    allowed.charge(50)
    assert ask(allowed) == 12 * 3600
    times.passed += 12 * 3600
    assert ask(allowed) is None
    assert allowed.describe()["tokens"].remaining == 100


def test_tokens_of_this_day_that_were_spent_before_the_start_count() -> None:
    times = WoundClock()
    allowed = Allowance(KeyLimits(tokens_per_day=100), clock=times.count, local=times.local, spent=100)
    assert ask(allowed) == 12 * 3600


def test_no_more_requests_run_at_once_than_a_key_may_have() -> None:
    allowed = allowance(WoundClock(), requests_at_once=2)
    with ExitStack() as running:
        running.enter_context(allowed.admit())
        with allowed.occupy():
            assert ask(allowed) == 1
        assert ask(allowed) is None


def test_what_was_refused_takes_nothing() -> None:
    times = WoundClock()
    everybody = Bucket(10, times.count)
    allowed = allowance(times, everybody, requests_per_minute=1)
    assert [ask(allowed) for _ in range(5)] == [None, 60, 60, 60, 60]
    assert everybody.describe().remaining == 9


def test_all_keys_share_what_is_for_all() -> None:
    times = WoundClock()
    everybody = Bucket(2, times.count)
    one, other = allowance(times, everybody), allowance(times, everybody, requests_per_minute=100)
    assert [ask(one), ask(other), ask(one), ask(other)] == [None, None, 30, 30]
    assert other.describe()["requests"].limit == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.02, "20ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s"), (7260, "2h1m0s")]
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert write_seconds(seconds) == text


KEYS = """
[few]
key = "few"
requests_per_minute = 2
[tokens]
key = "tokens"
tokens_per_minute = 1
tokens_per_day = 100000
[one]
key = "one"
requests_at_once = 1
[message]
key = "message"
requests_per_minute = 1
[messages]
key = "messages"
requests_per_minute = 1
tokens_per_minute = 1000
[root]
key = "root"
admin = true
"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def limited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    path = tmp_path_factory.mktemp("limited")
    file = path / "keys.toml"
    file.write_text(KEYS)
    file.chmod(0o600)
    settings = settings_of(ServerSettings(port=0, api_key_file=str(file)), model=ENDLESS)
    async with serving(path, settings) as served:
        yield served


@served_together
async def test_a_client_is_told_what_is_left_and_when_to_come_again(limited: Served) -> None:
    async with AsyncOpenAI(base_url=f"{limited.server.url}/v1", api_key="few", max_retries=0) as client:
        create, raw = client.chat.completions.create, client.chat.completions.with_raw_response.create
        told = await raw(model="echo", messages=[{"role": "user", "content": "x"}])
        assert told.headers["x-ratelimit-limit-requests"] == "2"
        assert told.headers["x-ratelimit-remaining-requests"] == "1"
        assert told.headers["x-ratelimit-reset-requests"] == "30s"
        assert "x-ratelimit-limit-tokens" not in told.headers
        for _ in range(3):
            await client.models.list()
        await create(model="echo", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.RateLimitError) as caught:
            await create(model="echo", messages=[{"role": "user", "content": "x"}])
    answer = caught.value.response
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-request-id"]
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.type == "requests"


@served_together
async def test_tokens_that_were_used_are_counted_when_a_request_has_ended(limited: Served) -> None:
    headers = {"x-api-key": "tokens"}
    first = await limited.http.post("/v1/chat/completions", json=chat_body(), headers=headers)
    assert first.status_code == 200
    second = await limited.http.post("/v1/chat/completions", json=chat_body(), headers=headers)
    assert second.status_code == 429
    assert second.json()["error"]["type"] == "tokens"
    assert second.headers["x-should-retry"] == "false"
    assert second.headers["x-ratelimit-remaining-tokens"] == "0"


@served_together
async def test_a_second_request_at_once_is_refused_while_the_first_is_answered(limited: Served) -> None:
    headers = {"x-api-key": "one"}
    body = chat_body(stream=True, ignore_eos=True)
    async with limited.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        lines = answer.aiter_lines()  # what is dropped is closed
        await anext(lines)
        refused = await limited.http.post("/v1/chat/completions", json=chat_body(), headers=headers)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
    while (await limited.http.post("/v1/chat/completions", json=chat_body(), headers=headers)).status_code == 429:
        await asyncio.sleep(0.01)


@served_together
async def test_anthropics_clients_are_told_in_their_own_words(limited: Served) -> None:
    headers = {"x-api-key": "messages"}
    body = {"model": "echo", "max_tokens": 4, "messages": user("x")}
    first = await limited.http.post("/v1/messages", json=body, headers=headers)
    assert first.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert first.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert datetime.fromisoformat(first.headers["anthropic-ratelimit-requests-reset"]) > datetime.now(UTC)
    assert first.headers["anthropic-ratelimit-tokens-limit"] == "1000"
    assert "x-ratelimit-limit-requests" not in first.headers
    second = await limited.http.post("/v1/messages", json=body, headers=headers)
    assert second.status_code == 429
    assert second.json()["error"]["type"] == "rate_limit_error"
    assert second.headers["retry-after"]


@served_together
async def test_each_message_of_a_websocket_is_a_request(limited: Served) -> None:
    async with opened(limited, **{"x-api-key": "message"}) as socket:
        assert (await turn(socket))["status"] == "completed"
        refused = await fault(socket)
        assert refused["status"] == 429
        assert refused["error"]["code"] == "rate_limit_exceeded"
        assert refused["headers"]["retry-after"]


@served_together
async def test_a_response_in_the_background_is_one_of_the_requests_at_once(limited: Served) -> None:
    headers = {"x-api-key": "one"}
    body = {"model": "echo", "input": "x", "background": True, "ignore_eos": True}
    while (begun := await limited.http.post("/v1/responses", json=body, headers=headers)).status_code == 429:
        await asyncio.sleep(0.01)
    refused = await limited.http.post("/v1/chat/completions", json=chat_body(), headers=headers)
    assert refused.status_code == 429
    ended = await limited.http.post(f"/v1/responses/{begun.json()['id']}/cancel", headers=headers)
    assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")


@served_together
async def test_keys_that_are_no_admins_see_and_change_their_own_alone(limited: Served) -> None:
    few, one, root = ({"x-api-key": key} for key in ("few", "one", "root"))
    for path in ("/v1/models/unload", "/v1/models/load", "/v1/models/pin", "/v1/downloads"):
        refused = await limited.http.post(path, json={"model": "echo"}, headers=one)
        while refused.status_code == 429:
            refused = await limited.http.post(path, json={"model": "echo"}, headers=one)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "admin_only"
    body = chat_body(stream=True, ignore_eos=True)
    named = {**root, "x-request-id": "roots"}
    async with limited.http.stream("POST", "/v1/chat/completions", json=body, headers=named) as answer:
        lines = answer.aiter_lines()  # what is dropped is closed
        await anext(lines)
        for path in ("/v1/requests/roots", "/v1/requests/nobodys"):
            assert (await limited.http.get(path, headers=few)).status_code == 404
            assert (await limited.http.delete(path, headers=few)).status_code == 404
        assert (await limited.http.get("/v1/requests", headers=few)).json() == {"requests": []}
        (row,) = (await limited.http.get("/v1/requests", headers=root)).json()["requests"]
        assert row["key"] == "root"
        (taken,), (slot,) = [(await limited.http.get("/slots", headers=each)).json() for each in (few, root)]
        assert (taken["is_processing"], taken.get("id_task"), taken["n_prompt_tokens"]) == (True, None, 0)
        assert (slot["is_processing"], slot["id_task"]) == (True, "roots")
        assert (await limited.http.delete("/v1/requests/roots", headers=root)).status_code == 200


@served_together
async def test_all_clients_together_have_a_limit_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(server=ServerSettings(port=0), limits=LimitSettings(requests_per_minute=1))
    async with serving(tmp_path_factory.mktemp("all"), settings) as served:
        first, second = await served.chat(), await served.chat()
        assert (first.status_code, second.status_code) == (200, 429)
        assert "from all its clients together" in second.json()["error"]["message"]
        assert first.headers["x-ratelimit-limit-requests"] == "1"
        assert (await served.http.get("/v1/models")).status_code == 200


@served_together
async def test_who_shows_no_key_takes_nothing_of_what_all_clients_share(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = Settings(server=ServerSettings(port=0, api_keys=("right",)), limits=LimitSettings(requests_per_minute=1))
    async with serving(tmp_path_factory.mktemp("strangers"), settings) as served:
        assert {(await served.http.post("/health")).status_code for _ in range(3)} == {405}
        headers = {"x-api-key": "right"}
        answer = await served.http.post("/v1/chat/completions", json=chat_body(), headers=headers)
        assert answer.status_code == 200
