"""GET /api/tags and /api/ps, POST /api/show and DELETE /api/delete: the models of this machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from api.http.callers import find_caller
from api.http.contract import LOADING, READING, declare_contract, reply_with
from api.http.field_rules import tell_ignored
from api.http.replies import add_headers
from api.http.settle import JsonBody
from api.ollama.describing import describe_details, list_capabilities, list_model_info
from api.ollama.errors import OLLAMA_ERRORS
from api.ollama.names import resolve_name, show_name
from api.ollama.replies import ModelDetails, RunningList, RunningModel, ShownModel, TaggedModel, TagList
from api.ollama.wire import OllamaDelete, OllamaShow
from api.ollama.writer import write_time
from core.contract.artifact import Artifact
from core.errors import ArtifactError, DownloadError, ModelNotFound, UsageError
from core.models.library.file_facts import FactShelf, FileFacts
from core.models.library.scan import LibraryEntry
from core.serving.pool.member import Member
from core.settings.profile import Profile
from core.snapshots import ModelKind, ModelSnapshot, ModelState, Snapshot
from core.workbench import Workbench

MOST_BODY_BYTES: Final = 64 * 1024
FOREVER_SECONDS: Final = 9.0e9
"""As far ahead as Ollama says for a model that stays: some 285 years."""
SHOW_BODY: Final = JsonBody(OllamaShow)
DELETE_BODY: Final = JsonBody(OllamaDelete)


class KnownModel(Struct, frozen=True):
    name: str
    artifact: Artifact | None
    """None where the settings name it and nothing was looked up yet."""
    kind: ModelKind | None = None
    """None where nobody asked it yet."""


class Deleted(Struct, frozen=True):
    """An empty object."""


def build_listing_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    models, shelf = workbench.models, FactShelf()

    @get(
        "/api/tags",
        summary="The models of this machine, in Ollama's dialect",
        opt=declare_contract(reply_with(TagList, "Those that a request may name"), errors=OLLAMA_ERRORS),
    )
    async def list_tags(request: Request[object, object, State]) -> TagList:
        snapshot, caller = workbench.snapshot(), find_caller(request.scope["state"])
        known = [KnownModel(each.name, each.artifact, each.kind) for each in models.members]
        more = [KnownModel(each.name, each.artifact) for each in await models.loadable()]
        shown = [each for each in (*known, *more) if caller.may_use(each.name)]
        return TagList(await workbench.lanes.disk.run(_describe_all, shelf, shown, snapshot, workbench))

    @get(
        "/api/ps",
        summary="The models that are in memory, in Ollama's dialect",
        opt=declare_contract(reply_with(RunningList, "Those that are loaded or being loaded"), errors=OLLAMA_ERRORS),
    )
    async def list_running(request: Request[object, object, State]) -> RunningList:
        snapshot, caller = workbench.snapshot(), find_caller(request.scope["state"])
        members = {each.name: each for each in models.members if caller.may_use(each.name)}
        there = [(each, members[each.name]) for each in snapshot.models if each.name in members]
        return RunningList(await workbench.lanes.disk.run(_describe_running, shelf, there, snapshot.taken))

    @post(
        "/api/show",
        status_code=200,
        summary="What a model is, in Ollama's dialect",
        opt=declare_contract(
            reply_with(ShownModel, "By its files; it is not loaded for this"),
            body=SHOW_BODY,
            outcomes=(*READING, *LOADING, ArtifactError, UsageError),
            errors=OLLAMA_ERRORS,
        ),
    )
    async def show_model(request: Request[object, object, State]) -> Response[ShownModel]:
        asked = await SHOW_BODY.read(request.receive, MOST_BODY_BYTES)
        named = await resolve_name(models, asked.body.called)
        workbench.requests.check_model(named, find_caller(request.scope["state"]))
        member = await models.examine(named)
        facts = await workbench.lanes.disk.run(shelf.examine, member.artifact)
        snapshot = workbench.snapshot()
        loaded = _find_loaded(snapshot, member.name)
        traits = member.host.traits if member.host is not None and loaded is not None else None
        template = (traits.template if traits is not None else None) or facts.template
        options = {} if traits is None else {"temperature": traits.sampling.temperature, "top_p": traits.sampling.top_p}
        shown = ShownModel(
            modelfile=f"# Models have no Modelfile here; this one is served as\nFROM {member.name}\n",
            parameters="\n".join(f"{name:<30} {value:g}" for name, value in options.items()),
            template=template or "",
            details=describe_details(member.artifact.format, facts, loaded),
            model_info=list_model_info(facts.header),
            capabilities=list_capabilities(member.kind, template),
            modified_at=write_time(facts.modified or snapshot.taken - snapshot.uptime),
        )
        return add_headers(shown, tell_ignored(asked.ignored))

    @delete(
        "/api/delete",
        status_code=200,
        summary="Delete a model's files, in Ollama's dialect",
        opt=declare_contract(
            reply_with(Deleted, "It is gone"),
            body=DELETE_BODY,
            outcomes=(*READING, *LOADING, UsageError, ArtifactError, DownloadError),
            errors=OLLAMA_ERRORS,
            admin=True,
        ),
    )
    async def delete_files(request: Request[object, object, State]) -> Deleted:
        asked = await DELETE_BODY.read(request.receive, MOST_BODY_BYTES)
        name = await resolve_name(models, asked.body.called)
        member = await models.examine(name)
        entry = _find_entry(await workbench.lanes.disk.run(models.library), member)
        if member.leases:
            raise UsageError(f"{member.name} is answering requests; delete it when they have ended.")
        await workbench.lanes.disk.run(models.store.check_deletable, entry)
        if member in models.members:
            await models.unload(member.name)
        await workbench.lanes.disk.run(models.store.delete, entry)
        return Deleted()

    return [list_tags, list_running, show_model, delete_files]


def _describe_all(
    shelf: FactShelf, known: Sequence[KnownModel], snapshot: Snapshot, workbench: Workbench
) -> list[TaggedModel]:
    """Touches the disk."""
    return [_describe_tag(shelf, each, snapshot, workbench) for each in known]


def _describe_tag(shelf: FactShelf, known: KnownModel, snapshot: Snapshot, workbench: Workbench) -> TaggedModel:
    artifact = known.artifact or workbench.models.find_configured(known.name)
    facts = FileFacts("0" * 64) if artifact is None else shelf.examine(artifact)
    kind = known.kind or _expect_kind(workbench, known.name, artifact, facts)
    loaded = _find_loaded(snapshot, known.name)
    details = ModelDetails() if artifact is None else describe_details(artifact.format, facts, loaded)
    shown = show_name(known.name)
    return TaggedModel(
        name=shown,
        model=shown,
        modified_at=write_time(facts.modified or snapshot.taken - snapshot.uptime),
        size=0 if artifact is None else artifact.size,
        digest=facts.digest,
        details=details,
        capabilities=list_capabilities(kind, facts.template),
    )


def _expect_kind(workbench: Workbench, name: str, artifact: Artifact | None, facts: FileFacts) -> ModelKind:
    if artifact is None:
        return ModelKind.CHAT
    profile = workbench.settings.models.get(name, Profile())
    return workbench.models.store.expect_kind(artifact, profile, header=facts.header)


def _describe_running(
    shelf: FactShelf, there: Sequence[tuple[ModelSnapshot, Member]], now: float
) -> list[RunningModel]:
    """Touches the disk."""
    return [_describe_loaded(shelf, model, member, now) for model, member in there]


def _describe_loaded(shelf: FactShelf, model: ModelSnapshot, member: Member, now: float) -> RunningModel:
    facts = shelf.examine(member.artifact)
    stays = model.pinned or math.isinf(model.idle_limit)
    left = FOREVER_SECONDS if stays else max(0.0, model.idle_limit - (0.0 if model.in_use else model.idle))
    on_devices = sum(member.elsewhere.values()) if member.measured else 0
    shown = show_name(model.name)
    return RunningModel(
        name=shown,
        model=shown,
        size=model.resident + on_devices or model.weight_bytes,
        digest=facts.digest,
        details=describe_details(member.artifact.format, facts, model),
        expires_at=write_time(now + left),
        size_vram=on_devices,
        context_length=model.context or 0,
    )


def _find_loaded(snapshot: Snapshot, name: str) -> ModelSnapshot | None:
    return next((each for each in snapshot.models if each.name == name and each.state is ModelState.READY), None)


def _find_entry(entries: Sequence[LibraryEntry], member: Member) -> LibraryEntry:
    """Raises ModelNotFound for a model without files here."""
    path = member.artifact.path
    found = next((each for each in entries if each.path in (path, path.resolve())), None)
    if found is None:
        raise ModelNotFound(member.name, f"{member.name} has no files here that could be deleted.")
    return found
