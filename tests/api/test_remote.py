"""A server of ours in front of another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai
import pytest

from core.errors import LoadFailed
from core.settings.model import ModelSettings
from core.settings.schema import ServerSettings
from tests.api.conftest import ENDLESS, cached_of, serving, settings_of, text_of, until, usage_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_server_relays_to_another_one(tmp_path: Path) -> None:
    key = ServerSettings(port=0, api_keys=("far key",))
    async with serving(tmp_path / "far", settings_of(server=key)) as far:
        here = settings_of(model=ModelSettings(remote_api_key="far key"))
        async with serving(tmp_path / "near", here, model=far.server.url) as near:
            name = far.server.url
            models = await near.client.models.list()
            assert models.data[0].id == name
            assert near.workbench.models.active_engine == "remote"

            said = "Grüße 🌍, and more"
            reply = await near.complete(model=name, messages=[{"role": "user", "content": said}])
            direct = await far.complete(messages=[{"role": "user", "content": said}])
            assert reply.model == name
            assert reply.choices[0].message.content == direct.choices[0].message.content == said
            assert usage_of(reply).completion_tokens == usage_of(direct).completion_tokens
            assert usage_of(reply).prompt_tokens == usage_of(direct).prompt_tokens
            assert cached_of(direct) > cached_of(reply) == 0

            chunks = await near.chunks(model=name, n=2, stop="more", logprobs=True, top_logprobs=1,
                                       messages=[{"role": "user", "content": said}],
                                       stream_options={"include_usage": True})  # fmt: skip
            assert text_of(chunks, 0) == text_of(chunks, 1) == "Grüße 🌍, and "
            told = [choice.logprobs.content for chunk in chunks for choice in chunk.choices if choice.logprobs]
            assert sum(len(content or ()) for content in told) == 2 * len("Grüße 🌍, and ".encode())
            assert usage_of(chunks[-1]).completion_tokens > 0


async def test_what_the_far_server_refuses_is_told_as_it_says_it(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "far", settings_of(model=ModelSettings(ctx_size=64))) as far,
        serving(tmp_path / "near", model=f"{far.server.url}/v1#echo") as near,
    ):
        name = f"{far.server.url}#echo"
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="the context holds 64") as caught:
                await near.complete(model=name, stream=stream, messages=[{"role": "user", "content": "x" * 100}])
            assert caught.value.param == "messages"


async def test_how_well_a_model_elsewhere_calls_tools_is_found_out_without_a_bound_on_its_thoughts(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "far") as far, serving(tmp_path / "near", model=far.server.url) as near:
        verdicts = [verdict async for verdict in near.workbench.bench.check_tools(far.server.url)]
    assert verdicts[0].problem.startswith("It called nothing; it wrote What is the weather")


async def test_a_client_that_leaves_the_near_server_frees_the_slot_of_the_far_one(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "far", settings_of(model=ENDLESS)) as far,
        serving(tmp_path / "near", model=far.server.url) as near,
    ):

        async def busy() -> bool:
            return far.workbench.snapshot().models[0].slots_used == 1

        async def free() -> bool:
            return far.workbench.snapshot().models[0].slots_used == 0

        asking = asyncio.create_task(near.chat(model=far.server.url, ignore_eos=True))
        await until(busy)
        asking.cancel()
        await until(free)
        assert far.workbench.snapshot().models[0].queue.total_cancelled == 1


async def test_a_server_does_not_relay_to_itself(tmp_path: Path) -> None:
    async with serving(tmp_path, model=None) as served:
        with pytest.raises(LoadFailed, match="is this one, or relays to itself"):
            await served.workbench.models.load(served.server.url)
