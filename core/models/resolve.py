"""From the name a user gives to an artifact: a built-in model, or a local file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final

from core.engines.base import Artifact, ArtifactFormat
from core.errors import ArtifactError, ModelNotFound
from core.models.formats import Damaged, detect, detect_folder

GUIDE: Final = "guide"
ECHO: Final = "echo"
BUILT_IN: Final = (GUIDE, ECHO)


def resolve(name: str) -> Artifact:
    """Raises ModelNotFound for a name that stands for nothing, ArtifactError for a file that is no model."""
    if name == GUIDE:
        from core.guide import WEIGHTS

        return _from_file(WEIGHTS, GUIDE)
    if name == ECHO:
        return Artifact(ECHO, ArtifactFormat.SCRIPT, Path(ECHO), 0)
    if looks_like_path(name):
        path = Path(name).expanduser()
        return _from_file(path, path.stem or name)
    near = difflib.get_close_matches(name.lower(), BUILT_IN, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ModelNotFound(
        name, f"There is no model called {name!r}; give guide, echo, or the path of a .gguf file.{hint}"
    )


def looks_like_path(name: str) -> bool:
    if "\0" in name:
        return False
    return name.endswith(".gguf") or name.startswith((".", "/", "~", "\\")) or Path(name).exists()


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
