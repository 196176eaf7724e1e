"""What lies in the folder that a launched program has for one run: its configuration, and copies of the user's own.

Nothing of the user's is written: files are copied, and folders that other programs share are mirrored by links.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from core.errors import UsageError
from tui.launch.program import LaunchSetup, Mirror, Overlay

FOLDER: Final = "launch"
"""Where folders are made, below the cache: some programs distrust the system's place for temporary files."""
LOCAL_NAMES: Final = "127.0.0.1,localhost,::1"
"""What no proxy is asked for."""
LEFT_OUT: Final = ("node_modules", ".git", "cache")
"""Not copied of the user's folders: large, and made again."""


def fill_folder(folder: Path, setup: LaunchSetup) -> None:
    """Put the setup's files, copies and links there. Raises UsageError for a file of the user's that cannot be read,
    and where nothing can be written."""
    try:
        _fill(folder, setup)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be filled: {error.strerror or error}.") from error


def _fill(folder: Path, setup: LaunchSetup) -> None:
    for place, mirror in setup.mirrors.items():
        _mirror(folder / place, mirror)
    for place, own in setup.copies.items():
        _copy(own, folder / place)
    for place, content in setup.files.items():
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else apply_overlay(content), encoding="utf-8")


def apply_overlay(overlay: Overlay) -> str:
    """The file as it is to be. Raises UsageError where the user's is no JSON object."""
    try:
        below = json.loads(overlay.below.read_text(encoding="utf-8"))
    except FileNotFoundError:
        below = {}
    except (OSError, ValueError) as error:
        raise UsageError(f"The file {overlay.below} cannot be read as JSON; mend it, or move it away.") from error
    if not isinstance(below, dict):
        raise UsageError(f"The file {overlay.below} is no JSON object; mend it, or move it away.")
    return json.dumps(merge_patch(below, overlay.changes), indent=2)


def merge_patch(target: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """RFC 7396, of objects: what is None is taken out."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            there = merged.get(name)
            merged[name] = merge_patch(there if isinstance(there, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def build_environment(setup: LaunchSetup, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of the program. A proxy of the user's is not asked for this machine."""
    kept = {name: value for name, value in inherited.items() if name not in setup.removed}
    for name in ("NO_PROXY", "no_proxy"):
        if before := kept.get(name):
            kept[name] = f"{before},{LOCAL_NAMES}"
        elif any(each.lower().endswith("_proxy") for each in inherited):
            kept[name] = LOCAL_NAMES
    return {**kept, **setup.environment}


def _mirror(folder: Path, mirror: Mirror) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        for entry in os.scandir(mirror.real):
            # Where no links can be made (Windows), the program does without what others keep there.
            with suppress(OSError):
                if entry.name != mirror.entry and not (folder / entry.name).exists():
                    (folder / entry.name).symlink_to(entry.path, target_is_directory=entry.is_dir())


def _copy(own: Path, place: Path) -> None:
    """Of the user's, as far as it can be read; nothing where it is not there. The copy can be written and removed, also
    where the user's own cannot, as with managers of home folders that keep it in a store."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError, shutil.Error):
        if own.is_dir():
            left_out = shutil.ignore_patterns(*LEFT_OUT)
            shutil.copytree(
                own,
                place,
                ignore=left_out,
                copy_function=_copy_file,
                ignore_dangling_symlinks=True,
                dirs_exist_ok=True,
            )
        elif own.is_file():
            _copy_file(str(own), str(place))
    # Links to folders are not gone into.
    for folder, _, _ in os.walk(place):
        Path(folder).chmod(0o700)


def _copy_file(own: str, place: str) -> None:
    """One that can be run stays so."""
    shutil.copyfile(own, place)
    Path(place).chmod(0o700 if os.access(own, os.X_OK) else 0o600)
