"""What a request says and what came of it, looked at while it runs and when it has ended."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakMethod

from core.observing.recent import RecentRequests
from core.requests import Conversation, Generation
from core.serving.content import MOST_WRITTEN_TOKENS, AnswerReadout, RequestContent
from core.settings.schema import Settings
from core.workbench import Workbench
from tests.fakes.support import asks, folders_in


async def make_workbench(tmp_path: Path, *, keeps: bool = True) -> Workbench:
    workbench = Workbench(Settings(), folders_in(tmp_path))
    workbench.recent.keeps_content = keeps
    await workbench.models.load("echo")
    return workbench


async def test_prompt_and_answer_are_read_while_the_request_runs_and_after_it(tmp_path: Path) -> None:
    workbench = await make_workbench(tmp_path)
    stream = await workbench.requests.submit(asks("hello there", request_id="one", max_tokens=200))
    content = workbench.requests.content("one")
    assert content is not None
    assert isinstance(content.asked, Generation)
    assert isinstance(content.asked.prompt, Conversation)
    reply = await stream.reply()
    ended = workbench.recent.find_ended("one")
    assert ended is not None
    assert ended.content is not None
    for each in (content, ended.content):
        assert "hello there" in (await each.write_prompt() or "")
        written = await AnswerReadout(each).read()
        assert written is not None
        assert written.startswith(reply.choices[0].text)
    assert ended.content.prompt is content.prompt
    await workbench.close()


async def test_letters_are_gone_with_the_model_and_nothing_keeps_it_loaded(tmp_path: Path) -> None:
    workbench = await make_workbench(tmp_path)
    await (await workbench.requests.submit(asks("hello", request_id="one"))).reply()
    ended = workbench.recent.find_ended("one")
    assert ended is not None
    assert ended.content is not None
    await workbench.models.unload("echo")
    assert await ended.content.write_prompt() is None
    await asyncio.sleep(0)
    gc.collect()
    assert ended.content.decode is not None
    assert ended.content.decode() is None
    await workbench.close()


async def test_without_anybody_to_look_nothing_of_it_is_kept(tmp_path: Path) -> None:
    workbench = await make_workbench(tmp_path, keeps=False)
    await (await workbench.requests.submit(asks("hello", request_id="one"))).reply()
    ended = workbench.recent.find_ended("one")
    assert ended is not None
    assert ended.content is None
    await workbench.close()


async def test_the_oldest_content_goes_where_there_is_no_room(tmp_path: Path) -> None:
    workbench = await make_workbench(tmp_path, keeps=False)
    few = RecentRequests(400)
    few.keeps_content = True
    workbench.requests.observe(few)
    for name in ("one", "two", "three"):
        await (await workbench.requests.submit(asks("hello " * 10, request_id=name))).reply()
    assert [each.row.id for each in few.list_ended(2)] == ["three", "two"]
    kept = [each.content.weight if each.content is not None else 0 for each in few.list_ended(3)]
    assert 0 < kept[0] <= 400
    assert kept[2] == 0
    await workbench.close()


async def test_both_ends_of_a_long_prompt_are_read(tmp_path: Path) -> None:
    asked: list[int] = []

    class Letters:
        async def decode(self, tokens: Sequence[int]) -> bytes:
            asked.append(len(tokens))
            return b"x"

    letters = Letters()
    tokens = range(MOST_WRITTEN_TOKENS + 5)
    text = await RequestContent(asks("x"), tokens, decode=WeakMethod(letters.decode)).write_prompt()
    assert text == "x\n\n... 5 tokens ...\n\nx"
    assert asked == [MOST_WRITTEN_TOKENS // 2] * 2


async def test_each_token_of_an_answer_is_put_into_words_once_and_halves_of_letters_wait() -> None:
    asked: list[list[int]] = []

    class Letters:
        async def decode(self, tokens: Sequence[int]) -> bytes:
            asked.append([*tokens])
            return bytes(tokens)

    letters = Letters()
    tokens = [1, 2, *"ü".encode()[:1]]
    answer = AnswerReadout(RequestContent(asks("x"), [1, 2], (tokens,), decode=WeakMethod(letters.decode)))
    assert await answer.read() == "\N{REPLACEMENT CHARACTER}"
    tokens += "ü".encode()[1:] + b"b"
    assert await answer.read() == await answer.read() == "üb"
    assert asked == [[0xC3], [0xBC, 0x62]]
    tokens += [0x63] * (MOST_WRITTEN_TOKENS + 1)
    assert len(await answer.read() or "") == MOST_WRITTEN_TOKENS + 2
    assert len(asked[-1]) == MOST_WRITTEN_TOKENS
