"""The server for a program: the benchtop that listens already, or one that ends with the program."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from api.curl import KEY_VARIABLE
from api.native.health import Health
from api.server import HttpServer
from core.contract.artifact import Artifact
from core.contract.options import LoadSettings
from core.errors import ArtifactError, ServerError, UsageError
from core.hosts import find_reachable, quote_host
from core.models.fit.sizing import DEFAULT_CONTEXT_TOKENS
from core.settings.keys import has_keys
from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tui.launch.program import Endpoint, Launchable

ANSWER_SECONDS: Final = 5.0
"""How long a server that listens may take to say what it is."""
KEY_BYTES: Final = 24
"""Of a key that is made for one run, where the server's others belong to others."""
USUAL_MODEL: Final = "guide"


class _Card(Struct):
    """What counts of a model's card."""

    id: str
    context_length: int | None = None


class _Fault(Struct):
    message: str


class _Refused(Struct):
    error: _Fault


class RunningServer(Struct, frozen=True):
    """A benchtop that another process runs."""

    url: str
    model: str | None
    """Its default one."""


def name_address(server: ServerSettings) -> str:
    """Where a server of these settings is reached from here."""
    return f"http://{quote_host(find_reachable(server.host))}:{server.port}"


def find_key(server: ServerSettings) -> str | None:
    """The key that the settings have for themselves: those of a file are others'."""
    return next(iter(server.api_keys), None)


async def find_server(server: ServerSettings) -> RunningServer | None:
    """The benchtop that listens where these settings say; None where nothing does.

    Raises ServerError where something else does.
    """
    if server.port == 0:
        return None
    url = name_address(server)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as client:
            answer = await client.get(f"{url}/health")
        health = msgspec.json.decode(answer.content, type=Health)
    except httpx.ConnectError:
        return None
    except (httpx.HTTPError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ServerError(
            f"What listens at {url} is no benchtop; stop it, or give another port with --port (0 takes a free one)."
        ) from error
    return RunningServer(url, health.model)


async def ask_server(
    running: RunningServer, model: str | None, key: str | None, options: Mapping[str, object] = {}
) -> Endpoint:
    """Have a running server load `model`, or its default one, with load options where some are given, and say what it
    serves.

    Raises UsageError where it will not: for its key, for the model's name or for an option.
    """
    name = model or running.model
    if name is None:
        raise UsageError(f"The server at {running.url} serves no model yet; name one: `tui launch PROGRAM MODEL`.")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=None, headers=headers) as client:  # noqa: S113 - it loads
            answer = await client.post(f"{running.url}/v1/models/load", json={**options, "model": name})
    except httpx.HTTPError as error:
        raise ServerError(f"The server at {running.url} gave no answer: {error or type(error).__name__}.") from error
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        has = "another one than the settings" if key else "a key, and the settings have none"
        raise UsageError(f"The server at {running.url} asks for {has}; set server.api_keys or {KEY_VARIABLE}.")
    if answer.status_code != httpx.codes.OK:
        raise UsageError(f"The server at {running.url} does not serve {name}: {_read_refusal(answer)}")
    card = msgspec.json.decode(answer.content, type=_Card)
    if not card.context_length:
        raise UsageError(f"The model {card.id} is none to talk with; name another.")
    return Endpoint(running.url, card.id, card.context_length, key)


def _read_refusal(answer: httpx.Response) -> str:
    try:
        return msgspec.json.decode(answer.content, type=_Refused).error.message
    except msgspec.MsgspecError:
        return f"it answered with {answer.status_code}."


@asynccontextmanager
async def start_own(
    settings: Settings, model: str, program: Launchable, announce: Callable[[str], None]
) -> AsyncIterator[Endpoint]:
    """A server in this process with `model` loaded, which ends with the block. Raises BenchtopError."""
    if has_keys(settings.server) and find_key(settings.server) is None:
        own = replace(settings.server, api_keys=(secrets.token_urlsafe(KEY_BYTES),))
        settings = replace(settings, server=own)
    workbench = Workbench(settings, announce=announce)
    server = HttpServer(workbench, settings)
    workbench.models.expect((model, *settings.models))
    try:
        # A port that is taken should be told before a model has been loaded for a minute.
        await server.start()
        await workbench.models.serve(tuple(dict.fromkeys((model, *settings.models))))
        context = await asyncio.to_thread(choose_context, workbench, model, program.usual_context)
        name = await workbench.models.load(model, LoadSettings(ctx_size=context))
        yield Endpoint(server.url, name, workbench.models.spec(name).context, server.api_key)
    finally:
        await server.stop(drain=0)
        await workbench.close()


def choose_context(workbench: Workbench, model: str, wanted: int) -> int | None:
    """Tokens to load `model` with, so that a program has `wanted` of them: as many as the model was trained for and as
    fit here. None leaves it to the settings, which say something, or to the engine. Touches the disk."""
    settings = workbench.settings
    profile = settings.models.get(model)
    if settings.model.ctx_size is not None or (profile is not None and profile.ctx_size is not None):
        return None
    artifact: Artifact = workbench.models.artifact(model)
    store = workbench.models.store
    try:
        largest = store.judge(store.header(artifact), profile=store.find_profile(model)).largest
    except ArtifactError:
        return None
    context = min(wanted, largest or 0)
    return context if context > DEFAULT_CONTEXT_TOKENS else None


def check_context(endpoint: Endpoint, program: Launchable) -> None:
    """Raises UsageError where the program's own instructions would fill the model's context."""
    if endpoint.context < program.least_context:
        raise UsageError(
            f"{program.title} needs a context of {program.least_context:,} tokens at least, and {endpoint.model} has "
            f"{endpoint.context:,}; give it more with --ctx-size, or name a model that was trained on more."
        )


def hide_key(text: str, key: str | None) -> str:
    """The text with asterisks for a key."""
    return re.sub(re.escape(key), "***", text) if key else text
