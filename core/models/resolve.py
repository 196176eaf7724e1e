"""From the name a user gives to an artifact: a built-in model, a local file, or a server elsewhere."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from core.engines.base import Artifact, ArtifactFormat
from core.errors import ArtifactError, ModelNotFound
from core.models.formats import Damaged, detect, detect_folder

GUIDE: Final = "guide"
ECHO: Final = "echo"
BUILT_IN: Final = (GUIDE, ECHO)
SCHEMES: Final = ("http://", "https://")


def resolve(name: str) -> Artifact:
    """Raises ModelNotFound for a name that stands for nothing, ArtifactError for a file that is no model."""
    if name == GUIDE:
        from core.guide import WEIGHTS

        return _from_file(WEIGHTS, GUIDE)
    if name == ECHO:
        return Artifact(ECHO, ArtifactFormat.SCRIPT, Path(ECHO), 0)
    if name.lower().startswith(SCHEMES):
        return _from_url(name)
    if looks_like_path(name):
        path = Path(name).expanduser()
        return _from_file(path, path.stem or name)
    near = difflib.get_close_matches(name.lower(), BUILT_IN, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ModelNotFound(
        name,
        f"There is no model called {name!r}; "
        f"give guide, echo, the path of a model's file or folder, or a server's URL.{hint}",
    )


def looks_like_path(name: str) -> bool:
    if "\0" in name:
        return False
    return name.endswith(".gguf") or name.startswith((".", "/", "~", "\\")) or Path(name).exists()


def _from_url(name: str) -> Artifact:
    """A server that speaks OpenAI's dialect. It is known by its address, without what all such addresses share."""
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
    return Artifact(root + model, ArtifactFormat.URL, Path(), 0, url=f"{root}/v1{model}")


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
    """An address fit for a message: without what stands before an @, which may be a password."""
    scheme, _, rest = name.partition("://")
    host, slash, path = rest.partition("/")
    return repr(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"[:200])


def _from_file(path: Path, name: str) -> Artifact:
    try:
        size = path.stat().st_size
        if path.is_dir():
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            return Artifact(path.resolve().name, detect_folder(path), path.resolve(), size)
        return Artifact(name, detect(path), path.resolve(), size)
    except FileNotFoundError as error:
        raise ModelNotFound(name, f"There is no file {path}; check the path.") from error
    except Damaged as error:
        raise ArtifactError(
            name, f"The file {path} is not a model that can be loaded: {error}; download it again."
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactError(name, f"The file {path} cannot be read: {reason}.") from error
