"""Settings: defaults < config file < environment < flags. An unknown key is refused by name, wherever it stands.

A field whose Meta has a description is an option of the command line too, and the description is its help.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from core.environment import clean_value
from core.settings.capture import CaptureSettings
from core.settings.conversations import ConversationSettings
from core.settings.encoding import EncodingSettings
from core.settings.environment import HOME
from core.settings.guards import LimitSettings
from core.settings.model import ModelSettings
from core.settings.ollama import OllamaSettings
from core.settings.profile import Profile
from core.settings.prompts import PromptSettings
from core.settings.telemetry import TelemetrySettings
from core.settings.usage import UsageSettings
from core.telemetry.log import LogLevel


class Strategy(Enum):
    COMPLEXITY = "complexity"
    """The harder the prompt looks, the larger the model."""
    CHEAPEST = "cheapest-that-fits"
    """The smallest model whose context holds the prompt and the answer."""
    ROUND_ROBIN = "round-robin"
    """Each in turn, of those whose context holds them."""


APP = "benchtop"
LOCAL_ORIGINS = "localhost"
"""Among `cors_origins`: the pages of this machine, whatever their port."""

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Secret = Annotated[str, Meta(extra={"secret": True})]
"""Shown as asterisks."""


_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    host: Annotated[
        str,
        Meta(
            description="address to bind; beyond loopback a key is made where none is given (127.0.0.1)",
            extra={"value": "ADDRESS"},
        ),
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port to bind; 0 takes a free one (8080)", extra={"also": "-p"})] = 8080
    api_keys: Annotated[
        tuple[Secret, ...],
        Meta(
            description="what clients must send as `Authorization: Bearer` or `x-api-key` (none)",
            extra={"secret": True, "value": "KEY"},
        ),
    ] = ()
    """Any of them opens the server, and may do anything there."""
    api_key_file: Annotated[
        str | None,
        Meta(
            description="further keys, with names and limits, in a TOML table each (none)",
            extra={"called": "--api-keys", "value": "FILE", "local": True},
        ),
    ] = None
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="web pages from there may call the server; `localhost` is any port of this machine (none)",
            extra={"value": "URL"},
        ),
    ] = ()
    """Each as browsers send it, such as `https://app.example`; `*` is any at all, `null` that of pages without one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that clients may ask for while the server is bound to loopback, beside those of this machine: what a
    reverse proxy passes on as Host. Each is one whole name, such as `llm.example.org`; case and port are ignored."""
    max_body: Annotated[int, Meta(ge=1024)] = 16 * 1024 * 1024
    """Bytes a request body may have."""
    drain_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="for requests under way, and then for writing prefixes, when the server stops (30)",
        ),
    ] = 30.0


class QueueSettings(Struct, frozen=True, forbid_unknown_fields=True):
    max_queue: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="requests that may wait; 0 is any number, without a timeout (32)"),
    ] = 32
    queue_timeout: Annotated[Seconds, Meta(description="how long a request may wait (60)")] = 60.0
    prefill_share: Annotated[
        float,
        Meta(
            ge=0.05,
            le=1,
            description="of the time, what computing prompts may take while answers are written (0.9)",
            extra={"value": "SHARE"},
        ),
    ] = 0.9


class CacheSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: Annotated[
        bool, Meta(description="reuse what was computed of earlier prompts (true)", extra={"called": "--no-cache"})
    ] = True
    size: Annotated[
        int,
        Meta(
            ge=0,
            le=16_777_216,
            description="memory for prefixes that left the KV cache, of all models together; 0 keeps none there (2048)",
            extra={"called": "--cache-size", "value": "MB"},
        ),
    ] = 2048
    disk: Annotated[
        bool,
        Meta(
            description="keep prefixes on disk, where they outlive the process (true)",
            extra={"called": "--no-disk-cache"},
        ),
    ] = True
    disk_folder: Annotated[
        str | None,
        Meta(
            description="where prefixes are kept on disk (the platform's usual place)",
            extra={"called": "--disk-cache", "value": "DIR", "local": True},
        ),
    ] = None
    disk_size: Annotated[
        str | None,
        Meta(
            description="what they may take there: 20GB, 10% of the disk (a tenth of what is free, 20 GB at most)",
            extra={"called": "--disk-cache-size", "value": "SIZE"},
        ),
    ] = None
    disk_min_tokens: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="shorter prefixes are not written to disk (128)",
            extra={"called": "--disk-cache-min-tokens"},
        ),
    ] = 128


class AnswerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    json_mode: Annotated[bool, Meta(description="hold answers to JSON, where a request says nothing else (false)")] = (
        False
    )
    loop_guard: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="end an answer whose last tokens, so many, are one cycle that repeats exactly; 0 never (0)",
            extra={"value": "TOKENS"},
        ),
    ] = 0
    form_reasoning_budget: Annotated[
        int,
        Meta(
            ge=0,
            le=16_777_216,
            description="tokens of thinking before a call that must come, or an answer held to a form, where no other "
            "budget is set; half of what the answer may have at most (4096)",
            extra={"value": "TOKENS"},
        ),
    ] = 4096


class PoolSettings(Struct, frozen=True, forbid_unknown_fields=True):
    memory_limit: Annotated[
        str | None,
        Meta(
            description="memory for all models together: 12GB, 60%, or for each device as in CUDA0=10GB,host=24GB "
            "(leaves a fifth of main memory to the system, 8 GB at most)",
            extra={"value": "SIZE"},
        ),
    ] = None
    """None takes the system's memory less 8 GB or a fifth, whichever is less."""
    model_ttl: Annotated[
        float, Meta(ge=0, le=31_536_000, description="unload a model that is idle for so long; 0 never (0)")
    ] = 0.0
    on_demand: bool = True
    """Load a model of the library when a request names it; off, only models named at the start are served."""


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    auto: Annotated[
        bool,
        Meta(
            description="answer requests for `auto` with the model that suits them, of those that are named (false)",
            extra={"called": "--auto-route"},
        ),
    ] = False
    strategy: Annotated[
        Strategy, Meta(description="how that model is chosen (complexity)", extra={"called": "--route-strategy"})
    ] = Strategy.COMPLEXITY
    stand_in: Annotated[
        str | None,
        Meta(
            description="answer requests for models that are not here with this one, as llama.cpp's server does (none)",
            extra={"value": "MODEL"},
        ),
    ] = None


class ProbeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    """Try an engine in a child process before it first runs a kind of model here."""
    timeout: Seconds = 120.0
    """Seconds a child may take before it counts as hung."""


class BenchSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: Annotated[
        bool,
        Meta(
            description="choose an engine by measuring all that can run a model (true)",
            extra={"called": "--no-benchmark"},
        ),
    ] = True
    budget: Annotated[
        Seconds, Meta(description="how long choosing an engine may measure (15)", extra={"called": "--bench-budget"})
    ] = 15.0
    fresh: Annotated[
        bool, Meta(description="measure again what was measured before (false)", extra={"called": "--rebench"})
    ] = False


class DownloadSettings(Struct, frozen=True, forbid_unknown_fields=True):
    concurrency: Annotated[int, Meta(ge=1, le=32, description="files that are fetched at once (3)")] = 3
    bandwidth: Annotated[
        Annotated[int, Meta(ge=1024)] | None,
        Meta(description="bytes a second that all downloads together may take (all there are)"),
    ] = None
    stall_timeout: Seconds = 20.0
    """Seconds without a byte after which a connection is given up and opened again."""
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 8
    """Failures in a row, without a byte between them, after which a download is given up; the pauses between them
    double from one second to a minute."""
    reserve: Annotated[int, Meta(ge=0)] = 1_000_000_000
    """Bytes of the disk that a download leaves free."""


