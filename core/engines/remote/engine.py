"""Loads a model that a server elsewhere has loaded: finds it there, and relays requests to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from core.chat.openai_body import UNTOLD, Kind, build_body, choose_path
from core.contract.artifact import URL, Artifact
from core.contract.engine import Availability
from core.contract.models import ModelSpec
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages
from core.engines.remote.answer import RemoteAnswer
from core.engines.remote.link import Accepted, Link
from core.engines.remote.refusals import clean_words
from core.errors import BenchtopError, Cancelled, EngineError, EngineFailed, LoadFailed, Overloaded, RequestError
from core.events import Event, Failed, TextDelta
from core.hosts import is_loopback
from core.requests import ResolvedGeneration

if TYPE_CHECKING:
    import threading


PACKAGE = Package("httpx", "httpx", "pip install httpx")
DEFAULT_SLOTS = 8
"""Requests sent at once where nobody said otherwise; what the server cannot serve yet waits in its own queue."""
MOST_LISTED_NAMES = 20
"""Model names that an error lists."""
CONTEXT_KEYS = ("context_length", "max_model_len", "context_window")
"""benchtop and most hosted services, vLLM, some others."""

Card = Mapping[str, object]
"""One entry of GET /v1/models: `id`, and what else the server tells."""


class RemoteEngine:
    """Available on every machine: the models run on the server."""

    name = "remote"
    platform = "any"
    formats = (URL,)
    priority = 90

    def availability(self) -> Availability:
        return check_packages(PACKAGE)

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> RemoteModel:
        """Raises LoadFailed for a server that does not answer as OpenAI's do, or has no such model."""
        if options.remote_api_key and not (options.remote_api_key.isascii() and options.remote_api_key.isprintable()):
            raise LoadFailed(artifact.name, "The remote_api_key holds characters that no HTTP header can carry.")
        base, _, wanted = artifact.url.partition("#")
        try:
            with ExitStack() as undo:
                link = Link(base, options.remote_api_key)
                undo.callback(link.close)
                found = read_cards(link.get("/models", lambda: progress(0.0)), link.address)
                card = choose_card(artifact.name, link.address, found, wanted)
                model = RemoteModel(link, card, build_spec(card, link.address, options))
                undo.pop_all()
                return model
        except (EngineError, RequestError, Overloaded) as error:
            raise LoadFailed(artifact.name, str(error)) from error


class RemoteModel:
    """One model of one server."""

    def __init__(self, link: Link, card: Card, spec: ModelSpec) -> None:
        self.spec = spec
        self._link = link
        self._id = str(card["id"])
        self._kind = Kind.VLLM if card.get("owned_by") == Kind.VLLM.value else Kind.OTHER

    def generate(self, request: ResolvedGeneration, stop: threading.Event) -> Iterator[Event]:
        """An empty TextDelta comes first, when the server has taken the request."""
        answer = RemoteAnswer(self._link.address, request.n)
        body = build_body(request, self._id, self._kind)
        try:
            for item in self._link.stream(choose_path(request), body, request.request_id, stop):
                if isinstance(item, Accepted):
                    answer.accepted = item.sent
                    yield TextDelta(0, "", tokens=0)
                    continue
                yield from answer.read(item)
            yield from answer.finish()
        except (RequestError, Cancelled):
            raise
        except BenchtopError as error:
            yield Failed(error)

    def shutdown(self) -> None:
        self._link.close()


def read_cards(body: bytes, address: str) -> list[Card]:
    """The entries of a list of models. Raises EngineFailed for any other answer."""
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        beginning = clean_words(body[:80].decode("utf-8", "replace"))
        raise EngineFailed(
            f"What answers at {address} is no server for models: GET /v1/models gave {beginning!r}."
        ) from error
    match found:
        case {"data": list(entries)} if all(_is_card(entry) for entry in entries):
            return entries
    raise EngineFailed(f"What answers at {address} is no server for models: GET /v1/models gave no list of them.")


def _is_card(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str)


def choose_card(name: str, address: str, found: Sequence[Card], wanted: str) -> Card:
    """The model named, the only one, or the only one that is in memory there. Raises LoadFailed, which lists what there
    is."""
    ids = [str(card["id"]) for card in found]
    if name in ids:
        # A server that calls its model by its own address relays to itself.
        raise LoadFailed(name, f"The server at {address} is this one, or relays to itself; give another address.")
    listed = ", ".join(clean_words(each) for each in ids[:MOST_LISTED_NAMES]) + (
        ", ..." if len(ids) > MOST_LISTED_NAMES else ""
    )
    if not found:
        raise LoadFailed(name, f"The server at {address} serves no model; load one there first.")
    if wanted:
        match = next((card for card in found if card["id"] == wanted), None)
        if match is None:
            raise LoadFailed(name, f"The server at {address} serves no model {clean_words(wanted)!r}; it has {listed}.")
        return match
    if len(found) == 1:
        return found[0]
    # Servers that load on demand list all that they could load; the loaded model is the one to use.
    loaded = [card for card in found if _is_loaded(card)]
    if len(loaded) != 1:
        raise LoadFailed(name, f"The server at {address} serves several models; add #name to the address: {listed}.")
    return loaded[0]


def _is_loaded(card: Card) -> bool:
    """As benchtop tells it, or llama-server where it serves many."""
    status = card.get("status")
    state = status.get("value") if isinstance(status, dict) else card.get("state")
    return state in ("ready", "loaded")


def build_spec(card: Card, address: str, options: LoadOptions) -> ModelSpec:
    """What the server tells of the model; all else is unknown, hence zero."""
    meta = card.get("meta")
    meta = meta if isinstance(meta, dict) else {}  # llama-server's; null while it loads
    trained = _number(meta, "n_ctx_train")
    context = next((told for key in CONTEXT_KEYS if (told := _number(card, key))), 0) or _number(meta, "n_ctx")
    return ModelSpec(
        architecture=_text(card, "architecture") or "remote",
        parameters=_number(card, "parameters") or _number(meta, "n_params"),
        quantization=_text(card, "quantization"),
        context=context or trained,
        trained_context=trained,
        slots=options.slots or DEFAULT_SLOTS,
        sequences=options.slots or DEFAULT_SLOTS,
        cells=0,
        batch=0,
        threads=0,
        weight_bytes=0,
        kv_bytes_per_token=0,
        template=None,
        sampling=UNTOLD,
        notes=tuple(_notes(card, address, options)),
    )


def _notes(card: Card, address: str, options: LoadOptions) -> Iterator[str]:
    yield f"Answers come from {clean_words(str(card['id']))} at {address}; prompts are sent there."
    if options.kv_type is not None:
        yield f"What answers at {address} has a KV cache of its own; --kv-type has no effect on it."
    parts = urlsplit(address)
    if options.remote_api_key and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield f"The API key goes to {address} unencrypted; use https where others share the network."


def _number(card: Card, key: str) -> int:
    """Zero for what is not told, or not as a count."""
    value = card.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _text(card: Card, key: str) -> str:
    value = card.get(key)
    return clean_words(value) if isinstance(value, str) else ""
