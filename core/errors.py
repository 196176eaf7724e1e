"""The error tree. Each error is one sentence that names the thing and, where there is one, the mend.

Front ends map classes to exit codes, HTTP statuses and notifications; nothing here knows those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class BenchtopError(Exception):
    """Root of every error a user may meet; `str(error)` is fit to be shown as it is to the user of this machine."""

    paths: tuple[Path, ...] = ()
    """Files and folders that the sentence may name; who is at another machine is told them without what is above."""


class UsageError(BenchtopError):
    """What the user asked for cannot be understood or is out of bounds."""


class ConfigError(UsageError):
    """A setting is unknown, malformed or out of bounds; the sentence names the key and where it came from."""


class RequestError(UsageError):
    """A request's field is wrong. `field` is the wire name of the offender, or None for the whole body."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ModelUnable(RequestError):
    """The model that was asked does other things than the one it was asked for."""


class ContextExceeded(RequestError):
    """The prompt leaves no room for a single new token."""

    def __init__(self, prompt_tokens: int, context: int, field: str = "messages", *, estimated: bool = False) -> None:
        about = "about " if estimated else ""
        super().__init__(
            f"The prompt has {about}{prompt_tokens} tokens and the context holds {context}, "
            "of which one must be left for the answer; shorten the prompt or load the model with a larger --ctx-size.",
            field,
        )
        self.prompt_tokens = prompt_tokens
        self.context = context


class ModelError(BenchtopError):
    """Something about a model; `model` is the name it was asked for by."""

    def __init__(self, model: str, message: str) -> None:
        super().__init__(message)
        self.model = model


class ModelNotFound(ModelError):
    """No model of that name is here."""


class NotDownloaded(ModelNotFound):
    """The model is known and not on this machine; the sentence says what to type.

    `repositories` are those of the Hub that have it, as `owner/name`, the best first; never empty.
    """

    def __init__(self, model: str, message: str, repositories: tuple[str, ...]) -> None:
        super().__init__(model, message)
        self.repositories = repositories


class ModelNotAllowed(ModelError):
    """The key that came with the request is for other models."""


class ModelNotReady(ModelError):
    """The model is being unloaded or restarted; asking again later may succeed."""


class TemplateFailed(ModelError):
    """The model's chat template fails at a conversation that is in order; another model's may not."""


class ArtifactError(ModelError):
    """A model's file is missing, damaged, or of a kind no engine here accepts."""


class LoadFailed(ModelError):
    """The engine could not load an artifact that looked right."""


class MemoryShort(LoadFailed):
    """A device had too little memory for what was to lie there; `device` is its id, "" the machine's own memory."""

    def __init__(self, model: str, message: str, device: str = "") -> None:
        super().__init__(model, message)
        self.device = device


class HubError(BenchtopError):
    """The Hub did not give what was asked of it."""


class HubUnreachable(HubError):
    """No answer came from the Hub, or asking it is switched off; asking again later may succeed.

    `reason` is the message without its advice, for what asks again by itself; `retry_after` is in seconds, None where
    the Hub did not say.
    """

    def __init__(self, reason: str, advice: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{reason} {advice}".rstrip())
        self.reason = reason
        self.retry_after = retry_after


class HubBusy(HubUnreachable):
    """The Hub asks for fewer requests."""


class RepositoryNotFound(HubError):
    """The Hub has no such repository, revision or file, or hides it from this user."""


class GatedRepository(HubError):
    """The repository's owner wants to be asked first, or its files want a token that may read them."""


class DownloadError(BenchtopError):
    """A download cannot go on; what was fetched is kept unless the sentence says otherwise."""


class DownloadNotFound(DownloadError):
    """No download of that id is known."""


class DownloadsBusy(DownloadError):
    """Another process downloads; only one may at a time."""


class DiskFull(DownloadError):
    """The disk has too little room for what is still missing."""


class ChecksumMismatch(DownloadError):
    """What arrived is not what the Hub said it would be; it was deleted."""


class EngineError(BenchtopError):
    """An engine failed at its work."""


class EngineUnavailable(EngineError):
    """The engine cannot run here; the sentence says why and which command mends it."""


class EngineFailed(EngineError):
    """An engine failed in the middle of a step; the requests of that step are lost, others go on."""


class LogitsBroken(EngineFailed):
    """A model computed logits that are no numbers, so that nothing can be drawn."""

    def __init__(self) -> None:
        super().__init__(
            "The model computed logits that are no numbers: its files are damaged, or this variant is too coarse; "
            "fetch it again, or try a variant of higher precision."
        )


class BudgetSpent(EngineError):
    """A trial run came to no result in the time it was given; it says nothing about the engine."""


class Interrupted(EngineError):
    """A step was cut short by `interrupt()`; the sequences of that step must be trimmed or closed."""


class Overloaded(BenchtopError):
    """There is no room to take the request now."""


class QueueFull(Overloaded):
    """The waiting room is full. `retry_after` is an estimate in seconds, at least one."""

    def __init__(self, depth: int, retry_after: int) -> None:
        super().__init__(
            f"The queue is full: {depth} requests are waiting already; try again in {retry_after} s "
            "or start the server with a larger --max-queue."
        )
        self.retry_after = retry_after


class Busy(Overloaded):
    """Too much work of one kind waits already. `retry_after` is an estimate in seconds, at least one."""

    def __init__(self, what: str, waiting: int, retry_after: int) -> None:
        super().__init__(
            f"The server is busy {what}: {waiting} requests wait for that already; try again in {retry_after} s."
        )
        self.retry_after = retry_after


class QueueTimeout(Overloaded):
    """The request waited in the queue longer than it may. `waited` is in seconds."""

    def __init__(self, waited: float) -> None:
        super().__init__(
            f"The request waited {waited:.0f} s in the queue without a slot becoming free; "
            "send fewer requests at once, or raise --slots or --queue-timeout."
        )
        self.waited = waited


class Cancelled(BenchtopError):
    """The request was cancelled by its client or from the request board."""

    def __init__(self, message: str = "The request was cancelled.") -> None:
        super().__init__(message)


class ServerStopping(BenchtopError):
    """The server ends before the request does; its client did nothing for it."""

    def __init__(self) -> None:
        super().__init__("The server is being stopped; send the request again when it is back.")


class ServerError(BenchtopError):
    """The HTTP server could not be started, for instance because the port is in use."""


@contextmanager
def attach_paths(*paths: Path) -> Iterator[None]:
    """Have an error that is raised inside know which files and folders it may speak of."""
    try:
        yield
    except BenchtopError as error:
        error.paths = (*error.paths, *paths)
        raise