class LibrarySettings(Struct, frozen=True, forbid_unknown_fields=True):
    folders: Annotated[tuple[str, ...], Meta(extra={"local": True})] = ()
    """Folders with models, searched with all below them; the Hub's cache is always looked at."""
    files: Annotated[tuple[str, ...], Meta(extra={"local": True})] = ()
    """Files of models that lie elsewhere."""
    servers: tuple[str, ...] = ()
    """Addresses of running servers whose models are listed too, such as `http://127.0.0.1:11434`."""


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    level: Annotated[LogLevel, Meta(description="the least that is logged (info)", extra={"called": "--log-level"})] = (
        LogLevel.INFO
    )


class UiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    theme: str = "graphite"
    """A palette's name, from the command palette's list of themes."""


class Folders(Struct, frozen=True):
    """Where things are kept; see `find_folders`."""

    config: Path
    cache: Path
    """What can be made again: probe verdicts, benchmark results."""
    state: Path
    """Logs, histories."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    server: ServerSettings = ServerSettings()
    ollama: OllamaSettings = OllamaSettings()
    limits: LimitSettings = LimitSettings()
    queue: QueueSettings = QueueSettings()
    model: ModelSettings = ModelSettings()
    models: Mapping[str, Profile] = field(default_factory=dict)
    """Models by the names they are served under, with what is wanted of each."""
    cache: CacheSettings = CacheSettings()
    capture: CaptureSettings = CaptureSettings()
    prompts: PromptSettings = PromptSettings()
    answers: AnswerSettings = AnswerSettings()
    encoding: EncodingSettings = EncodingSettings()
    pool: PoolSettings = PoolSettings()
    route: RouteSettings = RouteSettings()
    probe: ProbeSettings = ProbeSettings()
    bench: BenchSettings = BenchSettings()
    downloads: DownloadSettings = DownloadSettings()
    library: LibrarySettings = LibrarySettings()
    usage: UsageSettings = UsageSettings()
    conversations: ConversationSettings = ConversationSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    ui: UiSettings = UiSettings()

    @property
    def default_model(self) -> str | None:
        """The first of `models`."""
        return next(iter(self.models), None)

    def list_rpc_servers(self) -> tuple[str, ...]:
        """All that models may lie on, as `host:port`."""
        wishes = (self.model, *self.models.values())
        return tuple(dict.fromkeys(server for wish in wishes for server in wish.rpc or ()))

    def source(self, name: str) -> str:
        """What is loaded under a name: what `models` says of it, or the name itself."""
        profile = self.models.get(name)
        return (profile.source if profile else None) or name


def find_folders() -> Folders:
    """The platform's usual folders for this user; `BENCHTOP_HOME` puts all three below one folder.

    Where the system tells no home folder, they are where nothing can be written: what cannot be kept is done without.
    """
    if home := clean_value(os.environ.get(HOME, "")):
        root = Path(os.path.expanduser(home)).absolute()  # noqa: PTH111 - its like in pathlib fails without a home
        return Folders(config=root / "config", cache=root / "cache", state=root / "state")
    from platformdirs import PlatformDirs

    dirs = PlatformDirs(APP, appauthor=False)
    config, cache, state = dirs.user_config_path, dirs.user_cache_path, dirs.user_state_path
    if any(str(path).startswith("~") for path in (config, cache, state)):
        nowhere = Path(os.devnull) / APP
        return Folders(config=nowhere / "config", cache=nowhere / "cache", state=nowhere / "state")
    return Folders(config=config, cache=cache, state=state)


def read_host_name(host: str) -> str:
    """The name in a Host header or in `allowed_hosts`: without its port, in small letters; "" for what is none.

    RFC 9110, section 7.2; addresses of version 6 stand in brackets.
    """
    found = _HOST.fullmatch(host)
    return found["name"].lower() if found else ""


def read_origin(text: str) -> str:
    """An origin as a browser would send it for what was written, which is the same for one that can match; an example
    where nothing can be told.

    RFC 6454, section 6.2: scheme and host in small letters, the port unless it is the scheme's own, no path.
    """
    if text in ("*", "null", LOCAL_ORIGINS):
        return text
    example = "https://app.example"
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        return example
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    if not read_host_name(name) or ("://" not in text and "." not in name):
        return example
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{name}{'' if port in (None, usual) else f':{port}'}"
