"""Models served with chat templates of their own: what is told of them, and whom a bad one holds up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from core.chat.template import ABSENT, MOVED, NO_SYSTEM
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.errors import ModelNotReady, Overloaded, RequestError, TemplateFailed
from core.requests import Conversation, Role, Tool
from core.serving import prompts
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.serving.stream import Stream
from core.tasks.bounds import SHORT_BYTES
from tests.fakes.support import GatedEcho, asks, said

WRITTEN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>a\n"
NO_GUIDE = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + WRITTEN
HANGS = "{% if messages[0].content == 'go' %}" + "{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4 + "{% endif %}"


@asynccontextmanager
async def serving(template: str | None, model: EchoModel | None = None) -> AsyncIterator[Host]:
    model = model or EchoModel()
    model.spec = replace(model.spec, template=template)
    host = Host("m", lambda *_: LoadedModel(model, "echo"), max_queue=32, queue_timeout=60.0, slots=None)
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def text_of(stream: Stream) -> str:
    return (await stream.reply()).choices[0].text


async def test_a_model_without_a_template_says_so_wherever_it_is_shown() -> None:
    async with serving(None) as host:
        assert host.snapshot().notes == (ABSENT,)


async def test_a_model_whose_template_says_chatml_has_nothing_to_tell() -> None:
    async with serving(EchoModel().spec.template) as host:
        assert host.snapshot().notes == ()


async def test_requests_with_tools_are_written_with_the_template_for_them() -> None:
    model = EchoModel()
    model.spec = replace(model.spec, tool_template=WRITTEN.replace("{{ m.content }}", "{{ tools|length }} tools"))
    prompt = Conversation((said("hello"),), tools=(Tool("look"),))
    async with serving(WRITTEN, model) as host:
        assert await text_of(await host.submit(asks("hello"))) == "hello"
        assert await text_of(await host.submit(asks("", prompt=prompt))) == "1 tools"
        assert await text_of(await host.submit(asks("hello"))) == "hello"


async def test_the_users_own_template_goes_before_the_models() -> None:
    model = EchoModel(LoadOptions(chat_template=(WRITTEN.replace("{{ m.content }}", "{{ m.content|upper }}"),)))
    async with serving(model.spec.template, model) as host:
        assert await text_of(await host.submit(asks("hello"))) == "HELLO"


async def test_a_last_message_of_the_assistants_is_gone_on_with() -> None:
    prompt = Conversation((said("abc"), said("ab", Role.ASSISTANT)), continued=True)
    async with serving(EchoModel().spec.template) as host:
        assert await (await host.reader()).write(asks("", prompt=prompt)) == (
            "<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\nab"
        )


async def test_the_board_tells_of_a_system_message_that_was_moved() -> None:
    model = GatedEcho()
    async with serving(NO_GUIDE, model) as host:
        assert host.snapshot().notes == (NO_SYSTEM,)
        prompt = Conversation((said("be brief", Role.SYSTEM), said("hello")))
        await host.submit(asks("", prompt=prompt, request_id="guided"))
        await host.submit(asks("hello", request_id="plain"))
        notes = {row.id: row.notes for row in host.snapshot().requests}
        assert notes == {"guided": (MOVED,), "plain": ()}
        model.open_gate()


async def test_a_template_that_hangs_holds_up_its_own_model_alone() -> None:
    async with serving(HANGS + WRITTEN) as host, serving(WRITTEN) as other:
        hanging = asyncio.ensure_future(host.submit(asks("go")))
        behind = asyncio.ensure_future(host.submit(asks("hello")))
        stream = await other.submit(asks("hello"))
        assert not hanging.done()
        assert await text_of(stream) == "hello"
        with pytest.raises(TemplateFailed, match="takes longer"):
            await hanging
        assert await text_of(await behind) == "hello"


async def test_a_long_conversation_that_hangs_holds_up_no_short_one() -> None:
    long = Conversation((said("go"), said("x" * (SHORT_BYTES + 1))))
    async with serving(HANGS + WRITTEN) as host:
        hanging = asyncio.ensure_future(host.submit(asks("", prompt=long)))
        assert await text_of(await host.submit(asks("hello"))) == "hello"
        assert not hanging.done()
        await host.stop()
        with pytest.raises(ModelNotReady):
            await hanging


async def test_a_model_is_unloaded_while_its_template_hangs() -> None:
    async with serving(HANGS + WRITTEN) as host:
        hanging = asyncio.ensure_future(host.submit(asks("go")))
        await asyncio.sleep(0.1)
        await host.stop()
        with pytest.raises(ModelNotReady):
            await hanging


async def test_who_waited_too_long_behind_a_template_that_hangs_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "TEMPLATE_SECONDS", -1.0)
    async with serving(WRITTEN) as host:
        with pytest.raises(Overloaded, match="held up by other conversations"):
            await host.submit(asks("hello"))


async def test_a_refusal_in_the_templates_own_words_is_about_the_messages() -> None:
    async with serving("{{ raise_exception('send audio') }}") as host:
        with pytest.raises(RequestError, match="m refuses these messages: send audio"):
            await host.submit(asks("hello"))
