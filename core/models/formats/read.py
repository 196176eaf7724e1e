"""Reads the header of a model of any format, from a file or folder here or elsewhere."""

from __future__ import annotations

from core.contract.artifact import Artifact, FormatName
from core.errors import ArtifactError
from core.models.formats.format import Format
from core.models.formats.header import Header
from core.models.formats.parts import list_parts
from core.models.formats.registry import load_formats
from core.models.formats.source import Damaged, Files, FolderFiles


def read_header(artifact: Artifact) -> Header:
    """Of a model on this machine. Raises ArtifactError for what is missing or damaged."""
    try:
        return describe_files(artifact.format, artifact.name, _list_files(artifact))
    except OSError as error:
        raise ArtifactError(artifact.name, f"The file {artifact.path} cannot be read: {error.strerror}.") from error


def read_template(artifact: Artifact) -> str | None:
    """The Jinja source of the chat template that came with a model on this machine; None where none did, or none can
    be read."""
    formats = load_formats()
    known = formats.get(artifact.format)
    try:
        return None if known is None else formats.ask(known, None, known.read_template, _list_files(artifact))
    except (OSError, Damaged):
        return None


def _list_files(artifact: Artifact) -> FolderFiles:
    """Raises OSError."""
    path = artifact.path
    if path.is_dir():
        return FolderFiles(path)
    there = [part.name for part in list_parts(path) if part.is_file()]
    return FolderFiles(path.parent, tuple(there or [path.name]))


def describe_files(format_: FormatName, name: str, files: Files) -> Header:
    """Of a model that is all of `files`. Raises ArtifactError, and what reading them raises."""
    if not files.sizes:
        raise ArtifactError(name, f"{name} has no files; check the path, or download it again.")
    known = load_formats().get(format_)
    if known is None:
        raise ArtifactError(name, f"Nothing here reads the format {format_} of {name}; `tui doctor` lists the plugins.")
    try:
        return load_formats().ask(known, None, known.read_header, name, files) or Format.read_header(known, name, files)
    except Damaged as error:
        raise ArtifactError(name, f"The header of {name} cannot be read: {error}; download it again.") from error
