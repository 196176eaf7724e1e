"""From a path or a server's address to an artifact."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from core.contract.artifact import URL, Artifact
from core.errors import ArtifactError, ModelNotFound
from core.foreign_text import make_encodable
from core.models.formats.detect import detect_folder, detect_format
from core.models.formats.parts import _part, find_own_name, list_parts
from core.models.formats.source import Damaged
from core.names import drop_password


def read_path(path: Path, name: str | None = None) -> Artifact:
    """A file, all parts of a split one, or a folder; known by its own name unless it is given another.

    Raises ModelNotFound for what is not there, ArtifactError for what is no model or not all of one.
    """
    called = make_encodable(name) if name else find_own_name(path)
    try:
        if path.is_dir():
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            whole = path.resolve()
            return Artifact(called if name else make_encodable(whole.name), detect_folder(path), whole, size)
        if _part(path):
            return _split(path, called)
        size = path.stat().st_size
        return Artifact(called, detect_format(path), path.resolve(), size)
    except FileNotFoundError as error:
        raise ModelNotFound(called, f"There is no file {path}; check the path.") from error
    except Damaged as error:
        raise ArtifactError(
            called, f"The file {path} is not a model that can be loaded: {error}; download it again."
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactError(called, f"The file {path} cannot be read: {reason}.") from error


def _split(path: Path, name: str) -> Artifact:
    """The engine loads the first part and finds the others by its name, so links to the parts are not followed."""
    parts = list_parts(path)
    there = [part for part in parts if part.is_file()]
    if not there:
        raise FileNotFoundError(path)
    if missing := [part.name for part in parts if part not in there]:
        said = missing[0] if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more"
        raise ArtifactError(
            name, f"The model {name} is split into {len(parts)} files, of which {said} is missing in {path.parent}."
        )
    first = path.parent.resolve() / parts[0].name
    return Artifact(name, detect_format(first), first, sum(part.stat().st_size for part in parts))


def read_url(name: str) -> Artifact:
    """A server that speaks OpenAI's dialect, known by its address without the `/v1` that all such addresses share.

    Raises ModelNotFound for a malformed address.
    """
    try:
        parts = urlsplit(name)
        _ = parts.port  # raises ValueError for what is no port
    except ValueError as error:
        raise ModelNotFound(name, f"The address {_shown(name)} is malformed: {error}.") from error
    if problem := _problem(parts):
        raise ModelNotFound(name, f"The address {_shown(name)} {problem}")
    path = parts.path.rstrip("/").removesuffix("/v1")
    root = f"{parts.scheme}://{parts.netloc.lower()}{path}"
    model = f"#{parts.fragment}" if parts.fragment else ""
    return Artifact(root + model, URL, Path(), 0, url=f"{root}/v1{model}")


def _problem(parts: SplitResult) -> str | None:
    """What is wrong with an address, in the words that follow it."""
    if parts.username is not None or parts.password is not None:
        return "holds a password, which would show up in names and logs; set the model's remote_api_key instead."
    if not parts.hostname or any(not part.isprintable() or " " in part for part in (parts.netloc, parts.path)):
        return "names no host; write it as http://host:port."
    if parts.query:
        return "has a query (?...), which the address of a server has not; leave it out."
    return None


def _shown(name: str) -> str:
    return repr(drop_password(name)[:200])
