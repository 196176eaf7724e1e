"""The file of API keys changes while a server runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from api.http import key_watch
from api.http.errors import RateLimited
from core.settings.schema import ServerSettings
from tests.api.conftest import PATIENCE, Served, serving, settings_of
from tests.api.openai.responses.test_socket import opened, send, turn

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALICE, BOB, ROOT = ({"x-api-key": key} for key in ("alices", "bobs", "root"))
ALICES = '[alice]\nkey = "alices"\n'
LIMITED = ALICES + "requests_per_minute = 1\n"
BOBS = '[bob]\nkey = "bobs"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text(LIMITED)
    file.chmod(0o600)
    return file


@pytest_asyncio.fixture(loop_scope="session")
async def watched(tmp_path: Path, file: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, settings_of(ServerSettings(port=0, api_keys=("root",), api_key_file=str(file)))) as it:
        yield it


async def change(served: Served, file: Path, text: str | None) -> None:
    """Write the file, or delete it, and have the server look at it twice."""
    put(file, text)
    await look(served)
    await look(served)


def put(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


async def look(served: Served) -> None:
    assert served.server._key_watch is not None
    await served.server._key_watch.look()


async def list_allowed(served: Served) -> list[bool]:
    """Whether Alice's key, Bob's and that of the settings open the server."""
    answers = [await served.http.get("/v1/models", headers=each) for each in (ALICE, BOB, ROOT)]
    return [answer.status_code == 200 for answer in answers]


async def test_a_key_that_is_added_opens_and_one_that_is_gone_does_not(watched: Served, file: Path) -> None:
    assert await list_allowed(watched) == [True, False, True]
    await change(watched, file, BOBS)
    assert await list_allowed(watched) == [False, True, True]


async def test_a_server_looks_at_the_file_by_itself(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_watch, "LOOK_SECONDS", 0.01)
    settings = settings_of(ServerSettings(port=0, api_key_file=str(file)))
    async with serving(tmp_path, settings) as served, asyncio.timeout(PATIENCE):
        put(file, BOBS)
        while await list_allowed(served) != [False, True, False]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("wrong", ["[alice", "", "[alice]\nkey = 5\n", '[root]\nkey = "root"\n', None])
async def test_a_broken_file_keeps_the_old_keys_and_the_log_says_so_once(
    watched: Served, file: Path, wrong: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    await change(watched, file, wrong)
    assert await list_allowed(watched) == [True, False, True]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the file of API keys is wrong now; the keys stay as they were"
    ]
    await change(watched, file, BOBS)
    assert await list_allowed(watched) == [False, True, True]


async def test_a_limit_that_stays_as_it_was_is_not_filled_again(watched: Served, file: Path) -> None:
    allowances = watched.server._allowances
    assert allowances is not None
    with allowances.find("alice").admit():
        await change(watched, file, LIMITED + BOBS)
        with pytest.raises(RateLimited), allowances.find("alice").admit():
            pass
        await change(watched, file, ALICES + "requests_per_minute = 5\nrequests_at_once = 1\n")
        # It has requests again, and the one that runs still counts.
        with pytest.raises(RateLimited, match="at once"), allowances.find("alice").admit():
            pass
    with allowances.find("alice").admit():
        pass


async def test_tokens_of_this_day_are_counted_over_a_change_of_their_limit(watched: Served, file: Path) -> None:
    allowances = watched.server._allowances
    assert allowances is not None
    await change(watched, file, ALICES + "tokens_per_day = 10\n")
    allowances.find("alice").charge(20)
    await change(watched, file, ALICES + "tokens_per_day = 15\n")
    with pytest.raises(RateLimited), allowances.find("alice").admit():
        pass


async def test_a_websocket_goes_on_while_its_key_is_there_and_is_closed_when_it_is_gone(
    watched: Served, file: Path
) -> None:
    await change(watched, file, ALICES)
    async with opened(watched, **ALICE) as socket:
        assert (await turn(socket))["status"] == "completed"
        await change(watched, file, ALICES + BOBS)
        assert (await turn(socket))["status"] == "completed"
        await change(watched, file, BOBS)
        await send(socket)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
