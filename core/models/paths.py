"""Files, folders and servers as artifacts: what a path or an address stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from core.contract.models import Artifact, ArtifactFormat
from core.errors import ArtifactError, ModelNotFound
from core.foreign_text import encodable
from core.models.formats.detect import Damaged, detect, detect_folder

MOST_PARTS: Final = 10_000


def from_path(path: Path, name: str | None = None) -> Artifact:
    """A file, all parts of a split one, or a folder; known by its own name unless it is given another.

    Raises ModelNotFound for what is not there, ArtifactError for what is no model or not all of one.
    """
    called = encodable(name) if name else own_name(path)
    try:
        if path.is_dir():
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            whole = path.resolve()
            return Artifact(called if name else encodable(whole.name), detect_folder(path), whole, size)
        if _part(path):
            return _split(path, called)
        size = path.stat().st_size
        return Artifact(called, detect(path), path.resolve(), size)
    except FileNotFoundError as error:
        raise ModelNotFound(called, f"There is no file {path}; check the path.") from error
    except Damaged as error:
        raise ArtifactError(
            called, f"The file {path} is not a model that can be loaded: {error}; download it again."
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactError(called, f"The file {path} cannot be read: {reason}.") from error


def own_name(path: Path, *, folder: bool = False) -> str:
    """What a model is called by its path: the name of a file without its ending and the number of a part, or that of
    a folder; bytes that are not UTF-8 as escapes, since a model's name goes into JSON and logs."""
    if folder:
        return encodable(path.name)
    part = _part(path)
    return encodable(path.name[: part[0]] if part else path.stem or str(path))


def parts_of(path: Path) -> tuple[Path, ...]:
    """All files of a split model of which `path` is one, as they must be called; alone where it is not split.

    Their names are given whether they are there or not.
    """
    part = _part(path)
    if part is None:
        return (path,)
    end, count = part
    stem, ending = path.name[:end], path.name[-5:]
    return tuple(path.with_name(f"{stem}-{number:05}-of-{count:05}{ending}") for number in range(1, count + 1))


def _part(path: Path) -> tuple[int, int] | None:
    """Of the name of a split model's part: where what all have in common ends, and how many there are."""
    if "-of-" not in path.name:
        return None
    from core.models.formats.read import SPLIT

    found = SPLIT.search(path.name)
    return (found.start(), min(int(found[2]), MOST_PARTS)) if found else None


def _split(path: Path, name: str) -> Artifact:
    """The first part is what is loaded, under its own name: the others are found by it, so no link is followed."""
    parts = parts_of(path)
    there = [part for part in parts if part.is_file()]
    if not there:
        raise FileNotFoundError(path)
    if missing := [part.name for part in parts if part not in there]:
        said = missing[0] if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more"
        raise ArtifactError(
            name, f"The model {name} is split into {len(parts)} files, of which {said} is missing in {path.parent}."
        )
    first = path.parent.resolve() / parts[0].name
    return Artifact(name, detect(first), first, sum(part.stat().st_size for part in parts))


def from_url(name: str) -> Artifact:
    """A server that speaks OpenAI's dialect. It is known by its address, without what all such addresses share.

    Raises ModelNotFound for an address that is none.
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


def without_password(address: str) -> str:
    """An address fit to be shown: without what stands before the last @, which may be a password."""
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _shown(name: str) -> str:
    return repr(without_password(name)[:200])
